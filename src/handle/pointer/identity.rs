//! The identity of a pointer: its origin, its keys in the tables of connections, and the shape of its messages.

use std::any::TypeId;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use super::Pointer;
use super::Route;
use crate::ident::BoxId;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::ident::endpoint::Endpoint;
use crate::message::RemoteMessage;
use crate::message::shape::Shape;

/// The type of the first message sent by a pointer, and the fingerprint of its shape.
#[derive(Debug)]
pub(super) struct Stamp {
    /// The type; `None` if messages were passed on as they came.
    of: Option<TypeId>,
    fingerprint: u64,
}

impl Pointer {
    /// Returns the key of the pointer, by which pointers are told apart.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Returns the key of the pointer as the target of messages of that shape. All messages of a pointer have one shape
    /// as a rule; for any other, the key is 0, so that the target of each message is introduced anew.
    #[inline]
    pub(crate) fn key_of_target(&self, fingerprint: u64) -> (u64, &AtomicU32) {
        let [hint, _] = &self.hints;
        let stamped = self.stamp.get().map_or(0, |stamp| stamp.fingerprint);
        (if fingerprint == stamped { self.key } else { 0 }, hint)
    }

    /// Returns the fingerprint of a type's shape.
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

    /// Returns whether the pointer is introduced as a target on this connection for the first time.
    #[inline]
    pub(crate) fn is_new_to(&self, connection: u64) -> bool {
        self.introduced.load(Ordering::Relaxed) != connection
            && self.introduced.swap(connection, Ordering::Relaxed) != connection
    }

    /// Returns the pointer to the same box if it is one of that node, or to the same name at that node and at no other.
    pub(crate) fn pinned(self: &Arc<Self>, id: NodeId) -> Arc<Pointer> {
        match &self.origin {
            Origin::Boxed { node, .. } if node.node == id => Arc::clone(self),
            Origin::Named { node: Some(node), .. } if *node == id => Arc::clone(self),
            Origin::Named { endpoint, node: None, name } => {
                let node = || Arc::clone(&self.node);
                if let Route::HereNamed = self.route
                    && id == self.node.id().node
                {
                    let origin = Origin::Named { endpoint: endpoint.clone(), node: Some(id), name: name.clone() };
                    return Arc::new(Pointer::new(node(), origin, name, Route::HereNamed, None));
                }
                if let Route::Away { path, .. } = &self.route
                    && let Some(path) = path.pinned(id)
                {
                    let origin = Origin::Named { endpoint: endpoint.clone(), node: Some(id), name: name.clone() };
                    let route = Route::Away { path, to: None };
                    return Arc::new(Pointer::new(node(), origin, name, route, None));
                }
                // The name was checked when this was made.
                node().place(endpoint, Some(id), name).unwrap_or_else(|_| self.nowhere())
            }
            Origin::Boxed { .. } | Origin::Named { .. } => self.nowhere(),
        }
    }

    fn nowhere(&self) -> Arc<Pointer> {
        let origin = Origin::Boxed { node: Incarnation::NOBODY, id: BoxId([0; 16]) };
        Arc::new(Pointer::new(Arc::clone(&self.node), origin, &self.name, Route::Nowhere, None))
    }

    /// Records that messages of that shape are passed on as they came.
    pub(crate) fn passes_on(&self, fingerprint: u64) {
        self.stamp.get_or_init(|| Stamp { of: None, fingerprint });
    }

    /// Returns the key of the pointer as a handle inside a message, where it may be introduced in another form.
    pub(crate) fn key_of_handle(&self) -> (u64, &AtomicU32) {
        let [_, hint] = &self.hints;
        (self.key + 1, hint)
    }
}

/// The origin of a pointer. It never changes, and decides equality.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Origin {
    /// The box of that name at any node that listens there, or only at the given node.
    Named { endpoint: Endpoint, node: Option<NodeId>, name: Box<str> },
    /// One incarnation of a box.
    Boxed { node: Incarnation, id: BoxId },
}
