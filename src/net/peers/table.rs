//! The links of one node: by the endpoint they were dialled at, and by the node at their other end.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::Weak;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::news::News;
use crate::handle::ports::LocalBox;
use crate::handle::ports::Outbound;
use crate::ident::ConnectionId;
use crate::ident::Epoch;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::ident::endpoint::Endpoint;
use crate::net::control::drop_report::DropRun;
use crate::net::control::settlement::ConnectionNames;
use crate::net::link::Link;
use crate::wire::target::Target;

/// Connections between the same two nodes at a time.
const MAX_PARALLEL: usize = 8;

/// Nodes that are remembered as ended. If a node has been forgotten, a wait for one of its boxes ends only after
/// `dead_after`.
const MAX_GONE: usize = 1024;

/// Disconnected nodes for which the time of the disconnection is remembered. If a node has been forgotten, a wait for
/// one of its boxes ends later.
const MAX_LEFT: usize = 1024;

/// Runs of nodes that are remembered as once connected. If a run was forgotten, nobody notices that a later run of the
/// node has taken its place.
const MAX_KNOWN: usize = 1024;

/// See the [module](self).
///
/// No lock of a link is taken under a lock of the table, because encoders that hold the lock of a link look things up
/// in the table.
#[derive(Debug, Default)]
pub(crate) struct PeerTable {
    tables: Mutex<PeerState>,
    /// Links on which a report is due, each once or twice.
    due: Mutex<Vec<Weak<Link>>>,
    became_due: Notify,
    gone: Mutex<GoneNodes>,
    news: News,
}

/// The endpoint of a dialled link, the node that is expected there, if one is, and whether only a protected channel may
/// lead there.
type DialKey = (Endpoint, Option<NodeId>, bool);

#[derive(Debug, Default)]
struct PeerState {
    dialled: HashMap<DialKey, Weak<Link>>,
    /// The number of links in `dialled` that were left when unheld ones were last forgotten.
    dialled_held: usize,
    /// Dialled links by the node at their other end, or the last node there: each link once.
    led_to: HashMap<NodeId, Vec<Weak<Link>>>,
    live: HashMap<Incarnation, Vec<Arc<Link>>>,
    /// The latest runs of nodes that have left `live`, with the time; at most [`MAX_LEFT`].
    left: VecDeque<(Incarnation, Instant)>,
    /// The live links by the number of their connection.
    by_connection: HashMap<u64, Weak<Link>>,
    /// The runs of each node that are in `live`.
    live_runs: HashMap<NodeId, Vec<Epoch>>,
    /// Runs of nodes that are or were connected, in the order in which they last came; at most [`MAX_KNOWN`].
    known: VecDeque<Incarnation>,
}

impl PeerTable {
    /// Returns the link to an endpoint, and to the `expected` node if one is, by a `protected` channel if that is asked
    /// for. Makes the link if none is held.
    pub(crate) fn to(
        &self,
        endpoint: &Endpoint,
        (expected, protected): (Option<NodeId>, bool),
        make: impl FnOnce() -> Arc<Link>,
    ) -> Arc<Link> {
        let key = (endpoint.clone(), expected, protected);
        let known = self.tables.lock().dialled.get(&key).and_then(Weak::upgrade);
        if let Some(link) = known.as_ref().filter(|link| !link.is_over()) {
            return Arc::clone(link);
        }
        let mut tables = self.tables.lock();
        let now = tables.dialled.get(&key).and_then(Weak::upgrade);
        // Another thread may have made the link meanwhile.
        let made = now.filter(|link| known.as_ref().is_none_or(|over| !Arc::ptr_eq(link, over)));
        made.unwrap_or_else(|| {
            // Swept only when the number of links has doubled: a peer may name as many endpoints in one message as it
            // likes, and all of them are held while the message is read.
            if tables.dialled.len() > 2 * tables.dialled_held + 64 {
                tables.forget_unheld();
            }
            let link = make();
            tables.dialled.insert(key, Arc::downgrade(&link));
            link
        })
    }

    /// Returns the links to an endpoint that are held and may lead to that node: those to any node there, and those to
    /// that one.
    pub(crate) fn dialled(&self, endpoint: &Endpoint, node: NodeId) -> Vec<Arc<Link>> {
        let tables = self.tables.lock();
        let to = |(expected, protected)| {
            let key = (endpoint.clone(), expected, protected);
            tables.dialled.get(&key).and_then(Weak::upgrade)
        };
        let expected = [None, Some(node)].into_iter();
        expected.flat_map(|expected| [(expected, false), (expected, true)]).filter_map(to).collect()
    }

    /// Returns the link to an endpoint, and to the `expected` node if one is, as long as it is held.
    #[cfg(test)]
    pub(crate) fn at(&self, endpoint: &Endpoint, expected: Option<NodeId>) -> Option<Arc<Link>> {
        self.tables.lock().dialled.get(&(endpoint.clone(), expected, false)).and_then(Weak::upgrade)
    }

    /// Forgets a dialled link that only its own connection holds, with `holders` references: the next caller that dials
    /// the endpoint gets a new link. Returns whether it was forgotten.
    pub(crate) fn forget_unheld(&self, link: &Arc<Link>, holders: usize) -> bool {
        let mut tables = self.tables.lock();
        // Nobody takes a reference out of the table meanwhile.
        if Arc::strong_count(link) > holders {
            return false;
        }
        if let Some(endpoint) = link.endpoint()
            && let Entry::Occupied(entry) =
                tables.dialled.entry((endpoint.clone(), link.expected(), link.is_for_protected()))
            && std::ptr::eq(entry.get().as_ptr(), Arc::as_ptr(link))
        {
            entry.remove();
        }
        true
    }

    /// Notes that a dialled link leads to `node` now. Until now it led to the node `before`, if to any.
    pub(crate) fn leads_to(&self, node: NodeId, before: Option<NodeId>, link: &Arc<Link>) {
        let mut tables = self.tables.lock();
        before.inspect(|before| tables.leads_no_more_to(before, link));
        tables.led_to.entry(node).or_default().push(Arc::downgrade(link));
    }

    /// Forgets the endpoints to which nobody holds an address.
    pub(crate) fn sweep(&self) {
        self.tables.lock().forget_unheld();
    }

    /// Adds a connection, given by its number, to a proven node; false if there are too many.
    pub(crate) fn join(&self, node: Incarnation, link: &Arc<Link>, connection: u64) -> bool {
        let succeeded = {
            let mut tables = self.tables.lock();
            let tables = &mut *tables;
            let live = tables.live.entry(node).or_default();
            // If a node dials itself, both ends are here.
            if live.len() >= 2 * MAX_PARALLEL {
                return false;
            }
            live.push(Arc::clone(link));
            tables.by_connection.insert(connection, Arc::downgrade(link));
            tables.has_come(node)
        };
        succeeded.into_iter().for_each(|earlier| self.gone.lock().add(earlier));
        self.news.tell(node.node);
        true
    }

    /// Ends the waits for boxes of earlier runs of a node, whose place that run has taken.
    pub(crate) fn succeed(&self, node: Incarnation) {
        for link in self.links_to(node.node) {
            if let Some(earlier) = link.peer().filter(|peer| peer.is_another_run_of(node) && self.is_gone(*peer)) {
                link.node_gone(earlier);
            }
        }
    }

    /// Removes a connection that is no longer up.
    pub(crate) fn leave(&self, node: Incarnation, link: &Arc<Link>, connection: u64) {
        let is_succeeded = {
            let mut tables = self.tables.lock();
            let Some(live) = tables.live.get_mut(&node) else { return };
            live.retain(|other| !Arc::ptr_eq(other, link));
            let is_away = live.is_empty();
            // Not the link's own number: by now, a link that was superseded has the number of its next connection.
            tables.by_connection.remove(&connection);
            if is_away {
                tables.live.remove(&node);
                tables.has_left(node);
                tables.note_left(node);
            }
            is_away && tables.is_succeeded(node)
        };
        if is_succeeded {
            self.gone(node);
        }
    }

    /// Returns the time since which there is no connection to that node, if there was one recently.
    pub(crate) fn left_since(&self, node: Incarnation) -> Option<Instant> {
        let tables = self.tables.lock();
        let is_live = tables.live.contains_key(&node);
        let left = tables.left.iter().rev().find(|(left, _)| *left == node);
        left.filter(|_| !is_live).map(|(_, since)| *since)
    }

    /// Notes that a node has said that it ends.
    pub(crate) fn gone(&self, node: Incarnation) {
        self.gone.lock().add(node);
        self.links_to(node.node).iter().for_each(|link| link.node_gone(node));
        self.news.tell(node.node);
    }

    /// Whether that run of a node is over: it has said that it ends, or it has disconnected and a later run of the node
    /// has come.
    pub(crate) fn is_gone(&self, node: Incarnation) -> bool {
        self.gone.lock().known.contains(&node)
    }

    /// Returns the news of connections to nodes that have come up, and of nodes that have said that they end.
    pub(crate) fn news(&self) -> &News {
        &self.news
    }

    /// Ends the connections that the peer has given up, listed by the peer's own names.
    pub(crate) fn supersede(&self, node: Incarnation, given_up: &[(ConnectionId, u64)]) {
        if given_up.is_empty() {
            return;
        }
        self.end_given_up(node, |names| given_up.iter().any(|(connection, _)| *connection == names.remote));
    }

    /// Ends connections that the peer has given up: live ones, and dialled ones that wait for their welcome.
    pub(crate) fn end_given_up(&self, node: Incarnation, is_given_up: impl Fn(&ConnectionNames) -> bool) {
        let is_given_up = |names: ConnectionNames| names.peer == node && is_given_up(&names);
        let up = self.links_to(node.node);
        up.iter().filter(|link| link.names().is_some_and(is_given_up)).for_each(|link| link.supersede());
    }

    /// Has the leases of connections that have ended restated on a live one.
    pub(crate) fn restate_leases(&self, node: Incarnation) {
        self.live(node).iter().for_each(|link| link.restate_leases());
    }

    /// Returns the links that lead to a run of that node, or last did; some of them twice. Looking through all links
    /// would take much longer.
    fn links_to(&self, node: NodeId) -> Vec<Arc<Link>> {
        let tables = self.tables.lock();
        let dialled = tables.led_to.get(&node).into_iter().flatten().filter_map(Weak::upgrade);
        tables.live_links(node).cloned().chain(dialled).collect()
    }

    fn live(&self, node: Incarnation) -> Vec<Arc<Link>> {
        self.tables.lock().live.get(&node).into_iter().flatten().cloned().collect()
    }

    /// Returns a live connection to that node that may serve pointers introduced by other connections. A connection
    /// that was given up is still among the live ones for a moment, hence the check. If it is to be `protected`, plain
    /// connections do not count.
    pub(crate) fn live_link(&self, node: Incarnation, protected: bool) -> Option<Arc<Link>> {
        let serves = |link: &Arc<Link>| !link.is_over() && link.serves_others() && (!protected || link.is_protected());
        self.live(node).into_iter().find(serves)
    }

    /// Whether the link is a live connection to that node, which has proven who it is.
    pub(crate) fn is_live(&self, node: Incarnation, link: &Arc<Link>) -> bool {
        let tables = self.tables.lock();
        tables.live.get(&node).is_some_and(|live| live.iter().any(|other| Arc::ptr_eq(other, link)))
    }

    /// Returns a live connection by its number.
    pub(crate) fn connection(&self, number: u64) -> Option<Arc<Link>> {
        self.tables.lock().by_connection.get(&number)?.upgrade()
    }

    /// Counts messages of a connection that were dropped here, to be reported soon.
    pub(crate) fn note_drop(&self, link: &Arc<Link>, connection: u64, drops: DropRun) {
        if link.note_drop(connection, drops) {
            self.tell_later(link);
        }
    }

    /// Notes that messages from a connection have filled a box of this side to another level.
    pub(crate) fn note_pressed(&self, link: &Arc<Link>, connection: u64, target: Target, local: &Arc<dyn LocalBox>) {
        if link.note_pressed(connection, target, local) {
            self.tell_later(link);
        }
    }

    fn tell_later(&self, link: &Arc<Link>) {
        self.due.lock().push(Arc::downgrade(link));
        self.became_due.notify_one();
    }

    /// Completes when a report is due.
    pub(crate) async fn news_due(&self) {
        self.became_due.notified().await;
    }

    /// Sends all due reports to peers.
    pub(crate) fn tell_peers(&self) {
        let due = std::mem::take(&mut *self.due.lock());
        for link in due.iter().filter_map(Weak::upgrade) {
            if !link.tell_peer() {
                self.tell_later(&link);
            }
        }
    }

    /// Returns every link that is up, being dialled, or pausing, in the order of their connections.
    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        let tables = self.tables.lock();
        let live = tables.live.values().flatten().cloned();
        let peers = live.chain(tables.dialled.values().filter_map(Weak::upgrade));
        // Through a map, because a peer may have named very many endpoints.
        let peers: HashMap<*const Link, Arc<Link>> = peers.map(|link| (Arc::as_ptr(&link), link)).collect();
        drop(tables);
        let mut peers: Vec<Arc<Link>> = peers.into_values().collect();
        peers.sort_by_cached_key(|link| link.connection());
        peers
    }
}

impl PeerState {
    fn note_left(&mut self, node: Incarnation) {
        self.left.retain(|(left, _)| *left != node);
        if self.left.len() == MAX_LEFT {
            self.left.pop_front();
        }
        self.left.push_back((node, Instant::now()));
    }

    /// Notes that a run of a node has come. Returns its earlier runs that are not connected: they are over.
    fn has_come(&mut self, node: Incarnation) -> Vec<Incarnation> {
        let runs = self.live_runs.entry(node.node).or_default();
        if !runs.contains(&node.epoch) {
            runs.push(node.epoch);
        }
        let PeerState { live, known, .. } = self;
        let is_over = |run: &Incarnation| run.is_another_run_of(node) && !live.contains_key(run);
        let over = known.iter().copied().filter(is_over).collect();
        known.retain(|run| *run != node && !is_over(run));
        if known.len() == MAX_KNOWN {
            known.pop_front();
        }
        known.push_back(node);
        over
    }

    /// Notes that no connection of that run of a node is left; other runs may have some.
    fn has_left(&mut self, node: Incarnation) {
        if let Some(runs) = self.live_runs.get_mut(&node.node) {
            runs.retain(|epoch| *epoch != node.epoch);
            if runs.is_empty() {
                self.live_runs.remove(&node.node);
            }
        }
    }

    /// Whether a later run of the node is connected, while this one is not any more. A connected earlier run does not
    /// count: its connection may be half open.
    fn is_succeeded(&self, node: Incarnation) -> bool {
        let later = self.known.iter().rev().take_while(|run| **run != node);
        later.into_iter().any(|run| run.is_another_run_of(node) && self.live.contains_key(run))
    }

    /// Returns the live links to all runs of a node.
    fn live_links(&self, node: NodeId) -> impl Iterator<Item = &Arc<Link>> {
        let runs = self.live_runs.get(&node).into_iter().flatten();
        runs.filter_map(move |epoch| self.live.get(&Incarnation { node, epoch: *epoch })).flatten()
    }

    fn forget_unheld(&mut self) {
        self.dialled.retain(|_, link| link.strong_count() > 0);
        self.dialled_held = self.dialled.len();
        self.led_to.retain(|_, links| {
            links.retain(|link| link.strong_count() > 0);
            !links.is_empty()
        });
    }

    fn leads_no_more_to(&mut self, node: &NodeId, link: &Arc<Link>) {
        let Some(links) = self.led_to.get_mut(node) else { return };
        links.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(link)));
        if links.is_empty() {
            self.led_to.remove(node);
        }
    }
}

/// The latest runs of nodes that have said that they end, or that another run has replaced; at most [`MAX_GONE`].
#[derive(Debug, Default)]
struct GoneNodes {
    by_age: VecDeque<Incarnation>,
    /// The same runs as a set, for look-ups by each watch of a box and by each connection that ends.
    known: HashSet<Incarnation>,
}

impl GoneNodes {
    fn add(&mut self, node: Incarnation) {
        // A node that says so on each of its connections takes one place.
        if !self.known.insert(node) {
            return;
        }
        if self.by_age.len() == MAX_GONE
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.by_age.push_back(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::pointer::Pointer;
    use crate::handle::pointer::Route;
    use crate::handle::pointer::identity::Origin;
    use crate::handle::pointer::path::Path;
    use crate::handle::ports::Asker;
    use crate::net::io_thread;
    use crate::net::shared::NodeInner;
    use crate::net::shared::Setup;

    fn node(n: usize) -> Incarnation {
        Incarnation::of((n as u128).to_le_bytes())
    }

    #[test]
    fn a_connection_that_was_superseded_leaves_nothing_behind() {
        let (io, _not_started) = io_thread::io();
        let inner = NodeInner::new(Setup::default(), io, |_, _| {});
        let link = inner.link_to(&"localhost:1".parse().expect("an endpoint"), None);
        let (peers, connection) = (PeerTable::default(), link.connection());
        assert!(peers.join(node(1), &link, link.connection()));
        link.supersede();
        assert_ne!(link.connection(), connection, "it has the number of the next");
        peers.leave(node(1), &link, connection);
        assert!(peers.left_since(node(1)).is_some() && peers.left_since(node(2)).is_none());
        let tables = peers.tables.lock();
        assert!(tables.by_connection.is_empty() && tables.live.is_empty() && tables.live_runs.is_empty());
    }

    fn link(inner: &Arc<NodeInner>, n: usize) -> Arc<Link> {
        inner.link_to(&format!("localhost:{n}").parse().expect("an endpoint"), None)
    }

    /// The number of nodes is far above the limit.
    #[test]
    fn of_nodes_without_end_the_latest_runs_are_remembered_and_nothing_else() {
        let (io, _not_started) = io_thread::io();
        let inner = NodeInner::new(Setup::default(), io, |_, _| {});
        let (peers, link) = (PeerTable::default(), link(&inner, 1));
        for n in 0..=65_536 {
            assert!(peers.join(node(n), &link, link.connection()));
            peers.leave(node(n), &link, link.connection());
        }
        let tables = peers.tables.lock();
        assert!(tables.by_connection.is_empty() && tables.live.is_empty() && tables.live_runs.is_empty());
        assert_eq!((tables.known.len(), tables.known.back()), (MAX_KNOWN, Some(&node(65_536))));
    }

    #[test]
    fn a_run_is_over_once_a_later_one_is_connected_and_it_is_not() {
        let (io, _not_started) = io_thread::io();
        let inner = NodeInner::new(Setup::default(), io, |_, _| {});
        let peers = PeerTable::default();
        let [first, second, other] = [(1, 1), (1, 2), (2, 3)].map(|(id, epoch)| {
            let epoch = node(epoch).epoch;
            Incarnation { epoch, ..node(id) }
        });
        let links = [1, 2, 3].map(|n| link(&inner, n));
        let gone = || [first, second, other].map(|run| peers.is_gone(run));
        assert!(
            peers.join(first, &links[0], links[0].connection()) && peers.join(other, &links[2], links[2].connection())
        );
        assert_eq!(gone(), [false; 3], "nobody knows of the second");
        assert!(peers.join(second, &links[1], links[1].connection()));
        assert_eq!(gone(), [false; 3], "the connection of the first may be half open, or two have one key");
        // The second run reconnects after a blip, and stays the later one.
        peers.leave(second, &links[1], links[1].connection());
        assert_eq!(gone(), [false; 3]);
        assert!(peers.join(second, &links[1], links[1].connection()));
        peers.leave(first, &links[0], links[0].connection());
        assert_eq!(gone(), [true, false, false]);
        // The second run is away when the third comes.
        peers.leave(second, &links[1], links[1].connection());
        let third = Incarnation { epoch: node(4).epoch, ..first };
        assert!(peers.join(third, &links[1], links[1].connection()));
        assert_eq!((gone(), peers.is_gone(third)), ([true, true, false], false));
    }

    /// When very many nodes go at once, none of them costs a search through the links to all others.
    #[test]
    fn a_node_that_goes_concerns_the_links_that_lead_to_it_and_no_others() {
        let (io, _not_started) = io_thread::io();
        let inner = NodeInner::new(Setup::default(), io, |_, _| {});
        let links: Vec<_> = (1..=100).map(|n| link(&inner, n)).collect();
        let id = |n| node(n).node;
        for (n, link) in links.iter().enumerate() {
            inner.peers.leads_to(id(n), None, link);
        }
        (0..100)
            .for_each(|n| assert!(matches!(&inner.peers.links_to(id(n))[..], [one] if Arc::ptr_eq(one, &links[n]))));
        // By now another node listens there, connected by that link and by a link of its own.
        inner.peers.leads_to(id(1), Some(id(0)), &links[0]);
        let accepted = Link::accepted(inner.link_context());
        assert!(inner.peers.join(node(1), &accepted, accepted.connection()));
        let led = [0, 1].map(|n| inner.peers.links_to(id(n)).len());
        assert_eq!(led, [0, 3]);
        inner.peers.leave(node(1), &accepted, accepted.connection());
        drop(links);
        inner.peers.sweep();
        assert!(inner.peers.tables.lock().led_to.is_empty());
    }

    #[test]
    fn of_so_many_nodes_that_have_left_it_is_remembered_since_when() {
        let mut state = PeerState::default();
        (0..=MAX_LEFT).chain([1, 1]).for_each(|n| state.note_left(node(n)));
        let left: Vec<Incarnation> = state.left.iter().map(|(left, _)| *left).collect();
        let expected: Vec<Incarnation> = (2..=MAX_LEFT).chain([1]).map(node).collect();
        assert_eq!(left, expected);
    }

    /// Addresses are introduced by encoders under the lock of a link, and holders of the table's lock may wait for that
    /// one.
    #[test]
    fn an_address_that_was_only_named_is_passed_on_without_the_table() {
        let (io, _not_started) = io_thread::io();
        let inner = NodeInner::new(Setup::default(), io, |_, _| {});
        let endpoint: Endpoint = "10.1.2.3:4".parse().expect("an endpoint");
        let path = Path::by_name_later(
            Arc::clone(&inner) as _,
            endpoint.clone(),
            None,
            Asker { node: node(1).node, near: false, protected: false },
        );
        let origin = Origin::Named { endpoint, node: None, name: "box".into() };
        let route = Route::Away { path, to: None };
        let pointer = Arc::new(Pointer::new(Arc::clone(&inner) as _, origin, "box", route, None));
        let held = inner.peers.tables.lock();
        let (told, introduced) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(pointer.introduce_handle(Some(node(1)), None));
            told.send(pointer)
        });
        let _pointer = introduced.recv_timeout(std::time::Duration::from_secs(10)).expect("nothing is waited for");
        drop(held);
    }

    #[test]
    fn so_many_nodes_that_are_gone_are_remembered_and_each_once() {
        let peers = PeerTable::default();
        peers.gone(node(0));
        (0..2 * MAX_GONE).for_each(|_| peers.gone(node(1)));
        assert!(peers.is_gone(node(0)), "one that says it again takes no more places");
        (1..=MAX_GONE).for_each(|n| peers.gone(node(n)));
        assert!(!peers.is_gone(node(0)) && peers.is_gone(node(MAX_GONE)));
        let gone = peers.gone.lock();
        assert_eq!((gone.known.len(), gone.by_age.len()), (MAX_GONE, MAX_GONE));
    }
}
