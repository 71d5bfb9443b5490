//! Marks that tell a tracer facts unknown to serde: that a value is an address, or that its content stays opaque.
//!
//! serde has no notion of either, so both are newtypes of a name that no type has; in postcard's format a newtype costs
//! nothing. The visitor's `expecting` text carries the details for the tracer; and since only a tracer offers a unit
//! for a newtype, a visitor that gets a unit knows that any value will do.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use serde::de::Visitor;

/// The name of a newtype that is an address. Its visitor expects the [`short_name`] of the message, and takes a unit for
/// an address that leads nowhere.
pub(crate) const ADDRESS: &str = "actix_hermod::Address";

/// The name of a newtype whose content is opaque. Its visitor expects the name of the leaf, and takes a unit for any
/// value of the type.
pub(crate) const LEAF: &str = "actix_hermod::opaque";

/// Reads a value that is opaque to a [`Shape`](crate::Shape): it is one leaf there, which equals all leaves of that
/// name.
///
/// Use it for a type of which no value can be guessed, so that the parts behind it may not be known either
/// ([`Shape::unchecked`](crate::Shape::unchecked) lists such parts), or for one that reads different kinds depending on
/// the bytes before. `sample` returns any value; it is called when a shape is made, and never for a message. The bytes
/// on the wire are the same as without `opaque`; change the name when the meaning of the bytes has changed.
///
/// # Errors
/// The errors of `T`'s `Deserialize`.
///
/// # Examples
/// A function for serde's attribute `deserialize_with`, of one line:
/// ```
/// use actix_hermod::Shape;
/// use serde::{Deserialize, Deserializer};
///
/// #[derive(Deserialize)]
/// #[serde(try_from = "String")]
/// struct Licence(String);
///
/// impl TryFrom<String> for Licence {
///     type Error = &'static str;
///     fn try_from(key: String) -> Result<Licence, &'static str> {
///         if key == "a secret" { Ok(Licence(key)) } else { Err("no licence") }
///     }
/// }
///
/// #[derive(Deserialize)]
/// struct Customer {
///     #[serde(deserialize_with = "licence")]
///     licence: Licence,
///     name: String,
/// }
///
/// fn licence<'de, D: Deserializer<'de>>(from: D) -> Result<Licence, D::Error> {
///     actix_hermod::opaque(from, "licence", || Licence("a secret".to_owned()))
/// }
///
/// assert!(Shape::of_value::<Customer>().to_string().contains("licence: opaque(licence)"));
/// ```
pub fn opaque<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    name: &str,
    sample: impl FnOnce() -> T,
) -> Result<T, D::Error> {
    // Human-readable formats may show a newtype's name, and a tracer is not human-readable.
    if deserializer.is_human_readable() {
        return T::deserialize(deserializer);
    }
    deserializer.deserialize_newtype_struct(LEAF, Leaf { name, sample, value: PhantomData })
}

struct Leaf<'n, T, S> {
    name: &'n str,
    sample: S,
    value: PhantomData<fn() -> T>,
}

impl<'de, T: Deserialize<'de>, S: FnOnce() -> T> Visitor<'de> for Leaf<'_, T, S> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::deserialize(deserializer)
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok((self.sample)())
    }
}

/// Returns a type's name without the modules of the type and its parameters: `Wrap<Kind>` for `a::Wrap<b::Kind>`.
pub(crate) fn short_name<T: ?Sized>() -> String {
    without_paths(std::any::type_name::<T>())
}

fn without_paths(name: &str) -> String {
    // `{{closure}}` is a part of the path of an item declared in a closure.
    let is_part = |c: char| c.is_alphanumeric() || "_{}#".contains(c);
    let mut short = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (part, behind) = rest.split_at(if end == 0 { first.len_utf8() } else { end });
        rest = behind;
        match behind.strip_prefix("::") {
            Some(inner) if end > 0 => rest = inner,
            _ => short.push_str(part),
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::without_paths;

    #[test]
    fn the_paths_of_a_name_and_of_its_parameters_are_left_out() {
        let names = [
            ("u32", "u32"),
            ("a::b::Ping", "Ping"),
            ("a::Wrap<b::Kind>", "Wrap<Kind>"),
            ("a::Wrap<(b::Kind, [c::d::Kind; 3]), &str>", "Wrap<(Kind, [Kind; 3]), &str>"),
            ("a::f::{{closure}}::Wrap<dyn b::Kind + core::marker::Send>", "Wrap<dyn Kind + Send>"),
            ("a::Wrap<fn(b::Kind) -> c::Ärger>", "Wrap<fn(Kind) -> Ärger>"),
        ];
        for (name, short) in names {
            assert_eq!(without_paths(name), short);
        }
    }
}
