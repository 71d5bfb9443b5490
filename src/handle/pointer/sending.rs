//! Sending by a pointer to another node: the choice of the connection, for each message, and the ways on when that has
//! ended. Sending costs no lock while the primary connection serves.

use std::sync::Arc;
use std::time::Duration;

use super::Pointer;
use super::Route;
use super::alternate::Alternate;
use super::path::Path;
use super::search_queue::SearchQueue;
use crate::handle::envelope::Envelope;
use crate::handle::ports::Correlation;
use crate::handle::ports::NotTaken;
use crate::handle::ports::Outbound;
use crate::handle::ports::PendingReply;
use crate::reason::DropReason;

/// The place to which one message goes next.
pub(super) enum Next<'a> {
    /// The outbox of a connection. If that is not up, a message `patient` enough has it made and waits in the outbox.
    Outbox { link: &'a Arc<dyn Outbound>, patient: bool },
    /// The queue of a search.
    Search(&'a Arc<SearchQueue>),
}

impl<'a> Next<'a> {
    /// Returns the outbox of the connection that the pointer came by. A message by name waits for the connection there.
    #[inline]
    fn by_primary(path: &'a Path) -> Next<'a> {
        Next::Outbox { link: path.primary(), patient: path.is_by_name() }
    }

    /// Puts a message there.
    #[inline]
    pub(super) fn post(self, to: &Arc<Pointer>, message: &Envelope<'_>) -> Result<(), NotTaken> {
        match self {
            Next::Outbox { link, patient } => link.post(to, message, patient),
            Next::Search(search) => search.post(to, message),
        }
    }

    /// Puts a request there. If the request is not taken, neither is `waiting`.
    pub(super) fn ask(
        self,
        to: &Arc<Pointer>,
        message: &Envelope<'_>,
        time_left: Option<Duration>,
        waiting: &mut Option<Box<dyn PendingReply>>,
    ) -> Result<RequestAt, NotTaken> {
        match self {
            Next::Outbox { link, patient } => {
                let correlation = link.ask(to, message, time_left, waiting, patient)?;
                Ok(RequestAt::Connection(Arc::clone(link), correlation))
            }
            Next::Search(search) => search.ask(to, message, time_left, waiting),
        }
    }
}

/// The place where a request that has left is known, and can be cancelled.
#[derive(Debug)]
pub(crate) enum RequestAt {
    Connection(Arc<dyn Outbound>, Correlation),
    /// A search, by its number for the request. The request may have left by a connection since.
    Search(Arc<SearchQueue>, u64),
}

impl RequestAt {
    /// Cancels the request, whose answer is not wanted any more.
    pub(crate) fn cancel(self) {
        match self {
            RequestAt::Connection(link, correlation) => link.cancel(correlation),
            RequestAt::Search(search, number) => search.cancel(number),
        }
    }
}

impl Pointer {
    /// Puts an encoded message into the outbox of the connection that the pointer uses.
    #[inline]
    pub(crate) fn post(self: &Arc<Self>, message: &Envelope<'_>) -> Result<(), DropReason> {
        let Route::Away { path, .. } = self.route() else { return Err(DropReason::NoRoute) };
        self.send_by(path, |next| next.post(self, message))
    }

    /// Puts an encoded request into the outbox of the connection that the pointer uses. Returns the place where it can
    /// be cancelled.
    pub(crate) fn ask_encoded(
        self: &Arc<Self>,
        message: &Envelope<'_>,
        time_left: Option<Duration>,
        waiting: &mut Option<Box<dyn PendingReply>>,
    ) -> Result<RequestAt, DropReason> {
        let Route::Away { path, .. } = self.route() else { return Err(DropReason::NotConnected) };
        self.send_by(path, |next| next.ask(self, message, time_left, waiting))
    }

    /// Sends by the connection that the pointer uses or, while there is none, by another one that leads to the same
    /// place; that one stays in use while it lives, so that messages stay in order. If there is no other, the message
    /// waits for the connection as if it had been sent by name.
    #[inline]
    fn send_by<T>(&self, path: &Path, mut send: impl FnMut(Next<'_>) -> Result<T, NotTaken>) -> Result<T, DropReason> {
        let sent = if path.selection.is_primary() {
            send(Next::by_primary(path))
        } else {
            self.send_by_selected(path, &mut send)
        };
        sent.or_else(|not_taken| self.send_by_another(path, not_taken, send))
    }

    /// Sends by the alternate, which is chosen now if it is not yet, or else by the primary connection.
    fn send_by_selected<T>(
        &self,
        path: &Path,
        send: &mut impl FnMut(Next<'_>) -> Result<T, NotTaken>,
    ) -> Result<T, NotTaken> {
        let alternate = path.selection.get_or(|| self.select(path));
        match send_by_alternate(path, &alternate, send) {
            Err(not_taken) if not_taken.is_unlinked() => send(Next::by_primary(path)),
            sent => sent,
        }
    }

    #[cold]
    fn send_by_another<T>(
        &self,
        path: &Path,
        not_taken: NotTaken,
        mut send: impl FnMut(Next<'_>) -> Result<T, NotTaken>,
    ) -> Result<T, DropReason> {
        if !not_taken.is_unlinked() {
            return Err(not_taken.reason());
        }
        // A connection that this node has dialled is made again by itself.
        let may_look = path.is_relayed() || not_taken == NotTaken::Over;
        let other = match self.other_link(path) {
            Some(link) => Alternate::Connected(link),
            None if may_look => self.discover(path),
            None => Alternate::None,
        };
        let sent = match other {
            Alternate::None => send(Next::Outbox { link: path.primary(), patient: true }),
            // It stays in use from now on, by other threads too: the next message of this thread must not take another
            // path.
            other => send_by_alternate(path, &path.selection.take(other), &mut send),
        };
        sent.map_err(NotTaken::reason)
    }

    /// Calls `send` with the connection that the pointer came by, even if messages are sent by a shorter path.
    pub(super) fn send_by_primary<T>(
        &self,
        mut send: impl FnMut(Next<'_>) -> Result<T, NotTaken>,
    ) -> Result<T, DropReason> {
        let Route::Away { path, .. } = self.route() else { return Err(DropReason::NoRoute) };
        let is_unlinked = |sent: &Result<T, NotTaken>| sent.as_ref().is_err_and(|not_taken| not_taken.is_unlinked());
        let mut sent = send(Next::Outbox { link: path.primary(), patient: false });
        if is_unlinked(&sent)
            && let Some(other) = self.other_link(path)
        {
            sent = send(Next::Outbox { link: &other, patient: false });
        }
        if is_unlinked(&sent) {
            sent = send(Next::Outbox { link: path.primary(), patient: true });
        }
        sent.map_err(NotTaken::reason)
    }

    /// Chooses the shortest path to a third node's box, which stays in use while it lives: an open connection to the
    /// box's node, or else one that is made to its endpoints, or else the one that the pointer came by.
    #[cold]
    fn select(&self, path: &Path) -> Alternate {
        let Some(node) = self.own_node() else { return Alternate::None };
        let open = self.this_node().live_link(node, path.came_over().protected).filter(|link| link.is_linked());
        path.selection.keep_to(open.map_or_else(|| self.discover(path), Alternate::Connected))
    }

    /// Searches for a path to the box's node at the endpoints at which it is said to listen.
    fn discover(&self, path: &Path) -> Alternate {
        let search = || {
            let asked_by = path.came_over().asker(self.made_for()?.node);
            self.this_node().discover(self.own_node()?, path.hints(), asked_by)
        };
        search().map_or(Alternate::None, Alternate::Searching)
    }

    /// Ends a search for a shorter path; `found` is the connection it found, if any.
    pub(super) fn settle_search(&self, search: &Arc<SearchQueue>, found: Option<&Arc<dyn Outbound>>) {
        if let Route::Away { path, .. } = self.route() {
            let found = found.map_or(Alternate::None, |link| Alternate::Connected(Arc::clone(link)));
            path.selection.replace(&Alternate::Searching(Arc::clone(search)), found);
        }
    }
}

/// Sends by an alternate, if there is one; it is out of use once it has ended.
fn send_by_alternate<T>(
    path: &Path,
    alternate: &Alternate,
    send: &mut impl FnMut(Next<'_>) -> Result<T, NotTaken>,
) -> Result<T, NotTaken> {
    let sent = match alternate {
        Alternate::None => return Err(NotTaken::NotUp),
        Alternate::Searching(search) => send(Next::Search(search)),
        Alternate::Connected(link) => send(Next::Outbox { link, patient: false }),
    };
    if sent.as_ref().is_err_and(|not_taken| not_taken.is_unlinked()) {
        path.selection.replace(alternate, Alternate::None);
    }
    sent
}
