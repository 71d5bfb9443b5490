//! The world that a node runs in: the machine's, or one that turmoil simulates. And what comes by chance in it.
//!
//! Nothing else in this crate draws by chance. So a simulation that has been [seeded](seed_simulation) goes the same way
//! each time, and what went wrong in it can be looked at again.

#[cfg(feature = "turmoil")]
pub use simulated::seed_simulation;
use uuid::Uuid;

/// Whether the caller runs on a host of a simulation.
#[inline]
pub(crate) fn is_simulated() -> bool {
    #[cfg(feature = "turmoil")]
    return turmoil::in_simulation();
    #[cfg(not(feature = "turmoil"))]
    return false;
}

/// 16 bytes that nobody guesses, unless they come from a seeded simulation.
pub(crate) fn random_id() -> [u8; 16] {
    *draw().as_bytes()
}

/// Bytes that nobody guesses, unless they come from a seeded simulation: for keys, nonces and epochs.
///
/// # Panics
/// If the system has none: a key that can be guessed is worse than no node.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[cfg(feature = "turmoil")]
    if simulated::fill(&mut bytes) {
        return bytes;
    }
    if let Err(error) = getrandom::fill(&mut bytes) {
        panic!("the system gives no random bytes: {error}");
    }
    bytes
}

/// A number from 0 to 1.
pub(crate) fn random_fraction() -> f64 {
    f64::from(draw().as_fields().0) / f64::from(u32::MAX)
}

fn draw() -> Uuid {
    #[cfg(feature = "turmoil")]
    if let Some(drawn) = simulated::draw() {
        return drawn;
    }
    Uuid::new_v4()
}

#[cfg(feature = "turmoil")]
mod simulated {
    use std::cell::Cell;

    use uuid::Uuid;

    thread_local! {
        /// The seed of the simulations of this thread, and how often was drawn since it was set. turmoil runs all hosts of
        /// a simulation on the thread that steps it, and does not show the seed that it was given itself.
        static SEED: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
    }

    /// Seeds what nodes draw by chance in simulations on this thread from now on: their keys, the ids of boxes and
    /// connections, the pauses before they dial again. Called with the same seed before each run of a simulation that
    /// goes the same way otherwise, every run sends the same bytes at the same times.
    ///
    /// turmoil has a seed of its own, and takes the time of day from the system if it is not told one: a simulation that
    /// is to go the same way sets `rng_seed` and `epoch` as well. What draws by chance in it must not take it from the
    /// system: `tokio::select!` for one does, unless it is `biased`.
    ///
    /// Without this, nodes in simulations draw from the system, as they do outside of them. Outside they always do: an id
    /// that can be guessed is an open door.
    ///
    /// # Examples
    /// ```
    /// use std::time::UNIX_EPOCH;
    ///
    /// use actix_hermod::Node;
    ///
    /// let id = |seed: u64| {
    ///     actix_hermod::seed_simulation(seed);
    ///     let mut simulation = turmoil::Builder::new().rng_seed(seed).epoch(UNIX_EPOCH).build();
    ///     let (told, heard) = std::sync::mpsc::channel();
    ///     simulation.client("a", async move { Ok(told.send(Node::start().id())?) });
    ///     simulation.run().unwrap();
    ///     heard.recv().unwrap()
    /// };
    /// assert_eq!(id(1), id(1));
    /// assert_ne!(id(1), id(2));
    /// ```
    pub fn seed_simulation(seed: u64) {
        SEED.set(Some((seed, 0)));
    }

    /// Fills `bytes` with what is drawn, in a simulation that was seeded; whether it is one.
    pub(super) fn fill(bytes: &mut [u8]) -> bool {
        for part in bytes.chunks_mut(16) {
            let Some(drawn) = draw() else { return false };
            part.iter_mut().zip(drawn.as_bytes()).for_each(|(byte, drawn)| *byte = *drawn);
        }
        true
    }

    /// The next draw, in a simulation that was seeded: the hash of the seed and a number (a version 5 UUID, RFC 9562
    /// section 5.5), so that no other generator is needed.
    pub(super) fn draw() -> Option<Uuid> {
        if !turmoil::in_simulation() {
            return None;
        }
        let (seed, drawn) = SEED.get()?;
        SEED.set(Some((seed, drawn + 1)));
        Some(Uuid::new_v5(&Uuid::from_u128(u128::from(seed)), &drawn.to_le_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_one() {
        for _ in 0..1000 {
            assert!((0.0..=1.0).contains(&random_fraction()));
        }
    }
}
