//!
#![doc = include_str!("manual/links.md")]
#![doc = include_str!("../README.md")]
//!
//! # Where to start
//! [`Node`] makes everything else: a [`Mailbox`] to read from, an [`Address`] to send to. [`recipient`] lets actix
//! `Recipient`s travel in messages. [`Stats`], [`Event`] and [`DropReason`] report what happened.
#![cfg_attr(docsrs, feature(doc_cfg))]

// # For contributors
// Glossary, one word for each concept:
// - node: the object that an application starts; it owns boxes and connections, and has an id.
// - mailbox, box: a bounded queue of messages with one reader. A mailbox is read by its owner; a published actor stands
//   behind a box of its own.
// - address: the handle that applications hold and send through; an actix `Recipient` made by this crate is another.
// - pointer: the state shared by all clones of an address: the box it points to, and how messages get there.
// - path: the connection by which the messages of a pointer leave, chosen among those that lead to the box.
// - link: all that this node keeps for one peer across its connections: the outbox, and the known facts about the other
//   end. Other threads send through it. A link that this node dials outlives its connections.
// - outbox: the send queue of a link.
// - connection: one stream to a peer from greeting (handshake) to goodbye (close), with its reader, its writer and its
//   router.
// - peer: the node at the other end.
// - lease: a count of handles by which a node elsewhere keeps a box alive here; it does not expire by time.
// - shape: the structure of a type of message (its schema), which two nodes compare before they decode.
// - drop: the end of a message that is not delivered; it has one reason, is counted where it happens, and is reported.
//   To applications, it is a dead letter. `observe/loss` is the only door through which a message is dropped.
//
// The layers, from the top down: node, net (connection, peers, link, control, transport), boxes, handle (recipient,
// pointer), quota, config, message, wire, observe, reason, key, ident, env, sync. `tests/layers.rs` checks their order,
// and that the map in `src/manual/contributors.md` names every file.
//
// A message's way down: handle/{address,send,serde_scope}, message/guard, handle/pointer/path,
// net/link/{outbound,post_queue}, wire/outgoing; then net/connection/writer takes it out through net/link/drain.
// Its way up: net/connection/reader, wire/batch or wire/frames, net/connection/dispatch, wire/incoming,
// net/connection/{binding,delivery}, boxes/queue, handle/serde_scope, message/guard, boxes/mailbox.

mod boxes;
mod config;
mod env;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod ident;
mod key;
#[cfg(doc)]
pub mod manual;
mod message;
mod net;
mod node;
mod observe;
mod quota;
mod reason;
mod sync;
#[cfg(any(test, fuzzing))]
mod unstructured;
mod wire;

// The node, how it is started, and its errors.
pub use config::IoThread;
pub use ident::AddressError;
pub use ident::NodeId;
pub use ident::ParseNodeIdError;
pub use ident::endpoint::Endpoint;
pub use key::KeyError;
pub use key::NodeKey;
pub use node::ListenError;
pub use node::Node;
pub use node::builder::NodeBuilder;

/// Ways for nodes to reach one another beside TCP and Unix sockets: TLS and a shared key, behind features, and
/// transports of the application.
pub mod transport {
    pub use crate::net::transport::seam::BoxFuture;
    pub use crate::net::transport::seam::Channel;
    pub use crate::net::transport::seam::Incoming;
    pub use crate::net::transport::seam::Transport;
    #[cfg(feature = "shared-key")]
    pub use crate::net::transport::shared_key::SharedKey;
    #[cfg(feature = "shared-key")]
    pub use crate::net::transport::shared_key::SharedKeyError;
    #[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
    pub use crate::net::transport::tls::Tls;
    #[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
    pub use crate::net::transport::tls::TlsBuilder;
    #[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
    pub use crate::net::transport::tls::TlsError;
    #[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
    pub use crate::net::transport::tls::TlsFault;
    pub use crate::observe::identity::Identity;
    /// The library of [`Tls`], whose configurations [`Tls::from_configs`] takes.
    #[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
    pub use tokio_rustls::rustls;
}
#[cfg(feature = "shared-key")]
pub use transport::SharedKey;
#[cfg(feature = "shared-key")]
pub use transport::SharedKeyError;
#[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
pub use transport::Tls;
#[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
pub use transport::TlsBuilder;
#[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
pub use transport::TlsError;

// Messages and their shapes.
pub use message::RemoteMessage;
pub use message::shape::Difference;
pub use message::shape::Shape;
#[cfg(feature = "json")]
pub use message::shape::json::JsonError;
pub use message::shape::opaque;
pub use net::link::shape_query::ShapesError;

// The reading end, and published actors.
pub use boxes::buffer::Buffer;
pub use boxes::mailbox::Mailbox;
pub use boxes::mailbox::MailboxBuilder;
pub use boxes::publication::Publication;
pub use boxes::publication::PublicationBuilder;
pub use boxes::received::Received;
pub use boxes::registry::OpenError;

// The sending end, also inside messages.
pub use boxes::recipient_serde as recipient;
pub use handle::address::Address;
pub use handle::ask_error::AskError;
pub use handle::request::Ask;
pub use handle::request::Request;

// Reports: events, statistics and reasons.
pub use observe::event::CloseReason;
pub use observe::event::DownReason;
pub use observe::event::Event;
pub use observe::identity::Identity;
pub use observe::origin::Origin;
pub use observe::peer_info::PeerInfo;
pub use observe::stats::BoxStats;
pub use observe::stats::ConnectionState;
pub use observe::stats::ConnectionStats;
pub use observe::stats::Losses;
pub use observe::stats::Stats;
pub use reason::DropReason;
pub use reason::Side;

// Simulations.
#[cfg(feature = "turmoil")]
pub use env::seed_simulation;

// actix's own errors, which sending and asking return: the same types, so that naming them needs no dependency on it.
pub use actix::MailboxError;
pub use actix::prelude::SendError;
