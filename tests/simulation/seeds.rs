//! Which seeds are run, what comes by chance from one of them, and what is said of one that fails.

use std::cell::Cell;
use std::env;
use std::ops::Range;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::Once;
use std::sync::PoisonError;

thread_local! {
    /// Panics on this thread. The runtime keeps those of tasks to itself, and a router that panics is a bug.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Chance: each number is a hash of the seed and how many came before it.
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice { state: seed }
    }

    fn next(&mut self) -> u64 {
        // A Weyl sequence, so that no state is ever left or met twice, stirred by two rounds of multiplication.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = u128::from(self.state ^ self.state >> 32);
        for factor in [0xd6e8_feb8_6659_fd93, 0xa076_1d64_78bd_642f] {
            let product = mixed * factor;
            mixed = u128::from(product as u64 ^ (product >> 64) as u64);
        }
        mixed as u64
    }

    /// A number of that range.
    pub(crate) fn among(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// An index below that length.
    pub(crate) fn below(&mut self, length: usize) -> usize {
        self.among(0..length as u64) as usize
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.among(0..times) == 0
    }
}

/// Runs a simulation with each seed of the usual `count`, or those that the environment asks for. The name is the test's.
pub(crate) fn for_each_seed(test: &str, count: u64, run: impl Fn(u64)) {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a seed is a number"));
    if let Ok(level) = env::var("HERMOD_LOG") {
        let level: tracing::Level = level.parse().expect("a level is error, warn, info, debug or trace");
        // Another test may have been first.
        let _ = tracing_subscriber::fmt().with_max_level(level).without_time().with_test_writer().try_init();
    }
    let seeds = match number("HERMOD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HERMOD_SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        let replay = format!("HERMOD_SEED={seed} cargo test --features turmoil --test simulation -- {test}");
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| alone(seed, || run(seed)))) {
            eprintln!("\nseed {seed} fails; it is replayed by\n\n    {replay}\n");
            panic::resume_unwind(panic);
        }
    }
}

/// Runs a simulation from a seed, and no other in this process meanwhile: nodes of one process share the count of what
/// waits behind recipients.
pub(crate) fn alone<R>(seed: u64, run: impl FnOnce() -> R) -> R {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    count_panics();
    let before = PANICS.get();
    actix_hermod::seed_simulation(seed);
    let result = run();
    assert_eq!(PANICS.get(), before, "a task has panicked");
    result
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            usual(info);
        }));
    });
}
