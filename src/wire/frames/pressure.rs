//! Pressure: the fill levels of boxes.

use bytes::BufMut;
use bytes::BytesMut;

use super::kind;
use super::put_frame;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::target::Target;

/// Writes the fill levels of boxes: 0 is empty, 255 is full.
pub(crate) fn put_pressure(out: &mut BytesMut, fills: impl IntoIterator<Item = (Target, u8)>) {
    put_frame(out, kind::PRESSURE, |out| {
        for (target, fill) in fills {
            target.put(out);
            out.put_u8(fill);
        }
    });
}

/// Reads the entries written by [`put_pressure`], one at a time.
pub(crate) fn read_pressure(payload: &[u8]) -> impl Iterator<Item = Result<(Target, u8), Violation>> {
    let mut reader = Reader::new(payload);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let entry = Target::read(&mut reader).and_then(|target| Ok((target, reader.u8()?)));
        if entry.is_err() {
            reader = Reader::new(&[]);
        }
        Some(entry)
    })
}
