//! Numbers for boxes that are named often: the tables that both ends of one direction keep in step.
//!
//! The sending end decides alone; the receiving end only follows the *set*s that it reads, in order. So the tables
//! agree as long as every frame that was numbered is written, in the order in which it was numbered: numbers are
//! assigned under the lock that also appends the frame, and only once it is certain that it fits.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::hash::Hasher;

use super::codec::Violation;

/// Number of numbers that a sender may use before it has read the receiver's hello.
pub(crate) const MIN_NUMBERS: usize = 64;

/// Initial number of keys remembered as named once. A box that is named again soon is worth a number; one that is not
/// (the return address of a single question) must not push it out. Grows with use up to the number of numbers.
const FIRST_ADMITTED: usize = 64;

/// The sender's way to name a box this time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Naming {
    /// By the number set before.
    Use(u32),
    /// In full, and from now on by this number.
    Set(u32),
    /// In full, this time only.
    Inline,
}

/// The sending end's table.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    by_key: HashMap<u64, u32, BuildHasherDefault<KeyHasher>>,
    slots: Vec<Slot>,
    hand: usize,
    limit: usize,
    doorkeeper: Doorkeeper,
}

#[derive(Debug)]
struct Slot {
    key: u64,
    used: bool,
}

impl Numbers {
    pub(crate) fn new() -> Numbers {
        Numbers { limit: MIN_NUMBERS, ..Numbers::default() }
    }

    /// Raises the limit, as the receiver's hello allows more numbers than the minimum.
    pub(crate) fn widen(&mut self, limit: usize) {
        self.limit = self.limit.max(limit);
    }

    /// Returns the way to name the box of this key; the key 0 is never given a number. `hint` is the number that the
    /// box had last, if any: right most of the time, never trusted.
    #[inline]
    pub(crate) fn name(&mut self, key: u64, hint: u32) -> Naming {
        match self.slots.get_mut(hint as usize) {
            Some(slot) if slot.key == key => {
                slot.used = true;
                Naming::Use(hint)
            }
            _ => self.look_up(key),
        }
    }

    /// Returns the number of the box of this key, if it has one.
    #[inline]
    pub(crate) fn number(&mut self, key: u64, hint: u32) -> Option<u32> {
        match self.slots.get_mut(hint as usize) {
            Some(slot) if slot.key == key => {
                slot.used = true;
                Some(hint)
            }
            _ => self.find(key),
        }
    }

    /// Finds the number of a key whose hint is wrong, as it comes from another connection. The number counts as used
    /// all the same, and stays.
    fn find(&mut self, key: u64) -> Option<u32> {
        let number = *self.by_key.get(&key)?;
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.used = true;
        }
        Some(number)
    }

    /// Returns whether the box of this key has a number.
    #[inline]
    pub(crate) fn has(&self, key: u64, hint: u32) -> bool {
        self.slots.get(hint as usize).is_some_and(|slot| slot.key == key) || self.by_key.contains_key(&key)
    }

    fn look_up(&mut self, key: u64) -> Naming {
        if let Some(number) = self.find(key) {
            return Naming::Use(number);
        }
        if key == 0 || self.limit == 0 || self.doorkeeper.is_first(key, self.limit) {
            return Naming::Inline;
        }
        let number = self.free_slot(key);
        self.by_key.insert(key, number);
        Naming::Set(number)
    }

    /// Returns a number for `key`: a new one while the table may grow, then that of the first slot behind the hand that
    /// was not used since the hand last passed (the clock algorithm), so that boxes used often keep their number.
    fn free_slot(&mut self, key: u64) -> u32 {
        if self.slots.len() < self.limit {
            self.slots.push(Slot { key, used: false });
            return (self.slots.len() - 1) as u32;
        }
        loop {
            let at = self.hand;
            self.hand = (at + 1) % self.slots.len().max(1);
            let Some(slot) = self.slots.get_mut(at) else { return 0 };
            if !std::mem::take(&mut slot.used) {
                let old = std::mem::replace(&mut slot.key, key);
                self.by_key.remove(&old);
                return at as u32;
            }
        }
    }
}

/// The keys that were named once lately: the doorkeeper of the table (Einziger, Friedman and Manes, TinyLFU, 2017).
#[derive(Debug, Default)]
struct Doorkeeper {
    last: Vec<u64>,
    replaced: usize,
}

impl Doorkeeper {
    /// Returns whether this key was not named lately, and remembers it. If keys often push one another out, the table
    /// grows.
    fn is_first(&mut self, key: u64, limit: usize) -> bool {
        if self.last.is_empty() || (self.replaced > 4 * self.last.len() && self.last.len() < limit) {
            self.last = vec![0; (2 * self.last.len()).max(FIRST_ADMITTED)];
            self.replaced = 0;
        }
        let at = key as usize % self.last.len().max(1);
        let Some(last) = self.last.get_mut(at) else { return true };
        let first = std::mem::replace(last, key) != key;
        self.replaced += usize::from(first);
        first
    }
}

/// The receiving end's table: the meaning of each number.
#[derive(Debug)]
#[cfg_attr(any(test, fuzzing), derive(Clone))]
pub(crate) struct Meanings<T> {
    slots: Vec<Option<T>>,
    limit: usize,
}

impl<T> Meanings<T> {
    pub(crate) fn new(limit: usize) -> Meanings<T> {
        Meanings { slots: Vec::new(), limit: limit.max(MIN_NUMBERS) }
    }

    #[inline]
    pub(crate) fn get(&self, number: u64) -> Result<&T, Violation> {
        let slot = usize::try_from(number).ok().and_then(|at| self.slots.get(at));
        match slot {
            Some(Some(meaning)) => Ok(meaning),
            _ => Err(Violation::NumberUnset(number)),
        }
    }

    /// Sets the meaning of a number. Reserves no more than the highest number set so far asks for.
    pub(crate) fn set(&mut self, number: u64, meaning: T) -> Result<(), Violation> {
        let at = match usize::try_from(number) {
            Ok(at) if at < self.limit => at,
            _ => return Err(Violation::NumberOutOfRange { number, limit: self.limit }),
        };
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Some(meaning);
        }
        Ok(())
    }
}

/// A hasher for keys that are counters or memory addresses of this process: no peer can choose colliding ones, and one
/// multiplication spreads them. If a key has several parts, the last one counts.
#[derive(Debug, Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    #[inline]
    fn write_usize(&mut self, key: usize) {
        self.write_u64(key as u64);
    }

    #[inline]
    fn write_u64(&mut self, key: u64) {
        // 2^64 divided by the golden ratio (Knuth, The Art of Computer Programming, volume 3, section 6.4).
        self.0 = key.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_naming_sets_and_the_third_uses() {
        let mut numbers = Numbers::new();
        assert_eq!(numbers.name(7, u32::MAX), Naming::Inline);
        assert_eq!(numbers.name(7, u32::MAX), Naming::Set(0));
        assert_eq!(numbers.name(7, u32::MAX), Naming::Use(0));
        assert_eq!(numbers.name(7, 0), Naming::Use(0));
        assert_eq!(numbers.name(8, 0), Naming::Inline, "a hint is not trusted");
    }

    #[test]
    fn hot_keys_stay_while_cold_ones_pass() {
        let mut numbers = Numbers::new();
        let name = |numbers: &mut Numbers, key| {
            numbers.name(key, u32::MAX);
            numbers.name(key, u32::MAX)
        };
        let hot: Vec<Naming> = (1..9).map(|key| name(&mut numbers, key)).collect();
        for cold in 100..if cfg!(miri) { 200 } else { 1_000 } {
            name(&mut numbers, cold);
            for (key, set) in (1..).zip(&hot) {
                let Naming::Set(number) = *set else { panic!("{set:?}") };
                assert_eq!(numbers.name(key, number), Naming::Use(number), "after {cold}");
            }
        }
        assert_eq!(numbers.slots.len(), MIN_NUMBERS);
        assert_eq!(numbers.by_key.len(), MIN_NUMBERS);
    }

    #[test]
    fn a_hot_key_stays_although_its_number_is_taken_for_another() {
        let mut numbers = Numbers::new();
        assert_eq!([(); 2].map(|()| numbers.name(7, u32::MAX)), [Naming::Inline, Naming::Set(0)]);
        for cold in 100..if cfg!(miri) { 200 } else { 1_000 } {
            for _ in 0..2 {
                numbers.name(cold, u32::MAX);
            }
            assert_eq!(numbers.number(7, u32::MAX), Some(0), "after {cold}");
        }
    }

    #[test]
    fn keys_named_once_take_no_number() {
        let mut numbers = Numbers::new();
        let keys = if cfg!(miri) { 1_000 } else { 100_000 };
        assert!((1..keys).all(|key| numbers.name(key, u32::MAX) == Naming::Inline));
        assert!(numbers.slots.is_empty());
    }

    #[test]
    fn many_keys_in_turn_get_numbers_in_the_end() {
        let mut numbers = Numbers::new();
        numbers.widen(4096);
        let keys = if cfg!(miri) { 100 } else { 1000 };
        let rounds = (0..20).flat_map(|_| 1..=keys as u64);
        let inline = rounds.filter(|&key| numbers.name(key, u32::MAX) == Naming::Inline).count();
        assert!(inline < 6 * keys, "{inline}");
        assert_eq!(numbers.slots.len(), keys);
        assert!(numbers.doorkeeper.last.len() <= 4096);
    }

    #[test]
    fn a_number_over_the_limit_or_never_set_is_refused() {
        let mut meanings = Meanings::new(100);
        assert_eq!(meanings.set(100, ()), Err(Violation::NumberOutOfRange { number: 100, limit: 100 }));
        assert_eq!(meanings.set(u64::MAX, ()), Err(Violation::NumberOutOfRange { number: u64::MAX, limit: 100 }));
        assert_eq!(meanings.set(99, ()), Ok(()));
        assert_eq!(meanings.get(99), Ok(&()));
        assert_eq!(meanings.get(98), Err(Violation::NumberUnset(98)));
        assert_eq!(meanings.get(u64::MAX), Err(Violation::NumberUnset(u64::MAX)));
    }
}
