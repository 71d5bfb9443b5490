//! Deviations of a stream from the frames that a writer may write.

use crate::unstructured::Unstructured;
use crate::wire::frames::LENGTH;

/// Number of bytes behind the length of a frame that are changed more often than others: they carry the most meaning.
const FRONT: usize = 40;

/// A kind of deviation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deviation {
    /// The frame says something untrue: a number without a meaning, a piece of no frame.
    InValue,
    /// The payload ends too early, and the length agrees.
    CutShort,
    /// A byte of the frame is another.
    OtherByte,
    /// A byte of the frame, which may be a count, is one less.
    OneLess,
    OneMore,
    /// The frame's length is another.
    OtherLength,
    /// A number in the frame, if there is one, takes more bytes than it needs, or than any number may take.
    LongNumber,
    /// Bytes that are no frame stand before the frame.
    NoFrame,
}

pub(crate) const ALL: [Deviation; 8] = [
    Deviation::InValue,
    Deviation::CutShort,
    Deviation::OtherByte,
    Deviation::OneLess,
    Deviation::OneMore,
    Deviation::OtherLength,
    Deviation::LongNumber,
    Deviation::NoFrame,
];

impl Deviation {
    pub(crate) fn decided(choices: &mut Unstructured<'_>) -> Deviation {
        // An untrue frame lets a reader go on longer than a broken one.
        *ALL.get(choices.below(12)).unwrap_or(&Deviation::InValue)
    }

    /// Applies the deviation to a frame, or to any bytes longer than a frame's length field.
    pub(crate) fn done_to(self, frame: &mut Vec<u8>, choices: &mut Unstructured<'_>) {
        let at = place(choices, frame.len());
        match self {
            Deviation::InValue => {}
            Deviation::CutShort => {
                frame.truncate(at.max(LENGTH + 1));
                agree(frame);
            }
            Deviation::OtherByte => frame[at] = choices.byte(),
            Deviation::OneLess => frame[at] = frame[at].wrapping_sub(1),
            Deviation::OneMore => frame[at] = frame[at].wrapping_add(1),
            Deviation::OtherLength => {
                let true_length = (frame.len() - LENGTH) as u32;
                set_length(
                    frame,
                    match choices.below(4) {
                        0 => choices.number() as u32,
                        1 => choices.below(8) as u32,
                        2 => true_length.wrapping_sub(1 + choices.below(8) as u32),
                        _ => true_length + 1 + choices.below(8) as u32,
                    },
                );
            }
            Deviation::LongNumber => {
                let at = at.max(LENGTH + 1).min(frame.len() - 1);
                let last = frame[at];
                let longer = std::iter::repeat_n(0x80, choices.below(12)).chain([0]);
                frame.splice(at..=at, [last | 0x80].into_iter().chain(longer));
                agree(frame);
            }
            Deviation::NoFrame => {
                let noise: Vec<_> = (0..1 + choices.below(16)).map(|_| choices.byte()).collect();
                frame.splice(..0, noise);
            }
        }
    }
}

/// Returns a position in `len` bytes, mostly near the front and behind the length.
fn place(choices: &mut Unstructured<'_>, len: usize) -> usize {
    match choices.below(8) {
        0 => choices.below(len),
        1 => choices.below(LENGTH),
        _ => LENGTH + choices.below((len - LENGTH).min(FRONT)),
    }
}

/// Sets the length field to the true length.
fn agree(frame: &mut [u8]) {
    let len = (frame.len() - LENGTH) as u32;
    set_length(frame, len);
}

fn set_length(frame: &mut [u8], len: u32) {
    frame[..LENGTH].copy_from_slice(&len.to_le_bytes());
}
