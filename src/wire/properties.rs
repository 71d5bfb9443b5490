//! What must hold for every value, every sequence of bytes and every order of events: that what was written is read
//! again, that no bytes do harm, and that between two ends no message ever reaches a box that it was not sent to.

use std::fmt::Write;

use bytes::BufMut;
use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::codec::*;
use super::control::*;
use super::frame::*;
use super::handshake::*;
use super::intern::MIN_NUMBERS;
use super::question::*;
use super::report::*;
use super::session::*;
use crate::ident::*;
use crate::observe::DropReason;

/// What a failure found is printed in full, so nothing is kept beside the sources. `PROPTEST_CASES` asks for more.
fn config() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}

fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    out.to_vec()
}

/// What an introduction says, owned.
#[derive(Clone, Debug)]
struct Told {
    form: u8,
    id: [u8; 16],
    others: [[u8; 16]; 2],
    name: String,
    endpoints: Vec<String>,
    counted: bool,
    fingerprint: u64,
}

impl Told {
    fn introduction(&self) -> Introduction<'_> {
        let (id, name) = (BoxId(self.id), self.name.as_str());
        let endpoint = self.endpoints.first().map_or("", String::as_str);
        let identity = match self.form {
            0 => Identity::YourName(name),
            1 => Identity::YourBox(id),
            2 => Identity::MyBox { id, name },
            3 => Identity::Third {
                node: NodeId(self.others[0]),
                id,
                via: BoxId(self.others[1]),
                name,
                endpoints: self.endpoints.iter().map(String::as_str).collect(),
            },
            4 => Identity::Place { endpoint, name },
            _ => Identity::YourPlace { endpoint, name },
        };
        Introduction { identity, counted: self.counted, fingerprint: self.fingerprint }
    }
}

fn told() -> impl Strategy<Value = Told> {
    let endpoints = vec(text(MAX_ENDPOINT), 0..=MAX_ENDPOINTS);
    let fingerprint = prop_oneof![Just(0), any::<u64>()];
    let ids = (any::<[u8; 16]>(), any::<[[u8; 16]; 2]>());
    (0..6_u8, ids, text(MAX_NAME), endpoints, any::<bool>(), fingerprint).prop_map(
        |(form, (id, others), name, endpoints, counted, fingerprint)| Told {
            form,
            id,
            others,
            name,
            endpoints,
            counted,
            fingerprint,
        },
    )
}

/// Texts of at most that many bytes, mostly short ones, and the longest.
fn text(limit: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        8 => vec(any::<char>(), 0..12).prop_map(String::from_iter),
        1 => vec(any::<char>(), limit..=limit).prop_map(move |chars| {
            let mut text = String::from_iter(chars);
            while text.len() > limit {
                text.pop();
            }
            text
        }),
        1 => Just("x".repeat(limit)),
    ]
}

/// Numbers of every length alike.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift)
}

/// A handle in a frame, owned: which tag, which number, what is said.
type Held = (u8, u64, Told);

fn held(numbers: impl Strategy<Value = u64>) -> impl Strategy<Value = Held> {
    (0..3_u8, numbers, told())
}

fn handle((tag, number, told): &Held) -> Handle<'_> {
    match tag {
        0 => Handle::Use(*number),
        1 => Handle::Set(*number, told.introduction()),
        _ => Handle::Inline(told.introduction()),
    }
}

/// A post as any writer may write it; an ask is one too, and so is an answer but for the target.
#[derive(Clone, Debug)]
struct AnyPost {
    extensions: Option<Vec<(u64, Vec<u8>)>>,
    to: Held,
    handles: Option<Vec<Held>>,
    body: Vec<u8>,
}

impl AnyPost {
    /// The payload of a post, an ask or an answer.
    fn written_as(&self, kind: u8, correlation: u64) -> Vec<u8> {
        written(|out| {
            let handles = if self.handles.is_some() { flag::HANDLES } else { 0 };
            out.put_u8(handles | if self.extensions.is_some() { flag::EXTENSIONS } else { 0 });
            if kind != kind::POST {
                put_number(out, correlation);
            }
            if let Some(extensions) = &self.extensions {
                let pairs: Vec<_> = extensions.iter().map(|(id, bytes)| (*id, bytes.as_slice())).collect();
                put_extensions(out, &pairs);
            }
            if kind != kind::ANSWER {
                handle(&self.to).put(out);
            }
            if let Some(handles) = &self.handles {
                put_number(out, handles.len() as u64);
                handles.iter().for_each(|held| handle(held).put(out));
            }
            out.put_slice(&self.body);
        })
    }
}

fn any_post(numbers: impl Strategy<Value = u64> + Clone) -> impl Strategy<Value = AnyPost> {
    let extensions = prop::option::of(vec((number(), vec(any::<u8>(), 0..9)), 0..4));
    let handles = prop::option::of(vec(held(numbers.clone()), 0..5));
    (extensions, held(numbers), handles, vec(any::<u8>(), 0..40)).prop_map(|(extensions, to, handles, body)| AnyPost {
        extensions,
        to,
        handles,
        body,
    })
}

fn any_hello() -> impl Strategy<Value = Hello> {
    let ids = any::<[[u8; 16]; 2]>();
    let numbers = (any::<u64>(), any::<u32>(), any::<u32>());
    (1..9_u16, ids, numbers, vec(text(MAX_ENDPOINT), 0..=MAX_ENDPOINTS)).prop_map(
        |(newest, [node, connection], (features, max_frame, numbers), endpoints)| Hello {
            versions: (1, newest),
            features,
            node: NodeId(node),
            connection: ConnectionId(connection),
            max_frame,
            numbers,
            endpoints,
        },
    )
}

fn any_resume() -> impl Strategy<Value = Resume> {
    // All but zeros, which stand for none.
    let told = (1..=u8::MAX, any::<[u8; 15]>(), number()).prop_map(|(first, rest, read)| {
        let mut id = [first; 16];
        id[1..].copy_from_slice(&rest);
        (ConnectionId(id), read)
    });
    (any::<[u8; 16]>(), vec(told, 0..=MAX_TOLD)).prop_map(|(token, told)| Resume { token: Token(token), told })
}

fn any_release() -> impl Strategy<Value = Vec<(BoxId, u64)>> {
    vec((any::<[u8; 16]>().prop_map(BoxId), number()), 0..6)
}

/// Every reason for a refuse, those of later versions included.
fn any_unanswered() -> impl Strategy<Value = Unanswered> {
    prop_oneof![
        Just(Unanswered::Abandoned),
        Just(Unanswered::NotEncodable),
        prop::sample::select(DropReason::ALL).prop_map(Unanswered::NotDelivered),
        prop_oneof![2..16_u8, 36..=u8::MAX].prop_map(Unanswered::Other),
    ]
}

fn any_kind_with_a_body() -> impl Strategy<Value = u8> {
    prop::sample::select(&[kind::POST, kind::ASK, kind::ANSWER][..])
}

/// Whole frames of every kind.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let ping = (any::<u64>(), number()).prop_map(|(nonce, read)| Ping { nonce, read });
    let goodbye = (any::<u8>(), number(), text(MAX_DETAIL));
    let refuse = (number(), any_unanswered(), text(MAX_DETAIL));
    prop_oneof![
        1 => any_resume().prop_map(|resume| written(|out| resume.put(out))),
        3 => (any_kind_with_a_body(), number(), any_post(0..MIN_NUMBERS as u64)).prop_map(
            |(kind, correlation, post)| {
                written(|out| put_frame(out, kind, |out| out.put_slice(&post.written_as(kind, correlation))))
            }
        ),
        1 => refuse.prop_map(|(correlation, why, detail)| {
            written(|out| Refuse { correlation, why, detail: &detail }.put(out))
        }),
        1 => number().prop_map(|correlation| written(|out| put_cancel(out, correlation))),
        1 => any_release().prop_map(|released| written(|out| put_release(out, released))),
        1 => (ping, any::<bool>())
            .prop_map(|(ping, pong)| written(|out| ping.put(out, if pong { kind::PONG } else { kind::PING }))),
        1 => goodbye.prop_map(|(why, read, detail)| {
            written(|out| Goodbye { why: Farewell::Other(why), read, detail: &detail }.put(out))
        }),
    ]
}

/// What a frame says, as text, by its kind; those with a body as `incoming` understands them.
fn said(kind: u8, payload: &[u8], incoming: &mut Incoming<String>) -> Result<String, Violation> {
    match kind {
        kind::RESUME => Resume::read(payload).map(|resume| {
            // The token hides itself.
            format!("{resume:?} {:?}", resume.token.0)
        }),
        kind::POST => incoming.post(payload, &mut meaning).map(|received| format!("{received:?}")),
        kind::ASK => incoming
            .ask(payload, &mut meaning)
            .map(|(correlation, received)| format!("{correlation} {received:?} {:?}", received.deadline())),
        kind::ANSWER => incoming.answer(payload, &mut meaning).map(|answer| format!("{answer:?}")),
        kind::REFUSE => Refuse::read(payload).map(|refuse| format!("{refuse:?}")),
        kind::CANCEL => read_cancel(payload).map(|correlation| format!("{correlation}")),
        kind::RELEASE => read_release(payload).collect::<Result<Vec<_>, _>>().map(|released| format!("{released:?}")),
        kind::PING | kind::PONG => Ping::read(payload).map(|ping| format!("{ping:?}")),
        kind::GOODBYE => Goodbye::read(payload).map(|goodbye| format!("{goodbye:?}")),
        other => Err(Violation::UnknownKind(other)),
    }
}

fn meaning(introduction: &Introduction<'_>) -> String {
    format!("{introduction:?}")
}

/// A reader to whom every number that [`any_frame`] uses means something.
fn acquainted() -> Incoming<String> {
    let mut incoming = Incoming::new(MIN_NUMBERS);
    for number in 0..MIN_NUMBERS as u64 {
        let name = format!("box-{number}");
        let introduction = Introduction { identity: Identity::YourName(&name), counted: false, fingerprint: 0 };
        let payload = written(|out| {
            out.put_u8(0);
            Handle::Set(number, introduction).put(out);
        });
        incoming.post(&payload, &mut meaning).unwrap();
    }
    incoming
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        text(MAX_NAME).prop_map(|name| Target::Name(name.into())),
        any::<[u8; 16]>().prop_map(|id| Target::Id(BoxId(id))),
        Just(Target::Others),
    ]
}

mod what_is_written_is_read_again {
    use std::collections::HashMap;

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
            prop_assert_eq!(Hello::front(&all, bytes.len()), Ok(Greeting::Hello(hello, bytes.len())));
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
        fn resumes(resume in any_resume()) {
            let bytes = written(|out| resume.put(out));
            prop_assert_eq!(Resume::read(&bytes[LENGTH + 1..]), Ok(resume));
        }

        #[test]
        fn releases(released in any_release()) {
            let bytes = written(|out| put_release(out, released.iter().copied()));
            prop_assert_eq!(read_release(&bytes[LENGTH + 1..]).collect::<Result<Vec<_>, _>>(), Ok(released));
        }

        #[test]
        fn reports(read in number(), drops in vec((target(), 0..DropReason::ALL.len(), number()), 0..9)) {
            let drops: Vec<_> =
                drops.into_iter().map(|(target, reason, count)| (target, DropReason::ALL[reason], count)).collect();
            let bytes = written(|out| put_report(out, read, drops.iter().cloned()));
            let (told, entries) = read_report(&bytes[LENGTH + 1..]).unwrap();
            prop_assert_eq!(told, read);
            let entries: Vec<_> = entries.map(Result::unwrap).map(|it| (it.target, it.reason.unwrap(), it.count)).collect();
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
        fn goodbyes_with_long_details_clipped(code in 4_u8.., read in number(), detail in text(2 * MAX_DETAIL)) {
            let known = [Farewell::Shutdown, Farewell::Unneeded, Farewell::Violation, Farewell::Unproven];
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
            // Mostly numbers that come again, sometimes the last one, which is rarely set, and that behind it.
            let spread = |held: &mut Held| {
                held.1 = match held.1 {
                    398 => limit as u64 - 1,
                    399 => limit as u64,
                    any => any % 10,
                }
            };
            let mut incoming = Incoming::new(limit);
            let mut map = HashMap::new();
            let mut read = 0;
            for (kind, correlation, mut post) in [(kind::POST, 0, all_set())].into_iter().chain(messages) {
                spread(&mut post.to);
                post.handles.iter_mut().flatten().for_each(spread);
                let target = (kind != kind::ANSWER).then_some(&post.to);
                let named = target.into_iter().chain(post.handles.iter().flatten());
                let expected: Result<Vec<_>, _> = named.map(|held| look_up(&mut map, limit, held)).collect();
                let payload = post.written_as(kind, correlation);
                let came = came(kind, &payload, &mut incoming, &post);
                let expected = expected.map(|named| (if kind == kind::POST { 0 } else { correlation }, named));
                prop_assert_eq!(&came, &expected);
                // A violation is no message, and an answer is not counted as one.
                read += u64::from(came.is_ok() && kind != kind::ANSWER);
                prop_assert_eq!(incoming.posts(), read);
                if came.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Its correlation, and its target, if it has one, and its handles; the rest of it must be that of `post`.
    fn came(
        kind: u8,
        payload: &[u8],
        incoming: &mut Incoming<String>,
        post: &AnyPost,
    ) -> Result<(u64, Vec<String>), Violation> {
        if kind == kind::ANSWER {
            let (correlation, handles, body) = incoming.answer(payload, &mut meaning)?;
            assert_eq!(body, post.body);
            return Ok((correlation, handles.to_vec()));
        }
        let (correlation, received) = match kind {
            kind::ASK => incoming.ask(payload, &mut meaning)?,
            _ => (0, incoming.post(payload, &mut meaning)?),
        };
        assert_eq!(received.body, post.body);
        for (id, _) in post.extensions.iter().flatten() {
            let first = post.extensions.iter().flatten().find(|(of, _)| of == id).unwrap();
            assert_eq!(received.extensions.find(*id), Some(first.1.as_slice()));
        }
        Ok((correlation, [std::slice::from_ref(received.to), received.handles].concat()))
    }

    /// Sets the numbers 0 to 9.
    fn all_set() -> AnyPost {
        let told = Told {
            form: 0,
            id: [0; 16],
            others: [[0; 16]; 2],
            name: "first".to_owned(),
            endpoints: Vec::new(),
            counted: false,
            fingerprint: 0,
        };
        let set = |number| (1, number, told.clone());
        AnyPost { extensions: None, to: set(0), handles: Some((1..10).map(set).collect()), body: Vec::new() }
    }

    fn look_up(map: &mut HashMap<u64, String>, limit: usize, held: &Held) -> Result<String, Violation> {
        match handle(held) {
            Handle::Use(number) => map.get(&number).cloned().ok_or(Violation::NumberUnset(number)),
            Handle::Inline(introduction) => Ok(meaning(&introduction)),
            Handle::Set(number, _) if number >= limit as u64 => Err(Violation::NumberOutOfRange { number, limit }),
            Handle::Set(number, introduction) => {
                map.insert(number, meaning(&introduction));
                Ok(meaning(&introduction))
            }
        }
    }
}

mod no_bytes_do_harm {
    use std::rc::Rc;

    use super::*;

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
                    Ok(Greeting::Hello(_, size)) => prop_assert!(size <= bytes.len() && size <= limit),
                    Ok(Greeting::Wants(more)) => prop_assert!(more > 0 && bytes.len() + more <= limit.max(PREFIX)),
                    Err(_) => {}
                }
            }
            for kind in 0..=u8::MAX {
                // Only that it comes back: most of these mean nothing.
                let _ = said(kind, &bytes, &mut Incoming::new(MIN_NUMBERS));
            }
            // It ends at the first error.
            let most = bytes.len() / 17 + 1;
            prop_assert!(read_release(&bytes).take(most + 1).count() <= most);
            // Each entry of a report takes three bytes at least.
            if let Ok((_, drops)) = read_report(&bytes) {
                prop_assert!(drops.take(bytes.len() / 3 + 2).count() <= bytes.len() / 3 + 1);
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
            // Small bytes are more often tags, forms and short lengths, so that more of these frames mean something.
            let kept = Rc::new(());
            let mut incoming = Incoming::new(MIN_NUMBERS);
            for (kind, flags, bytes) in frames {
                let payload = [&[flags], bytes.as_slice()].concat();
                let mut acquainted = 0;
                let mut acquaint = |_: &Introduction<'_>| {
                    acquainted += 1;
                    kept.clone()
                };
                let kept_of_it = match kind {
                    kind::ANSWER => incoming.answer(&payload, &mut acquaint).map(|(_, handles, body)| (handles, body)),
                    kind::ASK => incoming.ask(&payload, &mut acquaint).map(|(_, got)| (got.handles, got.body)),
                    _ => incoming.post(&payload, &mut acquaint).map(|got| (got.handles, got.body)),
                };
                if let Ok((handles, body)) = kept_of_it {
                    prop_assert!(handles.len() + body.len() < payload.len());
                }
                // A tag, a form and at least the length of a name.
                prop_assert!(acquainted <= payload.len() / 3);
                // What numbers mean, and the target and the handles of the last post.
                prop_assert!(Rc::strong_count(&kept) - 1 <= MIN_NUMBERS + 1 + LONGEST);
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
                Ok(Greeting::Wants(more)) => prop_assert!(more > 0 && cut + more <= bytes.len()),
                other => prop_assert!(false, "{other:?}"),
            }
        }

        #[test]
        fn a_frame_that_ends_too_early_says_nothing_else(bytes in any_frame(), cut in any::<prop::sample::Index>()) {
            let (kind, payload) = (bytes[LENGTH], &bytes[LENGTH + 1..]);
            prop_assume!(!payload.is_empty());
            let cut = &payload[..cut.index(payload.len())];
            let (mut whole, mut part) = (acquainted(), acquainted());
            match kind {
                // A body goes to the end of its frame, wherever that is.
                kind::POST => {
                    let whole = whole.post(payload, &mut meaning).unwrap();
                    if let Ok(part) = part.post(cut, &mut meaning) {
                        prop_assert_eq!((part.to, part.handles), (whole.to, whole.handles));
                        prop_assert_eq!(part.extensions, whole.extensions);
                        prop_assert!(whole.body.starts_with(part.body) && part.body.len() < whole.body.len());
                    }
                }
                kind::ASK => {
                    let whole = whole.ask(payload, &mut meaning).unwrap();
                    if let Ok(part) = part.ask(cut, &mut meaning) {
                        prop_assert_eq!((part.0, part.1.to, part.1.handles), (whole.0, whole.1.to, whole.1.handles));
                        prop_assert_eq!(part.1.extensions, whole.1.extensions);
                        prop_assert!(whole.1.body.starts_with(part.1.body) && part.1.body.len() < whole.1.body.len());
                    }
                }
                kind::ANSWER => {
                    let whole = whole.answer(payload, &mut meaning).unwrap();
                    if let Ok(part) = part.answer(cut, &mut meaning) {
                        prop_assert_eq!((part.0, part.1), (whole.0, whole.1));
                        prop_assert!(whole.2.starts_with(part.2) && part.2.len() < whole.2.len());
                    }
                }
                kind::RELEASE => {
                    let whole: Vec<_> = read_release(payload).collect();
                    let mut part: Vec<_> = read_release(cut).take(whole.len() + 1).collect();
                    if part.pop_if(|entry| *entry == Err(Violation::Truncated)).is_none() {
                        prop_assert!(part.len() < whole.len());
                    }
                    prop_assert!(whole.starts_with(&part));
                }
                // Cut where its extension begins, it tells of one connection instead of several.
                kind::RESUME if Resume::read(cut).is_ok() => {
                    let (whole, part) = (Resume::read(payload).unwrap(), Resume::read(cut).unwrap());
                    prop_assert_eq!((part.token, &*part.told), (whole.token, &whole.told[..1]));
                    prop_assert!(whole.told.len() > 1);
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
                let _ = said(raw.kind, raw.payload, &mut acquainted());
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
            prop_assert!(read != Ok(Greeting::Hello(hello, bytes.len())));
            prop_assert!(at >= MAGIC.len() || read == Err(Violation::NotHermod));
        }

        #[test]
        fn a_stream_says_the_same_in_whatever_pieces_it_comes(
            hello in any_hello(),
            frames in vec(any_frame(), 0..if cfg!(miri) { 3 } else { 8 }),
            pieces in vec(1..200_usize, 1..20),
        ) {
            let mut whole = acquainted();
            let mut expected = format!("{hello:?}");
            for frame in &frames {
                let said = said(frame[LENGTH], &frame[LENGTH + 1..], &mut whole);
                write!(expected, " {said:?}").unwrap();
            }
            let hello = written(|out| hello.put(out));
            let stream = [hello, frames.concat()].concat();
            prop_assert_eq!(read_in_pieces(&stream, &pieces), expected);
        }
    }

    /// What the stream says, delivered in pieces of those sizes, over and over; a reader that would wait for more than
    /// there is panics.
    fn read_in_pieces(stream: &[u8], pieces: &[usize]) -> String {
        let mut incoming = acquainted();
        let mut said_so_far = String::new();
        let (mut begin, mut end) = (0, 0);
        for piece in pieces.iter().cycle() {
            end = stream.len().min(end + piece);
            loop {
                let buffer = &stream[begin..end];
                let (size, text) = if begin == 0 {
                    match Hello::front(buffer, 1 << 14).unwrap() {
                        Greeting::Hello(hello, size) => (Ok(size), format!("{hello:?}")),
                        Greeting::Wants(more) => (Err(more), String::new()),
                    }
                } else {
                    match front(buffer, 1 << 14).unwrap() {
                        Front::Frame(raw) => {
                            (Ok(raw.size), format!(" {:?}", said(raw.kind, raw.payload, &mut incoming)))
                        }
                        Front::Wants(more) => (Err(more), String::new()),
                    }
                };
                said_so_far += &text;
                match size {
                    Ok(size) => begin += size,
                    Err(_) if begin == stream.len() => return said_so_far,
                    Err(more) => {
                        assert!(end + more <= stream.len(), "waits for more than there is");
                        break;
                    }
                }
            }
        }
        said_so_far
    }

    #[test]
    fn an_announced_count_is_not_believed() {
        let mut incoming = acquainted();
        let mut refused = |payload: &[u8]| incoming.post(payload, &mut meaning).unwrap_err();
        // 65,536 handles, then as many as there are not.
        assert_eq!(refused(&[flag::HANDLES, 0, 0x80, 0x80, 4]), Violation::Truncated);
        let limit = MAX_HANDLES;
        assert_eq!(refused(&[flag::HANDLES, 0, 0x81, 0x80, 4]), Violation::ListTooLong { len: 65_537, limit });
        // An extension block of 2^63 bytes; a name of 2^35.
        assert_eq!(
            refused(&[flag::EXTENSIONS, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]),
            Violation::Truncated
        );
        assert_eq!(refused(&[0, 2, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 1]), Violation::Truncated);
        // The same counts of handles in an answer, behind the correlation.
        let mut refused = |payload: &[u8]| incoming.answer(payload, &mut meaning).unwrap_err();
        assert_eq!(refused(&[flag::HANDLES, 0, 0x80, 0x80, 4]), Violation::Truncated);
        assert_eq!(refused(&[flag::HANDLES, 0, 0x81, 0x80, 4]), Violation::ListTooLong { len: 65_537, limit });
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
        // Nobody else asks how many slots there are, so the text of it is counted.
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
}

mod each_violation {
    use super::*;

    /// So many can be caused by the bytes of one hello or frame.
    const CAUSED: usize = 14;

    /// Its place among them: this does not compile until a new violation has one too.
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
            // These are found by whoever knows which frame may come when and from whom, and are tested there.
            Violation::UnknownKind(_)
            | Violation::OutOfTurn(_)
            | Violation::AskedAgain(_)
            | Violation::FragmentAstray(_)
            | Violation::RefusalsUnread
            | Violation::Unproven => CAUSED,
        }
    }

    /// A violation, and the one that the bytes caused that should cause it.
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
        let version = |min, max| Violation::Version { min, max, ours: VERSION };
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
            (Violation::Truncated, Resume::read(&[0; 32]).unwrap_err()),
            (Violation::Truncated, Ping::read(&[0; 8]).unwrap_err()),
            // An extension that ends behind its frame.
            (Violation::Truncated, Resume::read(&[&[0; 33][..], &[1, 1]].concat()).unwrap_err()),
            (Violation::Truncated, Ping::read(&[&[0; 9][..], &[1, 1]].concat()).unwrap_err()),
            (Violation::Truncated, goodbye(&[0, 1, 1])),
            (Violation::Truncated, goodbye(&[2, b'x'])),
            (Violation::Truncated, read_release(&[0; 16]).next().unwrap().unwrap_err()),
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
            others: [[0; 16]; 2],
            name: "n".repeat(name),
            endpoints: vec!["e".repeat(endpoint)],
            counted: false,
            fingerprint: 0,
        };
        let many = Told { endpoints: vec![String::new(); 9], ..told(3, 0, 0) };
        let name = Violation::TextTooLong { len: 256, limit: MAX_NAME };
        let endpoint = Violation::TextTooLong { len: 301, limit: MAX_ENDPOINT };
        let mut cases: Vec<Case> =
            [0, 2, 3, 4, 5].map(|form| (name.clone(), introduction(told(form, 256, 0)))).to_vec();
        cases.extend([3, 4, 5].map(|form| (endpoint.clone(), introduction(told(form, 0, 301)))));
        cases.push((Violation::ListTooLong { len: 9, limit: MAX_ENDPOINTS }, introduction(many)));
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
            (Violation::UnknownForm(6), post(&[0, 2, 6])),
            (Violation::UnknownForm(0x40), post(&[0, 2, 0x40])),
            (Violation::UnknownForm(0x80), post(&[0, 1, 0x80])),
            // The tag that is none, and an inline handle with a number.
            (Violation::UnknownForm(3), post(&[0, 3])),
            (Violation::UnknownForm(6), post(&[0, 6])),
            // Set 63 is allowed to everyone, set 64 was not announced.
            (Violation::Truncated, post(&[0, 0xfd, 1])),
            (Violation::NumberOutOfRange { number: 64, limit }, post(&[0, 0x81, 2, 0, 0])),
            (Violation::NumberUnset(0), post(&[0, 0])),
            (
                Violation::NumberUnset(u64::MAX >> 2),
                post(&[0, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            ),
        ]
    }

    fn requests() -> Vec<Case> {
        let ask = |payload: &[u8]| Incoming::new(0).ask(payload, &mut meaning).unwrap_err();
        let answer = |payload: &[u8]| Incoming::new(0).answer(payload, &mut meaning).unwrap_err();
        let refuse = |payload: &[u8]| Refuse::read(payload).unwrap_err();
        // To a box without a name, with these bytes as its deadline.
        let deadline = |value: &[u8]| {
            let payload = written(|out| {
                out.put_slice(&[flag::EXTENSIONS, 7]);
                put_extensions(out, &[(extension::DEADLINE, value)]);
                out.put_slice(&[2, 0, 0]);
            });
            Incoming::new(0).ask(&payload, &mut meaning).unwrap().1.deadline().unwrap_err()
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
}

mod between_two_ends {
    use std::collections::VecDeque;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use parking_lot::Mutex;
    use proptest::test_runner::RngAlgorithm;
    use proptest::test_runner::TestRng;

    use super::*;

    /// A box that messages are sent to and handles of are sent around, known by its place in the pool.
    #[derive(Debug)]
    struct Whom {
        key: u64,
        hint: AtomicU32,
        told: Told,
    }

    impl Referent for Whom {
        fn key(&self) -> u64 {
            self.key
        }

        fn hint(&self) -> &AtomicU32 {
            &self.hint
        }

        fn introduction(&self) -> Introduction<'_> {
            self.told.introduction()
        }
    }

    fn whom(place: u32) -> Whom {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&place.to_le_bytes());
        let told = Told {
            form: (place % 6) as u8,
            id,
            others: [[1; 16], [2; 16]],
            name: place.to_string(),
            endpoints: vec!["localhost:4242".to_owned()],
            counted: place.is_multiple_of(5),
            fingerprint: u64::from(place % 3),
        };
        Whom { key: u64::from(place) + 1, hint: AtomicU32::new(u32::MAX), told }
    }

    fn pool(size: usize) -> Vec<Whom> {
        (0..size as u32).map(whom).collect()
    }

    /// Whose introduction this is: its place in the pool.
    fn place(introduction: &Introduction<'_>) -> u32 {
        let place = match introduction.identity {
            Identity::YourBox(id) | Identity::MyBox { id, .. } | Identity::Third { id, .. } => {
                u32::from_le_bytes(*id.0.first_chunk().unwrap())
            }
            Identity::YourName(name) | Identity::Place { name, .. } | Identity::YourPlace { name, .. } => {
                name.parse().unwrap()
            }
        };
        assert_eq!(*introduction, whom(place).told.introduction());
        place
    }

    /// A message, as its sender means it.
    #[derive(Clone, PartialEq, Eq, Debug)]
    struct Meant {
        sender: u32,
        serial: u32,
        /// What an answer has instead of a target is `what` it answers.
        to: u32,
        handles: Vec<u32>,
        padding: usize,
        /// A post, if nothing.
        what: Option<Correlated>,
    }

    impl Meant {
        /// Says in itself whom it is for and what each of its handles means.
        fn body(&self) -> Vec<u8> {
            let mut body = Vec::with_capacity(12 + 4 * self.handles.len() + self.padding);
            for &word in [self.sender, self.serial, self.to].iter().chain(&self.handles) {
                body.put_u32_le(word);
            }
            body.resize(body.len() + self.padding, 0xee);
            body
        }

        fn write(
            &self,
            pool: &[Whom],
            outgoing: &mut Outgoing,
            out: &mut BytesMut,
            room: usize,
        ) -> Result<(), Unwritten> {
            let handles = self.handles.iter().map(|&place| &pool[place as usize]);
            let (to, body) = (&pool[self.to as usize], &*self.body());
            match self.what {
                None => outgoing.post(out, room, &Post { to, handles, body }),
                Some(what) => {
                    let to = matches!(what, Correlated::Ask { .. }).then_some(to);
                    outgoing.correlated(out, room, what, &Post { to, handles, body })
                }
            }
        }

        /// Whether it counts as a message read and written.
        fn counts(&self) -> bool {
            !matches!(self.what, Some(Correlated::Answer { .. }))
        }
    }

    /// A post, an ask or an answer as it was read.
    struct Came<'s, 'b> {
        what: Option<Correlated>,
        /// An answer has none.
        to: Option<u32>,
        handles: &'s [u32],
        body: &'b [u8],
    }

    impl<'s, 'b> Came<'s, 'b> {
        fn read(incoming: &'s mut Incoming<u32>, raw: Raw<'b>) -> Came<'s, 'b> {
            if raw.kind == kind::ANSWER {
                let (correlation, handles, body) = incoming.answer(raw.payload, &mut place).unwrap();
                return Came { what: Some(Correlated::Answer { correlation }), to: None, handles, body };
            }
            let (what, received) = if raw.kind == kind::ASK {
                let (correlation, received) = incoming.ask(raw.payload, &mut place).unwrap();
                (Some(Correlated::Ask { correlation, deadline: received.deadline().unwrap() }), received)
            } else {
                assert_eq!(raw.kind, kind::POST);
                (None, incoming.post(raw.payload, &mut place).unwrap())
            };
            Came { what, to: Some(*received.to), handles: received.handles, body: received.body }
        }
    }

    /// What is written on this side, and reads on the other.
    const OWN_MAX_FRAME: usize = 4_096;

    /// Longer than any message of less than 200 bytes of padding and at most 6 handles may be counted.
    const ENOUGH: usize = 2_000;

    /// What the reader of a link announces, and how much its writer may hold back.
    #[derive(Clone, Debug)]
    struct Terms {
        numbers: usize,
        max_frame: usize,
        capacity: usize,
    }

    /// One direction of a connection, and of those that follow it: the writer, the bytes written and not yet under way,
    /// the bytes that have come, the reader. `sent` is what has to arrive, `unanswered` what has and wants an answer in
    /// the other direction.
    struct Link<'p> {
        pool: &'p [Whom],
        terms: Terms,
        outgoing: Outgoing,
        out: BytesMut,
        come: BytesMut,
        incoming: Incoming<u32>,
        sent: VecDeque<Meant>,
        unanswered: Vec<u64>,
        serial: u32,
    }

    impl<'p> Link<'p> {
        fn new(pool: &'p [Whom], terms: Terms) -> Link<'p> {
            Link {
                pool,
                outgoing: Outgoing::new(OWN_MAX_FRAME),
                out: BytesMut::new(),
                come: BytesMut::new(),
                incoming: Incoming::new(terms.numbers),
                terms,
                sent: VecDeque::new(),
                unanswered: Vec::new(),
                serial: 0,
            }
        }

        /// Correlations of every length.
        fn ask(&mut self, deadline: Option<u64>, to: u32, handles: Vec<u32>, padding: usize) {
            let serial = u64::from(self.serial);
            let what = Correlated::Ask { correlation: serial << (serial % 4 * 16), deadline };
            self.write(Some(what), to, handles, padding);
        }

        /// Whether it was written.
        fn write(&mut self, what: Option<Correlated>, to: u32, handles: Vec<u32>, padding: usize) -> bool {
            self.serial += 1;
            let meant = Meant { sender: 0, serial: self.serial, to, handles, padding, what };
            let (before, posts) = (self.out.clone(), self.outgoing.posts());
            let room = self.terms.capacity - self.out.len();
            let written = meant.write(self.pool, &mut self.outgoing, &mut self.out, room);
            assert!(self.out.starts_with(&before));
            assert!(self.out.len() <= self.terms.capacity);
            assert_eq!(written == Err(Unwritten::TooLarge), meant.padding >= OWN_MAX_FRAME, "{meant:?}");
            if written.is_ok() {
                assert_eq!(self.outgoing.posts(), posts + u64::from(meant.counts()));
                self.sent.push_back(meant);
            } else {
                assert_eq!((&self.out, self.outgoing.posts()), (&before, posts));
                assert!(written != Err(Unwritten::NoRoom) || room < ENOUGH, "no room in {room} bytes for {meant:?}");
            }
            written.is_ok()
        }

        /// So many bytes get to the other side, which reads what is whole.
        fn deliver(&mut self, bytes: usize) {
            self.come.put(self.out.split_to(bytes.min(self.out.len())));
            while let Front::Frame(raw) = front(&self.come, self.terms.max_frame).unwrap() {
                let expected = self.sent.pop_front().expect("nothing more was sent");
                let came = Came::read(&mut self.incoming, raw);
                assert_eq!(came.what, expected.what);
                if let Some(Correlated::Ask { correlation, .. }) = came.what {
                    self.unanswered.push(correlation);
                }
                // The body of some is no message, or there is no room for it: nobody looks at what was received.
                if !expected.serial.is_multiple_of(4) {
                    assert_eq!(came.to, expected.counts().then_some(expected.to));
                    assert_eq!((came.handles, came.body), (&*expected.handles, &*expected.body()));
                }
                let size = raw.size;
                let _ = self.come.split_to(size);
            }
        }

        fn peer_accepts(&mut self) {
            self.outgoing.peer_accepts(self.terms.max_frame, self.terms.numbers);
        }

        /// Both ends start afresh and what was under way is lost; what is known of each box stays.
        fn break_off(&mut self) {
            *self = Link { serial: self.serial, ..Link::new(self.pool, self.terms.clone()) };
        }

        /// Whatever is still written arrives.
        fn finish(&mut self) {
            self.deliver(usize::MAX);
            assert!(self.come.is_empty() && self.sent.is_empty());
            assert_eq!(self.outgoing.posts(), self.incoming.posts());
        }
    }

    #[derive(Clone, Debug)]
    enum Event {
        Write { what: Wanted, to: u16, handles: Vec<u16>, padding: usize },
        Deliver(usize),
        PeerAccepts,
        Break,
    }

    #[derive(Clone, Debug)]
    enum Wanted {
        Post,
        Ask {
            deadline: Option<u64>,
        },
        /// To one of the asks that have come, if any has.
        Answer(prop::sample::Index),
    }

    fn wanted() -> impl Strategy<Value = Wanted> {
        prop_oneof![
            2 => Just(Wanted::Post),
            1 => prop::option::of(number()).prop_map(|deadline| Wanted::Ask { deadline }),
            1 => any::<prop::sample::Index>().prop_map(Wanted::Answer),
        ]
    }

    fn events() -> impl Strategy<Value = Vec<(bool, Event)>> {
        // Half of them among the first few, so that some are named often and others rarely.
        let place = || prop_oneof![0..8_u16, any::<u16>()];
        let padding = prop_oneof![16 => 0..200_usize, 1 => OWN_MAX_FRAME..OWN_MAX_FRAME + 9];
        let event = prop_oneof![
            200 => (wanted(), place(), vec(place(), 0..=6), padding)
                .prop_map(|(what, to, handles, padding)| Event::Write { what, to, handles, padding }),
            80 => (1..2_500_usize).prop_map(Event::Deliver),
            2 => Just(Event::PeerAccepts),
            1 => Just(Event::Break),
        ];
        vec((any::<bool>(), event), 1..if cfg!(miri) { 100 } else { 700 })
    }

    fn terms() -> impl Strategy<Value = Terms> {
        (0..300_usize, ENOUGH..6_000_usize, ENOUGH..6_000_usize).prop_map(|(numbers, max_frame, capacity)| Terms {
            numbers,
            max_frame,
            capacity,
        })
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn every_message_reaches_the_box_that_it_was_sent_to(
            size in 1..=300_usize,
            terms in [terms(), terms()],
            events in events(),
        ) {
            let pool = pool(size);
            let mut links = terms.map(|terms| Link::new(&pool, terms));
            for (second, event) in events {
                let [first, last] = &mut links;
                let (link, back) = if second { (last, first) } else { (first, last) };
                match event {
                    Event::Write { what, to, handles, padding } => {
                        let place = |any: u16| u32::from(any) % size as u32;
                        let handles = handles.into_iter().map(place).collect();
                        write(link, back, &what, place(to), handles, padding);
                    }
                    Event::Deliver(bytes) => link.deliver(bytes),
                    Event::PeerAccepts => link.peer_accepts(),
                    Event::Break => link.break_off(),
                }
            }
            links.iter_mut().for_each(Link::finish);
        }

        #[test]
        fn what_was_not_written_left_no_trace(
            size in 1..=100_usize,
            messages in vec((0..3_u8, any::<u16>(), vec(any::<u16>(), 0..=6), 0..300_usize, 0..1_500_usize), 1..100),
        ) {
            // Two writers of the same, one of which has little room at first and tries what is too large before.
            let pools = [pool(size), pool(size)];
            let mut writers = [(); 2].map(|()| (Outgoing::new(OWN_MAX_FRAME), BytesMut::new()));
            for (serial, (kind, to, handles, padding, room)) in (0..).zip(messages) {
                let place = |any: u16| u32::from(any) % size as u32;
                let handles = handles.into_iter().map(place).collect();
                let meant = Meant { sender: 0, serial, to: place(to), handles, padding, what: what(kind, serial) };
                let [(tried, out), (plain, other)] = &mut writers;
                let too_large = Meant { padding: OWN_MAX_FRAME, ..meant.clone() };
                prop_assert_eq!(too_large.write(&pools[0], tried, out, usize::MAX), Err(Unwritten::TooLarge));
                let before = out.len();
                match meant.write(&pools[0], tried, out, room) {
                    Ok(()) => prop_assert!(out.len() - before <= room),
                    Err(why) => {
                        prop_assert_eq!(why, Unwritten::NoRoom);
                        meant.write(&pools[0], tried, out, usize::MAX).unwrap();
                    }
                }
                meant.write(&pools[1], plain, other, usize::MAX).unwrap();
                prop_assert_eq!(&*out, &*other);
                prop_assert_eq!(tried.posts(), plain.posts());
            }
        }
    }

    /// Writes to `link`; what it answers came from `back`.
    fn write(link: &mut Link<'_>, back: &mut Link<'_>, what: &Wanted, to: u32, handles: Vec<u32>, padding: usize) {
        match what {
            Wanted::Ask { deadline } => link.ask(*deadline, to, handles, padding),
            Wanted::Answer(which) if !back.unanswered.is_empty() => {
                let at = which.index(back.unanswered.len());
                let correlation = back.unanswered[at];
                if link.write(Some(Correlated::Answer { correlation }), to, handles, padding) {
                    back.unanswered.remove(at);
                }
            }
            Wanted::Post | Wanted::Answer(_) => {
                link.write(None, to, handles, padding);
            }
        }
    }

    /// A post, an ask or an answer, for tests to which the correlation does not matter.
    fn what(kind: u8, serial: u32) -> Option<Correlated> {
        let correlation = u64::from(serial);
        match kind % 3 {
            0 => None,
            1 => Some(Correlated::Ask { correlation, deadline: serial.is_multiple_of(2).then_some(correlation) }),
            _ => Some(Correlated::Answer { correlation }),
        }
    }

    #[test]
    fn a_set_counts_from_where_it_stands() {
        let told = [whom(0).told, whom(1).told, whom(2).told];
        let payload = |to: Handle<'_>, handles: &[Handle<'_>]| {
            written(|out| {
                out.put_u8(flag::HANDLES);
                to.put(out);
                put_number(out, handles.len() as u64);
                handles.iter().for_each(|handle| handle.put(out));
            })
        };
        let set = |at: usize| Handle::Set(5, told[at].introduction());
        let mut incoming = Incoming::new(0);
        let first = payload(set(0), &[Handle::Use(5), set(1), Handle::Use(5)]);
        let received = incoming.post(&first, &mut place).unwrap();
        assert_eq!((received.to, received.handles), (&0, &[0, 1, 1][..]));
        let second = payload(Handle::Use(5), &[Handle::Use(5), set(2), Handle::Use(5)]);
        let received = incoming.post(&second, &mut place).unwrap();
        assert_eq!((received.to, received.handles), (&1, &[1, 2, 2][..]));
        let third = payload(Handle::Use(5), &[]);
        assert_eq!(incoming.post(&third, &mut place).unwrap().to, &2);
    }

    #[test]
    fn a_message_with_5_000_handles_arrives_whatever_the_table_holds() {
        const HANDLES: u32 = if cfg!(miri) { 200 } else { 5_000 };
        const NUMBERS: &[usize] = if cfg!(miri) { &[64] } else { &[64, 4_096] };
        let pool = pool(HANDLES as usize);
        for &numbers in NUMBERS {
            let mut outgoing = Outgoing::new(1 << 20);
            let mut incoming = Incoming::new(numbers);
            outgoing.peer_accepts(1 << 20, numbers);
            let mut shortest = usize::MAX;
            for serial in 0..6 {
                // Twice in a row, then backwards, so that what was numbered last comes first.
                let mut handles: Vec<u32> = (0..HANDLES).collect();
                if serial >= 4 {
                    handles.reverse();
                }
                let what = what(serial as u8, serial);
                let meant = Meant { sender: 0, serial, to: HANDLES - 1 - serial, handles, padding: 0, what };
                let mut out = BytesMut::new();
                meant.write(&pool, &mut outgoing, &mut out, 1 << 20).unwrap();
                shortest = shortest.min(out.len());
                let Front::Frame(raw) = front(&out, 1 << 20).unwrap() else { panic!("the frame is not whole") };
                let came = Came::read(&mut incoming, raw);
                assert_eq!((came.what, came.to), (what, meant.counts().then_some(meant.to)));
                assert_eq!((came.handles, came.body), (&*meant.handles, &*meant.body()));
            }
            // Most of them have numbers in the end, if there are enough numbers.
            assert_eq!(shortest < 20 * HANDLES as usize, numbers == 4_096, "{shortest} bytes");
        }
    }

    #[test]
    fn a_message_may_have_65_536_handles_and_no_more() {
        let pool = pool(1);
        let most = if cfg!(miri) { 1_000 } else { MAX_HANDLES };
        for kind in 0..3 {
            let mut outgoing = Outgoing::new(usize::MAX);
            let mut incoming = Incoming::new(0);
            let mut out = BytesMut::new();
            let what = what(kind, 7);
            let mut meant = Meant { sender: 0, serial: 0, to: 0, handles: vec![0; most], padding: 0, what };
            meant.write(&pool, &mut outgoing, &mut out, usize::MAX).unwrap();
            let Front::Frame(raw) = front(&out, out.len()).unwrap() else { panic!("the frame is not whole") };
            assert_eq!(Came::read(&mut incoming, raw).handles.len(), most);
            let before = out.len();
            if cfg!(miri) {
                // One more than 65,536 take it too long.
                continue;
            }
            meant.handles.push(0);
            let refused = meant.write(&pool, &mut outgoing, &mut out, usize::MAX);
            assert_eq!((refused, out.len()), (Err(Unwritten::TooLarge), before));
        }
    }

    #[test]
    fn a_peer_that_reads_less_is_written_less_and_no_peer_more() {
        let pool = pool(1);
        let mut outgoing = Outgoing::new(OWN_MAX_FRAME);
        let fits = |outgoing: &mut Outgoing, padding| {
            [0, 1, 2].map(|kind| {
                let meant = Meant { sender: 0, serial: 0, to: 0, handles: Vec::new(), padding, what: what(kind, 0) };
                meant.write(&pool, outgoing, &mut BytesMut::new(), usize::MAX) != Err(Unwritten::TooLarge)
            })
        };
        let limit_is = |outgoing: &mut Outgoing, limit| {
            assert_eq!(fits(outgoing, limit - 200), [true; 3]);
            assert_eq!(fits(outgoing, limit), [false; 3]);
        };
        limit_is(&mut outgoing, OWN_MAX_FRAME);
        outgoing.peer_accepts(usize::MAX, 0);
        limit_is(&mut outgoing, OWN_MAX_FRAME);
        outgoing.peer_accepts(1_000, 0);
        limit_is(&mut outgoing, 1_000);
    }

    /// What the threads of one run share.
    struct Shared {
        pool: Vec<Whom>,
        /// Two connections, whose numbers get into each other's hints.
        lanes: [Mutex<(Outgoing, BytesMut)>; 2],
        numbers: usize,
        each: u32,
        writing: AtomicUsize,
        reading: AtomicBool,
    }

    const ROOM: usize = 16_384;

    impl Shared {
        fn new(writers: u32, messages: u32, pool_size: usize, numbers: usize) -> Shared {
            Shared {
                pool: pool(pool_size),
                lanes: [(); 2].map(|()| Mutex::new((Outgoing::new(OWN_MAX_FRAME), BytesMut::new()))),
                numbers,
                each: messages / writers,
                writing: AtomicUsize::new(writers as usize),
                reading: AtomicBool::new(true),
            }
        }

        fn write(&self, sender: u32) {
            let _ended = AtEnd(|| _ = self.writing.fetch_sub(1, Ordering::Release));
            let mut random = TestRng::from_seed(RngAlgorithm::XorShift, &[sender as u8 + 1; 16]);
            let mut place = |below: usize| random.next_u32() % below as u32;
            let mut serials = [0; 2];
            for sent in 0..self.each {
                let lane = place(2) as usize;
                let size = self.pool.len();
                let handles = (0..place(7)).map(|_| place(size)).collect();
                let what = what(place(3) as u8, serials[lane]);
                let meant = Meant { sender, serial: serials[lane], to: place(size), handles, padding: 0, what };
                serials[lane] += 1;
                if sent == self.each / 10 {
                    self.lanes.iter().for_each(|lane| lane.lock().0.peer_accepts(OWN_MAX_FRAME, self.numbers));
                }
                while self.try_write(lane, &meant) == Err(Unwritten::NoRoom) {
                    if !self.reading.load(Ordering::Acquire) {
                        return;
                    }
                    std::thread::yield_now();
                }
            }
        }

        fn try_write(&self, lane: usize, meant: &Meant) -> Result<(), Unwritten> {
            let mut lane = self.lanes[lane].lock();
            let (outgoing, out) = &mut *lane;
            let room = ROOM - out.len();
            meant.write(&self.pool, outgoing, out, room)
        }

        /// Reads until the writers have ended, and returns how many messages came.
        fn read(&self, writers: u32) -> u32 {
            let _ended = AtEnd(|| self.reading.store(false, Ordering::Release));
            let mut incoming = [(); 2].map(|()| Incoming::new(self.numbers));
            let mut serials = vec![[0; 2]; writers as usize];
            let mut came = 0;
            loop {
                let last = self.writing.load(Ordering::Acquire) == 0;
                let before = came;
                for (lane, incoming) in incoming.iter_mut().enumerate() {
                    let bytes = std::mem::take(&mut self.lanes[lane].lock().1);
                    let mut rest = &bytes[..];
                    while let Front::Frame(raw) = front(rest, OWN_MAX_FRAME).unwrap() {
                        check(lane, &Came::read(incoming, raw), &mut serials);
                        came += 1;
                        rest = &rest[raw.size..];
                    }
                    assert!(rest.is_empty());
                }
                if last {
                    return came;
                }
                if came == before {
                    std::thread::yield_now();
                }
            }
        }
    }

    /// The body says who sent it, as the how manieth, to whom, with which handles.
    fn check(lane: usize, came: &Came<'_, '_>, serials: &mut [[u32; 2]]) {
        let (words, _) = came.body.as_chunks();
        let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
        let mut word = || words.next().unwrap();
        let next = &mut serials[word() as usize][lane];
        assert_eq!(word(), *next, "out of order");
        *next += 1;
        let to = word();
        assert!(came.to.is_none_or(|came| came == to), "at another box");
        assert!(words.eq(came.handles.iter().copied()), "other handles");
    }

    struct AtEnd<F: FnMut()>(F);

    impl<F: FnMut()> Drop for AtEnd<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    const BOXES: usize = if cfg!(miri) { 100 } else { 300 };

    fn run_threads(writers: u32, pool_size: usize, numbers: usize) {
        const MESSAGES: u32 = if cfg!(miri) { 100 } else { 200_000 };
        let shared = Shared::new(writers, MESSAGES, pool_size, numbers);
        let came = std::thread::scope(|scope| {
            for sender in 0..writers {
                let shared = &shared;
                scope.spawn(move || shared.write(sender));
            }
            shared.read(writers)
        });
        assert_eq!(came, MESSAGES);
    }

    #[test]
    fn two_threads_misdeliver_nothing() {
        run_threads(2, BOXES, 0);
    }

    #[test]
    fn four_threads_misdeliver_nothing() {
        run_threads(4, BOXES, 200);
    }
}
