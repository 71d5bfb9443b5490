//! Tests of the guard with hostile bodies and honest ones.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::LinkedList;
use std::fmt;
use std::fmt::Display;

use proptest::prelude::*;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;
use serde::de::Visitor;
use serde::ser;
use serde::ser::SerializeSeq;

use super::fault::MAX_WORDS;
use super::fuzz::Blob;
use super::fuzz::Chain;
use super::fuzz::Moderate;
use super::fuzz::Nest;
use super::fuzz::Tree;
use super::fuzz::Wide;
use super::fuzz::agrees_with_postcard;
use super::*;

const MIB: usize = 1 << 20;

/// Divisor for sizes under Miri, which takes some hundred times longer and would count for minutes.
const SCALE: usize = if cfg!(miri) { 256 } else { 1 };
const MANY: usize = MIB / SCALE;

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    decode(body, DecodeLimits::default()).map_err(|error| *error)
}

fn within<T: DeserializeOwned>(body: &[u8], memory: usize) -> Result<T, DecodeError> {
    decode(body, DecodeLimits { memory, ..DecodeLimits::default() }).map_err(|error| *error)
}

/// Encodes, with an error that can be compared.
fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>, limit: usize) -> Result<Encoded, EncodeError> {
    super::encode(value, out, limit).map_err(|error| *error)
}

fn too_deep<T>() -> Result<T, DecodeError> {
    Err(DecodeError::TooDeep { limit: 128 })
}

fn too_much<T>() -> Result<T, DecodeError> {
    Err(DecodeError::TooMuchMemory { limit: 64 * MIB })
}

fn written<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode(value, &mut out, usize::MAX).unwrap();
    out
}

/// Returns a length, followed by as many zero bytes.
fn zeros(count: usize) -> Vec<u8> {
    [written(&count), vec![0; count]].concat()
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: T) {
    let body = written(&value);
    assert_eq!(body, postcard::to_stdvec(&value).unwrap());
    assert_eq!(read::<T>(&body), Ok(value));
}

#[test]
fn a_mebibyte_of_ones_does_not_overflow_the_stack() {
    assert_eq!(read::<Nest>(&vec![1; MIB]), too_deep());
    for variant in 1..=3 {
        assert_eq!(read::<Tree>(&vec![variant; MIB]), too_deep(), "variant {variant}");
    }
    assert_eq!(read::<Tree>(&[4, 1].repeat(MIB / 2)), too_deep());
}

#[test]
fn a_few_bytes_do_not_make_elements_of_no_size_without_end() {
    assert_eq!(read::<HashSet<()>>(&[0xff, 0xff, 0xff, 0xff, 0x0f]), too_much());
    assert_eq!(read::<LinkedList<()>>(&[0xff, 0xff, 0xff, 0x3f]), too_much());
    assert_eq!(read::<HashMap<(), ()>>(&[0xff, 0xff, 0xff, 0x3f]), too_much());
    let nodes = within::<LinkedList<()>>(&written(&(MIB / 2)), MIB);
    assert_eq!(nodes, Err(DecodeError::TooMuchMemory { limit: MIB }), "an element of no size still has a node");
    assert_eq!(read::<Vec<()>>(&written(&MANY)), Ok(vec![(); MANY]));
}

#[test]
fn left_over_bytes_are_an_error() {
    assert_eq!(read::<u8>(&[1, 2, 3]), Err(DecodeError::Remainder { bytes: 2 }));
    assert_eq!(read::<()>(&[0]), Err(DecodeError::Remainder { bytes: 1 }));
    assert_eq!(read::<()>(&[]), Ok(()));
}

#[test]
fn zeros_do_not_become_large_elements() {
    assert_eq!(read::<Vec<Option<[u64; 32]>>>(&zeros(MIB)), too_much());
    assert_eq!(read::<BTreeMap<u8, Option<[u64; 32]>>>(&zeros(MIB)), too_much());
}

#[test]
fn what_is_behind_a_box_is_charged() {
    type Array = Box<Vec<Option<[u64; 32]>>>;
    let arrays = vec![vec![None::<[u64; 32]>; 1000]; 1000 / SCALE];
    let too_much = DecodeError::TooMuchMemory { limit: 64 * MANY };
    assert_eq!(within::<Vec<Array>>(&written(&arrays), 64 * MANY), Err(too_much.clone()));
    let wide = |count| within::<Vec<Box<Wide>>>(&[written(&count), vec![0; 32 * count]].concat(), 64 * MANY);
    assert_eq!(wide(30_000 / SCALE), Err(too_much));
    assert_eq!(wide(1000 / SCALE).map(|v| v.len()), Ok(1000 / SCALE));
}

#[test]
fn a_type_that_boxes_itself_is_charged_for_each_box() {
    let chain = |links| [vec![0; links], vec![1], vec![0; 32]].concat();
    let links = size_of::<Chain>();
    assert!(within::<Chain>(&chain(0), 2 * links).is_ok());
    assert!(within::<Chain>(&chain(50), 52 * links).is_ok());
    assert_eq!(within::<Chain>(&chain(50), 50 * links), Err(DecodeError::TooMuchMemory { limit: 50 * links }));
}

#[test]
fn elements_are_charged_once_with_all_that_they_hold_directly() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Id([u8; 16]);
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Entry {
        id: Id,
        at: Option<u64>,
        pair: (u32, bool),
    }
    let entries = vec![Entry { id: Id([7; 16]), at: Some(1), pair: (2, true) }; 100];
    let price = size_of::<Vec<Entry>>() + 100 * size_of::<Entry>();
    assert_eq!(within(&written(&entries), price), Ok(entries.clone()));
    assert_eq!(
        within::<Vec<Entry>>(&written(&entries), price - 1),
        Err(DecodeError::TooMuchMemory { limit: price - 1 })
    );
}

#[test]
fn nothing_is_reserved_that_the_budget_does_not_cover() {
    struct Hint;
    impl<'de> Deserialize<'de> for Hint {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_seq(Self)
        }
    }
    impl<'de> Visitor<'de> for Hint {
        type Value = Self;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Self, A::Error> {
            Err(de::Error::custom(format_args!("{:?}", seq.size_hint())))
        }
    }
    let hint = |length: u64, memory| within::<Hint>(&written(&length), memory).map(|_| ());
    assert_eq!(hint(u64::MAX, MIB), Err(DecodeError::Malformed("Some(4096)".into())));
    assert_eq!(hint(7, MIB), Err(DecodeError::Malformed("Some(7)".into())));
    assert_eq!(hint(7, MIB - 1), Err(DecodeError::Malformed("None".into())));
}

#[test]
fn a_depth_of_the_limit_passes_and_one_more_fails() {
    type Four = Vec<(Option<[u8; 1]>,)>;
    let four: Four = vec![(Some([7]),)];
    let deep = |depth| decode::<Four>(&written(&four), DecodeLimits { depth, ..DecodeLimits::default() });
    assert_eq!(deep(4), Ok(four.clone()));
    assert_eq!(deep(3), Err(Box::new(DecodeError::TooDeep { limit: 3 })));

    let tree = (0..127).fold(Tree::Leaf, |below, _| Tree::Named { below: Box::new(below) });
    assert_eq!(read(&written(&tree)), Ok(tree.clone()));
    assert_eq!(read::<Tree>(&written(&Tree::Wrap(Box::new(tree)))), too_deep());
}

#[test]
fn newtypes_and_tuples_are_levels() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Newtype(Box<Newtype>);
    #[derive(Debug, PartialEq, Deserialize)]
    struct Tuple((), Box<Tuple>);
    #[derive(Debug, PartialEq, Deserialize)]
    struct Struct {
        below: Box<Struct>,
    }
    assert_eq!(read::<Newtype>(&[]), too_deep());
    assert_eq!(read::<Tuple>(&[]), too_deep());
    assert_eq!(read::<Struct>(&[]), too_deep());
}

#[test]
fn the_guards_verdict_stands_even_if_the_type_ignores_it() {
    #[derive(Debug, PartialEq)]
    struct Careless;
    impl<'de> Deserialize<'de> for Careless {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let _ = Vec::<()>::deserialize(deserializer);
            Ok(Self)
        }
    }
    assert_eq!(read::<Careless>(&[0xff, 0xff, 0xff, 0x3f]), too_much());
    assert_eq!(read::<Careless>(&[1]), Ok(Careless));
}

#[test]
fn a_length_beyond_the_body_is_malformed() {
    let lie = [written(&u64::MAX), b"abc".to_vec()].concat();
    let ended = || DecodeError::Malformed(postcard::Error::DeserializeUnexpectedEnd.to_string());
    assert_eq!(read::<String>(&lie), Err(ended()));
    assert_eq!(read::<char>(&lie), Err(DecodeError::Malformed(postcard::Error::DeserializeBadChar.to_string())));
    assert_eq!(read::<serde_bytes::ByteBuf>(&lie), Err(ended()));
    assert_eq!(read::<String>(&[4, b'a', b'b', b'c']), Err(ended()));
    assert_eq!(read::<serde_bytes::ByteBuf>(&[4, 1, 2, 3]), Err(ended()));
    assert_eq!(read::<Vec<u16>>(&[4, 1, 2, 3]), Err(ended()));
    assert_eq!(read::<BTreeMap<u8, u8>>(&[2, 1, 2, 3]), Err(ended()));
    assert_eq!(read::<Vec<u8>>(&lie), too_much());
}

#[test]
fn an_error_keeps_the_types_own_words_but_not_all_of_them() {
    #[derive(Debug, PartialEq, Deserialize)]
    enum Two {
        A,
        B,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(try_from = "String")]
    struct Fussy;
    impl TryFrom<String> for Fussy {
        type Error = String;
        fn try_from(text: String) -> Result<Self, String> {
            Err(text)
        }
    }
    let malformed = |result| match result {
        Err(DecodeError::Malformed(words)) => words,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        read::<Two>(&[9]),
        Err(DecodeError::Malformed("invalid value: integer `9`, expected variant index 0 <= i < 2".into()))
    );
    assert_eq!(malformed(read::<Fussy>(&written("not today"))), "not today");
    assert_eq!(malformed(read::<Fussy>(&written(&"ü".repeat(MANY)))), "ü".repeat(MAX_WORDS));
}

#[test]
fn what_postcard_cannot_read_is_refused_in_its_words() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u8),
    }
    let wont = || DecodeError::Malformed(postcard::Error::WontImplement.to_string());
    assert_eq!(read::<Untagged>(&[1]), Err(wont()));
    assert_eq!(read::<de::IgnoredAny>(&[1]).map(|_| ()), Err(wont()));
    assert_eq!(
        read::<Option<u8>>(&[2]),
        Err(DecodeError::Malformed(postcard::Error::DeserializeBadOption.to_string()))
    );
}

struct Panics;
impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        panic!("no use for {number}")
    }
}
impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)?;
        panic!("not this one")
    }
}

#[test]
fn a_panic_of_the_type_is_an_error() {
    assert_eq!(read::<Panics>(&[7]).map(|_| ()), Err(DecodeError::Panicked("no use for 7".into())));
    let mut out = vec![1, 2, 3];
    assert_eq!(encode(&(5, Panics), &mut out, 100), Err(EncodeError::Panicked("not this one".into())));
    assert_eq!(out, [1, 2, 3]);
}

#[test]
fn a_type_that_refuses_to_be_encoded_is_quoted() {
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(ser::Error::custom("not over the wire"))
        }
    }
    let mut out = vec![1];
    assert_eq!(encode(&(5, Some(Refuses)), &mut out, 100), Err(EncodeError::Refused("not over the wire".into())));
    assert_eq!(out, [1]);
}

#[test]
fn a_message_over_the_limit_leaves_the_buffer_as_it_was() {
    let mut out = vec![1, 2, 3];
    assert_eq!(encode("abcd", &mut out, 4), Err(EncodeError::TooLarge { limit: 4 }));
    assert_eq!(encode(&[9_u8; 5], &mut out, 4), Err(EncodeError::TooLarge { limit: 4 }));
    assert_eq!(out, [1, 2, 3]);
    assert_eq!(encode("abc", &mut out, 4), Ok(Encoded { skipped: false }));
    assert_eq!(out, [1, 2, 3, 3, b'a', b'b', b'c']);
    assert_eq!(encode(&(), &mut out, 0), Ok(Encoded { skipped: false }));
}

/// Returns the numbers at which an encoding gets longer, or ends, and their neighbours.
fn borders() -> impl Iterator<Item = u64> {
    let around = |bit: u32| [(1_u64 << bit) - 1, 1_u64 << bit, (1_u64 << bit) + 1];
    (0..64).flat_map(around).chain([u64::MAX - 1, u64::MAX])
}

/// Calls something with a number converted to every integer type, of either sign and from either end.
macro_rules! as_each_integer {
    ($number:expr, $call:ident) => {{
        as_each_integer!($number, $call, u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);
    }};
    ($number:expr, $call:ident, $($integer:ty)*) => { $(
        let number = $number as $integer;
        $call(number);
        $call((0 as $integer).wrapping_sub(number));
        $call(<$integer>::MAX.wrapping_sub(number));
        $call(<$integer>::MIN.wrapping_add(number));
    )* };
}

#[test]
fn every_integer_is_written_as_postcard_writes_it() {
    for number in borders() {
        as_each_integer!(number, round_trip);
    }
    assert_eq!(written(&u64::MAX), [[0xff; 9].as_slice(), &[1]].concat());
    assert_eq!(written(&i64::MIN), written(&u64::MAX));
    assert_eq!(written(&i16::MIN), [0xff, 0xff, 3]);
}

#[test]
fn an_integer_goes_to_the_end_and_not_a_byte_beyond() {
    fn fits<T: Serialize>(number: T) {
        let body = postcard::to_stdvec(&number).unwrap();
        // With spare capacity behind the end, and without.
        for spare in [0, 64] {
            let mut out = Vec::with_capacity(3 + body.len() + spare);
            out.extend([1, 2, 3]);
            for limit in 0..body.len() {
                assert_eq!(encode(&number, &mut out, limit), Err(EncodeError::TooLarge { limit }));
                assert_eq!(out, [1, 2, 3]);
            }
            assert_eq!(encode(&number, &mut out, body.len()), Ok(Encoded { skipped: false }));
            assert_eq!(out, [&[1, 2, 3], &*body].concat());
        }
    }
    for number in borders() {
        as_each_integer!(number, fits);
    }
}

#[test]
fn what_is_behind_an_integer_stands_right_behind_it() {
    for number in borders() {
        let parts = (number, 7_u8, -(i128::from(number)), Some(number as i64), vec![number as u32; 3], "end");
        let body = postcard::to_stdvec(&parts).unwrap();
        assert_eq!(written(&parts), body);
        let mut out = Vec::new();
        for limit in 0..body.len() {
            assert_eq!(encode(&parts, &mut out, limit), Err(EncodeError::TooLarge { limit }));
            assert!(out.is_empty());
        }
        assert!(encode(&parts, &mut out, body.len()).is_ok());
    }
}

/// A type whose `Serialize` goes on after an error, with something shorter.
struct GoesOn;

impl Serialize for GoesOn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use ser::SerializeTuple;
        let mut parts = serializer.serialize_tuple(2)?;
        // One element for each way of writing: a single byte, at once, and byte by byte.
        let _ = (parts.serialize_element(&300_u16), parts.serialize_element(&u64::MAX));
        parts.serialize_element(&1_u8)?;
        parts.end()
    }
}

#[test]
fn a_type_that_goes_on_after_an_integer_that_did_not_fit_is_too_large() {
    for limit in 0..2 + 10 + 1 {
        let mut out = vec![1];
        assert_eq!(encode(&GoesOn, &mut out, limit), Err(EncodeError::TooLarge { limit }));
        assert_eq!(out, [1]);
    }
    assert!(encode(&GoesOn, &mut Vec::new(), 13).is_ok());
}

#[test]
fn a_message_without_end_stops_at_the_limit() {
    struct Endless;
    impl Serialize for Endless {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut seq = serializer.serialize_seq(Some(usize::MAX))?;
            loop {
                seq.serialize_element(&7_u8)?;
            }
        }
    }
    struct Babble;
    impl Display for Babble {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                f.write_str("bla ")?;
            }
        }
    }
    impl Serialize for Babble {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }
    let mut out = Vec::new();
    assert_eq!(encode(&Endless, &mut out, MANY), Err(EncodeError::TooLarge { limit: MANY }));
    assert_eq!(encode(&Babble, &mut out, MANY), Err(EncodeError::TooLarge { limit: MANY }));
    assert!(out.is_empty());
}

#[test]
fn text_that_is_formatted_while_encoding_is_written_as_postcard_does() {
    struct Shown(String);
    impl Serialize for Shown {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(&format_args!("<{}>", self.0))
        }
    }
    for length in [0, 1, 125, 126, 20_000] {
        let shown = Shown("x".repeat(length));
        let mut out = vec![9];
        encode(&shown, &mut out, MIB).unwrap();
        assert_eq!(out.get(1..), Some(&*postcard::to_stdvec(&shown).unwrap()));
    }
}

#[test]
fn every_kind_of_value_makes_the_round_trip() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Kinds {
        Unit,
        Newtype(u64),
        Tuple(u8, String),
        Struct { a: i8, b: Option<char> },
    }
    round_trip((u128::MAX, i128::MIN, u64::MAX, i64::MIN, u32::MAX, i32::MIN, u16::MAX, i16::MIN, u8::MAX, i8::MIN));
    round_trip((true, 'ß', '🦀', 1.5_f32, f64::MIN_POSITIVE, (), Unit, usize::MAX));
    round_trip((String::from("text"), serde_bytes::ByteBuf::from(vec![1, 2, 3]), Some(Some(1)), None::<u8>));
    round_trip(vec![
        Kinds::Unit,
        Kinds::Newtype(1 << 40),
        Kinds::Tuple(7, "seven".into()),
        Kinds::Struct { a: -1, b: Some('x') },
        Kinds::Struct { a: -1, b: None },
    ]);
    round_trip(HashMap::from([(1_u8, vec!["one".to_string()]), (2, vec![])]));
}

prop_compose! {
    fn moderate()(
        id in any::<u128>(),
        name in text(),
        tags in proptest::collection::vec(any::<Option<i16>>(), 0..6),
        table in proptest::collection::btree_map(any::<u8>(), (-1e300..1e300, any::<char>()), 0..4),
        blob in proptest::collection::vec(any::<u8>(), 0..9),
        tree in tree(),
        flag in any::<Result<bool, ()>>(),
        hash in any::<[u8; 4]>(),
    ) -> Moderate {
        Moderate { id, name, tags, table, blob: Blob(blob), tree, flag, hash }
    }
}

/// Not a regular expression: parsing one is slow under Miri.
fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 0..=8).prop_map(String::from_iter)
}

fn tree() -> impl Strategy<Value = Tree> {
    Just(Tree::Leaf).prop_recursive(4, 16, 3, |below| {
        prop_oneof![
            below.clone().prop_map(|below| Tree::Wrap(below.into())),
            (below.clone(), below.clone()).prop_map(|(a, b)| Tree::Fork(a.into(), b.into())),
            below.clone().prop_map(|below| Tree::Named { below: below.into() }),
            proptest::collection::vec(below, 0..3).prop_map(Tree::Many),
        ]
    })
}

fn unmeasured(run: &mut dyn FnMut()) -> u64 {
    run();
    0
}

proptest! {
    #[test]
    fn encode_is_postcard_and_decode_inverts_it(value in moderate()) {
        let body = written(&value);
        prop_assert_eq!(&body, &postcard::to_stdvec(&value).unwrap());
        prop_assert_eq!(read::<Moderate>(&body), Ok(value));
    }

    #[test]
    fn arbitrary_bytes_are_read_as_postcard_reads_them(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        agrees_with_postcard(&body, DecodeLimits::default(), unmeasured);
    }

    #[test]
    fn a_damaged_body_is_read_as_postcard_reads_it(
        value in moderate(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut body = written(&value);
        let at = at.index(body.len());
        if cut { body.truncate(at) } else { body[at] = byte }
        agrees_with_postcard(&body, DecodeLimits::default(), unmeasured);
    }
}
