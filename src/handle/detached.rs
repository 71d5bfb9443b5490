//! Addresses that lead nowhere, for values that are made only to trace their type.
//!
//! Each is a real address, so that the rest of the value can be made, but of a placeholder node that counts as stopped:
//! nothing sent there is counted or reported anywhere, and nothing is dialled, kept or released.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::LazyLock;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::envelope::Source;
use super::pointer::Pointer;
use super::pointer::Route;
use super::ports::Asker;
use super::ports::ExportKey;
use super::ports::LocalBox;
use super::ports::Outbound;
use super::ports::Router;
use super::shutdown::Shutdown;
use crate::config::Limits;
use crate::handle::pointer::identity::Origin;
use crate::handle::recipient::table::ProxyTable;
use crate::ident::AddressError;
use crate::ident::BoxId;
use crate::ident::Endpoint;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::observe::Observer;
use crate::quota::Quotas;
use crate::reason::DropReason;

/// Returns a new pointer, so that pointers made for different types share no state.
pub(crate) fn pointer() -> Arc<Pointer> {
    static DETACHED: LazyLock<Arc<Detached>> = LazyLock::new(Detached::new);
    Arc::new(DETACHED.clone().pointer())
}

/// Returns a pointer of a different placeholder node each time.
#[cfg(test)]
pub(crate) fn elsewhere() -> Arc<Pointer> {
    Arc::new(Detached::new().pointer())
}

/// The placeholder node.
struct Detached {
    limits: Limits,
    quotas: Quotas,
    /// An observer that nobody can query.
    observer: Observer,
    /// The shutdown state, which never has work.
    shutdown: Shutdown,
    /// The stop token, which is cancelled.
    stopped: CancellationToken,
    /// The recipients, of which there are never any.
    recipients: ProxyTable,
}

impl Detached {
    fn new() -> Arc<Detached> {
        let stopped = CancellationToken::new();
        stopped.cancel();
        Arc::new(Detached {
            limits: Limits::default(),
            quotas: Quotas::new(&Limits::default()),
            observer: Observer::default(),
            shutdown: Shutdown::default(),
            stopped,
            recipients: ProxyTable::default(),
        })
    }

    fn pointer(self: Arc<Self>) -> Pointer {
        let origin = Origin::Boxed { node: self.id(), id: BoxId([0; 16]) };
        Pointer::new(self, origin, "", Route::Nowhere, None)
    }
}

impl Router for Detached {
    fn id(&self) -> Incarnation {
        Incarnation::NOBODY
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    fn observer(&self) -> &Observer {
        &self.observer
    }

    fn is_stopped(&self) -> bool {
        true
    }

    fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// Drops the pump, so that its recipient is not connected.
    fn run(&self, _: Pin<Box<dyn Future<Output = ()> + Send>>) {}

    fn place(self: Arc<Self>, _: &Endpoint, _: Option<NodeId>, _: &str) -> Result<Arc<Pointer>, AddressError> {
        Ok(Arc::new(self.pointer()))
    }

    fn export(self: Arc<Self>, _: ExportKey, _: &dyn Fn(BoxId) -> Arc<dyn LocalBox>) -> Arc<Pointer> {
        Arc::new(self.pointer())
    }

    fn forget(&self, _: BoxId, _: &str) {}

    fn report(&self, _: Source, _: &dyn LocalBox, _: DropReason, _: u64) {}

    fn live_link(&self, _: Incarnation) -> Option<Arc<dyn Outbound>> {
        None
    }

    fn discover(self: Arc<Self>, _: Incarnation, _: &[Endpoint], _: Asker) -> Option<Arc<dyn Outbound>> {
        None
    }

    fn is_gone(&self, _: Incarnation) -> bool {
        true
    }

    fn left_since(&self, _: Incarnation) -> Option<Instant> {
        None
    }

    fn news(&self, _: NodeId) -> Arc<Notify> {
        Arc::default()
    }

    fn box_named(&self, _: &str) -> Option<Arc<dyn LocalBox>> {
        None
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        Vec::new()
    }

    fn recipients(&self) -> &ProxyTable {
        &self.recipients
    }
}

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Detached")
    }
}
