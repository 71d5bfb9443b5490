//! Tests with types whose `Serialize` and `Deserialize` agree, and with all the ways in which they do not.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::DeserializeOwned;
use serde::ser::SerializeMap as _;
use serde::ser::SerializeSeq as _;
use serde::ser::SerializeStruct as _;
use serde_bytes::ByteBuf;
use uuid::Uuid;

use super::Verdict;
use super::check;
use super::describes_itself;
use crate::message::shape::Shape;
use crate::message::shape::path::Start;

/// Returns the mismatch in the value, if there is one.
fn complaint<T: Serialize + DeserializeOwned>(value: &T) -> Option<String> {
    let shape = Shape::of_value::<T>();
    match check(value, Start::message(shape.model()), &"Value") {
        Verdict::Fits => None,
        Verdict::Unfit(unfit) => Some(unfit.to_string()),
        Verdict::Interrupted => panic!("it cannot be serialised"),
    }
}

#[track_caller]
fn fits<T: Serialize + DeserializeOwned>(value: T) {
    assert_eq!(complaint(&value), None);
}

/// Asserts that the value is refused in these words, and rightly so: postcard does not bring it back.
#[track_caller]
fn does_not_fit<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, words: &str) {
    let complaint = complaint(&value).expect("it does not fit");
    assert!(complaint.starts_with(words), "{complaint:?} does not begin with {words:?}");
    let again = postcard::to_stdvec(&value).and_then(|body| {
        let (again, rest) = postcard::take_from_bytes::<T>(&body)?;
        if rest.is_empty() { Ok(again) } else { Err(postcard::Error::DeserializeBadEncoding) }
    });
    assert_ne!(again.as_ref().ok(), Some(&value), "it would have arrived well");
}

/// A type that writes one thing and reads another.
macro_rules! disagreeing {
    ($name:ident($kind:ty), $self:ident, $serializer:ident => $write:expr, $deserializer:ident => $read:expr) => {
        #[derive(PartialEq, Debug)]
        struct $name($kind);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, $serializer: S) -> Result<S::Ok, S::Error> {
                let $self = self;
                $write
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>($deserializer: D) -> Result<Self, D::Error> {
                $read
            }
        }
    };
}

// ---- values that fit

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
enum Figure {
    Empty,
    Circle(f64),
    Segment(Point, Point),
    Rectangle { corner: Point, size: Option<Point> },
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Point {
    x: i32,
    y: i32,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
struct Tree {
    children: Vec<Tree>,
    next: Option<Box<Tree>>,
}

#[test]
fn what_derives_write_fits() {
    let point = || Point { x: 1, y: 2 };
    fits(point());
    for figure in [
        Figure::Empty,
        Figure::Circle(1.0),
        Figure::Segment(point(), point()),
        Figure::Rectangle { corner: point(), size: None },
        Figure::Rectangle { corner: point(), size: Some(point()) },
    ] {
        fits(vec![figure]);
    }
    fits(Tree { children: vec![Tree::default(); 3], next: Some(Box::default()) });
    fits(HashMap::from([("a".to_owned(), vec![Some(1u8), None])]));
    fits((1u8, 'a', "text".to_owned(), (), [1u16; 8], ByteBuf::from(vec![1])));
    fits((Ok::<u8, String>(1), Err::<u8, String>("no".to_owned()), 1usize, -1i128, u128::MAX, 0.5f32, true));
    fits((Uuid::nil(), IpAddr::from([1, 2, 3, 4]), IpAddr::from([0u16; 8]), Duration::MAX));
}

#[test]
fn what_is_read_as_it_was_meant_fits() {
    disagreeing!(Widened(u16), this, serializer => serializer.serialize_u16(this.0),
        deserializer => u64::deserialize(deserializer).map(|n| Widened(n as u16)));
    fits(Widened(300));

    disagreeing!(Signed(i16), this, serializer => serializer.serialize_i16(this.0),
        deserializer => i128::deserialize(deserializer).map(|n| Signed(n as i16)));
    fits(Signed(-300));

    disagreeing!(Letter(char), this, serializer => serializer.serialize_char(this.0),
        deserializer => String::deserialize(deserializer).map(|text| Letter(text.chars().next().unwrap_or(' '))));
    fits(Letter('a'));

    disagreeing!(Text(String), this, serializer => serializer.serialize_str(&this.0), deserializer => {
        let bytes = ByteBuf::deserialize(deserializer)?;
        String::from_utf8(bytes.into_vec()).map(Text).map_err(serde::de::Error::custom)
    });
    fits(Text("a".to_owned()));

    disagreeing!(ListAsBytes(Vec<u8>), this, serializer => this.0.serialize(serializer),
        deserializer => ByteBuf::deserialize(deserializer).map(|bytes| ListAsBytes(bytes.into_vec())));
    fits(ListAsBytes(vec![1, 200]));

    disagreeing!(BytesAsList(Vec<u8>), this, serializer => serializer.serialize_bytes(&this.0),
        deserializer => Vec::deserialize(deserializer).map(BytesAsList));
    fits(BytesAsList(vec![1, 200]));

    disagreeing!(Bare(u8), this, serializer => serializer.serialize_newtype_struct("Bare", &this.0),
        deserializer => u8::deserialize(deserializer).map(Bare));
    fits(Bare(1));

    disagreeing!(Row(Point), this, serializer => (this.0.x, this.0.y).serialize(serializer),
        deserializer => Point::deserialize(deserializer).map(Row));
    fits(Row(Point { x: 1, y: 2 }));
}

#[test]
fn names_for_one_direction_only_fit() {
    #[derive(Serialize, Deserialize)]
    struct Renamed {
        #[serde(rename(serialize = "written", deserialize = "read"))]
        n: u8,
        #[serde(alias = "another", alias = "old")]
        m: u8,
        last: u16,
    }
    fits(Renamed { n: 1, m: 2, last: 3 });

    #[derive(Serialize, Deserialize)]
    enum Choice {
        #[serde(rename(serialize = "written", deserialize = "read"))]
        One,
        #[serde(alias = "another", alias = "old")]
        Two,
        Three,
    }
    fits([Choice::One, Choice::Two, Choice::Three]);
}

proptest! {
    #[test]
    fn what_postcard_brings_back_fits(
        list in prop::collection::vec(any::<(u8, Option<String>, BTreeMap<i32, (char, bool)>)>(), 0..3),
    ) {
        prop_assert_eq!(complaint(&list), None);
    }
}

// ---- values that do not fit

#[test]
fn a_field_left_out_is_named() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Sparse {
        first: u8,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        middle: Option<u8>,
        last: u8,
    }
    fits(Sparse { first: 1, middle: Some(2), last: 3 });
    does_not_fit(Sparse { first: 1, middle: None, last: 3 }, "Value.middle: Serialize leaves it out");
    let deep = BTreeMap::from([(7u8, vec![Some(Sparse { first: 1, middle: None, last: 3 })])]);
    does_not_fit(deep, "Value[value 0][0].middle: Serialize leaves it out");

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Choice {
        Sparse {
            n: u8,
            #[serde(skip_serializing_if = "String::is_empty", default)]
            text: String,
        },
    }
    fits(Choice::Sparse { n: 1, text: "a".to_owned() });
    let left_out = "Value[0]::Sparse.text: Serialize leaves it out";
    does_not_fit(vec![Choice::Sparse { n: 1, text: String::new() }], left_out);
}

#[test]
fn a_field_that_goes_one_way_only_is_named() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Unwritten {
        first: u8,
        #[serde(skip_serializing, default)]
        secret: u8,
        last: u8,
    }
    does_not_fit(Unwritten { first: 1, secret: 2, last: 3 }, "Value.secret: Serialize leaves it out");

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Unread {
        first: u8,
        #[serde(skip_deserializing)]
        cache: u8,
        last: u8,
    }
    let unread = "Value.cache: Serialize writes it, and Deserialize does not read it";
    does_not_fit(Unread { first: 1, cache: 2, last: 3 }, unread);

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Neither {
        first: u8,
        #[serde(skip)]
        cache: u8,
        last: u8,
    }
    fits(Neither { first: 1, cache: 2, last: 3 });
}

#[test]
fn what_is_flattened_is_named() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Flat {
        n: u8,
        #[serde(flatten)]
        point: Point,
    }
    let flat = Flat { n: 1, point: Point { x: 1, y: 2 } };
    does_not_fit(vec![flat], "Value[0]: Serialize writes a map without saying its length (serde(flatten) does)");
}

#[test]
fn what_describes_itself_is_named_where_it_is() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Holder {
        n: u8,
        any: Option<serde_json::Value>,
    }
    fits(Holder { n: 1, any: None });
    does_not_fit(Holder { n: 1, any: Some(1.into()) }, "Value.any: Deserialize reads what describes itself");

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(untagged)]
    enum Untagged {
        Number(u8),
    }
    does_not_fit((1u8, Untagged::Number(1)), "Value.1: Deserialize reads what describes itself");

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(tag = "type")]
    enum Internally {
        One { n: u8 },
    }
    does_not_fit(Internally::One { n: 1 }, "Value: Deserialize reads what describes itself");

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(tag = "type", content = "of")]
    enum Adjacently {
        One(u8),
        Two { text: String },
        Three,
    }
    does_not_fit(Adjacently::One(1), "Value.type: Deserialize reads what describes itself");
    does_not_fit(vec![Adjacently::Two { text: "a".to_owned() }], "Value[0].type: Deserialize reads what describes");
    does_not_fit((1u8, Adjacently::Three, 2u8), "Value.1.type: Deserialize reads what describes itself");
}

#[test]
fn other_kinds_are_named() {
    disagreeing!(Narrowed(u64), this, serializer => serializer.serialize_u64(this.0),
        deserializer => u16::deserialize(deserializer).map(|n| Narrowed(n.into())));
    does_not_fit(Narrowed(1 << 20), "Value: Serialize writes u64, where Deserialize reads u16");

    disagreeing!(Byte(u8), this, serializer => serializer.serialize_u8(this.0),
        deserializer => u32::deserialize(deserializer).map(|n| Byte(n as u8)));
    does_not_fit(vec![Byte(200)], "Value[0]: Serialize writes u8, where Deserialize reads u32");

    disagreeing!(Shown(u32), this, serializer => serializer.collect_str(&this.0),
        deserializer => u32::deserialize(deserializer).map(Shown));
    does_not_fit((0u8, Shown(7)), "Value.1: Serialize writes String, where Deserialize reads u32");

    disagreeing!(Bare(Option<u8>), this, serializer => this.0.unwrap_or(0).serialize(serializer),
        deserializer => Option::deserialize(deserializer).map(Bare));
    does_not_fit(Bare(Some(7)), "Value: Serialize writes u8, where Deserialize reads Option<u8>");

    disagreeing!(Optional(u8), this, serializer => Some(this.0).serialize(serializer),
        deserializer => u8::deserialize(deserializer).map(Optional));
    does_not_fit(Optional(7), "Value: Serialize writes an option, where Deserialize reads u8");

    disagreeing!(Unsized(Vec<u8>), this, serializer => (this.0[0], this.0[1]).serialize(serializer),
        deserializer => Vec::deserialize(deserializer).map(Unsized));
    does_not_fit(Unsized(vec![7, 8]), "Value: Serialize writes a tuple of 2, where Deserialize reads Vec<u8>");

    disagreeing!(Sized(Vec<u8>), this, serializer => this.0.serialize(serializer),
        deserializer => <[u8; 4]>::deserialize(deserializer).map(|array| Sized(array.to_vec())));
    does_not_fit(Sized(vec![1; 4]), "Value: Serialize writes a sequence, where Deserialize reads [u8; 4]");

    disagreeing!(Mapped(u8), this, serializer => BTreeMap::from([("n", this.0)]).serialize(serializer),
        deserializer => Point::deserialize(deserializer).map(|point| Mapped(point.x as u8)));
    does_not_fit(Mapped(1), "Value: Serialize writes a map, where Deserialize reads Point");

    disagreeing!(Named(u8), this, serializer => Figure::Circle(this.0.into()).serialize(serializer),
        deserializer => u8::deserialize(deserializer).map(Named));
    does_not_fit(Named(7), "Value: Serialize writes the variant Circle, where Deserialize reads u8");

    disagreeing!(Words(Vec<u8>), this, serializer => serializer.serialize_bytes(&this.0),
        deserializer => Vec::<u32>::deserialize(deserializer).map(|n| Words(n.iter().map(|n| *n as u8).collect())));
    does_not_fit(Words(vec![200, 1]), "Value: Serialize writes bytes, where Deserialize reads Vec<u32>");
}

#[test]
fn lengths_that_are_not_kept_are_named() {
    disagreeing!(TooFew(Vec<u8>), this, serializer => {
        let mut sequence = serializer.serialize_seq(Some(this.0.len() + 1))?;
        for element in &this.0 {
            sequence.serialize_element(element)?;
        }
        sequence.end()
    }, deserializer => Vec::deserialize(deserializer).map(TooFew));
    does_not_fit(TooFew(vec![1, 2]), "Value: Serialize says that there are 3, and writes 2");

    disagreeing!(Endless(Vec<u8>), this, serializer => {
        let mut sequence = serializer.serialize_seq(None)?;
        for element in &this.0 {
            sequence.serialize_element(element)?;
        }
        sequence.end()
    }, deserializer => Vec::deserialize(deserializer).map(Endless));
    does_not_fit(Endless(vec![1]), "Value: Serialize writes a sequence without saying its length");

    disagreeing!(Entries(BTreeMap<u8, u8>), this, serializer => {
        let mut map = serializer.serialize_map(Some(1))?;
        for (key, value) in &this.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }, deserializer => BTreeMap::deserialize(deserializer).map(Entries));
    fits(Entries([(1, 2)].into()));
    does_not_fit(Entries([(1, 2), (3, 4)].into()), "Value: Serialize says that there are 1, and writes 2");

    disagreeing!(Triple((u8, u8, u8)), this, serializer => this.0.serialize(serializer),
        deserializer => <(u8, u8)>::deserialize(deserializer).map(|(a, b)| Triple((a, b, 0))));
    does_not_fit(Triple((1, 2, 3)), "Value.2: Serialize writes it, and Deserialize does not read it");

    disagreeing!(Single((u8, u8)), this, serializer => (this.0.0,).serialize(serializer),
        deserializer => <(u8, u8)>::deserialize(deserializer).map(Single));
    does_not_fit(Single((1, 2)), "Value.1: Serialize leaves it out");
}

#[test]
fn fields_in_another_order_are_named() {
    disagreeing!(Swapped(Point), this, serializer => {
        let mut point = serializer.serialize_struct("Point", 2)?;
        point.serialize_field("y", &this.0.y)?;
        point.serialize_field("x", &this.0.x)?;
        point.end()
    }, deserializer => Point::deserialize(deserializer).map(Swapped));
    does_not_fit(Swapped(Point { x: 1, y: 2 }), "Value.x: Serialize leaves it out");
}

#[test]
fn variants_that_are_numbered_otherwise_are_named() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Gap {
        First,
        #[serde(skip)]
        #[allow(dead_code)]
        Hidden,
        Middle,
        Last {
            n: u8,
        },
    }
    fits(Gap::First);
    let middle = "Value: Serialize writes Middle as variant 2, where that is Last for Deserialize (skipped variants?)";
    does_not_fit(Gap::Middle, middle);
    let last = "Value[0]: Serialize writes Last as variant 3, where there are 3 for Deserialize (skipped variants?)";
    does_not_fit(vec![Gap::Last { n: 1 }], last);

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum GapAtTheEnd {
        First,
        Middle(u8),
        #[serde(skip)]
        #[allow(dead_code)]
        Hidden,
    }
    fits((GapAtTheEnd::First, GapAtTheEnd::Middle(1)));
}

#[test]
fn variants_that_are_written_as_others_are_named() {
    #[derive(Serialize)]
    enum Written {
        B,
        #[allow(dead_code)]
        A,
    }
    #[derive(Deserialize)]
    enum Read {
        A,
        B,
    }
    disagreeing!(Turned(bool), this, serializer => {
        let _ = this;
        Written::B.serialize(serializer)
    }, deserializer => Read::deserialize(deserializer).map(|read| Turned(matches!(read, Read::A) && !matches!(read, Read::B))));
    does_not_fit(Turned(false), "Value: Serialize writes B as variant 0, where that is A for Deserialize");

    #[derive(Serialize)]
    enum Heavy {
        A((u8, u8)),
    }
    #[derive(Deserialize)]
    enum Light {
        A,
    }
    disagreeing!(Loaded(u8), this, serializer => Heavy::A((this.0, 0)).serialize(serializer),
        deserializer => Light::deserialize(deserializer).map(|Light::A| Loaded(0)));
    does_not_fit(Loaded(1), "Value::A: Serialize writes one value by itself");
}

#[test]
fn an_error_that_the_type_hides_is_seen_all_the_same() {
    disagreeing!(Stubborn(u32), this,
        serializer => serializer.collect_str(&this.0).map_err(|_| serde::ser::Error::custom("something else")),
        deserializer => u32::deserialize(deserializer).map(Stubborn));
    let complaint = complaint(&Stubborn(7)).expect("it does not fit");
    assert_eq!(complaint, "Value: Serialize writes String, where Deserialize reads u32");
}

#[test]
fn a_failure_of_the_types_own_is_no_verdict() {
    disagreeing!(Failing(u8), this, serializer => {
        let _ = (this, serializer);
        Err(serde::ser::Error::custom("not today"))
    }, deserializer => u8::deserialize(deserializer).map(Failing));
    let shape = Shape::of_value::<Failing>();
    let verdict = check(&Failing(1), Start::message(shape.model()), &"Failing");
    assert!(matches!(verdict, Verdict::Interrupted), "{verdict:?}");
}

#[test]
fn a_part_that_describes_itself_is_found_however_deep() {
    fn in_shape<T: DeserializeOwned>() -> bool {
        describes_itself(Start::message(Shape::of_value::<T>().model()))
    }
    assert!(!in_shape::<Vec<Option<Tree>>>());
    assert!(in_shape::<serde_json::Value>());
    assert!(in_shape::<(Tree, BTreeMap<u8, Vec<Option<serde_json::Value>>>)>());
}

// ---- bounds

#[test]
fn what_nests_endlessly_deep_is_not_followed_to_the_end() {
    let mut deep = Tree::default();
    for _ in 0..1000 {
        deep = Tree { children: vec![], next: Some(Box::new(deep)) };
    }
    fits(deep);
}
