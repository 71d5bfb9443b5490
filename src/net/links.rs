//! The connections of one node: by the endpoint they were dialled at, by the node at their other end, and those that
//! have not shown yet who they are.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Weak;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::link::Link;
use crate::handle::route::LocalBox;
use crate::handle::route::Outbound;
use crate::ident::ConnectionId;
use crate::ident::Endpoint;
use crate::ident::NodeId;
use crate::ident::Token;
use crate::observe::DropReason;
use crate::wire::report::Target;

/// Connections between the same two nodes at a time.
const MAX_PARALLEL: usize = 8;

/// Nodes whose tokens are remembered while there is no connection to them; beyond, any one of them is forgotten, and
/// may then be claimed anew.
const MAX_TOKENS: usize = 65_536;

/// Nodes that have said that they end which are remembered; who waits for a box of an earlier one is told when
/// `dead_after` is over.
const MAX_GONE: usize = 1024;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Links {
    tables: Mutex<Tables>,
    /// Links on which a report is due, each once or twice.
    due: Mutex<Vec<Weak<Link>>>,
    became_due: Notify,
    /// Nodes that have said that they end, the latest; at most [`MAX_GONE`].
    gone: Mutex<VecDeque<NodeId>>,
    news: Notify,
    /// Connections at a time, and unproven ones among them.
    limits: (usize, usize),
}

#[derive(Debug, Default)]
struct Tables {
    dialled: HashMap<Endpoint, Weak<Link>>,
    /// How many of `dialled` were held when those that were not were last forgotten.
    dialled_held: usize,
    live: HashMap<NodeId, Vec<Arc<Link>>>,
    /// The live ones by the number of their connection.
    by_connection: HashMap<u64, Weak<Link>>,
    tokens: HashMap<NodeId, Token>,
    /// Whose token is never forgotten: this node's.
    ourselves: Option<NodeId>,
    /// Connections that somebody has opened and that have not greeted, and those that this node is making: by the order in
    /// which they began.
    unproven: BTreeMap<u64, CancellationToken>,
    attempts: BTreeMap<u64, CancellationToken>,
    next_unproven: u64,
    /// Connections open or being made.
    open: usize,
}

/// A place among the connections of a node; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    links: Weak<Links>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(links) = self.links.upgrade() {
            links.tables.lock().open -= 1;
        }
    }
}

/// A connection that has not shown yet who is at its other end. It is to end when `expelled` is cancelled.
#[derive(Debug)]
pub(crate) struct Unproven {
    links: Weak<Links>,
    number: u64,
    pub(crate) expelled: CancellationToken,
}

impl Drop for Unproven {
    fn drop(&mut self) {
        if let Some(links) = self.links.upgrade() {
            let mut tables = links.tables.lock();
            tables.unproven.remove(&self.number);
            tables.attempts.remove(&self.number);
        }
    }
}

/// Whether a node id was claimed rightly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Claim {
    Proven,
    /// Another node first came with that id, or there are too many connections to it.
    Refused,
}

impl Links {
    pub(crate) fn new(connections: usize, unproven: usize) -> Links {
        Links { limits: (connections, unproven), ..Links::default() }
    }

    /// The link to an endpoint, made if there is none that is held.
    pub(crate) fn to(&self, endpoint: &Endpoint, make: impl FnOnce() -> Arc<Link>) -> Arc<Link> {
        let mut tables = self.tables.lock();
        let known = tables.dialled.get(endpoint).and_then(Weak::upgrade);
        known.filter(|link| !link.is_over()).unwrap_or_else(|| {
            // Not more often than their number doubles: a peer may name as many endpoints in one message as it likes,
            // and all of them are held while the message is read.
            if tables.dialled.len() > 2 * tables.dialled_held + 64 {
                tables.forget_unheld();
            }
            let link = make();
            tables.dialled.insert(endpoint.clone(), Arc::downgrade(&link));
            link
        })
    }

    /// Forgets the endpoints to which nobody holds an address.
    pub(crate) fn sweep(&self) {
        self.tables.lock().forget_unheld();
    }

    /// Takes a place for one more connection, if there is one. Where all are taken, the oldest makes room of those that
    /// have not greeted: a peer can open as many as it likes, or have this node dial whoever never answers. Until it is
    /// gone, which is a moment, there is one too many.
    pub(crate) fn place(self: &Arc<Self>) -> Option<Place> {
        let oldest = {
            let mut tables = self.tables.lock();
            let is_full = tables.open >= self.limits.0;
            let oldest = if is_full { Some(tables.pop_ungreeted()?) } else { None };
            tables.open += 1;
            oldest
        };
        if let Some(oldest) = oldest {
            oldest.cancel();
        }
        Some(Place { links: Arc::downgrade(self) })
    }

    /// Notes a connection that somebody has opened. The oldest that has not shown who it is goes, if it is one too many.
    pub(crate) fn unproven(self: &Arc<Self>) -> Unproven {
        let expelled = CancellationToken::new();
        let (number, oldest) = {
            let mut tables = self.tables.lock();
            let number = tables.next_unproven();
            tables.unproven.insert(number, expelled.clone());
            let oldest = if tables.unproven.len() > self.limits.1 { tables.unproven.pop_first() } else { None };
            (number, oldest)
        };
        if let Some((_, oldest)) = oldest {
            oldest.cancel();
        }
        Unproven { links: Arc::downgrade(self), number, expelled }
    }

    /// Notes a connection that this node is making.
    pub(crate) fn attempt(self: &Arc<Self>) -> Unproven {
        let expelled = CancellationToken::new();
        let mut tables = self.tables.lock();
        let number = tables.next_unproven();
        tables.attempts.insert(number, expelled.clone());
        Unproven { links: Arc::downgrade(self), number, expelled }
    }

    /// The id of this node is nobody else's, however many come.
    pub(crate) fn claim(&self, ourselves: NodeId, token: Token) {
        let mut tables = self.tables.lock();
        tables.ourselves = Some(ourselves);
        tables.tokens.insert(ourselves, token);
    }

    /// A peer shows the token for its id: right if it is the first from that id, or the same.
    pub(crate) fn prove(&self, node: NodeId, token: Token) -> Claim {
        let mut tables = self.tables.lock();
        let tables = &mut *tables;
        match tables.tokens.get(&node) {
            Some(known) if *known == token => Claim::Proven,
            Some(_) => Claim::Refused,
            None => {
                if tables.tokens.len() >= MAX_TOKENS {
                    let is_unused =
                        |node: &&NodeId| !tables.live.contains_key(node) && tables.ourselves != Some(**node);
                    let unused = tables.tokens.keys().find(is_unused).copied();
                    unused.map(|node| tables.tokens.remove(&node));
                }
                tables.tokens.insert(node, token);
                Claim::Proven
            }
        }
    }

    /// A connection to a proven node is up.
    pub(crate) fn join(&self, node: NodeId, link: &Arc<Link>) -> Claim {
        let mut tables = self.tables.lock();
        let tables = &mut *tables;
        let live = tables.live.entry(node).or_default();
        // A node that dials itself has both ends here.
        if live.len() >= 2 * MAX_PARALLEL {
            return Claim::Refused;
        }
        live.push(Arc::clone(link));
        tables.by_connection.insert(link.connection(), Arc::downgrade(link));
        self.news.notify_waiters();
        Claim::Proven
    }

    /// A connection is no longer up.
    pub(crate) fn leave(&self, node: NodeId, link: &Arc<Link>) {
        let mut tables = self.tables.lock();
        let tables = &mut *tables;
        if let Some(live) = tables.live.get_mut(&node) {
            live.retain(|other| !Arc::ptr_eq(other, link));
            tables.by_connection.remove(&link.connection());
            if live.is_empty() {
                tables.live.remove(&node);
            }
        }
    }

    /// A node has said that it ends.
    pub(crate) fn gone(&self, node: NodeId) {
        {
            let mut gone = self.gone.lock();
            // One that says it on each of its connections takes one place.
            if !gone.contains(&node) {
                if gone.len() == MAX_GONE {
                    gone.pop_front();
                }
                gone.push_back(node);
            }
        }
        self.all().iter().for_each(|link| link.node_gone(node));
        self.news.notify_waiters();
    }

    /// Whether that node has said that it ends.
    pub(crate) fn is_gone(&self, node: NodeId) -> bool {
        self.gone.lock().contains(&node)
    }

    /// Tells all who wait that a connection has come up, or that a node has said that it ends.
    pub(crate) fn news(&self) -> &Notify {
        &self.news
    }

    /// The peer has given up connections, of which it tells by its own names: they end here as well.
    pub(crate) fn supersede(&self, node: NodeId, given_up: &[(ConnectionId, u64)]) {
        let live: Vec<Arc<Link>> = {
            let tables = self.tables.lock();
            tables.live.get(&node).into_iter().flatten().cloned().collect()
        };
        for link in live {
            let theirs = link.names().map(|names| names.theirs);
            if given_up.iter().any(|(connection, _)| Some(*connection) == theirs) {
                link.supersede();
            }
        }
    }

    /// A live connection to that node. One that was given up is still among the live ones for a moment.
    pub(crate) fn way_to(&self, node: NodeId) -> Option<Arc<Link>> {
        self.tables.lock().live.get(&node)?.iter().find(|link| !link.is_over()).cloned()
    }

    /// Whether that is a live connection to that node, which has shown who it is.
    pub(crate) fn is_live(&self, node: NodeId, link: &Arc<Link>) -> bool {
        let tables = self.tables.lock();
        tables.live.get(&node).is_some_and(|live| live.iter().any(|other| Arc::ptr_eq(other, link)))
    }

    /// A live connection by its number.
    pub(crate) fn connection(&self, number: u64) -> Option<Arc<Link>> {
        self.tables.lock().by_connection.get(&number)?.upgrade()
    }

    /// Accounts for messages of a connection that were dropped here, to be told soon.
    pub(crate) fn account(&self, link: &Arc<Link>, connection: u64, target: Target, reason: DropReason, count: u64) {
        if link.account(connection, target, reason, count) {
            self.report_later(link);
        }
    }

    /// A box of this side has filled up to another level by what came over a connection.
    pub(crate) fn pressed(&self, link: &Arc<Link>, connection: u64, target: Target, local: &Arc<dyn LocalBox>) {
        if link.pressed(connection, target, local) {
            self.report_later(link);
        }
    }

    fn report_later(&self, link: &Arc<Link>) {
        self.due.lock().push(Arc::downgrade(link));
        self.became_due.notify_one();
    }

    /// Ends when a report is due.
    pub(crate) async fn reports_due(&self) {
        self.became_due.notified().await;
    }

    /// Tells peers what they were not told yet.
    pub(crate) fn report(&self) {
        let due = std::mem::take(&mut *self.due.lock());
        for link in due.iter().filter_map(Weak::upgrade) {
            if !link.report() {
                self.report_later(&link);
            }
        }
    }

    /// Every link that is up, being dialled, or pausing, in the order of their connections.
    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        let tables = self.tables.lock();
        let live = tables.live.values().flatten().cloned();
        let links = live.chain(tables.dialled.values().filter_map(Weak::upgrade));
        // A peer may have named very many endpoints.
        let links: HashMap<*const Link, Arc<Link>> = links.map(|link| (Arc::as_ptr(&link), link)).collect();
        drop(tables);
        let mut links: Vec<Arc<Link>> = links.into_values().collect();
        links.sort_by_cached_key(|link| link.connection());
        links
    }
}

impl Tables {
    fn next_unproven(&mut self) -> u64 {
        self.next_unproven += 1;
        self.next_unproven
    }

    /// The oldest of those that have not greeted, whoever makes them; it is one no longer.
    fn pop_ungreeted(&mut self) -> Option<CancellationToken> {
        let first = |of: &BTreeMap<u64, CancellationToken>| of.keys().next().copied().unwrap_or(u64::MAX);
        let is_theirs = first(&self.unproven) < first(&self.attempts);
        let oldest = if is_theirs { self.unproven.pop_first() } else { self.attempts.pop_first() };
        oldest.map(|(_, expelled)| expelled)
    }

    fn forget_unheld(&mut self) {
        self.dialled.retain(|_, link| link.strong_count() > 0);
        self.dialled_held = self.dialled.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: usize) -> NodeId {
        NodeId((n as u128).to_le_bytes())
    }

    #[test]
    fn of_nodes_without_end_so_many_tokens_are_remembered() {
        let links = Links::new(10, 10);
        let token = |n: u8| Token([n; 16]);
        (0..=MAX_TOKENS).for_each(|n| assert_eq!(links.prove(node(n), token(1)), Claim::Proven));
        assert_eq!(links.tables.lock().tokens.len(), MAX_TOKENS);
        assert_eq!(links.prove(node(MAX_TOKENS), token(2)), Claim::Refused, "the latest is remembered");
    }

    #[test]
    fn the_token_of_this_node_is_not_forgotten() {
        let links = Links::new(10, 10);
        let token = |n: u8| Token([n; 16]);
        links.claim(node(0), token(1));
        (1..MAX_TOKENS).for_each(|n| assert_eq!(links.prove(node(n), token(2)), Claim::Proven));
        // There is a connection to each of the others but one.
        links.tables.lock().live.extend((2..MAX_TOKENS).map(|n| (node(n), Vec::new())));
        assert_eq!(links.prove(node(MAX_TOKENS), token(2)), Claim::Proven);
        assert_eq!(links.prove(node(0), token(3)), Claim::Refused, "an impostor");
        assert!(!links.tables.lock().tokens.contains_key(&node(1)));
    }

    #[test]
    fn the_oldest_that_has_not_greeted_makes_room_whoever_makes_it() {
        let links = Arc::new(Links::new(3, 10));
        let _places: Vec<Place> = (0..3).filter_map(|_| links.place()).collect();
        let began = [links.attempt(), links.unproven(), links.attempt()];
        let gone = || began.iter().map(|one| one.expelled.is_cancelled()).collect::<Vec<_>>();
        for expected in [[true, false, false], [true, true, false], [true, true, true]] {
            assert!(links.place().is_some());
            // Its own place is given back at once here; that of the one that is gone is not.
            links.tables.lock().open = 3;
            assert_eq!(gone(), expected);
        }
        assert!(links.place().is_none(), "all have greeted");
    }

    #[test]
    fn so_many_nodes_that_are_gone_are_remembered_and_each_once() {
        let links = Links::default();
        links.gone(node(0));
        (0..2 * MAX_GONE).for_each(|_| links.gone(node(1)));
        assert!(links.is_gone(node(0)), "one that says it again takes no more places");
        (1..=MAX_GONE).for_each(|n| links.gone(node(n)));
        assert!(!links.is_gone(node(0)) && links.is_gone(node(MAX_GONE)));
        assert_eq!(links.gone.lock().len(), MAX_GONE);
    }
}
