//! How a node ends in good order: what has begun is finished, what waits is written, and peers are told goodbye.
//!
//! Everything here runs on the node's I/O thread, as the readers of connections and the pumps of actors do: what they had
//! taken up before the shutdown began, they have given on by then.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio::time::timeout;

use super::link::Link;
use super::shared::NodeInner;
use crate::handle::recipient::proxy;
use crate::handle::shutdown::Feed;
use crate::handle::shutdown::GIVEN_UP;
use crate::handle::shutdown::MAX_ROUNDS;
use crate::wire::frames::goodbye::Farewell;

/// Which part of `shutdown_timeout` goodbyes have in any case, also if it was over before.
const GOODBYE_PART: u32 = 4;

impl NodeInner {
    /// Has the node shut down, once however often it is called.
    pub(crate) fn begin_to_shut_down(self: &Arc<Self>) {
        if !self.is_to_shut_down.swap(true, Ordering::Relaxed) {
            let node = Arc::clone(self);
            self.io.perform(move || {
                actix_rt::spawn(async move { node.shut_down().await });
            });
        }
    }

    async fn shut_down(&self) {
        let (began, limit) = (Instant::now(), self.limits.shutdown_timeout);
        let left = || limit.saturating_sub(began.elapsed());
        self.catch_up().await;
        // Nobody passes on what waits if the node's thread has ended.
        let _ = timeout(left(), self.searches.hurry()).await;
        self.shutdown.begin();
        self.closing.cancel();
        if timeout(left(), self.finish()).await.is_err() {
            self.give_up().await;
        }
        self.busy.close();
        // Whatever has not ended by then is cut off.
        let _ = timeout(left().max(limit / GOODBYE_PART), self.busy.wait()).await;
        self.stop();
    }

    /// Has messages that recipients took before sent like those that addresses took: also over connections made only for
    /// them, whose routers are started by chores.
    async fn catch_up(&self) {
        proxy::catch_up().await;
        let (started, all_started) = oneshot::channel();
        self.io.perform(move || started.send(()).unwrap_or(()));
        let _ = all_started.await;
    }

    /// Waits until what has begun is finished, and says goodbye. It ends when all of that is done, and not before.
    async fn finish(&self) {
        // Nothing else tells of requests sent through a recipient that nobody waits for any more.
        self.links().iter().for_each(|link| link.sweep_pending());
        for round in 1..=MAX_ROUNDS {
            let feeds = self.shutdown.begin_round(round);
            self.settled(&feeds, round).await;
            self.answered().await;
            if !feeds.iter().any(|feed| feed.had_work()) {
                break;
            }
        }
        // A thread that had looked before may have asked meanwhile: each is closed only if it has no such request.
        self.each_link(|link| self.say_goodbye(link, false)).await;
    }

    /// Waits until there is no request of this node without an answer.
    async fn answered(&self) {
        self.each_link(|link| link.pending() == 0).await;
    }

    /// Waits until something is so of all links, looked at one after another: to look at all of them anew whenever one has
    /// changed would cost their number squared.
    async fn each_link(&self, is_so: impl Fn(&Link) -> bool) {
        loop {
            let mut has_waited = false;
            for link in self.links() {
                while !is_so(&link) {
                    has_waited = true;
                    self.shutdown.changed().await;
                }
            }
            // Another may have been used meanwhile.
            if !has_waited {
                return;
            }
        }
    }

    /// There is no more time: what was not begun is refused, and what has begun is left to itself.
    async fn give_up(&self) {
        let feeds = self.shutdown.give_up();
        // They are only to look up from what they do, on this thread.
        let _ = timeout(self.limits.shutdown_timeout / GOODBYE_PART, self.settled(&feeds, GIVEN_UP)).await;
        for link in self.links() {
            self.say_goodbye(&link, true);
        }
    }

    async fn settled(&self, feeds: &[Arc<Feed>], round: u32) {
        for feed in feeds {
            while !feed.has_settled(round) {
                self.shutdown.changed().await;
            }
        }
    }

    /// Refuses what was not begun, such as requests that wait in a mailbox, and says goodbye behind that; whether it has.
    /// Unless it is `urgent`, what this node has asked is waited for.
    fn say_goodbye(&self, link: &Link, urgent: bool) -> bool {
        link.refuse_unbegun();
        if urgent {
            link.close(Farewell::Shutdown, "");
        }
        urgent || link.close_when_answered(Farewell::Shutdown)
    }

    fn links(&self) -> Vec<Arc<Link>> {
        self.peers.all()
    }
}
