//! Looks whether a node is where it is said to listen, before its boxes are reached the long way, through the node that
//! introduced them.
//!
//! What is sent meanwhile waits here, in order, and then goes whichever way it is: nothing is lost because a hint was
//! wrong. What waits is bounded like an outbox; how long, by `handshake_timeout`; and what ends it otherwise is the end of
//! the node. A node that was looked for in vain is not looked for again before the longest pause between two dials is over.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::search_queue::SearchQueue;
use super::table::PeerTable;
use crate::config::Limits;
use crate::handle::ports::Outbound;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::net::link::Link;
use crate::quota::Quota;
use crate::reason::DropReason;
use crate::wire::frames::shape::Question;

/// Nodes that are looked for at a time; boxes of further ones are reached the long way.
const MAX_SEARCHES: usize = 64;

/// Those among them that are looked for where one peer has said.
const MAX_SEARCHES_OF_PEER: usize = MAX_SEARCHES / 4;

/// Nodes that were looked for in vain which are remembered; while there are so many, no others are looked for.
const MAX_MISSED: usize = 1024;

/// Those among them that were looked for where one peer has said.
const MAX_MISSED_OF_PEER: usize = MAX_MISSED / 4;

/// The searches of one node.
#[derive(Debug, Default)]
pub(crate) struct PathSearches {
    tables: Mutex<SearchTable>,
    /// Cancelled when no connection is waited for any more.
    hurry: CancellationToken,
    has_ended: Notify,
}

#[derive(Debug, Default)]
struct SearchTable {
    under_way: HashMap<Incarnation, UnderWay>,
    /// Nodes that were looked for in vain, and when they may be looked for again.
    missed: HashMap<Incarnation, Missed>,
}

/// A node that is looked for.
#[derive(Debug)]
struct UnderWay {
    queue: Arc<SearchQueue>,
    /// The peer that has told where.
    asked_by: NodeId,
}

/// A node that was not found.
#[derive(Debug)]
struct Missed {
    /// When it may be looked for again.
    until: Instant,
    asked_by: NodeId,
}

impl SearchTable {
    /// Whether one more may be looked for where that peer says.
    fn has_room(&mut self, asked_by: NodeId, now: Instant) -> bool {
        let is_full = |missed: &HashMap<_, Missed>| {
            missed.len() >= MAX_MISSED || count(missed.values().map(|one| one.asked_by), asked_by) >= MAX_MISSED_OF_PEER
        };
        if is_full(&self.missed) {
            self.missed.retain(|_, missed| now < missed.until);
        }
        let of_peer = count(self.under_way.values().map(|one| one.asked_by), asked_by);
        self.under_way.len() < MAX_SEARCHES && of_peer < MAX_SEARCHES_OF_PEER && !is_full(&self.missed)
    }
}

fn count(askers: impl Iterator<Item = NodeId>, asked_by: NodeId) -> usize {
    askers.filter(|asker| *asker == asked_by).count()
}

impl PathSearches {
    /// The search for a node, begun with `begin` if there is none; it counts against the peer that has told where to look.
    /// `None` if there is to be none.
    pub(crate) fn search(
        &self,
        node: Incarnation,
        asked_by: NodeId,
        limit: usize,
        outboxes: &Arc<Quota>,
        begin: impl FnOnce(Arc<SearchQueue>),
    ) -> Option<Arc<dyn Outbound>> {
        let queue = {
            let mut tables = self.tables.lock();
            if let Some(UnderWay { queue, .. }) = tables.under_way.get(&node) {
                return Some(Arc::clone(queue) as _);
            }
            let now = Instant::now();
            if tables.missed.get(&node).is_some_and(|missed| now < missed.until) {
                return None;
            }
            if self.hurry.is_cancelled() || !tables.has_room(asked_by, now) {
                return None;
            }
            let queue = Arc::new(SearchQueue::new(limit, outboxes));
            tables.under_way.insert(node, UnderWay { queue: Arc::clone(&queue), asked_by });
            queue
        };
        begin(Arc::clone(&queue));
        Some(queue)
    }

    fn ended(&self, node: Incarnation, again: Option<Instant>) {
        let mut tables = self.tables.lock();
        let ended = tables.under_way.remove(&node);
        match (again, &ended) {
            (Some(until), Some(UnderWay { asked_by, .. })) => {
                tables.missed.insert(node, Missed { until, asked_by: *asked_by })
            }
            _ => tables.missed.remove(&node),
        };
        drop(tables);
        drop(ended);
        self.has_ended.notify_waiters();
    }

    /// Ends all searches, and waits until what waited for them has gone the long way.
    pub(crate) async fn hurry(&self) {
        self.hurry.cancel();
        loop {
            let mut ended = std::pin::pin!(self.has_ended.notified());
            // From here on nothing is missed.
            ended.as_mut().enable();
            if self.tables.lock().under_way.is_empty() {
                return;
            }
            ended.await;
        }
    }
}

/// A search that is under way.
struct PathSearch {
    searches: Arc<PathSearches>,
    node: Incarnation,
    queue: Arc<SearchQueue>,
    /// When the node may be looked for again, if it was not found.
    again: Option<Instant>,
}

impl Drop for PathSearch {
    fn drop(&mut self) {
        // Nothing waits any more unless the search is cut off.
        self.queue.give_up(DropReason::Shutdown);
        self.searches.ended(self.node, self.again);
    }
}

/// Looks for a node by the `dialled` links to where it is said to listen, until it is found or `handshake_timeout` is over.
pub(crate) fn search(
    searches: Arc<PathSearches>,
    node: Incarnation,
    peers: Arc<PeerTable>,
    dialled: Vec<Arc<Link>>,
    limits: Limits,
    queue: Arc<SearchQueue>,
) -> impl Future<Output = ()> + Send {
    // Made at once: what waits is also counted if the node ends before this is begun with.
    let mut search = PathSearch { searches, node, queue, again: None };
    async move {
        let hurry = search.searches.hurry.clone();
        let found = tokio::select! {
            biased;
            found = find(node, &peers, dialled) => found,
            () = hurry.cancelled() => None,
            () = tokio::time::sleep(limits.handshake_timeout) => None,
        };
        tracing::debug!(target: "actix_hermod", peer = %node, found = found.is_some(), "looked for a shorter way");
        if found.is_none() {
            search.again = Some(Instant::now() + *limits.reconnect.end());
        }
        search.queue.settle(found.map(|link| link as Arc<dyn Outbound>)).await;
    }
}

async fn find(node: Incarnation, peers: &PeerTable, dialled: Vec<Arc<Link>>) -> Option<Arc<Link>> {
    let mut dials: FuturesUnordered<_> = dialled.into_iter().map(|link| leads_to(node, peers, link)).collect();
    while let Some(led) = dials.next().await {
        if led.is_some() {
            return led;
        }
    }
    None
}

/// The link, if that node is there, has shown that it is, and says itself that it listens there.
async fn leads_to(node: Incarnation, peers: &PeerTable, link: Arc<Link>) -> Option<Arc<Link>> {
    greeted(&link).await;
    let heard = peers.news().of(node.node);
    // One that answers no questions may have said who it is and not shown it yet.
    loop {
        let mut news = std::pin::pin!(heard.notified());
        // From here on nothing is missed.
        news.as_mut().enable();
        if !link.is_linked() || link.peer() != Some(node) {
            return None;
        }
        if peers.is_live(node, &link) {
            // Other pointers to the node may take this way, too, which have not come with this hint.
            return Some(link).filter(|link| link.serves_others());
        }
        news.await;
    }
}

/// Waits until whoever is there has greeted and answered, or nobody is.
async fn greeted(link: &Arc<Link>) {
    let (told, answered) = oneshot::channel();
    // There is no such shape; whoever was looked for answers that.
    link.query(&Question::Fingerprint(0), Box::new(move |_| told.send(()).unwrap_or_default()));
    // Dropped is as good as answered.
    answered.await.unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn node(n: usize) -> Incarnation {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_le_bytes());
        Incarnation::of(id)
    }

    /// One of so many peers that no share is reached.
    fn any(n: usize) -> NodeId {
        node(n % 8).node
    }

    fn begins(searches: &PathSearches, n: usize, asked_by: NodeId) -> bool {
        let mut has_begun = false;
        searches.search(node(n), asked_by, 1, &Quota::new(0), |_| has_begun = true);
        has_begun
    }

    #[tokio::test(start_paused = true)]
    async fn where_one_peer_has_told_to_look_takes_a_quarter() {
        let (searches, [greedy, other]) = (PathSearches::default(), [1, 2].map(any));
        assert!((0..MAX_SEARCHES_OF_PEER).all(|n| begins(&searches, n, greedy)));
        assert!(!begins(&searches, 2000, greedy) && begins(&searches, 2000, other));
        let until = Instant::now() + Duration::from_secs(10);
        for n in 0..MAX_MISSED_OF_PEER {
            begins(&searches, n, greedy);
            searches.ended(node(n), Some(until));
        }
        assert!(!begins(&searches, 2001, greedy) && begins(&searches, 2001, other));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(begins(&searches, 2002, greedy));
    }

    #[test]
    fn no_more_nodes_are_looked_for_at_a_time_than_the_limit_says() {
        let searches = PathSearches::default();
        assert!((0..MAX_SEARCHES).all(|n| begins(&searches, n, any(n))));
        assert!(!begins(&searches, MAX_SEARCHES, any(0)));
        assert!(searches.search(node(0), any(0), 1, &Quota::new(0), |_| panic!("it is looked for already")).is_some());
        searches.ended(node(0), None);
        assert!(begins(&searches, MAX_SEARCHES, any(0)));
    }

    /// The node has ended before.
    #[test]
    fn a_search_that_is_never_begun_with_is_over() {
        let (searches, peers) = (Arc::new(PathSearches::default()), Arc::new(PeerTable::default()));
        let begin = |queue| {
            drop(search(Arc::clone(&searches), node(0), peers, Vec::new(), Limits::default(), queue));
        };
        let queue = searches.search(node(0), any(0), 1, &Quota::new(0), begin).expect("there was none");
        assert!(queue.is_over());
        assert!(searches.tables.lock().under_way.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_nodes_that_were_not_found_are_remembered_until_they_may_be_looked_for_again() {
        let searches = PathSearches::default();
        let pause = Duration::from_secs(10);
        for n in 0..MAX_MISSED {
            assert!(begins(&searches, n, any(n)));
            searches.ended(node(n), Some(Instant::now() + pause));
        }
        assert!(!begins(&searches, 0, any(0)), "it was not found a moment ago");
        assert!(!begins(&searches, MAX_MISSED, any(0)), "there are too many");
        tokio::time::advance(pause).await;
        assert!(begins(&searches, MAX_MISSED, any(0)) && begins(&searches, 0, any(0)));
    }
}
