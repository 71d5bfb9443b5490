//! Types with values that nobody can guess: what stands behind them is looked into if anything leads there, and if not it
//! is compared by the name of the Rust type that it is in.

use std::collections::BTreeMap;
use std::fmt;

use actix_hermod::Shape;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde::de::DeserializeSeed;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::Visitor;

use crate::licence_key::Key;

/// As typetag reads a trait object: a map of one entry, from a name to what the name stands for.
struct Object<const TELLS: bool>;

const FIGURES: &[&str] = &["Circle", "Square"];

/// Which figure it is.
enum Figure {
    Circle,
    Square,
}

struct NameOfFigure<const TELLS: bool>;

impl<const TELLS: bool> Visitor<'_> for NameOfFigure<TELLS> {
    type Value = Figure;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a figure")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Figure, E> {
        match name {
            "Circle" => Ok(Figure::Circle),
            "Square" => Ok(Figure::Square),
            _ if TELLS => Err(E::unknown_variant(name, FIGURES)),
            _ => Err(E::custom("no figure")),
        }
    }
}

impl<'de, const TELLS: bool> DeserializeSeed<'de> for NameOfFigure<TELLS> {
    type Value = Figure;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Figure, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, const TELLS: bool> Visitor<'de> for Object<TELLS> {
    type Value = Object<TELLS>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a figure")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<TELLS>, A::Error> {
        match map.next_key_seed(NameOfFigure::<TELLS>)? {
            Some(Figure::Circle) => map.next_value::<(u8, String)>().map(drop)?,
            Some(Figure::Square) => map.next_value::<u64>().map(drop)?,
            None => return Err(A::Error::custom("no figure")),
        }
        Ok(Object)
    }
}

impl<'de, const TELLS: bool> Deserialize<'de> for Object<TELLS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object)
    }
}

macro_rules! build {
    ($build:ident: $count:ty) => {
        #[expect(dead_code)]
        mod $build {
            use super::*;

            #[derive(Deserialize)]
            pub(super) struct Tuple(Key, $count);

            #[derive(Deserialize)]
            pub(super) enum Variant {
                Of(Key, $count),
            }

            #[derive(Deserialize)]
            pub(super) struct Draw<T> {
                figure: T,
                layer: $count,
            }

            #[derive(Deserialize)]
            pub(super) struct Named {
                key: Key,
                count: $count,
            }
        }
    };
}

build!(here: u32);
build!(there: i32);

/// A difference between two builds.
fn differences<Here: DeserializeOwned, There: DeserializeOwned>() -> Vec<String> {
    let (here, there) = (Shape::of_value::<Here>(), Shape::of_value::<There>());
    assert_ne!((&here, here.fingerprint()), (&there, there.fingerprint()));
    here.diff(&there).iter().map(ToString::to_string).collect()
}

fn unchecked<T: DeserializeOwned>() -> Vec<String> {
    Shape::of_value::<T>().unchecked()
}

#[test]
fn a_part_behind_a_value_that_cannot_be_guessed_is_compared_by_the_type_that_it_is_in() {
    const HERE: &str = "types::shapes::unchecked::here";
    const THERE: &str = "types::shapes::unchecked::there";
    let of = |path: &str, name: &str| {
        format!("`{path}`: opaque(not reached: {HERE}::{name}) here, opaque(not reached: {THERE}::{name}) there")
    };
    assert_eq!(differences::<here::Tuple, there::Tuple>(), [of("Tuple.1", "Tuple")]);
    assert_eq!(differences::<here::Variant, there::Variant>(), [of("Variant::Of.1", "Variant")]);
    assert_eq!(
        differences::<(Key, u32), (Key, i32)>(),
        ["`(String, opaque(not reached: (types::licence_key::Key, u32))).1`: \
          opaque(not reached: (types::licence_key::Key, u32)) here, \
          opaque(not reached: (types::licence_key::Key, i32)) there"]
    );
    assert_eq!(unchecked::<Vec<here::Tuple>>(), ["Vec<Tuple>[].1"]);
    assert_eq!(unchecked::<Option<here::Variant>>(), ["Option<Variant>?::Of.1"]);
}

#[test]
fn values_behind_keys_that_cannot_be_guessed_are_looked_into() {
    let (here, there) = (Shape::of_value::<BTreeMap<Key, u32>>(), Shape::of_value::<BTreeMap<Key, i32>>());
    assert_eq!((here.to_string(), there.to_string()), ("Map<String, u32>".into(), "Map<String, i32>".into()));
    assert_eq!(unchecked::<BTreeMap<Key, u32>>(), [""; 0]);
    // Also values that are particular themselves, and what contains itself; and what comes behind the map.
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Tree {
        children: BTreeMap<(u8, Key), Tree>,
        at: std::net::SocketAddr,
        word: std::num::NonZeroU8,
    }
    let tree = Shape::of_value::<(BTreeMap<Key, BTreeMap<Key, Tree>>, u16)>().to_string();
    assert!(tree.starts_with("(Map<String, Map<String, Tree>>, u16)"), "{tree}");
    assert!(tree.contains("children: Map<(u8, "), "{tree}");
    assert!(tree.contains("at: SocketAddr,\n    word: u8,"), "{tree}");
    let named = "`Named.count`: u32 here, i32 there";
    assert_eq!(differences::<here::Named, there::Named>(), [named]);
}

/// The names of what it can be are in the error; and if they are not, the other fields are still read by their names.
#[test]
fn a_field_behind_a_trait_object_is_looked_into() {
    const LAYER: &str = "`Draw.layer`: u32 here, i32 there";
    assert_eq!(differences::<here::Draw<Object<true>>, there::Draw<Object<true>>>(), [LAYER]);
    assert_eq!(differences::<here::Draw<Object<false>>, there::Draw<Object<false>>>(), [LAYER]);

    let shape = Shape::of_value::<(Object<true>, Option<u32>)>();
    let object = "opaque(varies: types::shapes::unchecked::Object<true>)";
    assert_eq!(shape.to_string(), format!("(Map<String, {object}>, Option<u32>)"));
    assert_eq!(shape.unchecked(), [format!("(Map<String, {object}>, Option<u32>).0[value]")]);
    let object = "opaque(not reached: types::shapes::unchecked::Object<false>)";
    let tuple = "opaque(not reached: (types::shapes::unchecked::Object<false>, u32))";
    assert_eq!(Shape::of_value::<(Object<false>, u32)>().to_string(), format!("(Map<String, {object}>, {tuple})"));
}

/// Types of two crates that are often met in messages and take no text and no map but their own.
#[test]
fn what_stands_beside_a_time_with_its_zone_or_a_trait_object_is_looked_into() {
    #[typetag::deserialize]
    trait Drawn {}

    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Dot {
        x: u8,
    }

    #[typetag::deserialize]
    impl Drawn for Dot {}

    const LAST: &str = "u32 here, i32 there";
    type Times<T> = (jiff::ZonedDateTime, jiff::Timestamp, jiff::civil::Date, jiff::Span, T);
    let of = |path: &str| [format!("`{path}`: {LAST}")];
    let whole = Shape::of_value::<Times<u32>>();
    assert_eq!(whole.unchecked(), [""; 0], "{whole}");
    let beside = differences::<Times<u32>, Times<i32>>();
    assert!(beside.len() == 1 && beside[0].ends_with(LAST), "{beside:?}");
    let values = differences::<BTreeMap<jiff::ZonedDateTime, u32>, BTreeMap<jiff::ZonedDateTime, i32>>();
    assert!(values.len() == 1 && values[0].ends_with(LAST), "{values:?}");
    assert_eq!(differences::<here::Draw<Box<dyn Drawn>>, there::Draw<Box<dyn Drawn>>>(), of("Draw.layer"));
    let beside = differences::<(Box<dyn Drawn>, u32), (Box<dyn Drawn>, i32)>();
    assert!(beside.len() == 1, "{beside:?}");
}

/// A value that is written as one of a few texts is read as any of them.
#[test]
fn a_text_is_guessed_from_what_the_error_lists() {
    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    struct Colour;

    impl TryFrom<String> for Colour {
        type Error = String;

        fn try_from(text: String) -> Result<Colour, String> {
            Err(text)
        }
    }

    struct Listed;

    impl<'de> Deserialize<'de> for Listed {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Listed, D::Error> {
            match String::deserialize(deserializer)?.as_str() {
                "vermilion" => Ok(Listed),
                other => Err(D::Error::unknown_variant(other, &["sienna", "vermilion"])),
            }
        }
    }
    assert_eq!(Shape::of_value::<(Listed, u8, BTreeMap<u8, Listed>)>().to_string(), "(String, u8, Map<u8, String>)");
    assert_eq!(unchecked::<(Colour, u8)>().len(), 1);
}

#[test]
fn types_of_well_known_forms_are_guessed() {
    macro_rules! only {
        ($($name:ident $text:literal)*) => { [$({
            struct $name;

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                    if String::deserialize(deserializer)? == $text { Ok($name) } else { Err(D::Error::custom("no")) }
                }
            }

            ($text, Shape::of_value::<($name, u8)>().to_string())
        }),*] };
    }
    let known = only! {
        Zoned "1970-01-01T00:00:00+00:00[+00:00]"
        ObjectId "000000000000000000000000"
        Account "0x0000000000000000000000000000000000000000"
        PublicKey "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        Schedule "* * * * *"
        Card "4242424242424242"
    };
    known.iter().for_each(|(text, shape)| assert_eq!(shape, "(String, u8)", "{text}"));
}

#[test]
fn unchecked_parts_are_listed_from_the_outside_inwards_and_not_without_end() {
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Outer {
        deep: Vec<Option<here::Tuple>>,
        again: Box<Option<Outer>>,
        near: here::Tuple,
        known: u8,
    }
    assert_eq!(unchecked::<Outer>(), ["Outer.near.1"], "a type is looked at in the first place where it is");
    assert_eq!(unchecked::<[(here::Tuple, u8); 2]>().len(), 3, "in the struct, behind it, and behind the tuple");
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Wide(
        Key,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
    );
    assert_eq!(unchecked::<Wide>().len(), 25);
    assert_eq!(unchecked::<(Wide, Key)>().len(), 26);
    assert_eq!(unchecked::<(Key, Wide)>().len(), 1);
    assert_eq!(unchecked::<(u8, String, serde_json::Value)>(), [""; 0]);
}

/// Names of any length, as far as they are kept: two that differ somewhere differ.
#[test]
fn a_long_name_is_kept_as_its_beginning_and_its_hash() {
    type Long<T> = BTreeMap<BTreeMap<BTreeMap<BTreeMap<(T, T), T>, (T, T)>, (T, T)>, (T, T)>;
    let (one, other) = (Shape::of_value::<(Key, Long<Key>, u8)>(), Shape::of_value::<(Key, Long<Key>, u16)>());
    assert_ne!(one, other);
    let shown = one.diff(&other)[0].to_string();
    assert!(shown.contains('…') && shown.len() < 3 * 1024, "{shown}");
}

#[test]
fn the_bytes_of_an_unchecked_part_are_those_of_the_documentation() {
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Never(Refuses, u8);

    struct Refuses;

    impl<'de> Deserialize<'de> for Refuses {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Refuses, D::Error> {
            Err(D::Error::custom("no"))
        }
    }

    let shape = Shape::of_value::<Never>();
    let place = "types::shapes::unchecked::the_bytes_of_an_unchecked_part_are_those_of_the_documentation::";
    // Version 1, no result, three parts: a struct of two by position, and two that were not reached, in a type of a name.
    let mut expected = vec![1, 0, 3, 36, 5];
    expected.extend(b"Never");
    expected.extend([2, 2, 1, 2]);
    for name in ["Refuses", "Never"] {
        expected.extend([39, 5, (place.len() + name.len()) as u8]);
        expected.extend([place, name].concat().bytes());
    }
    let bytes: serde_bytes::ByteBuf = postcard::from_bytes(&postcard::to_stdvec(&shape).unwrap()).unwrap();
    assert_eq!(bytes, expected);
    assert_eq!(postcard::from_bytes::<Shape>(&postcard::to_stdvec(&bytes).unwrap()).unwrap(), shape);
}
