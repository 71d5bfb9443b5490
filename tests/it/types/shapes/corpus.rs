//! A hundred types of all kinds: each is looked into entirely, but for those listed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::BinaryHeap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::LinkedList;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::rc::Weak;
use std::time::Duration;

use actix_hermod::Shape;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;

macro_rules! types {
    ($($item:item)*) => { $(
        #[derive(Deserialize)]
        #[allow(dead_code)]
        $item
    )* };
}

// Structs.
types! {
    struct Nothing;
    struct Braces {}
    struct Parens();
    struct Meters(f64);
    struct Pair(u8, String);
    struct One { only: u8 }
    struct Scalars {
        a: bool, b: i8, c: i16, d: i32, e: i64, f: i128, g: u8, h: u16, i: u32, j: u64, k: u128, l: f32, m: f64,
        n: char, o: String, p: (), q: usize, r: isize,
    }
    struct Options { a: Option<u8>, b: Option<Option<u8>>, c: Option<()>, d: Option<Nothing>, e: Option<Box<Options>> }
    struct Lists { a: Vec<u8>, b: VecDeque<u16>, c: LinkedList<u32>, d: BinaryHeap<u64>, e: Box<[i8]>, f: Vec<Vec<()>> }
    struct Sets { a: HashSet<String>, b: BTreeSet<(u8, u8)>, c: BTreeSet<Option<char>> }
    struct Maps { a: HashMap<String, u8>, b: BTreeMap<u8, Vec<String>>, c: HashMap<(u8, char), HashMap<u8, ()>> }
    struct Tuples { a: (u8,), b: (u8, (u16, (u32, (u64,)))), c: ((), ()), d: (u8, u8, u8, u8, u8, u8, u8, u8, u8, u8) }
    struct Arrays { a: [u8; 0], b: [u8; 1], c: [String; 3], d: [[u8; 4]; 4], e: [Option<Box<u8>>; 32] }
    struct Pointers { a: Box<u8>, b: Box<str>, c: Cow<'static, str>, d: Cow<'static, [u8]>, e: Box<Box<Box<()>>> }
    struct Ghost { of: PhantomData<String>, n: u8 }
    struct Raw { r#type: u8, r#fn: u8 }
    struct Blob { #[serde(with = "serde_bytes")] bytes: Vec<u8>, #[serde(with = "serde_bytes")] maybe: Option<Vec<u8>> }
    struct Deep { a: ((((Vec<Option<HashMap<u8, Vec<(u8, Option<One>)>>>>,),),),) }
    struct Cells { a: std::cell::Cell<u8>, b: std::cell::RefCell<String>, c: std::sync::Mutex<u8>, d: std::sync::RwLock<u8> }
    struct Atomics { a: std::sync::atomic::AtomicBool, b: std::sync::atomic::AtomicU64 }
    struct Wraps { a: std::num::Wrapping<u8>, b: std::cmp::Reverse<u16>, c: std::num::Saturating<u32> }
    struct Times { a: Duration, b: std::time::SystemTime, c: Option<Duration> }
    struct Nets {
        a: std::net::IpAddr, b: std::net::Ipv4Addr, c: std::net::Ipv6Addr, d: std::net::SocketAddr,
        e: std::net::SocketAddrV4, f: std::net::SocketAddrV6,
    }
    struct Ranges {
        a: std::ops::Range<u8>, b: std::ops::RangeInclusive<u16>, c: std::ops::RangeFrom<u32>, d: std::ops::RangeTo<u64>,
        e: std::ops::Bound<char>,
    }
    struct NonZeroes { a: NonZeroU32, b: std::num::NonZeroI8, c: Option<std::num::NonZeroU128>, d: Vec<std::num::NonZeroU8> }
    struct Texts { a: std::path::PathBuf, b: std::ffi::CString, c: Box<std::path::Path> }
    struct Outcome { a: Result<u8, String>, b: Result<(), Result<Nothing, Meters>> }
    struct Ids { a: uuid::Uuid, b: Option<uuid::Uuid>, c: HashMap<uuid::Uuid, uuid::Uuid> }
    struct Dates {
        a: chrono::DateTime<chrono::Utc>, b: chrono::NaiveDate, c: chrono::NaiveTime, d: chrono::NaiveDateTime,
        e: chrono::Weekday, f: chrono::Month, g: chrono::DateTime<chrono::FixedOffset>,
    }
    struct Links { a: url::Url, b: Vec<url::Url>, c: Option<Box<url::Url>> }
    struct Buffers { a: bytes::Bytes, b: bytes::BytesMut }
    struct Ports { a: actix_hermod::NodeId, b: actix_hermod::DropReason, c: actix_hermod::Stats }
}

// Enums.
types! {
    enum Single { Only }
    enum Units { A, B, C, D, E }
    enum Newtypes { A(u8), B(String), C(Option<Box<Newtypes>>), D(Units) }
    enum TupleVariants { A(u8, u16), B(), C(String, Vec<u8>, Nothing) }
    enum StructVariants { A { x: u8 }, B {}, C { x: String, y: Option<Box<StructVariants>> } }
    enum Mixed { A, B(u8), C(u8, u8), D { x: u8 }, E(Box<Mixed>), F(Vec<Mixed>) }
    enum Outer { A(Mixed), B(Units), C { inner: Newtypes, other: TupleVariants }, D(Box<Outer>, Box<Outer>) }
    enum OfTuples { A((u8, u8)), B([u8; 4]), C(((),)) }
    enum Numbered { A = 5, B = 7, C = -1 }
}

// Attributes.
types! {
    #[serde(rename = "Other")] struct Renamed { #[serde(rename = "x")] y: u8 }
    #[serde(rename_all = "camelCase")] struct Camel { first_field: u8, second_field: u8 }
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")] enum Loud { FirstOne, SecondOne { inner_field: u8 } }
    #[serde(transparent)] struct Transparent { inner: Vec<One> }
    #[serde(default)] #[derive(Default)] struct Defaults { a: u8, #[serde(default)] b: Option<u8> }
    #[serde(deny_unknown_fields)] struct Strict { a: u8, b: u8 }
    struct Skipping { a: u8, #[serde(skip)] b: Option<Weak<u8>>, #[serde(skip_deserializing)] c: u8, d: u8 }
    enum SkippingVariants { A, #[serde(skip)] B, C(#[serde(skip)] u8, u16) }
    struct Aliased { #[serde(alias = "b", alias = "c")] z: u8, #[serde(alias = "d")] e: Option<Box<Aliased>>, f: Even }
    enum AliasedVariants { #[serde(alias = "x", alias = "A")] B(u8), #[serde(alias = "D")] C { #[serde(alias = "m")] n: u8, o: u8 }, Plain }
    enum AliasedOther { A, #[serde(alias = "Bee")] B(u8), #[serde(other)] Unknown }
    enum Catching { A, B, #[serde(other)] Unknown }
    #[serde(from = "u8")] struct From8(u8);
    #[serde(try_from = "u8")] struct Even(u8);
    #[serde(try_from = "(u8, u8)")] struct Ordered(u8, u8);
    #[serde(try_from = "Mixed")] struct NotA(Mixed);
    #[serde(try_from = "Vec<u8>")] struct NotEmpty(Vec<u8>);
    #[serde(try_from = "String")] #[derive(PartialEq, Eq, Hash)] struct Word(String);
    #[serde(try_from = "Option<u8>")] struct Filled(u8);
    #[serde(try_from = "HashMap<String, One>")] struct Two(HashMap<String, One>);
    #[serde(remote = "Duration")] struct Remote { #[serde(getter = "Duration::as_secs")] secs: u64 }
    struct With { #[serde(with = "Remote")] a: Duration, #[serde(deserialize_with = "half")] b: u8 }
    struct Picky { a: Even, b: Ordered, c: NotA, d: NotEmpty, e: Word, f: Filled, g: Two, behind: Behind }
    struct Behind { all: Vec<Picky>, this: Option<Even> }
    #[serde(bound = "T: DeserializeOwned")] struct Bounded<T> { value: T }
}

impl From<Remote> for Duration {
    fn from(remote: Remote) -> Duration {
        Duration::from_secs(remote.secs)
    }
}

impl From<u8> for From8 {
    fn from(n: u8) -> From8 {
        From8(n)
    }
}

macro_rules! accepting {
    ($($made:ident from $from:ty: $value:ident => $accepted:expr, $make:expr;)*) => { $(
        impl TryFrom<$from> for $made {
            type Error = &'static str;
            fn try_from($value: $from) -> Result<$made, &'static str> {
                if $accepted { Ok($make) } else { Err("not that one") }
            }
        }
    )* };
}

accepting! {
    Even from u8: n => n.is_multiple_of(2) && n > 0, Even(n);
    Ordered from (u8, u8): pair => pair.0 < pair.1, Ordered(pair.0, pair.1);
    NotA from Mixed: mixed => !matches!(mixed, Mixed::A | Mixed::B(_)), NotA(mixed);
    NotEmpty from Vec<u8>: bytes => !bytes.is_empty(), NotEmpty(bytes);
    Word from String: word => word.len() == 3, Word(word);
    Filled from Option<u8>: n => n.is_some(), Filled(n.unwrap_or_default());
    Two from HashMap<String, One>: map => map.len() == 2 || map.len() == 1, Two(map);
}

fn half<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    u16::deserialize(deserializer).map(|n| (n / 2) as u8)
}

// Generics and recursion.
types! {
    struct Wrap<T> { value: T }
    struct Twice<A, B = A> { a: A, b: B }
    enum Either<L, R> { Left(L), Right(R) }
    struct Tree { left: Option<Box<Tree>>, right: Option<Box<Tree>>, label: String }
    struct Rose(Vec<Rose>);
    struct Chain(u8, Option<Box<Chain>>);
    struct Json { value: JsonValue }
    enum JsonValue { Null, Bool(bool), Number(f64), Text(String), List(Vec<JsonValue>), Object(BTreeMap<String, JsonValue>) }
    enum Expr {
        Add(Box<Expr>, Box<Expr>), Neg(Box<Expr>), Call { name: String, arguments: Vec<Expr> },
        If { condition: Box<Cond>, then: Box<Expr>, otherwise: Option<Box<Expr>> }, Literal(i64),
    }
    enum Cond { Less(Box<Expr>, Box<Expr>), Not(Box<Cond>), All(Vec<Cond>), Yes }
    struct Even2 { next: Option<Box<Odd2>> }
    struct Odd2 { next: Option<Box<Even2>>, n: u8 }
    enum LastEnds { A(Box<LastEnds>), B(Box<LastEnds>, Box<LastEnds>), C { deeper: Box<Deeper> }, End }
    struct Deeper { one: LastEnds, two: Even2, picky: Even }
    struct Linked<T> { item: T, next: Option<Box<Linked<T>>> }
    struct Graph { nodes: HashMap<u32, Vertex>, root: Vertex }
    struct Vertex { edges: BTreeMap<String, Vertex>, back: Vec<Graph> }
}

// Types with parts that are not looked into.
types! {
    struct AnyJson { before: u8, value: serde_json::Value, after: String }
    #[serde(untagged)] enum Untagged { A(u8), B(String) }
    #[serde(tag = "t")] enum Tagged { A { x: u8 }, B { y: u8 } }
    #[serde(tag = "t", content = "c")] enum Adjacent { A(u8), B(String) }
    struct Flat { own: u8, #[serde(flatten)] inner: One }
    #[serde(try_from = "u8")] struct Never(u8);
    struct HasNever { before: u8, never: Never, after: Units }
    struct HasNeverInTuple(u8, Never, String);
}

accepting! {
    Never from u8: n => u16::from(n) > 300, Never(n);
}

/// The words that stand for what was not looked into.
fn complaints<T: DeserializeOwned>() -> Vec<&'static str> {
    let text = Shape::of_value::<T>().to_string();
    let words = ["opaque(not reached: ", "opaque(too deep: ", "opaque(too large: ", "opaque(varies: ", "any"];
    let is_in = |word: &&str| text.split(|c: char| " ,\n<>{}".contains(c)).any(|part| part.ends_with(word));
    words.into_iter().filter(|word| is_in(word) || word.contains(' ') && text.contains(word)).collect()
}

macro_rules! entirely {
    ($($type:ty),* $(,)?) => { [$((stringify!($type), complaints::<$type>())),*] };
}

#[test]
fn a_hundred_types_are_looked_into_entirely() {
    let types = entirely![
        Nothing, Braces, Parens, Meters, Pair, One, Scalars, Options, Lists, Sets, Maps, Tuples, Arrays, Pointers,
        Ghost, Raw, Blob, Deep, Cells, Atomics, Wraps, Times, Nets, Ranges, NonZeroes, Texts, Outcome, Ids, Dates,
        Links, Buffers, Ports, Single, Units, Newtypes, TupleVariants, StructVariants, Mixed, Outer, OfTuples,
        Numbered, Renamed, Camel, Loud, Transparent, Defaults, Strict, Skipping, SkippingVariants, Aliased, AliasedVariants, AliasedOther,
        Catching,
        From8, Even, Ordered, NotA, NotEmpty, Word, Filled, Two, With, Picky, Behind, Bounded<u8>, Bounded<Picky>,
        Wrap<u8>, Wrap<String>, Wrap<Wrap<Wrap<u8>>>, Twice<u8>, Twice<Tree, Rose>, Either<u8, Either<String, Mixed>>,
        Either<Even, Ordered>, Tree, Rose, Chain, Json, JsonValue, Expr, Cond, Even2, Odd2, LastEnds, Deeper,
        Linked<u8>, Linked<LastEnds>, Graph, Vertex, Option<Mixed>, Vec<Picky>, HashMap<Word, Outer>, [Tree; 3],
        (Expr, Json, Expr), Result<Graph, Outer>, Box<Dates>, Linked<Linked<Either<Dates, Nets>>>,
        Twice<Option<Units>, Vec<Units>>, BTreeMap<u8, Result<Expr, Picky>>, Wrap<[LastEnds; 2]>,
        Either<Wrap<Even>, Wrap<Word>>, Twice<NotA, NotA>, Vec<(Two, Filled)>,
    ];
    assert!(types.len() >= 100, "only {} types", types.len());
    let opaque: Vec<_> = types.iter().filter(|(_, complaints)| !complaints.is_empty()).collect();
    assert!(opaque.is_empty(), "{opaque:#?}");
}

#[test]
fn what_cannot_be_looked_into_is_named_and_the_rest_goes_on() {
    let types = entirely![AnyJson, Untagged, Tagged, Adjacent, Flat, HasNever, HasNeverInTuple];
    let named: Vec<(&str, &[&str])> = types.iter().map(|(name, found)| (*name, found.as_slice())).collect();
    assert_eq!(
        named,
        [
            ("AnyJson", &["any"][..]),
            ("Untagged", &["any"]),
            ("Tagged", &["any"]),
            ("Adjacent", &["any"]),
            ("Flat", &["any"]),
            ("HasNever", &[]),
            ("HasNeverInTuple", &["opaque(not reached: "]),
        ]
    );
    let json = Shape::of_value::<AnyJson>().to_string();
    assert!(json.contains("before: u8,\n    value: any,\n    after: String,"), "{json}");
    let never = Shape::of_value::<HasNever>().to_string();
    assert!(never.contains("before: u8,\n    never: u8,\n    after: Units,"), "{never}");
    assert!(never.contains("enum Units {\n    A,\n    B,\n    C,\n    D,\n    E,\n}"), "{never}");
}

#[test]
fn shapes_are_shown_as_definitions() {
    let shown = [
        (Shape::of_value::<Vec<Option<(u8, String)>>>(), "Vec<Option<(u8, String)>>"),
        (Shape::of_value::<[u8; 16]>(), "[u8; 16]"),
        (Shape::of_value::<HashMap<char, ()>>(), "Map<char, ()>"),
        (
            Shape::of_value::<Aliased>(),
            "Aliased\n\nstruct Aliased {\n    z: u8,\n    e: Option<Aliased>,\n    f: u8,\n}",
        ),
        (
            Shape::of_value::<(u8, Option<AliasedVariants>)>(),
            "(u8, Option<AliasedVariants>)\n\nenum AliasedVariants {\n    A(u8),\n    C {\n        n: u8,\n        \
             o: u8,\n    },\n    Plain,\n}",
        ),
        (Shape::of_value::<AliasedOther>(), "AliasedOther\n\nenum AliasedOther {\n    A,\n    B(u8),\n    Unknown,\n}"),
        (Shape::of_value::<Pair>(), "Pair\n\nstruct Pair(u8, String)"),
        (
            Shape::of_value::<Mixed>(),
            "Mixed\n\nenum Mixed {\n    A,\n    B(u8),\n    C(u8, u8),\n    D {\n        x: u8,\n    },\n    \
             E(Mixed),\n    F(Vec<Mixed>),\n}",
        ),
        (
            Shape::of_value::<Twice<Wrap<u8>, Wrap<u16>>>(),
            "Twice\n\nstruct Twice {\n    a: Wrap#1,\n    b: Wrap#2,\n}\n\nstruct Wrap#1 {\n    value: u8,\n}\n\n\
             struct Wrap#2 {\n    value: u16,\n}",
        ),
    ];
    for (shape, text) in shown {
        assert_eq!(shape.to_string(), text);
    }
}
