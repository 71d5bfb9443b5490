//! How boxes at the other end fare: whether they are open, and how full they are.

use bytes::BufMut;
use bytes::BytesMut;

use super::codec::MAX_NUMBER;
use super::codec::Reader;
use super::codec::Violation;
use super::frame::Extensions;
use super::frame::kind;
use super::frame::put_frame;
use super::report::Target;
use crate::ident::MAX_NAME;

/// The longest box in these frames, with its kind and a byte besides.
pub(crate) const LONGEST: usize = 3 + MAX_NUMBER + MAX_NAME;

/// Asks to be told once when a box closes, or takes that back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Watch {
    pub(crate) target: Target,
    /// False takes it back.
    pub(crate) on: bool,
}

impl Watch {
    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_frame(out, kind::WATCH, |out| {
            out.put_u8(u8::from(self.on));
            self.target.put(out);
        });
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Watch, Violation> {
        let mut reader = Reader::new(payload);
        let on = match reader.u8()? {
            0 => false,
            1 => true,
            form => return Err(Violation::UnknownForm(form)),
        };
        let watch = Watch { target: Target::read(&mut reader)?, on };
        Extensions::all(reader.rest())?;
        Ok(watch)
    }
}

/// Why nothing reaches a box any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gone {
    /// It has closed, or there was none.
    Closed,
    /// It is that of a third node, which is gone.
    Node,
    /// It is that of a third node, to which there is no connection any more.
    Connection,
    /// A reason of a later version.
    Other(u8),
}

impl Gone {
    fn code(self) -> u8 {
        match self {
            Gone::Closed => 0,
            Gone::Node => 1,
            Gone::Connection => 2,
            Gone::Other(code) => code,
        }
    }

    fn from_code(code: u8) -> Gone {
        match code {
            0 => Gone::Closed,
            1 => Gone::Node,
            2 => Gone::Connection,
            _ => Gone::Other(code),
        }
    }
}

/// A box that was watched is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Closed {
    pub(crate) target: Target,
    pub(crate) why: Gone,
}

impl Closed {
    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_frame(out, kind::CLOSED, |out| {
            self.target.put(out);
            out.put_u8(self.why.code());
        });
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Closed, Violation> {
        let mut reader = Reader::new(payload);
        let closed = Closed { target: Target::read(&mut reader)?, why: Gone::from_code(reader.u8()?) };
        Extensions::all(reader.rest())?;
        Ok(closed)
    }
}

/// How full boxes are: 0 is empty, 255 is full.
pub(crate) fn put_pressure(out: &mut BytesMut, fills: impl IntoIterator<Item = (Target, u8)>) {
    put_frame(out, kind::PRESSURE, |out| {
        for (target, fill) in fills {
            target.put(out);
            out.put_u8(fill);
        }
    });
}

/// Reads what [`put_pressure`] wrote, one entry at a time.
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
