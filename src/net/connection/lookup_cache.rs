//! Boxes of this node that a peer calls by name or by id, because it has no numbers left for them: what was looked up for
//! one is not looked up anew for each message.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::binding::Called;
use super::binding::Contact;
use crate::boxes::registry::Registry;
use crate::ident::BoxId;
use crate::wire::introduction::Identity;
use crate::wire::introduction::Introduction;

/// One connection remembers as many however few boxes there are.
const MIN_MET: usize = 64;

/// Those that one peer has called lately, each of which there is or was. Beyond twice as many as there are, they are
/// forgotten: so of those that come and go, none is kept long.
pub(super) struct Acquaintances {
    by_name: HashMap<Box<str>, Rc<Contact>>,
    by_id: HashMap<BoxId, Rc<Contact>>,
    /// The one that was met last, of which it is not known yet whether there is such a box.
    newcomer: Option<Rc<Contact>>,
    registry: Arc<Registry>,
}

impl Acquaintances {
    pub(super) fn new(registry: &Arc<Registry>) -> Acquaintances {
        let (by_name, by_id) = Default::default();
        Acquaintances { by_name, by_id, newcomer: None, registry: Arc::clone(registry) }
    }

    /// The one that is introduced, which may be known.
    pub(super) fn meet(&mut self, introduction: &Introduction<'_>, near: bool) -> Rc<Contact> {
        let known = match introduction.identity {
            Identity::YourName(name) => self.by_name.get(name),
            Identity::YourBox(id) => self.by_id.get(&id),
            _ => None,
        };
        match known {
            Some(contact) if contact.is_meant_by(introduction) => Rc::clone(contact),
            _ => self.meet_anew(introduction, near),
        }
    }

    fn meet_anew(&mut self, introduction: &Introduction<'_>, near: bool) -> Rc<Contact> {
        if let Some(newcomer) = self.newcomer.take().filter(|newcomer| newcomer.was_found()) {
            self.remember(newcomer);
        }
        let contact = Rc::new(Contact::new(introduction, near));
        self.newcomer = Some(Rc::clone(&contact));
        contact
    }

    fn remember(&mut self, contact: Rc<Contact>) {
        if self.len() >= self.registry.len().saturating_mul(2).max(MIN_MET) {
            self.forget_all();
        }
        if !self.registry.count_met() {
            return;
        }
        let known = match contact.called() {
            Some(Called::ByName(name)) => self.by_name.insert(name.into(), contact),
            Some(Called::ById(id)) => self.by_id.insert(id, contact),
            // Of another node: it goes again.
            None => Some(contact),
        };
        self.registry.forget_met(usize::from(known.is_some()));
    }

    fn len(&self) -> usize {
        self.by_name.len() + self.by_id.len()
    }

    fn forget_all(&mut self) {
        self.registry.forget_met(self.len());
        (self.by_name, self.by_id) = Default::default();
    }
}

impl Drop for Acquaintances {
    fn drop(&mut self) {
        self.forget_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::registry::MAX_MET;

    fn named(name: &str, fingerprint: u64) -> Introduction<'_> {
        Introduction { identity: Identity::YourName(name), counted: false, fingerprint }
    }

    fn by_id(n: u128) -> Introduction<'static> {
        Introduction { identity: Identity::YourBox(BoxId(n.to_le_bytes())), ..named("", 7) }
    }

    /// Meets one of which there is such a box.
    fn meet(met: &mut Acquaintances, introduction: &Introduction<'_>) -> Rc<Contact> {
        let contact = met.meet(introduction, true);
        contact.find_any();
        contact
    }

    #[test]
    fn one_that_was_met_is_met_again_and_another_of_that_name_is_not_taken_for_it() {
        let met = &mut Acquaintances::new(&Arc::default());
        let [first, second] = [named("box", 7), by_id(1)].map(|introduction| meet(met, &introduction));
        meet(met, &named("other", 7));
        assert!(Rc::ptr_eq(&first, &meet(met, &named("box", 7))));
        assert!(Rc::ptr_eq(&second, &meet(met, &by_id(1))));
        assert!(!Rc::ptr_eq(&first, &meet(met, &named("box", 8))), "of another shape");
        let theirs = Introduction { identity: Identity::MyBox { id: BoxId([1; 16]), name: "box" }, ..named("box", 7) };
        assert!(!Rc::ptr_eq(&meet(met, &theirs), &meet(met, &theirs)), "who is there is not remembered here");
    }

    #[test]
    fn who_makes_up_names_is_not_remembered_and_who_is_gone_is_forgotten() {
        let registry = Arc::default();
        let mut met = Acquaintances::new(&registry);
        for n in 0..1_000 {
            met.meet(&named(&n.to_string(), 7), true);
        }
        assert_eq!(met.len(), 0);
        for n in 0..10_000 {
            meet(&mut met, &by_id(n));
            assert!(met.len() <= MIN_MET);
            assert_eq!(registry.met(), met.len());
        }
        drop(met);
        assert_eq!(registry.met(), 0);
    }

    #[test]
    fn all_connections_together_remember_no_more_than_the_limit_says() {
        let registry = Arc::default();
        let crowd: Vec<_> = (0..2 * MAX_MET / MIN_MET)
            .map(|_| {
                let mut met = Acquaintances::new(&registry);
                (0..=MIN_MET as u128).for_each(|n| drop(meet(&mut met, &by_id(n))));
                met
            })
            .collect();
        let sum: usize = crowd.iter().map(Acquaintances::len).sum();
        assert_eq!((sum, registry.met()), (MAX_MET, MAX_MET));
        drop(crowd);
        assert_eq!(registry.met(), 0);
    }
}
