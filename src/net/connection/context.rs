//! The state that the parts of one connection share.

use std::cell::Cell;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::boxes::registry::Registry;
use crate::boxes::view::View;
use crate::handle::context::NodeContext;
use crate::handle::pointer::holdings::Holdings;
use crate::handle::ports::Correlation;
use crate::handle::ports::Dialler;
use crate::ident::BoxId;
use crate::ident::ConnectionId;
use crate::ident::Incarnation;
use crate::net::control::drop_report::DropRun;
use crate::net::link::Link;
use crate::net::link::absences::Absences;
use crate::net::link::settling::Settlement;
use crate::net::link::shape_query::explain_there;
use crate::net::peers::hints;
use crate::net::peers::read_scheduler::ReadScheduler;
use crate::net::peers::table::PeerTable;
use crate::net::shared::NodeInner;
use crate::net::transport::schemes::Transports;
use crate::observe::loss::DroppedMessage;
use crate::reason::DropReason;
use crate::reason::Side;
use crate::wire::frames::proof::Disclosure;
use crate::wire::frames::report::Account;
use crate::wire::target::Target;

/// Handles for which the room of `given_back` is kept, 16 bytes each.
const KEPT: usize = 64;

/// Handles that are gathered to be released together, 16 bytes each: those of one message within the limits.
const GATHERED: usize = 16_384;

/// See the [module](self).
pub(super) struct ConnectionContext {
    pub(super) node: Arc<NodeContext>,
    pub(super) dialler: Arc<dyn Dialler>,
    /// For changes and leases; boxes that the peer names are found by `view` only.
    pub(super) registry: Arc<Registry>,
    pub(super) view: View,
    pub(super) peers: Arc<PeerTable>,
    settlement: Arc<Settlement>,
    absences: Arc<Absences>,
    pub(super) link: Arc<Link>,
    pub(super) connection: u64,
    pub(super) peer: Incarnation,
    pub(super) holdings: Arc<Holdings>,
    pub(super) scheduler: Arc<ReadScheduler>,
    /// Whether the peer is on this host.
    pub(super) near: bool,
    /// Counts the reports to the peer that a box it presses is empty.
    pub(super) relieved: Arc<AtomicU64>,
    /// Whether this node has said on the connection that it ends.
    has_ended: Arc<AtomicBool>,
    /// The peer's boxes whose handles in the current message were released, once for each handle.
    given_back: RefCell<Vec<BoxId>>,
    pub(super) transports: Arc<Transports>,
    /// See [`add_work`](ConnectionContext::add_work).
    work: Cell<usize>,
    /// Consecutive drops that are alike, to be reported together.
    pub(super) drop_run: RefCell<Option<DropRun>>,
}

impl Drop for ConnectionContext {
    /// Reports the gathered drops if the connection ends in the middle of a buffer.
    fn drop(&mut self) {
        self.note_drop_run();
    }
}

impl ConnectionContext {
    pub(super) fn new(
        node: &Arc<NodeInner>,
        link: Arc<Link>,
        connection: u64,
        (peer, near): (Incarnation, bool),
    ) -> ConnectionContext {
        let (registry, peers) = (Arc::clone(&node.registry), Arc::clone(&node.peers));
        let settlement = Arc::clone(&node.settlement);
        let (relieved, has_ended) = (link.relieved(), link.has_ended());
        ConnectionContext {
            node: Arc::clone(node) as Arc<NodeContext>,
            dialler: Arc::clone(node) as Arc<dyn Dialler>,
            view: View::new(&registry, link.info()),
            registry,
            peers,
            settlement,
            absences: Arc::clone(&node.absences),
            link,
            connection,
            peer,
            holdings: node.holdings.of(peer),
            scheduler: Arc::clone(&node.scheduler),
            transports: Arc::clone(&node.transports),
            near,
            relieved,
            has_ended,
            given_back: RefCell::default(),
            work: Cell::default(),
            drop_run: RefCell::default(),
        }
    }

    /// Whether this node has said that it ends. It handles no message that it reads from then on; the peer, which was
    /// told how many were read, counts those as dropped.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Takes the peer's welcome: the endpoints where it listens, and its counts for connections that have ended.
    pub(super) fn welcomed(&self, welcome: &Disclosure) {
        let listed = || welcome.endpoints.iter().map(String::as_str);
        self.link.listens_at(hints::believed(listed(), self.near, &self.transports));
        if let Some(endpoint) = self.link.endpoint() {
            self.link.note_listing(hints::is_listed(endpoint, self.link.reached(), listed(), self.near));
        }
        self.settlement.settle_answered(self.node.observer(), self.peer, &welcome.told);
        self.link.settled(&welcome.told);
    }

    /// Notes that the peer has restated the leases of an ended connection, given by this node's name for it.
    pub(super) fn restated(&self, ours: ConnectionId) {
        if self.link.names().is_some_and(|names| names.local == ours) {
            return;
        }
        self.peers.end_given_up(self.peer, |names| names.local == ours);
        if let Some(absent) = self.absences.is_back(self.peer, ours) {
            self.registry.leases().release_all(absent.holder);
        }
    }

    /// Reports the drops that were gathered.
    pub(super) fn note_drop_run(&self) {
        self.note_drop(self.drop_run.take());
    }

    pub(super) fn note_drop(&self, drop_run: Option<DropRun>) {
        if let Some(drop_run) = drop_run {
            self.peers.note_drop(&self.link, self.connection, drop_run);
        }
    }

    /// Takes the peer's explanation of a drop, which it reports among its drops as well.
    pub(super) fn explain_drop(&self, account: &Account, reason: DropReason, words: &str) {
        if !words.is_empty() {
            let type_name = self.link.type_sent_to(account);
            self.node.observer().explain(&name_of(&account.target), type_name, reason, Side::Peer, words);
        }
    }

    /// Takes the peer's count of dropped messages of one shape for one of its boxes.
    pub(super) fn hear_drops(&self, account: Account, reason: DropReason, count: u64) {
        let name = name_of(&account.target);
        let type_name = self.link.type_sent_to(&account);
        let grown = self.link.hear_drops(account.clone(), reason, count);
        if grown > 0 && reason == DropReason::TypeMismatch {
            explain_there(&self.link, &self.node, account, (name.clone(), type_name));
        }
        if grown > 0 {
            let message = DroppedMessage { name: &name, type_name, peer: Some(self.peer.node) };
            self.node.observer().reported(message, reason, grown);
        }
    }

    /// Gives back one handle that the peer has leased: it is released with the others of its message.
    pub(super) fn give_back(&self, id: BoxId) {
        self.add_work(1);
        let mut given_back = self.given_back.borrow_mut();
        given_back.push(id);
        if given_back.len() >= GATHERED {
            drop(given_back);
            self.release_given_back();
        }
    }

    /// Releases the gathered handles of a message.
    #[inline]
    pub(super) fn release_given_back(&self) {
        if !self.given_back.borrow().is_empty() {
            self.release_all_given_back();
        }
    }

    #[inline(never)]
    fn release_all_given_back(&self) {
        let mut given_back = self.given_back.take();
        // Sorted as the link's table is, so that each entry is found beside the one before.
        given_back.sort_unstable();
        self.link.release_all(self.connection, &given_back);
        // The room of a usual message is kept, so that its handles allocate nothing.
        if given_back.capacity() <= KEPT {
            given_back.clear();
            self.given_back.replace(given_back);
        }
    }

    /// Adds work for a frame that has cost more than most of its kind.
    pub(super) fn add_work(&self, more: usize) {
        self.work.set(self.work.get().saturating_add(more));
    }

    /// Returns the work that was added since the last call.
    #[inline]
    pub(super) fn take_work(&self) -> usize {
        self.work.take()
    }

    /// Returns the correlation of a request by its number on this connection.
    pub(super) fn correlation(&self, number: u64) -> Correlation {
        Correlation { connection: self.connection, number }
    }
}

/// Returns this side's name for a box of the peer.
fn name_of(target: &Target) -> String {
    match target {
        Target::Name(name) => name.to_string(),
        Target::Id(id) => id.to_string(),
        Target::Others => String::new(),
    }
}
