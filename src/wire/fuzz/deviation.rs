//! Where a stream deviates from what a writer may write.

use crate::unstructured::Unstructured;
use crate::wire::frames::LENGTH;

/// Bytes behind the length of a frame that are changed more often than others: they say the most.
const FRONT: usize = 40;

/// How a frame deviates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deviation {
    /// It says something untrue: a number that means nothing, a piece of nothing.
    InValue,
    /// Its payload ends too early, and its length agrees.
    CutShort,
    /// A byte of it is another.
    OtherByte,
    /// A byte of it, which may be a count, is one less.
    OneLess,
    OneMore,
    /// Its length is another.
    OtherLength,
    /// A number, if one is there, takes more bytes than it needs, or than any may take.
    LongNumber,
    /// Bytes stand before it that are no frame.
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
        // One that says something untrue lets a reader go on longer than one that breaks its frame.
        *ALL.get(choices.below(12)).unwrap_or(&Deviation::InValue)
    }

    /// Does it to a frame, or to anything of more than a frame's length field.
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

/// Somewhere in that many bytes, mostly near the front and behind the length.
fn place(choices: &mut Unstructured<'_>, len: usize) -> usize {
    match choices.below(8) {
        0 => choices.below(len),
        1 => choices.below(LENGTH),
        _ => LENGTH + choices.below((len - LENGTH).min(FRONT)),
    }
}

/// Sets the length to what it is.
fn agree(frame: &mut [u8]) {
    let len = (frame.len() - LENGTH) as u32;
    set_length(frame, len);
}

fn set_length(frame: &mut [u8], len: u32) {
    frame[..LENGTH].copy_from_slice(&len.to_le_bytes());
}
