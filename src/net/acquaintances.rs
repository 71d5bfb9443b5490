//! Boxes of this node that a peer calls by name or by id, because it has no numbers left for them: what was looked up for
//! one is not looked up anew for each message.

use std::collections::HashMap;
use std::rc::Rc;

use super::contact::Contact;
use crate::boxes::registry::Registry;
use crate::ident::BoxId;
use crate::wire::frame::Identity;
use crate::wire::frame::Introduction;

/// As many are remembered for one connection, at most: some 300 bytes each, and a name of up to 255.
pub(super) const MAX_MET: usize = 16_384;

/// As many are remembered however few boxes there are.
const MIN_MET: usize = 64;

/// Those that one peer has introduced lately. Never many more than there are boxes, whatever it makes up.
#[derive(Default)]
pub(super) struct Acquaintances {
    by_name: HashMap<Box<str>, Rc<Contact>>,
    by_id: HashMap<BoxId, Rc<Contact>>,
}

impl Acquaintances {
    /// The one that is introduced, which may be known.
    pub(super) fn meet(&mut self, introduction: &Introduction<'_>, registry: &Registry, near: bool) -> Rc<Contact> {
        let known = match introduction.identity {
            Identity::YourName(name) => self.by_name.get(name),
            Identity::YourBox(id) => self.by_id.get(&id),
            _ => None,
        };
        match known {
            Some(contact) if contact.is_meant_by(introduction) => Rc::clone(contact),
            _ => self.meet_anew(introduction, registry, near),
        }
    }

    fn meet_anew(&mut self, introduction: &Introduction<'_>, registry: &Registry, near: bool) -> Rc<Contact> {
        let contact = Rc::new(Contact::new(introduction, near));
        let count = self.by_name.len() + self.by_id.len();
        if count >= limit(registry.len()) {
            *self = Acquaintances::default();
        }
        match introduction.identity {
            Identity::YourName(name) => drop(self.by_name.insert(name.into(), Rc::clone(&contact))),
            Identity::YourBox(id) => drop(self.by_id.insert(id, Rc::clone(&contact))),
            _ => {}
        }
        contact
    }
}

/// How many are remembered where there are so many boxes.
fn limit(boxes: usize) -> usize {
    boxes.saturating_mul(2).clamp(MIN_MET, MAX_MET)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, fingerprint: u64) -> Introduction<'_> {
        Introduction { identity: Identity::YourName(name), counted: false, fingerprint }
    }

    #[test]
    fn one_that_was_met_is_met_again_and_another_of_that_name_is_not_taken_for_it() {
        let (mut met, registry) = (Acquaintances::default(), Registry::default());
        let mut meet = |introduction: &Introduction<'_>| met.meet(introduction, &registry, true);
        let first = meet(&named("box", 7));
        assert!(Rc::ptr_eq(&first, &meet(&named("box", 7))));
        assert!(!Rc::ptr_eq(&first, &meet(&named("box", 8))), "of another shape");
        assert!(!Rc::ptr_eq(&first, &meet(&named("other", 7))));
        let id = Introduction { identity: Identity::YourBox(BoxId([1; 16])), counted: false, fingerprint: 7 };
        let by_id = meet(&id);
        assert!(Rc::ptr_eq(&by_id, &meet(&id)));
        let theirs = Introduction { identity: Identity::MyBox { id: BoxId([1; 16]), name: "box" }, ..named("box", 7) };
        assert!(!Rc::ptr_eq(&meet(&theirs), &meet(&theirs)), "who is there is not remembered here");
    }

    #[test]
    fn who_makes_up_names_is_not_remembered_beyond_a_few() {
        let (mut met, registry) = (Acquaintances::default(), Registry::default());
        for n in 0..100_000 {
            met.meet(&named(&n.to_string(), 7), &registry, true);
            let id = BoxId(u128::to_le_bytes(n));
            met.meet(&Introduction { identity: Identity::YourBox(id), ..named("", 7) }, &registry, true);
            assert!(met.by_name.len() + met.by_id.len() <= MIN_MET);
        }
        assert_eq!([0, 1_000, usize::MAX].map(limit), [MIN_MET, 2_000, MAX_MET]);
    }
}
