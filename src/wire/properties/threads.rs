//! No message reaches a wrong box if many threads write to one connection.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestRng;

use super::two_ends::what;
use super::*;
use crate::wire::fuzz::ends::OWN_MAX_FRAME;
use crate::wire::fuzz::meant::*;

/// State shared by the threads of one run.
struct Shared {
    pool: Vec<Whom>,
    /// Two connections, whose numbers get mixed up in the hints.
    lanes: [Mutex<(Outgoing, BytesMut)>; 2],
    numbers: usize,
    each: u32,
    writing: AtomicUsize,
    reading: AtomicBool,
}

const ROOM: usize = 16_384;

impl Shared {
    fn new(writers: u32, messages: u32, pool_size: usize, numbers: usize) -> Shared {
        Shared {
            pool: pool(pool_size),
            lanes: [(); 2].map(|()| Mutex::new((Outgoing::new(OWN_MAX_FRAME), BytesMut::new()))),
            numbers,
            each: messages / writers,
            writing: AtomicUsize::new(writers as usize),
            reading: AtomicBool::new(true),
        }
    }

    fn write(&self, sender: u32) {
        let _ended = AtEnd(|| _ = self.writing.fetch_sub(1, Ordering::Release));
        let mut random = TestRng::from_seed(RngAlgorithm::XorShift, &[sender as u8 + 1; 16]);
        let mut place = |below: usize| random.next_u32() % below as u32;
        let mut serials = [0; 2];
        for sent in 0..self.each {
            let lane = place(2) as usize;
            let size = self.pool.len();
            let handles = (0..place(7)).map(|_| place(size)).collect();
            let what = what(place(3) as u8, serials[lane]);
            let meant = Meant { sender, serial: serials[lane], to: place(size), handles, padding: 0, what };
            serials[lane] += 1;
            if sent == self.each / 10 {
                self.lanes.iter().for_each(|lane| lane.lock().0.peer_accepts(OWN_MAX_FRAME, self.numbers));
            }
            while self.try_write(lane, &meant) == Err(DropReason::OutboxFull) {
                if !self.reading.load(Ordering::Acquire) {
                    return;
                }
                std::thread::yield_now();
            }
        }
    }

    fn try_write(&self, lane: usize, meant: &Meant) -> Result<(), DropReason> {
        let mut lane = self.lanes[lane].lock();
        let (outgoing, out) = &mut *lane;
        let room = ROOM - out.len();
        meant.write(&self.pool, outgoing, out, room)
    }

    /// Reads until the writers have ended, and returns how many messages came.
    fn read(&self, writers: u32) -> u32 {
        let _ended = AtEnd(|| self.reading.store(false, Ordering::Release));
        let mut incoming = [(); 2].map(|()| Incoming::new(self.numbers));
        let mut serials = vec![[0; 2]; writers as usize];
        let mut came = 0;
        loop {
            let last = self.writing.load(Ordering::Acquire) == 0;
            let before = came;
            for (lane, incoming) in incoming.iter_mut().enumerate() {
                let bytes = std::mem::take(&mut self.lanes[lane].lock().1);
                let mut rest = &bytes[..];
                while let Front::Frame(raw) = front(rest, OWN_MAX_FRAME).unwrap() {
                    check(lane, &Came::read(incoming, raw), &mut serials);
                    came += 1;
                    rest = &rest[raw.size..];
                }
                assert!(rest.is_empty());
            }
            if last {
                return came;
            }
            if came == before {
                std::thread::yield_now();
            }
        }
    }
}

/// Checks the message against its body, which contains the sender, the serial number, the target and the handles.
fn check(lane: usize, came: &Came<'_, '_>, serials: &mut [[u32; 2]]) {
    let (words, _) = came.body.as_chunks();
    let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
    let mut word = || words.next().unwrap();
    let next = &mut serials[word() as usize][lane];
    assert_eq!(word(), *next, "out of order");
    *next += 1;
    let to = word();
    assert!(came.to.is_none_or(|came| came == to), "at another box");
    assert!(words.eq(came.handles.iter().copied()), "other handles");
}

struct AtEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

const BOXES: usize = if cfg!(miri) { 100 } else { 300 };

fn run_threads(writers: u32, pool_size: usize, numbers: usize) {
    const MESSAGES: u32 = if cfg!(miri) { 100 } else { 200_000 };
    let shared = Shared::new(writers, MESSAGES, pool_size, numbers);
    let came = std::thread::scope(|scope| {
        for sender in 0..writers {
            let shared = &shared;
            scope.spawn(move || shared.write(sender));
        }
        shared.read(writers)
    });
    assert_eq!(came, MESSAGES);
}

#[test]
fn two_threads_misdeliver_nothing() {
    run_threads(2, BOXES, 0);
}

#[test]
fn four_threads_misdeliver_nothing() {
    run_threads(4, BOXES, 200);
}
