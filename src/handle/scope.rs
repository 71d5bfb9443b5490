//! Addresses inside messages: the scope in which one message is written or read.
//!
//! While a message is encoded, each address in it writes only its position in a list that travels beside the body;
//! while one is decoded, the positions are looked up in the list that came along. The list is a thread-local that ends
//! with the call that set it, also on error and panic, and a scope inside a scope (a `Serialize` that encodes something
//! itself) hides the outer one until it ends. Only this file touches the thread-local.

use std::cell::Cell;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;

use scoped_tls::scoped_thread_local;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;
use serde::de::DeserializeOwned;
use serde::ser;

use super::nowhere;
use super::route::Household;
use super::route::Pointer;
use super::uri;
use crate::message::fit::Look;
use crate::message::guard;
use crate::message::guard::DecodeError;
use crate::message::guard::EncodeError;
use crate::message::guard::Encoded;
use crate::message::shape::check::Unfit;
use crate::message::shape::mark;

/// Scratch space that a thread keeps between messages, in bytes.
const KEPT: usize = 256 << 10;

/// As many handles are kept room for.
const KEPT_HANDLES: usize = 16 << 10;

scoped_thread_local! {
    /// The node that the innermost scope is for.
    static HOME: Arc<dyn Household>
}

scoped_thread_local! {
    static SCOPE: Scope
}

thread_local! {
    /// A scratch body and an empty list that wait to be used again.
    static SPARE_BODY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static SPARE_HANDLES: Cell<Vec<Arc<Pointer>>> = const { Cell::new(Vec::new()) };
}

/// What is under way on this thread.
enum Scope {
    Writing(RefCell<Vec<Arc<Pointer>>>),
    Reading(Vec<Arc<Pointer>>),
    /// Texts outside a message: URIs are read.
    Text,
}

/// Encodes a message for another process and hands its body and its handles to `send`, if `look` has nothing against it.
#[inline]
pub(crate) fn write<M: Serialize, R>(
    home: &Arc<dyn Household>,
    message: &M,
    look: Look<M>,
    send: impl FnOnce(&[u8], &[Arc<Pointer>]) -> R,
) -> Result<R, EncodeError> {
    let limit = home.limits().max_message;
    // A thread that is being torn down has nothing to spare, nor keeps anything.
    let mut body = SPARE_BODY.try_with(Cell::take).unwrap_or_default();
    let scope = Scope::Writing(RefCell::new(Vec::new()));
    let encode = || {
        let encoded = guard::encode(message, &mut body, limit);
        match encoded {
            Ok(Encoded { skipped: false }) if !look.anyway => Ok(()),
            _ => looked_at(encoded, || (look.at)(message)),
        }
    };
    let encoded = HOME.set(home, || SCOPE.set(&scope, encode));
    let handles = match scope {
        Scope::Writing(handles) => handles.into_inner(),
        Scope::Reading(_) | Scope::Text => Vec::new(),
    };
    let result = encoded.map(|()| send(&body, &handles));
    if handles.capacity() > 0 {
        keep_handles(handles);
    }
    if body.capacity() <= KEPT {
        body.clear();
        let _ = SPARE_BODY.try_with(|spare| spare.set(body));
    }
    result
}

/// Looks at a message within its scope, after it was encoded: so that a `Serialize` that gives something away has given it
/// to the message. What looking finds says more than that it could not be encoded.
#[cold]
fn looked_at(
    encoded: Result<Encoded, EncodeError>,
    look: impl FnOnce() -> Result<(), Unfit>,
) -> Result<(), EncodeError> {
    let encoded = encoded.map(|_| ());
    if matches!(encoded, Err(EncodeError::TooLarge { .. } | EncodeError::Panicked(_))) {
        return encoded;
    }
    let handles = noted();
    let looked = catch_unwind(AssertUnwindSafe(look));
    forget_after(handles);
    match looked {
        Ok(Err(unfit)) => Err(EncodeError::Unfit(unfit.to_string())),
        Ok(Ok(())) | Err(_) => encoded,
    }
}

/// How many handles the message that is being written has so far.
fn noted() -> usize {
    let count = in_scope(|scope| match scope {
        Scope::Writing(handles) => Some(handles.borrow().len()),
        Scope::Reading(_) | Scope::Text => None,
    });
    count.unwrap_or_default()
}

/// Takes back what was noted after the first `count` handles.
fn forget_after(count: usize) {
    let last = || {
        in_scope(|scope| match scope {
            Scope::Writing(handles) => {
                let mut handles = handles.borrow_mut();
                if handles.len() > count { handles.pop() } else { None }
            }
            Scope::Reading(_) | Scope::Text => None,
        })
    };
    // Each goes outside the borrow: a pointer that goes may run code of ours.
    while last().is_some() {}
}

/// Notes a handle of the message that is being written; its position.
fn note(handles: &RefCell<Vec<Arc<Pointer>>>, pointer: &Arc<Pointer>) -> Option<u32> {
    let mut handles = handles.borrow_mut();
    if handles.capacity() == 0 {
        *handles = SPARE_HANDLES.try_with(Cell::take).unwrap_or_default();
    }
    handles.push(Arc::clone(pointer));
    u32::try_from(handles.len() - 1).ok()
}

fn keep_handles(mut handles: Vec<Arc<Pointer>>) {
    handles.clear();
    if handles.capacity() <= KEPT_HANDLES {
        let _ = SPARE_HANDLES.try_with(|spare| spare.set(handles));
    }
}

/// Decodes a message that came with these handles, and takes them out of the list.
#[inline]
pub(crate) fn read<M: DeserializeOwned>(
    home: &Arc<dyn Household>,
    body: &[u8],
    handles: &mut Vec<Arc<Pointer>>,
) -> Result<M, DecodeError> {
    let limits = home.limits().decode();
    if handles.is_empty() && !SCOPE.is_set() {
        // An address in the body is refused with or without a scope, if there is no other around it; but not one in a text.
        return HOME.set(home, || guard::decode(body, limits));
    }
    let scope = Scope::Reading(std::mem::take(handles));
    let message = HOME.set(home, || SCOPE.set(&scope, || guard::decode(body, limits)));
    if let Scope::Reading(mut rest) = scope {
        rest.clear();
        *handles = rest;
    }
    message
}

/// Runs `read` with addresses in text read for this node.
pub(crate) fn with_text<R>(home: &Arc<dyn Household>, read: impl FnOnce() -> R) -> R {
    HOME.set(home, || SCOPE.set(&Scope::Text, read))
}

/// What the innermost scope on this thread makes of it, if there is one.
fn in_scope<R>(look: impl FnOnce(&Scope) -> Option<R>) -> Option<R> {
    if SCOPE.is_set() { SCOPE.with(look) } else { None }
}

/// The node that a message is written for, if one is being written here.
pub(crate) fn writing_home() -> Option<Arc<dyn Household>> {
    in_scope(|scope| matches!(scope, Scope::Writing(_)).then(|| HOME.with(Arc::clone)))
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
    let position = in_scope(|scope| match scope {
        Scope::Writing(handles) => note(handles, pointer),
        Scope::Reading(_) | Scope::Text => None,
    });
    match position {
        Some(position) => serializer.serialize_newtype_struct(mark::ADDRESS, &position),
        None => Err(ser::Error::custom("an address can be written in binary only inside a message that is sent")),
    }
}

/// Reads an address for messages of type `M`: what [`serialize`] wrote.
pub(crate) fn deserialize<'de, M: ?Sized, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Pointer>, D::Error> {
    if deserializer.is_human_readable() {
        return deserializer.deserialize_str(UriVisitor);
    }
    deserializer.deserialize_newtype_struct(mark::ADDRESS, PositionVisitor::<M>(PhantomData))
}

fn handle_at(position: u32) -> Option<Arc<Pointer>> {
    in_scope(|scope| match scope {
        Scope::Reading(handles) => handles.get(position as usize).cloned(),
        Scope::Writing(_) | Scope::Text => None,
    })
}

fn text_home() -> Option<Arc<dyn Household>> {
    HOME.is_set().then(|| HOME.with(Arc::clone))
}

struct PositionVisitor<M: ?Sized>(PhantomData<fn(&M)>);

impl<'de, M: ?Sized> de::Visitor<'de> for PositionVisitor<M> {
    type Value = Arc<Pointer>;

    /// As [`mark::ADDRESS`] asks for.
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mark::short_name::<M>())
    }

    /// A value is made only to see what its type looks like: this does without the scope, and leads nowhere.
    fn visit_unit<E: de::Error>(self) -> Result<Arc<Pointer>, E> {
        Ok(nowhere::pointer())
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

#[cfg(test)]
mod tests {
    use actix::prelude::Message;

    use super::*;
    use crate::handle::address::Address;
    use crate::message::fit;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Pair(Address<Pair>, Address<Pair>);

    #[test]
    fn what_is_looked_at_as_well_has_its_handles_once() {
        let pointers = [nowhere::pointer(), nowhere::pointer()];
        let [one, other] = pointers.each_ref().map(|pointer| Address::new(Arc::clone(pointer)));
        let pair = Pair(one, other);
        let look = fit::look();
        assert!(look.anyway, "nothing of this type was looked at before");
        let written = write(pointers[0].home(), &pair, look, |body, handles| {
            assert_eq!(body, [0, 1]);
            assert_eq!(handles.len(), 2);
            assert!(handles.iter().zip(&pointers).all(|(handle, pointer)| Arc::ptr_eq(handle, pointer)));
        });
        assert_eq!(written, Ok(()));
    }

    #[test]
    fn a_message_that_leaves_out_a_field_is_looked_at_also_when_its_type_was() {
        #[derive(Serialize)]
        enum Sparse {
            Struct {
                #[serde(skip_serializing_if = "Option::is_none")]
                n: Option<u8>,
            },
        }

        let home = Arc::clone(nowhere::pointer().home());
        let write = |n| {
            let refuse = |_: &Sparse| Err(Unfit { path: "Sparse".to_owned(), why: "looked at".to_owned() });
            write(&home, &Sparse::Struct { n }, Look { at: refuse, anyway: false }, |body, _| body.to_vec())
        };
        assert_eq!(write(Some(7)), Ok(vec![0, 1, 7]));
        assert_eq!(write(None), Err(EncodeError::Unfit("Sparse: looked at".to_owned())));
    }

    #[test]
    fn a_panic_while_it_is_looked_at_costs_nothing() {
        let home = Arc::clone(nowhere::pointer().home());
        let written =
            write(&home, &7u64, Look { at: |_| panic!("looked too closely"), anyway: true }, |body, _| body.to_vec());
        assert_eq!(written, Ok(vec![7]));
        assert!(!SCOPE.is_set());
    }
}
