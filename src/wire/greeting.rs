//! The greeting as a state machine of each side: bytes in, bytes and outcomes out, without a socket, a clock or a lock.
//! Each state is consumed by the step to the next, so that no message can be sent twice or in another order.
//!
//! ```text
//! dialling side                                   side that was dialled
//! Dialling::begin       1 hello    ─────────────▶ Dialled::front
//! Dialling::answered    2 hello    ◀───────────── Dialled::answer
//! Proving::prove        3 proof    ─────────────▶ Answered::proven
//! Unwelcomed::welcome   4 welcome  ◀───────────── Accepting::welcome
//! ```
//!
//! Each signature covers the role of its writer and the hash of all bytes so far, as they were written: so no part of
//! one greeting serves in another, a side cannot be shown its own messages, and versions and features cannot be changed
//! on the way. The signatures of 3 and 4 cover both ids, so neither side takes its peer for another node.

use bytes::BytesMut;
use sha2::Digest;
use sha2::Sha256;

use super::codec::Violation;
use super::frames::LENGTH;
use super::frames::Raw;
use super::frames::kind;
use super::frames::proof::Disclosure;
use super::frames::proof::Proof;
use super::frames::welcome::Welcome;
use super::hello::Hello;
use super::hello::HelloFront;
use super::hello::ListenerHello;
use crate::ident::Epoch;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::key::NodeKey;
use crate::key::PublicKey;
use crate::key::SIGNATURE;

/// Prefixes of the signed bytes, so that no role signs bytes that another role would sign.
const LISTENER_WORD: &[u8] = b"hermod1 listener\0";
const DIALLER_WORD: &[u8] = b"hermod1 dialler\0";
const WELCOME_WORD: &[u8] = b"hermod1 welcome\0";

/// The value to which the channel below binds the greeting: a TLS exporter (RFC 9266), the hash of a Noise handshake,
/// or zeros for a channel without one, such as plain TCP and Unix sockets.
pub(crate) type ChannelBinding = [u8; 32];

/// The binding of a channel that has none.
pub(crate) const UNBOUND: ChannelBinding = [0; 32];

type Hash = [u8; 32];

/// The node itself: its key, and this run of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ourselves<'a> {
    pub(crate) key: &'a NodeKey,
    pub(crate) epoch: Epoch,
}

/// The other side, which has proved its identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Greeted {
    pub(crate) peer: Incarnation,
    pub(crate) hello: Hello,
}

/// The reason why a greeting fails.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum GreetingError {
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("node {expected} was expected, and node {answered} has answered")]
    AnotherNode { expected: NodeId, answered: NodeId },
}

/// The result of reading a message at the front of a buffer.
#[derive(Debug)]
pub(crate) enum Step<T> {
    /// The next state, and the number of bytes read.
    To(T, usize),
    /// The message is not whole yet.
    Wants,
}

// ------------------------------------------------------------------------------------------------- the dialling side

/// The dialling side after its hello.
#[derive(Debug)]
pub(crate) struct Dialling {
    /// The hash of message 1.
    heard: Sha256,
    channel: ChannelBinding,
    /// The node that must answer, if it matters.
    expected: Option<NodeId>,
}

/// The dialling side that knows the listener's identity, and has not disclosed its own.
#[derive(Debug)]
pub(crate) struct Proving {
    /// The hash of T2 and the signature of message 2.
    heard: Sha256,
    listener: PublicKey,
}

/// The dialling side after its proof. It must not act upon anything from the other side before the welcome.
#[derive(Debug)]
pub(crate) struct Unwelcomed {
    /// The hash of T3 and the signature of message 3.
    heard: Sha256,
    listener: PublicKey,
}

impl Dialling {
    /// Writes message 1.
    pub(crate) fn begin(
        hello: &Hello,
        channel: ChannelBinding,
        expected: Option<NodeId>,
        out: &mut BytesMut,
    ) -> Dialling {
        let before = out.len();
        hello.put(out);
        Dialling { heard: Sha256::new().chain_update(written_since(out, before)), channel, expected }
    }

    /// Returns whether message 2, of at most `limit` bytes, stands whole at the front of `buffer`; consumes nothing.
    pub(crate) fn is_answered(buffer: &[u8], limit: usize) -> Result<Step<()>, GreetingError> {
        Ok(match ListenerHello::front(buffer, limit)? {
            HelloFront::Hello(..) => Step::To((), 0),
            HelloFront::Wants(_) => Step::Wants,
        })
    }

    /// Reads message 2, of at most `limit` bytes, at the front of `buffer`.
    pub(crate) fn answered(&self, buffer: &[u8], limit: usize) -> Result<Step<(Proving, Greeted)>, GreetingError> {
        let (answer, size) = match ListenerHello::front(buffer, limit)? {
            HelloFront::Hello(answer, size) => (answer, size),
            HelloFront::Wants(_) => return Ok(Step::Wants),
        };
        let ListenerHello { hello, epoch, key, signature } = answer;
        let transcript = close(&self.heard, before_signature(buffer, size), Some(&self.channel));
        check(LISTENER_WORD, &transcript, key, &signature)?;
        let answered = key.id();
        if let Some(expected) = self.expected.filter(|expected| *expected != answered) {
            return Err(GreetingError::AnotherNode { expected, answered });
        }
        let greeted = Greeted { peer: Incarnation { node: answered, epoch }, hello };
        Ok(Step::To((Proving { heard: after(transcript, &signature), listener: key }, greeted), size))
    }
}

impl Proving {
    /// Writes message 3. Messages may follow at once.
    pub(crate) fn prove(self, ourselves: Ourselves<'_>, disclosed: Disclosure, out: &mut BytesMut) -> Unwelcomed {
        let before = out.len();
        let (epoch, key) = (ourselves.epoch, ourselves.key.public());
        Proof { epoch, key, disclosed, signature: [0; SIGNATURE] }.put(out);
        let heard = sign(self.heard, DIALLER_WORD, ourselves.key, out, before, None);
        Unwelcomed { heard, listener: self.listener }
    }
}

impl Unwelcomed {
    /// Reads message 4.
    pub(crate) fn welcome(self, raw: Raw<'_>) -> Result<Disclosure, Violation> {
        if raw.kind != kind::WELCOME {
            return Err(Violation::OutOfTurn(raw.kind));
        }
        let Welcome { disclosed, signature } = Welcome::read(raw.payload)?;
        check(WELCOME_WORD, &close_frame(self.heard, raw), self.listener, &signature)?;
        Ok(disclosed)
    }
}

// ------------------------------------------------------------------------------------------- the side that was dialled

/// The listening side that has read a hello.
#[derive(Debug)]
pub(crate) struct Dialled {
    /// The hash of message 1.
    heard: Sha256,
    pub(crate) hello: Hello,
}

/// The listening side that has disclosed its identity, and waits for the dialler's proof.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The hash of T2 and the signature of message 2.
    heard: Sha256,
    hello: Hello,
}

/// The listening side that knows the dialler's identity.
#[derive(Debug)]
pub(crate) struct Accepting {
    /// The hash of T3 and the signature of message 3.
    heard: Sha256,
}

impl Dialled {
    /// Reads message 1, of at most `limit` bytes, at the front of `buffer`.
    pub(crate) fn front(buffer: &[u8], limit: usize) -> Result<Step<Dialled>, Violation> {
        Ok(match Hello::front(buffer, limit)? {
            HelloFront::Hello(hello, size) => {
                let heard = Sha256::new().chain_update(buffer.get(..size).unwrap_or_default());
                Step::To(Dialled { heard, hello }, size)
            }
            HelloFront::Wants(_) => Step::Wants,
        })
    }

    /// Writes message 2.
    pub(crate) fn answer(
        self,
        hello: Hello,
        ourselves: Ourselves<'_>,
        channel: ChannelBinding,
        out: &mut BytesMut,
    ) -> Answered {
        let before = out.len();
        let (epoch, key) = (ourselves.epoch, ourselves.key.public());
        ListenerHello { hello, epoch, key, signature: [0; SIGNATURE] }.put(out);
        let heard = sign(self.heard, LISTENER_WORD, ourselves.key, out, before, Some(&channel));
        Answered { heard, hello: self.hello }
    }
}

impl Answered {
    /// Reads message 3. Returns the dialler's identity once it is proved, and the facts it discloses.
    pub(crate) fn proven(self, raw: Raw<'_>) -> Result<(Accepting, Greeted, Disclosure), Violation> {
        if raw.kind != kind::PROOF {
            return Err(Violation::OutOfTurn(raw.kind));
        }
        let Proof { epoch, key, disclosed, signature } = Proof::read(raw.payload)?;
        let transcript = close_frame(self.heard, raw);
        check(DIALLER_WORD, &transcript, key, &signature)?;
        let greeted = Greeted { peer: Incarnation { node: key.id(), epoch }, hello: self.hello };
        Ok((Accepting { heard: after(transcript, &signature) }, greeted, disclosed))
    }
}

impl Accepting {
    /// Writes message 4.
    pub(crate) fn welcome(self, key: &NodeKey, disclosed: Disclosure, out: &mut BytesMut) {
        let before = out.len();
        Welcome { disclosed, signature: [0; SIGNATURE] }.put(out);
        sign(self.heard, WELCOME_WORD, key, out, before, None);
    }
}

// ----------------------------------------------------------------------------------------------------- the transcript

/// Returns the hash of the transcript so far and of the message that follows, up to its signature.
fn close(heard: &Sha256, raw: &[u8], channel: Option<&ChannelBinding>) -> Hash {
    let hash = heard.clone().chain_update(raw);
    channel.into_iter().fold(hash, |hash, channel| hash.chain_update(channel)).finalize().into()
}

/// Like [`close`] for a frame that was read, whose length field and kind are written again.
fn close_frame(heard: Sha256, raw: Raw<'_>) -> Hash {
    let length = ((raw.size - LENGTH) as u32).to_le_bytes();
    let payload = before_signature(raw.payload, raw.payload.len());
    heard.chain_update(length).chain_update([raw.kind]).chain_update(payload).finalize().into()
}

/// Begins the next hash with the last one and its signature.
fn after(transcript: Hash, signature: &[u8; SIGNATURE]) -> Sha256 {
    Sha256::new().chain_update(transcript).chain_update(signature)
}

/// Signs the message at the end of `out`, and puts the signature into its last bytes.
fn sign(
    heard: Sha256,
    word: &[u8],
    key: &NodeKey,
    out: &mut BytesMut,
    before: usize,
    channel: Option<&ChannelBinding>,
) -> Sha256 {
    let raw = written_since(out, before);
    let transcript = close(&heard, before_signature(raw, raw.len()), channel);
    let signature = key.sign(&signed(word, &transcript));
    out.truncate(out.len().saturating_sub(SIGNATURE));
    out.extend_from_slice(&signature);
    after(transcript, &signature)
}

fn check(word: &[u8], transcript: &Hash, key: PublicKey, signature: &[u8; SIGNATURE]) -> Result<(), Violation> {
    if key.has_signed(&signed(word, transcript), signature) { Ok(()) } else { Err(Violation::Unproven) }
}

fn signed(word: &[u8], transcript: &Hash) -> Vec<u8> {
    [word, transcript].concat()
}

fn written_since(out: &BytesMut, before: usize) -> &[u8] {
    out.get(before..).unwrap_or_default()
}

/// Returns the first `size` bytes without the signature at their end.
fn before_signature(bytes: &[u8], size: usize) -> &[u8] {
    bytes.get(..size.saturating_sub(SIGNATURE)).unwrap_or_default()
}
