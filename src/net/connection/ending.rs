//! The end of a connection, and the pause before it is made again.

use std::time::Duration;

use actix::ActorContext;
use actix::AsyncContext;
use actix::Context;
use actix::Handler;
use actix::Message;
use tracing::Span;

use super::handshake::Refusal;
use super::reader::Ended;
use super::router::RemoteRouter;
use super::router::Written;
use super::start::Occupancy;
use crate::env;
use crate::observe::event::DownReason;
use crate::observe::event::Event;
use crate::reason::DropReason;
use crate::reason::Side;
use crate::wire::codec::Violation;
use crate::wire::frames::goodbye::Farewell;

/// The references to a link that its live connection holds itself: in its router, its reader, its writer, and the table
/// of live links.
const HOLDERS: usize = 4;

/// The reader or the writer has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct DirectionEnded {
    pub(super) connection: u64,
    pub(super) how: Ended,
}

impl RemoteRouter {
    /// Handles the end of the reader or the writer.
    fn ended(&mut self, ended: DirectionEnded, ctx: &mut Context<Self>) {
        let Some(live) = self.live.as_mut().filter(|live| live.connection == ended.connection) else { return };
        match ended.how {
            Ended::Goodbye(why, detail) => self.goodbye(why, &detail, ctx),
            Ended::Written => {
                live.written = Some(Written::ToEnd);
                if let Some(reason) = live.read_to_end.take() {
                    self.down(reason, ctx);
                }
            }
            Ended::Unwritable(error) => {
                tracing::debug!(target: "actix_hermod", peer = %live.peer, %error, "nothing more can be written");
                live.written = Some(Written::Broken);
                match live.read_to_end.take() {
                    Some(reason) => self.down(reason, ctx),
                    // Bytes that have arrived are still read, including the peer's goodbye.
                    None => self.down_later(DownReason::Lost, ctx),
                }
            }
            Ended::Lost(error) => {
                tracing::debug!(target: "actix_hermod", peer = %live.peer, %error, "the connection broke");
                let why = if live.written == Some(Written::ToEnd) { DownReason::Goodbye } else { DownReason::Lost };
                self.down(why, ctx);
            }
            Ended::Violation(violation) => self.violated(&violation, ctx),
        }
    }

    /// Handles the peer's goodbye: messages that wait for the peer are still written, with this side's goodbye behind
    /// them.
    fn goodbye(&mut self, why: Farewell, detail: &str, ctx: &mut Context<Self>) {
        tracing::debug!(target: "actix_hermod", ?why, detail, "the peer says goodbye");
        if why == Farewell::Refused && self.live.as_ref().is_some_and(|live| !live.announced) {
            return self.refused(detail, ctx);
        }
        // Before the welcome, the goodbye may come from another node.
        if why == Farewell::Shutdown
            && let Some(live) = self.live.as_ref().filter(|live| live.announced)
        {
            if let Some(link) = &self.link {
                link.peer_ends(DropReason::Shutdown, None);
            }
            self.node.peers.gone(live.peer);
            self.node.forget_absent(live.peer);
        }
        let reason = match why {
            Farewell::Violation => DownReason::Misbehaved(detail.to_owned()),
            Farewell::NoRoom => DownReason::NoRoom(detail.to_owned()),
            Farewell::Shutdown | Farewell::Unneeded | Farewell::Refused | Farewell::Other(_) => DownReason::Goodbye,
        };
        self.wind_up(reason, Farewell::Unneeded, "", ctx);
    }

    /// Takes a refusal of the peer in place of its welcome: it has read no message, and will read none.
    fn refused(&mut self, reason: &str, ctx: &mut Context<Self>) {
        let Some(live) = self.live.take() else { return };
        live.reader.abort();
        live.writer.abort();
        self.node.proven.end(live.connection);
        let refusal = Refusal { peer: Some(live.peer.node), by: Side::Peer, reason: reason.to_owned() };
        refusal.tell(&self.node);
        if let Some(link) = &self.link {
            link.peer_ends(DropReason::Refused, Some(&refusal.to_string()));
        }
        self.failed(&refusal.into(), ctx);
    }

    /// Ends the connection because the peer broke the protocol, or wastes more memory than there is room for.
    pub(super) fn violated(&mut self, violation: &Violation, ctx: &mut Context<Self>) {
        let Some(live) = &self.live else { return };
        live.reader.abort();
        let (words, why) = (violation.to_string(), farewell_to(violation));
        let reason = if why == Farewell::NoRoom {
            tracing::warn!(target: "actix_hermod", peer = %live.peer, %violation, "no room for the connection");
            DownReason::NoRoom(words.clone())
        } else {
            tracing::warn!(target: "actix_hermod", peer = %live.peer, %violation, "the peer broke the protocol");
            DownReason::Misbehaved(words.clone())
        };
        self.wind_up(reason, why, &words, ctx);
    }

    /// Stops reading: messages that wait for the peer are still written, with a goodbye behind them.
    fn wind_up(&mut self, reason: DownReason, why: Farewell, detail: &str, ctx: &mut Context<Self>) {
        let (Some(live), Some(link)) = (&mut self.live, &self.link) else { return };
        link.close(why, detail);
        if live.written.is_some() {
            return self.down(reason, ctx);
        }
        live.read_to_end = Some(reason.clone());
        // A peer that reads nothing is not waited for any longer.
        self.down_later(reason, ctx);
    }

    /// Ends an unneeded connection that was made for a peer, where such connections are scarce. Returns false if it is
    /// not such a connection, or something is under way.
    pub(super) fn close_if_unneeded(&mut self, ctx: &mut Context<Self>) -> bool {
        let (Some(live), Some(link), Some(occupancy)) = (&self.live, &self.link, &self.occupancy) else { return false };
        let is_ending = !live.announced || live.read_to_end.is_some() || live.written.is_some();
        if is_ending || !self.node.admission.is_scarce(occupancy.group()) || link.askers().is_none() {
            return false;
        }
        let is_unneeded = link.is_quiet() && !self.node.registry.leases().has(live.connection);
        let was_unneeded = std::mem::replace(&mut self.was_unneeded, is_unneeded);
        if !is_unneeded || !was_unneeded || !self.node.peers.forget_unheld(link, HOLDERS) {
            return false;
        }
        tracing::debug!(target: "actix_hermod", peer = %live.peer, "nothing holds the connection that was made for a peer");
        link.close(Farewell::Unneeded, "");
        self.down_later(DownReason::Goodbye, ctx);
        true
    }

    /// Ends the connection if one of its directions has not ended by itself within `shutdown_timeout`.
    fn down_later(&self, reason: DownReason, ctx: &mut Context<Self>) {
        let Some(connection) = self.live.as_ref().map(|live| live.connection) else { return };
        let limit = self.node.limits.shutdown_timeout;
        ctx.run_later(limit, move |router, ctx| {
            if router.live.as_ref().is_some_and(|live| live.connection == connection) {
                router.in_span(|router| router.down(reason, ctx));
            }
        });
    }

    /// Ends the connection, if it has not ended by itself.
    pub(super) fn down(&mut self, why: DownReason, ctx: &mut Context<Self>) {
        let Some(live) = self.live.take() else { return };
        live.reader.abort();
        live.writer.abort();
        self.node.proven.end(live.connection);
        if !live.announced {
            self.failures = self.failures.saturating_add(1);
        }
        let reason = if self.node.closing.is_cancelled() { DropReason::Shutdown } else { DropReason::Lost };
        tracing::info!(target: "actix_hermod", peer = %live.peer, ?why, "disconnected");
        if let Some(link) = &self.link {
            self.node.peers.leave(live.peer, link, live.connection);
        }
        self.end(reason, &why.to_string(), ctx);
        self.node.peers.restate_leases(live.peer);
        // A connection that was not announced has no `PeerDown` event, since it had no `PeerUp`.
        if live.announced {
            self.node.observer.tell(&Event::PeerDown { peer: live.peer.node, why });
        }
    }

    /// Ends the link's connection or attempt. Another attempt is made after a pause, if there is an endpoint to dial
    /// and somebody needs the link.
    pub(super) fn end(&mut self, reason: DropReason, detail: &str, ctx: &mut Context<Self>) {
        let Some(link) = self.link.take() else { return };
        self.occupancy = None;
        let over = link.endpoint().is_none() || self.node.closing.is_cancelled();
        link.down(reason, detail, over);
        drop(link);
        self.span = Span::none();
        if over {
            return ctx.stop();
        }
        ctx.run_later(self.pause(), Self::try_again);
    }

    fn try_again(&mut self, ctx: &mut Context<Self>) {
        let Some(link) = self.waiting.upgrade() else { return ctx.stop() };
        self.occupancy = Occupancy::dialled(&self.node, &link).ok();
        if self.occupancy.is_none() {
            ctx.run_later(self.pause(), Self::try_again);
            return;
        }
        link.dialling();
        self.link = Some(link);
        self.connect(ctx);
    }

    /// Returns the pause before the next attempt: the longest if one side has refused the other. Otherwise it doubles with each failure, up to the limit, and is shortened by a
    /// random part of up to half, so that the clients of a restarted server do not all come back at once.
    fn pause(&self) -> Duration {
        let (first, longest) = (*self.node.limits.reconnect.start(), *self.node.limits.reconnect.end());
        if self.is_refused {
            return longest;
        }
        let doubled = first.saturating_mul(1_u32.checked_shl(self.failures.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(longest).mul_f64(1.0 - env::random_fraction() / 2.0)
    }
}

impl Handler<DirectionEnded> for RemoteRouter {
    type Result = ();

    fn handle(&mut self, ended: DirectionEnded, ctx: &mut Context<Self>) {
        self.in_span(|router| router.ended(ended, ctx));
    }
}

/// Returns the farewell that tells a peer of its violation.
fn farewell_to(violation: &Violation) -> Farewell {
    match violation {
        Violation::Unfinished { .. } => Farewell::NoRoom,
        _ => Farewell::Violation,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actix::System;
    use serde::Deserialize;
    use serde::Serialize;

    use super::*;
    use crate::config::IoThread;
    use crate::handle::pointer::Route;
    use crate::node::Node;

    #[derive(actix::Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Note;

    /// One holder more, and no connection that was made for a peer would ever end; one less, and it would end while
    /// somebody has an address that leads by it.
    #[test]
    fn a_connection_holds_its_link_as_often_as_is_counted() {
        System::new().block_on(async {
            let node = || Node::builder().io_thread(IoThread::Current).start();
            let (here, there) = (node(), node());
            let endpoint = there.listen("127.0.0.1:0").await.expect("a free port").to_string();
            let mut inbox = there.mailbox::<Note>().name("inbox").open().expect("a mailbox");
            let to = here.remote::<Note>(&endpoint, "inbox").expect("an address");
            to.do_send(Note);
            inbox.recv().await.expect("it is up");
            let Route::Away { path, .. } = to.pointer().route() else { panic!("it is elsewhere") };
            let link = Arc::downgrade(path.primary());
            let is_held = async |count: usize| {
                let settles = async {
                    // A reference that is only taken for a look at the link is dropped again.
                    while !to.connected() || link.strong_count() != count {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(10), settles).await.map_err(|_| link.strong_count())
            };
            assert_eq!(is_held(HOLDERS + 1).await, Ok(()), "by the address too");
            let (other, held) = (here.remote::<Note>(&endpoint, "other").expect("an address"), path.primary().clone());
            assert_eq!(is_held(HOLDERS + 3).await, Ok(()));
            drop((other, held));
            assert_eq!(is_held(HOLDERS + 1).await, Ok(()));
        });
    }
}
