//! Which messages are [checked](of_message) before they leave: the first of each type, and in debug builds every one.
//!
//! A fault is in the type, and mostly shows in the first message. In every build two more kinds of messages are always
//! checked: messages with a field left out, which the encoder notices, and messages of a type that somewhere has a
//! self-describing part, since only the messages that contain one do not arrive. Other differences between messages of
//! one type, a variant behind a skipped one or a `Serialize` by hand, are found in debug builds.
//!
//! If [no message at all](can_travel) of a type would pass, the type is refused where a box or an address of it is
//! made.

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::fmt::Display;
use std::hash::Hash;
use std::hash::Hasher;
use std::marker::PhantomData;
use std::sync::LazyLock;

use parking_lot::RwLock;

use super::RemoteMessage;
use super::shape::Shape;
use crate::message::shape::check::Unfit;
use crate::message::shape::check::Verdict;
use crate::message::shape::check::check;
use crate::message::shape::check::describes_itself;
use crate::message::shape::mark::short_name;
use crate::message::shape::path::Start;

/// The check of a value before it leaves.
pub(crate) struct Check<T> {
    pub(crate) run: fn(&T) -> Result<(), Unfit>,
    /// Whether the value is checked even if encoding it has shown nothing unusual.
    pub(crate) always: bool,
}

/// The part of a message's type that was checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Message,
    Result,
}

/// Whether later messages are checked, for each part of a type that was checked once.
static CHECKED: LazyLock<RwLock<HashMap<(TypeId, Part), Again>>> = LazyLock::new(RwLock::default);

/// Whether the next message is checked again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    Always,
}

/// Returns whether there are messages of type `M` that can be sent to another process; found out once for each type.
///
/// # Errors
/// Returns the part that stands in the way, and the remedy.
pub(crate) fn can_travel<M: RemoteMessage>() -> Result<(), String> {
    Shape::of::<M>().obstacle().map_or(Ok(()), |obstacle| Err(obstacle.to_string()))
}

/// Returns the check for messages of type `M`.
pub(crate) fn of_message<M: RemoteMessage>() -> Check<M> {
    Check { run: check_message::<M>, always: !is_settled::<M>(Part::Message) }
}

/// Like [`of_message`], once enough messages of the type were checked.
#[inline]
pub(crate) fn of_known_message<M: RemoteMessage>() -> Check<M> {
    Check { run: check_message::<M>, always: false }
}

/// Like [`of_message`], for the results of messages of type `M`.
pub(crate) fn of_result<M: RemoteMessage>() -> Check<M::Result> {
    Check { run: check_result::<M>, always: !is_settled::<M>(Part::Result) }
}

/// Returns a key of the type, so that a sender can remember that the first messages of the type were checked; never 0.
#[inline]
pub(crate) fn key<M: 'static>() -> u64 {
    let mut lower = Lower(0);
    TypeId::of::<M>().hash(&mut lower);
    lower.0 | 1
}

/// A hasher that takes a type's id, which is a hash already, as it is.
struct Lower(u64);

impl Hasher for Lower {
    #[inline]
    fn write_u64(&mut self, part: u64) {
        self.0 ^= part;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cold]
fn is_settled<M: RemoteMessage>(part: Part) -> bool {
    !cfg!(debug_assertions) && CHECKED.read().get(&(TypeId::of::<M>(), part)) == Some(&Again::No)
}

fn check_message<M: RemoteMessage>(message: &M) -> Result<(), Unfit> {
    let shape = Shape::of::<M>();
    let start = Start::message(shape.model());
    conclude::<M>(Part::Message, start, check(message, start, &PartName::<M>(Part::Message, PhantomData)))
}

fn check_result<M: RemoteMessage>(result: &M::Result) -> Result<(), Unfit> {
    let shape = Shape::of::<M>();
    match Start::result(shape.model()) {
        Some(start) => {
            conclude::<M>(Part::Result, start, check(result, start, &PartName::<M>(Part::Result, PhantomData)))
        }
        None => Ok(()),
    }
}

/// Shows the checked part by the name of its Rust type: a flattened value has no name in its shape.
struct PartName<M>(Part, PhantomData<fn() -> M>);

impl<M> Display for PartName<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&short_name::<M>())?;
        f.write_str(match self.0 {
            Part::Message => "",
            Part::Result => " -> result",
        })
    }
}

fn conclude<M: RemoteMessage>(part: Part, start: Start<'_>, verdict: Verdict) -> Result<(), Unfit> {
    match verdict {
        Verdict::Fits => {
            let key = (TypeId::of::<M>(), part);
            // Two steps, so that the lock is not held while the shape is searched.
            let known = CHECKED.read().contains_key(&key);
            if !known {
                let again = if describes_itself(start) { Again::Always } else { Again::No };
                CHECKED.write().insert(key, again);
            }
            Ok(())
        }
        Verdict::Interrupted => Ok(()),
        Verdict::Unfit(unfit) => Err(unfit),
    }
}
