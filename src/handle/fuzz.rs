//! Fuzzed: addresses, as text and inside messages. A text is an endpoint, or a URI, or neither; an address that is read
//! and written again reads as the same. An address in a message is one of the handles that came beside it, or the
//! message is refused.

use std::sync::Arc;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use super::pointer::Pointer;
use super::uri;
use crate::handle::detached;
use crate::handle::serde_scope;
use crate::ident::NodeId;
use crate::ident::endpoint::Endpoint;
use crate::ident::endpoint::MAX_ENDPOINT;
use crate::ident::endpoint::Place;
use crate::message::guard;
use crate::message::preflight::Check;
use crate::unstructured::AllocMeter;
use crate::unstructured::Unstructured;

/// Number of handles beside a message.
const HANDLES: usize = 8;

/// Memory allowed for each byte of the body: a pointer of eight bytes takes one byte of the body, and a vector that
/// grows is there twice.
const PER_BYTE: u64 = 64;

/// Memory allowed in addition, whatever the length: the pointers that a vector reserves on a hint.
const AT_LEAST: u64 = 64 << 10;

/// Runs one input: the first byte decides whether the rest is a text or a message.
pub(crate) fn run(bytes: &[u8], meter: AllocMeter) {
    let mut choices = Unstructured::new(bytes);
    if choices.below(2) == 0 {
        let text = String::from_utf8_lossy(choices.rest());
        endpoint(&text);
        locator(&text);
        return;
    }
    let count = choices.below(HANDLES);
    letter(choices.rest(), count, meter);
}

fn endpoint(text: &str) {
    let Ok(endpoint) = text.parse::<Endpoint>() else { return };
    assert!(text.len() <= MAX_ENDPOINT);
    assert_eq!(endpoint.to_string(), text);
    match endpoint.place() {
        Place::Tcp { host, port } => {
            assert!(!host.is_empty() && !host.contains(char::is_whitespace));
            assert_eq!(endpoint.port(), Some(port));
        }
        Place::Unix { path } => {
            assert_eq!(format!("unix:{path}"), text);
            assert_eq!(endpoint.port(), None);
        }
        Place::Other { scheme, address } => {
            assert_eq!(format!("{scheme}:{address}"), text);
            assert!(!text.chars().any(char::is_control));
        }
    }
    // Each name has a URI at this endpoint, with and without a node.
    for name in ["box", "", "a/b?c#d%20ü\0", text] {
        for node in [None, Some(NodeId([7; 16]))] {
            let uri = uri::write(&endpoint, node, name);
            assert_eq!(uri::read(&uri).ok(), Some((endpoint.clone(), node, name.to_owned())), "{uri}");
        }
    }
}

fn locator(text: &str) {
    let Ok((endpoint, node, name)) = uri::read(text) else { return };
    let written = uri::write(&endpoint, node, &name);
    let scheme = |text: &str| text.split_once("://").map(|(scheme, _)| scheme.to_owned());
    assert_eq!(scheme(&written), scheme(text), "{text} became {written}");
    assert_eq!(uri::read(&written).ok(), Some((endpoint, node, name)));
}

/// An address inside a message, which distinguishes equal pointers.
#[derive(Debug)]
struct Inside(Arc<Pointer>);

impl Serialize for Inside {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_scope::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Inside {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Inside, D::Error> {
        serde_scope::deserialize::<(), D>(deserializer).map(Inside)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    to: Vec<Inside>,
    text: String,
    inside: Option<Box<Letter>>,
}

impl Letter {
    /// Returns the pointers in the letter, in order.
    fn named(&self) -> Vec<*const Pointer> {
        let inner = self.inside.iter().flat_map(|inside| inside.named());
        self.to.iter().map(|Inside(pointer)| Arc::as_ptr(pointer)).chain(inner).collect()
    }
}

/// The content of a letter's body without the handles.
#[derive(Deserialize)]
struct Positions {
    to: Vec<Position>,
    /// The text, of which only the length matters.
    #[serde(rename = "text")]
    _text: String,
    inside: Option<Box<Positions>>,
}

#[derive(Deserialize)]
struct Position(u32);

impl Positions {
    fn all(&self) -> Vec<usize> {
        let inner = self.inside.iter().flat_map(|inside| inside.all());
        self.to.iter().map(|Position(at)| *at as usize).chain(inner).collect()
    }
}

fn letter(body: &[u8], count: usize, meter: AllocMeter) {
    let node = Arc::clone(detached::pointer().this_node());
    let beside: Vec<Arc<Pointer>> = (0..count).map(|_| detached::pointer()).collect();
    let (mut handles, mut read) = (beside.clone(), None);
    let held = meter(&mut || read = Some(serde_scope::read::<Letter>(&node, body, &mut handles)));
    assert!(held <= AT_LEAST + PER_BYTE * body.len() as u64, "{held} bytes for {}", body.len());
    assert!(handles.is_empty(), "handles are left for the next message");
    // The scope has ended, whether the letter was read or refused.
    let outside = guard::encode(&Inside(detached::pointer()), &mut Vec::new(), usize::MAX);
    assert!(outside.is_err(), "an address is written outside of a message");
    // The letter has the handles at the positions in the body; it is refused if one of them does not exist.
    let positions = guard::decode::<Positions>(body, node.limits().decode()).map(|positions| positions.all());
    let at = |at: &usize| beside.get(*at).map(Arc::as_ptr);
    let expected: Option<Vec<_>> = positions.ok().and_then(|positions| positions.iter().map(at).collect());
    let letter = read.expect("it was read").ok();
    assert_eq!(letter.as_ref().map(Letter::named), expected);
    let (Some(letter), Some(named)) = (letter, expected) else { return };
    let check = Check { run: |_: &Letter| Ok(()), always: false };
    let written = serde_scope::write(&node, &letter, check, |body, handles| (body.to_vec(), handles.to_vec()));
    let (again, mut handles) = written.expect("what was read can be written");
    assert!(handles.iter().map(Arc::as_ptr).eq(named.iter().copied()), "in another order");
    let read = serde_scope::read::<Letter>(&node, &again, &mut handles).expect("what was written can be read");
    assert_eq!((read.named(), read.text), (named, letter.text));
}
