//! Tests with shapes made by hand, of the kinds that no honest type has, and with bodies that no honest peer sends.
//! `tests/json.rs` shows the JSON of honest types.

use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use super::JsonError;
use super::decode::decode;
use super::encode::encode;
use crate::message::shape::model::Content;
use crate::message::shape::model::Field;
use crate::message::shape::model::Gap;
use crate::message::shape::model::Model;
use crate::message::shape::model::Opaque;
use crate::message::shape::model::ROOT;
use crate::message::shape::model::Scalar;
use crate::message::shape::model::ShapeNode;
use crate::message::shape::model::ShapeNodeId;
use crate::message::shape::model::Variant;
use crate::message::shape::path::Start;

const ITSELF: ShapeNodeId = ROOT;
const SECOND: ShapeNodeId = ShapeNodeId(1);

fn model<const N: usize>(nodes: [ShapeNode; N]) -> Model {
    Model::new(nodes.to_vec(), None)
}

fn structure(name: &str, content: Content) -> ShapeNode {
    ShapeNode::Struct { name: name.into(), content }
}

fn fields<const N: usize>(fields: [(&str, ShapeNodeId); N]) -> Content {
    Content::Fields(fields.map(|(name, node)| Field { name: name.into(), node }).to_vec())
}

fn variant(name: &str, content: Content) -> Variant {
    Variant { name: name.into(), content }
}

fn from_bytes(model: &Model, body: &[u8]) -> Result<Value, JsonError> {
    decode(Start::message(model), body)
}

fn to_bytes(model: &Model, json: &Value) -> Result<Vec<u8>, JsonError> {
    encode(Start::message(model), json)
}

#[test]
fn five_bytes_cannot_ask_for_more_elements_than_there_is_memory_for() {
    for element in [
        ShapeNode::Scalar(Scalar::Unit),
        structure("Empty", Content::Unit),
        structure("Void", Content::Fields(vec![])),
        ShapeNode::Tuple(vec![]),
    ] {
        let list = model([ShapeNode::Seq(SECOND), element]);
        let body = [0xff, 0xff, 0xff, 0xff, 0x0f];
        let refused = from_bytes(&list, &body);
        assert!(matches!(refused, Err(JsonError::TooLarge { .. })), "{refused:?}");
    }
}

#[test]
fn a_few_thousand_empty_elements_are_fine() {
    let list = model([ShapeNode::Seq(SECOND), ShapeNode::Scalar(Scalar::Unit)]);
    let many = Value::Array(vec![Value::Null; 5_000]);
    let body = to_bytes(&list, &many).unwrap();
    assert_eq!(body.len(), 2);
    assert_eq!(from_bytes(&list, &body), Ok(many));
}

#[test]
fn a_count_without_elements_is_refused_and_reserves_nothing() {
    let list = model([ShapeNode::Seq(SECOND), ShapeNode::Scalar(Scalar::U32)]);
    let body = postcard::to_stdvec(&u64::MAX).unwrap();
    let refused = from_bytes(&list, &body);
    assert!(matches!(&refused, Err(JsonError::Malformed { path, .. }) if path == "Vec<u32>[0]"), "{refused:?}");

    let map = model([ShapeNode::Map { key: SECOND, value: SECOND }, ShapeNode::Scalar(Scalar::U32)]);
    let refused = from_bytes(&map, &body);
    assert!(
        matches!(&refused, Err(JsonError::Malformed { path, .. }) if path == "Map<u32, u32>[key 0]"),
        "{refused:?}"
    );
}

#[test]
fn a_map_of_nothing_to_nothing_ends() {
    // All keys are alike, so that the object does not grow; the count alone must not keep the decoder busy for long.
    let map = model([
        ShapeNode::Map { key: SECOND, value: ShapeNodeId(2) },
        ShapeNode::Enum { name: "One".into(), variants: vec![variant("Only", Content::Unit)] },
        ShapeNode::Scalar(Scalar::Unit),
    ]);
    let mut body = postcard::to_stdvec(&u32::MAX).unwrap();
    body.extend([0; 64]);
    assert!(matches!(from_bytes(&map, &body), Err(JsonError::Malformed { .. })));
}

#[test]
fn arrays_of_arrays_of_nothing_are_bounded() {
    let level = |inner| ShapeNode::Tuple(vec![ShapeNodeId(inner); 1_000]);
    let cube = model([level(1), level(2), level(3), ShapeNode::Scalar(Scalar::Unit)]);
    assert!(matches!(from_bytes(&cube, &[]), Err(JsonError::TooLarge { .. })));
}

#[test]
fn objects_with_nothing_to_read_are_paid_for() {
    let list = model([
        ShapeNode::Seq(SECOND),
        structure("Tag", fields([("nothing", ShapeNodeId(2))])),
        ShapeNode::Scalar(Scalar::Unit),
    ]);
    let few = postcard::to_stdvec(&10_000u32).unwrap();
    assert!(from_bytes(&list, &few).is_ok());
    let many = postcard::to_stdvec(&100_000u32).unwrap();
    assert!(matches!(from_bytes(&list, &many), Err(JsonError::TooLarge { .. })));
}

#[test]
fn the_names_of_variants_are_paid_for() {
    let name = "n".repeat(1 << 20);
    let all = [variant(&name, Content::Unit), variant("short", Content::Unit)];
    let shape = model([ShapeNode::Seq(ShapeNodeId(1)), ShapeNode::Enum { name: "E".into(), variants: all.into() }]);
    let body = |number: u8| [&[100][..], &[number; 100]].concat();
    assert!(matches!(from_bytes(&shape, &body(0)), Err(JsonError::TooLarge { .. })));
    assert_eq!(from_bytes(&shape, &body(1)), Ok(vec!["short"; 100].into()));
}

#[test]
fn shapes_without_an_end_are_too_deep() {
    let endless = [
        structure("Self", Content::Newtype(ITSELF)),
        structure("Self", fields([("me", ITSELF)])),
        structure("Self", Content::Tuple(vec![ITSELF])),
        ShapeNode::Tuple(vec![ITSELF, ITSELF]),
        ShapeNode::Option(ITSELF),
        ShapeNode::Seq(ITSELF),
        ShapeNode::Map { key: ITSELF, value: ITSELF },
        ShapeNode::Enum { name: "Self".into(), variants: vec![variant("Me", Content::Newtype(ITSELF)); 2] },
    ];
    for node in endless {
        let model = model([node.clone()]);
        let decoded = from_bytes(&model, &[1; 4096]);
        let keyless = matches!(node, ShapeNode::Map { .. }) && matches!(decoded, Err(JsonError::NotAKey { .. }));
        assert!(keyless || matches!(decoded, Err(JsonError::TooDeep { .. })), "{node:?}: {decoded:?}");
    }
    let keys = model([ShapeNode::Map { key: SECOND, value: SECOND }, structure("Self", Content::Newtype(SECOND))]);
    assert!(matches!(from_bytes(&keys, &[1; 64]), Err(JsonError::TooDeep { .. })));
    assert!(matches!(to_bytes(&keys, &json!({"a": 1})), Err(JsonError::TooDeep { .. })));
}

#[test]
fn json_of_any_depth_is_refused_and_not_followed() {
    let mut deep = json!([]);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let list = model([ShapeNode::Seq(ITSELF)]);
    assert!(to_bytes(&list, &deep).is_ok());
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let refused = to_bytes(&list, &deep);
    assert!(matches!(refused, Err(JsonError::TooDeep { limit: 128, .. })), "{refused:?}");

    let newtype = model([structure("Self", Content::Newtype(ITSELF))]);
    assert!(matches!(to_bytes(&newtype, &json!(1)), Err(JsonError::TooDeep { .. })));
}

#[test]
fn a_reference_astray_is_opaque() {
    let astray = model([ShapeNode::Seq(ShapeNodeId(7))]);
    let path = "Vec<opaque(not reached)>[0]".to_owned();
    assert_eq!(to_bytes(&astray, &json!([1])), Err(JsonError::Opaque { path: path.clone() }));
    assert_eq!(from_bytes(&astray, &[1, 1]), Err(JsonError::Opaque { path }));
}

#[test]
fn what_is_not_known_or_cannot_be_is_named() {
    let holder = |node| {
        let content = fields([("n", ShapeNodeId(2)), ("what", SECOND)]);
        model([structure("Holder", content), node, ShapeNode::Scalar(Scalar::U8)])
    };
    let path = || "Holder.what".to_owned();
    let given = json!({"n": 1, "what": 2});
    for (node, error) in [
        (ShapeNode::Opaque(Opaque::Unchecked(Gap::Varies, None)), JsonError::Opaque { path: path() }),
        (ShapeNode::SelfDescribing, JsonError::SelfDescribing { path: path() }),
        (ShapeNode::Address { message: "Pong".into() }, JsonError::Address { path: path() }),
    ] {
        let holder = holder(node);
        assert_eq!(to_bytes(&holder, &given), Err(error.clone()));
        assert_eq!(from_bytes(&holder, &[1, 0]), Err(error));
    }
}

#[test]
fn an_opaque_variant_leaves_the_others_usable() {
    let variants =
        vec![variant("Plain", Content::Unit), variant("Odd", Content::Opaque(Opaque::Unchecked(Gap::Varies, None)))];
    let choice = model([ShapeNode::Enum { name: "Choice".into(), variants }]);
    assert_eq!(to_bytes(&choice, &json!("Plain")), Ok(vec![0]));
    assert_eq!(from_bytes(&choice, &[0]), Ok(json!("Plain")));
    let path = "Choice::Odd".to_owned();
    assert_eq!(to_bytes(&choice, &json!({"Odd": 1})), Err(JsonError::Opaque { path: path.clone() }));
    assert_eq!(from_bytes(&choice, &[1, 1]), Err(JsonError::Opaque { path }));
}

/// Makes nodes that may refer to one another in any way, or to nowhere.
fn any_model() -> impl Strategy<Value = Model> {
    let id = || (0u32..8).prop_map(ShapeNodeId);
    let scalar = prop::sample::select(vec![
        Scalar::Bool,
        Scalar::I8,
        Scalar::I64,
        Scalar::I128,
        Scalar::U8,
        Scalar::U32,
        Scalar::U128,
        Scalar::F32,
        Scalar::Char,
        Scalar::Str,
        Scalar::Bytes,
        Scalar::Unit,
    ]);
    let content = prop_oneof![
        Just(Content::Unit),
        id().prop_map(Content::Newtype),
        prop::collection::vec(id(), 0..4).prop_map(Content::Tuple),
        prop::collection::vec(id(), 0..4).prop_map(|ids| {
            let named = ids.into_iter().zip(["a", "b", "a", "c"]);
            Content::Fields(named.map(|(node, name)| Field { name: name.into(), node }).collect())
        }),
        Just(Content::Opaque(Opaque::Unchecked(Gap::Unreached, None))),
    ];
    let node = prop_oneof![
        4 => scalar.prop_map(ShapeNode::Scalar),
        1 => id().prop_map(ShapeNode::Option),
        1 => id().prop_map(ShapeNode::Seq),
        1 => (id(), id()).prop_map(|(key, value)| ShapeNode::Map { key, value }),
        1 => prop::collection::vec(id(), 0..4).prop_map(ShapeNode::Tuple),
        2 => content.clone().prop_map(|content| structure("S", content)),
        2 => prop::collection::vec(content, 0..4).prop_map(|contents| {
            let named = contents.into_iter().zip(["A", "B", "C", "D"]);
            ShapeNode::Enum { name: "E".into(), variants: named.map(|(content, name)| variant(name, content)).collect() }
        }),
    ];
    prop::collection::vec(node, 1..8).prop_map(|nodes| Model::new(nodes, None))
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ab1]{0,2}".prop_map(Value::from),
        prop::sample::select(vec!["A", "B"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abcABC1]", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    /// Decoding neither panics nor overflows the stack, and the decoded JSON can be encoded again.
    #[test]
    fn any_bytes_as_any_shape_end_well(model in any_model(), body in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(json) = from_bytes(&model, &body) {
            let _ = to_bytes(&model, &json);
        }
    }

    #[test]
    fn any_json_as_any_shape_ends_well(model in any_model(), json in any_json()) {
        if let Ok(body) = to_bytes(&model, &json) {
            let again = from_bytes(&model, &body);
            prop_assert!(again.is_ok(), "{:?} became {:?} and then {:?}", json, body, again);
        }
    }
}
