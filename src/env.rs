//! The environment of a node: the real machine, or a simulation by turmoil; and its source of randomness.
//!
//! Nothing else in this crate draws random values. So a simulation that has been [seeded](seed_simulation) runs the
//! same way each time, and its failures can be reproduced.

#[cfg(feature = "turmoil")]
pub use simulated::seed_simulation;
use uuid::Uuid;

/// Returns whether the caller runs on a host of a simulation.
#[inline]
pub(crate) fn is_simulated() -> bool {
    #[cfg(feature = "turmoil")]
    return turmoil::in_simulation();
    #[cfg(not(feature = "turmoil"))]
    return false;
}

/// Returns 16 bytes that nobody can guess, unless they come from a seeded simulation.
pub(crate) fn random_id() -> [u8; 16] {
    *draw().as_bytes()
}

/// Returns bytes that nobody can guess, unless they come from a seeded simulation: for keys, nonces and epochs.
///
/// # Panics
/// Panics if the system has no random bytes: a key that can be guessed is worse than no node.
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

/// Returns a number from 0 to 1.
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
        /// The seed of the simulations of this thread, and the number of draws since it was set. turmoil runs all hosts
        /// of a simulation on the thread that steps it, and does not expose its own seed.
        static SEED: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
    }

    /// Seeds the random values of nodes in simulations on this thread from now on: their keys, the ids of boxes and
    /// connections, the pauses before they dial again. If this is called with the same seed before each run of an
    /// otherwise deterministic simulation, every run sends the same bytes at the same times.
    ///
    /// turmoil has a seed of its own, and takes the time of day from the system unless one is set: a deterministic
    /// simulation sets `rng_seed` and `epoch` as well. Its code must not take random values from the system:
    /// `tokio::select!`, for one, does, unless it is `biased`.
    ///
    /// Without a seed, nodes in simulations draw from the system. Outside simulations they always do: an id that can be
    /// guessed is an open door.
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

    /// Fills `bytes` with random values, in a seeded simulation. Returns whether it is one.
    pub(super) fn fill(bytes: &mut [u8]) -> bool {
        for part in bytes.chunks_mut(16) {
            let Some(drawn) = draw() else { return false };
            part.iter_mut().zip(drawn.as_bytes()).for_each(|(byte, drawn)| *byte = *drawn);
        }
        true
    }

    /// Returns the next draw, in a seeded simulation: the hash of the seed and a number (a version 5 UUID, RFC 9562
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
