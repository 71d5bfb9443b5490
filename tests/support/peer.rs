//! A peer that speaks raw frames, for tests that say what no node would: an encoder of its own, written from the
//! specification in `src/wire/mod.rs` and not from the code.

use std::time::Duration;

use ed25519_dalek::Signature;
use ed25519_dalek::Signer;
use ed25519_dalek::SigningKey;
use ed25519_dalek::VerifyingKey;
use sha2::Digest;
use sha2::Sha256;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Numbers of the kinds of frames that are used here.
pub mod kind {
    pub const PROOF: u8 = 1;
    pub const POST: u8 = 2;
    pub const ASK: u8 = 3;
    pub const ANSWER: u8 = 4;
    pub const REFUSE: u8 = 5;
    pub const CANCEL: u8 = 6;
    pub const RELEASE: u8 = 7;
    pub const REPORT: u8 = 8;
    pub const PING: u8 = 9;
    pub const PONG: u8 = 10;
    pub const GOODBYE: u8 = 11;
    pub const WELCOME: u8 = 12;
    pub const FRAGMENT: u8 = 13;
    pub const SHAPE_QUESTION: u8 = 14;
    pub const SHAPE: u8 = 15;
    pub const WATCH: u8 = 16;
    pub const CLOSED: u8 = 17;
    pub const PRESSURE: u8 = 18;
    pub const HOLD: u8 = 19;
    pub const RESTATED: u8 = 20;
    pub const REMARK: u8 = 128;
    pub const UNWATCHED: u8 = 129;
}

pub const EXTENSIONS_FOLLOW: u8 = 1;
pub const HANDLES_FOLLOW: u8 = 2;

// ------------------------------------------------------------------------------------------------------- the bytes

/// The content of a peer's greeting, and the key that it signs with.
#[derive(Clone, Debug)]
pub struct Hello {
    pub versions: (u16, u16),
    /// Bits of what the peer may be sent.
    pub features: u64,
    /// The key that it shows, and the secret one that it signs with, which belong together in an honest peer.
    pub key: [u8; 32],
    pub secret: [u8; 32],
    /// The id of the node that has both.
    pub node: [u8; 16],
    pub epoch: [u8; 16],
    pub max_frame: u32,
    /// Bytes that are appended as extensions.
    pub extensions: Vec<u8>,
}

impl Hello {
    /// Of a node whose key is made from those bytes.
    pub fn of(seed: [u8; 16]) -> Hello {
        let secret = *[seed, seed].as_flattened().first_chunk().expect("32 bytes");
        let key = SigningKey::from_bytes(&secret).verifying_key().to_bytes();
        let node = id_of(&key);
        let (features, max_frame) = (0, 16 << 20);
        Hello { versions: (1, 1), features, key, secret, node, epoch: fresh_id(), max_frame, extensions: Vec::new() }
    }

    /// The first message of the side that dials.
    pub fn bytes(&self) -> Vec<u8> {
        hello(self.versions, &[self.body(), self.extensions.clone()].concat())
    }

    /// That of the side that was dialled, in answer to that hello.
    pub fn answer(&self, heard: &[u8]) -> Vec<u8> {
        let fields = [&self.body()[..], &self.epoch, &self.key, &self.extensions, &[0; 64]].concat();
        let mut answer = hello(self.versions, &fields);
        let before = answer.len() - 64;
        let transcript = hash(&[heard, &answer[..before], &[0; 32]]);
        answer.truncate(before);
        answer.extend(sign(&self.secret, b"hermod1 listener\0", &transcript));
        answer
    }

    fn body(&self) -> Vec<u8> {
        let limits = [self.max_frame.to_le_bytes(), 4096_u32.to_le_bytes()].concat();
        [&self.features.to_le_bytes()[..], &fresh_id(), &limits, &fresh_id(), &fresh_id()].concat()
    }

    /// The proof of the side that dials: it is to be signed behind what was heard so far, and tells of connections that have
    /// ended.
    pub fn proof(&self, heard: &[u8; 96], ended: &[([u8; 16], u64)]) -> Vec<u8> {
        let disclosed = disclosed(ended);
        let proof = frame(kind::PROOF, &[&self.epoch[..], &self.key, &disclosed, &[0; 64]].concat());
        self.signed(b"hermod1 dialler\0", heard, proof)
    }

    /// The welcome of the side that was dialled.
    pub fn welcome(&self, heard: &[u8; 96], ended: &[([u8; 16], u64)]) -> Vec<u8> {
        let welcome = frame(kind::WELCOME, &[&disclosed(ended)[..], &[0; 64]].concat());
        self.signed(b"hermod1 welcome\0", heard, welcome)
    }

    fn signed(&self, word: &[u8], heard: &[u8; 96], mut frame: Vec<u8>) -> Vec<u8> {
        let before = frame.len() - 64;
        let transcript = hash(&[heard, &frame[..before]]);
        frame.truncate(before);
        frame.extend(sign(&self.secret, word, &transcript));
        frame
    }
}

/// A hello that has these versions and, behind its length, these bytes.
pub fn hello(versions: (u16, u16), rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(rest.len()).expect("a short hello");
    [b"HERMOD\r\n", &versions.0.to_le_bytes()[..], &versions.1.to_le_bytes(), &length.to_le_bytes(), rest].concat()
}

/// No endpoints, and connections that have ended.
fn disclosed(ended: &[([u8; 16], u64)]) -> Vec<u8> {
    let ended = ended.iter().map(|(connection, read)| [&connection[..], &number(*read)].concat());
    let ended: Vec<Vec<u8>> = ended.collect();
    [number(0), number(ended.len() as u64), ended.concat()].concat()
}

pub fn id_of(key: &[u8]) -> [u8; 16] {
    *hash(&[b"hermod1 node\0", key]).first_chunk().expect("a hash is longer")
}

pub fn sign(secret: &[u8; 32], word: &[u8], transcript: &[u8; 32]) -> [u8; 64] {
    SigningKey::from_bytes(secret).sign(&[word, transcript].concat()).to_bytes()
}

/// The text under the next signature, before its own message: the last transcript, and the signature of that.
fn after(transcript: &[u8; 32], signature: &[u8]) -> [u8; 96] {
    *[&transcript[..], signature].concat().first_chunk().expect("a hash and a signature")
}

/// The same, once the signature was found to be right.
fn checked(word: &[u8], transcript: &[u8; 32], key: &[u8], signature: &[u8]) -> [u8; 96] {
    let key = VerifyingKey::from_bytes(key.try_into().expect("a key")).expect("a key");
    let of = Signature::from_slice(signature).expect("a signature");
    key.verify_strict(&[word, transcript].concat(), &of).expect("the node signs what it says");
    after(transcript, signature)
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(parts.concat()).into()
}

/// An id that nobody else has.
pub fn fresh_id() -> [u8; 16] {
    *uuid::Uuid::new_v4().as_bytes()
}

pub fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub fn text(text: &str) -> Vec<u8> {
    [number(text.len() as u64), text.as_bytes().to_vec()].concat()
}

pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).expect("a short frame");
    [&length.to_le_bytes(), [kind].as_slice(), payload].concat()
}

pub fn ping(nonce: u64) -> Vec<u8> {
    frame(kind::PING, &[nonce.to_le_bytes().to_vec(), number(0)].concat())
}

pub fn goodbye(why: u8) -> Vec<u8> {
    goodbye_after(why, 0)
}

/// Of one that has read so many messages.
pub fn goodbye_after(why: u8, read: u64) -> Vec<u8> {
    frame(kind::GOODBYE, &[vec![why], number(read), text("enough")].concat())
}

pub fn release(id: [u8; 16], count: u64) -> Vec<u8> {
    frame(kind::RELEASE, &[id.to_vec(), number(count)].concat())
}

pub fn hold(id: [u8; 16], count: u64) -> Vec<u8> {
    frame(kind::HOLD, &[id.to_vec(), number(count)].concat())
}

pub fn restated(ended: &[[u8; 16]]) -> Vec<u8> {
    frame(kind::RESTATED, &ended.concat())
}

/// A handle by a number that was set before.
pub fn use_number(n: u64) -> Vec<u8> {
    number(n * 4)
}

/// A handle that gives what is introduced a number.
pub fn set_number(n: u64, introduction: &[u8]) -> Vec<u8> {
    [&number(n * 4 + 1), introduction].concat()
}

/// A handle that introduces somebody this once.
pub fn inline(introduction: &[u8]) -> Vec<u8> {
    [&number(2), introduction].concat()
}

/// Introduces the reader's box of a name.
pub fn your_box(name: &str) -> Vec<u8> {
    [vec![0], text(name)].concat()
}

/// The same for messages of a shape with that fingerprint.
pub fn your_box_for(name: &str, fingerprint: u64) -> Vec<u8> {
    [vec![0x10], text(name), fingerprint.to_le_bytes().to_vec()].concat()
}

/// Introduces the reader's box of an id.
pub fn your_box_by_id(id: [u8; 16]) -> Vec<u8> {
    [vec![1], id.to_vec()].concat()
}

/// A node, and the run of it.
pub type Run = ([u8; 16], [u8; 16]);

/// Introduces a box of a third node, which is reached through the peer's own box *via*.
pub fn third_box((node, epoch): Run, id: [u8; 16], via: [u8; 16]) -> Vec<u8> {
    [&[3][..], &node, &epoch, &id, &via, &text(""), &number(0)].concat()
}

/// The same, of a node that is said to listen at an endpoint.
pub fn third_box_at((node, epoch): Run, id: [u8; 16], via: [u8; 16], endpoint: &str) -> Vec<u8> {
    [&[3][..], &node, &epoch, &id, &via, &text(""), &number(1), &text(endpoint)].concat()
}

/// Introduces a box of the peer itself, which counts its handles.
pub fn my_counted_box(id: [u8; 16]) -> Vec<u8> {
    [vec![0x22], id.to_vec(), text("")].concat()
}

/// Introduces whatever box has that name at an endpoint.
pub fn box_at(endpoint: &str, name: &str) -> Vec<u8> {
    [vec![4], text(endpoint), text(name)].concat()
}

pub fn post(target: &[u8], body: &[u8]) -> Vec<u8> {
    frame(kind::POST, &[&[0], target, body].concat())
}

pub fn post_with(target: &[u8], handles: &[Vec<u8>], body: &[u8]) -> Vec<u8> {
    let count = number(handles.len() as u64);
    frame(kind::POST, &[&[HANDLES_FOLLOW], target, &count, &handles.concat(), body].concat())
}

pub fn ask(correlation: u64, target: &[u8], body: &[u8]) -> Vec<u8> {
    frame(kind::ASK, &[&[0], &number(correlation)[..], target, body].concat())
}

pub fn ask_with(correlation: u64, target: &[u8], handles: &[Vec<u8>], body: &[u8]) -> Vec<u8> {
    let count = number(handles.len() as u64);
    frame(kind::ASK, &[&[HANDLES_FOLLOW], &number(correlation)[..], target, &count, &handles.concat(), body].concat())
}

/// An ask with these bytes as its deadline.
pub fn ask_within(correlation: u64, deadline: &[u8], target: &[u8], body: &[u8]) -> Vec<u8> {
    let block = block_of(1, deadline);
    frame(kind::ASK, &[&[EXTENSIONS_FOLLOW], &number(correlation)[..], &block, target, body].concat())
}

/// A post with these bytes as the number of relays that have passed it on.
pub fn post_passed(hops: &[u8], target: &[u8], body: &[u8]) -> Vec<u8> {
    frame(kind::POST, &[&[EXTENSIONS_FOLLOW], &block_of(3, hops)[..], target, body].concat())
}

/// The same of an ask.
pub fn ask_passed(correlation: u64, hops: &[u8], target: &[u8], body: &[u8]) -> Vec<u8> {
    let block = block_of(3, hops);
    frame(kind::ASK, &[&[EXTENSIONS_FOLLOW], &number(correlation)[..], &block, target, body].concat())
}

/// An extension block with one extension in it.
fn block_of(id: u64, value: &[u8]) -> Vec<u8> {
    let extension = [number(id), number(value.len() as u64), value.to_vec()].concat();
    [number(extension.len() as u64), extension].concat()
}

pub fn answer(correlation: u64, body: &[u8]) -> Vec<u8> {
    frame(kind::ANSWER, &[&[0], &number(correlation)[..], body].concat())
}

pub fn answer_with(correlation: u64, handles: &[Vec<u8>], body: &[u8]) -> Vec<u8> {
    let count = number(handles.len() as u64);
    frame(kind::ANSWER, &[&[HANDLES_FOLLOW], &number(correlation)[..], &count, &handles.concat(), body].concat())
}

pub fn refuse(correlation: u64, reason: u8) -> Vec<u8> {
    frame(kind::REFUSE, &[number(correlation), vec![reason], text("because")].concat())
}

pub fn cancel(correlation: u64) -> Vec<u8> {
    frame(kind::CANCEL, &number(correlation))
}

/// Tells of drops of messages of any shape: boxes as they are called there, reasons and counts.
pub fn report(drops: &[(Vec<u8>, u8, u64)]) -> Vec<u8> {
    let entries = drops.iter().flat_map(|(of, reason, count)| dropped(of, 0, *reason, *count));
    frame(kind::REPORT, &number(0).into_iter().chain(entries).collect::<Vec<u8>>())
}

/// An entry of a report: how many messages of one shape for one box were dropped.
pub fn dropped(of: &[u8], fingerprint: u64, reason: u8, count: u64) -> Vec<u8> {
    [of, &fingerprint.to_le_bytes(), &[reason], &number(count)].concat()
}

/// A box, in a report or a question.
pub fn box_named(name: &str) -> Vec<u8> {
    [vec![0], text(name)].concat()
}

// -------------------------------------------------------------------------------------------------- the connection

/// A frame that the node sent.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub payload: Vec<u8>,
}

/// One end of a connection, without any manners of its own.
#[derive(Debug)]
pub struct Peer {
    pub stream: TcpStream,
    read: Vec<u8>,
    /// The number of the ping that the node asks as soon as the connection is up, where that was awaited.
    pub first_ping: Option<u64>,
    /// The node's name for the connection, once it has greeted.
    pub connection: Option<[u8; 16]>,
    /// The node's epoch, once it has said who it is.
    pub epoch: Option<[u8; 16]>,
    /// The first message of the greeting.
    first: Vec<u8>,
    /// The text under the next signature, beside its own message.
    heard: Option<[u8; 96]>,
    /// The node's public key, once it has shown it.
    pub key: [u8; 32],
    /// How many numbers the node has said that it keeps.
    pub numbers: Option<usize>,
}

impl Peer {
    pub async fn dial(endpoint: &str) -> Peer {
        let dialled = timeout(PATIENCE, TcpStream::connect(endpoint)).await.expect("the node accepts in time");
        Peer::over(dialled.expect("the node listens"))
    }

    pub fn over(stream: TcpStream) -> Peer {
        Peer {
            stream,
            read: Vec::new(),
            first_ping: None,
            connection: None,
            numbers: None,
            epoch: None,
            first: Vec::new(),
            heard: None,
            key: [0; 32],
        }
    }

    /// Dials from another address of this host.
    pub async fn dial_from(ip: [u8; 4], endpoint: &str) -> Peer {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((ip, 0).into()).expect("an address of this host");
        let endpoint = endpoint.parse().expect("an address and a port");
        let dialled = timeout(PATIENCE, socket.connect(endpoint)).await.expect("the node accepts in time");
        Peer::over(dialled.expect("the node listens"))
    }

    /// Is greeted as a node that nobody knew before.
    pub async fn greet_as_stranger(self) -> Peer {
        self.greet(&Hello::of(fresh_id())).await
    }

    /// Waits until a node dials.
    pub async fn accept(listener: &TcpListener) -> Peer {
        let accepted = timeout(PATIENCE, listener.accept()).await.expect("the node dials in time");
        Peer::over(accepted.expect("a connection").0)
    }

    /// Dials and is greeted; the node must accept it.
    pub async fn greeted(endpoint: &str, hello: &Hello) -> Peer {
        Peer::dial(endpoint).await.greet(hello).await
    }

    /// Greets over a connection that was dialled.
    pub async fn greet(self, hello: &Hello) -> Peer {
        let mut peer = self;
        peer.proves(hello, &[]).await;
        peer.is_welcomed().await;
        // There is none where the node has refused the connection after all.
        if let Some(second) = peer.frame().await {
            assert_eq!(second.kind, kind::PING, "the node's second frame: {second:?}");
            peer.first_ping = second.payload.first_chunk().copied().map(u64::from_le_bytes);
        }
        peer
    }

    /// This side's name for a connection that it has dialled.
    pub fn name(&self) -> [u8; 16] {
        self.first[24..40].try_into().expect("an id")
    }

    /// Sends a hello; false if the node has ended the connection.
    pub async fn says_hello(&mut self, hello: &Hello) -> bool {
        self.first = hello.bytes();
        let first = self.first.clone();
        self.send(&first).await
    }

    /// Sends the hello again that another connection has begun with.
    pub async fn repeats_hello(&mut self, of: &Peer) -> bool {
        self.first.clone_from(&of.first);
        let first = self.first.clone();
        self.send(&first).await
    }

    /// Dials on as far as to its proof, in which it tells of connections that have ended. The node has not read it yet.
    pub async fn proves(&mut self, hello: &Hello, ended: &[([u8; 16], u64)]) {
        assert!(self.says_hello(hello).await, "the node takes a hello");
        self.hello().await.expect("the node answers a hello");
        let proof = self.proof(hello, ended);
        assert!(self.send(&proof).await, "the node reads a proof");
    }

    /// The proof with which that node would go on, having read the node's hello.
    pub fn proof(&mut self, hello: &Hello, ended: &[([u8; 16], u64)]) -> Vec<u8> {
        let proof = hello.proof(&self.heard.expect("the node has said hello"), ended);
        self.heard(&proof);
        proof
    }

    /// Reads the node's welcome: what it has read of connections that have ended.
    pub async fn is_welcomed(&mut self) -> Vec<([u8; 16], u64)> {
        let first = self.frame().await.expect("the node welcomes");
        assert_eq!(first.kind, kind::WELCOME, "the node's first frame: {first:?}");
        let bytes = frame(kind::WELCOME, &first.payload);
        let (raw, signature) = bytes.split_last_chunk::<64>().expect("a signature");
        let transcript = hash(&[&self.heard.expect("a proof was sent"), raw]);
        checked(b"hermod1 welcome\0", &transcript, &self.key, signature);
        ended_in(&first.payload[..first.payload.len() - 64])
    }

    /// Was dialled: says who it is to the node, which says who it is itself. The id of the node, and what it tells of
    /// connections that have ended; none if it ends the connection.
    pub async fn answers(&mut self, hello: &Hello) -> Option<([u8; 16], Vec<([u8; 16], u64)>)> {
        self.hears_hello().await?;
        if !self.says_who_it_is(hello).await {
            return None;
        }
        self.hears_proof().await
    }

    /// Reads the hello of a node that has dialled.
    pub async fn hears_hello(&mut self) -> Option<()> {
        self.first = self.raw_hello().await?;
        self.connection = self.first.get(24..40)?.try_into().ok();
        Some(())
    }

    /// Answers it.
    pub async fn says_who_it_is(&mut self, hello: &Hello) -> bool {
        let answer = hello.answer(&self.first);
        let (raw, signature) = answer.split_last_chunk::<64>().expect("a signature");
        self.heard = Some(after(&hash(&[&self.first, raw, &[0; 32]]), signature));
        self.send(&answer).await
    }

    /// Reads the proof of a node that has dialled.
    pub async fn hears_proof(&mut self) -> Option<([u8; 16], Vec<([u8; 16], u64)>)> {
        let first = self.frame().await?;
        assert_eq!(first.kind, kind::PROOF, "the node's first frame: {first:?}");
        let bytes = frame(kind::PROOF, &first.payload);
        let (raw, signature) = bytes.split_last_chunk::<64>().expect("a signature");
        let transcript = hash(&[&self.heard.expect("it was answered"), raw]);
        self.heard = Some(checked(b"hermod1 dialler\0", &transcript, &first.payload[16..48], signature));
        self.epoch = first.payload.first_chunk().copied();
        self.key = first.payload[16..48].try_into().expect("a key");
        Some((id_of(&first.payload[16..48]), ended_in(&first.payload[48..first.payload.len() - 64])))
    }

    /// The welcome for it.
    pub fn welcome(&self, hello: &Hello, ended: &[([u8; 16], u64)]) -> Vec<u8> {
        hello.welcome(&self.heard.expect("the node has shown who it is"), ended)
    }

    /// Was dialled: greets, and is taken for the node that it is.
    pub async fn welcomes(&mut self, hello: &Hello) -> [u8; 16] {
        let (node, _) = self.answers(hello).await.expect("the node goes on");
        let welcome = self.welcome(hello, &[]);
        assert!(self.send(&welcome).await, "the node reads a welcome");
        node
    }

    /// Notes a signed frame of this side's.
    fn heard(&mut self, frame: &[u8]) {
        let (raw, signature) = frame.split_last_chunk::<64>().expect("a signature");
        let heard = self.heard.expect("the node has said hello");
        self.heard = Some(after(&hash(&[&heard, raw]), signature));
    }

    /// A greeted peer that nobody knew before.
    pub async fn stranger(endpoint: &str) -> Peer {
        Peer::greeted(endpoint, &Hello::of(fresh_id())).await
    }

    /// A stranger for whom the system keeps hardly anything that it has not read, or that the node has not: however slow
    /// the machine, it waits only for what the node does at this moment.
    pub async fn narrow_stranger(endpoint: &str) -> Peer {
        Peer::narrow_stranger_with(endpoint, 0).await
    }

    /// The same, with features.
    pub async fn narrow_stranger_with(endpoint: &str, features: u64) -> Peer {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket.set_send_buffer_size(4096).expect("a small buffer");
        let endpoint = endpoint.parse().expect("an address and a port");
        let dialled = timeout(PATIENCE, socket.connect(endpoint)).await.expect("the node accepts in time");
        let peer = Peer::over(dialled.expect("the node listens"));
        peer.greet(&Hello { features, ..Hello::of(fresh_id()) }).await
    }

    /// Writes, whatever the node may make of it; false if it has ended the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the node reads or ends the connection").is_ok()
    }

    /// Says that nothing more comes.
    pub async fn close_writing(&mut self) {
        // It may be closed already.
        let _ = self.stream.shutdown().await;
    }

    /// The id of a node that was dialled, which has signed its hello; none if the connection ends before.
    pub async fn hello(&mut self) -> Option<[u8; 16]> {
        let bytes = self.raw_hello().await?;
        self.connection = bytes.get(24..40)?.try_into().ok();
        self.numbers = Some(u32_at(&bytes, 44));
        self.epoch = bytes.get(80..96)?.try_into().ok();
        self.key = bytes.get(96..128)?.try_into().ok()?;
        let (raw, signature) = bytes.split_last_chunk::<64>()?;
        let transcript = hash(&[&self.first, raw, &[0; 32]]);
        self.heard = Some(checked(b"hermod1 listener\0", &transcript, &self.key, signature));
        Some(id_of(&self.key))
    }

    /// A hello as it stands on the stream.
    pub async fn raw_hello(&mut self) -> Option<Vec<u8>> {
        let prefix = self.take(16).await?;
        assert_eq!(&prefix[..8], b"HERMOD\r\n");
        let rest = self.take(u32_at(&prefix, 12)).await?;
        Some([prefix, rest].concat())
    }

    /// The next frame; none if the connection ends before it.
    pub async fn frame(&mut self) -> Option<Frame> {
        let length = self.take(4).await?;
        let frame = self.take(u32_at(&length, 0)).await?;
        let (&kind, payload) = frame.split_first()?;
        Some(Frame { kind, payload: payload.to_vec() })
    }

    /// Every frame up to the end of the connection, which has to come.
    pub async fn frames_to_end(&mut self) -> Vec<Frame> {
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
    pub async fn end(&mut self) {
        let mut rest = [0; 4096];
        let all = async { while self.fill(&mut rest).await > 0 {} };
        timeout(PATIENCE, all).await.expect("the node ends the connection");
    }

    /// Asks for a sign of life: true once the node has answered, so that all that was sent before is dealt with.
    pub async fn is_answered(&mut self) -> bool {
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

    /// Reads until so many handles were given back.
    pub async fn has_back(&mut self, count: u64) {
        let mut sum = 0;
        while sum < count {
            let frame = self.frame().await.expect("the connection goes on");
            if frame.kind == kind::RELEASE {
                sum += released(&frame.payload);
            }
        }
        assert_eq!(sum, count);
        assert!(self.is_answered().await);
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

/// How many handles a frame gives back in all.
fn released(mut payload: &[u8]) -> u64 {
    let mut sum = 0;
    while let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, rest @ ..] = payload {
        let size = rest.iter().position(|byte| byte & 0x80 == 0).expect("a number ends") + 1;
        sum += rest[..size].iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f));
        payload = &rest[size..];
    }
    sum
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    let bytes: [u8; 4] = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(bytes) as usize
}

/// The public key of a node that dials, as it shows it to whoever listens where it does.
pub async fn key_of(node: &actix_hermod::Node) -> [u8; 32] {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("it is bound").to_string();
    let node = node.clone();
    let dials = actix::spawn(async move { node.shapes_at(at).await });
    let mut curious = Peer::accept(&listener).await;
    curious.answers(&Hello::of(fresh_id())).await.expect("the node shows who it is");
    drop(listener);
    let key = curious.key;
    drop(curious);
    assert!(dials.await.expect("no panic").is_err(), "nobody answers");
    key
}

/// The connections that a proof or a welcome without endpoints tells of.
fn ended_in(disclosed: &[u8]) -> Vec<([u8; 16], u64)> {
    let mut rest = disclosed;
    let endpoints = number_at(&mut rest);
    for _ in 0..endpoints {
        let length = number_at(&mut rest) as usize;
        rest = &rest[length..];
    }
    let count = number_at(&mut rest);
    let entry = |_| {
        let (connection, behind) = rest.split_first_chunk().expect("a connection");
        rest = behind;
        (*connection, number_at(&mut rest))
    };
    (0..count).map(entry).collect()
}

fn number_at(bytes: &mut &[u8]) -> u64 {
    let last = bytes.iter().position(|byte| *byte < 0x80).expect("a number ends");
    let (number, rest) = bytes.split_at(last + 1);
    *bytes = rest;
    number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
}
