//! What can be sent: messages that serde can write and read.

pub(crate) mod guard;
pub(crate) mod shape;

use actix::prelude::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What can be sent to another process: any actix message that serde can write and read, its result included.
///
/// Implemented for every such type; nothing has to be derived, registered or named. The bound on `Result` is one on
/// the associated type, so that generic code asks for `M: RemoteMessage` and for nothing else.
///
/// # Examples
/// ```
/// use actix::Message;
/// use actix_hermod::RemoteMessage;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[rtype(result = "()")]
/// struct Hello(String);
///
/// fn can_travel<M: RemoteMessage>() {}
/// can_travel::<Hello>();
/// ```
///
/// # Limits
/// Messages travel in postcard's format, which does not describe itself. Types that look at their bytes to know what
/// they are (`serde_json::Value`, untagged, internally and adjacently tagged enums) arrive as
/// [`DropReason::NotDecodable`](crate::DropReason::NotDecodable); `flatten` does not leave
/// ([`DropReason::NotEncodable`](crate::DropReason::NotEncodable)); fields left out by `skip_serializing_if` arrive, so
/// far, wrong. Both ends must have the same definition of the type.
pub trait RemoteMessage:
    Message<Result: Serialize + DeserializeOwned + Send + 'static> + Serialize + DeserializeOwned + Send + 'static
{
}

impl<M> RemoteMessage for M where
    M: Message<Result: Serialize + DeserializeOwned + Send + 'static> + Serialize + DeserializeOwned + Send + 'static
{
}
