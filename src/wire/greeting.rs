//! The greeting as a state of each side: bytes in, bytes and outcomes out, without a socket, a clock or a lock. Each state
//! is used up by the step to the next, so that nothing can be said twice or in another order.
//!
//! ```text
//! dialling side                                   side that was dialled
//! Dialling::begin       1 hello    ─────────────▶ Dialled::front
//! Dialling::answered    2 hello    ◀───────────── Dialled::answer
//! Proving::prove        3 proof    ─────────────▶ Answered::proven
//! Unwelcomed::welcome   4 welcome  ◀───────────── Accepting::welcome
//! ```
//!
//! Each signature is over the role of its writer and the hash of all bytes so far, as they were written: so no part of one
//! greeting serves in another, a side cannot be shown its own words, and versions and features cannot be changed on the
//! way. Both ids are in what 3 and 4 sign, so nobody is taken for another by either side.

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
use super::handshake::Hello;
use super::handshake::HelloFront;
use super::handshake::ListenerHello;
use crate::ident::Epoch;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::key::NodeKey;
use crate::key::PublicKey;
use crate::key::SIGNATURE;

/// Stand before what is signed, so that what one role signs is nothing that another would.
const LISTENER_WORD: &[u8] = b"hermod1 listener\0";
const DIALLER_WORD: &[u8] = b"hermod1 dialler\0";
const WELCOME_WORD: &[u8] = b"hermod1 welcome\0";

/// What the channel below gives to bind the greeting to: a TLS exporter (RFC 9266), the hash of a Noise handshake, or zeros
/// where it gives nothing, as plain TCP and Unix sockets do.
pub(crate) type ChannelBinding = [u8; 32];

/// Of a channel that gives nothing to bind to.
pub(crate) const UNBOUND: ChannelBinding = [0; 32];

type Hash = [u8; 32];

/// The node itself: its key, and this run of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ourselves<'a> {
    pub(crate) key: &'a NodeKey,
    pub(crate) epoch: Epoch,
}

/// The other side, which has shown that it is that node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Greeted {
    pub(crate) peer: Incarnation,
    pub(crate) hello: Hello,
}

/// Why a greeting ends.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum GreetingError {
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("node {expected} was expected, and node {answered} has answered")]
    AnotherNode { expected: NodeId, answered: NodeId },
}

/// What the front of what was read is.
#[derive(Debug)]
pub(crate) enum Step<T> {
    /// The next state, and how many bytes were read.
    To(T, usize),
    /// There is more to come.
    Wants,
}

// ------------------------------------------------------------------------------------------------- the dialling side

/// Has said hello.
#[derive(Debug)]
pub(crate) struct Dialling {
    /// Of message 1.
    heard: Sha256,
    channel: ChannelBinding,
    /// Who is to answer, if that matters.
    expected: Option<NodeId>,
}

/// Knows who is there, and has not said who it is itself.
#[derive(Debug)]
pub(crate) struct Proving {
    /// T2 and the signature of message 2.
    heard: Sha256,
    listener: PublicKey,
}

/// Has said who it is. Nothing that the other side says is to be acted upon before its welcome.
#[derive(Debug)]
pub(crate) struct Unwelcomed {
    /// T3 and the signature of message 3.
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

    /// Reads message 2 at the front of `buffer`, of at most `limit` bytes.
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

/// Has heard a hello.
#[derive(Debug)]
pub(crate) struct Dialled {
    /// Of message 1.
    heard: Sha256,
    pub(crate) hello: Hello,
}

/// Has said who it is, and waits to hear who is there.
#[derive(Debug)]
pub(crate) struct Answered {
    /// T2 and the signature of message 2.
    heard: Sha256,
    hello: Hello,
}

/// Knows who is there.
#[derive(Debug)]
pub(crate) struct Accepting {
    /// T3 and the signature of message 3.
    heard: Sha256,
}

impl Dialled {
    /// Reads message 1 at the front of `buffer`, of at most `limit` bytes.
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
    /// Reads message 3: who is there, and what it says once it has shown that.
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

/// The hash of what was heard before and of the message that follows, up to its signature.
fn close(heard: &Sha256, raw: &[u8], channel: Option<&ChannelBinding>) -> Hash {
    let hash = heard.clone().chain_update(raw);
    channel.into_iter().fold(hash, |hash, channel| hash.chain_update(channel)).finalize().into()
}

/// The same of a frame that was read, whose head is as all heads are.
fn close_frame(heard: Sha256, raw: Raw<'_>) -> Hash {
    let length = ((raw.size - LENGTH) as u32).to_le_bytes();
    let payload = before_signature(raw.payload, raw.payload.len());
    heard.chain_update(length).chain_update([raw.kind]).chain_update(payload).finalize().into()
}

/// The next hash begins with the last, and with the signature of it.
fn after(transcript: Hash, signature: &[u8; SIGNATURE]) -> Sha256 {
    Sha256::new().chain_update(transcript).chain_update(signature)
}

/// Signs the message that `out` ends with, in the place that it has for a signature.
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

/// The first `size` bytes without the signature at their end.
fn before_signature(bytes: &[u8], size: usize) -> &[u8] {
    bytes.get(..size.saturating_sub(SIGNATURE)).unwrap_or_default()
}
