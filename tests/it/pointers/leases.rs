//! An actor whose recipient was sent in a message is kept alive by those who hold it elsewhere, and by nothing else.

// A test panics where something is not as it should be.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use actix::Message;
use actix::Recipient;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Endpoint;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use serde::Deserialize;
use serde::Serialize;
use support::Elsewhere;
use support::Number;
use support::Text;
use support::catcher;
use support::dropped;
use support::listening;
use support::next;
use support::on_either_thread;
use support::settled;
use support::within;

/// Brings a recipient along.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Job {
    #[serde(with = "actix_hermod::recipient")]
    report_to: Recipient<Number>,
    /// Something that a message's size can be chosen by.
    padding: String,
}

impl Job {
    fn new(report_to: Recipient<Number>) -> Job {
        Job { report_to, padding: String::new() }
    }
}

/// A job that fails to be written, after its recipient was.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct BadJob {
    #[serde(with = "actix_hermod::recipient")]
    report_to: Recipient<Number>,
    #[serde(serialize_with = "never")]
    padding: String,
}

fn never<S: serde::Serializer>(_: &str, _: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("this is never written"))
}

/// A node that listens, with a mailbox for jobs.
async fn office(thread: IoThread) -> (Node, Endpoint, Mailbox<Job>) {
    let (node, endpoint) = listening(Node::builder().io_thread(thread)).await;
    let jobs = node.mailbox().name("jobs").open().unwrap();
    (node, endpoint, jobs)
}

#[test]
fn an_actor_lives_while_the_receiver_of_its_recipient_holds_it_and_no_longer() {
    on_either_thread(|thread| async move {
        let (_there, endpoint, mut jobs) = office(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let (recipient, mut caught) = catcher();
        here.remote::<Job>(&endpoint, "jobs").unwrap().do_send(Job::new(recipient));
        let job = next(&mut jobs).await;
        job.report_to.do_send(Number(1));
        assert_eq!(caught.next().await, 1);
        let kept = job.report_to.clone();
        drop(job);
        kept.do_send(Number(2));
        assert_eq!(caught.next().await, 2);
        assert_eq!(here.stats().boxes.len(), 1);
        drop(kept);
        caught.gone().await;
        settled(|| here.stats().boxes.is_empty()).await;
    });
}

/// So that two looks at the same boxes give the same list.
#[test]
fn actors_that_others_hold_are_listed_in_the_order_of_their_ids() {
    on_either_thread(|thread| async move {
        let (_there, endpoint, mut jobs) = office(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Job>(&endpoint, "jobs").unwrap();
        let mut held = Vec::new();
        for _ in 0..10 {
            let (recipient, caught) = catcher();
            to.do_send(Job::new(recipient));
            held.push((next(&mut jobs).await, caught));
        }
        let names: Vec<_> = here.stats().boxes.into_iter().map(|stats| stats.name).collect();
        assert!(names.len() == 10 && names.is_sorted(), "{names:?}");
    });
}

#[test]
fn an_actor_lives_while_its_message_waits_to_be_read() {
    on_either_thread(|thread| async move {
        let (there, endpoint, mut jobs) = office(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Job>(&endpoint, "jobs").unwrap();
        let (first, mut caught) = catcher();
        let (second, unread) = catcher();
        to.do_send(Job::new(first));
        to.do_send(Job::new(second));
        settled(|| jobs.len() == 2).await;
        next(&mut jobs).await.report_to.do_send(Number(1));
        assert_eq!(caught.next().await, 1);
        assert!(unread.lives());
        drop(jobs);
        caught.gone().await;
        unread.gone().await;
        assert_eq!(dropped(&there, DropReason::BoxClosed), 1);
    });
}

#[test]
fn an_actor_whose_message_is_dropped_unread_is_let_go() {
    on_either_thread(|thread| async move {
        let (there, endpoint, _jobs) = office(thread).await;
        let _full = there.mailbox::<Job>().name("full").buffer(Buffer::dropping(0)).open().unwrap();
        let _other = there.mailbox::<Text>().name("texts").open().unwrap();
        let here = Node::builder().io_thread(thread).start();
        for name in ["nobody", "full", "texts"] {
            let (recipient, caught) = catcher();
            here.remote::<Job>(&endpoint, name).unwrap().do_send(Job::new(recipient));
            caught.gone().await;
        }
        assert_eq!(dropped(&there, DropReason::NoSuchBox), 1);
        assert_eq!(dropped(&there, DropReason::NewestShed), 1);
        assert_eq!(there.stats().dropped_total(), 3);
        assert_eq!((here.stats().sent, here.stats().dropped_total()), (3, 0));
    });
}

#[test]
fn an_actor_whose_message_never_leaves_is_let_go() {
    on_either_thread(|thread| async move {
        let (_there, endpoint, mut jobs) = office(thread).await;
        let here = Node::builder().io_thread(thread).max_message(2000).outbox(2000).start();
        let to = here.remote::<Job>(&endpoint, "jobs").unwrap();
        let send = |padding: usize| {
            let (report_to, caught) = catcher();
            to.do_send(Job { report_to, padding: "x".repeat(padding) });
            caught
        };
        let (too_large, kept, no_room) = (send(3000), send(1500), send(1500));
        too_large.gone().await;
        no_room.gone().await;
        let (report_to, bad) = catcher();
        let padding = String::new();
        here.remote::<BadJob>(&endpoint, "jobs").unwrap().do_send(BadJob { report_to, padding });
        bad.gone().await;
        let reasons = [DropReason::OutboxFull, DropReason::TooLarge, DropReason::NotEncodable];
        assert_eq!(here.stats().dropped, reasons.map(|reason| (reason, 1)).into());
        assert!(kept.lives());
        drop(next(&mut jobs).await);
        kept.gone().await;
        let (report_to, waiting) = catcher();
        here.remote::<Job>(support::Scratch::new().endpoint(), "jobs").unwrap().do_send(Job::new(report_to));
        waiting.gone().await;
    });
}

#[test]
fn a_recipient_sent_ten_times_is_let_go_when_it_was_returned_ten_times() {
    on_either_thread(|thread| async move {
        let (_there, endpoint, mut jobs) = office(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Job>(&endpoint, "jobs").unwrap();
        let (recipient, mut caught) = catcher();
        (0..10).for_each(|_| to.do_send(Job::new(recipient.clone())));
        let mut held = Vec::new();
        while held.len() < 10 {
            held.push(next(&mut jobs).await);
        }
        drop(recipient);
        // It lives to answer until the very last has gone.
        while let Some(job) = held.pop() {
            job.report_to.do_send(Number(held.len() as u64));
            assert_eq!(caught.next().await, held.len() as u64);
        }
        caught.gone().await;
        settled(|| here.stats().boxes.is_empty()).await;
    });
}

#[test]
fn what_is_sent_again_while_it_is_returned_stays_alive() {
    on_either_thread(|thread| async move {
        let (_there, endpoint, mut jobs) = office(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Job>(&endpoint, "jobs").unwrap();
        let (recipient, mut caught) = catcher();
        for n in 0..500 {
            // One is being returned while the next is on its way.
            to.do_send(Job::new(recipient.clone()));
            to.do_send(Job::new(recipient.clone()));
            drop(next(&mut jobs).await);
            next(&mut jobs).await.report_to.do_send(Number(n));
            assert_eq!(caught.next().await, n);
        }
        drop(recipient);
        caught.gone().await;
    });
}

#[test]
fn an_actor_is_let_go_when_the_connection_ends() {
    on_either_thread(|thread| async move {
        let (there, endpoint, mut jobs) = office(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let (recipient, caught) = catcher();
        here.remote::<Job>(&endpoint, "jobs").unwrap().do_send(Job::new(recipient));
        let held = next(&mut jobs).await;
        assert!(caught.lives());
        within(there.shutdown()).await;
        caught.gone().await;
        drop(held);
    });
}

#[test]
fn an_actor_is_let_go_when_the_receivers_system_ends() {
    on_either_thread(|thread| async move {
        let elsewhere = Elsewhere::start();
        let (_there, endpoint, mut jobs) = elsewhere.run(move || office(thread)).await;
        // It says no goodbye, and is expected back for so long.
        let here = Node::builder().io_thread(thread).forget_after(Duration::from_millis(50)).start();
        let (recipient, caught) = catcher();
        here.remote::<Job>(&endpoint, "jobs").unwrap().do_send(Job::new(recipient));
        let held = next(&mut jobs).await;
        assert!(caught.lives());
        elsewhere.end();
        caught.gone().await;
        drop(held);
    });
}

#[test]
fn an_actor_is_let_go_when_its_own_node_ends() {
    on_either_thread(|thread| async move {
        let (_there, endpoint, mut jobs) = office(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let (recipient, caught) = catcher();
        let (exported, of_export) = catcher();
        here.export(exported).unwrap();
        here.remote::<Job>(&endpoint, "jobs").unwrap().do_send(Job::new(recipient));
        let held = next(&mut jobs).await;
        assert!(caught.lives() && of_export.lives());
        within(here.shutdown()).await;
        caught.gone().await;
        of_export.gone().await;
        drop(held);
    });
}

#[test]
fn an_exported_actor_outlives_its_remote_holders() {
    on_either_thread(|thread| async move {
        let (_there, endpoint, mut jobs) = office(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Job>(&endpoint, "jobs").unwrap();
        let (recipient, mut caught) = catcher();
        let address = here.export(recipient).unwrap();
        to.do_send(Job::new(address.recipient()));
        let (marker, mark) = catcher();
        to.do_send(Job::new(marker));
        next(&mut jobs).await.report_to.do_send(Number(1));
        assert_eq!(caught.next().await, 1);
        // Handles are returned in order: when this one's actor has gone, the other was returned, too.
        drop(next(&mut jobs).await);
        mark.gone().await;
        address.do_send(Number(2));
        assert_eq!(caught.next().await, 2);
    });
}

#[test]
fn an_export_that_was_ended_lives_for_its_holders() {
    on_either_thread(|thread| async move {
        let (there, endpoint, mut jobs) = office(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let (recipient, mut caught) = catcher();
        let address = here.export(recipient.clone()).unwrap();
        assert_eq!(here.export(recipient).unwrap(), address, "the same actor again");
        let job = Job::new(address.recipient());
        here.remote::<Job>(&endpoint, "jobs").unwrap().do_send(job);
        let job = next(&mut jobs).await;
        assert!(here.unexport(&address) && !here.unexport(&address), "however often it was exported");
        drop(address);
        // Held elsewhere, and by nobody else.
        job.report_to.do_send(Number(7));
        assert_eq!(caught.next().await, 7);
        assert!(!there.unexport(&there.mailbox::<Number>().open().unwrap().address()), "it was not exported");
        drop(job);
        caught.gone().await;
    });
}

#[test]
fn over_the_limit_the_oldest_export_is_closed() {
    on_either_thread(|thread| async move {
        let (_there, endpoint, mut jobs) = office(thread).await;
        let here = Node::builder().io_thread(thread).exports(2).start();
        let to = here.remote::<Job>(&endpoint, "jobs").unwrap();
        let mut actors = Vec::new();
        let mut held = Vec::new();
        for _ in 0..3 {
            let (recipient, caught) = catcher();
            to.do_send(Job::new(recipient));
            actors.push(caught);
            held.push(next(&mut jobs).await);
        }
        actors[0].gone().await;
        (1..).zip(&held).for_each(|(n, job)| job.report_to.do_send(Number(n)));
        assert_eq!(actors[1].next().await, 2);
        assert_eq!(actors[2].next().await, 3);
        settled(|| dropped(&here, DropReason::NoSuchBox) + dropped(&here, DropReason::BoxClosed) == 1).await;
        assert_eq!(here.stats().boxes.len(), 2);
    });
}

#[test]
fn an_actor_lives_while_a_third_node_holds_what_was_passed_on() {
    on_either_thread(|thread| async move {
        let (_third, third_endpoint, mut third_jobs) = office(thread).await;
        let (middle, endpoint, mut jobs) = office(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let (recipient, mut caught) = catcher();
        here.remote::<Job>(&endpoint, "jobs").unwrap().do_send(Job::new(recipient));
        let job = next(&mut jobs).await;
        middle.remote::<Job>(&third_endpoint, "jobs").unwrap().do_send(job);
        let job = next(&mut third_jobs).await;
        for n in 0..10 {
            job.report_to.do_send(Number(n));
            assert_eq!(caught.next().await, n, "the middle does not hold it for itself");
        }
        drop(job);
        caught.gone().await;
        settled(|| here.stats().boxes.is_empty()).await;
        settled(|| middle.stats().boxes.len() == 1).await;
    });
}

#[test]
fn an_actor_whose_recipient_came_home_is_held_by_nobody_else() {
    on_either_thread(|thread| async move {
        let (there, endpoint, mut jobs) = office(thread).await;
        let (here, home, mut own_jobs) = office(thread).await;
        let (recipient, mut caught) = catcher();
        here.remote::<Job>(&endpoint, "jobs").unwrap().do_send(Job::new(recipient));
        let job = next(&mut jobs).await;
        there.remote::<Job>(&home, "jobs").unwrap().do_send(job);
        let job = next(&mut own_jobs).await;
        job.report_to.do_send(Number(1));
        assert_eq!(caught.next().await, 1);
        drop(job);
        caught.gone().await;
    });
}
