//! A peer that speaks raw frames, for tests that say what no node would: an encoder of its own, written from the
//! specification in `src/wire/mod.rs` and not from the code.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long anything is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Numbers of the kinds of frames that are used here.
pub(crate) mod kind {
    pub(crate) const RESUME: u8 = 1;
    pub(crate) const POST: u8 = 2;
    pub(crate) const ASK: u8 = 3;
    pub(crate) const ANSWER: u8 = 4;
    pub(crate) const REFUSE: u8 = 5;
    pub(crate) const CANCEL: u8 = 6;
    pub(crate) const RELEASE: u8 = 7;
    pub(crate) const REPORT: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;
    pub(crate) const GOODBYE: u8 = 11;
    pub(crate) const FRAGMENT: u8 = 13;
    pub(crate) const SHAPE_QUESTION: u8 = 14;
    pub(crate) const SHAPE: u8 = 15;
    pub(crate) const WATCH: u8 = 16;
    pub(crate) const CLOSED: u8 = 17;
    pub(crate) const PRESSURE: u8 = 18;
    pub(crate) const HOLD: u8 = 19;
    pub(crate) const RESTATED: u8 = 20;
}

pub(crate) const EXTENSIONS_FOLLOW: u8 = 1;
pub(crate) const HANDLES_FOLLOW: u8 = 2;

// ------------------------------------------------------------------------------------------------------- the bytes

/// What stands at the front of a connection.
#[derive(Clone)]
pub(crate) struct Hello {
    pub(crate) versions: (u16, u16),
    /// Bits of what the peer may be sent.
    pub(crate) features: u64,
    pub(crate) node: [u8; 16],
    pub(crate) max_frame: u32,
    /// Bytes that are appended as extensions.
    pub(crate) extensions: Vec<u8>,
}

impl Hello {
    pub(crate) fn of(node: [u8; 16]) -> Hello {
        Hello { versions: (1, 1), features: 0, node, max_frame: 16 << 20, extensions: Vec::new() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut rest = self.features.to_le_bytes().to_vec();
        rest.extend(self.node);
        rest.extend(fresh_id());
        rest.extend(self.max_frame.to_le_bytes());
        rest.extend(4096_u32.to_le_bytes());
        rest.extend(number(0));
        rest.extend(&self.extensions);
        let mut hello = b"HERMOD\r\n".to_vec();
        hello.extend(self.versions.0.to_le_bytes());
        hello.extend(self.versions.1.to_le_bytes());
        hello.extend(u32::try_from(rest.len()).expect("a short hello").to_le_bytes());
        hello.extend(rest);
        hello
    }
}

/// An id that nobody else has.
pub(crate) fn fresh_id() -> [u8; 16] {
    *uuid::Uuid::new_v4().as_bytes()
}

pub(crate) fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [number(text.len() as u64), text.as_bytes().to_vec()].concat()
}

pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).expect("a short frame");
    [&length.to_le_bytes(), [kind].as_slice(), payload].concat()
}

pub(crate) fn resume(token: [u8; 16]) -> Vec<u8> {
    frame(kind::RESUME, &[&token[..], &[0; 16], &number(0)].concat())
}

pub(crate) fn ping(nonce: u64) -> Vec<u8> {
    frame(kind::PING, &[nonce.to_le_bytes().to_vec(), number(0)].concat())
}

pub(crate) fn goodbye(why: u8) -> Vec<u8> {
    goodbye_after(why, 0)
}

/// Of one that has read so many messages.
pub(crate) fn goodbye_after(why: u8, read: u64) -> Vec<u8> {
    frame(kind::GOODBYE, &[vec![why], number(read), text("enough")].concat())
}

pub(crate) fn release(id: [u8; 16], count: u64) -> Vec<u8> {
    frame(kind::RELEASE, &[id.to_vec(), number(count)].concat())
}

pub(crate) fn hold(id: [u8; 16], count: u64) -> Vec<u8> {
    frame(kind::HOLD, &[id.to_vec(), number(count)].concat())
}

pub(crate) fn restated(ended: &[[u8; 16]]) -> Vec<u8> {
    frame(kind::RESTATED, &ended.concat())
}

/// A handle by a number that was set before.
pub(crate) fn use_number(n: u64) -> Vec<u8> {
    number(n * 4)
}

/// A handle that gives what is introduced a number.
pub(crate) fn set_number(n: u64, introduction: &[u8]) -> Vec<u8> {
    [&number(n * 4 + 1), introduction].concat()
}

/// A handle that introduces somebody this once.
pub(crate) fn inline(introduction: &[u8]) -> Vec<u8> {
    [&number(2), introduction].concat()
}

/// Introduces the reader's box of a name.
pub(crate) fn your_box(name: &str) -> Vec<u8> {
    [vec![0], text(name)].concat()
}

/// The same for messages of a shape with that fingerprint.
pub(crate) fn your_box_for(name: &str, fingerprint: u64) -> Vec<u8> {
    [vec![0x10], text(name), fingerprint.to_le_bytes().to_vec()].concat()
}

/// Introduces the reader's box of an id.
pub(crate) fn your_box_by_id(id: [u8; 16]) -> Vec<u8> {
    [vec![1], id.to_vec()].concat()
}

/// Introduces a box of a third node, which is reached through the peer's own box *via*.
pub(crate) fn third_box(node: [u8; 16], id: [u8; 16], via: [u8; 16]) -> Vec<u8> {
    [&[3][..], &node, &id, &via, &text(""), &number(0)].concat()
}

/// The same, of a node that is said to listen at an endpoint.
pub(crate) fn third_box_at(node: [u8; 16], id: [u8; 16], via: [u8; 16], endpoint: &str) -> Vec<u8> {
    [&[3][..], &node, &id, &via, &text(""), &number(1), &text(endpoint)].concat()
}

/// Introduces a box of the peer itself, which counts its handles.
pub(crate) fn my_counted_box(id: [u8; 16]) -> Vec<u8> {
    [vec![0x22], id.to_vec(), text("")].concat()
}

/// Introduces whatever box has that name at an endpoint.
pub(crate) fn box_at(endpoint: &str, name: &str) -> Vec<u8> {
    [vec![4], text(endpoint), text(name)].concat()
}

pub(crate) fn post(target: &[u8], body: &[u8]) -> Vec<u8> {
    frame(kind::POST, &[&[0], target, body].concat())
}

pub(crate) fn post_with(target: &[u8], handles: &[Vec<u8>], body: &[u8]) -> Vec<u8> {
    let count = number(handles.len() as u64);
    frame(kind::POST, &[&[HANDLES_FOLLOW], target, &count, &handles.concat(), body].concat())
}

pub(crate) fn ask(correlation: u64, target: &[u8], body: &[u8]) -> Vec<u8> {
    frame(kind::ASK, &[&[0], &number(correlation)[..], target, body].concat())
}

pub(crate) fn ask_with(correlation: u64, target: &[u8], handles: &[Vec<u8>], body: &[u8]) -> Vec<u8> {
    let count = number(handles.len() as u64);
    frame(kind::ASK, &[&[HANDLES_FOLLOW], &number(correlation)[..], target, &count, &handles.concat(), body].concat())
}

/// An ask with these bytes as its deadline.
pub(crate) fn ask_within(correlation: u64, deadline: &[u8], target: &[u8], body: &[u8]) -> Vec<u8> {
    let block = block_of(1, deadline);
    frame(kind::ASK, &[&[EXTENSIONS_FOLLOW], &number(correlation)[..], &block, target, body].concat())
}

/// A post with these bytes as the number of relays that have passed it on.
pub(crate) fn post_passed(hops: &[u8], target: &[u8], body: &[u8]) -> Vec<u8> {
    frame(kind::POST, &[&[EXTENSIONS_FOLLOW], &block_of(3, hops)[..], target, body].concat())
}

/// The same of an ask.
pub(crate) fn ask_passed(correlation: u64, hops: &[u8], target: &[u8], body: &[u8]) -> Vec<u8> {
    let block = block_of(3, hops);
    frame(kind::ASK, &[&[EXTENSIONS_FOLLOW], &number(correlation)[..], &block, target, body].concat())
}

/// An extension block with one extension in it.
fn block_of(id: u64, value: &[u8]) -> Vec<u8> {
    let extension = [number(id), number(value.len() as u64), value.to_vec()].concat();
    [number(extension.len() as u64), extension].concat()
}

pub(crate) fn answer(correlation: u64, body: &[u8]) -> Vec<u8> {
    frame(kind::ANSWER, &[&[0], &number(correlation)[..], body].concat())
}

pub(crate) fn answer_with(correlation: u64, handles: &[Vec<u8>], body: &[u8]) -> Vec<u8> {
    let count = number(handles.len() as u64);
    frame(kind::ANSWER, &[&[HANDLES_FOLLOW], &number(correlation)[..], &count, &handles.concat(), body].concat())
}

pub(crate) fn refuse(correlation: u64, reason: u8) -> Vec<u8> {
    frame(kind::REFUSE, &[number(correlation), vec![reason], text("because")].concat())
}

pub(crate) fn cancel(correlation: u64) -> Vec<u8> {
    frame(kind::CANCEL, &number(correlation))
}

/// Tells of drops of messages of any shape: boxes as they are called there, reasons and counts.
pub(crate) fn report(drops: &[(Vec<u8>, u8, u64)]) -> Vec<u8> {
    let entries = drops.iter().flat_map(|(of, reason, count)| dropped(of, 0, *reason, *count));
    frame(kind::REPORT, &number(0).into_iter().chain(entries).collect::<Vec<u8>>())
}

/// An entry of a report: how many messages of one shape for one box were dropped.
pub(crate) fn dropped(of: &[u8], fingerprint: u64, reason: u8, count: u64) -> Vec<u8> {
    [of, &fingerprint.to_le_bytes(), &[reason], &number(count)].concat()
}

/// A box, in a report or a question.
pub(crate) fn box_named(name: &str) -> Vec<u8> {
    [vec![0], text(name)].concat()
}

// -------------------------------------------------------------------------------------------------- the connection

/// A frame that the node sent.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
}

/// One end of a connection, without any manners of its own.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
    /// The number of the ping that the node asks as soon as the connection is up, where that was awaited.
    pub(crate) first_ping: Option<u64>,
    /// The node's name for the connection, once it has greeted.
    pub(crate) connection: Option<[u8; 16]>,
}

impl Peer {
    pub(crate) async fn dial(endpoint: &str) -> Peer {
        let dialled = timeout(PATIENCE, TcpStream::connect(endpoint)).await.expect("the node accepts in time");
        Peer { stream: dialled.expect("the node listens"), read: Vec::new(), first_ping: None, connection: None }
    }

    /// Waits until a node dials.
    pub(crate) async fn accept(listener: &TcpListener) -> Peer {
        let accepted = timeout(PATIENCE, listener.accept()).await.expect("the node dials in time");
        Peer { stream: accepted.expect("a connection").0, read: Vec::new(), first_ping: None, connection: None }
    }

    /// Dials and is greeted as a node of that id with that token; the node must accept both.
    pub(crate) async fn greeted(endpoint: &str, hello: &Hello, token: [u8; 16]) -> Peer {
        Peer::dial(endpoint).await.greet(hello, token).await
    }

    async fn greet(self, hello: &Hello, token: [u8; 16]) -> Peer {
        let mut peer = self;
        assert!(peer.send(&[hello.bytes(), resume(token)].concat()).await, "the node takes a hello");
        peer.hello().await.expect("the node answers a hello");
        let first = peer.frame().await.expect("the node resumes");
        assert_eq!(first.kind, kind::RESUME, "the node's first frame: {first:?}");
        // There is none where the node has refused the connection after all.
        if let Some(second) = peer.frame().await {
            assert_eq!(second.kind, kind::PING, "the node's second frame: {second:?}");
            peer.first_ping = second.payload.first_chunk().copied().map(u64::from_le_bytes);
        }
        peer
    }

    /// A greeted peer that nobody knew before.
    pub(crate) async fn stranger(endpoint: &str) -> Peer {
        Peer::greeted(endpoint, &Hello::of(fresh_id()), fresh_id()).await
    }

    /// A stranger for whom the system keeps hardly anything that it has not read, or that the node has not: however slow
    /// the machine, it waits only for what the node does at this moment.
    pub(crate) async fn narrow_stranger(endpoint: &str) -> Peer {
        Peer::narrow_stranger_with(endpoint, 0).await
    }

    /// The same, with features.
    pub(crate) async fn narrow_stranger_with(endpoint: &str, features: u64) -> Peer {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket.set_send_buffer_size(4096).expect("a small buffer");
        let endpoint = endpoint.parse().expect("an address and a port");
        let dialled = timeout(PATIENCE, socket.connect(endpoint)).await.expect("the node accepts in time");
        let peer =
            Peer { stream: dialled.expect("the node listens"), read: Vec::new(), first_ping: None, connection: None };
        peer.greet(&Hello { features, ..Hello::of(fresh_id()) }, fresh_id()).await
    }

    /// Writes, whatever the node may make of it; false if it has ended the connection.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the node reads or ends the connection").is_ok()
    }

    /// Says that nothing more comes.
    pub(crate) async fn close_writing(&mut self) {
        // It may be closed already.
        let _ = self.stream.shutdown().await;
    }

    /// The node id in the node's hello; none if the connection ends before.
    pub(crate) async fn hello(&mut self) -> Option<[u8; 16]> {
        let prefix = self.take(16).await?;
        assert_eq!(&prefix[..8], b"HERMOD\r\n");
        let rest = self.take(u32_at(&prefix, 12)).await?;
        self.connection = rest.get(24..40)?.try_into().ok();
        rest.get(8..24)?.try_into().ok()
    }

    /// The next frame; none if the connection ends before it.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        let length = self.take(4).await?;
        let frame = self.take(u32_at(&length, 0)).await?;
        let (&kind, payload) = frame.split_first()?;
        Some(Frame { kind, payload: payload.to_vec() })
    }

    /// Every frame up to the end of the connection, which has to come.
    pub(crate) async fn frames_to_end(&mut self) -> Vec<Frame> {
        let all = async {
            let mut frames = Vec::new();
            while let Some(frame) = self.frame().await {
                frames.push(frame);
            }
            frames
        };
        // As a whole: one that goes on has heartbeats.
        timeout(PATIENCE, all).await.expect("the node ends the connection")
    }

    /// Waits for the end of the connection, without a look at what comes before.
    pub(crate) async fn end(&mut self) {
        let mut rest = [0; 4096];
        let all = async { while self.fill(&mut rest).await > 0 {} };
        timeout(PATIENCE, all).await.expect("the node ends the connection");
    }

    /// Asks for a sign of life: true once the node has answered, so that all that was sent before is dealt with.
    pub(crate) async fn is_answered(&mut self) -> bool {
        const NONCE: u64 = 0xfeed;
        if !self.send(&ping(NONCE)).await {
            return false;
        }
        while let Some(frame) = self.frame().await {
            if frame.kind == kind::PONG && frame.payload.starts_with(&NONCE.to_le_bytes()) {
                return true;
            }
        }
        false
    }

    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut chunk = [0; 4096];
        while self.read.len() < count {
            match self.fill(&mut chunk).await {
                0 => return None,
                some => self.read.extend(&chunk[..some]),
            }
        }
        let rest = self.read.split_off(count);
        Some(std::mem::replace(&mut self.read, rest))
    }

    /// Reads something; 0 at the end. A connection that is reset has ended, too: the system does that when one side
    /// closes before it has read everything.
    async fn fill(&mut self, chunk: &mut [u8]) -> usize {
        let read = timeout(PATIENCE, self.stream.read(chunk)).await;
        read.expect("the node says something or ends the connection").unwrap_or(0)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    let bytes: [u8; 4] = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(bytes) as usize
}
