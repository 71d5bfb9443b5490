#![doc = include_str!("../README.md")]
//!
//! # Where to start
//! [`Node`] makes everything else: a [`Mailbox`] to read from, an [`Address`] to send to. [`recipient`] lets actix
//! `Recipient`s travel in messages; [`Stats`], [`Event`] and [`DropReason`] tell what happened.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod boxes;
mod config;
mod env;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod ident;
mod message;
mod net;
mod node;
mod observe;
mod reason;
mod sync;
#[cfg(any(test, fuzzing))]
mod unstructured;
mod wire;

// A node: how it is started, and why it could not do what it was asked to.
pub use config::IoThread;
pub use ident::AddressError;
pub use ident::Endpoint;
pub use ident::NodeId;
pub use node::ListenError;
pub use node::Node;
pub use node::builder::NodeBuilder;

// What can be sent.
pub use message::RemoteMessage;
pub use message::shape::Difference;
pub use message::shape::Shape;
#[cfg(feature = "json")]
pub use message::shape::json::JsonError;
pub use message::shape::opaque;
pub use net::link::shape_query::ShapesError;

// What it is read from.
pub use boxes::buffer::Buffer;
pub use boxes::mailbox::Mailbox;
pub use boxes::mailbox::MailboxBuilder;
pub use boxes::registry::OpenError;

// What it is sent through, and inside of messages.
pub use boxes::recipient_serde as recipient;
pub use handle::address::Address;
pub use handle::ask_error::AskError;
pub use handle::request::Ask;
pub use handle::request::Request;

// What happened.
pub use observe::event::CloseReason;
pub use observe::event::DownReason;
pub use observe::event::Event;
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

// actix's own errors, which sending and asking give: the same types, so that no dependency on actix is needed for them.
pub use actix::MailboxError;
pub use actix::prelude::SendError;
