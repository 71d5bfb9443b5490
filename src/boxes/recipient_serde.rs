//! actix `Recipient`s inside messages.
//!
//! A field that is a `Recipient`, or an `Option`, `Vec`, `Box` or map of them, is annotated with
//! `#[serde(with = "actix_hermod::recipient")]`. Any recipient can be sent, that of an ordinary actor as well as one
//! that came from this crate: the receiver gets a recipient that leads to the same actor. If the actor is the
//! receiver's own, it gets that actor's own recipient: equal to the original, and straight into the actor's mailbox.
//!
//! # Equality
//! At one node, all recipients of equal pointers are equal and have one hash, as long as any of them lives, whichever
//! connection or message they came by, and whether they were received or made by
//! [`Address::recipient`](crate::Address::recipient). So a `HashSet<Recipient<M>>` has each subscriber once, even if it
//! subscribes again after a reconnection.
//!
//! An actor whose recipient is sent has a pointer of its own, the same one as long as the actor lives. A publication of
//! the actor makes no difference: the publication's [`Address::recipient`](crate::Address::recipient) is another
//! recipient, and leads to the box in front of the actor.
//!
//! # If the annotation is forgotten
//! The compiler says that `Recipient<Progress>` does not implement `Serialize` and `Deserialize`, and that
//! `RemoteMessage` is not implemented for the message:
//! ```compile_fail,E0277
//! # use actix::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Message, Serialize, Deserialize)]
//! # #[rtype(result = "()")]
//! # struct Progress(f32);
//! #[derive(Message, Serialize, Deserialize)]
//! #[rtype(result = "()")]
//! struct Job {
//!     report_to: Recipient<Progress>,
//! }
//! ```
//! The remedy is the annotation, or a field of type [`Address`], which needs none. The two have one
//! shape: one side may write a `Recipient` where the other reads an `Address`.
//!
//! # Lifetime
//! An ordinary actor whose recipient was sent is kept alive until the receiver has dropped it, as with a local clone. A
//! receiver that says goodbye drops all it has; a receiver that is lost keeps the actor alive for `forget_after` more.
//!
//! # Examples
//! ```
//! use std::collections::HashMap;
//!
//! use actix::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Message, Serialize, Deserialize)]
//! #[rtype(result = "()")]
//! struct Progress(f32);
//!
//! #[derive(Message, Serialize, Deserialize)]
//! #[rtype(result = "()")]
//! struct Job {
//!     #[serde(with = "actix_hermod::recipient")]
//!     report_to: Recipient<Progress>,
//!     #[serde(with = "actix_hermod::recipient")]
//!     also: HashMap<String, Vec<Recipient<Progress>>>,
//! }
//! # fn travels<M: actix_hermod::RemoteMessage>() {}
//! # travels::<Job>();
//! ```

use std::any::type_name;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::Hash;
use std::sync::Arc;

use actix::Recipient;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::DeserializeOwned;
use serde::ser;

use super::actor_feed::exported;
use crate::handle::address::Address;
use crate::handle::pointer::Pointer;
use crate::handle::ports::LocalBox;
use crate::handle::recipient::proxy;
use crate::handle::serde_scope;
use crate::message::RemoteMessage;

/// A type that a field annotated with `#[serde(with = "actix_hermod::recipient")]` can have.
///
/// Implemented for `Recipient`, [`Address`], and for `Option`, `Box`, `Vec` and maps of such types: serde passes the
/// whole field to such a function, so a function for `Recipient` alone could not take an `Option` of one.
pub trait Carried: Sized {
    #[doc(hidden)]
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
    #[doc(hidden)]
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// Writes a field made of recipients; see the [module](self).
///
/// # Errors
/// Fails outside a message that is sent; in a human-readable format, if the recipient has no URI.
pub fn serialize<T: Carried, S: Serializer>(field: &T, serializer: S) -> Result<S::Ok, S::Error> {
    field.write(serializer)
}

/// Reads a field made of recipients; see the [module](self).
///
/// # Errors
/// Fails outside a message that came from a connection, or if the bytes are not those of such a field.
pub fn deserialize<'de, T: Carried, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::read(deserializer)
}

/// Writes `T` as serde expects it.
struct WriteField<'a, T>(&'a T);

impl<T: Carried> Serialize for WriteField<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(serializer)
    }
}

/// Reads `T` as serde expects it.
struct ReadField<T>(T);

impl<'de, T: Carried> Deserialize<'de> for ReadField<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(ReadField)
    }
}

impl<M: RemoteMessage> Carried for Recipient<M> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match pointer_for(self) {
            Some(pointer) => serde_scope::serialize(&pointer, serializer),
            None => Err(ser::Error::custom(format_args!(
                "a recipient of {} that does not come from a node can be written only inside a message that is sent",
                type_name::<M>()
            ))),
        }
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_scope::deserialize::<M, D>(deserializer).map(|pointer| proxy::recipient(&pointer))
    }
}

/// Returns the pointer that a recipient stands for: the one it was made from, or that of a box made for the actor
/// behind it.
fn pointer_for<M: RemoteMessage>(recipient: &Recipient<M>) -> Option<Arc<Pointer>> {
    let key = proxy::key_of(recipient);
    match proxy::pointer_of(&key) {
        Some(pointer) => Some(pointer),
        None => {
            let node = serde_scope::writing_node()?;
            let make = |id| exported(&node, id, recipient.clone()) as Arc<dyn LocalBox>;
            Some(node.export(key, &make))
        }
    }
}

/// Code over both kinds of handle needs only one annotation.
impl<M: RemoteMessage> Carried for Address<M> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Address::deserialize(deserializer)
    }
}

impl<T: Carried> Carried for Option<T> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_ref().map(WriteField).serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<ReadField<T>>::deserialize(deserializer)?.map(|read| read.0))
    }
}

impl<T: Carried> Carried for Box<T> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).write(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Box::new)
    }
}

impl<T: Carried> Carried for Vec<T> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(WriteField))
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<ReadField<T>>::deserialize(deserializer)?.into_iter().map(|read| read.0).collect())
    }
}

macro_rules! carried_maps {
    ($([$($generics:tt)*] $map:ty, read as $read:ty;)*) => { $(
        impl<$($generics)*> Carried for $map {
            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.iter().map(|(key, value)| (key, WriteField(value))))
            }

            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(<$read>::deserialize(deserializer)?.into_iter().map(|(key, value)| (key, value.0)).collect())
            }
        }
    )* };
}

carried_maps! {
    [K: Serialize + DeserializeOwned + Eq + Hash, T: Carried, H: BuildHasher + Default]
        HashMap<K, T, H>, read as HashMap<K, ReadField<T>, H>;
    [K: Serialize + DeserializeOwned + Ord, T: Carried]
        BTreeMap<K, T>, read as BTreeMap<K, ReadField<T>>;
}
