//! Links that break: a proxy in front of each node, and a thread that cuts, stalls and mends them at random.
//!
//! The links have threads of their own, so that they go on breaking while the processes are busy.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::SystemTime;

use hermod_demos::Outcome;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::runtime;
use tokio::sync::watch;

/// Pseudo-random numbers: xorshift, which is small and reproducible from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        // Never 0, and different for similar seeds.
        Chance((seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number less than `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.number() >> 11) % limit
    }

    /// Returns true in one of `cases` cases.
    pub(crate) fn one_in(&mut self, cases: u64) -> bool {
        self.below(cases) == 0
    }

    pub(crate) fn duration(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.below(to_ms - from_ms))
    }

    pub(crate) fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        if among.is_empty() { None } else { among.get(self.below(among.len() as u64) as usize) }
    }
}

/// Returns a seed for runs that name none.
pub(crate) fn time_of_day() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_nanos()) ^ since.as_secs()
}

/// A proxy that passes bytes, until it does not.
pub(crate) struct Link {
    pub(crate) endpoint: String,
    rules: Arc<Rules>,
}

/// The behaviour of a link, shared by all its connections.
struct Rules {
    /// The endpoint that the next connection leads to.
    to: Mutex<String>,
    /// Bytes that still pass before a connection is cut.
    fuse: AtomicUsize,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// Whether each direction is stalled: towards the node, and back.
    stalled: [bool; 2],
    cuts: u64,
    /// Whether the link is gone for good.
    over: bool,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.rules.state.send_modify(|state| state.over = true);
    }
}

impl Link {
    /// Starts a link to a node, on a thread of its own.
    pub(crate) fn to(endpoint: &str) -> Outcome<Link> {
        let rules = Arc::new(Rules {
            to: Mutex::new(endpoint.to_owned()),
            fuse: AtomicUsize::new(usize::MAX),
            state: watch::Sender::new(State::default()),
        });
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let link = Link { endpoint: listener.local_addr()?.to_string(), rules: Arc::clone(&rules) };
        thread::spawn(move || runtime.block_on(take(listener, rules)));
        Ok(link)
    }

    /// Makes the link lead elsewhere, from the next connection on.
    pub(crate) fn lead_to(&self, endpoint: &str) {
        *lock(&self.rules.to) = endpoint.to_owned();
    }
}

impl Rules {
    fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Stalls or releases each direction.
    fn stall(&self, stalled: [bool; 2]) {
        self.state.send_modify(|state| state.stalled = stalled);
    }

    fn cut_after(&self, bytes: usize) {
        self.fuse.store(bytes, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections, and carries their bytes, until the link is gone.
async fn take(listener: std::net::TcpListener, rules: Arc<Rules>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return eprintln!("soak: no link: {error}"),
    };
    let mut states = rules.state.subscribe();
    loop {
        let accepted = tokio::select! {
            _ = states.wait_for(|state| state.over) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((near, _)) = accepted else { continue };
        let (rules, mut cut) = (Arc::clone(&rules), rules.state.subscribe());
        let before = cut.borrow().cuts;
        tokio::spawn(async move {
            let to = lock(&rules.to).clone();
            let Ok(far) = TcpStream::connect(to).await else { return };
            tokio::select! {
                _ = cut.wait_for(|state| state.over || state.cuts != before) => {}
                () = carry(near, far, &rules) => {}
            }
        });
    }
}

/// Carries bytes both ways until one end is gone or the fuse has blown; then both are reset.
async fn carry(near: TcpStream, far: TcpStream, rules: &Rules) {
    for end in [&near, &far] {
        // Unread bytes are discarded, and the other end notices at once. If this fails, that only takes longer.
        let _ = end.set_zero_linger();
        let _ = end.set_nodelay(true);
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pass(near_in, far_out, 0, rules) => {}
        () = pass(far_in, near_out, 1, rules) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, direction: usize, rules: &Rules) {
    let (mut states, mut bytes) = (rules.state.subscribe(), vec![0; 64 << 10]);
    loop {
        if states.wait_for(|state| !state.stalled[direction]).await.is_err() {
            return;
        }
        let read = from.read(&mut bytes).await.unwrap_or(0);
        let before = rules.fuse.load(Ordering::Relaxed);
        let allowed = read.min(before);
        let left = if before == usize::MAX || allowed < read { usize::MAX } else { before - allowed };
        rules.fuse.store(left, Ordering::Relaxed);
        if read == 0 || to.write_all(&bytes[..allowed]).await.is_err() || allowed < read {
            return;
        }
    }
}

// ---- The thread that breaks them.

/// The faults so far.
#[derive(Debug, Default)]
pub(crate) struct Done {
    cuts: u64,
    stalls: u64,
    half_stalls: u64,
}

impl Done {
    /// Breaks a link in one of the ways in which links break.
    fn break_one(&mut self, link: &Rules, chance: &mut Chance) {
        match chance.below(6) {
            0 => {
                link.cut();
                self.cuts += 1;
            }
            // At any byte: of a greeting, of a message, or of a large message.
            1..=3 => {
                let most = 1 << (6 + chance.below(16));
                link.cut_after(chance.below(most) as usize);
                self.cuts += 1;
            }
            4 => {
                // For longer than the limit for a silent peer, or not.
                link.stall([true; 2]);
                thread::sleep(chance.duration(50, 3_000));
                self.stalls += 1;
            }
            _ => {
                let there = chance.one_in(2);
                link.stall([there, !there]);
                thread::sleep(chance.duration(50, 3_000));
                self.half_stalls += 1;
            }
        }
        link.stall([false; 2]);
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Done { cuts, stalls, half_stalls } = self;
        write!(f, "The links were cut {cuts} times, stalled {stalls} times, and in one direction {half_stalls} times.")
    }
}

/// Breaks links at random until it is told to end.
pub(crate) struct Faults {
    end: Arc<AtomicBool>,
    thread: thread::JoinHandle<Done>,
}

impl Faults {
    pub(crate) fn begin(links: &[Link], mut chance: Chance) -> Faults {
        let end = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&end);
        let links: Vec<Arc<Rules>> = links.iter().map(|link| Arc::clone(&link.rules)).collect();
        let thread = thread::spawn(move || {
            let mut done = Done::default();
            while !ends.load(Ordering::Relaxed) {
                thread::sleep(chance.duration(20, 800));
                if let Some(link) = chance.pick(&links) {
                    done.break_one(link, &mut chance);
                }
            }
            links.iter().for_each(|link| link.cut_after(usize::MAX));
            done
        });
        Faults { end, thread }
    }

    /// Mends all links, and returns the faults.
    pub(crate) fn end(self) -> Done {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}
