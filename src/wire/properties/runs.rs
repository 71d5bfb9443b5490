//! Posts read in a row mean the same as each read by itself, whatever else is in the stream, and whatever is done to
//! it.

use prop::sample::Index;

use super::*;
use crate::wire::batch::Posts;
use crate::wire::fuzz::runs::*;

/// Maximum numbers of posts that are read together.
const MOST: [usize; 6] = [0, 1, 2, 3, 32, usize::MAX];

/// Returns a number as it may be written: in as few bytes as possible, or in `longer` more.
fn written_number(number: u64, longer: usize) -> Vec<u8> {
    let mut bytes = written(|out| put_number(out, number));
    if longer > 0 {
        *bytes.last_mut().unwrap() |= 0x80;
        bytes.extend(vec![0x80; longer - 1]);
        bytes.push(0);
    }
    bytes
}

/// Returns a post that carries nothing but its body, for a target with a number; `tagged` is the number as written.
fn plain(tagged: &[u8], body: &[u8]) -> Vec<u8> {
    written(|out| {
        put_frame(out, kind::POST, |out| {
            out.put_u8(0);
            out.put_slice(tagged);
            out.put_slice(body);
        });
    })
}

/// Returns few different numbers, so that many posts in a row have the same; some are unset, and there are some of each
/// length.
fn few_numbers() -> BoxedStrategy<u64> {
    prop_oneof![8 => 0..3_u64, 2 => 30..35_u64, 2 => 60..70_u64, 1 => number()].boxed()
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![2 => vec(any::<u8>(), 0..4), 2 => vec(any::<u8>(), 0..40), 1 => vec(0..3_u8, 0..20)]
}

/// Returns posts in a row, with numbers that may be longer than needed, even longer than a number may be.
fn row() -> impl Strategy<Value = Vec<u8>> {
    let longer = prop_oneof![6 => Just(0_usize), 2 => 1..5_usize, 1 => 5..12_usize];
    (few_numbers(), longer, vec(any_body(), 1..9)).prop_map(|(number, longer, bodies)| {
        let tagged = written_number(number << 2, longer);
        bodies.iter().flat_map(|body| plain(&tagged, body)).collect()
    })
}

/// Returns one frame that is more than a body for a number, or nearly like the others.
fn other() -> impl Strategy<Value = Vec<u8>> {
    let post = (any_kind_with_a_body(), 0..4_u64, any_post(few_numbers())).prop_map(|(kind, correlation, post)| {
        written(|out| put_frame(out, kind, |out| out.put_slice(&post.written_as(kind, correlation))))
    });
    let flagged = (0..6_u8, few_numbers(), any_body()).prop_map(|(flags, number, body)| {
        let mut frame = plain(&written_number(number << 2, 0), &body);
        frame[LENGTH + 1] = flags;
        frame
    });
    let tagged = (number(), any_body()).prop_map(|(tagged, body)| plain(&written_number(tagged, 0), &body));
    let of_kind = (any::<u8>(), any_body())
        .prop_map(|(kind, payload)| written(|out| put_frame(out, kind, |out| out.put_slice(&payload))));
    prop_oneof![3 => post, 2 => flagged, 1 => tagged, 1 => of_kind, 1 => any_frame()]
}

/// Damage to a stream.
#[derive(Clone, Debug)]
struct Harm {
    bytes: Vec<(Index, u8)>,
    /// Frames whose length is replaced, and the lengths.
    lengths: Vec<(Index, u32)>,
    cut: Option<Index>,
}

fn any_harm() -> impl Strategy<Value = Harm> {
    let length = prop_oneof![3 => 0..12_u32, 2 => 0..300_u32, 1 => any::<u32>(), 1 => u32::MAX - 12..=u32::MAX];
    let bytes =
        prop_oneof![2 => vec((any::<Index>(), any::<u8>()), 0..1), 1 => vec((any::<Index>(), any::<u8>()), 1..5)];
    (
        bytes,
        prop_oneof![2 => vec((any::<Index>(), length.clone()), 0..1), 1 => vec((any::<Index>(), length), 1..3)],
        prop::option::of(any::<Index>()),
    )
        .prop_map(|(bytes, lengths, cut)| Harm { bytes, lengths, cut })
}

impl Harm {
    /// Damages the stream; `frames` are the positions at which the frames begin.
    fn done_to(&self, stream: &mut Vec<u8>, frames: &[usize]) {
        for (which, length) in &self.lengths {
            let at = *which.get(frames);
            stream[at..at + LENGTH].copy_from_slice(&length.to_le_bytes());
        }
        for (at, byte) in &self.bytes {
            let at = at.index(stream.len());
            stream[at] = *byte;
        }
        if let Some(cut) = self.cut {
            stream.truncate(cut.index(stream.len() + 1));
        }
    }
}

/// Returns frames of many kinds, most of them posts in a row.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let parts = vec(prop_oneof![3 => row(), 1 => other()], 1..8);
    (parts, any_harm()).prop_map(|(parts, harm)| {
        let mut stream = parts.concat();
        let mut frames = vec![];
        let mut begin = 0;
        while let Ok(Front::Frame(raw)) = front(&stream[begin..], usize::MAX) {
            frames.push(begin);
            begin += raw.size;
        }
        harm.done_to(&mut stream, &frames);
        stream
    })
}

fn any_limit() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(usize::MAX), 1 => Just(u32::MAX as usize), 2 => 0..60_usize, 1 => 0..300_usize]
}

/// Returns a reader: with bindings, the stream can use their numbers; all other numbers are unset.
fn reader(has_bindings: bool) -> Incoming<String> {
    if has_bindings { with_bindings() } else { Incoming::new(MIN_NUMBERS) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn rows_say_what_each_frame_says(
        stream in stream(),
        limit in any_limit(),
        pieces in vec(1..60_usize, 1..4),
        has_bindings in prop::bool::weighted(0.9),
    ) {
        let expected = one_by_one(&stream, limit, reader(has_bindings));
        for most in MOST {
            let whole = [stream.len().max(1)];
            prop_assert_eq!(&in_rows(&stream, limit, reader(has_bindings), &whole, &[most]).0, &expected);
            prop_assert_eq!(&in_rows(&stream, limit, reader(has_bindings), &pieces, &[most]).0, &expected);
        }
        prop_assert_eq!(in_rows(&stream, limit, reader(has_bindings), &[1], &MOST).0, expected);
    }

    /// Tries every beginning and every end in the stream, whatever stands there.
    #[test]
    fn a_row_is_found_only_where_there_is_one(stream in stream(), limit in any_limit()) {
        for begin in 0..stream.len().min(40) {
            for end in [stream.len(), stream.len().saturating_sub(1), begin + 13, begin + 24] {
                let Some(part) = stream.get(begin..end) else { continue };
                let expected = one_by_one(part, limit, with_bindings());
                prop_assert_eq!(in_rows(part, limit, with_bindings(), &[part.len().max(1)], &[32]).0, expected);
            }
        }
    }

    /// Guards against the other properties holding only because no row is ever found.
    #[test]
    fn a_row_is_found_where_there_is_one(
        number in 0..64_u64,
        bodies in vec(vec(any::<u8>(), 0..30), 2..80),
        most in 2..40_usize,
        longer in 0..4_usize,
    ) {
        let tagged = written_number(number << 2, longer);
        // The bytes of the last post that are compared exist, whatever comes behind it.
        let mut stream: Vec<u8> = bodies.iter().flat_map(|body| plain(&tagged, body)).collect();
        let (size, limit) = (stream.len(), 2 + 1 + tagged.len() + 30);
        stream.extend([0xff; 12]);
        let posts = Posts::at(&stream, limit, most).unwrap();
        prop_assert_eq!((posts.number(), posts.count()), (number, bodies.len().min(most)));
        prop_assert!(posts.bodies().eq(bodies.iter().take(most)));
        let (heard, in_rows) = in_rows(&stream[..size + 12], limit, with_bindings(), &[usize::MAX >> 1], &[most]);
        prop_assert!(in_rows + 1 >= bodies.len(), "{} of {}", in_rows, bodies.len());
        prop_assert_eq!(heard.posts, one_by_one(&stream, limit, with_bindings()).posts);
    }
}

/// Tries each length that a number may have, and longer ones.
#[test]
fn a_number_of_any_length_is_read_as_by_itself() {
    // With the tag, a number has seven bits less two in its first byte, and seven in each other.
    for number in (0..62).step_by(7).flat_map(|bit| [0, (1_u64 << bit) - 1, 1 << bit, 31 << bit, (1 << bit) << 5]) {
        for longer in 0..if cfg!(miri) { 1 } else { 12 } {
            for body in [&[][..], &[7], &[9; 20]] {
                let stream = plain(&written_number(number << 2, longer), body).repeat(3);
                for cut in 0..=stream.len() {
                    let expected = one_by_one(&stream[..cut], usize::MAX, with_bindings());
                    let heard = in_rows(&stream[..cut], usize::MAX, with_bindings(), &[cut.max(1)], &[32]).0;
                    assert_eq!(heard, expected, "{number} in {longer} bytes more than it needs");
                }
            }
        }
    }
}

/// The limit applies to each frame, to the byte.
#[test]
fn a_frame_over_the_limit_ends_a_row_before_it() {
    let frame = |len| plain(&[4], &vec![1; len]);
    for longest in 0..20 {
        let stream = [frame(3), frame(4), frame(longest), frame(2), frame(2), frame(12)].concat();
        for limit in 0..30 {
            let expected = one_by_one(&stream, limit, with_bindings());
            let heard = in_rows(&stream, limit, with_bindings(), &[stream.len()], &[32]).0;
            assert_eq!(heard, expected, "a body of {longest} bytes within {limit}");
            if longest + 3 > limit && limit >= 7 {
                let len = longest + 3;
                assert_eq!((heard.said.len(), heard.end), (2, Err(Violation::FrameTooLong { len, limit })));
            }
        }
    }
}

/// Bytes behind the number are not compared: they belong to the body, or to the next frame.
#[test]
fn bodies_differ_and_numbers_do_not() {
    let stream: Vec<u8> = (0..40).flat_map(|n| plain(&[8], &[n; 9][..usize::from(n % 10)])).collect();
    let posts = Posts::at(&stream, 100, 100).unwrap();
    assert_eq!((posts.number(), posts.count(), posts.size()), (2, 40, stream.len()));
    let other: Vec<u8> =
        [plain(&[8], &[1; 9]), plain(&[8], &[1; 9]), plain(&[12], &[1; 9]), plain(&[8], &[1; 9])].concat();
    assert_eq!(Posts::at(&other, 100, 100).map(|posts| posts.count()), Some(2));
    // The next post is not whole yet.
    let cut = [&plain(&[8], &[1; 9]).repeat(3)[..], &plain(&[8], &[1; 20])[..25]].concat();
    assert_eq!(Posts::at(&cut, 100, 100).map(|posts| posts.count()), Some(3));
    // The same number in another form ends the row: the post means the same, and is read by itself.
    let longer = [plain(&[8], &[1; 9]), plain(&[8], &[1; 9]), plain(&[0x88, 0], &[1; 9])].concat();
    assert_eq!(Posts::at(&longer, 100, 100).map(|posts| posts.count()), Some(2));
}
