//! News of nodes, for tasks that wait for it: a connection to a node has come up, or the node has said that it ends.
//!
//! Each node has a `Notify` of its own. With a single one, each node that comes back would wake the tasks that wait for
//! all the others: after a thousand nodes have gone at once, each of their watched boxes would be looked at a thousand
//! times. Only nodes that somebody waits for have an entry; the others are soon forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ident::NodeId;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct News {
    state: Mutex<NewsByNode>,
}

#[derive(Debug, Default)]
struct NewsByNode {
    by_node: HashMap<NodeId, Weak<Notify>>,
    /// The number of entries that were left when those that nobody waited for were last forgotten.
    awaited: usize,
}

impl News {
    /// Returns the `Notify` for news of that node, to be held while waiting for it.
    pub(crate) fn of(&self, node: NodeId) -> Arc<Notify> {
        let mut state = self.state.lock();
        if let Some(known) = state.by_node.get(&node).and_then(Weak::upgrade) {
            return known;
        }
        // Swept only when the number of entries has doubled.
        if state.by_node.len() > 2 * state.awaited + 64 {
            state.by_node.retain(|_, awaited| awaited.strong_count() > 0);
            state.awaited = state.by_node.len();
        }
        let new = Arc::default();
        state.by_node.insert(node, Arc::downgrade(&new));
        new
    }

    /// Wakes the tasks that wait for news of that node.
    pub(crate) fn tell(&self, node: NodeId) {
        let awaited = self.state.lock().by_node.get(&node).and_then(Weak::upgrade);
        if let Some(awaited) = awaited {
            awaited.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::task;

    use super::*;

    fn node(n: usize) -> NodeId {
        NodeId((n as u128).to_le_bytes())
    }

    #[test]
    fn news_of_a_node_wakes_those_who_wait_for_it_and_nobody_else() {
        const WAITING: usize = 3;
        let news = News::default();
        let wait = |n| {
            let awaited = news.of(node(n));
            task::spawn(async move { awaited.notified().await })
        };
        let mut tasks: Vec<_> = (0..100 * WAITING).map(|n| wait(n / WAITING)).collect();
        tasks.iter_mut().for_each(|task| assert!(task.poll().is_pending()));
        for n in 0..100 {
            news.tell(node(n));
            let (woken, waiting): (Vec<_>, Vec<_>) = tasks.into_iter().partition(|task| task.is_woken());
            assert_eq!(woken.len(), WAITING);
            woken.into_iter().for_each(|mut task| assert!(task.poll().is_ready()));
            tasks = waiting;
        }
    }

    #[test]
    fn nodes_that_nobody_waits_for_leave_nothing_behind() {
        let news = News::default();
        let awaited = news.of(node(0));
        (1..10_000).for_each(|n| drop(news.of(node(n))));
        assert!(news.state.lock().by_node.len() < 200);
        assert!(Arc::ptr_eq(&awaited, &news.of(node(0))), "it is waited for");
    }
}
