//! Work in progress.

mod boxes;
mod config;
mod handle;
mod ident;
mod message;
mod net;
mod node;
mod observe;
mod wire;

pub use actix::MailboxError;
pub use actix::prelude::SendError;

pub use boxes::buffer::Buffer;
pub use boxes::mailbox::Mailbox;
pub use boxes::mailbox::MailboxBuilder;
pub use boxes::recipient;
pub use boxes::registry::OpenError;
pub use config::IoThread;
pub use handle::address::Address;
pub use handle::address::Request;
pub use ident::AddressError;
pub use ident::Endpoint;
pub use ident::NodeId;
pub use message::RemoteMessage;
pub use node::ListenError;
pub use node::Node;
pub use node::NodeBuilder;
pub use observe::BoxStats;
pub use observe::ConnectionStats;
pub use observe::DownReason;
pub use observe::DropReason;
pub use observe::Event;
pub use observe::Losses;
pub use observe::Side;
pub use observe::Stats;
