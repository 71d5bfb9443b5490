//! [`Node`], the handle through which applications use a node.

pub(crate) mod builder;
mod publishing;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use actix::Message;
use actix::Recipient;
use tokio::sync::oneshot;

use crate::boxes::mailbox::MailboxBuilder;
use crate::handle;
use crate::handle::address::Address;
use crate::handle::context::NodeContext;
use crate::handle::pointer::Pointer;
use crate::handle::serde_scope;
use crate::ident::AddressError;
use crate::ident::NodeId;
use crate::ident::endpoint::Endpoint;
use crate::ident::endpoint::no_endpoint;
use crate::message::RemoteMessage;
use crate::message::preflight;
use crate::message::shape::Shape;
use crate::net::connection::accept;
use crate::net::link::shape_query;
use crate::net::link::shape_query::ShapesError;
use crate::net::shared::NodeInner;
use crate::net::transport::Bound;
use crate::net::transport::Listener;
use crate::node::builder::NodeBuilder;
use crate::observe::event::Event;
use crate::observe::stats::Stats;

/// Why a node could not listen.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The endpoint is not a `host:port`, `[ipv6]:port`, `unix:/path` or `scheme:address`; or its scheme is of no
    /// transport of this node: then the text goes on with the schemes that there are.
    #[error("{}", no_endpoint(.0))]
    InvalidEndpoint(String),
    /// The path of a Unix socket is longer than the system allows.
    #[error("the path of a Unix socket is longer than the {limit} bytes that this system allows")]
    PathTooLong {
        /// The longest path, in bytes: 107 on Linux, 103 on macOS.
        limit: usize,
    },
    /// The system refused: for example, the port is taken, the address is not one of this host, or the name has no
    /// address.
    #[error("cannot listen: {0}")]
    Io(#[from] io::Error),
    /// The node was shut down, or its System has ended.
    #[error("the node has stopped")]
    Stopped,
}

/// A handle on one node: the boxes of one process, and its connections to others.
///
/// As a rule a process has one node for each actix System. Handles can be cloned and used from any thread; dropping them
/// stops nothing. A node stops by [`shutdown`](Node::shutdown), or with the System that it was started in: then its
/// boxes close, opening gives [`OpenError::Stopped`](crate::OpenError::Stopped), and messages sent count as
/// [`DropReason::Shutdown`](crate::DropReason::Shutdown).
///
/// - In actix-web, `web::Data<Node>` shares one node with all workers.
/// - A process that forks, as daemons do, has to start its node after the fork: threads and connections stay with the
///   parent.
/// - Under tokio's paused clock, both nodes have to be inside of the paused runtime: to a peer outside, whose clock goes on,
///   a node looks dead as soon as the clock jumps.
///
/// # Examples
/// Two nodes, here in one process; the [crate's page](crate) shows two processes, and the [manual](crate::manual) has
/// recipes.
/// ```
/// use actix::prelude::*;
/// use actix_hermod::Node;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[rtype(result = "()")]
/// struct Greeting(String);
///
/// # System::new().block_on(async {
/// let there = Node::start();
/// let endpoint = there.listen("127.0.0.1:0").await?;
/// let mut inbox = there.mailbox::<Greeting>().name("greetings").open()?;
///
/// let here = Node::start();
/// let greetings = here.remote::<Greeting>(&endpoint, "greetings")?;
/// greetings.do_send(Greeting("hello".to_owned()));
/// assert_eq!(inbox.recv().await.unwrap().0, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<NodeInner>,
}

impl Node {
    /// Starts a node with the default limits; see [`NodeBuilder`].
    ///
    /// # Panics
    /// In a current-thread tokio runtime without a `LocalSet`, such as that of `#[tokio::test]`; see
    /// [`NodeBuilder::start`].
    #[track_caller]
    pub fn start() -> Node {
        Node::builder().start()
    }

    /// Returns a builder, to set limits before the node is started.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::new()
    }

    /// Returns the node's id, the hash of its key: new at every start, unless the node was given a kept key by
    /// [`NodeBuilder::identity`].
    pub fn id(&self) -> NodeId {
        self.inner.id.node
    }

    /// Accepts connections at `host:port`, `[ipv6]:port`, `unix:/path`, or `scheme:address` of another
    /// [transport](NodeBuilder::transport), and returns the endpoint to dial: with port
    /// 0, the port is the one that the system has chosen.
    ///
    /// Only nodes that others dial need to listen. A node may listen at several endpoints. At a host name it listens at
    /// all addresses that the name has at this host, on one port: `localhost` is usually `127.0.0.1` and `[::1]`, and
    /// the log line `listening` lists them.
    ///
    /// At `0.0.0.0` or `[::]` it listens at all addresses of the host, which is not an endpoint that others could dial:
    /// set one that they can with [`NodeBuilder::advertise`]. Otherwise its boxes have no [`uri`](Address::uri), and
    /// peers on other hosts can pass its addresses on only as relays.
    ///
    /// At an address of TCP that other hosts may reach, a node without an [`accept`](NodeBuilder::accept) policy warns in
    /// its log that anybody may come in.
    ///
    /// A peer for which there is no room is told so before its connection is closed: see
    /// [`max_connections`](NodeBuilder::max_connections) and [`max_per_address`](NodeBuilder::max_per_address).
    ///
    /// # Errors
    /// [`ListenError::InvalidEndpoint`]; [`ListenError::PathTooLong`]; [`ListenError::Io`] if the system refuses, for
    /// example because the port is taken at one of the addresses; [`ListenError::Stopped`] once the node was shut down.
    ///
    /// # Cancel safety
    /// If the future is dropped, the node may or may not listen.
    pub async fn listen(&self, at: impl AsRef<str>) -> Result<Endpoint, ListenError> {
        let at = at.as_ref();
        let endpoint: Endpoint = at.parse().map_err(|error| match error {
            AddressError::PathTooLong { limit } => ListenError::PathTooLong { limit },
            _ => ListenError::InvalidEndpoint(at.to_owned()),
        })?;
        self.inner.transports.check(&endpoint).map_err(ListenError::InvalidEndpoint)?;
        if self.inner.closing.is_cancelled() {
            return Err(ListenError::Stopped);
        }
        let (result, bound) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        self.inner.io.perform(move || {
            actix_rt::spawn(async move {
                match Listener::bind(&endpoint, &inner.transports).await {
                    Ok((listener, Bound { endpoint, addresses, all })) => {
                        inner.listens(&endpoint, all);
                        if is_open_to_others(&addresses) && !inner.policy.is_set() {
                            tracing::warn!(target: "actix_hermod", %endpoint, remedy = REMEDY, "anybody may come in");
                        }
                        tracing::info!(target: "actix_hermod", node = %inner.id, %endpoint, ?addresses, "listening");
                        // The caller may have dropped its future; the node listens all the same.
                        let _ = result.send(Ok(endpoint));
                        accept::accept(inner, listener).await;
                    }
                    Err(error) => drop(result.send(Err(error))),
                }
            });
        });
        // Looking up the name may take long.
        tokio::select! {
            biased;
            () = self.inner.closing.cancelled() => Err(ListenError::Stopped),
            bound = bound => Ok(bound.map_err(|_| ListenError::Stopped)??),
        }
    }

    /// Opens a mailbox for messages of type `M`: `node.mailbox::<M>().name("n").open()?`.
    pub fn mailbox<M>(&self) -> MailboxBuilder<M>
    where
        M: RemoteMessage + Message<Result = ()>,
    {
        MailboxBuilder::new(self.this_node(), Arc::clone(&self.inner.registry))
    }

    /// Returns the address of the box of that name at the node that listens there, now or later.
    ///
    /// Messages go to any node that listens there, whatever its id: [`Address::pinned`] restricts the address to one
    /// node.
    ///
    /// Nothing is sent until the address is used; the connection is made then, and again whenever it has broken. For an
    /// endpoint of this node, written as [`listen`](Node::listen) has returned it, no connection is made: messages go
    /// straight into the boxes of this node. An endpoint that leads here but is written differently is recognised once
    /// it is connected: from then on messages go straight into the boxes, behind the messages sent before; see
    /// [`Address::is_local`].
    ///
    /// # Errors
    /// [`AddressError::InvalidEndpoint`], [`AddressError::PathTooLong`], [`AddressError::NameEmpty`],
    /// [`AddressError::NameTooLong`]; [`AddressError::NotEncodable`] if no message of the type can travel. A host that
    /// does not exist, or at which nobody listens, is not an error yet.
    pub fn remote<M: RemoteMessage>(
        &self,
        at: impl AsRef<str>,
        name: impl Into<String>,
    ) -> Result<Address<M>, AddressError> {
        let endpoint: Endpoint = at.as_ref().parse()?;
        let pointer = self.this_node().place(&endpoint, None, &name.into())?;
        address_of(pointer)
    }

    /// Reads addresses written as URIs (in JSON, TOML, …) outside a message.
    ///
    /// # Examples
    /// ```
    /// # use actix::prelude::*;
    /// # use actix_hermod::{Address, Node};
    /// # #[derive(Message, serde::Serialize, serde::Deserialize)]
    /// # #[rtype(result = "()")]
    /// # struct Ping;
    /// # System::new().block_on(async {
    /// # let node = Node::start();
    /// #[derive(serde::Deserialize)]
    /// struct Config { ping_box: Address<Ping> }
    ///
    /// let text = r#"{ "ping_box": "hermod://localhost:4242/ping-box" }"#;
    /// let config: Config = node.with(|| serde_json::from_str(text))?;
    /// assert_eq!(config.ping_box.name(), "ping-box");
    /// # Ok::<(), serde_json::Error>(()) }).unwrap();
    /// ```
    pub fn with<R>(&self, read: impl FnOnce() -> R) -> R {
        serde_scope::with_text(&self.this_node(), read)
    }

    /// Returns the address that a URI stands for; see [`Address::uri`].
    ///
    /// # Errors
    /// [`AddressError::InvalidUri`], [`AddressError::PathTooLong`], [`AddressError::NameEmpty`],
    /// [`AddressError::NameTooLong`]; [`AddressError::NotEncodable`] if no message of the type can travel.
    pub fn resolve<M: RemoteMessage>(&self, uri: impl AsRef<str>) -> Result<Address<M>, AddressError> {
        address_of(handle::resolve(&self.this_node(), uri.as_ref())?)
    }

    /// Returns the shapes of the messages that the named boxes of this node take, by the name of the box.
    pub fn shapes(&self) -> BTreeMap<String, Shape> {
        self.inner.registry.shapes()
    }

    /// Returns the [`shapes`](Node::shapes) of the node that listens there, for example to compare two builds before
    /// they talk to each other. Connects to that node if need be.
    ///
    /// # Errors
    /// [`ShapesError::InvalidEndpoint`]; [`ShapesError::PathTooLong`]; [`ShapesError::Unanswered`] if there is no
    /// connection, or if the node has not answered within two seconds; [`ShapesError::TooMany`] if it has more than
    /// 65,536 boxes, or more than 16 MiB of different shapes; [`ShapesError::Stopped`] once the node was shut down.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub async fn shapes_at(&self, at: impl AsRef<str>) -> Result<BTreeMap<String, Shape>, ShapesError> {
        let at = at.as_ref();
        let endpoint: Endpoint = at.parse().map_err(|error| match error {
            AddressError::PathTooLong { limit } => ShapesError::PathTooLong { limit },
            _ => ShapesError::InvalidEndpoint(at.to_owned()),
        })?;
        self.inner.transports.check(&endpoint).map_err(ShapesError::InvalidEndpoint)?;
        let (closing, stopped) = (&self.inner.closing, self.inner.stopped());
        if closing.is_cancelled() {
            return Err(ShapesError::Stopped);
        }
        let link = self.inner.link_to(&endpoint, None);
        tokio::select! {
            biased;
            answer = shape_query::shapes_at(&link) => match answer {
                Err(ShapesError::Unanswered) if closing.is_cancelled() => Err(ShapesError::Stopped),
                answer => answer,
            },
            () = stopped.cancelled() => Err(ShapesError::Stopped),
        }
    }

    /// Sends a recipient the events from now on: connections made and lost, messages dropped.
    ///
    /// Drops are gathered for a quarter of a second, so a flood of them is a few events. A subscriber whose mailbox is
    /// full misses events: actix's holds 16 unless `set_mailbox_capacity` says otherwise in `started`. Do not rely on
    /// events alone; [`Address::connected`] tells the current state. A subscriber that has stopped is forgotten.
    pub fn subscribe(&self, to: impl Into<Recipient<Event>>) {
        self.inner.observer.subscribe(to.into());
    }

    /// Returns the node's counts so far, and the state of its connections and boxes. Reading them stops nothing; counts
    /// that belong together may be a moment apart.
    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }

    /// Shuts the node down in good order: finishes work that has begun, writes messages that wait, and says goodbye.
    ///
    /// From the call on, the node makes and accepts no more connections, and takes no more requests, neither from peers
    /// nor from its own addresses: such requests end as [`NotDelivered`](crate::AskError::NotDelivered) with
    /// [`DropReason::Shutdown`](crate::DropReason::Shutdown). Messages without an answer still go both ways. Within
    /// `shutdown_timeout`,
    /// - published and exported actors handle the messages that wait for them, and answer the requests that they were
    ///   given;
    /// - requests of this node get their answers;
    /// - messages that wait behind recipients and for connections are written, peers are told goodbye and answer when
    ///   they have read it, listeners and boxes are closed.
    ///
    /// Messages not begun by then are dropped as `Shutdown`, and their senders are told so before the goodbye: a
    /// request that waited for an actor or in an unread mailbox, which the shutdown does not wait for, was not handled
    /// and never will be. Once an actor was given a request, nobody can see whether it has begun to handle it: without
    /// an answer, such a request ends as [`OutcomeUnknown`](crate::AskError::OutcomeUnknown). To leave fewer in that
    /// state, give the actor fewer messages at a time: [`mailbox_buffer`](NodeBuilder::mailbox_buffer) is the most.
    /// Messages that cross the goodbye are not handled here, and count as dropped at the peer that has sent them, with
    /// nothing in doubt. Connections to peers that do not read their goodbye are cut off at the end of
    /// `shutdown_timeout` or, if the rest took so long, a quarter of it later.
    ///
    /// A program that sends and then ends calls this at its end; there is nothing else to flush. Afterwards
    /// [`stats`](Node::stats) tells how it went: messages counted in `sent`, and neither in `dropped` nor in
    /// `in_doubt`, have arrived at the node that they were sent to. Whether they were also handled there, only an
    /// answer tells. A program that ends without a shutdown loses the messages that wait.
    ///
    /// Concurrent calls all return when the node has ended; later calls return at once. [`stats`](Node::stats) can
    /// still be read afterwards.
    ///
    /// A handler of a published actor that awaits this holds up its own answer, and so the end, for `shutdown_timeout`.
    ///
    /// The manual has a recipe: [ending well](crate::manual::ending_well).
    ///
    /// # Cancel safety
    /// The node begins to shut down when the future is first polled, and goes on even if the future is dropped.
    pub async fn shutdown(&self) {
        self.inner.begin_to_shut_down();
        self.inner.stopped().cancelled().await;
    }

    fn this_node(&self) -> Arc<NodeContext> {
        Arc::clone(&self.inner) as Arc<NodeContext>
    }
}

/// The calls by which a node is protected from those that reach its endpoint.
const REMEDY: &str = "listen over a transport with TLS or a shared key (NodeBuilder::transport), or say who may come in \
                      (NodeBuilder::accept)";

/// Whether other hosts may reach a listener of plain TCP at those addresses; other transports have none here.
fn is_open_to_others(addresses: &[SocketAddr]) -> bool {
    addresses.iter().any(|address| !address.ip().to_canonical().is_loopback())
}

/// Returns the pointer as an address, unless no message of the type can travel.
fn address_of<M: RemoteMessage>(pointer: Arc<Pointer>) -> Result<Address<M>, AddressError> {
    preflight::can_travel::<M>().map_err(|why| AddressError::NotEncodable { why })?;
    Ok(Address::new(pointer))
}
