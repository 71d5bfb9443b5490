//! The orderly shutdown of a node: work that has begun is finished, waiting messages are written, and peers are told
//! goodbye.
//!
//! Everything here runs on the node's I/O thread, as the readers of connections and the pumps of actors do: by then
//! they have passed on all messages that they took up before the shutdown began.

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

/// Divides `shutdown_timeout`: goodbyes get at least the quotient, even if the timeout has already passed.
const GOODBYE_PART: u32 = 4;

impl NodeInner {
    /// Has the node shut down; repeated calls have no effect.
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
        // If the node's thread has ended, nobody passes on the messages that wait.
        let _ = timeout(left(), self.searches.hurry()).await;
        self.shutdown().begin();
        self.closing.cancel();
        if timeout(left(), self.finish()).await.is_err() {
            self.give_up().await;
        }
        self.busy.close();
        // Connections that have not ended by then are cut off.
        let _ = timeout(left().max(limit / GOODBYE_PART), self.busy.wait()).await;
        self.stop();
    }

    /// Has all messages sent that recipients have accepted so far, so that they are treated like messages accepted by
    /// addresses. This includes messages for new connections, whose routers are started by chores.
    async fn catch_up(&self) {
        proxy::catch_up().await;
        let (started, all_started) = oneshot::channel();
        self.io.perform(move || started.send(()).unwrap_or(()));
        let _ = all_started.await;
    }

    /// Waits until work that has begun is finished, then says goodbye. Has no time limit of its own.
    async fn finish(&self) {
        // Nothing else reports abandoned requests that were sent through a recipient.
        self.links().iter().for_each(|link| link.sweep_pending());
        for round in 1..=MAX_ROUNDS {
            let feeds = self.shutdown().begin_round(round);
            self.settled(&feeds, round).await;
            self.answered().await;
            if !feeds.iter().any(|feed| feed.had_work()) {
                break;
            }
        }
        // A thread that checked for a shutdown before may have sent a request meanwhile: a link is closed only if it
        // has no such request.
        self.each_link(|link| self.say_goodbye(link, false)).await;
    }

    /// Waits until all requests of this node are answered.
    async fn answered(&self) {
        self.each_link(|link| link.pending() == 0).await;
    }

    /// Waits until `is_so` holds for all links, one after another: checking all of them again whenever one has changed
    /// would cost the square of their number.
    async fn each_link(&self, is_so: impl Fn(&Link) -> bool) {
        loop {
            let mut has_waited = false;
            for link in self.links() {
                while !is_so(&link) {
                    has_waited = true;
                    self.shutdown().changed().await;
                }
            }
            // Another link may have been used meanwhile.
            if !has_waited {
                return;
            }
        }
    }

    /// Gives up when the time is over: refuses requests that were not begun, and leaves those that have begun to
    /// themselves.
    async fn give_up(&self) {
        let feeds = self.shutdown().give_up();
        // The feeds only need a turn on this thread to notice.
        let _ = timeout(self.limits.shutdown_timeout / GOODBYE_PART, self.settled(&feeds, GIVEN_UP)).await;
        for link in self.links() {
            self.say_goodbye(&link, true);
        }
    }

    async fn settled(&self, feeds: &[Arc<Feed>], round: u32) {
        for feed in feeds {
            while !feed.has_settled(round) {
                self.shutdown().changed().await;
            }
        }
    }

    /// Refuses requests that were not begun, such as those that wait in a mailbox, and says goodbye behind the
    /// refusals; returns whether it has said goodbye. Unless it is `urgent`, answers to this node's own requests are
    /// waited for.
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
