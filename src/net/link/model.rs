//! The loom model of an outbox, in every interleaving of senders, the writer and the end of the connection: a waiting
//! writer is woken, and every accepted message is written, or dropped and counted.
use std::future::poll_fn;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use loom::future::block_on;
use loom::thread;
use loom::thread::JoinHandle;

use super::*;
use crate::boxes::queue::model::StubNode;
use crate::boxes::queue::model::explore;
use crate::config::Limits;
use crate::handle::envelope::Envelope;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::Route;
use crate::handle::pointer::identity::Origin;
use crate::handle::pointer::path::NamedLink;
use crate::handle::pointer::path::Path;
use crate::ident::BoxId;
use crate::ident::ConnectionId;
use crate::ident::Incarnation;
use crate::wire::body::Body;
use crate::wire::frames::Front;
use crate::wire::frames::front;
use crate::wire::frames::kind;

/// Returns a link that a peer has opened and greeted, the number of its connection, and a pointer to a box at its other
/// end.
fn greeted(stub: &Arc<StubNode>) -> (Arc<Link>, u64, Arc<Pointer>) {
    let link = Link::accepted(link_context(stub));
    let connection = link.up(&hello(), names(), Arc::default());
    let pointer = pointer(stub, &link);
    (link, connection, pointer)
}

fn pointer(stub: &Arc<StubNode>, link: &Arc<Link>) -> Arc<Pointer> {
    let origin = Origin::Boxed { node: names().peer, id: BoxId([2; 16]) };
    let route = Route::Away {
        path: Path::by_name(NamedLink { link: Arc::clone(link) as _, is_loopback: link.is_loopback() }),
        to: None,
    };
    Arc::new(Pointer::new(Arc::clone(stub) as _, origin, "", route, None))
}

fn link_context(stub: &Arc<StubNode>) -> LinkContext {
    LinkContext {
        node: Arc::clone(stub) as _,
        quotas: Arc::new(Quotas::new(&Limits::default())),
        registry: Arc::default(),
        settlement: Arc::default(),
        absences: Arc::new(Absences::new(Duration::from_secs(60))),
        holdings: Arc::default(),
    }
}

fn names() -> ConnectionNames {
    ConnectionNames { peer: Incarnation::of([9; 16]), local: ConnectionId([4; 16]), remote: hello().connection }
}

fn hello() -> Hello {
    Hello {
        versions: (1, 1),
        features: 0,
        connection: ConnectionId([3; 16]),
        max_frame: 1 << 20,
        numbers: 64,
        nonce: [0; 32],
    }
}

/// Starts a thread that sends one message, and returns the number that were accepted.
fn sender(link: &Arc<Link>, to: &Arc<Pointer>) -> JoinHandle<u64> {
    sender_of(b"body", link, to)
}

fn sender_of(body: &'static [u8], link: &Arc<Link>, to: &Arc<Pointer>) -> JoinHandle<u64> {
    let (link, to) = (Arc::clone(link), Arc::clone(to));
    thread::spawn(move || {
        u64::from(
            link.post(
                &to,
                &Envelope { body: Body::from(body), handles: &[], fingerprint: 0, type_name: "", hops: 0 },
                true,
            )
            .is_ok(),
        )
    })
}

/// Counts the frames of a kind in a chunk.
fn count(chunk: &[u8], of_kind: u8) -> u64 {
    let (mut rest, mut count) = (chunk, 0);
    while let Ok(Front::Frame(raw)) = front(rest, 1 << 20) {
        count += u64::from(raw.kind == of_kind);
        rest = &rest[raw.size..];
    }
    assert!(rest.is_empty(), "frames are written whole");
    count
}

/// Waits for the next chunk, as a writer does. If nobody wakes it, loom reports a deadlock.
fn written(link: &Link, connection: u64) -> Option<Vec<u8>> {
    let mut chunk = Chunk::default();
    match block_on(poll_fn(|cx| link.poll_next(connection, &mut chunk, cx))) {
        Next::Write => Some([&chunk.bytes[..], &chunk.piece[..]].concat()),
        Next::Finish => None,
    }
}

#[test]
fn a_writer_that_waits_is_woken_by_each_sender() {
    explore(|| {
        let stub = StubNode::new();
        let (link, connection, to) = greeted(&stub);
        let senders = [sender(&link, &to), sender(&link, &to)];
        let mut posts = 0;
        while posts < 2 {
            posts += count(&written(&link, connection).expect("nobody has ended it"), kind::POST);
        }
        assert_eq!(senders.map(|sender| sender.join().unwrap()), [1, 1]);
    });
}

#[test]
fn a_writer_that_waits_writes_what_was_taken_before_the_goodbye_and_ends() {
    explore(|| {
        let stub = StubNode::new();
        let (link, connection, to) = greeted(&stub);
        let sender = sender(&link, &to);
        let closer = {
            let link = Arc::clone(&link);
            thread::spawn(move || link.close(Farewell::Shutdown, ""))
        };
        let (mut posts, mut goodbyes) = (0, 0);
        while let Some(chunk) = written(&link, connection) {
            assert_eq!(goodbyes, 0, "the goodbye is the last frame");
            posts += count(&chunk, kind::POST);
            goodbyes += count(&chunk, kind::GOODBYE);
        }
        assert_eq!((posts, goodbyes), (sender.join().unwrap(), 1));
        closer.join().unwrap();
    });
}

#[test]
fn a_ping_among_messages_wakes_the_writer_too() {
    explore(|| {
        let stub = StubNode::new();
        let (link, connection, to) = greeted(&stub);
        let sender = sender(&link, &to);
        let pinger = {
            let link = Arc::clone(&link);
            thread::spawn(move || link.ping(1))
        };
        let (mut posts, mut round_trips) = (0, 0);
        while posts + round_trips < 2 {
            let chunk = written(&link, connection).expect("nobody has ended it");
            posts += count(&chunk, kind::POST);
            round_trips += count(&chunk, kind::PING);
        }
        assert_eq!((posts, round_trips), (sender.join().unwrap(), 1));
        pinger.join().unwrap();
    });
}

#[test]
fn what_is_taken_before_the_greeting_is_written_after_it() {
    explore(|| {
        let stub = StubNode::new();
        let link = Link::accepted(link_context(&stub));
        let to = pointer(&stub, &link);
        let sender = sender(&link, &to);
        let connection = link.up(&hello(), names(), Arc::default());
        let chunk = written(&link, connection).expect("nobody has ended it");
        assert_eq!((count(&chunk, kind::POST), sender.join().unwrap()), (1, 1));
    });
}

/// The peer knows no pieces, so a large message is written whole; it waits in a flow all the same.
#[test]
fn a_writer_is_woken_by_what_waits_in_a_lane_too() {
    static LARGE: [u8; 40 << 10] = [0; 40 << 10];
    explore(|| {
        let stub = StubNode::new();
        let (link, connection, to) = greeted(&stub);
        let large = sender_of(&LARGE, &link, &to);
        let small = sender(&link, &to);
        let mut posts = 0;
        while posts < 2 {
            posts += count(&written(&link, connection).expect("nobody has ended it"), kind::POST);
        }
        assert_eq!((large.join().unwrap(), small.join().unwrap()), (1, 1));
        assert_eq!(link.stats().map(|stats| stats.messages_sent), Some(2));
    });
}

#[test]
fn what_a_connection_that_ends_has_not_written_is_counted() {
    explore(|| {
        let stub = StubNode::new();
        let (link, connection, to) = greeted(&stub);
        let senders = [sender(&link, &to), sender(&link, &to)];
        let writer = {
            let link = Arc::clone(&link);
            // Polls once, since ending the connection ends the writer too.
            thread::spawn(move || {
                let mut chunk = Chunk::default();
                let mut cx = Context::from_waker(std::task::Waker::noop());
                match link.poll_next(connection, &mut chunk, &mut cx) {
                    Poll::Ready(Next::Write) => count(&chunk.bytes, kind::POST),
                    Poll::Ready(Next::Finish) | Poll::Pending => 0,
                }
            })
        };
        link.down(DropReason::Lost, "", true);
        let taken: u64 = senders.map(|sender| sender.join().unwrap()).iter().sum();
        assert_eq!(writer.join().unwrap() + stub.dropped(), taken);
    });
}

#[test]
fn a_link_is_dialled_once_by_whoever_sends_first() {
    explore(|| {
        let stub = StubNode::new();
        let dials = Arc::new(AtomicUsize::new(0));
        let start: StartDial = {
            let dials = Arc::clone(&dials);
            Box::new(move |_| {
                dials.fetch_add(1, Ordering::Relaxed);
            })
        };
        let endpoint = "127.0.0.1:1".parse().expect("an endpoint");
        let link = Link::to(link_context(&stub), Destination { endpoint, expected: None, asked_by: None }, start);
        let to = pointer(&stub, &link);
        let senders = [sender(&link, &to), sender(&link, &to)];
        assert_eq!(senders.map(|sender| sender.join().unwrap()), [1, 1]);
        assert_eq!(dials.load(Ordering::Relaxed), 1);
        link.down(DropReason::NotConnected, "", false);
        assert_eq!(stub.dropped(), 2);
    });
}
