//! The bytes of version 1, as they are written down in `tests/golden/wire-v1.txt`: each vector there is compared with
//! what this crate writes for the value that it stands for, and with what this crate reads from it.
//!
//! The posts are read and written by one [`Outgoing`] and one [`Incoming`], in the order of the file, so that the
//! vectors also pin when something gets a number.

use std::sync::atomic::AtomicU32;

use bytes::BufMut;
use bytes::BytesMut;

use super::codec::Reader;
use super::frame::*;
use super::handshake::Greeting;
use super::handshake::Hello;
use super::session::Incoming;
use super::session::Outgoing;
use super::session::Post;
use super::session::Referent;
use crate::ident::BoxId;
use crate::ident::ConnectionId;
use crate::ident::NodeId;
use crate::ident::Token;

const FILE: &str = include_str!("../../tests/golden/wire-v1.txt");
const SPECIFICATION: &str = include_str!("mod.rs");
const LIMIT: usize = 1024;
const FINGERPRINT: u64 = 0x0809_0a0b_0c0d_0e0f;
const EXTENSIONS: &[(u64, &[u8])] = &[(2, b"abc"), (1000, b"")];

/// Every vector of the file: its name and its bytes.
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
    Resume(Resume),
    Post(Message),
    Release(Vec<(BoxId, u64)>),
    Ping(Ping),
    Pong(Ping),
    Goodbye(Goodbye<'static>),
}

struct Message {
    extensions: &'static [(u64, &'static [u8])],
    to: Named,
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
    Named { key, hint: AtomicU32::new(0), introduction: Introduction { identity, counted: false, fingerprint: 0 } }
}

fn echo() -> Named {
    named(1, Identity::YourName("echo"))
}

/// The values of the vectors, by name.
fn values() -> Vec<(&'static str, Value)> {
    hellos().into_iter().chain(resumes()).chain(posts()).chain(forms()).chain(more_posts()).chain(others()).collect()
}

fn hellos() -> Vec<(&'static str, Value)> {
    let hello = Hello {
        versions: (1, 1),
        features: 0,
        node: NodeId([0x11; 16]),
        connection: ConnectionId([0x22; 16]),
        max_frame: 16 << 20,
        numbers: 64,
        endpoints: Vec::new(),
    };
    let later = Hello {
        versions: (1, 3),
        features: 1 << 56 | 1 << 2 | 1,
        max_frame: 65_536,
        numbers: 4_096,
        endpoints: vec!["localhost:4242".to_owned(), "unix:/run/hermod".to_owned()],
        ..hello.clone()
    };
    vec![
        ("hello: nowhere to be dialled", Value::Hello(hello)),
        ("hello: two endpoints and later versions", Value::Hello(later)),
    ]
}

fn resumes() -> Vec<(&'static str, Value)> {
    let first = Resume { token: Token([0x33; 16]), previous: ConnectionId::NONE, read: 0 };
    let later = Resume { previous: ConnectionId([0x44; 16]), read: 300, ..first.clone() };
    vec![
        ("resume: the first connection", Value::Resume(first)),
        ("resume: after another connection", Value::Resume(later)),
    ]
}

fn posts() -> Vec<(&'static str, Value)> {
    let plain = |body| Value::Post(Message { extensions: &[], to: echo(), handles: Vec::new(), body });
    vec![
        ("post: inline target", plain(b"hi")),
        ("post: set target", plain(b"hi")),
        ("post: use target", plain(b"hi")),
        ("post: empty body", plain(b"")),
    ]
}

/// One post for each form of handle, with the keys 2 to 13.
fn forms() -> Vec<(&'static str, Value)> {
    let third = Identity::Third {
        node: NodeId([0x88; 16]),
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
    ];
    let post = |key, identity: Identity<'static>| {
        let mut full = named(key + 1, identity.clone());
        full.introduction.counted = true;
        full.introduction.fingerprint = FINGERPRINT;
        let handles = vec![named(key, identity), full];
        Value::Post(Message { extensions: &[], to: echo(), handles, body: &[0, 1] })
    };
    (2..).step_by(2).zip(forms).map(|(key, (name, identity))| (name, post(key, identity))).collect()
}

fn more_posts() -> Vec<(&'static str, Value)> {
    let mut counted = named(14, Identity::MyBox { id: BoxId([0x66; 16]), name: "" });
    counted.introduction.counted = true;
    let mut shaped = named(15, Identity::YourBox(BoxId([0x55; 16])));
    shaped.introduction.fingerprint = FINGERPRINT;
    let known = || named(16, Identity::MyBox { id: BoxId([0xaa; 16]), name: "" });
    let post = |extensions, handles, body| Value::Post(Message { extensions, to: echo(), handles, body });
    vec![
        ("post: nameless, counted alone, fingerprint alone", post(&[], vec![counted, shaped], &[0xff])),
        ("post: one handle three times", post(&[], vec![known(), known(), known()], &[0, 1, 2])),
        ("post: extension block", post(EXTENSIONS, vec![], b"hi")),
        ("post: extension block and handles", post(EXTENSIONS, vec![known()], &[0])),
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
        ("goodbye: unproven node id", goodbye(Farewell::Unproven, 1, "")),
        ("goodbye: a reason of a later version", goodbye(Farewell::Other(200), 1, "später")),
    ]
}

/// One direction of one connection. A meaning is the introduction, in full, as text.
struct Direction {
    outgoing: Outgoing,
    incoming: Incoming<String>,
}

impl Direction {
    fn encode(&mut self, value: &Value) -> BytesMut {
        let mut out = BytesMut::new();
        match value {
            Value::Hello(hello) => hello.put(&mut out),
            Value::Resume(resume) => resume.put(&mut out),
            Value::Post(message) => self.encode_post(message, &mut out),
            Value::Release(released) => put_release(&mut out, released.iter().copied()),
            Value::Ping(ping) => ping.put(&mut out, kind::PING),
            Value::Pong(pong) => pong.put(&mut out, kind::PONG),
            Value::Goodbye(goodbye) => goodbye.put(&mut out),
        }
        out
    }

    fn encode_post(&mut self, message: &Message, out: &mut BytesMut) {
        let mut plain = BytesMut::new();
        let post = Post { to: &message.to, handles: &message.handles, body: message.body };
        self.outgoing.post(&mut plain, usize::MAX, &post).unwrap();
        if message.extensions.is_empty() {
            return out.put_slice(&plain);
        }
        // Nothing writes extensions yet, so they are put into what was written without.
        let payload = payload(kind::POST, &plain);
        put_frame(out, kind::POST, |out| {
            out.put_u8(payload[0] | flag::EXTENSIONS);
            put_extensions(out, message.extensions);
            out.put_slice(&payload[1..]);
        });
    }

    fn check_decoded(&mut self, name: &str, bytes: &[u8], value: &Value) {
        match value {
            Value::Hello(hello) => {
                assert_eq!(Hello::front(bytes, LIMIT), Ok(Greeting::Hello(hello.clone(), bytes.len())), "{name}");
            }
            Value::Resume(resume) => {
                assert_eq!(Resume::read(payload(kind::RESUME, bytes)).as_ref(), Ok(resume), "{name}");
            }
            Value::Post(message) => self.check_post(name, payload(kind::POST, bytes), message),
            Value::Release(released) => {
                let read: Result<Vec<_>, _> = read_release(payload(kind::RELEASE, bytes)).collect();
                assert_eq!(read.as_ref(), Ok(released), "{name}");
            }
            Value::Ping(ping) => assert_eq!(Ping::read(payload(kind::PING, bytes)), Ok(*ping), "{name}"),
            Value::Pong(pong) => assert_eq!(Ping::read(payload(kind::PONG, bytes)), Ok(*pong), "{name}"),
            Value::Goodbye(goodbye) => {
                assert_eq!(Goodbye::read(payload(kind::GOODBYE, bytes)), Ok(*goodbye), "{name}");
            }
        }
    }

    fn check_post(&mut self, name: &str, payload: &[u8], message: &Message) {
        let text = |introduction: &Introduction<'_>| format!("{introduction:?}");
        let received = self.incoming.post(payload, &mut { text }).expect(name);
        assert_eq!(*received.to, text(&message.to.introduction), "{name}");
        let handles: Vec<String> = message.handles.iter().map(|handle| text(&handle.introduction)).collect();
        assert_eq!(received.handles, handles, "{name}");
        assert_eq!(received.body, message.body, "{name}");
        for &(id, bytes) in EXTENSIONS {
            let expected = message.extensions.iter().any(|&(present, _)| present == id).then_some(bytes);
            assert_eq!(received.extensions.find(id), expected, "{name}");
        }
    }
}

/// What is in a frame of that kind, which must be all of `bytes`.
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

/// The rows of the specification's table under that head: their cells.
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
    assert_eq!(defined.len(), 6, "{defined:?}");
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
    assert_eq!(forms.len(), 6, "{forms:?}");
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
        if matches!(value, Value::Post(_) | Value::Release(_)) {
            continue;
        }
        let mut block = BytesMut::new();
        put_extensions(&mut block, EXTENSIONS);
        // To the end of these, so without their length.
        let mut reader = Reader::new(&block);
        let added = reader.bytes().unwrap();
        bytes.extend(added);
        let length = if matches!(value, Value::Hello(_)) { 12 } else { 0 };
        bytes[length] += added.len() as u8;
        Direction { outgoing: Outgoing::new(LIMIT), incoming: Incoming::new(64) }.check_decoded(name, &bytes, &value);
    }
}
