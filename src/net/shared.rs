//! The node itself: the state that its boxes, handles and connections share.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::io_thread::IoHandle;
use super::io_thread::PumpFuture;
use super::link::Link;
use super::link::LinkContext;
use crate::boxes::registry::Registry;
use crate::config::Limits;
use crate::handle::context::EndpointList;
use crate::handle::context::NodeContext;
use crate::handle::envelope::Source;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::Route;
use crate::handle::pointer::holdings::HoldingsTable;
use crate::handle::pointer::identity::Origin;
use crate::handle::pointer::path::NamedLink;
use crate::handle::pointer::path::Path;
use crate::handle::pointer::search_queue::SearchQueue;
use crate::handle::ports::Asker;
use crate::handle::ports::Dialler;
use crate::handle::ports::ExportKey;
use crate::handle::ports::LocalBox;
use crate::handle::ports::Outbound;
use crate::handle::ports::Router;
use crate::ident::AddressError;
use crate::ident::BoxId;
use crate::ident::Epoch;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::ident::check_name;
use crate::ident::endpoint::Endpoint;
use crate::key::NodeKey;
use crate::net::control::drop_report::DropRun;
use crate::net::link::Destination;
use crate::net::link::absences::Absences;
use crate::net::link::settling::Settlement;
use crate::net::peers::address_quotas::AddressQuotas;
use crate::net::peers::admission::Admission;
use crate::net::peers::admission::AdmissionLimits;
use crate::net::peers::budgets::Budgets;
use crate::net::peers::greetings::Greetings;
use crate::net::peers::path_search;
use crate::net::peers::path_search::PathSearches;
use crate::net::peers::policy::AcceptPolicy;
use crate::net::peers::proven::ProvenPeers;
use crate::net::peers::read_scheduler::ReadScheduler;
use crate::net::peers::table::PeerTable;
use crate::net::peers::unfinished::UnfinishedFrames;
use crate::net::transport::accepted;
use crate::net::transport::schemes::Transports;
use crate::observe::loss::DropNotice;
use crate::observe::peer_info::PeerInfo;
use crate::observe::stats::Stats;
use crate::quota::Quotas;
use crate::reason::DropReason;
use crate::wire::frames::report::Account;
use crate::wire::target::Target;

/// Starts the router of a link, on the I/O thread.
pub(crate) type StartRouter = fn(Arc<NodeInner>, Arc<Link>);

/// The node: see the [module](self).
pub(crate) type NodeInner = NodeContext<NodeParts>;

/// The parts of the node that its boxes and handles do not see.
pub(crate) struct NodeParts {
    /// The node to which these parts belong.
    node: Weak<NodeInner>,
    pub(crate) key: NodeKey,
    address_quotas: AddressQuotas,
    pub(crate) registry: Arc<Registry>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) budgets: Budgets,
    pub(crate) greetings: Arc<Greetings>,
    pub(crate) unfinished: Arc<UnfinishedFrames>,
    pub(crate) scheduler: Arc<ReadScheduler>,
    pub(crate) peers: Arc<PeerTable>,
    pub(crate) proven: ProvenPeers,
    pub(crate) settlement: Arc<Settlement>,
    pub(crate) absences: Arc<Absences>,
    pub(crate) holdings: Arc<HoldingsTable>,
    pub(super) searches: Arc<PathSearches>,
    pub(crate) io: IoHandle,
    start_router: StartRouter,
    pub(crate) transports: Arc<Transports>,
    pub(crate) policy: AcceptPolicy,
    /// The endpoints at which only this node can listen. A link to a further endpoint of this node is known to lead
    /// here once it is connected.
    listening: EndpointList,
    /// Whether somebody has called for a shutdown.
    pub(super) is_to_shut_down: AtomicBool,
    /// Cancelled when no new connections are wanted any more.
    pub(crate) closing: CancellationToken,
    /// Connections and listeners hold a token each; a shutdown waits for them.
    pub(crate) busy: TaskTracker,
}

/// The settings of a node to be started.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) advertised: Vec<Endpoint>,
    pub(crate) key: Option<NodeKey>,
    pub(crate) transports: Transports,
    pub(crate) policy: AcceptPolicy,
}

impl NodeInner {
    pub(crate) fn new(setup: Setup, io: IoHandle, start_router: StartRouter) -> Arc<NodeInner> {
        let Setup { limits, advertised, key, transports, policy } = setup;
        let key = key.unwrap_or_else(NodeKey::generate);
        let id = Incarnation { node: key.id(), epoch: Epoch::fresh() };
        Arc::new_cyclic(|node| {
            let parts = NodeParts {
                node: Weak::clone(node),
                key,
                address_quotas: AddressQuotas::default(),
                registry: Arc::new(Registry::new(limits.exports)),
                admission: Arc::new(Admission::new(AdmissionLimits::of(&limits))),
                budgets: Budgets::new(&limits),
                scheduler: Arc::default(),
                greetings: Arc::new(Greetings::new(limits.max_greetings)),
                unfinished: Arc::new(UnfinishedFrames::new(
                    limits.unfinished.max(limits.max_message.saturating_mul(4)),
                )),
                peers: Arc::default(),
                proven: ProvenPeers::default(),
                settlement: Arc::default(),
                absences: Arc::new(Absences::new(limits.forget_after)),
                holdings: Arc::default(),
                searches: Arc::default(),
                io,
                start_router,
                transports: Arc::new(transports),
                policy,
                listening: EndpointList::new(Vec::new()),
                is_to_shut_down: AtomicBool::new(false),
                closing: CancellationToken::new(),
                busy: TaskTracker::new(),
            };
            NodeContext::with(id, limits, advertised, parts)
        })
    }

    /// Notes that a listener is open at an endpoint. Unless it listens at `all` addresses of the endpoint, another node
    /// may listen at the others.
    pub(crate) fn listens(&self, endpoint: &Endpoint, all: bool) {
        self.note_endpoint(endpoint);
        if all {
            self.listening.note(endpoint);
            // A link that is made from now on finds the endpoint noted.
            self.peers.dialled(endpoint, self.id.node).iter().for_each(|link| link.listened_at());
        }
    }

    /// Returns the parts of the node that a link needs.
    pub(crate) fn link_context(self: &Arc<Self>) -> LinkContext {
        self.link_context_in(Arc::clone(self) as Arc<NodeContext>)
    }

    /// Returns the quotas of a connection from that origin: connections from one address are one party. A connection
    /// over a Unix socket, which has no address, is a party by itself, as is one that this node makes.
    pub(super) fn quotas_from(&self, origin: Option<accepted::Origin>) -> Arc<Quotas> {
        origin.map_or_else(|| Arc::clone(self.quotas()), |origin| self.address_quotas.of(origin, self.quotas()))
    }

    /// Returns the link to an endpoint, restricted to the `expected` node if there is one.
    pub(crate) fn link_to(self: &Arc<Self>, endpoint: &Endpoint, expected: Option<NodeId>) -> Arc<Link> {
        self.link_for(&(Arc::clone(self) as Arc<NodeContext>), endpoint, expected, None)
    }

    /// Reports and publishes the last counts, once nothing happens any more.
    pub(crate) fn publish_last(&self) {
        self.observer.end(self.id.node);
        #[cfg(feature = "metrics")]
        self.publish();
    }

    /// Closes all boxes and ends all pumps and connections, at once.
    pub(crate) fn stop(&self) {
        self.shutdown().begin();
        self.closing.cancel();
        self.set_stopped();
        self.registry.stop();
        self.absences.clear();
        // A link whose router has not started, or will not run again, holds messages that nobody else counts.
        for link in self.peers.all() {
            link.down(DropReason::Shutdown, "", true);
        }
        // Last, so that a thread that waits for it finds everything counted.
        self.stopped().cancel();
    }

    pub(crate) fn stats(&self) -> Stats {
        let boxes = self.registry.all_in_order().iter().map(|local| local.stats()).collect();
        Stats { boxes, ..self.stats_without_boxes() }
    }

    pub(super) fn stats_without_boxes(&self) -> Stats {
        let mut stats = self.observer.stats(self.id.node);
        stats.connections = self.peers.all().iter().filter_map(|link| link.stats()).collect();
        stats.pending_requests = self.peers.all().iter().map(|link| link.pending()).sum();
        stats
    }
}

impl NodeParts {
    fn link_context_in(&self, context: Arc<NodeContext>) -> LinkContext {
        LinkContext {
            quotas: Arc::clone(context.quotas()),
            node: context,
            registry: Arc::clone(&self.registry),
            settlement: Arc::clone(&self.settlement),
            absences: Arc::clone(&self.absences),
            holdings: Arc::clone(&self.holdings),
        }
    }

    /// Returns the link to an endpoint, for the peer `asked_by` that has named the endpoint, if one has.
    fn link_for(
        &self,
        context: &Arc<NodeContext>,
        endpoint: &Endpoint,
        expected: Option<NodeId>,
        asked_by: Option<Asker>,
    ) -> Arc<Link> {
        let weak = Weak::clone(&self.node);
        let start = Box::new(move |link| {
            if let Some(node) = weak.upgrade() {
                let (start_router, of) = (node.start_router, Arc::clone(&node));
                node.io.perform(move || start_router(of, link));
            }
        });
        let to = Destination { endpoint: endpoint.clone(), expected, asked_by };
        let make = || Link::to(self.link_context_in(Arc::clone(context)), to, start);
        let protected = asked_by.is_some_and(|asker| asker.protected);
        let link = self.peers.to(endpoint, (expected, protected), make);
        link.is_asked_for(asked_by);
        if expected.is_none_or(|expected| expected == context.id().node) && self.listening.contains(endpoint) {
            link.listened_at();
        }
        link
    }

    fn named_link(
        &self,
        context: &Arc<NodeContext>,
        endpoint: &Endpoint,
        expected: Option<NodeId>,
        asked_by: Option<Asker>,
    ) -> NamedLink {
        let link = self.link_for(context, endpoint, expected, asked_by);
        let is_loopback = link.is_loopback();
        NamedLink { link, is_loopback }
    }
}

/// Stops a node when the thread that it runs on, or the System that it was started in, ends.
pub(crate) struct StopOnDrop(pub(crate) Weak<NodeInner>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(node) = self.0.upgrade() {
            node.stop();
        }
    }
}

impl Dialler for NodeInner {
    fn link_at(self: Arc<Self>, endpoint: &Endpoint, expected: Option<NodeId>, asked_by: Option<Asker>) -> NamedLink {
        self.named_link(&(Arc::clone(&self) as Arc<NodeContext>), endpoint, expected, asked_by)
    }
}

impl Router for NodeParts {
    fn run(&self, pump: PumpFuture) {
        self.io.run(pump);
    }

    fn place(
        &self,
        context: &Arc<NodeContext>,
        endpoint: &Endpoint,
        node: Option<NodeId>,
        name: &str,
    ) -> Result<Arc<Pointer>, AddressError> {
        check_name(name)?;
        self.transports.check(endpoint).map_err(AddressError::InvalidEndpoint)?;
        let origin = Origin::Named { endpoint: endpoint.clone(), node, name: name.into() };
        let link = self.named_link(context, endpoint, node, None);
        let route = Route::Away { path: Path::by_name(link), to: None };
        Ok(Arc::new(Pointer::new(Arc::clone(context), origin, name, route, None)))
    }

    fn export(
        &self,
        context: &Arc<NodeContext>,
        key: ExportKey,
        make: &dyn Fn(BoxId) -> Arc<dyn LocalBox>,
    ) -> Arc<Pointer> {
        self.registry.leases().stand_for(key, |id| Arc::new(Pointer::here(Arc::clone(context), make(id))))
    }

    fn forget(&self, id: BoxId, name: &str) {
        self.registry.remove(id, name);
    }

    fn live_link(&self, node: Incarnation, protected: bool) -> Option<Arc<dyn Outbound>> {
        self.peers.live_link(node, protected).map(|link| link as Arc<dyn Outbound>)
    }

    fn discover(
        &self,
        context: &Arc<NodeContext>,
        node: Incarnation,
        hints: &[Endpoint],
        asked_by: Asker,
    ) -> Option<Arc<SearchQueue>> {
        let hints: Vec<&Endpoint> = hints.iter().filter(|hint| self.transports.have(hint)).collect();
        if hints.is_empty() || node == context.id() || self.closing.is_cancelled() || self.is_gone(node) {
            return None;
        }
        let (limits, outboxes) = (context.limits(), &context.quotas().outboxes);
        let sought = (node, asked_by.protected);
        self.searches.search(sought, asked_by.node, limits.outbox, outboxes, |queue| {
            let dial = |hint| self.link_for(context, hint, Some(node.node), Some(asked_by));
            let dialled = hints.into_iter().map(dial).collect();
            let (searches, peers) = (Arc::clone(&self.searches), Arc::clone(&self.peers));
            self.run(Box::pin(path_search::search(searches, sought, peers, dialled, limits.clone(), queue)));
        })
    }

    fn is_gone(&self, node: Incarnation) -> bool {
        self.peers.is_gone(node)
    }

    fn left_since(&self, node: Incarnation) -> Option<Instant> {
        self.peers.left_since(node)
    }

    fn news(&self, of: NodeId) -> Arc<Notify> {
        self.peers.news().of(of)
    }

    fn box_named(&self, name: &str) -> Option<Arc<dyn LocalBox>> {
        self.registry.named(name)?.local()
    }

    fn peer_on(&self, connection: u64) -> Option<Arc<PeerInfo>> {
        self.proven.on(connection)
    }

    fn report(&self, from: Source, local: &dyn LocalBox, notice: &DropNotice<'_>) {
        let Some((connection, by_id)) = from.away() else { return };
        let Some(link) = self.peers.connection(connection) else { return };
        let target = if by_id { Target::Id(local.id()) } else { Target::Name(local.given_name().into()) };
        // The box has accepted the messages: if they came with a fingerprint, it was that of the box. A relay takes any
        // shape.
        let fingerprint = local.shape().map_or(0, |shape| shape.fingerprint());
        let account = Account { target, fingerprint };
        let (reason, count) = (notice.reason(), notice.count());
        self.peers.note_drop(&link, connection, DropRun { account, reason, count, words: None });
    }
}

#[cfg(all(test, feature = "turmoil"))]
mod tests {
    use super::*;
    use crate::boxes::relay::Relay;
    use crate::handle::detached;
    use crate::net::io_thread;

    #[test]
    fn in_a_simulation_boxes_are_looked_at_in_the_order_of_their_ids() {
        let mut simulation = turmoil::Builder::new().build();
        simulation.client("host", async {
            let (io, _not_started) = io_thread::io();
            let node = NodeInner::new(Setup::default(), io, |_, _| {});
            for _ in 0..50 {
                let local: Arc<dyn LocalBox> = Arc::new(Relay::new(BoxId::random(), detached::pointer(), 1));
                let pointer = Arc::new(Pointer::here(Arc::clone(&node) as _, Arc::clone(&local)));
                assert!(node.registry.leases().lease(&pointer, &*local, 7).is_none(), "there is room");
            }
            let ids: Vec<BoxId> = node.registry.all().iter().map(|local| local.id()).collect();
            assert!(ids.len() == 50 && ids.is_sorted(), "{ids:?}");
            Ok(())
        });
        simulation.run().expect("it does not fail");
    }
}
