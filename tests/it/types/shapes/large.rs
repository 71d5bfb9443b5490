//! Large types: complete, or opaque where they are not, and done soon.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use actix_hermod::Shape;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde::de::EnumAccess;
use serde::de::VariantAccess;
use serde::de::Visitor;

/// The content of the variants of an [`Enum`].
trait Inside: Sized {
    fn read<'de, A: VariantAccess<'de>>(index: u32, access: A) -> Result<(), A::Error>;
}

/// An enum of `N` variants, read as derived code reads it.
struct Enum<const N: usize, T>(PhantomData<T>);

struct Variants<const N: usize, T>(PhantomData<T>);

impl<'de, const N: usize, T: Inside> Visitor<'de> for Variants<N, T> {
    type Value = Enum<N, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an enum")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Enum<N, T>, A::Error> {
        let (index, access) = data.variant::<u32>()?;
        T::read(index, access).map(|()| Enum(PhantomData))
    }
}

impl<'de, const N: usize, T: Inside> Deserialize<'de> for Enum<N, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Enum<N, T>, D::Error> {
        deserializer.deserialize_enum("Enum", names(N), Variants(PhantomData))
    }
}

/// The names of that many variants; the same each time, as those of a type are.
fn names(count: usize) -> &'static [&'static str] {
    use std::sync::Mutex;
    static KNOWN: Mutex<Option<HashMap<usize, &'static [&'static str]>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap();
    known.get_or_insert_default().entry(count).or_insert_with(|| {
        let names: Vec<&'static str> = (0..count).map(|at| &*format!("V{at}").leak()).collect();
        names.leak()
    })
}

fn shape<T: DeserializeOwned>() -> String {
    Shape::of_value::<T>().to_string()
}

fn opaque_parts(text: &str) -> usize {
    text.matches("opaque").count()
}

/// Each variant holds the same type.
struct Each<T>(PhantomData<T>);

impl<T: DeserializeOwned> Inside for Each<T> {
    fn read<'de, A: VariantAccess<'de>>(_: u32, access: A) -> Result<(), A::Error> {
        access.newtype_variant::<T>().map(drop)
    }
}

/// Variants of different kinds.
struct Mixed;

impl Inside for Mixed {
    fn read<'de, A: VariantAccess<'de>>(index: u32, access: A) -> Result<(), A::Error> {
        match index % 4 {
            0 => access.unit_variant(),
            1 => access.newtype_variant::<u8>().map(drop),
            2 => access.newtype_variant::<Vec<Option<String>>>().map(drop),
            _ => access.newtype_variant::<Enum<1000, Mixed>>().map(drop),
        }
    }
}

/// All variants but the last contain the enum itself.
struct LastEnds<const N: usize>;

impl<const N: usize> Inside for LastEnds<N> {
    fn read<'de, A: VariantAccess<'de>>(index: u32, access: A) -> Result<(), A::Error> {
        if index as usize == N - 1 {
            access.unit_variant()
        } else {
            access.newtype_variant::<Box<Enum<N, LastEnds<N>>>>().map(drop)
        }
    }
}

/// A chain of types of which each has two others in it.
struct Level<const N: usize>;

macro_rules! levels {
    ($($level:literal $below:literal)*) => { $(
        impl<'de> Deserialize<'de> for Level<$level> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <(Level<$below>, Option<Level<$below>>)>::deserialize(deserializer).map(|_| Level)
            }
        }
    )* };
}

impl<'de> Deserialize<'de> for Level<0> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Enum::<100, Mixed>::deserialize(deserializer).map(|_| Level)
    }
}

levels! { 1 0 2 1 3 2 4 3 5 4 6 5 7 6 8 7 9 8 10 9 11 10 12 11 }

#[test]
fn an_enum_of_a_thousand_variants_is_complete() {
    let text = shape::<Enum<1000, Mixed>>();
    assert_eq!(opaque_parts(&text), 0);
    assert!(text.contains("V999(Enum)"), "{text}");
}

#[test]
fn a_hundred_times_a_hundred_variants_are_complete() {
    let text = shape::<Enum<100, Each<(Enum<100, Mixed>, Enum<101, Mixed>, Option<Enum<102, Each<String>>>)>>>();
    assert_eq!(opaque_parts(&text), 0, "{text}");
    for last in ["V99((Enum#2, Enum#4, Option<Enum#5>))", "V99(Enum#3)", "V100,", "V101(String)"] {
        assert!(text.contains(last), "{last}: {text}");
    }
}

#[test]
fn ten_thousand_variants_are_complete() {
    assert_eq!(opaque_parts(&shape::<Enum<10_000, Each<Option<u8>>>>()), 0);
}

#[test]
fn recursive_variants_of_which_only_the_last_ends_are_complete() {
    let text = shape::<(Enum<1000, LastEnds<1000>>, u8)>();
    assert_eq!(opaque_parts(&text), 0, "{text}");
    assert!(text.starts_with("(Enum, u8)") && text.contains("V998(Enum),\n    V999,"), "{text}");
}

#[test]
fn types_that_spread_are_looked_at_once() {
    assert_eq!(opaque_parts(&shape::<Level<12>>()), 0);
}

macro_rules! nested {
    ($inner:ty;) => { $inner };
    ($inner:ty; $_:tt $($rest:tt)*) => { nested!(($inner,); $($rest)*) };
}

#[test]
fn a_nest_as_deep_as_a_message_may_be_is_complete_and_a_deeper_one_is_opaque() {
    type Ten<T> = nested!(T; . . . . . . . . . .);
    type Hundred<T> = Ten<Ten<Ten<Ten<Ten<Ten<Ten<Ten<Ten<Ten<T>>>>>>>>>>;
    // 120 levels, and 130.
    type Deep = Hundred<Ten<Ten<u8>>>;
    type TooDeep = Hundred<Ten<Ten<Ten<u8>>>>;
    let deep = Shape::of_value::<Deep>();
    let too_deep = Shape::of_value::<TooDeep>();
    let (deep, too_deep) = (bytes_of(&deep), bytes_of(&too_deep));
    assert!(!contains_opaque(&deep) && contains_opaque(&too_deep));
    assert_eq!(opaque_parts(&shape::<(Option<TooDeep>, u8)>()), 0, "it is shown by an ellipsis");
}

/// The canonical encoding.
fn bytes_of(shape: &Shape) -> Vec<u8> {
    postcard::to_stdvec(shape).unwrap()
}

/// Whether there is a part that is too deep: tag 39 and reason 6, before a name. The rest are tuples of one part.
fn contains_opaque(encoded: &[u8]) -> bool {
    encoded.windows(2).any(|bytes| bytes == [39, 6])
}

#[test]
fn an_array_has_so_many_parts_and_one_that_is_too_long_is_opaque() {
    struct Long<const N: usize>;

    struct Parts<const N: usize>;

    impl<'de, const N: usize> Visitor<'de> for Parts<N> {
        type Value = Long<N>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut parts: A) -> Result<Long<N>, A::Error> {
            for _ in 0..N {
                parts.next_element::<u8>()?;
            }
            Ok(Long)
        }
    }

    impl<'de, const N: usize> Deserialize<'de> for Long<N> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_tuple(N, Parts)
        }
    }
    assert_eq!(shape::<(Long<4096>, u8)>(), "([u8; 4096], u8)");
    assert_eq!(shape::<Long<100_000>>(), "[u8; 100000]");
    let endless = shape::<(Long<{ usize::MAX }>, u8)>();
    assert!(endless.len() < 10_000 && endless.contains("opaque(too large: ("), "{endless}");
}
