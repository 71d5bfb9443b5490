//! The waiting messages of a box that keeps one message of each key: the newest.
//!
//! The key function and the key's `Hash` are the application's: they run here, before the box's lock is taken, and the
//! box compares only their results.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::hash::BuildHasher;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::hash::RandomState;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// A key of the application's, represented by its hash under two secrets of the buffer, 128 bits.
///
/// Two keys that hash different bytes are the same to a box with a chance of one in 2^128; with a million keys at hand,
/// one in 2^88. Nor can a peer that chooses the keys search for two such keys: it knows neither secret, and nothing
/// visible to it depends on them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key(u128);

/// Finds the key of a message.
pub(crate) struct KeyOf<M> {
    find: Arc<dyn Fn(&M) -> Key + Send + Sync>,
    /// Whether a panic of the key function was logged: once is enough, as it may happen for every message.
    is_logged: Arc<AtomicBool>,
}

impl<M> KeyOf<M> {
    pub(crate) fn new<K: Hash>(key: impl Fn(&M) -> K + Send + Sync + 'static) -> KeyOf<M> {
        let secrets = [RandomState::new(), RandomState::new()];
        let find = move |message: &M| {
            let mut twice = Twice(secrets.each_ref().map(BuildHasher::build_hasher));
            key(message).hash(&mut twice);
            twice.key()
        };
        KeyOf { find: Arc::new(find), is_logged: Arc::default() }
    }

    /// Returns the key of a message; `None` if the application's code panics.
    pub(crate) fn find(&self, message: &M) -> Option<Key> {
        let found = catch_unwind(AssertUnwindSafe(|| (self.find)(message))).ok();
        if found.is_none() && !self.is_logged.swap(true, Ordering::Relaxed) {
            let type_name = std::any::type_name::<M>();
            tracing::error!(target: "actix_hermod", type_name, "the key function of a box panics");
        }
        found
    }
}

impl<M> Clone for KeyOf<M> {
    fn clone(&self) -> KeyOf<M> {
        KeyOf { find: Arc::clone(&self.find), is_logged: Arc::clone(&self.is_logged) }
    }
}

/// A hasher under two secrets at once, so that the application's `Hash` runs once.
struct Twice([DefaultHasher; 2]);

impl Twice {
    fn key(&self) -> Key {
        let [high, low] = self.0.each_ref().map(|hasher| u128::from(hasher.finish()));
        Key(high << 64 | low)
    }
}

impl Hasher for Twice {
    fn write(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|hasher| hasher.write(bytes));
    }

    fn finish(&self) -> u64 {
        // Called only by a `Hash` that reads the hash so far, which none should.
        self.0.first().map_or(0, Hasher::finish)
    }
}

/// One item of each key, and any number without one, in the order in which they came.
///
/// A replaced item is taken out at once, so that memory never grows beyond the waiting items.
pub(crate) struct Latest<T> {
    /// The items by their serial numbers.
    items: BTreeMap<u64, (Option<Key>, T)>,
    numbers: HashMap<Key, u64>,
    next: u64,
}

impl<T> Default for Latest<T> {
    fn default() -> Latest<T> {
        Latest { items: BTreeMap::new(), numbers: HashMap::new(), next: 0 }
    }
}

impl<T> Latest<T> {
    /// Puts an item behind all others; returns the replaced item of the same key.
    pub(crate) fn push(&mut self, key: Option<Key>, item: T) -> Option<T> {
        let number = self.next;
        self.next += 1;
        let replaced = key.and_then(|key| self.numbers.insert(key, number));
        self.items.insert(number, (key, item));
        replaced.and_then(|number| self.items.remove(&number)).map(|(_, item)| item)
    }

    /// Takes the oldest item.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (_, (key, item)) = self.items.pop_first()?;
        key.map(|key| self.numbers.remove(&key));
        Some(item)
    }

    /// Takes the item that has this key.
    pub(crate) fn take(&mut self, key: Option<Key>) -> Option<T> {
        let number = self.numbers.remove(&key?)?;
        self.items.remove(&number).map(|(_, item)| item)
    }

    pub(crate) fn has(&self, key: Option<Key>) -> bool {
        key.is_some_and(|key| self.numbers.contains_key(&key))
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Frees the memory of an empty table.
    pub(crate) fn shrink(&mut self) {
        if self.items.is_empty() {
            self.numbers = HashMap::new();
        }
    }

    pub(crate) fn take_all(&mut self) -> VecDeque<T> {
        self.numbers = HashMap::new();
        std::mem::take(&mut self.items).into_values().map(|(_, item)| item).collect()
    }
}

impl<M> fmt::Debug for KeyOf<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyOf").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_and_found_again() {
        let key_of = KeyOf::new(|text: &String| text.clone());
        let find = |text: &str| key_of.find(&text.to_owned()).unwrap();
        assert_eq!(find("a"), find("a"));
        assert_ne!(find("a"), find("b"));
        let numbers = KeyOf::new(|n: &u64| *n);
        let keys: std::collections::HashSet<_> = (0..10_000_u64).map(|n| numbers.find(&n)).collect();
        assert_eq!(keys.len(), 10_000);
    }

    #[test]
    fn each_buffer_has_secrets_of_its_own() {
        let key_of = || KeyOf::new(|n: &u64| *n).find(&1).unwrap().0;
        let (one, other) = (key_of(), key_of());
        assert!(one >> 64 != other >> 64 && one as u64 != other as u64, "{one:x} {other:x}");
        assert_ne!((one >> 64) as u64, one as u64, "both halves under one secret");
    }

    #[test]
    fn a_key_function_or_a_hash_that_panics_gives_no_key() {
        struct Bad;
        impl Hash for Bad {
            fn hash<H: Hasher>(&self, _: &mut H) {
                panic!("on purpose");
            }
        }
        assert_eq!(KeyOf::new(|_: &u64| -> u64 { panic!("on purpose") }).find(&1), None);
        assert_eq!(KeyOf::new(|_: &u64| Bad).find(&1), None);
    }

    #[test]
    fn what_is_replaced_leaves_nothing_behind() {
        let key_of = KeyOf::new(|n: &u64| *n % 10);
        let mut latest = Latest::default();
        for n in 0..10 {
            assert_eq!(latest.push(key_of.find(&n), n), None);
        }
        for n in 1..100_000 {
            // The keys are all the key of the first item.
            assert_eq!(latest.push(key_of.find(&(10 * n)), 10 * n), Some(10 * (n - 1)));
            assert_eq!((latest.items.len(), latest.numbers.len()), (10, 10));
        }
        let left: Vec<u64> = std::iter::from_fn(|| latest.pop()).collect();
        assert_eq!(left, [1, 2, 3, 4, 5, 6, 7, 8, 9, 999_990]);
        assert!(latest.numbers.is_empty());
    }

    #[test]
    fn an_item_without_a_key_replaces_none() {
        let mut latest = Latest::default();
        assert_eq!(latest.push(None, 1), None);
        assert_eq!(latest.push(None, 2), None);
        assert_eq!(latest.take_all(), [1, 2]);
    }
}
