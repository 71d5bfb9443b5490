//! The pointers of one recipient: all equal ones, by whichever connection they came.
//!
//! A recipient stands for the common origin of its pointers, and sends by one of them. The others are held, because
//! each of them keeps the box alive with a lease of its own, and one takes over when the current one leads nowhere any
//! more. Only the pump changes from one to another, between two turns, and only in ways that keep messages in order:
//! while the current pointer is in use and has a live connection, only a pointer by the same connection takes its
//! place.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::handle::pointer::Pointer;
use crate::handle::pointer::Route;
use crate::handle::ports::Outbound;

/// Maximum number of pointers of one recipient that are held beside the current one, each of another connection. Beyond
/// that, the worst is dropped, and its lease with it: the box stays as long as one of the others keeps it.
const MAX_OTHERS: usize = 8;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Routes {
    state: Mutex<RouteSet>,
    /// Whether a pointer was offered since the pump has last chosen.
    offered: AtomicBool,
    /// Whether a message has left through the recipient.
    in_use: AtomicBool,
}

#[derive(Debug)]
struct RouteSet {
    current: Arc<Pointer>,
    others: Vec<Arc<Pointer>>,
    /// Whether none of the pointers can reach anything any more.
    closed: bool,
}

impl Routes {
    pub(super) fn new(pointer: &Arc<Pointer>) -> Routes {
        let state = RouteSet { current: Arc::clone(pointer), others: Vec::new(), closed: false };
        Routes { state: Mutex::new(state), offered: AtomicBool::new(false), in_use: AtomicBool::new(false) }
    }

    pub(super) fn current(&self) -> Arc<Pointer> {
        Arc::clone(&self.state.lock().current)
    }

    /// Adds an equal pointer, and puts those that it replaces into `gone`, to be dropped without a lock. Returns
    /// whether something can still be reached.
    pub(super) fn offer(&self, pointer: &Arc<Pointer>, gone: &mut Vec<Arc<Pointer>>) -> bool {
        let mut routes = self.state.lock();
        if !routes.closed && routes.wants(pointer) {
            routes.add(pointer, gone);
            self.offered.store(true, Ordering::Release);
        }
        !routes.closed
    }

    /// Returns whether a pointer was offered since the last choice.
    #[inline]
    pub(super) fn has_offers(&self) -> bool {
        self.offered.load(Ordering::Relaxed)
    }

    /// Records that a message leaves by the current pointer; called by the pump, like `choose`.
    #[inline]
    pub(super) fn note_use(&self) {
        if !self.in_use.load(Ordering::Relaxed) {
            self.in_use.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the pointer to send by from now on; `None` if all have ended, and then there is never one again.
    pub(super) fn choose(&self) -> Option<Arc<Pointer>> {
        self.offered.store(false, Ordering::Relaxed);
        let mut routes = self.state.lock();
        let before = routes.change(self.in_use.load(Ordering::Relaxed));
        routes.closed = routes.current.have_recipients_ended();
        let chosen = (!routes.closed).then(|| Arc::clone(&routes.current));
        drop(routes);
        drop(before);
        chosen
    }
}

impl RouteSet {
    /// Returns whether a pointer may ever be better than the present ones, or holds a lease of its own.
    fn wants(&self, pointer: &Arc<Pointer>) -> bool {
        let mut known = self.others.iter().chain([&self.current]);
        if known.any(|known| Arc::ptr_eq(known, pointer)) || self.current.is_local() {
            return false;
        }
        match primary(pointer) {
            // It holds no lease that another pointer of the same connection does not.
            Some(link) if pointer.held().is_none() => {
                !self.others.iter().chain([&self.current]).any(|known| leads_by(known, link))
            }
            Some(_) => true,
            None => matches!(pointer.route(), Route::Here(_) | Route::HereNamed),
        }
    }

    /// Adds a pointer in place of those that it replaces: messages bring the latest pointer of a connection again, as
    /// long as the peer uses one number for the box.
    fn add(&mut self, pointer: &Arc<Pointer>, gone: &mut Vec<Arc<Pointer>>) {
        let link = primary(pointer);
        let is_replaced = |other: &Arc<Pointer>| {
            primary(other).is_some_and(|by| by.is_over()) || link.is_some_and(|link| leads_by(other, link))
        };
        gone.extend(self.others.extract_if(.., |other| is_replaced(other)));
        self.others.push(Arc::clone(pointer));
        if self.others.len() > MAX_OTHERS
            && let Some(worst) = self.others.iter().enumerate().min_by_key(|(_, other)| worth(other)).map(|(at, _)| at)
        {
            gone.push(self.others.remove(worst));
        }
    }

    /// Replaces the current pointer, if there is a better one that may take its place. Returns the old one if it is not
    /// held any more.
    fn change(&mut self, in_use: bool) -> Option<Arc<Pointer>> {
        let better = self.better(in_use)?;
        let before = std::mem::replace(&mut self.current, self.others.remove(better));
        let link = primary(&self.current);
        if before.have_recipients_ended()
            || primary(&before).is_some_and(|by| by.is_over())
            || link.is_some_and(|link| leads_by(&before, link))
        {
            return Some(before);
        }
        self.others.push(before);
        None
    }

    fn better(&self, in_use: bool) -> Option<usize> {
        if in_use
            && !self.current.have_recipients_ended()
            && let Some(link) = self.current.link().filter(|link| link.is_linked())
        {
            let is_direct = |other: &Pointer| !other.is_relayed() && !other.have_recipients_ended();
            return self.others.iter().rposition(|other| is_direct(other) && leads_by(other, &link));
        }
        let (best, worth_of_best) =
            self.others.iter().enumerate().map(|(at, other)| (at, worth(other))).max_by_key(|(_, worth)| *worth)?;
        (worth_of_best >= worth(&self.current)).then_some(best)
    }
}

/// Returns the worth of a pointer: first whether it leads anywhere, then whether it has a connection, then whether it
/// leads there directly.
fn worth(pointer: &Pointer) -> (bool, bool, bool) {
    let is_linked = pointer.is_local() || pointer.link().is_some_and(|link| link.is_linked());
    (!pointer.have_recipients_ended(), is_linked, !pointer.is_relayed())
}

/// Returns the connection by which a pointer came.
fn primary(pointer: &Pointer) -> Option<&Arc<dyn Outbound>> {
    match pointer.route() {
        Route::Away { path, .. } => Some(path.primary()),
        _ => None,
    }
}

fn leads_by(pointer: &Pointer, link: &Arc<dyn Outbound>) -> bool {
    primary(pointer).is_some_and(|by| Arc::ptr_eq(by, link))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;
    use crate::handle::detached;
    use crate::handle::envelope::Envelope;
    use crate::handle::peer_request::PeerRequest;
    use crate::handle::pointer::holdings::Holdings;
    use crate::handle::pointer::identity::Origin;
    use crate::handle::pointer::lease::Lease;
    use crate::handle::pointer::path::Path;
    use crate::handle::ports::BoxGone;
    use crate::handle::ports::CameOver;
    use crate::handle::ports::Correlation;
    use crate::handle::ports::NotTaken;
    use crate::handle::ports::PendingReply;
    use crate::ident::BoxId;
    use crate::ident::Incarnation;
    use crate::reason::DropReason;
    use crate::wire::body::Body;
    use crate::wire::frames::refuse::Unanswered;
    use crate::wire::target::Target;

    const OWNER: Incarnation = Incarnation::of([1; 16]);
    const HUB: Incarnation = Incarnation::of([2; 16]);
    const BOX: BoxId = BoxId([3; 16]);

    /// A connection that carries nothing.
    #[derive(Debug)]
    struct Stub {
        linked: AtomicBool,
        over: AtomicBool,
        released: AtomicU64,
    }

    impl Stub {
        fn new() -> Arc<Stub> {
            Arc::new(Stub { linked: true.into(), over: false.into(), released: 0.into() })
        }

        fn released(&self) -> u64 {
            self.released.load(Ordering::Relaxed)
        }

        /// Returns a pointer that came by this connection, from that node, with a lease.
        fn pointer(self: &Arc<Self>, from: Incarnation, connection: u64) -> Arc<Pointer> {
            let link: Arc<dyn Outbound> = Arc::clone(self) as _;
            let holdings = Arc::new(Holdings::default());
            holdings.begin(connection);
            let held = Lease::new(Arc::downgrade(&link), connection, BOX, 1, holdings);
            let route = Route::Away {
                path: Path::between(link, (from, CameOver::default()), OWNER, Arc::default()),
                to: Some(BOX),
            };
            let node = Arc::clone(detached::pointer().this_node());
            Arc::new(Pointer::new(node, Origin::Boxed { node: OWNER, id: BOX }, "", route, Some(held)))
        }
    }

    impl Outbound for Stub {
        fn post(&self, _: &Arc<Pointer>, _: &Envelope<'_>, _: bool) -> Result<(), NotTaken> {
            Err(NotTaken::NotUp)
        }
        fn ask(
            &self,
            _: &Arc<Pointer>,
            _: &Envelope<'_>,
            _: Option<Duration>,
            _: &mut Option<Box<dyn PendingReply>>,
            _: bool,
        ) -> Result<Correlation, NotTaken> {
            Err(NotTaken::NotUp)
        }
        fn answer(&self, _: Correlation, _: &PeerRequest, _: Body<'_>, _: &[Arc<Pointer>]) -> Result<(), Unanswered> {
            Ok(())
        }
        fn refuse(&self, _: Correlation, _: &PeerRequest, _: Unanswered, _: &str) {}
        fn cancel(&self, _: Correlation) {}
        fn is_up(&self) -> bool {
            self.is_linked()
        }
        fn is_linked(&self) -> bool {
            self.linked.load(Ordering::Relaxed)
        }
        fn lost_since(&self) -> Option<Instant> {
            None
        }
        fn is_over(&self) -> bool {
            self.over.load(Ordering::Relaxed)
        }
        fn longest_message(&self) -> usize {
            0
        }
        fn trouble(&self) -> Option<String> {
            None
        }
        fn peer(&self) -> Option<Incarnation> {
            None
        }
        fn losses(&self, _: &Target, _: u64) -> BTreeMap<DropReason, u64> {
            BTreeMap::new()
        }
        fn watch(&self, _: &Target, _: Option<Incarnation>, _: oneshot::Sender<BoxGone>) {}
        fn pressure(&self, _: &Target) -> f32 {
            0.0
        }
        fn keep(&self, _: u64, held: Lease) -> Option<Lease> {
            Some(held)
        }
        fn release(&self, _: u64, _: BoxId, count: u64) {
            self.released.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Offers a pointer, and drops the replaced ones.
    fn offer(routes: &Routes, pointer: Arc<Pointer>) -> bool {
        routes.offer(&pointer, &mut Vec::new())
    }

    fn leads_by(routes: &Routes, stub: &Arc<Stub>) -> bool {
        let link: Arc<dyn Outbound> = Arc::clone(stub) as _;
        routes.choose().is_some_and(|chosen| super::leads_by(&chosen, &link))
    }

    #[test]
    fn each_connection_has_one_pointer_and_all_are_let_go_in_the_end() {
        let stub = Stub::new();
        let first = stub.pointer(OWNER, 0);
        let routes = Routes::new(&first);
        assert!(routes.offer(&first, &mut Vec::new()) && !routes.has_offers());
        for n in 1..=100 {
            assert!(offer(&routes, stub.pointer(OWNER, n)) && routes.has_offers());
            assert!(routes.choose().is_some() && !routes.has_offers());
        }
        assert_eq!(stub.released(), 99, "the latest serves, and the first is held here");
        drop((first, routes));
        assert_eq!(stub.released(), 101);
    }

    #[test]
    fn no_more_connections_have_pointers_than_the_limit_says_and_the_best_stay() {
        let (direct, hubs) = (Stub::new(), [0; 100].map(|_| Stub::new()));
        let routes = Routes::new(&hubs[0].pointer(HUB, 0));
        offer(&routes, direct.pointer(OWNER, 1));
        hubs[1..].iter().zip(2..).for_each(|(hub, n)| assert!(offer(&routes, hub.pointer(HUB, n))));
        let released: u64 = hubs.iter().map(|hub| hub.released()).sum();
        assert_eq!((released, direct.released()), (100 - MAX_OTHERS as u64, 0));
        assert!(leads_by(&routes, &direct));
        drop(routes);
        assert_eq!(hubs.iter().map(|hub| hub.released()).sum::<u64>(), 100);
    }

    #[test]
    fn the_most_direct_serves_and_what_is_in_use_until_it_is_down() {
        let [hub, direct, other] = [0; 3].map(|_| Stub::new());
        let routes = Routes::new(&hub.pointer(HUB, 0));
        offer(&routes, direct.pointer(OWNER, 1));
        routes.note_use();
        assert!(leads_by(&routes, &hub), "something is on its way by it");
        hub.linked.store(false, Ordering::Relaxed);
        assert!(leads_by(&routes, &direct));
        offer(&routes, other.pointer(OWNER, 2));
        assert!(leads_by(&routes, &direct));
        direct.linked.store(false, Ordering::Relaxed);
        direct.over.store(true, Ordering::Relaxed);
        assert!(leads_by(&routes, &other));
        assert_eq!((hub.released(), direct.released()), (0, 1), "what is over keeps nothing");
    }

    #[test]
    fn it_is_over_when_all_are() {
        let [one, other] = [0; 2].map(|_| Stub::new());
        let (first, second) = (one.pointer(OWNER, 0), other.pointer(OWNER, 1));
        let routes = Routes::new(&first);
        offer(&routes, Arc::clone(&second));
        routes.note_use();
        first.end();
        assert!(leads_by(&routes, &other));
        second.end();
        assert!(routes.choose().is_none());
        assert!(!offer(&routes, one.pointer(OWNER, 2)), "its recipient cannot come back to life");
    }
}
