//! Shapes as bytes, a stranger's among them.

use actix_hermod::Shape;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
#[expect(dead_code)]
struct Sample {
    kind: Kind,
    all: std::collections::HashMap<String, Option<Box<Sample>>>,
    ip: std::net::SocketAddr,
    any: serde_json::Value,
}

#[derive(Deserialize)]
#[expect(dead_code)]
enum Kind {
    A,
    B(u8),
    C(u8, [u16; 4]),
    D { when: std::time::Duration },
}

fn encoded(shape: &Shape) -> Vec<u8> {
    // A length of up to four bytes stands before a byte string.
    let bytes = postcard::to_stdvec(shape).unwrap();
    postcard::from_bytes::<serde_bytes::ByteBuf>(&bytes).unwrap().into_vec()
}

fn decoded(bytes: &[u8]) -> Result<Shape, postcard::Error> {
    postcard::from_bytes(&postcard::to_stdvec(serde_bytes::Bytes::new(bytes)).unwrap())
}

#[test]
fn a_shape_survives_bytes_and_json() {
    let shapes = [Shape::of_value::<Sample>(), Shape::of_value::<u8>(), Shape::of_value::<Vec<Kind>>()];
    for shape in shapes {
        assert_eq!(decoded(&encoded(&shape)).unwrap(), shape);
        let json = serde_json::to_string(&shape).unwrap();
        assert_eq!(serde_json::from_str::<Shape>(&json).unwrap(), shape);
    }
}

#[test]
fn only_the_canonical_bytes_are_taken() {
    // u8, as documented: version, no result, one part, tag 6.
    assert_eq!(decoded(&[1, 0, 1, 6]).unwrap(), Shape::of_value::<u8>());
    let refused: [(&str, &[u8]); 14] = [
        ("nothing", &[]),
        ("another version", &[2, 0, 1, 6]),
        ("too short", &[1, 0, 1]),
        ("too long", &[1, 0, 1, 6, 0]),
        ("no part at all", &[1, 0, 0]),
        ("a part that nothing refers to", &[1, 0, 2, 6, 7]),
        ("a part that is there twice", &[1, 0, 3, 35, 2, 1, 2, 6, 6]),
        ("another order", &[1, 0, 3, 35, 2, 2, 1, 6, 7]),
        ("an unknown tag", &[1, 0, 1, 17]),
        ("a reference to nowhere", &[1, 0, 1, 32, 1]),
        ("a result that is not there", &[1, 2, 1, 6]),
        ("a number with idle bytes", &[1, 0, 0x81, 0, 6]),
        ("a name that is no text", &[1, 0, 1, 38, 1, 0xff]),
        ("a list that is longer than the bytes", &[1, 0, 0xff, 0xff, 0xff, 0x7f]),
    ];
    for (what, bytes) in refused {
        assert!(decoded(bytes).is_err(), "{what} was taken");
    }
    for json in ["\"\"", "\"0\"", "\"0100010\"", "\"0100010G\"", "\"0100010é\"", "\"0100010F\"", "[1,0,1,6]", "null"] {
        assert!(serde_json::from_str::<Shape>(json).is_err(), "{json} was taken");
    }
}

#[test]
fn a_chain_that_bites_its_tail_is_shown_and_compared() {
    // An option of itself, and a tuple of two of itself.
    let endless = decoded(&[1, 0, 1, 32, 0]).unwrap();
    let wide = decoded(&[1, 0, 1, 35, 2, 0, 0]).unwrap();
    for shape in [&endless, &wide] {
        assert!(shape.to_string().len() < 10_000);
        assert!(format!("{shape:?}").len() < 10_000);
    }
    assert_eq!(endless.diff(&wide).len(), 1);
    assert!(endless.diff(&wide)[0].to_string().len() < 10_000);
}

#[test]
fn a_stranger_s_largest_shapes_are_dealt_with() {
    // A chain of options, the longest that is allowed, and one that is longer.
    let chain = |count: usize| {
        let mut bytes = vec![1, 0];
        let number = |bytes: &mut Vec<u8>, mut n: usize| {
            while n >= 0x80 {
                bytes.push(n as u8 | 0x80);
                n >>= 7;
            }
            bytes.push(n as u8);
        };
        number(&mut bytes, count);
        for next in 1..count {
            bytes.push(32);
            number(&mut bytes, next);
        }
        bytes.push(6);
        bytes
    };
    let longest = decoded(&chain(1 << 14)).unwrap();
    assert!(decoded(&chain((1 << 14) + 1)).is_err());
    assert!(longest.to_string().len() < 10_000);
    let shorter = decoded(&chain((1 << 14) - 1)).unwrap();
    let differences = longest.diff(&shorter);
    assert!(!differences.is_empty() && differences[0].to_string().len() < 10_000, "{differences:?}");
    // A name of a hundred thousand characters that move the cursor.
    let mut name = vec![1, 0, 1, 38, 0xa0, 0x8d, 6];
    name.resize(7 + 100_000, 0x1b);
    let text = decoded(&name).unwrap().to_string();
    assert!(text.len() < 1000 && !text.contains('\x1b'), "{text}");
}

fn number(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

fn name(text: &str) -> Vec<u8> {
    [number(text.len()), text.as_bytes().to_vec()].concat()
}

/// Runs what must not take for ever.
fn soon<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    result.recv_timeout(std::time::Duration::from_secs(20)).expect("it ends soon")
}

#[test]
fn wide_parts_above_a_long_chain_are_told_apart_in_good_time() {
    // Two equal tuples that refer to one end of a chain and then, as often as there is room, to the other: in each round
    // in which one more link of the chain is told from the others, both have to be looked at.
    const LINKS: usize = 16_000;
    let links = (1..LINKS).flat_map(|next| [vec![32], number(next + 2 + 1)].concat());
    let links: Vec<u8> = links.chain([6]).collect();
    let wide = [vec![35], number(160_000 + LINKS)];
    let wide = [wide.concat(), (0..160_000 + LINKS).flat_map(|at| number(3 + at % LINKS)).collect()].concat();
    let root = [35, 2, 1, 2];
    let bytes = [vec![1, 0], number(LINKS + 3), root.to_vec(), wide.clone(), wide, links].concat();
    assert!(bytes.len() < 1 << 20, "{}", bytes.len());
    assert!(soon(move || decoded(&bytes)).is_err(), "both are one part");
}

/// A struct of so many parts, each of which is shown as two hundred long names.
fn wordy(fields: usize) -> Shape {
    let long = |n: usize| format!("{n:03}{}", "\u{10ffff}".repeat(117));
    let field = |n: usize| [name(&format!("{n}")), number(1)].concat();
    let fields = [number(fields), (0..fields).flat_map(field).collect()].concat();
    let root = [vec![36], name("Sample"), vec![3], fields].concat();
    let tuple = [vec![35], number(200), (2..202).flat_map(number).collect()].concat();
    let structs = (0..200).flat_map(|n| [vec![36], name(&long(n)), vec![0]].concat());
    let nodes = [root, tuple, structs.collect()].concat();
    decoded(&[vec![1, 0], number(202), nodes].concat()).expect("a canonical encoding")
}

#[test]
fn differences_from_a_stranger_s_wordiest_shape_are_told_briefly_and_soon() {
    let (wordy, sample) = (wordy(100_000), Shape::of_value::<Sample>());
    for (here, there) in [(&sample, &wordy), (&wordy, &sample)] {
        let (here, there) = (here.clone(), there.clone());
        let differences = soon(move || here.diff(&there));
        assert_eq!(differences.len(), 32);
        let longest = differences.iter().map(|difference| difference.to_string().len()).max();
        assert!(longest < Some(5_000), "{longest:?}");
    }
}

fn harmless(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(shape) = decoded(bytes) {
        prop_assert_eq!(encoded(&shape), bytes);
        prop_assert_ne!(shape.fingerprint(), 0);
        prop_assert!(shape.to_string().len() <= (4 << 20) + 16);
        prop_assert_eq!(shape.diff(&shape), []);
        let sample = Shape::of_value::<Sample>();
        prop_assert_eq!(shape.diff(&sample).is_empty(), shape == sample);
        prop_assert_eq!(sample.diff(&shape).is_empty(), shape == sample);
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_a_shape(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        harmless(&bytes)?;
    }

    #[test]
    fn likely_bytes_are_refused_or_a_shape(parts in proptest::collection::vec(
        prop_oneof![0..8_u8, 30..42_u8, Just(1_u8), any::<u8>()], 0..60
    )) {
        let mut bytes = vec![1, 0];
        bytes.extend(parts);
        harmless(&bytes)?;
    }

    #[test]
    fn damaged_shapes_are_refused_or_other_shapes(at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = encoded(&Shape::of_value::<Sample>());
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = to }
        harmless(&bytes)?;
    }

    #[test]
    fn any_text_is_refused_or_a_shape(text in "\\PC*") {
        let _ = serde_json::from_value::<Shape>(serde_json::Value::String(text));
    }
}
