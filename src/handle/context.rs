//! The node as its boxes, handles and connections see it: plain data, and behind it the [`Router`].

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::pointer::Pointer;
use super::pointer::search_queue::SearchQueue;
use super::ports::Asker;
use super::ports::ExportKey;
use super::ports::LocalBox;
use super::ports::Router;
use super::recipient::table::ProxyTable;
use super::shutdown::Shutdown;
use crate::config::Limits;
use crate::ident::AddressError;
use crate::ident::BoxId;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::ident::endpoint::Endpoint;
use crate::observe::Observer;
use crate::quota::Quotas;
use crate::wire::introduction::MAX_ENDPOINTS;

/// The data of a node that handles read with every message, and the rest of the node behind it.
///
/// Only the rest is of a type that layers above this one know: the data is read without a virtual call, and one
/// allocation holds both. The context dereferences to the router, which it keeps alive.
pub(crate) struct NodeContext<R: ?Sized = dyn Router> {
    /// This run of the node.
    pub(crate) id: Incarnation,
    pub(crate) limits: Limits,
    pub(crate) observer: Observer,
    quotas: Arc<Quotas>,
    shutdown: Shutdown,
    recipients: ProxyTable,
    endpoints: EndpointList,
    stopped: CancellationToken,
    /// The same as `stopped`, for checks that run with every message.
    has_stopped: AtomicBool,
    /// The last field, so that a context of a certain router is also one of any router.
    router: R,
}

impl<R> NodeContext<R> {
    /// Returns the context of a node in front of that router, to be dialled at the `advertised` endpoints.
    pub(crate) fn with(id: Incarnation, limits: Limits, advertised: Vec<Endpoint>, router: R) -> NodeContext<R> {
        NodeContext {
            id,
            observer: Observer::default(),
            quotas: Arc::new(Quotas::new(&limits)),
            shutdown: Shutdown::default(),
            recipients: ProxyTable::default(),
            endpoints: EndpointList::new(advertised),
            stopped: CancellationToken::new(),
            has_stopped: AtomicBool::new(false),
            limits,
            router,
        }
    }
}

impl<R: ?Sized> NodeContext<R> {
    /// Returns the id of the node and of this run.
    #[inline]
    pub(crate) fn id(&self) -> Incarnation {
        self.id
    }

    #[inline]
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    #[inline]
    pub(crate) fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Returns the quotas for all connections, and for all boxes, of the node.
    #[inline]
    pub(crate) fn quotas(&self) -> &Arc<Quotas> {
        &self.quotas
    }

    /// Returns the work that the node's shutdown waits for.
    #[inline]
    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Returns the recipients of pointers of this node.
    pub(crate) fn recipients(&self) -> &ProxyTable {
        &self.recipients
    }

    /// Returns the endpoints at which this node can be dialled.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.endpoints.all()
    }

    /// Adds an endpoint at which this node can be dialled.
    pub(crate) fn note_endpoint(&self, endpoint: &Endpoint) {
        self.endpoints.note(endpoint);
    }

    /// Returns the token that is cancelled when the node stops.
    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// Returns whether the node has stopped.
    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        self.has_stopped.load(Ordering::Acquire)
    }

    /// Records that the node has stopped. Tasks that wait for it are told by the token, once everything is counted.
    pub(crate) fn set_stopped(&self) {
        self.has_stopped.store(true, Ordering::Release);
    }
}

impl NodeContext {
    /// See [`Router::place`].
    pub(crate) fn place(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        node: Option<NodeId>,
        name: &str,
    ) -> Result<Arc<Pointer>, AddressError> {
        self.router.place(self, endpoint, node, name)
    }

    /// See [`Router::export`].
    pub(crate) fn export(self: &Arc<Self>, key: ExportKey, make: &dyn Fn(BoxId) -> Arc<dyn LocalBox>) -> Arc<Pointer> {
        self.router.export(self, key, make)
    }

    /// See [`Router::discover`].
    pub(crate) fn discover(
        self: &Arc<Self>,
        node: Incarnation,
        hints: &[Endpoint],
        asked_by: Asker,
    ) -> Option<Arc<SearchQueue>> {
        self.router.discover(self, node, hints, asked_by)
    }
}

impl<R: ?Sized> Deref for NodeContext<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.router
    }
}

impl<R: ?Sized> fmt::Debug for NodeContext<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeContext").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Endpoints of this node: at most [`MAX_ENDPOINTS`] besides those that it begins with. Further ones are not noted, as
/// no peer would be told them.
pub(crate) struct EndpointList(Mutex<Vec<Endpoint>>);

impl EndpointList {
    pub(crate) fn new(endpoints: Vec<Endpoint>) -> EndpointList {
        EndpointList(Mutex::new(endpoints))
    }

    /// Adds an endpoint that is not in the list, while there is room.
    pub(crate) fn note(&self, endpoint: &Endpoint) {
        let mut endpoints = self.0.lock();
        if endpoints.len() < MAX_ENDPOINTS && !endpoints.contains(endpoint) {
            endpoints.push(endpoint.clone());
        }
    }

    pub(crate) fn contains(&self, endpoint: &Endpoint) -> bool {
        self.0.lock().contains(endpoint)
    }

    fn all(&self) -> Vec<Endpoint> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(n: usize) -> Endpoint {
        format!("host-{n}:1").parse().expect("an endpoint")
    }

    #[test]
    fn each_endpoint_is_noted_once_and_no_more_than_peers_are_told() {
        let endpoints = EndpointList::new(vec![endpoint(0)]);
        for n in [0, 0].into_iter().chain(0..=MAX_ENDPOINTS) {
            endpoints.note(&endpoint(n));
        }
        assert_eq!(endpoints.all(), (0..MAX_ENDPOINTS).map(endpoint).collect::<Vec<_>>());
        assert!(endpoints.contains(&endpoint(0)) && !endpoints.contains(&endpoint(MAX_ENDPOINTS)));
    }
}
