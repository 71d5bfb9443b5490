//! Fuzzed: frames put together from pieces, compared with a plain implementation.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::wire::assembly::Assembly;
use crate::wire::assembly::MAX_OPEN;
use crate::wire::assembly::assembled;
use crate::wire::frames::Front;
use crate::wire::frames::fragment::Fragment;
use crate::wire::frames::front;
use crate::wire::frames::kind;

/// Puts together the frames in a stream of pieces, up to the first piece that does not fit.
pub(crate) fn run(stream: &[u8], max_frame: usize) {
    let (mut assembly, mut plain) = (Assembly::new(max_frame), Plain { limit: max_frame, ..Plain::default() });
    let (mut rest, mut now) = (stream, Duration::ZERO);
    while let Ok(Front::Frame(raw)) = front(rest, max_frame) {
        rest = &rest[raw.size..];
        now += Duration::from_secs(1);
        if raw.kind != kind::FRAGMENT {
            continue;
        }
        let Ok(fragment) = Fragment::read(raw.payload) else { return };
        let (whole, expected) = (assembly.add(fragment, now), plain.add(fragment));
        assert_eq!(whole.as_ref().ok().map(|whole| whole.as_deref()), expected.as_ref().map(|whole| whole.as_deref()));
        let Ok(whole) = whole else { return };
        if let Some(whole) = whole {
            assert!(whole.len() <= max_frame);
            if let Ok(raw) = assembled(&whole) {
                assert!(matches!(raw.kind, kind::POST | kind::ASK | kind::ANSWER));
                assert_eq!(raw.payload, &whole[1..]);
            }
            assembly.recycle(whole);
        }
        assert_eq!(assembly.is_empty(), plain.open.is_empty());
    }
    let open = plain.open.len();
    assert_eq!(assembly.drop_older_than(now + Duration::from_secs(1)), open);
    assert!(assembly.is_empty());
}

/// The plain implementation: keeps the bytes that have come of each frame, and its announced length.
#[derive(Default)]
struct Plain {
    open: BTreeMap<u64, (Vec<u8>, u128)>,
    begun: u64,
    limit: usize,
}

impl Plain {
    /// Adds a piece. Returns `Some(Some(…))` with the frame if it is whole, `Some(None)` if not, and `None` if the
    /// piece does not fit.
    fn add(&mut self, Fragment { stream, rest, piece }: Fragment<'_>) -> Option<Option<Vec<u8>>> {
        let announced: u128 = self.open.values().map(|(_, len)| len).sum();
        let len = piece.len() as u128 + u128::from(rest);
        if !self.open.contains_key(&stream) {
            let fits = announced + len <= self.limit as u128;
            if stream != self.begun || self.open.len() == MAX_OPEN || !fits {
                return None;
            }
            self.begun += 1;
            self.open.insert(stream, (Vec::new(), len));
        }
        let (so_far, len) = self.open.get_mut(&stream)?;
        so_far.extend(piece);
        if piece.is_empty() || so_far.len() as u128 + u128::from(rest) != *len {
            return None;
        }
        Some(if rest == 0 { self.open.remove(&stream).map(|(whole, _)| whole) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::values::written;
    use crate::wire::frames::fragment::put_fragment_head;

    proptest! {
        /// Most of these pieces fit together: a stream of random bytes hardly ever has two pieces of one frame.
        #[test]
        fn pieces_that_mostly_fit(
            pieces in vec((0..3_u64, 1..40_usize, 0..60_usize), 0..60),
            limit in 1..300_usize,
            lie in prop::option::weighted(0.2, 0..60_usize),
        ) {
            let (mut begun, mut open) = (0, Vec::<(u64, usize)>::new());
            let stream = written(|out| {
                for (at, (which, len, more)) in pieces.iter().enumerate() {
                    let (number, rest) = match open.get(*which as usize).copied() {
                        Some((number, left)) => (number, left.saturating_sub(*len)),
                        None => (begun, *more),
                    };
                    let len = open.get(*which as usize).map_or(*len, |(_, left)| *len.min(left));
                    if number == begun {
                        begun += 1;
                        open.push((number, rest));
                    }
                    open.retain_mut(|(other, left)| {
                        if *other == number {
                            *left = rest;
                        }
                        *left > 0
                    });
                    let rest = rest + usize::from(lie == Some(at));
                    put_fragment_head(out, number, rest, len);
                    out.resize(out.len() + len, number as u8);
                }
            });
            super::run(&stream, limit);
        }
    }
}
