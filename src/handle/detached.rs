//! Addresses that lead nowhere, for values that are made only to trace their type.
//!
//! Each is a real address, so that the rest of the value can be made, but of a placeholder node that counts as stopped:
//! nothing sent there is counted or reported anywhere, and nothing is dialled, kept or released.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::LazyLock;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::context::NodeContext;
use super::envelope::Source;
use super::pointer::Pointer;
use super::pointer::Route;
use super::ports::Asker;
use super::ports::ExportKey;
use super::ports::LocalBox;
use super::ports::Outbound;
use super::ports::Router;
use crate::config::Limits;
use crate::handle::pointer::identity::Origin;
use crate::handle::pointer::search_queue::SearchQueue;
use crate::ident::AddressError;
use crate::ident::BoxId;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::ident::endpoint::Endpoint;
use crate::observe::loss::DropNotice;
use crate::observe::peer_info::PeerInfo;

/// Returns a new pointer, so that pointers made for different types share no state.
pub(crate) fn pointer() -> Arc<Pointer> {
    static DETACHED: LazyLock<Arc<NodeContext>> = LazyLock::new(node);
    pointer_of(&DETACHED)
}

/// Returns a pointer of a different placeholder node each time.
#[cfg(test)]
pub(crate) fn elsewhere() -> Arc<Pointer> {
    pointer_of(&node())
}

/// Returns a placeholder node, which has stopped.
fn node() -> Arc<NodeContext> {
    let node = NodeContext::with(Incarnation::NOBODY, Limits::default(), Vec::new(), Detached);
    node.set_stopped();
    node.stopped().cancel();
    Arc::new(node)
}

fn pointer_of(node: &Arc<NodeContext>) -> Arc<Pointer> {
    let origin = Origin::Boxed { node: node.id(), id: BoxId([0; 16]) };
    Arc::new(Pointer::new(Arc::clone(node), origin, "", Route::Nowhere, None))
}

/// The router of a placeholder node, which leads to no boxes and no connections.
struct Detached;

impl Router for Detached {
    /// Drops the pump, so that its recipient is not connected.
    fn run(&self, _: Pin<Box<dyn Future<Output = ()> + Send>>) {}

    fn place(
        &self,
        node: &Arc<NodeContext>,
        _: &Endpoint,
        _: Option<NodeId>,
        _: &str,
    ) -> Result<Arc<Pointer>, AddressError> {
        Ok(pointer_of(node))
    }

    fn export(&self, node: &Arc<NodeContext>, _: ExportKey, _: &dyn Fn(BoxId) -> Arc<dyn LocalBox>) -> Arc<Pointer> {
        pointer_of(node)
    }

    fn forget(&self, _: BoxId, _: &str) {}

    fn box_named(&self, _: &str) -> Option<Arc<dyn LocalBox>> {
        None
    }

    fn peer_on(&self, _: u64) -> Option<Arc<PeerInfo>> {
        None
    }

    fn report(&self, _: Source, _: &dyn LocalBox, _: &DropNotice<'_>) {}

    fn live_link(&self, _: Incarnation, _: bool) -> Option<Arc<dyn Outbound>> {
        None
    }

    fn discover(&self, _: &Arc<NodeContext>, _: Incarnation, _: &[Endpoint], _: Asker) -> Option<Arc<SearchQueue>> {
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
}
