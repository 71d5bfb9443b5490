//! Addresses inside messages: the scope in which one message is written or read.
//!
//! While a message is encoded, each address in it writes only its position in a list that travels beside the body;
//! while one is decoded, the positions are looked up in the list that came along. The list is a thread-local that ends
//! by RAII, also on error and panic, and a scope inside a scope (a `Serialize` that encodes something itself) hides the
//! outer one until it ends. Only this file touches the thread-local.

use std::cell::Cell;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;
use serde::de::DeserializeOwned;
use serde::ser;

use super::route::Household;
use super::route::Pointer;
use super::uri;
use crate::message::guard;
use crate::message::guard::DecodeError;
use crate::message::guard::EncodeError;

/// Scratch space that a thread keeps between messages, in bytes.
const KEPT: usize = 256 << 10;

/// What is under way on this thread.
enum Scope {
    Writing {
        home: Arc<dyn Household>,
        handles: Vec<Arc<Pointer>>,
    },
    Reading {
        home: Arc<dyn Household>,
        handles: Vec<Arc<Pointer>>,
    },
    /// Texts outside a message: URIs are read for this node.
    Text {
        home: Arc<dyn Household>,
    },
}

/// What a thread keeps for the scopes on it.
struct Desk {
    scope: Option<Scope>,
    /// An empty list and a scratch body that wait to be used again.
    spare_handles: Vec<Arc<Pointer>>,
    spare_body: Vec<u8>,
}

thread_local! {
    static DESK: RefCell<Desk> =
        const { RefCell::new(Desk { scope: None, spare_handles: Vec::new(), spare_body: Vec::new() }) };
    /// Whether there is a scope on the desk: one look, for those who would be content without one.
    static OPEN: Cell<bool> = const { Cell::new(false) };
}

/// What is done at this thread's desk; `None` if the thread is being torn down and the desk is gone already.
#[inline]
fn at_desk<R>(work: impl FnOnce(&mut Desk) -> R) -> Option<R> {
    DESK.try_with(|desk| work(&mut desk.borrow_mut())).ok()
}

/// Ends the scope when it goes, and brings back the one around it.
struct Entered {
    outer: Option<Scope>,
    ended: bool,
}

impl Entered {
    #[inline]
    fn new(desk: &mut Desk, scope: Scope) -> Entered {
        OPEN.set(true);
        Entered { outer: desk.scope.replace(scope), ended: false }
    }

    /// Ends the scope, and gives it back.
    #[inline]
    fn end(mut self) -> Option<Scope> {
        self.ended = true;
        self.swap()
    }

    #[inline]
    fn swap(&mut self) -> Option<Scope> {
        let outer = self.outer.take();
        OPEN.set(outer.is_some());
        DESK.with_borrow_mut(|desk| std::mem::replace(&mut desk.scope, outer))
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        if !self.ended {
            // Outside the borrow: a pointer that goes may run code of ours.
            drop(self.swap());
        }
    }
}

/// Encodes a message for another process and hands its body and its handles to `send`.
#[inline]
pub(crate) fn write<M: Serialize, R>(
    home: &Arc<dyn Household>,
    message: &M,
    send: impl FnOnce(&[u8], &[Arc<Pointer>]) -> R,
) -> Result<R, EncodeError> {
    let home = Arc::clone(home);
    let limit = home.limits().max_message;
    let desk = at_desk(|desk| {
        let handles = std::mem::take(&mut desk.spare_handles);
        (std::mem::take(&mut desk.spare_body), Entered::new(desk, Scope::Writing { home, handles }))
    });
    let Some((mut body, entered)) = desk else { return write_without_desk(message, limit, send) };
    let encoded = guard::encode(message, &mut body, limit);
    let mut handles = match entered.end() {
        Some(Scope::Writing { handles, .. }) => handles,
        _ => Vec::new(),
    };
    let result = encoded.map(|()| send(&body, &handles));
    handles.clear();
    body.clear();
    if body.capacity() > KEPT {
        body = Vec::new();
    }
    DESK.with_borrow_mut(|desk| {
        desk.spare_handles = handles;
        desk.spare_body = body;
    });
    result
}

/// A thread's last words, from the destructor of a thread-local: a message can be written if there is no address in it.
#[cold]
fn write_without_desk<M: Serialize, R>(
    message: &M,
    limit: usize,
    send: impl FnOnce(&[u8], &[Arc<Pointer>]) -> R,
) -> Result<R, EncodeError> {
    let mut body = Vec::new();
    guard::encode(message, &mut body, limit).map(|()| send(&body, &[]))
}

/// Decodes a message that came with these handles, and takes them out of the list.
#[inline]
pub(crate) fn read<M: DeserializeOwned>(
    home: &Arc<dyn Household>,
    body: &[u8],
    handles: &mut Vec<Arc<Pointer>>,
) -> Result<M, DecodeError> {
    let limits = home.limits().decode();
    if handles.is_empty() && !OPEN.get() {
        // An address in the body is refused with or without a scope, if there is no other around it.
        return guard::decode(body, limits);
    }
    let scope = Scope::Reading { home: Arc::clone(home), handles: std::mem::take(handles) };
    let entered = DESK.with_borrow_mut(|desk| Entered::new(desk, scope));
    let message = guard::decode(body, limits);
    if let Some(Scope::Reading { handles: mut rest, .. }) = entered.end() {
        rest.clear();
        *handles = rest;
    }
    message
}

/// Runs `read` with addresses in text read for this node.
pub(crate) fn with_text<R>(home: Arc<dyn Household>, read: impl FnOnce() -> R) -> R {
    let _entered = at_desk(|desk| Entered::new(desk, Scope::Text { home }));
    read()
}

/// The node that a message is written for, if one is being written here.
pub(crate) fn writing_home() -> Option<Arc<dyn Household>> {
    at_desk(|desk| match &desk.scope {
        Some(Scope::Writing { home, .. }) => Some(Arc::clone(home)),
        _ => None,
    })?
}

/// Writes an address: its position in the message's list, or its URI where people read.
pub(crate) fn serialize<S: Serializer>(pointer: &Arc<Pointer>, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return match uri::of(pointer) {
            Some(uri) => serializer.serialize_str(&uri),
            None => Err(ser::Error::custom(format_args!(
                "the address of {:?} has no URI, because its node does not listen",
                pointer.name()
            ))),
        };
    }
    let position = at_desk(|desk| match &mut desk.scope {
        Some(Scope::Writing { handles, .. }) => {
            handles.push(Arc::clone(pointer));
            u32::try_from(handles.len() - 1).ok()
        }
        _ => None,
    });
    match position.flatten() {
        Some(position) => serializer.serialize_newtype_struct(NAME, &position),
        None => Err(ser::Error::custom("an address can be written in binary only inside a message that is sent")),
    }
}

/// Reads an address: what [`serialize`] wrote.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Pointer>, D::Error> {
    if deserializer.is_human_readable() {
        return deserializer.deserialize_str(UriVisitor);
    }
    deserializer.deserialize_newtype_struct(NAME, PositionVisitor)
}

/// What serde is told that an address is called.
const NAME: &str = "Address";

fn handle_at(position: u32) -> Option<Arc<Pointer>> {
    at_desk(|desk| match &desk.scope {
        Some(Scope::Reading { handles, .. }) => handles.get(position as usize).cloned(),
        _ => None,
    })?
}

fn text_home() -> Option<Arc<dyn Household>> {
    at_desk(|desk| match &desk.scope {
        Some(Scope::Text { home } | Scope::Reading { home, .. } | Scope::Writing { home, .. }) => {
            Some(Arc::clone(home))
        }
        None => None,
    })?
}

struct PositionVisitor;

impl<'de> de::Visitor<'de> for PositionVisitor {
    type Value = Arc<Pointer>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the address of a mailbox inside a message")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Arc<Pointer>, D::Error> {
        let position = u32::deserialize(deserializer)?;
        handle_at(position).ok_or_else(|| de::Error::custom("an address in the message has no handle beside it"))
    }
}

struct UriVisitor;

impl de::Visitor<'_> for UriVisitor {
    type Value = Arc<Pointer>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the URI of a mailbox, hermod://host:port/name")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Arc<Pointer>, E> {
        let home = text_home().ok_or_else(|| E::custom("an address can be read only inside Node::with"))?;
        uri::resolve(&home, text).map_err(E::custom)
    }
}
