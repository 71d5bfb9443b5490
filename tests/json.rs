//! Messages as JSON, by their shape alone: what a shape makes of JSON is what the type's own `Serialize` writes, and what
//! it makes of bytes is what `serde_json` makes of the value. And where it cannot be done, the place is named.
#![cfg(feature = "json")]

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::LinkedList;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::num::Wrapping;
use std::ops::Bound;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use actix::Message;
use actix_hermod::Address;
use actix_hermod::JsonError;
use actix_hermod::Shape;
use proptest::prelude::*;
use proptest::strategy::Union;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

// ---- types

/// A message that is what it carries.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Carrier<T>(T);

fn shape_of<T: Serialize + DeserializeOwned + Send + 'static>() -> Shape {
    Shape::of::<Carrier<T>>()
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Point {
    x: i32,
    y: i32,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, PartialOrd, Debug)]
struct Meters(f64);

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Id(u64);

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Pair(u8, String);

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Nothing;

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Void {}

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Colour {
    Red,
    Green,
    Blue,
    #[serde(rename = "dark green")]
    DarkGreen,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
enum Figure {
    Empty,
    Circle(Meters),
    Segment(Point, Point),
    Rectangle { corner: Point, colour: Option<Colour> },
    Single((u8,)),
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Drawing {
    title: String,
    figures: Vec<Figure>,
    layers: BTreeMap<Id, Vec<Colour>>,
    #[serde(rename = "type")]
    kind: Colour,
    bytes: ByteBuf,
    #[serde(skip)]
    cache: u32,
    marker: PhantomData<u8>,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Tree {
    value: u8,
    children: Vec<Tree>,
    next: Option<Box<Tree>>,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Wrap<T> {
    inner: T,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(transparent)]
struct Clear {
    only: Point,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(try_from = "u8", into = "u8")]
struct Even(u8);

impl TryFrom<u8> for Even {
    type Error = String;

    fn try_from(n: u8) -> Result<Even, String> {
        if n.is_multiple_of(2) { Ok(Even(n)) } else { Err(format!("{n} is odd")) }
    }
}

impl From<Even> for u8 {
    fn from(even: Even) -> u8 {
        even.0
    }
}

// ---- their values

fn finite() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("JSON has no such number", |float| float.is_finite())
}

fn points() -> impl Strategy<Value = Point> {
    any::<(i32, i32)>().prop_map(|(x, y)| Point { x, y })
}

fn colours() -> impl Strategy<Value = Colour> {
    prop::sample::select(vec![Colour::Red, Colour::Green, Colour::Blue, Colour::DarkGreen])
}

fn figures() -> impl Strategy<Value = Figure> {
    Union::new([
        Just(Figure::Empty).boxed(),
        finite().prop_map(|radius| Figure::Circle(Meters(radius))).boxed(),
        (points(), points()).prop_map(|(from, to)| Figure::Segment(from, to)).boxed(),
        (points(), prop::option::of(colours()))
            .prop_map(|(corner, colour)| Figure::Rectangle { corner, colour })
            .boxed(),
        any::<u8>().prop_map(|n| Figure::Single((n,))).boxed(),
    ])
}

fn drawings() -> impl Strategy<Value = Drawing> {
    let layers = prop::collection::btree_map(any::<u64>().prop_map(Id), prop::collection::vec(colours(), 0..4), 0..12);
    let figures = prop::collection::vec(figures(), 0..6);
    (any::<String>(), figures, layers, colours(), any::<Vec<u8>>()).prop_map(|(title, figures, layers, kind, bytes)| {
        Drawing { title, figures, layers, kind, bytes: ByteBuf::from(bytes), cache: 0, marker: PhantomData }
    })
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = any::<u8>().prop_map(|value| Tree { value, children: vec![], next: None });
    leaf.prop_recursive(6, 24, 3, |inner| {
        let next = prop::option::of(inner.clone().prop_map(Box::new));
        (any::<u8>(), prop::collection::vec(inner, 0..3), next).prop_map(|(value, children, next)| Tree {
            value,
            children,
            next,
        })
    })
}

fn maps<K: Arbitrary + Ord>() -> impl Strategy<Value = BTreeMap<K, u16>> {
    prop::collection::btree_map(any::<K>(), any::<u16>(), 0..20)
}

// ---- equal to the type's own serializer, both ways

#[track_caller]
fn agrees<T: Serialize + DeserializeOwned + Send + 'static>(value: &T) {
    let shape = shape_of::<T>();
    let json = serde_json::to_value(value).expect("serde_json can write it");
    let body = postcard::to_stdvec(value).expect("postcard can write it");
    assert_eq!(shape.encode_json(&json), Ok(body.clone()), "{json}");
    assert_eq!(shape.decode_json(&body), Ok(json));
}

macro_rules! agree {
    ($($name:ident: $strategy:expr;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(64))]
            $(
                #[test]
                fn $name(value in $strategy) {
                    agrees(&value);
                }
            )*
        }
    };
}

agree! {
    truths_agree: any::<bool>();
    signed_numbers_agree: any::<(i8, i16, i32, i64, isize)>();
    unsigned_numbers_agree: any::<(u8, u16, u32, u64, usize)>();
    wide_numbers_within_jsons_range_agree: any::<(i64, u64)>().prop_map(|(i, u)| (i128::from(i), u128::from(u)));
    floats_agree: (finite(), any::<f32>().prop_filter("no such number", |float| float.is_finite()));
    chars_agree: any::<char>();
    texts_agree: any::<String>();
    borrowed_texts_agree: any::<String>().prop_map(Cow::<'static, str>::Owned);
    nothing_agrees: Just(());
    options_agree: any::<Option<u32>>();
    lists_agree: any::<Vec<i32>>();
    lists_of_lists_agree: prop::collection::vec(any::<Vec<String>>(), 0..4);
    lists_of_nothing_agree: prop::collection::vec(Just(()), 0..300);
    queues_agree: any::<VecDeque<u16>>();
    linked_lists_agree: any::<LinkedList<char>>();
    sets_agree: any::<BTreeSet<i16>>();
    bytes_agree: any::<Vec<u8>>().prop_map(ByteBuf::from);
    arrays_agree: any::<[u8; 16]>();
    tuples_agree: any::<(u8, (String, bool), (i64,))>();
    maps_by_text_agree: maps::<String>();
    maps_by_signed_number_agree: maps::<i32>();
    maps_by_unsigned_number_agree: maps::<u128>();
    maps_by_byte_agree: maps::<i8>();
    maps_by_char_agree: maps::<char>();
    maps_by_truth_agree: maps::<bool>();
    maps_by_variant_agree: prop::collection::btree_map(colours(), any::<u16>(), 0..4);
    maps_by_newtype_agree: prop::collection::btree_map(any::<u64>().prop_map(Id), points(), 0..8);
    hash_maps_with_one_entry_agree: any::<(String, u8)>().prop_map(|entry| HashMap::from([entry]));
    structs_agree: points();
    newtypes_agree: finite().prop_map(Meters);
    tuple_structs_agree: any::<(u8, String)>().prop_map(|(n, text)| Pair(n, text));
    unit_structs_agree: Just(Nothing);
    empty_structs_agree: Just(Void {});
    enums_agree: figures();
    variants_without_content_agree: colours();
    drawings_agree: drawings();
    trees_agree: trees();
    generics_agree: any::<(Vec<u8>, Option<String>)>().prop_map(|inner| Wrap { inner: Wrap { inner } });
    boxes_agree: points().prop_map(Box::new);
    transparent_structs_agree: points().prop_map(|only| Clear { only });
    converted_types_agree: (0..128u8).prop_map(|n| Even(n * 2));
    results_agree: any::<Result<u32, String>>();
    nonzero_numbers_agree: (1..=u32::MAX).prop_map(|n| NonZeroU32::new(n).unwrap());
    wrapped_numbers_agree: any::<(u32, i64)>().prop_map(|(a, b)| (Wrapping(a), Reverse(b)));
    durations_agree: any::<Duration>();
    times_agree: any::<u32>().prop_map(|s| SystemTime::UNIX_EPOCH + Duration::from_secs(s.into()));
    ranges_agree: any::<(u32, u32)>().prop_map(|(start, end)| Range { start, end });
    bounds_agree: any::<u8>().prop_map(|n| (Bound::Included(n), Bound::Excluded(n), Bound::<u8>::Unbounded));
    paths_agree: any::<String>().prop_map(PathBuf::from);
}

// ---- where JSON is not what serde_json makes of the type

#[test]
fn numbers_too_wide_for_json_are_texts() {
    let shape = shape_of::<(i128, u128)>();
    let body = postcard::to_stdvec(&(i128::MIN, u128::MAX)).unwrap();
    let json = json!(["-170141183460469231731687303715884105728", "340282366920938463463374607431768211455"]);
    assert_eq!(shape.decode_json(&body), Ok(json.clone()));
    assert_eq!(shape.encode_json(&json), Ok(body));
    assert_eq!(shape.encode_json(&json!(["-3", 7])), Ok(postcard::to_stdvec(&(-3i128, 7u128)).unwrap()));
    let refused = shape.encode_json(&json!([0, "-1"])).unwrap_err();
    assert_eq!(refused.to_string(), r#"Carrier.1: expected u128, found string "-1""#);
}

#[test]
fn floats_that_are_no_numbers_are_null_and_null_is_no_float() {
    let shape = shape_of::<(f64, f32)>();
    for (wide, narrow) in [(f64::NAN, f32::NAN), (f64::INFINITY, f32::NEG_INFINITY)] {
        let value = (wide, narrow);
        let json = shape.decode_json(&postcard::to_stdvec(&value).unwrap()).unwrap();
        assert_eq!(json, serde_json::to_value(value).unwrap());
        assert_eq!(json, json!([null, null]));
        let refused = shape.encode_json(&json).unwrap_err();
        assert_eq!(refused.to_string(), "Carrier.0: expected f64, found null");
    }
}

#[test]
fn types_that_ask_who_reads_are_as_programs_see_them() {
    let uuid = Uuid::from_u128(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
    let (shape, body) = (shape_of::<Uuid>(), postcard::to_stdvec(&uuid).unwrap());
    let json = Value::from((0..16).collect::<Vec<u8>>());
    assert_eq!(shape.decode_json(&body), Ok(json.clone()));
    assert_eq!(shape.encode_json(&json), Ok(body));

    let address = IpAddr::from([127, 0, 0, 1]);
    let (shape, body) = (shape_of::<IpAddr>(), postcard::to_stdvec(&address).unwrap());
    let json = json!({ "V4": [127, 0, 0, 1] });
    assert_eq!(shape.decode_json(&body), Ok(json.clone()));
    assert_eq!(shape.encode_json(&json), Ok(body));
}

#[test]
fn options_of_what_looks_like_nothing_are_none() {
    let shape = shape_of::<Option<Option<u8>>>();
    assert_eq!(shape.decode_json(&postcard::to_stdvec(&Some(None::<u8>)).unwrap()), Ok(json!(null)));
    assert_eq!(shape.encode_json(&json!(null)), Ok(postcard::to_stdvec(&None::<Option<u8>>).unwrap()));
    assert_eq!(shape.encode_json(&json!(7)), Ok(postcard::to_stdvec(&Some(Some(7u8))).unwrap()));
}

#[test]
fn maps_keep_the_later_of_two_equal_keys() {
    let shape = shape_of::<HashMap<u8, u8>>();
    let twice = postcard::to_stdvec(&vec![(1u8, 10u8), (2, 20), (1, 30)]).unwrap();
    assert_eq!(shape.decode_json(&twice), Ok(json!({ "1": 30, "2": 20 })));
}

#[test]
fn options_may_be_left_out_and_fields_may_stand_in_any_order() {
    let shape = shape_of::<Figure>();
    let corner = Point { x: 1, y: 2 };
    let body = postcard::to_stdvec(&Figure::Rectangle { corner, colour: None }).unwrap();
    let json: Value = serde_json::from_str(r#"{ "Rectangle": { "corner": { "y": 2, "x": 1 } } }"#).unwrap();
    assert_eq!(shape.encode_json(&json), Ok(body));
}

// ---- errors

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Result<Point, Colour>")]
struct Ping {
    points: Vec<Point>,
    figures: BTreeMap<String, Figure>,
    small: u8,
    narrow: f32,
    letter: char,
}

/// The answer about a ping that is `change`d.
#[track_caller]
fn complaint(change: impl FnOnce(&mut Value)) -> String {
    let mut ping = json!({ "points": [{ "x": 1, "y": 2 }], "figures": {}, "small": 1, "narrow": 0.5, "letter": "a" });
    let shape = Shape::of::<Ping>();
    assert!(shape.encode_json(&ping).is_ok(), "it is well before it is changed");
    change(&mut ping);
    shape.encode_json(&ping).expect_err("it is not well after it was changed").to_string()
}

#[test]
fn an_error_in_json_names_the_place_and_what_was_expected() {
    let point = |x: Value| json!([{ "x": 0, "y": 0 }, { "x": x, "y": 0 }]);
    let figure = |figure: Value| json!({ "a": "Empty", "b": figure });
    for (field, json, expected) in [
        ("points", point(json!("one")), r#"Ping.points[1].x: expected i32, found string "one""#),
        ("points", point(json!(1.5)), "Ping.points[1].x: expected i32, found number 1.5"),
        ("points", point(json!(1u64 << 31)), "Ping.points[1].x: 2147483648 is out of the range of i32"),
        ("points", json!([{ "x": 0 }]), "Ping.points[0].y: the field is missing"),
        ("points", json!([{ "x": 0, "y": 0, "z": 0 }]), "Ping.points[0].z: there is no such field"),
        ("points", json!([[0, 0]]), "Ping.points[0]: expected an object for Point, found array of 2"),
        ("points", json!({}), "Ping.points: expected an array, found object"),
        ("figures", json!([]), "Ping.figures: expected an object, found array of 0"),
        ("figures", figure(json!("Oval")), r#"Ping.figures["b"]: there is no variant "Oval""#),
        ("figures", figure(json!({ "Empty": null })), r#"Ping.figures["b"]::Empty: expected "Empty", found object"#),
        (
            "figures",
            figure(json!("Circle")),
            r#"Ping.figures["b"]::Circle: expected {"Circle": …}, found string "Circle""#,
        ),
        ("figures", figure(json!({ "Circle": [] })), r#"Ping.figures["b"]::Circle: expected f64, found array of 0"#),
        (
            "figures",
            figure(json!({ "Segment": [1] })),
            r#"Ping.figures["b"]::Segment: expected an array of 2 for Segment, found array of 1"#,
        ),
        ("figures", figure(json!({ "Single": [-1] })), r#"Ping.figures["b"]::Single.0: -1 is out of the range of u8"#),
        ("figures", figure(json!({})), r#"Ping.figures["b"]: expected a variant of Figure, found object"#),
        ("small", json!(256), "Ping.small: 256 is out of the range of u8"),
        ("small", json!(true), "Ping.small: expected u8, found true"),
        ("narrow", json!(1e300), "Ping.narrow: 1e+300 is out of the range of f32"),
        ("letter", json!("ab"), r#"Ping.letter: expected one character, found string "ab""#),
    ] {
        assert_eq!(complaint(|ping| ping[field] = json), expected);
    }
}

#[test]
fn a_key_that_is_none_of_the_map_is_refused_with_its_place() {
    let shape = shape_of::<BTreeMap<u8, u8>>();
    let refused = shape.encode_json(&json!({ "1": 0, "256": 0 })).unwrap_err();
    assert_eq!(refused.to_string(), r#"Carrier[key 1]: expected u8, found key "256""#);

    let shape = shape_of::<BTreeMap<(u8, u8), u8>>();
    assert_eq!(shape.encode_json(&json!({})), Ok(vec![0]));
    let refused = shape.encode_json(&json!({ "1": 0 })).unwrap_err();
    assert!(matches!(&refused, JsonError::NotAKey { path, .. } if path == "Carrier[key 0]"), "{refused:?}");
    let body = postcard::to_stdvec(&BTreeMap::from([((1u8, 2u8), 3u8)])).unwrap();
    assert_eq!(shape.decode_json(&body), Err(refused));
}

#[test]
fn bytes_that_are_no_such_message_are_refused_with_the_place() {
    let shape = shape_of::<Drawing>();
    let drawing = json!({
        "title": "a", "figures": ["Empty", { "Circle": 1.0 }], "layers": {}, "type": "Red", "bytes": [], "marker": null,
    });
    let body = shape.encode_json(&drawing).unwrap();
    assert_eq!(shape.decode_json(&body).as_ref(), Ok(&drawing));

    let mut wrong = body.clone();
    wrong[4] = 9;
    let refused = shape.decode_json(&wrong).unwrap_err();
    assert_eq!(refused.to_string(), "Carrier.figures[1]: variant 9, where there are 5");

    let mut longer = body.clone();
    longer.extend([0, 0]);
    let refused = shape.decode_json(&longer).unwrap_err();
    assert_eq!(refused, JsonError::Remainder { name: "Carrier".to_owned(), bytes: 2 });
    for end in 0..body.len() {
        let refused = shape.decode_json(&body[..end]).unwrap_err();
        assert!(matches!(refused, JsonError::Malformed { .. }), "{refused:?}");
    }
}

#[test]
fn an_address_is_named() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Question {
        answer_to: Vec<Address<Carrier<u8>>>,
    }

    let shape = Shape::of::<Question>();
    assert_eq!(shape.encode_json(&json!({ "answer_to": [] })), Ok(vec![0]));
    let path = "Question.answer_to[0]".to_owned();
    let refused = shape.encode_json(&json!({ "answer_to": ["hermod://localhost:4242/a"] }));
    assert_eq!(refused, Err(JsonError::Address { path: path.clone() }));
    assert_eq!(shape.decode_json(&[1, 0]), Err(JsonError::Address { path }));
}

#[test]
fn what_describes_itself_is_named() {
    let shape = shape_of::<Wrap<Option<Value>>>();
    assert_eq!(shape.decode_json(&[0]), Ok(json!({ "inner": null })));
    let refused = shape.encode_json(&json!({ "inner": 1 }));
    assert_eq!(refused, Err(JsonError::SelfDescribing { path: "Carrier.inner".to_owned() }));
    assert_eq!(shape.decode_json(&[1, 1]), Err(JsonError::SelfDescribing { path: "Carrier.inner".to_owned() }));
}

#[test]
fn the_result_of_a_message_is_json_too() {
    let shape = Shape::of::<Ping>();
    for result in [Ok(Point { x: 1, y: -1 }), Err(Colour::DarkGreen)] {
        let (body, json) = (postcard::to_stdvec(&result).unwrap(), serde_json::to_value(&result).unwrap());
        assert_eq!(shape.encode_json_result(&json), Ok(body.clone()));
        assert_eq!(shape.decode_json_result(&body), Ok(json));
    }
    let refused = shape.encode_json_result(&json!({ "Ok": { "x": null, "y": 0 } })).unwrap_err();
    assert_eq!(refused.to_string(), "Ping -> result::Ok.x: expected i32, found null");
}

proptest! {
    /// A stranger's drawing causes no panic whatever it is, and a drawing that can be read can be written.
    #[test]
    fn any_bytes_as_a_drawing_end_well(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let shape = shape_of::<Drawing>();
        if let Ok(json) = shape.decode_json(&body) {
            let floats = |json: &Value| json.to_string().contains("\"Circle\":null");
            prop_assert!(shape.encode_json(&json).is_ok() || floats(&json), "{}", json);
        }
    }
}
