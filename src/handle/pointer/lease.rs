//! Leases: counts of handles by which a node elsewhere keeps a box alive for this one.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;

use super::Pointer;
use super::Route;
use super::holdings::Counted;
use super::holdings::Holdings;
use super::identity::Origin;
use crate::handle::ports::LocalBox;
use crate::handle::ports::Outbound;
use crate::ident::BoxId;
use crate::ident::Incarnation;

/// A count of handles that a peer keeps for us, released when this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) link: Weak<dyn Outbound>,
    /// The number of the connection; a link lives through many.
    pub(crate) connection: u64,
    pub(crate) id: BoxId,
    pub(crate) count: AtomicU64,
    holdings: Arc<Holdings>,
}

impl Lease {
    /// Makes a lease that came by a connection of that link, of a box of the node whose `holdings` are given. It counts
    /// `count` handles so far.
    pub(crate) fn new(
        link: Weak<dyn Outbound>,
        connection: u64,
        id: BoxId,
        count: u64,
        holdings: Arc<Holdings>,
    ) -> Lease {
        holdings.add(connection, id);
        Lease { link, connection, id, count: AtomicU64::new(count), holdings }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.holdings.remove(self.connection, self.id) {
            Counted::ByItsOwn => {
                if let Some(link) = self.link.upgrade() {
                    link.release(self.connection, self.id, *self.count.get_mut());
                }
            }
            Counted::By(link, connection) => link.release(connection, self.id, 1),
            Counted::Nowhere => {}
        }
    }
}

/// The error of a second lease: the connection's peer counts a handle for the pointer already.
pub(crate) struct AlreadyLeased;

impl Pointer {
    pub(crate) fn held(&self) -> Option<&Lease> {
        self.held.as_ref()
    }

    /// Returns whether the pointer leads to a box of that node that is not kept alive by leases: in a message from
    /// there, it only needs to be named. A box of another node of this process does not count: it needs a relay.
    #[inline]
    pub(crate) fn is_unleased_at(&self, node: Incarnation) -> bool {
        match (&self.route, &self.origin) {
            (Route::Here(local), Origin::Boxed { node: own, .. }) => *own == node && !local.is_leased(),
            _ => false,
        }
    }

    /// Returns the box, if it is one of this node that is kept alive by leases.
    #[inline]
    pub(crate) fn leased_here(&self) -> Option<&dyn LocalBox> {
        match &self.route {
            Route::Here(local) if local.is_leased() => Some(&**local),
            _ => None,
        }
    }

    /// Claims a handle from the box's own node, by a connection that leads there. On `Ok` the caller must report the
    /// claim to that node, and drop the returned earlier lease without a lock.
    pub(crate) fn lease(
        &self,
        link: &Weak<dyn Outbound>,
        connection: u64,
        holdings: &Arc<Holdings>,
    ) -> Result<Option<Box<Lease>>, AlreadyLeased> {
        let (Route::Away { path, .. }, Origin::Boxed { id, .. }) = (&self.route, &self.origin) else {
            return Err(AlreadyLeased);
        };
        let mut lease = path.lease.lock();
        if lease.as_ref().is_some_and(|lease| lease.connection == connection) {
            return Err(AlreadyLeased);
        }
        let held = Lease::new(Weak::clone(link), connection, *id, 1, Arc::clone(holdings));
        Ok(lease.replace(Box::new(held)))
    }
}
