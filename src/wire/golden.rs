//! The bytes of version 1, as listed in `src/wire/golden-v1.txt`: each vector there is compared with the bytes that
//! this crate writes for the vector's value, and with the value that this crate reads from the bytes.
//!
//! The posts, asks and answers are read and written by one [`Outgoing`] and one [`Incoming`], in the order of the file,
//! so that the vectors also pin the moment at which a handle gets a number.

use std::sync::atomic::AtomicU32;

use bytes::BufMut;
use bytes::BytesMut;

use super::body::Body;
use super::codec::Reader;
use super::codec::put_number;
use super::hello::Hello;
use super::hello::HelloFront;
use super::hello::ListenerHello;
use super::incoming::Incoming;
use super::incoming::Received;
use super::incoming::ReceivedAnswer;
use super::outgoing::Correlated;
use super::outgoing::Outgoing;
use super::outgoing::Post;
use super::outgoing::Referent;
use crate::ident::BoxId;
use crate::ident::ConnectionId;
use crate::ident::Epoch;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::key::NodeKey;
use crate::key::SIGNATURE;
use crate::reason::DropReason;
use crate::wire::extensions::*;
use crate::wire::frames::cancel::*;
use crate::wire::frames::closed::*;
use crate::wire::frames::fragment::*;
use crate::wire::frames::goodbye::*;
use crate::wire::frames::hold::*;
use crate::wire::frames::ping::*;
use crate::wire::frames::pressure::*;
use crate::wire::frames::proof::*;
use crate::wire::frames::refuse::*;
use crate::wire::frames::release::*;
use crate::wire::frames::remark::*;
use crate::wire::frames::report::*;
use crate::wire::frames::restated::*;
use crate::wire::frames::shape::*;
use crate::wire::frames::unwatched::*;
use crate::wire::frames::watch::*;
use crate::wire::frames::welcome::*;
use crate::wire::frames::*;
use crate::wire::greeting::*;
use crate::wire::introduction::*;
use crate::wire::target::*;

const FILE: &str = include_str!("golden-v1.txt");
const SPECIFICATION: &str = include_str!("mod.rs");
const LIMIT: usize = 1024;
const FINGERPRINT: u64 = 0x0809_0a0b_0c0d_0e0f;
const EXTENSIONS: &[(u64, &[u8])] = &[(2, b"abc"), (1000, b"")];

/// Returns every vector of the file: its name and its bytes.
fn vectors() -> Vec<(&'static str, Vec<u8>)> {
    let mut vectors: Vec<(&str, Vec<u8>)> = Vec::new();
    for line in FILE.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[') {
            vectors.push((name.strip_suffix(']').expect("a name ends with a bracket"), Vec::new()));
        } else {
            let digits = line.split(';').next().unwrap_or_default().split_whitespace();
            let (_, bytes) = vectors.last_mut().expect("a name stands before its bytes");
            bytes.extend(digits.map(|byte| u8::from_str_radix(byte, 16).expect(line)));
        }
    }
    vectors
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}

enum Value {
    Hello(Hello),
    ListenerHello(ListenerHello),
    Proof(Proof),
    Welcome(Welcome),
    Post(Message),
    Ask(Asked),
    Answer(Answered),
    Refuse(Refuse<'static>),
    Cancel(u64),
    Release(Vec<(BoxId, u64)>),
    Hold(Vec<(BoxId, u64)>),
    Restated(Vec<ConnectionId>),
    Ping(Ping),
    Pong(Ping),
    Goodbye(Goodbye<'static>),
    Report(u64, Vec<(Account, DropReason, u64)>),
    Remark(Account, DropReason, &'static str),
    Asks(Question),
    Tells(Question, &'static [u8]),
    Watch(Watch),
    Closed(Closed),
    Unwatched(Unwatched),
    Pressure(Vec<(Target, u8)>),
    Fragment(Fragment<'static>),
}

struct Message {
    extensions: &'static [(u64, &'static [u8])],
    to: Named,
    handles: Vec<Named>,
    body: &'static [u8],
    /// Written by this crate if the message has no extensions of its own, else one of them.
    hops: u8,
}

impl Message {
    fn written_hops(&self) -> u8 {
        if self.extensions.is_empty() { self.hops } else { 0 }
    }
}

struct Asked {
    correlation: u64,
    /// Written by this crate if the message has no extensions of its own, else one of them.
    deadline: Option<u64>,
    message: Message,
}

struct Answered {
    correlation: u64,
    extensions: &'static [(u64, &'static [u8])],
    handles: Vec<Named>,
    body: &'static [u8],
}

struct Named {
    key: u64,
    hint: AtomicU32,
    introduction: Introduction<'static>,
}

impl Referent for Named {
    fn key(&self) -> u64 {
        self.key
    }

    fn hint(&self) -> &AtomicU32 {
        &self.hint
    }

    fn introduction(&self) -> Introduction<'_> {
        self.introduction.clone()
    }
}

fn named(key: u64, identity: Identity<'static>) -> Named {
    Named { key, hint: AtomicU32::new(0), introduction: Introduction { identity, is_leased: false, fingerprint: 0 } }
}

fn echo() -> Named {
    named(1, Identity::YourName("echo"))
}

/// Returns the values of the vectors, by name.
fn values() -> Vec<(&'static str, Value)> {
    let posts = posts().into_iter().chain(forms()).chain(more_posts());
    let requests = asks().into_iter().chain(answers()).chain(refuses_and_cancels());
    let told = others().into_iter().chain(reports());
    let boxes = watches();
    greetings().into_iter().chain(posts).chain(requests).chain(told).chain(boxes).collect()
}

/// Returns the messages of two greetings, with the keys of both sides. Each signature covers the vectors before it, so
/// the first four are one greeting, and the next four another.
fn greetings() -> Vec<(&'static str, Value)> {
    let told = [0x44, 0x45, 0x46].map(|byte| (ConnectionId([byte; 16]), u64::from(byte) * 100));
    let brief = || Disclosure::default();
    let at = |endpoint: &str| Disclosure { endpoints: vec![endpoint.to_owned()], told: told.to_vec() };
    let first = greeting((1, 1), 0, [brief(), brief()]);
    let endpoints = vec!["localhost:4242".to_owned(), "unix:/run/hermod".to_owned()];
    let later = greeting((1, 3), 1 << 56 | 1 << 2 | 1, [Disclosure { endpoints, ..at("") }, at("[::1]:80")]);
    let names = [
        "hello: to the node that is dialled",
        "hello of the listener: its answer",
        "proof: nowhere to be dialled",
        "welcome: the first connection",
        "hello: of later versions",
        "hello of the listener: to later versions",
        "proof: two endpoints, after three connections",
        "welcome: an endpoint, after three connections",
    ];
    names.into_iter().zip(first.into_iter().chain(later)).collect()
}

fn greeting(versions: (u16, u16), features: u64, [proof, welcome]: [Disclosure; 2]) -> [Value; 4] {
    let hello = |connection, nonce| Hello {
        versions,
        features,
        connection: ConnectionId([connection; 16]),
        max_frame: 16 << 20,
        numbers: 64,
        nonce: [nonce; 32],
    };
    let keys = [NodeKey::from_secret(&[0xd1; 32]), NodeKey::from_secret(&[0x15; 32])];
    let [dialler, listener] = [0, 1].map(|at| Ourselves { key: &keys[at], epoch: Epoch([0xe0 + at as u8; 16]) });
    let (dialled, answer) = (hello(0x22, 0x33), hello(0x55, 0x66));
    let mut written = [(); 4].map(|()| BytesMut::new());
    let dialling = Dialling::begin(&dialled, UNBOUND, Some(keys[1].id()), &mut written[0]);
    let Ok(Step::To(heard, _)) = Dialled::front(&written[0], LIMIT) else { panic!("it is a hello") };
    let answered = heard.answer(answer, listener, UNBOUND, &mut written[1]);
    let Ok(Step::To((proving, _), _)) = dialling.answered(&written[1], LIMIT) else { panic!("it is signed") };
    let unwelcomed = proving.prove(dialler, proof, &mut written[2]);
    let Ok(Front::Frame(raw)) = front(&written[2], LIMIT) else { panic!("it is a frame") };
    let (accepting, ..) = answered.proven(raw).expect("it is signed");
    accepting.welcome(&keys[1], welcome, &mut written[3]);
    let Ok(Front::Frame(raw)) = front(&written[3], LIMIT) else { panic!("it is a frame") };
    unwelcomed.welcome(raw).expect("it is signed");
    let Ok(HelloFront::Hello(second, _)) = ListenerHello::front(&written[1], LIMIT) else { panic!("it is one") };
    [
        Value::Hello(dialled),
        Value::ListenerHello(second),
        Value::Proof(Proof::read(payload(kind::PROOF, &written[2])).expect("it is one")),
        Value::Welcome(Welcome::read(payload(kind::WELCOME, &written[3])).expect("it is one")),
    ]
}

fn posts() -> Vec<(&'static str, Value)> {
    let plain = |body| Value::Post(Message { extensions: &[], to: echo(), handles: Vec::new(), body, hops: 0 });
    vec![
        ("post: inline target", plain(b"hi")),
        ("post: set target", plain(b"hi")),
        ("post: use target", plain(b"hi")),
        ("post: empty body", plain(b"")),
    ]
}

/// Returns one post for each form of handle, with the keys 50 to 63.
fn forms() -> Vec<(&'static str, Value)> {
    let third = Identity::Third {
        node: Incarnation { node: NodeId([0x88; 16]), epoch: Epoch([0x8e; 16]) },
        id: BoxId([0x77; 16]),
        via: BoxId([0x99; 16]),
        name: "far",
        endpoints: vec!["[::1]:80", "far.example:80"],
    };
    let forms = [
        ("post: form 0, a name at the reader", Identity::YourName("inbox")),
        ("post: form 1, an id at the reader", Identity::YourBox(BoxId([0x55; 16]))),
        ("post: form 2, a box of the writer", Identity::MyBox { id: BoxId([0x66; 16]), name: "replies" }),
        ("post: form 3, a box of a third node", third),
        ("post: form 4, a name at an endpoint", Identity::Place { endpoint: "far.example:80", name: "inbox" }),
        (
            "post: form 5, a name at an endpoint, now the reader's",
            Identity::YourPlace { endpoint: "near.example:80", name: "inbox" },
        ),
        (
            "post: form 6, a name at an endpoint and a node",
            Identity::PlaceOf { node: NodeId([0x88; 16]), endpoint: "far.example:80", name: "inbox" },
        ),
    ];
    let post = |key, identity: Identity<'static>| {
        let mut full = named(key + 1, identity.clone());
        full.introduction.is_leased = true;
        full.introduction.fingerprint = FINGERPRINT;
        let handles = vec![named(key, identity), full];
        Value::Post(Message { extensions: &[], to: echo(), handles, body: &[0, 1], hops: 0 })
    };
    (50..).step_by(2).zip(forms).map(|(key, (name, identity))| (name, post(key, identity))).collect()
}

fn more_posts() -> Vec<(&'static str, Value)> {
    let mut leased = named(14, Identity::MyBox { id: BoxId([0x66; 16]), name: "" });
    leased.introduction.is_leased = true;
    let mut shaped = named(15, Identity::YourBox(BoxId([0x55; 16])));
    shaped.introduction.fingerprint = FINGERPRINT;
    let post = |extensions, handles, body| Value::Post(Message { extensions, to: echo(), handles, body, hops: 0 });
    let passed = |extensions, handles, body, hops| Value::Post(Message { extensions, to: echo(), handles, body, hops });
    vec![
        ("post: nameless, counted alone, fingerprint alone", post(&[], vec![leased, shaped], &[0xff])),
        ("post: one handle three times", post(&[], vec![known(), known(), known()], &[0, 1, 2])),
        ("post: extension block", post(EXTENSIONS, vec![], b"hi")),
        ("post: extension block and handles", post(EXTENSIONS, vec![known()], &[0])),
        ("post: passed on by a relay", passed(&[], vec![], b"hi", 1)),
        ("post: passed on by 255 relays, and handles", passed(&[], vec![known()], &[0], 255)),
        (
            "post: passed on by more, behind another extension",
            passed(&[(2, b"abc"), (extension::HOPS, &[0xac, 2])], vec![], b"hi", 255),
        ),
    ]
}

/// Returns a box that has a number since the posts.
fn known() -> Named {
    named(16, Identity::MyBox { id: BoxId([0xaa; 16]), name: "" })
}

/// Returns a box that has a number since the asks.
fn asked_with() -> Named {
    named(18, Identity::MyBox { id: BoxId([0xbb; 16]), name: "" })
}

fn asks() -> Vec<(&'static str, Value)> {
    let with = |correlation, deadline, extensions, handles, body| {
        let message = Message { extensions, to: named(17, Identity::YourName("adder")), handles, body, hops: 0 };
        Value::Ask(Asked { correlation, deadline, message })
    };
    let plain = |correlation| with(correlation, None, &[], vec![], b"hi");
    let to_echo = Message { extensions: &[], to: echo(), handles: vec![], body: b"", hops: 0 };
    let passed = |correlation, deadline| {
        let message = Message { extensions: &[], to: echo(), handles: vec![], body: b"hi", hops: 2 };
        Value::Ask(Asked { correlation, deadline, message })
    };
    vec![
        ("ask: inline target", plain(0)),
        ("ask: set target", plain(1)),
        ("ask: use target", plain(300)),
        (
            "ask: empty body, a target that a post has set",
            Value::Ask(Asked { correlation: u64::MAX, deadline: None, message: to_echo }),
        ),
        ("ask: handles", with(2, None, &[], vec![known(), asked_with(), asked_with()], &[0, 1, 2])),
        ("ask: deadline", with(3, Some(1_500), &[], vec![], b"hi")),
        ("ask: no time left, and handles", with(4, Some(0), &[], vec![asked_with()], &[0])),
        ("ask: the longest deadline", with(5, Some(u64::MAX), &[], vec![], b"hi")),
        (
            "ask: deadline behind another extension",
            with(6, Some(300), &[(2, b"abc"), (extension::DEADLINE, &[0xac, 2])], vec![], b"hi"),
        ),
        ("ask: passed on by two relays", passed(7, None)),
        ("ask: deadline, and passed on by two relays", passed(8, Some(300))),
    ]
}

fn answers() -> Vec<(&'static str, Value)> {
    let answer =
        |correlation, extensions, handles, body| Value::Answer(Answered { correlation, extensions, handles, body });
    let cache = || named(19, Identity::YourName("cache"));
    vec![
        ("answer: a body", answer(300, &[], vec![], b"ok")),
        ("answer: empty body", answer(0, &[], vec![], b"")),
        ("answer: handles", answer(1, &[], vec![echo(), asked_with()], &[0, 1])),
        ("answer: sets a number", answer(2, &[], vec![cache(), cache()], &[0, 1])),
        ("answer: extension block and handles", answer(3, EXTENSIONS, vec![cache()], &[0])),
    ]
}

fn refuses_and_cancels() -> Vec<(&'static str, Value)> {
    let refuse = |correlation, why, detail| Value::Refuse(Refuse { correlation, why, detail });
    let dropped = |correlation, reason, detail| refuse(correlation, Unanswered::NotDelivered(reason), detail);
    vec![
        ("refuse: abandoned", refuse(0, Unanswered::Abandoned, "")),
        ("refuse: the result could not be encoded", refuse(300, Unanswered::NotEncodable, "too long")),
        ("refuse: not delivered, the first reason", dropped(1, DropReason::OutboxFull, "")),
        ("refuse: not delivered, no such box", dropped(2, DropReason::NoSuchBox, "adder")),
        ("refuse: not delivered, too many requests", dropped(u64::MAX, DropReason::RequestsFull, "")),
        ("refuse: not delivered, the last reason", dropped(3, DropReason::Shutdown, "")),
        ("refuse: a reason between those of this version", refuse(4, Unanswered::Other(2), "")),
        ("refuse: a drop of a later version", refuse(5, Unanswered::Other(200), "später")),
        ("refuse: lost on the way", refuse(6, Unanswered::LostOnTheWay, "")),
        ("refuse: no room for the result", refuse(7, Unanswered::NoRoom, "")),
        ("cancel: the first ask", Value::Cancel(0)),
        ("cancel: the last ask", Value::Cancel(u64::MAX)),
    ]
}

fn others() -> Vec<(&'static str, Value)> {
    let goodbye = |why, read, detail| Value::Goodbye(Goodbye { why, read, detail });
    let nonce = 0x0102_0304_0506_0708;
    vec![
        ("release: nothing", Value::Release(vec![])),
        ("release: two boxes", Value::Release(vec![(BoxId([0x55; 16]), 1), (BoxId([0x77; 16]), 300)])),
        ("ping: read 128", Value::Ping(Ping { nonce, read: 128 })),
        ("pong: read as many as can be written", Value::Pong(Ping { nonce, read: u64::MAX })),
        ("goodbye: shutdown", goodbye(Farewell::Shutdown, 0, "")),
        ("goodbye: unneeded", goodbye(Farewell::Unneeded, 127, "idle")),
        ("goodbye: violation of the protocol", goodbye(Farewell::Violation, 16_384, "a frame is empty")),
        ("goodbye: no room", goodbye(Farewell::NoRoom, 0, "too many connections")),
        ("goodbye: refused", goodbye(Farewell::Refused, 0, "not on the list")),
        ("goodbye: a reason of a later version", goodbye(Farewell::Other(200), 1, "später")),
    ]
}

fn reports() -> Vec<(&'static str, Value)> {
    let (name, id) = (Target::Name("echo".into()), Target::Id(BoxId([0x55; 16])));
    let account = |target: &Target, fingerprint| Account { target: target.clone(), fingerprint };
    let drops = vec![
        (account(&name, FINGERPRINT), DropReason::NewestShed, 300),
        (account(&id, 0), DropReason::BoxClosed, 1),
        (account(&Target::Others, 0), DropReason::NoSuchBox, u64::MAX),
    ];
    let about = account(&name, FINGERPRINT);
    let by_shape = vec![
        (account(&name, FINGERPRINT), DropReason::TypeMismatch, 1),
        (account(&name, FINGERPRINT + 1), DropReason::NewestShed, 2),
    ];
    let (by_fingerprint, of_name) = (Question::Fingerprint(FINGERPRINT), Question::Box(name));
    let names = Question::NamesAfter("echo".into());
    vec![
        ("report: nothing", Value::Report(0, Vec::new())),
        ("report: three boxes", Value::Report(128, drops)),
        ("report: two shapes", Value::Report(3, by_shape)),
        ("remark: a box with a name", Value::Remark(about, DropReason::TooLarge, "9 bytes")),
        ("shape?: form 0, by its fingerprint", Value::Asks(by_fingerprint.clone())),
        ("shape?: form 1, of a box with a name", Value::Asks(of_name.clone())),
        ("shape?: form 1, of a box by its id", Value::Asks(Question::Box(id))),
        ("shape?: form 2, names", Value::Asks(names.clone())),
        ("shape: form 0, one that is not known", Value::Tells(by_fingerprint, b"")),
        ("shape: form 1, of a box with a name", Value::Tells(of_name, b"shape")),
        ("shape: form 2, two names", Value::Tells(names, b"\x05inbox\x04time")),
    ]
}

fn watches() -> Vec<(&'static str, Value)> {
    let (name, id) = (Target::Name("echo".into()), Target::Id(BoxId([0x55; 16])));
    let watch = |target: &Target, on| Value::Watch(Watch { target: target.clone(), on, patience: None });
    let patient = Value::Watch(Watch { target: name.clone(), on: true, patience: Some(15_000) });
    let closed = |target: &Target, why| Value::Closed(Closed { target: target.clone(), why, unreached: None });
    let unwatched = |target: &Target| Value::Unwatched(Unwatched { target: target.clone() });
    let unreached = Closed { target: id.clone(), why: Gone::Connection, unreached: Some(300) };
    vec![
        ("watch: a box with a name", watch(&name, true)),
        ("watch: no longer, a box by its id", watch(&id, false)),
        ("watch: with patience", patient),
        ("closed: a box with a name", closed(&name, Gone::Closed)),
        ("closed: the node of a box by its id", closed(&id, Gone::Node)),
        ("closed: no connection", closed(&id, Gone::Connection)),
        ("closed: no connection for some time", Value::Closed(unreached)),
        ("closed: a reason of a later version", closed(&id, Gone::Other(200))),
        ("unwatched: a box with a name", unwatched(&name)),
        ("unwatched: a box by its id", unwatched(&id)),
        ("unwatched: it is not said which", unwatched(&Target::Others)),
        ("pressure: nothing", Value::Pressure(Vec::new())),
        ("pressure: two boxes", Value::Pressure(vec![(name, 128), (id, 255)])),
        ("fragment: the first piece", Value::Fragment(Fragment { stream: 0, rest: 300, piece: &[2, 0] })),
        ("fragment: the last piece", Value::Fragment(Fragment { stream: 300, rest: 0, piece: b"end" })),
        ("hold: nothing", Value::Hold(vec![])),
        ("hold: two boxes", Value::Hold(vec![(BoxId([0x55; 16]), 1), (BoxId([0x77; 16]), 300)])),
        ("restated: nothing", Value::Restated(vec![])),
        ("restated: two connections", Value::Restated(vec![ConnectionId([0x66; 16]), ConnectionId([0x88; 16])])),
    ]
}

/// One direction of one connection. The meaning of a number is the whole introduction, as text.
struct Direction {
    outgoing: Outgoing,
    incoming: Incoming<String>,
}

impl Direction {
    fn encode(&mut self, value: &Value) -> BytesMut {
        let mut out = BytesMut::new();
        match value {
            Value::Hello(hello) => hello.put(&mut out),
            Value::ListenerHello(hello) => hello.put(&mut out),
            Value::Proof(proof) => proof.put(&mut out),
            Value::Welcome(welcome) => welcome.put(&mut out),
            Value::Post(message) => self.encode_post(message, &mut out),
            Value::Ask(asked) => self.encode_ask(asked, &mut out),
            Value::Answer(answered) => self.encode_answer(answered, &mut out),
            Value::Refuse(refuse) => refuse.put(&mut out),
            Value::Cancel(correlation) => put_cancel(&mut out, *correlation),
            Value::Release(released) => put_release(&mut out, released.iter().copied()),
            Value::Hold(held) => put_hold(&mut out, held.iter().copied()),
            Value::Restated(ended) => put_restated(&mut out, ended.iter().copied()),
            Value::Ping(ping) => ping.put(&mut out, kind::PING),
            Value::Pong(pong) => pong.put(&mut out, kind::PONG),
            Value::Goodbye(goodbye) => goodbye.put(&mut out),
            Value::Remark(account, reason, words) => Remark::new(account.clone(), *reason, words).put(&mut out),
            Value::Report(read, drops) => put_report(&mut out, *read, drops.iter().cloned()),
            Value::Asks(question) => question.ask(&mut out),
            Value::Tells(question, answer) => question.answer(&mut out, answer),
            Value::Watch(watch) => watch.put(&mut out),
            Value::Closed(closed) => closed.put(&mut out),
            Value::Unwatched(unwatched) => unwatched.put(&mut out),
            Value::Pressure(fills) => put_pressure(&mut out, fills.iter().cloned()),
            Value::Fragment(Fragment { stream, rest, piece }) => {
                put_fragment_head(&mut out, *stream, *rest as usize, piece.len());
                out.put_slice(piece);
            }
        }
        out
    }

    fn encode_post(&mut self, message: &Message, out: &mut BytesMut) {
        let mut plain = BytesMut::new();
        let post = Post {
            to: &message.to,
            handles: &message.handles,
            body: Body::from(message.body),
            hops: message.written_hops(),
        };
        self.outgoing.post(&mut plain, usize::MAX, &post).unwrap();
        put_extended(out, &plain, 1, message.extensions);
    }

    fn encode_ask(&mut self, asked: &Asked, out: &mut BytesMut) {
        let Asked { correlation, deadline, message } = asked;
        let deadline = if message.extensions.is_empty() { *deadline } else { None };
        let mut plain = BytesMut::new();
        let what = Correlated::Ask { correlation: *correlation, deadline };
        let hops = message.written_hops();
        let post = Post { to: Some(&message.to), handles: &message.handles, body: Body::from(message.body), hops };
        self.outgoing.correlated(&mut plain, usize::MAX, what, &post).unwrap();
        put_extended(out, &plain, 1 + length_of(*correlation), message.extensions);
    }

    fn encode_answer(&mut self, answered: &Answered, out: &mut BytesMut) {
        let mut plain = BytesMut::new();
        let what = Correlated::Answer { correlation: answered.correlation };
        let post = Post { to: None::<&Named>, handles: &answered.handles, body: Body::from(answered.body), hops: 0 };
        self.outgoing.correlated(&mut plain, usize::MAX, what, &post).unwrap();
        put_extended(out, &plain, 1 + length_of(answered.correlation), answered.extensions);
    }

    fn check_decoded(&mut self, name: &str, bytes: &[u8], value: &Value) {
        match value {
            Value::Hello(_) | Value::ListenerHello(_) | Value::Proof(_) | Value::Welcome(_) => {
                check_greeting(name, bytes, value);
            }
            Value::Post(message) => self.check_post(name, payload(kind::POST, bytes), message),
            Value::Ask(asked) => self.check_ask(name, payload(kind::ASK, bytes), asked),
            Value::Answer(answered) => self.check_answer(name, payload(kind::ANSWER, bytes), answered),
            Value::Refuse(refuse) => {
                assert_eq!(Refuse::read(payload(kind::REFUSE, bytes)), Ok(*refuse), "{name}");
            }
            Value::Cancel(correlation) => {
                assert_eq!(read_cancel(payload(kind::CANCEL, bytes)), Ok(*correlation), "{name}");
            }
            Value::Release(released) => check_counts(name, payload(kind::RELEASE, bytes), released),
            Value::Hold(held) => check_counts(name, payload(kind::HOLD, bytes), held),
            Value::Restated(ended) => {
                let read: Result<Vec<_>, _> = read_restated(payload(kind::RESTATED, bytes)).collect();
                assert_eq!(read.as_ref(), Ok(ended), "{name}");
            }
            Value::Ping(ping) => assert_eq!(Ping::read(payload(kind::PING, bytes)), Ok(*ping), "{name}"),
            Value::Pong(pong) => assert_eq!(Ping::read(payload(kind::PONG, bytes)), Ok(*pong), "{name}"),
            Value::Goodbye(goodbye) => {
                assert_eq!(Goodbye::read(payload(kind::GOODBYE, bytes)), Ok(*goodbye), "{name}");
            }
            Value::Remark(account, reason, words) => {
                check_remark(name, payload(kind::REMARK, bytes), Remark::new(account.clone(), *reason, words));
            }
            Value::Report(read, drops) => check_report(name, payload(kind::REPORT, bytes), *read, drops),
            Value::Asks(question) => {
                let asked = Question::read_asked(payload(kind::SHAPE_QUESTION, bytes));
                assert_eq!(asked.as_ref(), Ok(question), "{name}");
            }
            Value::Tells(question, answer) => {
                let answered = Question::read_answered(payload(kind::SHAPE, bytes));
                assert_eq!(answered, Ok((question.clone(), *answer)), "{name}");
            }
            Value::Watch(_) | Value::Closed(_) | Value::Unwatched(_) => check_watching(name, bytes, value),
            Value::Pressure(fills) => {
                let read: Result<Vec<_>, _> = read_pressure(payload(kind::PRESSURE, bytes)).collect();
                assert_eq!(read.as_ref(), Ok(fills), "{name}");
            }
            Value::Fragment(fragment) => {
                assert_eq!(Fragment::read(payload(kind::FRAGMENT, bytes)), Ok(*fragment), "{name}");
            }
        }
    }

    fn check_post(&mut self, name: &str, payload: &[u8], message: &Message) {
        let received = self.incoming.post(payload, &mut text).expect(name);
        check_received(name, &received, message);
    }

    fn check_ask(&mut self, name: &str, payload: &[u8], asked: &Asked) {
        let (correlation, received) = self.incoming.ask(payload, &mut text).expect(name);
        assert_eq!(correlation, asked.correlation, "{name}");
        assert_eq!(received.deadline(), Ok(asked.deadline), "{name}");
        check_received(name, &received, &asked.message);
    }

    fn check_answer(&mut self, name: &str, payload: &[u8], answered: &Answered) {
        let ReceivedAnswer { correlation, handles, body, .. } = self.incoming.answer(payload, &mut text).expect(name);
        assert_eq!(correlation, answered.correlation, "{name}");
        assert_eq!(handles, texts(&answered.handles), "{name}");
        assert_eq!(body, answered.body, "{name}");
    }
}

fn check_greeting(name: &str, bytes: &[u8], value: &Value) {
    match value {
        Value::Hello(hello) => {
            assert_eq!(Hello::front(bytes, LIMIT), Ok(HelloFront::Hello(hello.clone(), bytes.len())), "{name}");
        }
        Value::ListenerHello(hello) => {
            let read = ListenerHello::front(bytes, LIMIT);
            assert_eq!(read, Ok(HelloFront::Hello(hello.clone(), bytes.len())), "{name}");
        }
        Value::Proof(proof) => {
            assert_eq!(Proof::read(payload(kind::PROOF, bytes)).as_ref(), Ok(proof), "{name}");
        }
        Value::Welcome(welcome) => {
            assert_eq!(Welcome::read(payload(kind::WELCOME, bytes)).as_ref(), Ok(welcome), "{name}");
        }
        _ => {}
    }
}

fn check_watching(name: &str, bytes: &[u8], value: &Value) {
    match value {
        Value::Watch(watch) => {
            assert_eq!(Watch::read(payload(kind::WATCH, bytes)).as_ref(), Ok(watch), "{name}");
        }
        Value::Closed(closed) => {
            assert_eq!(Closed::read(payload(kind::CLOSED, bytes)).as_ref(), Ok(closed), "{name}");
        }
        Value::Unwatched(unwatched) => {
            assert_eq!(Unwatched::read(payload(kind::UNWATCHED, bytes)).as_ref(), Ok(unwatched), "{name}");
        }
        _ => {}
    }
}

fn check_received(name: &str, received: &Received<'_, '_, String>, message: &Message) {
    assert_eq!(*received.to, text(&message.to.introduction), "{name}");
    assert_eq!(received.handles, texts(&message.handles), "{name}");
    assert_eq!(received.body, message.body, "{name}");
    assert_eq!(received.hops(), Ok(message.hops), "{name}");
    for &(id, bytes) in EXTENSIONS {
        let expected = message.extensions.iter().any(|&(present, _)| present == id).then_some(bytes);
        assert_eq!(received.extensions.find(id), expected, "{name}");
    }
}

fn check_counts(name: &str, payload: &[u8], counts: &Vec<(BoxId, u64)>) {
    let read: Result<Vec<_>, _> = read_counts(payload).collect();
    assert_eq!(read.as_ref(), Ok(counts), "{name}");
}

fn check_remark(name: &str, payload: &[u8], remark: Remark<'_>) {
    assert_eq!(Remark::read(payload), Ok(remark), "{name}");
}

fn check_report(name: &str, payload: &[u8], read: u64, drops: &[(Account, DropReason, u64)]) {
    let (told, entries) = read_report(payload).expect(name);
    let entries: Vec<_> = entries.map(|entry| entry.expect(name)).collect();
    let expected = drops.iter().cloned();
    let expected: Vec<_> =
        expected.map(|(account, reason, count)| Dropped { account, reason: Some(reason), count }).collect();
    assert_eq!((told, entries), (read, expected), "{name}");
}

fn text(introduction: &Introduction<'_>) -> String {
    format!("{introduction:?}")
}

fn texts(handles: &[Named]) -> Vec<String> {
    handles.iter().map(|handle| text(&handle.introduction)).collect()
}

/// Writes a frame with an extension block behind the first `before` bytes of its payload: nothing writes extensions
/// other than deadlines and numbers of relays yet, so they are inserted into a frame written without them.
fn put_extended(out: &mut BytesMut, plain: &[u8], before: usize, extensions: &[(u64, &[u8])]) {
    if extensions.is_empty() {
        return out.put_slice(plain);
    }
    let kind = plain[LENGTH];
    let payload = payload(kind, plain);
    put_frame(out, kind, |out| {
        out.put_u8(payload[0] | flag::EXTENSIONS);
        out.put_slice(&payload[1..before]);
        put_extensions(out, extensions);
        out.put_slice(&payload[before..]);
    });
}

fn length_of(number: u64) -> usize {
    let mut bytes = BytesMut::new();
    put_number(&mut bytes, number);
    bytes.len()
}

/// Returns the payload of a frame of that kind, which must be all of `bytes`.
fn payload(kind: u8, bytes: &[u8]) -> &[u8] {
    match front(bytes, LIMIT) {
        Ok(Front::Frame(raw)) if raw.kind == kind && raw.size == bytes.len() => raw.payload,
        other => panic!("{} is no frame of kind {kind} but {other:?}", hex(bytes)),
    }
}

#[test]
fn every_vector_is_what_its_value_is_written_as_and_read_from() {
    let mut direction = Direction { outgoing: Outgoing::new(LIMIT), incoming: Incoming::new(64) };
    let (vectors, values) = (vectors(), values());
    let names = |named: &[&'static str]| named.join("\n");
    let in_file: Vec<&str> = vectors.iter().map(|(name, _)| *name).collect();
    let in_test: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    assert_eq!(names(&in_file), names(&in_test), "the vectors of the file are not those of this test");
    for ((name, expected), (_, value)) in vectors.iter().zip(&values) {
        let got = direction.encode(value);
        assert!(got == expected, "{name}\nexpected {}\n     got {}", hex(expected), hex(&got));
        direction.check_decoded(name, expected, value);
    }
}

/// Returns the rows of the specification's table under that head, as lists of cells.
fn table(head: &str) -> Vec<Vec<&'static str>> {
    let lines = SPECIFICATION.lines().map(|line| line.trim_start_matches("//!").trim());
    let behind_head = lines.skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = behind_head.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn everything_that_the_specification_does_not_reserve_has_a_vector() {
    let kinds = table("| kind | name | payload |");
    let defined: Vec<_> = kinds.iter().filter(|row| !row[1].is_empty() && !row[2].starts_with("reserved")).collect();
    assert_eq!(defined.len(), 22, "{defined:?}");
    let vectors = vectors();
    for row in defined {
        let kind: u8 = row[0].parse().unwrap();
        let start = format!("{}: ", row[1]);
        let mut of_kind = vectors.iter().filter(|(name, _)| name.starts_with(&start));
        let (_, bytes) = of_kind.next().unwrap_or_else(|| panic!("no vector is a {}", row[1]));
        payload(kind, bytes);
        assert!(of_kind.all(|(_, bytes)| bytes.get(LENGTH) == Some(&kind)));
    }
    let forms = table("| form | means | parts |");
    assert_eq!(forms.len(), 7, "{forms:?}");
    for form in forms.iter().map(|row| row[0]) {
        let name = format!("post: form {form}, ");
        assert!(vectors.iter().any(|(vector, _)| vector.starts_with(&name)), "no vector has a handle of form {form}");
    }
}

#[test]
fn extensions_of_a_later_version_are_skipped_in_every_frame_that_may_have_them() {
    let (vectors, values) = (vectors(), values());
    assert_eq!(vectors.len(), values.len());
    for ((name, mut bytes), (of, value)) in vectors.into_iter().zip(values) {
        assert_eq!(name, of);
        // A body goes to the end of its frame, and so do lists of entries; frames with a body have their extensions in
        // a block.
        let to_the_end = matches!(
            value,
            Value::Release(_)
                | Value::Hold(_)
                | Value::Restated(_)
                | Value::Report(..)
                | Value::Tells(..)
                | Value::Pressure(_)
                | Value::Fragment(_)
        );
        if to_the_end || matches!(value, Value::Post(_) | Value::Ask(_) | Value::Answer(_)) {
            continue;
        }
        let mut block = BytesMut::new();
        put_extensions(&mut block, EXTENSIONS);
        // The extensions go to the end of these frames, so they stand without their length.
        let mut reader = Reader::new(&block);
        let added = reader.bytes().unwrap();
        // Signed messages have them before the signature.
        let is_signed = matches!(value, Value::ListenerHello(_) | Value::Proof(_) | Value::Welcome(_));
        let end = bytes.len() - if is_signed { SIGNATURE } else { 0 };
        bytes.splice(end..end, added.iter().copied());
        let at = if matches!(value, Value::Hello(_) | Value::ListenerHello(_)) { 12 } else { 0 };
        let field = bytes[at..].first_chunk_mut::<2>().expect("a length");
        *field = (u16::from_le_bytes(*field) + added.len() as u16).to_le_bytes();
        Direction { outgoing: Outgoing::new(LIMIT), incoming: Incoming::new(64) }.check_decoded(name, &bytes, &value);
    }
}

/// The number of every reason for a drop, which peers of any later version understand: never change one, only append.
const DROPS: [(u8, DropReason, &str); 20] = [
    (16, DropReason::OutboxFull, "OutboxFull"),
    (17, DropReason::HandleShed, "HandleShed"),
    (18, DropReason::NotConnected, "NotConnected"),
    (19, DropReason::Lost, "Lost"),
    (20, DropReason::TooLarge, "TooLarge"),
    (21, DropReason::NotEncodable, "NotEncodable"),
    (22, DropReason::NoSuchBox, "NoSuchBox"),
    (23, DropReason::BoxClosed, "BoxClosed"),
    (24, DropReason::NewestShed, "NewestShed"),
    (25, DropReason::OldestShed, "OldestShed"),
    (26, DropReason::Replaced, "Replaced"),
    (27, DropReason::TypeMismatch, "TypeMismatch"),
    (28, DropReason::NotDecodable, "NotDecodable"),
    (29, DropReason::Expired, "Expired"),
    (30, DropReason::Cancelled, "Cancelled"),
    (31, DropReason::RequestsFull, "RequestsFull"),
    (32, DropReason::Refused, "Refused"),
    (33, DropReason::NoRoute, "NoRoute"),
    (34, DropReason::HopLimit, "HopLimit"),
    (35, DropReason::Shutdown, "Shutdown"),
];

#[test]
fn every_drop_reason_has_the_number_that_the_specification_gives_it() {
    assert_eq!(DROPS.map(|(_, reason, _)| reason), DropReason::ALL, "a reason has no number here, or another place");
    let specified: Vec<_> = table("| drop | name | |").iter().map(|row| (row[0].parse().unwrap(), row[1])).collect();
    assert_eq!(DROPS.map(|(number, _, name)| (number, name)), *specified);
    for (number, reason, name) in DROPS {
        assert_eq!(format!("{reason:?}"), name);
        let refuse = Refuse { correlation: 0, why: Unanswered::NotDelivered(reason), detail: "" };
        let mut out = BytesMut::new();
        refuse.put(&mut out);
        assert_eq!(payload(kind::REFUSE, &out), [0, number, 0], "{name}");
        assert_eq!(Refuse::read(&[0, number, 0]), Ok(refuse));
    }
}

#[test]
fn reasons_that_the_specification_does_not_name_are_those_of_a_later_version() {
    for number in [2].into_iter().chain(5..16).chain(36..=u8::MAX) {
        let refuse = Refuse { correlation: 0, why: Unanswered::Other(number), detail: "" };
        assert_eq!(Refuse::read(&[0, number, 0]), Ok(refuse));
    }
}

#[test]
fn a_report_may_have_reasons_of_a_later_version() {
    let (_, mut entries) = read_report(&[0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 200, 7]).unwrap();
    let account = Account { target: Target::Others, fingerprint: 0 };
    assert_eq!(entries.next(), Some(Ok(Dropped { account, reason: None, count: 7 })));
    assert_eq!(entries.next(), None);
}

#[test]
fn names_are_told_up_to_a_length() {
    let mut out = BytesMut::new();
    put_names(&mut out, 40, ["one", "two", "a name that does not fit any more"]);
    assert_eq!(read_names(&out, 2), Ok(vec!["one", "two"]));
    assert_eq!(read_names(&[9, 1], 2), Err(crate::wire::codec::Violation::Truncated));
}
