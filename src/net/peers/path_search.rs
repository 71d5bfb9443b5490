//! Searches for a direct path to a node at the endpoints where it is said to listen, before its boxes are reached
//! through the node that introduced them, the relay.
//!
//! Messages sent meanwhile wait in the search's queue, in order, and then leave by the path that was chosen: nothing is
//! lost because a hint was wrong. Their bytes are bounded like an outbox, and their time by `handshake_timeout`; they
//! also stop waiting when this node ends. After a search without success, no further search for the same node begins
//! until the longest pause between two dials is over.

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

use super::table::PeerTable;
use crate::config::Limits;
use crate::handle::pointer::search_queue::SearchQueue;
use crate::handle::ports::Outbound;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::net::link::Link;
use crate::net::link::post_queue;
use crate::quota::Quota;
use crate::quota::Share;
use crate::reason::DropReason;
use crate::wire::frames::shape::Question;

/// Nodes that are searched for at a time; boxes of further nodes are reached through the relay.
const MAX_SEARCHES: usize = 64;

/// Searches at a time for hints of one peer.
const MAX_SEARCHES_OF_PEER: usize = MAX_SEARCHES / 4;

/// Nodes that are remembered as not found; while there are that many, no others are searched for.
const MAX_MISSED: usize = 1024;

/// Nodes that are remembered as not found, for hints of one peer.
const MAX_MISSED_OF_PEER: usize = MAX_MISSED / 4;

/// A node that is searched for, and whether only a protected channel may lead there. Such a search has other results, so
/// it is one of its own.
pub(crate) type Sought = (Incarnation, bool);

/// The searches of one node.
#[derive(Debug, Default)]
pub(crate) struct PathSearches {
    tables: Mutex<SearchTable>,
    /// Cancelled when searches are to end without waiting for connections.
    hurry: CancellationToken,
    has_ended: Notify,
}

#[derive(Debug, Default)]
struct SearchTable {
    under_way: HashMap<Sought, UnderWay>,
    /// Nodes that were not found, until they may be searched for again.
    missed: HashMap<Sought, Missed>,
}

/// A search that is under way, as the table knows it.
#[derive(Debug)]
struct UnderWay {
    queue: Arc<SearchQueue>,
    /// The peer that has given the hints.
    asked_by: NodeId,
}

/// A node that was not found.
#[derive(Debug)]
struct Missed {
    /// The time from which it may be searched for again.
    until: Instant,
    asked_by: NodeId,
}

impl SearchTable {
    /// Whether one more search may begin for hints of that peer.
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
    /// Returns the search for a node, begun with `begin` if there is none; it counts against the peer that has given
    /// the hints. `None` if no search may begin.
    pub(crate) fn search(
        &self,
        node: Sought,
        asked_by: NodeId,
        limit: usize,
        outboxes: &Arc<Quota>,
        begin: impl FnOnce(Arc<SearchQueue>),
    ) -> Option<Arc<SearchQueue>> {
        let queue = {
            let mut tables = self.tables.lock();
            if let Some(UnderWay { queue, .. }) = tables.under_way.get(&node) {
                return Some(Arc::clone(queue));
            }
            let now = Instant::now();
            if tables.missed.get(&node).is_some_and(|missed| now < missed.until) {
                return None;
            }
            if self.hurry.is_cancelled() || !tables.has_room(asked_by, now) {
                return None;
            }
            let queue = Arc::new(SearchQueue::new(limit, Share::new(outboxes, &post_queue::OWN)));
            tables.under_way.insert(node, UnderWay { queue: Arc::clone(&queue), asked_by });
            queue
        };
        begin(Arc::clone(&queue));
        Some(queue)
    }

    fn ended(&self, node: Sought, again: Option<Instant>) {
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

    /// Ends all searches, and waits until their messages have left through the relays.
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

/// A search that is under way, as its own task holds it.
struct PathSearch {
    searches: Arc<PathSearches>,
    node: Sought,
    queue: Arc<SearchQueue>,
    /// The time from which the node may be searched for again, if it was not found.
    again: Option<Instant>,
}

impl Drop for PathSearch {
    fn drop(&mut self) {
        // Messages still wait only if the search was cut off.
        self.queue.give_up(DropReason::Shutdown);
        self.searches.ended(self.node, self.again);
    }
}

/// Searches for a node over the links `dialled` to the endpoints where it is said to listen, until it is found or
/// `handshake_timeout` is over.
pub(crate) fn search(
    searches: Arc<PathSearches>,
    sought: Sought,
    peers: Arc<PeerTable>,
    dialled: Vec<Arc<Link>>,
    limits: Limits,
    queue: Arc<SearchQueue>,
) -> impl Future<Output = ()> + Send {
    // Made before the first poll: messages that wait are counted even if the node ends before the search begins.
    let (mut search, (node, _)) = (PathSearch { searches, node: sought, queue, again: None }, sought);
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

/// Returns the link, if the node at its end has proven that it is that node, and says itself that it listens there.
async fn leads_to(node: Incarnation, peers: &PeerTable, link: Arc<Link>) -> Option<Arc<Link>> {
    greeted(&link).await;
    let heard = peers.news().of(node.node);
    // A node that answers no questions may have said who it is without having proven it yet.
    loop {
        let mut news = std::pin::pin!(heard.notified());
        // From here on nothing is missed.
        news.as_mut().enable();
        if !link.is_linked() || link.peer() != Some(node) {
            return None;
        }
        if peers.is_live(node, &link) {
            // Other pointers to the node, which did not come with this hint, may take this path too.
            return Some(link).filter(|link| link.serves_others());
        }
        news.await;
    }
}

/// Waits until the node there has greeted and answered, or nobody is there.
async fn greeted(link: &Arc<Link>) {
    let (told, answered) = oneshot::channel();
    // There is no shape with that fingerprint; any node answers so.
    link.query(&Question::Fingerprint(0), Box::new(move |_| told.send(()).unwrap_or_default()));
    // A dropped callback counts as an answer.
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

    /// Returns one of several peers, enough that none of them reaches its share.
    fn any(n: usize) -> NodeId {
        node(n % 8).node
    }

    fn begins(searches: &PathSearches, n: usize, asked_by: NodeId) -> bool {
        let mut has_begun = false;
        searches.search((node(n), false), asked_by, 1, &Quota::new(0), |_| has_begun = true);
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
            searches.ended((node(n), false), Some(until));
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
        assert!(
            searches
                .search((node(0), false), any(0), 1, &Quota::new(0), |_| panic!("it is looked for already"))
                .is_some()
        );
        searches.ended((node(0), false), None);
        assert!(begins(&searches, MAX_SEARCHES, any(0)));
    }

    /// The future of the search is dropped before its first poll, as when the node has already ended.
    #[test]
    fn a_search_that_is_never_begun_with_is_over() {
        let (searches, peers) = (Arc::new(PathSearches::default()), Arc::new(PeerTable::default()));
        let begin = |queue| {
            drop(search(Arc::clone(&searches), (node(0), false), peers, Vec::new(), Limits::default(), queue));
        };
        let queue = searches.search((node(0), false), any(0), 1, &Quota::new(0), begin).expect("there was none");
        assert!(queue.is_in_vain());
        assert!(searches.tables.lock().under_way.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_nodes_that_were_not_found_are_remembered_until_they_may_be_looked_for_again() {
        let searches = PathSearches::default();
        let pause = Duration::from_secs(10);
        for n in 0..MAX_MISSED {
            assert!(begins(&searches, n, any(n)));
            searches.ended((node(n), false), Some(Instant::now() + pause));
        }
        assert!(!begins(&searches, 0, any(0)), "it was not found a moment ago");
        assert!(!begins(&searches, MAX_MISSED, any(0)), "there are too many");
        tokio::time::advance(pause).await;
        assert!(begins(&searches, MAX_MISSED, any(0)) && begins(&searches, 0, any(0)));
    }
}
