//! Which messages are [looked at](check) before they leave: the first of each type, and in debug builds every one.
//!
//! What is looked for is in the type, and mostly shows in the first message. In every build two more kinds are always
//! looked at: messages of which a field was left out, which the encoder notices, and those of a type that has a part
//! which describes itself somewhere, since only those that contain one do not arrive. What else differs from message to
//! message, a variant behind one that is skipped or what a `Serialize` by hand does, is found in debug builds.

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

/// How a value is looked at before it leaves.
pub(crate) struct Look<T> {
    pub(crate) at: fn(&T) -> Result<(), Unfit>,
    /// Whether it is, if nothing seems to be wrong.
    pub(crate) anyway: bool,
}

/// What of a message's type was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Message,
    Result,
}

/// Whether there is more to look at, of each type of which something was.
static LOOKED_AT: LazyLock<RwLock<HashMap<(TypeId, Part), Again>>> = LazyLock::new(RwLock::default);

/// Whether the next message is looked at again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    Always,
}

/// How the messages of type `M` are looked at.
pub(crate) fn look<M: RemoteMessage>() -> Look<M> {
    Look { at: look_at_message::<M>, anyway: !is_settled::<M>(Part::Message) }
}

/// How they are if enough of them were.
#[inline]
pub(crate) fn glance<M: RemoteMessage>() -> Look<M> {
    Look { at: look_at_message::<M>, anyway: false }
}

/// As [`look`], for what messages of type `M` are answered with.
pub(crate) fn look_at_result_of<M: RemoteMessage>() -> Look<M::Result> {
    Look { at: look_at_result::<M>, anyway: !is_settled::<M>(Part::Result) }
}

/// A number for the type of which only the first messages are looked at, so that one who sends many can remember that
/// they were; never 0.
#[inline]
pub(crate) fn key<M: 'static>() -> u64 {
    let mut lower = Lower(0);
    TypeId::of::<M>().hash(&mut lower);
    lower.0 | 1
}

/// Takes a type's id, which is a hash already, as it is.
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
    !cfg!(debug_assertions) && LOOKED_AT.read().get(&(TypeId::of::<M>(), part)) == Some(&Again::No)
}

fn look_at_message<M: RemoteMessage>(message: &M) -> Result<(), Unfit> {
    let shape = Shape::of::<M>();
    let start = Start::message(shape.model());
    conclude::<M>(Part::Message, start, check(message, start, &Named::<M>(Part::Message, PhantomData)))
}

fn look_at_result<M: RemoteMessage>(result: &M::Result) -> Result<(), Unfit> {
    let shape = Shape::of::<M>();
    match Start::result(shape.model()) {
        Some(start) => conclude::<M>(Part::Result, start, check(result, start, &Named::<M>(Part::Result, PhantomData))),
        None => Ok(()),
    }
}

/// What is looked at, by its type's name in Rust: one that is flattened has none in its shape.
struct Named<M>(Part, PhantomData<fn() -> M>);

impl<M> Display for Named<M> {
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
            // One after the other, so that the lock is not held while the shape is searched.
            let known = LOOKED_AT.read().contains_key(&key);
            if !known {
                let again = if describes_itself(start) { Again::Always } else { Again::No };
                LOOKED_AT.write().insert(key, again);
            }
            Ok(())
        }
        Verdict::Interrupted => Ok(()),
        Verdict::Unfit(unfit) => Err(unfit),
    }
}
