//! Each violation is caused by the bytes that should cause it, and there are no others.

use super::*;

/// Number of violations that the bytes of one hello or frame can cause.
const CAUSED: usize = 14;

/// Returns the place of a violation among them: this does not compile until a new violation has one too.
fn place(violation: &Violation) -> usize {
    match violation {
        Violation::NotHermod => 0,
        Violation::Version { .. } => 1,
        Violation::HelloTooLong { .. } => 2,
        Violation::FrameTooLong { .. } => 3,
        Violation::EmptyFrame => 4,
        Violation::Truncated => 5,
        Violation::NumberTooLong => 6,
        Violation::NotUtf8 => 7,
        Violation::TextTooLong { .. } => 8,
        Violation::ListTooLong { .. } => 9,
        Violation::UnknownFlags(_) => 10,
        Violation::UnknownForm(_) => 11,
        Violation::NumberOutOfRange { .. } => 12,
        Violation::NumberUnset(_) => 13,
        // These violations depend on the order and the direction of frames; they are detected and tested in other
        // modules.
        Violation::UnknownKind(_)
        | Violation::OutOfTurn(_)
        | Violation::AskedAgain(_)
        | Violation::FragmentAstray(_)
        | Violation::RefusalsUnread
        | Violation::TooSlow { .. }
        | Violation::Unfinished { .. }
        | Violation::Unproven => CAUSED,
    }
}

/// An expected violation, and the one that the bytes caused.
type Case = (Violation, Violation);

#[test]
fn is_caused_by_the_bytes_that_should_cause_it() {
    let cases = [hellos(), numbers_and_texts(), lists(), posts(), requests()].concat();
    for (at, (expected, got)) in cases.iter().enumerate() {
        assert_eq!(expected, got, "case {at}");
    }
    for wanted in 0..CAUSED {
        assert!(cases.iter().any(|(expected, _)| place(expected) == wanted), "nothing causes violation {wanted}");
    }
}

fn hellos() -> Vec<Case> {
    let of_versions = |min: u16, max: u16| {
        let rest = [0; 49];
        let bytes = written(|out| {
            out.put_slice(&MAGIC);
            out.put_u16_le(min);
            out.put_u16_le(max);
            out.put_u32_le(rest.len() as u32);
            out.put_slice(&rest);
        });
        Hello::front(&bytes, 1024).unwrap_err()
    };
    let version = |min, max| Violation::Version { min, max, own: VERSION };
    let huge = [MAGIC.as_slice(), &[1, 0, 1, 0, 0xff, 0xff, 0xff, 0xff]].concat();
    vec![
        (Violation::NotHermod, Hello::front(b"G", 1024).unwrap_err()),
        (Violation::NotHermod, Hello::front(b"HERMOD\n", 1024).unwrap_err()),
        (version(2, 3), of_versions(2, 3)),
        (version(0, 0), of_versions(0, 0)),
        (version(3, 1), of_versions(3, 1)),
        (
            Violation::HelloTooLong { len: u32::MAX as usize + PREFIX, limit: 1024 },
            Hello::front(&huge, 1024).unwrap_err(),
        ),
        (Violation::FrameTooLong { len: 9, limit: 8 }, front(&[9, 0, 0, 0], 8).unwrap_err()),
        (Violation::EmptyFrame, front(&[0, 0, 0, 0], 8).unwrap_err()),
    ]
}

fn numbers_and_texts() -> Vec<Case> {
    let goodbye = |detail: &[u8]| {
        let payload = [&[0, 0], detail].concat();
        Goodbye::read(&payload).unwrap_err()
    };
    let number = |last: &[u8]| Reader::new(&[&[0xff; 9], last].concat()).number().unwrap_err();
    let long = written(|out| put_bytes(out, &[b'x'; MAX_DETAIL + 1]));
    vec![
        (Violation::Truncated, Proof::read(&[0; 113]).unwrap_err()),
        (Violation::Truncated, Ping::read(&[0; 8]).unwrap_err()),
        // An extension that ends behind its frame.
        (Violation::Truncated, Proof::read(&[&[0; 50][..], &[1, 1], &[0; 64]].concat()).unwrap_err()),
        (Violation::Truncated, Welcome::read(&[0; 65]).unwrap_err()),
        (Violation::Truncated, Ping::read(&[&[0; 9][..], &[1, 1]].concat()).unwrap_err()),
        (Violation::Truncated, goodbye(&[0, 1, 1])),
        (Violation::Truncated, goodbye(&[2, b'x'])),
        (Violation::Truncated, read_counts(&[0; 16]).next().unwrap().unwrap_err()),
        (Violation::NumberTooLong, number(&[2])),
        (Violation::NumberTooLong, number(&[0x81, 0])),
        (Violation::NumberTooLong, number(&[0xff, 0xff])),
        (Violation::NotUtf8, goodbye(&[1, 0xff])),
        (Violation::TextTooLong { len: 257, limit: MAX_DETAIL }, goodbye(&long)),
    ]
}

fn lists() -> Vec<Case> {
    let introduction = |told: Told| {
        let bytes = written(|out| told.introduction().put(out));
        Introduction::read(&mut Reader::new(&bytes)).unwrap_err()
    };
    let told = |form, name: usize, endpoint: usize| Told {
        form,
        id: [0; 16],
        others: [[0; 16]; 3],
        name: "n".repeat(name),
        endpoints: vec!["e".repeat(endpoint)],
        is_leased: false,
        fingerprint: 0,
    };
    let many = Told { endpoints: vec![String::new(); 9], ..told(3, 0, 0) };
    let name = Violation::TextTooLong { len: 256, limit: MAX_NAME };
    let endpoint = Violation::TextTooLong { len: 301, limit: MAX_ENDPOINT };
    let mut cases: Vec<Case> = [0, 2, 3, 4, 5, 6].map(|form| (name.clone(), introduction(told(form, 256, 0)))).to_vec();
    cases.extend([3, 4, 5, 6].map(|form| (endpoint.clone(), introduction(told(form, 0, 301)))));
    cases.push((Violation::ListTooLong { len: 9, limit: MAX_ENDPOINTS }, introduction(many)));
    // Welcomes: no endpoints, then too many ended connections; and too many endpoints.
    let welcome = |lists: &[u8]| Welcome::read(&[lists, &[0; SIGNATURE]].concat()).unwrap_err();
    let told = MAX_TOLD as u64 + 1;
    cases.push((Violation::ListTooLong { len: told, limit: MAX_TOLD }, welcome(&[0, told as u8])));
    cases.push((Violation::ListTooLong { len: 9, limit: MAX_ENDPOINTS }, welcome(&[9])));
    cases
}

fn posts() -> Vec<Case> {
    let post = |payload: &[u8]| Incoming::new(0).post(payload, &mut meaning).unwrap_err();
    let limit = MIN_NUMBERS;
    vec![
        (Violation::Truncated, post(&[])),
        (Violation::Truncated, post(&[0])),
        (Violation::Truncated, post(&[0, 2])),
        // A fingerprint that is announced and not there.
        (Violation::Truncated, post(&[0, 2, 0x10, 0])),
        (Violation::UnknownFlags(4), post(&[4])),
        (Violation::UnknownFlags(0xff), post(&[0xff])),
        (Violation::UnknownForm(7), post(&[0, 2, 7])),
        (Violation::UnknownForm(0x40), post(&[0, 2, 0x40])),
        (Violation::UnknownForm(0x80), post(&[0, 1, 0x80])),
        // The tag that is undefined, and an inline handle with a number.
        (Violation::UnknownForm(3), post(&[0, 3])),
        (Violation::UnknownForm(6), post(&[0, 6])),
        // *Set 63* is always allowed, *set 64* was not announced.
        (Violation::Truncated, post(&[0, 0xfd, 1])),
        (Violation::NumberOutOfRange { number: 64, limit }, post(&[0, 0x81, 2, 0, 0])),
        (Violation::NumberUnset(0), post(&[0, 0])),
        (Violation::NumberUnset(u64::MAX >> 2), post(&[0, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1])),
    ]
}

fn requests() -> Vec<Case> {
    let ask = |payload: &[u8]| Incoming::new(0).ask(payload, &mut meaning).unwrap_err();
    let answer = |payload: &[u8]| Incoming::new(0).answer(payload, &mut meaning).unwrap_err();
    let refuse = |payload: &[u8]| Refuse::read(payload).unwrap_err();
    // A request to a box without a name, with these bytes as its deadline.
    let deadline = |value: &[u8]| {
        let payload = written(|out| {
            out.put_slice(&[flag::EXTENSIONS, 7]);
            put_extensions(out, &[(extension::DEADLINE, value)]);
            out.put_slice(&[2, 0, 0]);
        });
        Incoming::new(0).ask(&payload, &mut meaning).unwrap().1.deadline().unwrap_err()
    };
    // A post to such a box, with these bytes as the number of its relays.
    let hops = |value: &[u8]| {
        let payload = written(|out| {
            out.put_u8(flag::EXTENSIONS);
            put_extensions(out, &[(extension::HOPS, value)]);
            out.put_slice(&[2, 0, 0]);
        });
        Incoming::new(0).post(&payload, &mut meaning).unwrap().hops().unwrap_err()
    };
    let long = [&[7, 0][..], &written(|out| put_bytes(out, &[b'x'; MAX_DETAIL + 1]))].concat();
    vec![
        (Violation::Truncated, ask(&[0])),
        (Violation::Truncated, ask(&[0, 7])),
        (Violation::Truncated, ask(&[flag::EXTENSIONS, 7, 1])),
        (Violation::UnknownFlags(4), ask(&[4, 7, 2, 0, 0])),
        (Violation::NumberTooLong, ask(&[&[0][..], &[0xff; 10]].concat())),
        (Violation::NumberUnset(0), ask(&[0, 7, 0])),
        (Violation::Truncated, deadline(&[])),
        (Violation::Truncated, deadline(&[0x80])),
        (Violation::NumberTooLong, deadline(&[0xff; 10])),
        (Violation::Truncated, hops(&[])),
        (Violation::Truncated, hops(&[0x80])),
        (Violation::NumberTooLong, hops(&[0xff; 10])),
        (Violation::Truncated, answer(&[])),
        (Violation::Truncated, answer(&[0])),
        (Violation::Truncated, answer(&[flag::HANDLES, 7])),
        (Violation::UnknownFlags(8), answer(&[8, 7])),
        (Violation::NumberTooLong, answer(&[&[0][..], &[0xff; 10]].concat())),
        (Violation::NumberUnset(1), answer(&[flag::HANDLES, 7, 1, 4])),
        (Violation::Truncated, refuse(&[7])),
        (Violation::Truncated, refuse(&[7, 0])),
        (Violation::Truncated, refuse(&[7, 0, 0, 1, 1])),
        (Violation::NotUtf8, refuse(&[7, 0, 1, 0xff])),
        (Violation::TextTooLong { len: 257, limit: MAX_DETAIL }, refuse(&long)),
        (Violation::Truncated, read_cancel(&[]).unwrap_err()),
        (Violation::Truncated, read_cancel(&[7, 1, 1]).unwrap_err()),
        (Violation::NumberTooLong, read_cancel(&[0xff; 10]).unwrap_err()),
    ]
}
