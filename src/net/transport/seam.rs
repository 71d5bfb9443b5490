//! The seam for transports that applications bring: the traits, and the stream that they open.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use super::Stream;
use crate::observe::identity::Identity;

/// A boxed future, as `futures` has it under the same name.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way in which nodes reach one another. TCP and Unix sockets are built in; others are given to a node by
/// [`NodeBuilder::transport`](crate::NodeBuilder::transport).
///
/// Everything above is the same for all transports: the greeting, reconnection, heartbeats, relays and limits. A
/// transport only opens streams.
///
/// # Addresses come from peers
/// Peers name endpoints too: in addresses inside their messages, and as places where other nodes listen. So `connect`
/// may be called with an address that this application has never written. A transport that does something with an
/// address beside connecting, such as starting a program, has to refuse those that it does not know, or exclude all of
/// them by [`may_be_named`](Transport::may_be_named).
///
/// # Examples
/// The example `own_transport` talks to a child process over its standard input and output.
pub trait Transport: Send + Sync + 'static {
    /// Returns the word before the colon in endpoints (`tls:host:4242`) and behind a plus in URIs
    /// (`hermod+tls://host:4242/name`): lower-case letters, digits, `+`, `-` and `.`, beginning with a letter.
    fn scheme(&self) -> &str;

    /// Opens a stream to the node at an address, which is the endpoint without its scheme.
    ///
    /// The future runs on the node's I/O thread, and must not block it. It is dropped after
    /// [`handshake_timeout`](crate::NodeBuilder::handshake_timeout), which includes the greeting.
    ///
    /// # Errors
    /// Any error is retried after a pause, as with TCP. [`io::ErrorKind::ConnectionRefused`] and
    /// [`io::ErrorKind::NotFound`] say that nobody listens there: then those that wait for a box there are told at once.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Channel>>;

    /// Begins to listen at an address.
    ///
    /// # Errors
    /// Any error is given to the caller of [`Node::listen`](crate::Node::listen).
    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Incoming>>>;

    /// Returns whether a peer may have this node dial that address. `is_near` is whether that peer is on this host.
    /// Default: every address may be named.
    ///
    /// It is not called for a host and a port that a peer elsewhere may not name, whatever the transport: addresses that
    /// only this host can reach, such as `127.0.0.1:4242`.
    fn may_be_named(&self, address: &str, is_near: bool) -> bool {
        let _ = (address, is_near);
        true
    }
}

/// A listener of a [`Transport`]. The node stops to listen by dropping it.
pub trait Incoming: Send {
    /// Returns the address that peers dial, without the scheme: with port 0, the port that the system has chosen.
    fn address(&self) -> String;

    /// Waits for the next peer.
    ///
    /// It does no handshake: that is up to the returned future, which runs beside others, is dropped after
    /// [`handshake_timeout`](crate::NodeBuilder::handshake_timeout), and counts among the
    /// [`max_unproven`](crate::NodeBuilder::max_unproven) connections. If there is no room for a connection, the future
    /// is dropped before it was polled.
    ///
    /// # Errors
    /// After an error the node waits a little (the lower end of [`reconnect`](crate::NodeBuilder::reconnect)), and calls
    /// this again.
    ///
    /// # Cancel safety
    /// The future is dropped when the node ends. It is also dropped and made anew if the process runs out of files, so no
    /// peer must be lost by that.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxFuture<'static, io::Result<Channel>>>>;

    /// Returns the address of the peer that was accepted last, which the node asks for as soon as
    /// [`accept`](Incoming::accept) has given one. Default: none.
    ///
    /// Limits count by address, as [`max_per_address`](crate::NodeBuilder::max_per_address) does: so a transport over a
    /// network should say it. All peers without one are one party: at most three quarters of
    /// [`max_connections`](crate::NodeBuilder::max_connections) and of the node's quotas are theirs, and the first to
    /// make room is one of them.
    fn peer(&self) -> Option<SocketAddr> {
        None
    }
}

/// A reliable, ordered stream of bytes in both directions, and what its transport has proven about the peer.
pub struct Channel {
    pub(crate) stream: Stream,
}

impl Channel {
    /// Makes a channel of a stream. It is flushed whenever nothing more waits to be written. Reading to the end means that
    /// the peer writes no more; a stream that ends without the peer's goodbye counts as broken.
    pub fn new(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Channel {
        let (read, write) = tokio::io::split(Box::pin(io));
        Channel { stream: Stream { buffers: true, ..Stream::new(read, write) } }
    }

    /// Sets the identity that the transport has proven. Default: [`Identity::Unknown`].
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Channel {
        self.stream.identity = identity;
        self
    }

    /// Sets 32 bytes that both ends of this channel know, and no other channel has: such as the TLS exporter of RFC
    /// 9266, or the hash of a Noise handshake. The nodes' signatures in the greeting cover it, so that nobody can pass a
    /// greeting on from one channel to another. Default: zeros, which bind nothing.
    ///
    /// A channel with a binding counts as protected: an address that came over one leads by protected channels only,
    /// or by channels that are [near](Channel::near), whatever plain endpoints a peer may name.
    #[must_use]
    pub fn binding(mut self, binding: [u8; 32]) -> Channel {
        self.stream.binding = binding;
        self
    }

    /// Sets whether the peer is on this host. Such a peer may name endpoints that only this host can reach. Default:
    /// no.
    #[must_use]
    pub fn near(mut self, is_near: bool) -> Channel {
        self.stream.near = is_near;
        self
    }

    /// Sets the address of the peer, if the transport has one. Default: none.
    #[must_use]
    pub fn address(mut self, address: SocketAddr) -> Channel {
        self.stream.reached = Some(address);
        self
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stream { near, reached, identity, .. } = &self.stream;
        f.debug_struct("Channel")
            .field("identity", identity)
            .field("near", near)
            .field("address", reached)
            .finish_non_exhaustive()
    }
}
