//! Fuzzed: shapes that a stranger sends, and graphs of any form as shapes. A decoded shape is encoded as it was; equal
//! shapes have no difference and others have one; and all that is shown, reported or made of a shape is bounded.

use super::MAX_LINE;
use super::Shape;
use super::canon::canonical;
use super::diff::MAX_DIFFERENCES;
use super::diff::MAX_PATH;
use super::diff::MAX_TOLD;
use super::encoding::decode;
use super::encoding::encode;
use super::model::Content;
use super::model::Field;
use super::model::Gap;
use super::model::Model;
use super::model::Opaque;
use super::model::Scalar;
use super::model::ShapeNode;
use super::model::ShapeNodeId;
use super::model::Variant;
use super::show::MAX_PAGE;
use crate::unstructured::AllocMeter;
use crate::unstructured::Unstructured;

/// The memory that a shape may take while it is read, for each of its bytes: a part of one byte becomes a node, which
/// stands in several tables while the nodes are told apart.
const PER_BYTE: u64 = 4_096;

/// The memory that a shape may take in addition, whatever its length.
const AT_LEAST: u64 = 64 << 10;

/// Length in bytes of the ellipsis behind a text that was too long, and of the ` -> result` that a path may have behind
/// its longest name.
const ELLIPSIS: usize = 3;
const RESULT: usize = 10;

/// Runs one input: the first byte chooses whether the rest is two encodings or decides about two graphs.
pub(crate) fn run(bytes: &[u8], meter: AllocMeter) {
    let mut choices = Unstructured::new(bytes);
    if choices.below(2) == 0 {
        let len = choices.below(1 << 16);
        let rest = choices.rest();
        let (one, other) = rest.split_at(len.min(rest.len()));
        let shapes = [one, other].map(|encoded| read(encoded, meter));
        if let [Some(one), Some(other)] = &shapes {
            compare(one, other);
        }
        return;
    }
    let models = [(); 2].map(|()| model(&mut choices));
    let shapes = models.each_ref().map(made);
    let [one, other] = &shapes;
    compare(one, other);
    #[cfg(feature = "json")]
    json(one, choices.rest(), meter);
}

/// Decodes a stranger's shape, if the bytes are one.
fn read(encoded: &[u8], meter: AllocMeter) -> Option<Shape> {
    let mut shape = None;
    let held = meter(&mut || shape = Shape::decode(encoded));
    assert!(held <= AT_LEAST + PER_BYTE * encoded.len() as u64, "{held} bytes for {}", encoded.len());
    let shape = shape?;
    assert_eq!(shape.encoded(), encoded);
    assert_eq!(encode(shape.model()), encoded);
    assert_eq!(canonical(shape.model()), *shape.model());
    Some(shape)
}

/// Returns the shape of a graph.
fn made(model: &Model) -> Shape {
    let shape = Shape::new(model);
    assert_eq!(encode(shape.model()), shape.encoded());
    assert_eq!(decode(shape.encoded()).as_ref(), Ok(shape.model()));
    assert_eq!(Shape::new(shape.model()), shape);
    shape
}

/// Compares two shapes in both directions, and shows them.
fn compare(one: &Shape, other: &Shape) {
    for shape in [one, other] {
        assert_eq!(shape.diff(shape), []);
        // The title and the last line are not part of the page.
        assert!(shape.to_string().len() <= MAX_PAGE + 2 * MAX_TOLD);
        assert!(!format!("{shape:?}").is_empty());
        let unchecked = shape.unchecked();
        assert!(unchecked.len() <= MAX_DIFFERENCES);
        assert!(unchecked.iter().all(|path| path.len() <= MAX_PATH + RESULT + 2 * ELLIPSIS));
    }
    for (here, there) in [(one, other), (other, one)] {
        let differences = here.diff(there);
        assert_eq!(differences.is_empty(), here == there, "{here} and {there}");
        assert!(differences.len() <= MAX_DIFFERENCES);
        for difference in &differences {
            assert!(difference.path.len() <= MAX_PATH + RESULT + 2 * ELLIPSIS, "{}", difference.path);
            for told in [&difference.here, &difference.there] {
                assert!(told.len() <= MAX_TOLD + ELLIPSIS, "{told}");
            }
        }
        assert!(here.differences(there).len() <= MAX_LINE + ELLIPSIS);
    }
    assert_eq!(one.fingerprint() == other.fingerprint(), one == other);
}

/// Decodes the body as a message of that shape. The JSON that comes out can be encoded again.
#[cfg(feature = "json")]
fn json(shape: &Shape, body: &[u8], meter: AllocMeter) {
    let mut decoded = None;
    let held = meter(&mut || decoded = Some(shape.decode_json(body)));
    // Four times what the decoder allows itself: an array of one has room for four, and a vector that grows is there twice.
    let most = 4 * ((16 << 20) + (1 << 10) * body.len() as u64);
    assert!(held <= most, "{held} bytes of JSON for {}", body.len());
    let Some(Ok(json)) = decoded else { return };
    // Some values are encoded as others or not at all: floats that are no numbers, options in options.
    if let Ok(again) = shape.encode_json(&json) {
        assert_eq!(shape.decode_json(&again).as_ref(), Ok(&json));
    }
}

/// Makes a graph of a few nodes, of few kinds and few names, so that many are alike.
fn model(choices: &mut Unstructured<'_>) -> Model {
    let count = 1 + choices.below(24);
    let nodes = (0..count).map(|_| node(choices, count)).collect();
    let result = (choices.below(2) == 1).then(|| id(choices, count));
    Model::new(nodes, result)
}

fn id(choices: &mut Unstructured<'_>, count: usize) -> ShapeNodeId {
    ShapeNodeId(choices.below(count) as u32)
}

fn ids(choices: &mut Unstructured<'_>, count: usize) -> Vec<ShapeNodeId> {
    (0..choices.below(4)).map(|_| id(choices, count)).collect()
}

fn name(choices: &mut Unstructured<'_>) -> Box<str> {
    match choices.below(8) {
        0 => "".into(),
        1 => "\u{202e}\n".into(),
        2 => "x".repeat(choices.below(1 << 13)).into(),
        letter => ["A", "B", "C", "D", "E"][letter - 3].into(),
    }
}

fn node(choices: &mut Unstructured<'_>, count: usize) -> ShapeNode {
    const SCALARS: [Scalar; 8] =
        [Scalar::Bool, Scalar::U8, Scalar::I64, Scalar::U128, Scalar::F64, Scalar::Str, Scalar::Bytes, Scalar::Unit];
    match choices.below(10) {
        0 => ShapeNode::Scalar(SCALARS[choices.below(SCALARS.len())]),
        1 => ShapeNode::Option(id(choices, count)),
        2 => ShapeNode::Seq(id(choices, count)),
        3 => ShapeNode::Map { key: id(choices, count), value: id(choices, count) },
        4 => ShapeNode::Tuple(ids(choices, count)),
        5 => ShapeNode::Struct { name: name(choices), content: content(choices, count) },
        6 => {
            let variant = |choices: &mut _| Variant { name: name(choices), content: content(choices, count) };
            ShapeNode::Enum { name: name(choices), variants: (0..choices.below(4)).map(|_| variant(choices)).collect() }
        }
        7 => ShapeNode::Address { message: name(choices) },
        8 => ShapeNode::Opaque(opaque(choices)),
        _ => ShapeNode::SelfDescribing,
    }
}

fn content(choices: &mut Unstructured<'_>, count: usize) -> Content {
    match choices.below(5) {
        0 => Content::Unit,
        1 => Content::Newtype(id(choices, count)),
        2 => Content::Tuple(ids(choices, count)),
        3 => {
            let field = |choices: &mut _| Field { name: name(choices), node: id(choices, count) };
            Content::Fields((0..choices.below(4)).map(|_| field(choices)).collect())
        }
        _ => Content::Opaque(opaque(choices)),
    }
}

fn opaque(choices: &mut Unstructured<'_>) -> Opaque {
    let gap = match choices.below(5) {
        0 => return Opaque::Named(name(choices)),
        1 => Gap::Unreached,
        2 => Gap::TooDeep,
        3 => Gap::TooLarge,
        _ => Gap::Varies,
    };
    Opaque::Unchecked(gap, (choices.below(2) == 1).then(|| name(choices)))
}
