//! One kind of trouble each, from beginning to end.

use std::cell::Cell;
use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::ListenError;

use crate::seeds::for_each_seed;
use crate::station::Asking;
use crate::station::Brought;
use crate::station::Home;
use crate::station::LANES;
use crate::station::Lane;
use crate::station::Note;
use crate::station::PORT;
use crate::station::Way;
use crate::town::Town;
use crate::town::nervous;

const LATENCY: Duration = Duration::from_millis(10);

/// Longer than it takes to notice that a peer is silent, and for it to notice the same.
const LONG: Duration = Duration::from_millis(1_000);

/// Shorter than that.
const SHORT: Duration = Duration::from_millis(150);

/// Seeds of each scenario, unless the environment asks for others.
const SEEDS: u64 = 5;

/// Two hosts that have talked to each other.
fn two(seed: u64) -> Town {
    let mut town = Town::new(seed, 2, LATENCY, nervous);
    town.all_reach_all();
    town
}

/// Every host sends to every other by each of its handles, in each of so many steps.
fn chat(town: &mut Town, steps: usize) {
    for _ in 0..steps {
        for from in 0..town.hosts() {
            for to in (0..town.hosts()).filter(|to| *to != from) {
                town.at(from, move |home| {
                    home.others[to].lanes.iter().for_each(|lane| _ = send(home, lane));
                });
            }
        }
        town.step();
    }
}

fn send(home: &Home, lane: &Lane) -> u64 {
    lane.send(&home.ledger, false, Brought::default())
}

#[test]
fn what_was_in_doubt_in_a_partition_is_settled_when_it_is_over() {
    for_each_seed("what_was_in_doubt_in_a_partition", SEEDS, |seed| {
        let mut town = two(seed);
        chat(&mut town, 20);
        town.partition(0, 1);
        chat(&mut town, 20);
        town.until("something is in doubt", |town| town.books().in_doubt > 0);
        chat(&mut town, 20);
        town.heal();
        town.all_reach_all();
        town.quiet((0, 0));
        assert!(
            town.dropped(0, DropReason::Lost) + town.dropped(1, DropReason::Lost) > 0,
            "some were lost, and it is known"
        );
    });
}

#[test]
fn loss_in_one_direction_is_noticed_on_both_sides() {
    for_each_seed("loss_in_one_direction", SEEDS, |seed| {
        for (from, to) in [(0, 1), (1, 0)] {
            let mut town = two(seed);
            let before = (town.up(0), town.up(1));
            assert_ne!(before, (0, 0));
            town.silence(from, to);
            chat(&mut town, 20);
            town.until("both sides have let all connections go", |town| town.up(0) + town.up(1) == 0);
            town.heal();
            town.all_reach_all();
            town.quiet((0, 0));
            assert_eq!((town.up(0), town.up(1)), before);
        }
    });
}

#[test]
fn a_link_that_is_held_up_for_a_moment_loses_nothing() {
    for_each_seed("a_link_that_is_held_up", SEEDS, |seed| {
        let mut town = two(seed);
        let (before, dropped) = (town.books(), town.books().dropped);
        town.hold(0, 1);
        chat(&mut town, 2);
        town.run_for(SHORT);
        town.release(0, 1);
        town.quiet((0, 0));
        let after = town.books();
        assert_eq!(after.sent - before.sent, 2 * 2 * LANES as u64);
        assert_eq!((after.delivered - before.delivered, after.dropped), (after.sent - before.sent, dropped));
    });
}

/// Bytes given up long ago still arrive, in the middle of new ones.
#[test]
fn what_a_link_lets_go_too_late_does_no_harm() {
    for_each_seed("what_a_link_lets_go", SEEDS, |seed| {
        let mut town = two(seed);
        for _ in 0..3 {
            chat(&mut town, 10);
            town.hold(0, 1);
            chat(&mut town, 10);
            town.run_for(LONG);
            town.release(0, 1);
            chat(&mut town, 10);
        }
        town.heal();
        town.all_reach_all();
        town.quiet((0, 0));
    });
}

#[test]
fn no_request_hangs_when_its_answer_cannot_come() {
    for_each_seed("no_request_hangs", SEEDS, |seed| {
        let mut town = two(seed);
        let ask = |town: &Town| {
            for by in [Asking::Ask, Asking::Within(u64::from(u32::MAX)), Asking::Send, Asking::Recipient] {
                town.at(0, move |home| _ = home.ask(1, by, 20, u64::from(u32::MAX)));
            }
        };
        ask(&town);
        town.run_for(SHORT);
        assert_eq!(town.ledger().open(), 0, "it is answered");
        for _ in 0..20 {
            ask(&town);
            town.step();
        }
        assert!(town.ledger().open() > 0);
        town.partition(0, 1);
        ask(&town);
        town.until("every request has ended", |town| town.ledger().open() == 0);
        // Nor one that is made in the pause, or while nobody answers the dial.
        for _ in 0..100 {
            ask(&town);
            town.step();
        }
        town.until("every request has ended", |town| town.ledger().open() == 0);
        town.heal();
        town.all_reach_all();
        town.quiet((0, 0));
    });
}

#[test]
fn a_host_that_was_restarted_is_another_node_under_the_same_names() {
    for_each_seed("a_host_that_was_restarted", SEEDS, |seed| {
        for alone in [true, false] {
            let mut town = Town::new(seed, 3, LATENCY, nervous);
            town.all_reach_all();
            chat(&mut town, 10);
            let before = town.node(2).id();
            if alone {
                // Nobody hears that it goes.
                town.partition(2, 0);
                town.partition(2, 1);
            }
            town.crash(2);
            chat(&mut town, 100);
            town.heal();
            town.all_reach_all();
            assert_ne!(town.node(2).id(), before);
            let (missing, in_doubt) = town.settled();
            assert!((0..=i128::from(in_doubt)).contains(&missing), "{missing} are missing: {town:#?}");
            // From now on all is known, but for what went with it.
            chat(&mut town, 10);
            town.partition(0, 2);
            chat(&mut town, 100);
            town.heal();
            town.all_reach_all();
            town.quiet((missing, in_doubt));
        }
    });
}

#[test]
fn an_address_waits_for_a_host_and_a_box_that_come_later() {
    for_each_seed("an_address_waits", SEEDS, |seed| {
        let mut town = two(seed);
        town.crash(1);
        town.run_for(LONG);
        let before = town.dropped(0, DropReason::NotConnected);
        let first = |home: &Rc<Home>| _ = send(home, &home.others[1].lanes[2]);
        town.at(0, first);
        town.until("it is known to be lost", |town| town.dropped(0, DropReason::NotConnected) > before);
        town.bounce(1);
        town.at(1, |home| home.close());
        town.at(1, |home| _ = home.node.unpublish("desk"));
        town.until("the host is found, but not the box", |town| {
            town.at(0, first);
            town.dropped(1, DropReason::NoSuchBox) > 0
        });
        town.at(1, |home| {
            home.open(Buffer::dropping(64), 0);
            home.publish();
        });
        town.all_reach_all();
        let gone = town.settled();
        town.quiet(gone);
    });
}

#[test]
fn a_node_that_is_shut_down_loses_nothing() {
    for_each_seed("a_node_that_is_shut_down", SEEDS, |seed| {
        let mut town = two(seed);
        let before = town.books();
        let times = 4;
        town.at(0, move |home| {
            for _ in 0..times {
                home.others[1].lanes.iter().for_each(|lane| _ = send(home, lane));
            }
        });
        let is_done = town.shut_down(0);
        town.until("it is shut down", |_| is_done.get());
        town.quiet((0, 0));
        let after = town.books();
        let sent = (times * LANES) as u64;
        assert_eq!((after.sent - before.sent, after.delivered - before.delivered), (sent, sent), "{town:#?}");
    });
}

/// Both sides dial the other at several endpoints at once: each of these is a connection of its own, and all of them stay.
#[test]
fn connections_that_cross_do_not_evict_each_other() {
    const PORTS: u16 = 4;
    const TIMES: u64 = 50;
    for_each_seed("connections_that_cross", SEEDS, |seed| {
        let mut town = Town::new(seed, 2, LATENCY, nervous);
        let listening = Rc::new(Cell::new(0));
        for host in 0..2 {
            let listening = Rc::clone(&listening);
            town.at(host, move |home| {
                // The reader of the usual box is fast enough for all.
                home.open(Buffer::dropping(4_096), 0);
                let node = home.node.clone();
                tokio::task::spawn_local(async move {
                    for port in 1..PORTS {
                        node.listen(format!("0.0.0.0:{}", PORT + port)).await.expect("the port is free");
                    }
                    listening.set(listening.get() + 1);
                });
            });
        }
        town.until("both listen", |_| listening.get() == 2);
        let sent = Rc::new(RefCell::new(Vec::new()));
        for host in 0..2 {
            let (sent, other) = (Rc::clone(&sent), ["b", "a"][host]);
            town.at(host, move |home| {
                let lanes = (0..PORTS).map(|port| {
                    let to = home.node.remote::<Note>(format!("{other}:{}", PORT + port), "box");
                    Lane::new(&home.ledger, Way::Address(to.expect("an endpoint and a name")))
                });
                let lanes: Vec<Lane> = lanes.collect();
                let home = Rc::clone(home);
                tokio::task::spawn_local(async move {
                    for _ in 0..TIMES {
                        sent.borrow_mut().extend(lanes.iter().map(|lane| send(&home, lane)));
                        tokio::time::sleep(Duration::from_millis(7)).await;
                    }
                    // So that they are held to the end.
                    std::future::pending::<()>().await;
                });
            });
        }
        let all = 2 * u64::from(PORTS) * TIMES;
        town.until("all are sent", |_| sent.borrow().len() as u64 == all);
        town.quiet((0, 0));
        let books = town.books();
        assert_eq!((books.sent, books.delivered, books.dropped), (all, all, 0));
        for host in 0..2 {
            let stats = town.node(host).stats();
            assert_eq!(stats.connections.len(), 2 * usize::from(PORTS), "{stats:#?}");
            assert!(stats.connections.iter().all(|connection| connection.reconnects == 0), "{stats:#?}");
        }
    });
}

#[test]
fn a_simulation_has_no_unix_sockets() {
    for_each_seed("a_simulation_has_no_unix_sockets", 1, |seed| {
        let mut town = two(seed);
        let refused = Rc::new(Cell::new(false));
        let told = Rc::clone(&refused);
        town.at(0, move |home| {
            let node = home.node.clone();
            tokio::task::spawn_local(async move {
                let listening = node.listen("unix:hermod.sock").await;
                told.set(matches!(listening, Err(ListenError::Io(error)) if error.kind() == ErrorKind::Unsupported));
            });
        });
        town.until("it is refused", |_| refused.get());
        let before = town.dropped(0, DropReason::NotConnected);
        town.at(0, |home| {
            let to = home.node.remote::<Note>("unix:hermod.sock", "box").expect("an endpoint and a name");
            send(home, &Lane::new(&home.ledger, Way::Address(to)));
        });
        town.until("nothing is sent", |town| town.dropped(0, DropReason::NotConnected) > before);
        town.quiet((0, 0));
    });
}
