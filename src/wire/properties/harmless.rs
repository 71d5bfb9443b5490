//! No bytes do harm: they are read or refused, and make the reader keep no more than it announced.

use std::fmt::Write;

use super::*;
use crate::wire::fuzz::stream::*;

const LONGEST: usize = 60;
const FRAMES: usize = if cfg!(miri) { 20 } else { 80 };

proptest! {
    #![proptest_config(config())]

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..400), limit in 0..500_usize) {
        match front(&bytes, limit) {
            Ok(Front::Frame(raw)) => prop_assert!(raw.size <= bytes.len() && raw.size <= limit + LENGTH),
            Ok(Front::Wants(more)) => prop_assert!(more > 0 && bytes.len() + more <= limit.max(1) + LENGTH),
            Err(_) => {}
        }
        for start in [&[][..], &MAGIC, &[MAGIC.as_slice(), &[1, 0, 1, 0, 60, 0, 0, 0]].concat()] {
            let bytes = [start, &bytes].concat();
            match Hello::front(&bytes, limit) {
                Ok(HelloFront::Hello(_, size)) => prop_assert!(size <= bytes.len() && size <= limit),
                Ok(HelloFront::Wants(more)) => prop_assert!(more > 0 && bytes.len() + more <= limit.max(PREFIX)),
                Err(_) => {}
            }
        }
        for kind in 0..=u8::MAX {
            // Checks only that reading returns: most of these bytes mean nothing.
            let _ = said(kind, &bytes, &mut Incoming::new(MIN_NUMBERS));
        }
        // Reading ends at the first error.
        let most = bytes.len() / 17 + 1;
        prop_assert!(read_counts(&bytes).take(most + 1).count() <= most);
        // Each entry of a report takes eleven bytes at least.
        if let Ok((_, drops)) = read_report(&bytes) {
            prop_assert!(drops.take(bytes.len() / 11 + 2).count() <= bytes.len() / 11 + 1);
        }
        let _ = (Question::read_asked(&bytes), Question::read_answered(&bytes));
        if let Ok(names) = read_names(&bytes, usize::MAX) {
            prop_assert!(names.len() <= bytes.len());
        }
    }

    #[test]
    fn no_post_ask_or_answer_makes_the_reader_keep_more_than_it_announced(
        frames in vec(
            (any_kind_with_a_body(), 0..4_u8, vec(prop_oneof![4 => 0..12_u8, 1 => any::<u8>()], 0..LONGEST)),
            1..FRAMES,
        ),
    ) {
        // Small bytes are more often tags, forms and short lengths, so that more of these frames have a meaning.
        let mut keeper = Keeper::new(MIN_NUMBERS);
        for (kind, flags, bytes) in frames {
            let payload = [&[flags], bytes.as_slice()].concat();
            let _ = keeper.take(Raw { kind, payload: &payload, size: LENGTH + 1 + payload.len() });
        }
    }

    #[test]
    fn a_frame_cut_short_is_waited_for(bytes in any_frame(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(bytes.len());
        match front(&bytes[..cut], bytes.len()) {
            Ok(Front::Wants(more)) => prop_assert!(more > 0 && cut + more <= bytes.len()),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn a_hello_cut_short_is_waited_for(hello in any_hello(), cut in any::<prop::sample::Index>()) {
        let bytes = written(|out| hello.put(out));
        let cut = cut.index(bytes.len());
        match Hello::front(&bytes[..cut], bytes.len()) {
            Ok(HelloFront::Wants(more)) => prop_assert!(more > 0 && cut + more <= bytes.len()),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn a_frame_that_ends_too_early_says_nothing_else(bytes in any_frame(), cut in any::<prop::sample::Index>()) {
        let (kind, payload) = (bytes[LENGTH], &bytes[LENGTH + 1..]);
        prop_assume!(!payload.is_empty());
        let cut = &payload[..cut.index(payload.len())];
        let (mut whole, mut part) = (with_bindings(), with_bindings());
        match kind {
            // A body goes to the end of its frame, wherever that is.
            kind::POST | kind::ASK | kind::ANSWER => {
                let whole = understood(kind, payload, &mut whole).unwrap();
                if let Ok(part) = understood(kind, cut, &mut part) {
                    prop_assert_eq!((part.correlation, part.named), (whole.correlation, whole.named));
                    prop_assert_eq!(part.extensions, whole.extensions);
                    prop_assert!(whole.body.starts_with(part.body) && part.body.len() < whole.body.len());
                }
            }
            kind::RELEASE => {
                let whole: Vec<_> = read_counts(payload).collect();
                let mut part: Vec<_> = read_counts(cut).take(whole.len() + 1).collect();
                if part.pop_if(|entry| *entry == Err(Violation::Truncated)).is_none() {
                    prop_assert!(part.len() < whole.len());
                }
                prop_assert!(whole.starts_with(&part));
            }
            _ => prop_assert_eq!(said(kind, cut, &mut part), Err(Violation::Truncated)),
        }
    }

    #[test]
    fn a_changed_byte_is_read_or_refused(
        mut bytes in any_frame(),
        at in any::<prop::sample::Index>(),
        bits in 1..=u8::MAX,
    ) {
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        if let Ok(Front::Frame(raw)) = front(&bytes, 1 << 20) {
            prop_assert!(raw.size <= bytes.len());
            let _ = said(raw.kind, raw.payload, &mut with_bindings());
        }
    }

    #[test]
    fn a_changed_byte_of_a_hello_is_read_or_refused(
        hello in any_hello(),
        at in any::<prop::sample::Index>(),
        bits in 1..=u8::MAX,
    ) {
        let mut bytes = written(|out| hello.put(out));
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        let read = Hello::front(&bytes, 1 << 20);
        prop_assert!(read != Ok(HelloFront::Hello(hello, bytes.len())));
        prop_assert!(at >= MAGIC.len() || read == Err(Violation::NotHermod));
    }

    #[test]
    fn a_stream_says_the_same_in_whatever_pieces_it_comes(
        hello in any_hello(),
        frames in vec(any_frame(), 0..if cfg!(miri) { 3 } else { 8 }),
        pieces in vec(1..200_usize, 1..20),
    ) {
        let mut whole = with_bindings();
        let mut expected = format!("{hello:?}");
        for frame in &frames {
            let said = said(frame[LENGTH], &frame[LENGTH + 1..], &mut whole).unwrap();
            write!(expected, " {said}").unwrap();
        }
        let hello = written(|out| hello.put(out));
        let stream = [hello, frames.concat()].concat();
        let announced = Announced { hello: true, max_frame: 1 << 14, numbers: MIN_NUMBERS };
        prop_assert_eq!(heard(&stream, &pieces, announced, with_bindings()).text, expected);
    }
}

#[test]
fn an_announced_count_is_not_believed() {
    let mut incoming = with_bindings();
    let mut refused = |payload: &[u8]| incoming.post(payload, &mut meaning).unwrap_err();
    // An announcement of 16,384 handles that are not there; then of one more than allowed.
    assert_eq!(refused(&[flag::HANDLES, 0, 0x80, 0x80, 1]), Violation::Truncated);
    let limit = MAX_HANDLES;
    assert_eq!(refused(&[flag::HANDLES, 0, 0x81, 0x80, 1]), Violation::ListTooLong { len: 16_385, limit });
    // An extension block of 2^63 bytes; a name of 2^35.
    assert_eq!(
        refused(&[flag::EXTENSIONS, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]),
        Violation::Truncated
    );
    assert_eq!(refused(&[0, 2, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 1]), Violation::Truncated);
    // The same counts of handles in an answer, behind the correlation.
    let mut refused = |payload: &[u8]| incoming.answer(payload, &mut meaning).unwrap_err();
    assert_eq!(refused(&[flag::HANDLES, 0, 0x80, 0x80, 1]), Violation::Truncated);
    assert_eq!(refused(&[flag::HANDLES, 0, 0x81, 0x80, 1]), Violation::ListTooLong { len: 16_385, limit });
}

#[test]
fn a_number_reserves_no_more_than_was_announced() {
    let set = |number: u64| {
        written(|out| {
            out.put_u8(0);
            put_number(out, number << 2 | 1);
            out.put_slice(&[0, 1, b'n']);
        })
    };
    let mut incoming = Incoming::new(100);
    // There is no accessor for the number of slots, so they are counted in the debug text.
    let slots = |incoming: &Incoming<()>| {
        let text = format!("{incoming:?}");
        text.split_once("slots").unwrap().1.split_once(']').unwrap().0.matches("None").count()
    };
    for number in [100, 1 << 32, u64::MAX >> 2] {
        let refused = incoming.post(&set(number), &mut |_: &Introduction<'_>| ()).unwrap_err();
        assert_eq!(refused, Violation::NumberOutOfRange { number, limit: 100 });
        assert_eq!(slots(&incoming), 0);
    }
    incoming.post(&set(99), &mut |_: &Introduction<'_>| ()).unwrap();
    assert_eq!(slots(&incoming), 99);
}
