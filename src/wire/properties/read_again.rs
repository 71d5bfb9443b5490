//! Written frames are read again.

use super::*;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn numbers(number in number(), behind in vec(any::<u8>(), 0..3)) {
        let bytes = written(|out| put_number(out, number));
        prop_assert!(bytes.len() <= MAX_NUMBER);
        if number < 1 << 56 {
            let (packed, size) = packed_number(number);
            let packed = packed.to_le_bytes();
            prop_assert_eq!(packed.get(..size), Some(bytes.as_slice()));
        }
        let all = [bytes.as_slice(), &behind].concat();
        let mut reader = Reader::new(&all);
        prop_assert_eq!(reader.number(), Ok(number));
        prop_assert_eq!(reader.rest(), behind);
    }

    #[test]
    fn introductions_within_their_bound(told in told(), behind in vec(any::<u8>(), 0..3)) {
        let introduction = told.introduction();
        let bytes = written(|out| introduction.put(out));
        prop_assert!(bytes.len() <= introduction.size_bound());
        let all = [bytes.as_slice(), &behind].concat();
        let mut reader = Reader::new(&all);
        prop_assert_eq!(Introduction::read(&mut reader), Ok(introduction));
        prop_assert_eq!(reader.rest(), behind);
    }

    #[test]
    fn handles(held in held(0..1_u64 << 62), behind in vec(any::<u8>(), 0..3)) {
        let all = [written(|out| handle(&held).put(out)), behind.clone()].concat();
        let mut reader = Reader::new(&all);
        prop_assert_eq!(Handle::read(&mut reader), Ok(handle(&held)));
        prop_assert_eq!(reader.rest(), behind);
    }

    #[test]
    fn hellos(hello in any_hello(), behind in vec(any::<u8>(), 0..3)) {
        let bytes = written(|out| hello.put(out));
        let all = [bytes.as_slice(), &behind].concat();
        prop_assert_eq!(Hello::front(&all, bytes.len()), Ok(HelloFront::Hello(hello, bytes.len())));
        let too_long = Violation::HelloTooLong { len: bytes.len(), limit: bytes.len() - 1 };
        prop_assert_eq!(Hello::front(&all, bytes.len() - 1), Err(too_long));
    }

    #[test]
    fn frames_at_most_as_long_as_the_limit(bytes in any_frame(), behind in vec(any::<u8>(), 0..3)) {
        let all = [bytes.as_slice(), &behind].concat();
        let len = bytes.len() - LENGTH;
        let raw = Raw { kind: bytes[LENGTH], payload: &bytes[LENGTH + 1..], size: bytes.len() };
        prop_assert_eq!(front(&all, len), Ok(Front::Frame(raw)));
        prop_assert_eq!(front(&all, len - 1), Err(Violation::FrameTooLong { len, limit: len - 1 }));
    }

    #[test]
    fn hellos_of_listeners(hello in any_listener_hello(), behind in vec(any::<u8>(), 0..3)) {
        let bytes = written(|out| hello.put(out));
        let all = [bytes.as_slice(), &behind].concat();
        prop_assert_eq!(ListenerHello::front(&all, bytes.len()), Ok(HelloFront::Hello(hello, bytes.len())));
        let too_long = Violation::HelloTooLong { len: bytes.len(), limit: bytes.len() - 1 };
        prop_assert_eq!(ListenerHello::front(&all, bytes.len() - 1), Err(too_long));
    }

    #[test]
    fn proofs_and_welcomes(proof in any_proof(), welcome in any_welcome()) {
        let bytes = written(|out| proof.put(out));
        prop_assert_eq!(Proof::read(&bytes[LENGTH + 1..]), Ok(proof));
        let bytes = written(|out| welcome.put(out));
        prop_assert_eq!(Welcome::read(&bytes[LENGTH + 1..]), Ok(welcome));
    }

    #[test]
    fn releases(released in any_release()) {
        let bytes = written(|out| put_release(out, released.iter().copied()));
        prop_assert_eq!(read_counts(&bytes[LENGTH + 1..]).collect::<Result<Vec<_>, _>>(), Ok(released));
    }

    #[test]
    fn reports(read in number(), drops in vec((target(), any::<u64>(), 0..DropReason::ALL.len(), number()), 0..9)) {
        let dropped = |(target, fingerprint, reason, count)| {
            (Account { target, fingerprint }, DropReason::ALL[reason], count)
        };
        let drops: Vec<_> = drops.into_iter().map(dropped).collect();
        let bytes = written(|out| put_report(out, read, drops.iter().cloned()));
        let (told, entries) = read_report(&bytes[LENGTH + 1..]).unwrap();
        prop_assert_eq!(told, read);
        let entries: Vec<_> = entries.map(Result::unwrap).map(|it| (it.account, it.reason.unwrap(), it.count)).collect();
        prop_assert_eq!(entries, drops);
    }

    #[test]
    fn questions_and_answers(
        question in prop_oneof![
            any::<u64>().prop_map(Question::Fingerprint),
            target().prop_map(Question::Box),
            text(MAX_NAME).prop_map(|name| Question::NamesAfter(name.into())),
        ],
        answer in vec(any::<u8>(), 0..40),
    ) {
        let asked = written(|out| question.ask(out));
        prop_assert_eq!(Question::read_asked(&asked[LENGTH + 1..]), Ok(question.clone()));
        let answered = written(|out| question.answer(out, &answer));
        prop_assert_eq!(Question::read_answered(&answered[LENGTH + 1..]), Ok((question, answer.as_slice())));
    }

    #[test]
    fn pings(nonce in any::<u64>(), read in number()) {
        let ping = Ping { nonce, read };
        let bytes = written(|out| ping.put(out, kind::PING));
        prop_assert_eq!(Ping::read(&bytes[LENGTH + 1..]), Ok(ping));
    }

    #[test]
    fn goodbyes_with_long_details_clipped(code in 5_u8.., read in number(), detail in text(2 * MAX_DETAIL)) {
        let known = [Farewell::Shutdown, Farewell::Unneeded, Farewell::Violation, Farewell::NoRoom, Farewell::Refused];
        for why in known.into_iter().chain([Farewell::Other(code)]) {
            let bytes = written(|out| Goodbye { why, read, detail: &detail }.put(out));
            let goodbye = Goodbye::read(&bytes[LENGTH + 1..]).unwrap();
            prop_assert_eq!((goodbye.why, goodbye.read), (why, read));
            prop_assert!(detail.starts_with(goodbye.detail));
            // A character has four bytes at most, so no more than three are clipped needlessly.
            prop_assert!(goodbye.detail.len() >= detail.len().min(MAX_DETAIL - 3));
        }
    }

    #[test]
    fn refuses_with_long_details_clipped(
        correlation in number(),
        why in any_unanswered(),
        detail in text(2 * MAX_DETAIL),
    ) {
        let bytes = written(|out| Refuse { correlation, why, detail: &detail }.put(out));
        let refuse = Refuse::read(&bytes[LENGTH + 1..]).unwrap();
        prop_assert_eq!((refuse.correlation, refuse.why), (correlation, why));
        prop_assert!(detail.starts_with(refuse.detail));
        prop_assert!(refuse.detail.len() >= detail.len().min(MAX_DETAIL - 3));
    }

    #[test]
    fn cancels(correlation in number()) {
        let bytes = written(|out| put_cancel(out, correlation));
        prop_assert_eq!(read_cancel(&bytes[LENGTH + 1..]), Ok(correlation));
    }

    #[test]
    fn posts_asks_and_answers_as_a_plain_map_of_numbers_would_have_it(
        messages in vec((any_kind_with_a_body(), number(), any_post(0..400_u64)), 1..if cfg!(miri) { 5 } else { 30 }),
        limit in 0..70_usize,
    ) {
        let limit = limit.max(MIN_NUMBERS);
        // Mostly numbers that come again, sometimes the last one, which is rarely set, and the one behind it.
        let spread = |held: &mut Held| {
            held.1 = match held.1 {
                398 => limit as u64 - 1,
                399 => limit as u64,
                any => any % 10,
            }
        };
        let mut incoming = Incoming::new(limit);
        let mut plain = Plain::new(limit);
        let mut read = 0;
        for (kind, correlation, mut post) in [(kind::POST, 0, all_set())].into_iter().chain(messages) {
            spread(&mut post.to);
            post.handles.iter_mut().flatten().for_each(spread);
            let target = (kind != kind::ANSWER).then_some(&post.to);
            let named = target.into_iter().chain(post.handles.iter().flatten());
            let expected: Result<Vec<_>, _> = named.map(|held| plain.look_up(&handle(held))).collect();
            let payload = post.written_as(kind, correlation);
            let came = came(kind, &payload, &mut incoming, &post);
            let expected = expected.map(|named| (if kind == kind::POST { 0 } else { correlation }, named));
            prop_assert_eq!(&came, &expected);
            // A violation is no message, and an answer does not count as one.
            read += u64::from(came.is_ok() && kind != kind::ANSWER);
            prop_assert_eq!(incoming.posts(), read);
            if came.is_err() {
                return Ok(());
            }
        }
    }
}

/// Reads a frame and returns its correlation, its target, if it has one, and its handles; the rest must be that of
/// `post`.
fn came(
    kind: u8,
    payload: &[u8],
    incoming: &mut Incoming<String>,
    post: &AnyPost,
) -> Result<(u64, Vec<String>), Violation> {
    let Understood { correlation, named, extensions, body, .. } = understood(kind, payload, incoming)?;
    assert_eq!(body, post.body);
    if kind != kind::ANSWER {
        let mut pairs = post.extensions.iter().flatten();
        assert!(pairs.all(|(id, _)| extensions.find(*id) == post.extension(*id)));
    }
    Ok((correlation, named))
}

/// Returns a post that sets the numbers 0 to 9.
fn all_set() -> AnyPost {
    let told = Told::your_name("first");
    let set = |number| (1, number, told.clone());
    AnyPost { extensions: None, to: set(0), handles: Some((1..10).map(set).collect()), body: Vec::new() }
}
