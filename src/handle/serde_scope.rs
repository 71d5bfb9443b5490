//! Addresses inside messages: the scope in which one message is written or read.
//!
//! While a message is encoded, each address in it writes only its position in a list that travels beside the body;
//! while one is decoded, the positions are looked up in the list that came with it. A scope on a thread ends with the
//! call that began it, even on error and panic, and a scope inside a scope (a `Serialize` that encodes something
//! itself) hides the outer one until it ends. Only this file touches the thread-locals.
//!
//! Most messages hold no address, and a scope costs each of them a few stores; the rest is touched only when there is
//! an address. The thread-locals have no destructor, so all of them work for code that sends while the thread is torn
//! down.

use std::cell::Cell;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Weak;

use bytes::Bytes;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;
use serde::de::DeserializeOwned;
use serde::ser;

use super::context::NodeContext;
use super::pointer::POINTER_COST;
use super::pointer::Pointer;
use crate::handle::detached;
use crate::handle::uri;
use crate::message::guard;
use crate::message::guard::DecodeError;
use crate::message::guard::DecodeLimits;
use crate::message::guard::EncodeError;
use crate::message::guard::Encoded;
use crate::message::preflight::Check;
use crate::message::shape::check::Unfit;
use crate::message::shape::mark;
use crate::wire::body::Body;

/// Maximum scratch space that a thread keeps between messages, in bytes.
const KEPT: usize = 256 << 10;

/// Maximum number of handles for which room is kept.
const KEPT_HANDLES: usize = 16 << 10;

/// The kind of scope on a thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ScopeKind {
    Nothing,
    Writing,
    Reading,
    /// Reading text outside a message: addresses in it are URIs.
    Text,
}

/// The innermost scope of a thread.
struct Now {
    what: Cell<ScopeKind>,
    /// Number of the [`HANDLES`] that belong to this scope: all, or none.
    handles: Cell<usize>,
    /// The memory address of the node that [`NODE`] leads to.
    node: Cell<usize>,
}

thread_local! {
    static NOW: Now = const { Now { what: Cell::new(ScopeKind::Nothing), handles: Cell::new(0), node: Cell::new(0) } };

    /// The handles of the message, if there are any.
    static HANDLES: ManuallyDrop<RefCell<Vec<Arc<Pointer>>>> = const { ManuallyDrop::new(RefCell::new(Vec::new())) };

    /// The node of the innermost scope, or of the last one: it is not changed for each message of a thread that sends
    /// many by one node.
    static NODE: ManuallyDrop<RefCell<Option<Weak<NodeContext>>>> = const { ManuallyDrop::new(RefCell::new(None)) };

    /// Frees the contents of [`HANDLES`] and [`NODE`] when the thread is torn down; from then on nothing is kept in
    /// them.
    static TIDY: Tidy = const { Tidy };

    /// A scratch body that is kept for reuse.
    static SPARE_BODY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// See [`TIDY`].
struct Tidy;

impl Drop for Tidy {
    fn drop(&mut self) {
        NOW.with(|now| now.node.set(0));
        let kept = (NODE.with(|node| node.take()), HANDLES.with(|handles| handles.take()));
        drop(kept);
    }
}

/// Returns whether [`TIDY`] will still free what this thread keeps.
#[inline]
fn may_keep() -> bool {
    TIDY.try_with(|_| ()).is_ok()
}

/// A scope, which ends when this is dropped.
struct Scope {
    outer: (ScopeKind, usize),
    aside: Option<Box<Aside>>,
}

/// The state of the outer scope, restored when the inner one ends.
struct Aside {
    handles: Vec<Arc<Pointer>>,
    node: Option<Weak<NodeContext>>,
}

impl Scope {
    #[inline]
    fn enter(what: ScopeKind, node: &Arc<NodeContext>) -> Scope {
        NOW.with(|now| {
            let outer = (now.what.replace(what), now.handles.replace(0));
            let is_common = outer.0 == ScopeKind::Nothing && now.node.get() == place_of(node);
            Scope { outer, aside: if is_common { None } else { Scope::change(now, node, outer) } }
        })
    }

    /// Enters a scope for another node than before, or inside another scope, or on a thread that is being torn down.
    #[cold]
    fn change(now: &Now, node: &Arc<NodeContext>, outer: (ScopeKind, usize)) -> Option<Box<Aside>> {
        now.node.set(place_of(node));
        let node = NODE.with(|last| last.replace(Some(Arc::downgrade(node))));
        let handles = if outer.1 > 0 { HANDLES.with(|handles| handles.take()) } else { Vec::new() };
        (outer.0 != ScopeKind::Nothing || !may_keep()).then(|| Box::new(Aside { handles, node }))
    }

    /// Sets the handles that positions in the message being read refer to.
    fn bring(&self, handles: &mut Vec<Arc<Pointer>>) {
        NOW.with(|now| now.handles.set(handles.len()));
        HANDLES.with(|kept| kept.replace(std::mem::take(handles)));
    }

    /// Returns the handles of the message.
    #[inline]
    fn into_handles(self) -> Vec<Arc<Pointer>> {
        match NOW.with(|now| now.handles.take()) {
            0 => Vec::new(),
            _ => HANDLES.with(|handles| handles.take()),
        }
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        NOW.with(|now| {
            if now.handles.take() > 0 {
                forget_all();
            }
            now.what.set(self.outer.0);
            now.handles.set(self.outer.1);
            if let Some(aside) = self.aside.take() {
                aside.restore(now);
            }
        });
    }
}

/// Drops the handles of a message that was not completed.
#[cold]
fn forget_all() {
    drop(HANDLES.with(|handles| handles.take()));
}

impl Aside {
    #[cold]
    fn restore(self, now: &Now) {
        let Aside { handles, node } = self;
        now.node.set(node.as_ref().map_or(0, |node| node.as_ptr().addr()));
        // The replaced values are dropped outside the borrows: dropping a pointer may run code of this crate.
        let inner = (NODE.with(|last| last.replace(node)), HANDLES.with(|last| last.replace(handles)));
        drop(inner);
    }
}

/// Returns the memory address of a node, which identifies it: while there is a `Weak` of it, no other node has this
/// address.
fn place_of(node: &Arc<NodeContext>) -> usize {
    Arc::as_ptr(node).addr()
}

/// Returns the node of the innermost scope.
fn node() -> Option<Arc<NodeContext>> {
    NODE.with(|node| node.borrow().as_ref().and_then(Weak::upgrade))
}

fn under_way() -> ScopeKind {
    NOW.with(|now| now.what.get())
}

/// Encodes a message for another process and passes its body and its handles to `send`, if `check` accepts the message.
#[inline]
pub(crate) fn write<M: Serialize, R>(
    node: &Arc<NodeContext>,
    message: &M,
    check: Check<M>,
    send: impl FnOnce(Body<'_>, &[Arc<Pointer>]) -> R,
) -> Result<R, Box<EncodeError>> {
    let limit = node.limits().max_message;
    // A thread that is being torn down has no spare body and keeps none.
    let mut body = SPARE_BODY.try_with(Cell::take).unwrap_or_default();
    let scope = Scope::enter(ScopeKind::Writing, node);
    let encoded = match guard::encode(message, &mut body, limit) {
        Ok(Encoded { skipped: false }) if !check.always => Ok(()),
        encoded => checked(encoded, || (check.run)(message)),
    };
    let handles = scope.into_handles();
    let encoded = if handles.is_empty() { encoded } else { encoded.and_then(|()| counted(node, &handles)) };
    let result = match encoded {
        Ok(()) if body.len() > KEPT => Ok(send(Body::from(&whole(&mut body)), &handles)),
        Ok(()) => Ok(send(Body::from(&*body), &handles)),
        Err(error) => Err(error),
    };
    if handles.capacity() > 0 {
        keep_handles(handles);
    }
    if body.capacity() <= KEPT {
        body.clear();
        let _ = SPARE_BODY.try_with(|spare| spare.set(body));
    }
    result
}

/// Checks that a message has no more handles than allowed.
fn counted(node: &Arc<NodeContext>, handles: &[Arc<Pointer>]) -> Result<(), Box<EncodeError>> {
    let (count, limit) = (handles.len(), node.limits().max_handles);
    if count <= limit { Ok(()) } else { Err(Box::new(EncodeError::TooManyHandles { count, limit })) }
}

/// Takes a body that is too large to be kept as scratch space: as a buffer of its own, it can be shared.
#[cold]
fn whole(body: &mut Vec<u8>) -> Bytes {
    Bytes::from(std::mem::take(body).into_boxed_slice())
}

/// Checks a message within its scope, after it was encoded, so that a `Serialize` that moves something out has moved it
/// into the encoding. The check's finding says more than the encoder's error.
#[cold]
fn checked(
    encoded: Result<Encoded, Box<EncodeError>>,
    check: impl FnOnce() -> Result<(), Unfit>,
) -> Result<(), Box<EncodeError>> {
    let encoded = encoded.map(|_| ());
    if let Err(error) = &encoded
        && matches!(**error, EncodeError::TooLarge { .. } | EncodeError::Panicked(_))
    {
        return encoded;
    }
    let handles = noted();
    let looked = catch_unwind(AssertUnwindSafe(check));
    forget_after(handles);
    match looked {
        Ok(Err(unfit)) => Err(Box::new(EncodeError::Unfit(unfit.to_string()))),
        Ok(Ok(())) | Err(_) => encoded,
    }
}

/// Returns the number of handles that the message being written has so far.
fn noted() -> usize {
    NOW.with(|now| now.handles.get())
}

/// Removes the handles after the first `count`.
fn forget_after(count: usize) {
    while noted() > count {
        NOW.with(|now| now.handles.set(now.handles.get() - 1));
        // Each is dropped outside the borrow: dropping a pointer may run code of this crate.
        let last = HANDLES.with(|handles| handles.borrow_mut().pop());
        drop(last);
    }
}

/// Adds a handle of the message being written, and returns its position.
fn note(pointer: &Arc<Pointer>) -> Option<u32> {
    let count = HANDLES.with(|handles| {
        let mut handles = handles.borrow_mut();
        handles.push(Arc::clone(pointer));
        handles.len()
    });
    NOW.with(|now| now.handles.set(count));
    u32::try_from(count - 1).ok()
}

/// Keeps the memory of the list for the next message that has handles.
fn keep_handles(mut handles: Vec<Arc<Pointer>>) {
    handles.clear();
    if handles.capacity() <= KEPT_HANDLES && may_keep() {
        HANDLES.with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.is_empty() {
                *kept = handles;
            }
        });
    }
}

/// Decodes a message that came with these handles, and takes them out of the list.
#[inline]
pub(crate) fn read<M: DeserializeOwned>(
    node: &Arc<NodeContext>,
    body: &[u8],
    handles: &mut Vec<Arc<Pointer>>,
) -> Result<M, Box<DecodeError>> {
    let limits = node.limits().decode();
    let scope = Scope::enter(ScopeKind::Reading, node);
    if handles.is_empty() {
        return guard::decode(body, limits);
    }
    // Pointers made before the body is read count as a part of the message's memory.
    let memory = limits.memory.saturating_sub(handles.len().saturating_mul(POINTER_COST));
    scope.bring(handles);
    let message = guard::decode(body, DecodeLimits { memory, ..limits });
    let mut rest = scope.into_handles();
    rest.clear();
    *handles = rest;
    message
}

/// Decodes messages that came without handles: passes each to `keep`, or its error to `fail`.
#[inline]
pub(crate) fn read_each<'b, M: DeserializeOwned>(
    node: &Arc<NodeContext>,
    bodies: impl Iterator<Item = &'b [u8]>,
    mut keep: impl FnMut(M),
    mut fail: impl FnMut(Box<DecodeError>),
) {
    let limits = node.limits().decode();
    let _scope = Scope::enter(ScopeKind::Reading, node);
    for body in bodies {
        if let Err(error) = guard::decode_to(body, limits, &mut keep) {
            fail(error);
        }
    }
}

/// Runs `read` in a scope in which addresses in text are read for this node.
pub(crate) fn with_text<R>(node: &Arc<NodeContext>, read: impl FnOnce() -> R) -> R {
    let _scope = Scope::enter(ScopeKind::Text, node);
    read()
}

/// Returns the node for which a message is being written on this thread, if one is.
pub(crate) fn writing_node() -> Option<Arc<NodeContext>> {
    if under_way() == ScopeKind::Writing { node() } else { None }
}

/// Writes an address: its position in the message's list, or its URI in a human-readable format.
pub(crate) fn serialize<S: Serializer>(pointer: &Arc<Pointer>, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return match uri::of(pointer) {
            Some(uri) => serializer.serialize_str(&uri),
            None => Err(ser::Error::custom(format_args!(
                "the address of {:?} has no URI, because its node does not listen where others can dial it; see `advertise`",
                pointer.name()
            ))),
        };
    }
    let position = if under_way() == ScopeKind::Writing { note(pointer) } else { None };
    match position {
        Some(position) => serializer.serialize_newtype_struct(mark::ADDRESS, &position),
        None => Err(ser::Error::custom("an address can be written in binary only inside a message that is sent")),
    }
}

/// Reads an address for messages of type `M`, as written by [`serialize`].
pub(crate) fn deserialize<'de, M: ?Sized, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Pointer>, D::Error> {
    if deserializer.is_human_readable() {
        return deserializer.deserialize_str(UriVisitor);
    }
    deserializer.deserialize_newtype_struct(mark::ADDRESS, PositionVisitor::<M>(PhantomData))
}

fn handle_at(position: u32) -> Option<Arc<Pointer>> {
    if under_way() != ScopeKind::Reading || noted() == 0 {
        return None;
    }
    HANDLES.with(|handles| handles.borrow().get(position as usize).cloned())
}

fn text_node() -> Option<Arc<NodeContext>> {
    if under_way() == ScopeKind::Nothing { None } else { node() }
}

struct PositionVisitor<M: ?Sized>(PhantomData<fn(&M)>);

impl<'de, M: ?Sized> de::Visitor<'de> for PositionVisitor<M> {
    type Value = Arc<Pointer>;

    /// Writes the name of the message, as [`mark::ADDRESS`] requires.
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mark::short_name::<M>())
    }

    /// Returns an address that leads nowhere, without a scope, for a value made only to trace its type.
    fn visit_unit<E: de::Error>(self) -> Result<Arc<Pointer>, E> {
        Ok(detached::pointer())
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
        f.write_str("the URI of a mailbox, hermod://[ID@]host:port/name")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Arc<Pointer>, E> {
        let node = text_node().ok_or_else(|| E::custom("an address can be read only inside Node::with"))?;
        uri::resolve(&node, text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use actix::prelude::Message;

    use super::*;
    use crate::handle::address::Address;
    use crate::message::preflight;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Pair(Address<Pair>, Address<Pair>);

    #[test]
    fn what_is_looked_at_as_well_has_its_handles_once() {
        let pointers = [detached::pointer(), detached::pointer()];
        let [one, other] = pointers.each_ref().map(|pointer| Address::new(Arc::clone(pointer)));
        let pair = Pair(one, other);
        let check = preflight::of_message();
        assert!(check.always, "nothing of this type was looked at before");
        let written = write(pointers[0].this_node(), &pair, check, |body, handles| {
            assert_eq!(*body, [0, 1]);
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

        let node = Arc::clone(detached::pointer().this_node());
        let write = |n| {
            let refuse = |_: &Sparse| Err(Unfit { path: "Sparse".to_owned(), why: "looked at".to_owned() });
            write(&node, &Sparse::Struct { n }, Check { run: refuse, always: false }, |body, _| body.to_vec())
        };
        assert_eq!(write(Some(7)), Ok(vec![0, 1, 7]));
        assert_eq!(write(None), Err(Box::new(EncodeError::Unfit("Sparse: looked at".to_owned()))));
    }

    #[test]
    fn a_panic_while_it_is_looked_at_costs_nothing() {
        let node = Arc::clone(detached::pointer().this_node());
        let written =
            write(&node, &7u64, Check { run: |_| panic!("looked too closely"), always: true }, |body, _| body.to_vec());
        assert_eq!(written, Ok(vec![7]));
        assert!(under_way() == ScopeKind::Nothing);
    }

    /// A type that writes another message while it is written itself: to another node, or to the same.
    struct Writes<'a>(&'a Arc<Pointer>, &'a [Address<Pair>], &'a Arc<NodeContext>);

    impl Serialize for Writes<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Writes(own, inner, node) = self;
            let before = Address::<Pair>::new(Arc::clone(own));
            let check = Check { run: |_: &Vec<Address<Pair>>| Ok(()), always: false };
            let written = write(node, &inner.to_vec(), check, |body, handles| (body.to_vec(), handles.len()));
            let count = inner.len();
            assert_eq!(written, Ok((std::iter::once(count as u8).chain(0..count as u8).collect(), count)));
            assert!(writing_node().is_some_and(|node| Arc::ptr_eq(&node, own.this_node())), "the outer one goes on");
            (&before, Vec::<u8>::new(), &before).serialize(serializer)
        }
    }

    #[test]
    fn a_message_that_is_written_inside_another_has_its_own_handles_and_its_own_node() {
        let [one, other] = [detached::pointer(), detached::elsewhere()];
        let outer = |inner: &[Address<Pair>], node: &Arc<NodeContext>| {
            let message = Writes(&one, inner, node);
            let outer = (Address::<Pair>::new(Arc::clone(&one)), message);
            write(one.this_node(), &outer, Check { run: |_| Ok(()), always: false }, |body, handles| {
                assert_eq!(*body, [0, 1, 0, 2]);
                assert!(handles.iter().all(|handle| Arc::ptr_eq(handle, &one)));
                handles.len()
            })
        };
        let addresses: Vec<_> = (0..3).map(|_| Address::new(Arc::clone(&other))).collect();
        for node in [one.this_node(), other.this_node()] {
            assert_eq!(outer(&addresses, node), Ok(3));
            assert_eq!(outer(&[], node), Ok(3));
        }
        assert!(under_way() == ScopeKind::Nothing);
        assert_eq!(HANDLES.with(|handles| handles.borrow().len()), 0);
    }
}
