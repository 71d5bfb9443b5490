//! What a pointer is: its origin, its keys in the tables of connections, and the shape of what is sent by it.

use std::any::TypeId;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use super::Pointer;
use crate::ident::BoxId;
use crate::ident::Endpoint;
use crate::ident::NodeId;
use crate::message::RemoteMessage;
use crate::message::shape::Shape;

/// The type that first went by a pointer, and its shape.
#[derive(Debug)]
pub(super) struct Stamp {
    /// `None` if its messages were passed on as they came.
    of: Option<TypeId>,
    fingerprint: u64,
}

impl Pointer {
    /// Tells pointers apart.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Identifies the pointer as the target of messages of that shape. What goes by a pointer has one shape as a rule;
    /// of any other, the key is 0 for the target of each message to be introduced anew.
    #[inline]
    pub(crate) fn key_of_target(&self, fingerprint: u64) -> (u64, &AtomicU32) {
        let [hint, _] = &self.hints;
        let stamped = self.stamp.get().map_or(0, |stamp| stamp.fingerprint);
        (if fingerprint == stamped { self.key } else { 0 }, hint)
    }

    /// The fingerprint of a type's shape.
    #[inline]
    pub(crate) fn fingerprint<M: RemoteMessage>(&self) -> u64 {
        match self.stamp.get() {
            Some(stamp) if stamp.of == Some(TypeId::of::<M>()) => stamp.fingerprint,
            _ => self.fingerprint_anew(TypeId::of::<M>(), Shape::of::<M>),
        }
    }

    #[cold]
    fn fingerprint_anew(&self, of: TypeId, shape: fn() -> Shape) -> u64 {
        let fingerprint = shape().fingerprint();
        self.stamp.get_or_init(|| Stamp { of: Some(of), fingerprint });
        fingerprint
    }

    /// Whether the pointer is introduced as a target on this connection for the first time.
    #[inline]
    pub(crate) fn is_new_to(&self, connection: u64) -> bool {
        self.introduced.load(Ordering::Relaxed) != connection
            && self.introduced.swap(connection, Ordering::Relaxed) != connection
    }

    /// Messages of that shape are passed on as they came.
    pub(crate) fn passes_on(&self, fingerprint: u64) {
        self.stamp.get_or_init(|| Stamp { of: None, fingerprint });
    }

    /// Identifies the pointer as a handle inside a message, where it may be introduced in other words.
    pub(crate) fn key_of_handle(&self) -> (u64, &AtomicU32) {
        let [_, hint] = &self.hints;
        (self.key + 1, hint)
    }
}

/// What a pointer was made of. It never changes, and equality is over it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Origin {
    /// Whatever box has that name at whatever node listens there.
    Named { endpoint: Endpoint, name: Box<str> },
    /// One incarnation of a box.
    Boxed { node: NodeId, id: BoxId },
}
