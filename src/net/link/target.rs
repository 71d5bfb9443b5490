//! Pointers as they are written in a message on a connection: as its target, and as handles inside it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::handle::pointer::Pointer;
use crate::handle::ports::LocalBox;
use crate::ident::Incarnation;
use crate::sync::Mutex;
use crate::wire::frames::report::Account;
use crate::wire::introduction::Introduction;
use crate::wire::outgoing::Referent;

/// The target of a message.
#[derive(Clone, Copy)]
pub(super) struct TargetRef<'a> {
    pub(super) pointer: &'a Pointer,
    /// The result of [`Pointer::is_direct_by`].
    pub(super) direct: bool,
    /// The fingerprint of the shape of the message.
    pub(super) fingerprint: u64,
    /// The name of the message's Rust type, as far as it is known.
    pub(super) type_name: &'static str,
}

impl Referent for TargetRef<'_> {
    fn key(&self) -> u64 {
        self.pointer.key_of_target(self.fingerprint).0
    }

    fn hint(&self) -> &AtomicU32 {
        self.pointer.key_of_target(self.fingerprint).1
    }

    fn introduction(&self) -> Introduction<'_> {
        self.pointer.introduce_target(self.fingerprint, self.direct)
    }
}

/// Boxes whose message type is remembered separately, because another type has the same shape.
const MAX_REMEMBERED: usize = 65_536;

/// The Rust types of messages that were sent to boxes of the peer. There may be very many boxes, and there are few
/// types: a box has an entry of its own only if another type has the shape of its messages.
#[derive(Default)]
pub(super) struct TypeNames {
    /// The types by the fingerprints of their shapes: one for each type that this node sends.
    by_shape: HashMap<u64, &'static str>,
    /// The types of boxes with an entry of their own; at most [`MAX_REMEMBERED`].
    others: HashMap<Account, &'static str>,
}

impl TypeNames {
    /// Notes the type of a message that is sent to that box.
    pub(super) fn note(&mut self, account: Account, type_name: &'static str) {
        if *self.by_shape.entry(account.fingerprint).or_insert(type_name) == type_name {
            self.others.remove(&account);
        } else if self.others.len() < MAX_REMEMBERED || self.others.contains_key(&account) {
            self.others.insert(account, type_name);
        }
    }

    /// Returns the type of the messages of that shape that were sent to that box; empty if it is not known.
    pub(super) fn of(&self, account: &Account) -> &'static str {
        self.others.get(account).or_else(|| self.by_shape.get(&account.fingerprint)).copied().unwrap_or_default()
    }
}

/// A handle in a message.
#[derive(Clone, Copy)]
pub(super) struct HandleRef<'a> {
    pub(super) pointer: &'a Pointer,
    /// The node of the reader, locked only when it is needed: most handles have a number.
    pub(super) peer: &'a Mutex<Option<Incarnation>>,
    /// The relay with which a box of a third node is introduced.
    pub(super) via: Option<&'a Relayed>,
}

/// A relay, as a pointer and as a box.
pub(super) struct Relayed {
    pub(super) relay: Arc<Pointer>,
    pub(super) local: Arc<dyn LocalBox>,
}

impl HandleRef<'_> {
    /// Returns the identity of the handle. With a relay, it is that of the relay: while the pointer lives, one relay
    /// may replace another, and a handle introduced with the first does not lead through the second.
    fn handle(&self) -> (u64, &AtomicU32) {
        match self.via {
            Some(via) => via.relay.key_of_handle(),
            None => self.pointer.key_of_handle(),
        }
    }
}

impl Referent for HandleRef<'_> {
    fn key(&self) -> u64 {
        self.handle().0
    }

    fn hint(&self) -> &AtomicU32 {
        self.handle().1
    }

    fn introduction(&self) -> Introduction<'_> {
        // Not locked during the call: a pointer by name asks its own connection for the peer, and that may be this one.
        let peer = *self.peer.lock();
        self.pointer.introduce_handle(peer, self.via.map(|via| via.local.id()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::target::Target;

    fn account(n: usize, fingerprint: u64) -> Account {
        Account { target: Target::Name(n.to_string().into()), fingerprint }
    }

    #[test]
    fn of_boxes_without_end_so_many_are_remembered() {
        let mut names = TypeNames::default();
        for n in 0..=MAX_REMEMBERED {
            names.note(account(n, 7), "first");
        }
        assert!(names.others.is_empty(), "one type takes one place");
        for n in 0..=MAX_REMEMBERED {
            names.note(account(n, 7), "second");
        }
        assert_eq!(names.others.len(), MAX_REMEMBERED);
        assert_eq!([names.of(&account(0, 7)), names.of(&account(MAX_REMEMBERED, 7))], ["second", "first"]);
        assert_eq!(names.of(&account(0, 8)), "", "nothing of that shape was sent");
        names.note(account(0, 7), "first");
        assert_eq!((names.of(&account(0, 7)), names.others.len()), ("first", MAX_REMEMBERED - 1));
    }
}
