//! Fuzzed: one hello, or one frame. A frame that can be read can be written again, and then means the same; announced
//! lengths and counts are not believed.

use std::fmt;

use bytes::BytesMut;

use super::super::codec::Violation;
use super::super::codec::put_number;
use super::super::hello::Hello;
use super::super::hello::HelloFront;
use super::super::hello::ListenerHello;
use super::super::hello::PREFIX;
use super::kinds::KINDS;
use super::kinds::Kind;
use super::kinds::with_bindings;
use super::values::written;
use crate::unstructured::AllocMeter;
use crate::wire::frames::Front;
use crate::wire::frames::LENGTH;
use crate::wire::frames::front;
use crate::wire::frames::shape::put_names;
use crate::wire::frames::shape::read_names;

/// Memory that a frame may take for each of its bytes, as text and in parts: a handle of one byte takes a hundred or
/// so, and vectors grow by doubling.
const PER_BYTE: u64 = 4_096;

/// Memory that a frame may take in addition, whatever its length. Room for the maximum number of handles would exceed
/// this.
const AT_LEAST: u64 = 64 << 10;

/// Reads the bytes as a hello and as a frame.
pub(crate) fn run(bytes: &[u8], meter: AllocMeter) {
    envelope(bytes);
    hellos(bytes);
    let Some((&kind, payload)) = bytes.get(LENGTH..).and_then(<[u8]>::split_first) else { return };
    // The length field is ignored, so that a fuzzer that changes a frame need not change its length as well.
    if let Some(known) = KINDS.iter().find(|known| known.number == kind) {
        frame(known, payload, meter);
    }
    names(payload);
}

/// Reads the front of a buffer, for every limit near its length.
fn envelope(bytes: &[u8]) {
    let len = bytes.len();
    for limit in [0, len.saturating_sub(LENGTH + 1), len.saturating_sub(LENGTH), len, usize::MAX] {
        match front(bytes, limit) {
            Ok(Front::Frame(raw)) => {
                assert_eq!(raw.size, raw.payload.len() + 1 + LENGTH);
                assert!(raw.size <= len && raw.size - LENGTH <= limit);
            }
            Ok(Front::Wants(more)) => assert!(more > 0 && len + more <= limit.max(1).saturating_add(LENGTH)),
            Err(_) => {}
        }
    }
}

fn hellos(bytes: &[u8]) {
    hello(bytes, Hello::front, Hello::put);
    hello(bytes, ListenerHello::front, ListenerHello::put);
}

fn hello<H: Clone + PartialEq + fmt::Debug>(
    bytes: &[u8],
    front: fn(&[u8], usize) -> Result<HelloFront<H>, Violation>,
    put: fn(&H, &mut BytesMut),
) {
    let limit = bytes.len().max(PREFIX);
    let (hello, size) = match front(bytes, limit) {
        Ok(HelloFront::Hello(hello, size)) => (hello, size),
        Ok(HelloFront::Wants(more)) => return assert!(more > 0 && bytes.len() + more <= limit),
        Err(_) => return,
    };
    assert!(size <= bytes.len());
    assert!(front(bytes, size - 1).is_err(), "a hello over the limit");
    for cut in [0, PREFIX / 2, PREFIX, (PREFIX + size) / 2, size - 1] {
        let wants = front(&bytes[..cut], limit);
        assert!(matches!(wants, Ok(HelloFront::Wants(more)) if more > 0 && cut + more <= size), "{wants:?} at {cut}");
    }
    let again = written(|out| put(&hello, out));
    // Written again, a hello lacks the extensions that it may have had.
    assert!(again.len() <= size || again.len() <= bytes.len());
    assert_eq!(front(&again, again.len()), Ok(HelloFront::Hello(hello, again.len())));
}

/// Checks that a frame that is written again means the same.
fn frame(kind: &Kind, payload: &[u8], meter: AllocMeter) {
    let (mut said, mut reader) = (None, with_bindings());
    let held = meter(&mut || said = Some((kind.read)(payload, &mut reader)));
    let most = AT_LEAST + PER_BYTE * payload.len() as u64;
    assert!(held <= most, "{held} bytes for {} of kind {}", payload.len(), kind.number);
    let Some(Ok(said)) = said else { return };
    let Ok(Front::Frame(again)) = front(&said.again, usize::MAX) else { panic!("what was written is no frame") };
    assert_eq!((again.kind, again.size), (kind.number, said.again.len()));
    let repeated = (kind.read)(again.payload, &mut with_bindings());
    assert_eq!(repeated.as_ref(), Ok(&said), "kind {}", kind.number);
}

/// Reads the names that an answer may have.
fn names(answer: &[u8]) {
    let Ok(names) = read_names(answer, usize::MAX) else { return };
    assert!(names.len() <= answer.len());
    let mut again = BytesMut::new();
    put_names(&mut again, usize::MAX, names.iter().copied());
    assert_eq!(read_names(&again, names.len()).as_ref(), Ok(&names));
    if let Some(fewer) = names.len().checked_sub(1) {
        assert!(read_names(&again, fewer).is_err(), "more names than asked for");
    }
    // The names that fit are written, in order.
    let mut part = BytesMut::new();
    put_names(&mut part, answer.len() / 2, names.iter().copied());
    assert!(part.len() <= answer.len() / 2 && again.starts_with(&part));
    put_number(&mut again, 0);
    assert!(read_names(&again, usize::MAX).is_ok_and(|more| more.len() == names.len() + 1));
}
