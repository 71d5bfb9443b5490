//! By which connection a pointer leads to another node, and how messages are given to it.
//!
//! Messages from one thread stay in order only while they go by one connection. So a pointer keeps to the one that it came
//! by, or to the one in its place, while that serves, and all threads to the same one: see [`way`](super::way). A third
//! node's box has a shorter way than by the node that has introduced it, and any connection may end: then another one
//! that leads there is taken, and where there is none, one is looked for or waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::route::Encoded;
use super::route::Held;
use super::route::Outbound;
use super::route::Pointer;
use super::route::Route;
use super::route::Waiting;
use super::terms::Correlation;
use super::terms::NotPosted;
use super::terms::Origin;
use super::way::Way;
use crate::ident::NodeId;
use crate::observe::DropReason;
use crate::observe::stats::Losses;

impl Pointer {
    /// The connection to send by now.
    pub(crate) fn link(&self) -> Option<Arc<dyn Outbound>> {
        let Route::Away { by, .. } = self.route() else { return None };
        if let Some(link) = by.detour().filter(|link| link.is_linked()) {
            return Some(link);
        }
        let other = if by.first().is_linked() { None } else { self.other_way(by) };
        Some(other.unwrap_or_else(|| Arc::clone(by.first())))
    }

    /// A live connection, besides the one that the pointer leads by, to the node that it came from, or to the box's own. By
    /// name one is led to whoever listens there, and by no other way.
    fn other_way(&self, by: &Way<dyn Outbound, Held>) -> Option<Arc<dyn Outbound>> {
        let live = |node| self.home().way_to(node).filter(|link| link.is_linked());
        live(by.node()?).or_else(|| self.own_node().filter(|_| by.is_relayed()).and_then(live))
    }

    /// The box's node, unless the pointer leads to whatever has its name.
    fn own_node(&self) -> Option<NodeId> {
        match self.origin() {
            Origin::Boxed { node, .. } => Some(*node),
            Origin::Named { .. } => None,
        }
    }

    /// A way to where the box's node is said to listen.
    fn look_for(&self, by: &Way<dyn Outbound, Held>) -> Option<Arc<dyn Outbound>> {
        Arc::clone(self.home()).look_for(self.own_node()?, by.hints())
    }

    /// The connection that serves in place of the one that the pointer came by.
    #[inline]
    fn detour(&self, by: &Way<dyn Outbound, Held>) -> Option<Arc<dyn Outbound>> {
        by.detour_or(|| self.choose(by))
    }

    /// Chooses the shortest way to a third node's box, which is kept to while it lives: an open connection to its node, or
    /// one that is made to where it listens. The last is the one that the pointer came by.
    #[cold]
    fn choose(&self, by: &Way<dyn Outbound, Held>) -> Option<Arc<dyn Outbound>> {
        let open = self.home().way_to(self.own_node()?).filter(|link| link.is_linked());
        by.keep_to(open.or_else(|| self.look_for(by)))
    }

    /// A search for a shorter way is over, and `found` what it found, if anything.
    pub(crate) fn settle_way(&self, search: *const (), found: Option<&Arc<dyn Outbound>>) {
        if let Route::Away { by, .. } = self.route() {
            by.replace_detour(search, found);
        }
    }

    /// Sends by the connection that the pointer leads by or, while there is none, by another one that leads there; that one
    /// is kept to while it lives, so that what is sent stays in order. Where there is no other, the message waits for the
    /// connection as if it had been sent by name.
    #[inline]
    fn send_by<T>(
        &self,
        by: &Way<dyn Outbound, Held>,
        mut send: impl FnMut(&Arc<dyn Outbound>, bool) -> Result<T, NotPosted>,
    ) -> Result<T, DropReason> {
        let sent = match self.detour(by) {
            None => send(by.first(), by.node().is_none()),
            Some(link) => send(&link, false).or_else(|not_posted| match not_posted {
                NotPosted::Over | NotPosted::NotUp => {
                    by.replace_detour(Arc::as_ptr(&link).cast(), None);
                    send(by.first(), by.node().is_none())
                }
                dropped => Err(dropped),
            }),
        };
        sent.or_else(|not_posted| self.send_by_another(by, not_posted, send))
    }

    #[cold]
    fn send_by_another<T>(
        &self,
        by: &Way<dyn Outbound, Held>,
        not_posted: NotPosted,
        mut send: impl FnMut(&Arc<dyn Outbound>, bool) -> Result<T, NotPosted>,
    ) -> Result<T, DropReason> {
        if let NotPosted::Dropped(reason) = not_posted {
            return Err(reason);
        }
        // A connection that this node has dialled is made again by itself.
        let may_look = by.is_relayed() || not_posted == NotPosted::Over;
        let other = self.other_way(by).or_else(|| if may_look { self.look_for(by) } else { None });
        let sent = match other {
            Some(other) => {
                // Kept to from now on, also by other threads: what this one sends next must not go by the way of another.
                let link = by.take_detour(other);
                let sent = send(&link, false);
                if matches!(sent, Err(NotPosted::Over | NotPosted::NotUp)) {
                    by.replace_detour(Arc::as_ptr(&link).cast(), None);
                }
                sent
            }
            None => send(by.first(), true),
        };
        sent.map_err(|not_posted| match not_posted {
            NotPosted::Over | NotPosted::NotUp => DropReason::NotConnected,
            NotPosted::Dropped(reason) => reason,
        })
    }

    /// Puts an encoded message into the outbox of the connection that the pointer leads by.
    #[inline]
    pub(crate) fn post(self: &Arc<Self>, message: &Encoded<'_>) -> Result<(), DropReason> {
        let Route::Away { by, .. } = self.route() else { return Err(DropReason::NoRoute) };
        self.send_by(by, |link, patient| link.post(self, message, patient))
    }

    /// Puts an encoded request into that outbox. The link is that of the request, for who wants to cancel it.
    pub(crate) fn ask_encoded(
        self: &Arc<Self>,
        message: &Encoded<'_>,
        time_left: Option<Duration>,
        waiting: &mut Option<Box<dyn Waiting>>,
    ) -> Result<(Arc<dyn Outbound>, Correlation), DropReason> {
        let Route::Away { by, .. } = self.route() else { return Err(DropReason::NotConnected) };
        self.send_by(by, |link, patient| {
            let correlation = link.ask(self, message, time_left, waiting, patient)?;
            Ok((Arc::clone(link), correlation))
        })
    }

    /// Has `send` send by the way that the pointer came by, whatever is sent by a shorter one.
    pub(crate) fn send_the_long_way<T>(
        &self,
        mut send: impl FnMut(&Arc<dyn Outbound>, bool) -> Result<T, NotPosted>,
    ) -> Result<T, DropReason> {
        let Route::Away { by, .. } = self.route() else { return Err(DropReason::NoRoute) };
        let mut sent = send(by.first(), false);
        if let (Err(NotPosted::Over | NotPosted::NotUp), Some(other)) = (&sent, self.other_way(by)) {
            sent = send(&other, false);
        }
        let sent = sent.or_else(|not_posted| match not_posted {
            NotPosted::Dropped(reason) => Err(NotPosted::Dropped(reason)),
            NotPosted::Over | NotPosted::NotUp => send(by.first(), true),
        });
        sent.map_err(|not_posted| match not_posted {
            NotPosted::Over | NotPosted::NotUp => DropReason::NotConnected,
            NotPosted::Dropped(reason) => reason,
        })
    }

    /// More about why nothing can be sent by it now, if that is known.
    pub(crate) fn trouble(&self, reason: DropReason) -> Option<String> {
        match self.route() {
            Route::Away { by, .. } if reason == DropReason::NotConnected => by.first().trouble(),
            _ => None,
        }
    }

    /// How full the way to the box and the box itself are, from 0 to 1; 1 if nothing can be sent there now.
    pub(crate) fn pressure(&self) -> f32 {
        if let Some(local) = self.local() {
            return f32::from(local.fill()) / f32::from(u8::MAX);
        }
        self.link().map_or(1.0, |link| link.pressure(&self.target_by(&*link)))
    }

    pub(crate) fn losses(&self) -> Losses {
        Losses { local: self.lost_here(), remote: self.lost_there() }
    }

    /// What the other node has told, by the connection that the pointer leads by and the one in its place.
    fn lost_there(&self) -> BTreeMap<DropReason, u64> {
        let Route::Away { by, .. } = self.route() else { return BTreeMap::new() };
        let mut lost = by.first().losses(&self.target_by(&**by.first()));
        let detour = by.detour();
        for (reason, count) in detour.iter().flat_map(|link| link.losses(&self.target_by(&**link))) {
            *lost.entry(reason).or_default() += count;
        }
        lost
    }
}
