//! The messages that can be sent: those that serde can write and read.

pub(crate) mod guard;
pub(crate) mod preflight;
pub(crate) mod shape;

use actix::prelude::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message that can be sent to another process: any actix message that serde can write and read, its result included.
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
/// # Messages own what they hold
/// A message is read on the other side from bytes that are gone when its handler runs, so it cannot borrow: fields are
/// `String`, `Vec<u8>`, `Arc<str>`, not `&str` or `&[u8]`. With a borrowed field, the compiler complains about a
/// lifetime that is not general enough, or that `Deserialize` is not implemented for any lifetime:
/// ```compile_fail,E0277
/// #[derive(actix::Message, serde::Serialize, serde::Deserialize)]
/// #[rtype(result = "()")]
/// struct Hello<'a>(&'a str);
///
/// fn can_travel<M: actix_hermod::RemoteMessage>() {}
/// fn check<'a>() { can_travel::<Hello<'a>>() }
/// ```
///
/// # Order
/// Messages that one thread sends to one box arrive in order. Between boxes there is no order, so messages that have to
/// stay in order, a `Join` and the `Say` after it, are variants of one enum sent to one name, not two types with two names.
///
/// # Limits
/// Messages travel in postcard's format, which does not describe itself. A message that would not arrive as it was sent
/// is refused before it leaves, as [`DropReason::NotEncodable`](crate::DropReason::NotEncodable), and the detail names
/// the place (`Ping.note: Serialize leaves it out …`). Such messages contain:
///
/// - types that find out from their bytes what they are: `serde_json::Value`, untagged, internally and adjacently
///   tagged enums, and types of other crates that read any of several forms, such as `rust_decimal::Decimal`. Most of
///   these offer another form for `#[serde(with)]` (there, `rust_decimal::serde::str`), which travels;
/// - `flatten`;
/// - fields that are left out (`skip_serializing_if`) or that are only written or only read, and any other `Serialize`
///   that does not write what the type's `Deserialize` reads.
///
/// Self-describing parts and fields left out by `skip_serializing_if` are detected in every message. Other faults are
/// looked for in the first message of a type, and with debug assertions in each: a fault in some messages only, such as
/// a variant behind one that is skipped, may get through in a release build if the first message was right, and that
/// message arrives wrong. A message that is checked is serialised twice. Results are checked in the same way.
///
/// If *no* message of a type could travel, since each has a part that describes itself or is flattened, the type is
/// refused sooner: no box is opened for it ([`OpenError::NotEncodable`](crate::OpenError::NotEncodable)) and no address
/// made ([`AddressError::NotEncodable`](crate::AddressError::NotEncodable)). The result does not count here, as only a
/// request needs it.
///
/// The manual has the [alternatives in a table](crate::manual::unsupported_types).
///
/// # Types are compared
/// The first message to a box carries a fingerprint of the type's [shape](crate::Shape). To compute it, the type's
/// `Deserialize` is run a few times in each process, on made-up values. If the box takes another shape, the message is
/// dropped undecoded, as [`DropReason::TypeMismatch`](crate::DropReason::TypeMismatch).
pub trait RemoteMessage:
    Message<Result: Serialize + DeserializeOwned + Send + 'static> + Serialize + DeserializeOwned + Send + 'static
{
}

impl<M> RemoteMessage for M where
    M: Message<Result: Serialize + DeserializeOwned + Send + 'static> + Serialize + DeserializeOwned + Send + 'static
{
}
