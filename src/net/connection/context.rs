//! What the parts of one connection share.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::boxes::registry::Registry;
use crate::handle::ports::Correlation;
use crate::handle::ports::Household;
use crate::ident::ConnectionId;
use crate::ident::NodeId;
use crate::net::control::settlement::Books;
use crate::net::link::Link;
use crate::net::link::shape_query::explain_there;
use crate::net::peers::table::Links;
use crate::net::shared::House;
use crate::observe::loss::Letter;
use crate::reason::DropReason;
use crate::wire::target::Target;

/// Where the connection stands.
pub(super) struct Around {
    pub(super) home: Arc<dyn Household>,
    pub(super) registry: Arc<Registry>,
    pub(super) links: Arc<Links>,
    books: Arc<Books>,
    pub(super) link: Arc<Link>,
    pub(super) connection: u64,
    pub(super) peer: NodeId,
    /// Whether the peer is on this host.
    pub(super) near: bool,
    /// How often the peer was told that a box it presses is empty.
    pub(super) relieved: Arc<AtomicU64>,
    /// Drops in a row that are alike, to be accounted for together.
    pub(super) alike: RefCell<Option<Alike>>,
}

/// Messages that were dropped in a row, for one box, as the peer calls it, and for one reason.
pub(super) struct Alike {
    pub(super) target: Target,
    pub(super) reason: DropReason,
    pub(super) count: u64,
}

impl Drop for Around {
    /// The connection has ended in the middle of what was read.
    fn drop(&mut self) {
        self.account_alike();
    }
}

impl Around {
    pub(super) fn new(house: &Arc<House>, link: Arc<Link>, connection: u64, (peer, near): (NodeId, bool)) -> Around {
        let home = Arc::clone(house) as Arc<dyn Household>;
        let (registry, links) = (Arc::clone(&house.registry), Arc::clone(&house.links));
        let (books, relieved) = (Arc::clone(&house.books), link.relieved());
        Around { home, registry, links, books, link, connection, peer, near, relieved, alike: RefCell::default() }
    }

    /// The peer tells how much it has read of connections that have ended, by its own names of them.
    pub(super) fn settle(&self, told: &[(ConnectionId, u64)]) {
        self.books.settle_all(self.home.observer(), self.peer, told);
        self.link.settled(told);
    }

    /// Accounts for the drops that were gathered.
    pub(super) fn account_alike(&self) {
        self.account(self.alike.take());
    }

    pub(super) fn account(&self, alike: Option<Alike>) {
        if let Some(Alike { target, reason, count }) = alike {
            self.links.account(&self.link, self.connection, target, reason, count);
        }
    }

    /// The peer tells how many messages for one of its boxes it has dropped.
    pub(super) fn told(&self, target: Target, reason: DropReason, count: u64) {
        let name = match &target {
            Target::Name(name) => name.to_string(),
            Target::Id(id) => id.to_string(),
            Target::Others => String::new(),
        };
        let grown = self.link.told(target.clone(), reason, count);
        if grown > 0 && reason == DropReason::TypeMismatch {
            explain_there(&self.link, &self.home, target, name.clone());
        }
        if grown > 0 {
            self.home.observer().reported(Letter { name: &name, type_name: "", detail: None }, reason, grown);
        }
    }

    /// A request by its number on this connection.
    pub(super) fn correlation(&self, number: u64) -> Correlation {
        Correlation { connection: self.connection, number }
    }
}
