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
use crate::net::link::Link;
use crate::quota::Quota;
use crate::reason::DropReason;
use crate::wire::frames::shape::Question;

/// Nodes that are looked for at a time; boxes of further ones are reached the long way.
const MAX_SEARCHES: usize = 64;

/// Nodes that were looked for in vain which are remembered; while there are so many, no others are looked for.
const MAX_MISSED: usize = 1024;

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
    under_way: HashMap<Incarnation, Arc<SearchQueue>>,
    /// Nodes that were looked for in vain, and when they may be looked for again.
    missed: HashMap<Incarnation, Instant>,
}

impl PathSearches {
    /// The search for a node, begun with `begin` if there is none; `None` if there is to be none.
    pub(crate) fn search(
        &self,
        node: Incarnation,
        limit: usize,
        outboxes: &Arc<Quota>,
        begin: impl FnOnce(Arc<SearchQueue>),
    ) -> Option<Arc<dyn Outbound>> {
        let queue = {
            let mut tables = self.tables.lock();
            if let Some(queue) = tables.under_way.get(&node) {
                return Some(Arc::clone(queue) as _);
            }
            let now = Instant::now();
            if tables.missed.get(&node).is_some_and(|until| now < *until) {
                return None;
            }
            if tables.missed.len() >= MAX_MISSED {
                tables.missed.retain(|_, until| now < *until);
            }
            if self.hurry.is_cancelled() || tables.under_way.len() >= MAX_SEARCHES || tables.missed.len() >= MAX_MISSED
            {
                return None;
            }
            let queue = Arc::new(SearchQueue::new(limit, outboxes));
            tables.under_way.insert(node, Arc::clone(&queue));
            queue
        };
        begin(Arc::clone(&queue));
        Some(queue)
    }

    fn ended(&self, node: Incarnation, again: Option<Instant>) {
        let mut tables = self.tables.lock();
        let ended = tables.under_way.remove(&node);
        match again {
            Some(again) => tables.missed.insert(node, again),
            None => tables.missed.remove(&node),
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

    fn begins(searches: &PathSearches, n: usize) -> bool {
        let mut has_begun = false;
        searches.search(node(n), 1, &Quota::new(0), |_| has_begun = true);
        has_begun
    }

    #[test]
    fn no_more_nodes_are_looked_for_at_a_time_than_the_limit_says() {
        let searches = PathSearches::default();
        assert!((0..MAX_SEARCHES).all(|n| begins(&searches, n)));
        assert!(!begins(&searches, MAX_SEARCHES));
        assert!(searches.search(node(0), 1, &Quota::new(0), |_| panic!("it is looked for already")).is_some());
        searches.ended(node(0), None);
        assert!(begins(&searches, MAX_SEARCHES));
    }

    /// The node has ended before.
    #[test]
    fn a_search_that_is_never_begun_with_is_over() {
        let (searches, peers) = (Arc::new(PathSearches::default()), Arc::new(PeerTable::default()));
        let begin = |queue| {
            drop(search(Arc::clone(&searches), node(0), peers, Vec::new(), Limits::default(), queue));
        };
        let queue = searches.search(node(0), 1, &Quota::new(0), begin).expect("there was none");
        assert!(queue.is_over());
        assert!(searches.tables.lock().under_way.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_nodes_that_were_not_found_are_remembered_until_they_may_be_looked_for_again() {
        let searches = PathSearches::default();
        let pause = Duration::from_secs(10);
        for n in 0..MAX_MISSED {
            assert!(begins(&searches, n));
            searches.ended(node(n), Some(Instant::now() + pause));
        }
        assert!(!begins(&searches, 0), "it was not found a moment ago");
        assert!(!begins(&searches, MAX_MISSED), "there are too many");
        tokio::time::advance(pause).await;
        assert!(begins(&searches, MAX_MISSED) && begins(&searches, 0));
    }
}
