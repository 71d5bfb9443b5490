//! Caches look-ups of boxes of this node that a peer addresses by name or by id, because it has no numbers left for
//! them, so that they are not looked up again for each message.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::binding::Binding;
use super::binding::CalledBy;
use crate::boxes::registry::Registry;
use crate::ident::BoxId;
use crate::net::transport::schemes::Transports;
use crate::wire::introduction::Identity;
use crate::wire::introduction::Introduction;

/// Look-ups that one connection remembers however few boxes there are.
const MIN_CACHED: usize = 64;

/// Recent look-ups by one peer, of boxes that exist or existed. Cleared when there are more than twice as many as open
/// boxes, so that entries of closed boxes are not kept long.
pub(super) struct LookupCache {
    by_name: HashMap<Box<str>, Rc<Binding>>,
    by_id: HashMap<BoxId, Rc<Binding>>,
    /// The latest look-up, as long as it is not known whether its box exists.
    newest: Option<Rc<Binding>>,
    registry: Arc<Registry>,
}

impl LookupCache {
    pub(super) fn new(registry: &Arc<Registry>) -> LookupCache {
        let (by_name, by_id) = Default::default();
        LookupCache { by_name, by_id, newest: None, registry: Arc::clone(registry) }
    }

    /// Returns the binding for an introduction, from the cache if it is known.
    pub(super) fn bind(&mut self, introduction: &Introduction<'_>, near: bool, transports: &Transports) -> Rc<Binding> {
        let cache = match introduction.identity {
            Identity::YourName(name) => self.by_name.get(name),
            Identity::YourBox(id) => self.by_id.get(&id),
            _ => None,
        };
        match cache {
            Some(binding) if binding.is_meant_by(introduction) => Rc::clone(binding),
            _ => self.bind_anew(introduction, near, transports),
        }
    }

    fn bind_anew(&mut self, introduction: &Introduction<'_>, near: bool, transports: &Transports) -> Rc<Binding> {
        if let Some(newest) = self.newest.take().filter(|newest| newest.was_found()) {
            self.remember(newest);
        }
        let binding = Rc::new(Binding::new(introduction, near, transports));
        self.newest = Some(Rc::clone(&binding));
        binding
    }

    fn remember(&mut self, binding: Rc<Binding>) {
        if self.len() >= self.registry.len().saturating_mul(2).max(MIN_CACHED) {
            self.forget_all();
        }
        if !self.registry.count_cached() {
            return;
        }
        let cache = match binding.called() {
            Some(CalledBy::ByName(name)) => self.by_name.insert(name.into(), binding),
            Some(CalledBy::ById(id)) => self.by_id.insert(id, binding),
            // A box of another node is not remembered.
            None => Some(binding),
        };
        self.registry.forget_cached(usize::from(cache.is_some()));
    }

    fn len(&self) -> usize {
        self.by_name.len() + self.by_id.len()
    }

    fn forget_all(&mut self) {
        self.registry.forget_cached(self.len());
        (self.by_name, self.by_id) = Default::default();
    }
}

impl Drop for LookupCache {
    fn drop(&mut self) {
        self.forget_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::registry::MAX_CACHED;

    fn named(name: &str, fingerprint: u64) -> Introduction<'_> {
        Introduction { identity: Identity::YourName(name), is_leased: false, fingerprint }
    }

    fn by_id(n: u128) -> Introduction<'static> {
        Introduction { identity: Identity::YourBox(BoxId(n.to_le_bytes())), ..named("", 7) }
    }

    /// Binds, as if the box existed.
    fn bind(cached: &mut LookupCache, introduction: &Introduction<'_>) -> Rc<Binding> {
        let binding = cached.bind(introduction, true, &Transports::default());
        binding.find_any();
        binding
    }

    #[test]
    fn a_binding_is_found_again_and_no_other_of_that_name_is_taken_for_it() {
        let cached = &mut LookupCache::new(&Arc::default());
        let [first, second] = [named("box", 7), by_id(1)].map(|introduction| bind(cached, &introduction));
        bind(cached, &named("other", 7));
        assert!(Rc::ptr_eq(&first, &bind(cached, &named("box", 7))));
        assert!(Rc::ptr_eq(&second, &bind(cached, &by_id(1))));
        assert!(!Rc::ptr_eq(&first, &bind(cached, &named("box", 8))), "of another shape");
        let theirs = Introduction { identity: Identity::MyBox { id: BoxId([1; 16]), name: "box" }, ..named("box", 7) };
        assert!(!Rc::ptr_eq(&bind(cached, &theirs), &bind(cached, &theirs)), "who is there is not remembered here");
    }

    #[test]
    fn who_makes_up_names_is_not_remembered_and_who_is_gone_is_forgotten() {
        let registry = Arc::default();
        let mut cached = LookupCache::new(&registry);
        for n in 0..1_000 {
            cached.bind(&named(&n.to_string(), 7), true, &Transports::default());
        }
        assert_eq!(cached.len(), 0);
        for n in 0..10_000 {
            bind(&mut cached, &by_id(n));
            assert!(cached.len() <= MIN_CACHED);
            assert_eq!(registry.cached(), cached.len());
        }
        drop(cached);
        assert_eq!(registry.cached(), 0);
    }

    #[test]
    fn all_connections_together_remember_no_more_than_the_limit_says() {
        let registry = Arc::default();
        let crowd: Vec<_> = (0..2 * MAX_CACHED / MIN_CACHED)
            .map(|_| {
                let mut cached = LookupCache::new(&registry);
                (0..=MIN_CACHED as u128).for_each(|n| drop(bind(&mut cached, &by_id(n))));
                cached
            })
            .collect();
        let sum: usize = crowd.iter().map(LookupCache::len).sum();
        assert_eq!((sum, registry.cached()), (MAX_CACHED, MAX_CACHED));
        drop(crowd);
        assert_eq!(registry.cached(), 0);
    }
}
