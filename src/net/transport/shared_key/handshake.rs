//! The handshake of a shared key: `Noise_NNpsk0_25519_ChaChaPoly_SHA256` (Noise, revision 34).
//!
//! | step | bytes | contents |
//! |---|---|---|
//! | 1, from the side that dials | 00 30, 48 bytes | its fresh public key, and a tag by which a holder of the key knows it |
//! | 2, from the side that was dialled | 00 30, 48 bytes | the same of that side |
//! | 3, from the side that dials | 00 10, 16 bytes | a tag: it knows the key, and has read step 2 |
//! | a refusal, in place of 2 or 3 | 00 00 | this side does not have the key of the other |
//!
//! The prologue is `hermod1 key\0`. All lengths are those of [records](super::records). A recorded step 1 is answered when
//! it is sent again, and its answer is of no use: nobody but its author can make step 3. The steps of the two sides differ,
//! so that none of them can be sent back. The channel's binding is the hash of the handshake, which covers both fresh
//! keys.

use std::io;

use snow::Builder;
use snow::Error;
use snow::HandshakeState;
use snow::TransportState;
use snow::params::CipherChoice;
use snow::params::DHChoice;
use snow::params::HashChoice;
use snow::resolvers::CryptoResolver;
use snow::resolvers::DefaultResolver;
use snow::types::Cipher;
use snow::types::Dh;
use snow::types::Hash;
use snow::types::Random;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

use super::records::LENGTH;
use super::records::TAG;
use crate::env;

/// The pattern, the curve, the cipher and the hash.
const NOISE: &str = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";

/// Mixed into the handshake, so that its bytes are of use in no other protocol.
const PROLOGUE: &[u8] = b"hermod1 key\0";

/// Bytes of a public key.
const PUBLIC: usize = 32;

/// Bytes of steps 1 and 2.
const HELLO: usize = PUBLIC + TAG;

/// The first bytes of a plain greeting of this crate, and of TLS.
const PLAIN: [u8; LENGTH] = *b"HE";
const TLS: [u8; LENGTH] = [0x16, 0x03];

/// The bytes of a key.
pub(super) type Secret = Zeroizing<[u8; 32]>;

/// The end of a handshake in which both sides have proven the key.
pub(super) struct Proven {
    /// The keys of the records that follow.
    pub(super) noise: TransportState,
    pub(super) binding: [u8; 32],
}

/// Takes the random bytes of the node, which are reproducible in a seeded simulation.
struct NodeRandom;

impl Random for NodeRandom {
    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Error> {
        for part in into.chunks_mut(PUBLIC) {
            let random = Zeroizing::new(env::random_bytes::<PUBLIC>());
            part.iter_mut().zip(random.iter()).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }
}

/// The cryptography of the suite, with the random bytes of the node.
pub(super) struct Resolver;

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(NodeRandom))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Returns the state of one side before the first step.
fn begin(key: &Secret, dials: bool) -> io::Result<HandshakeState> {
    let builder = Builder::with_resolver(NOISE.parse().map_err(failed)?, Box::new(Resolver));
    let builder = builder.prologue(PROLOGUE).and_then(|builder| builder.psk(0, key)).map_err(failed)?;
    if dials { builder.build_initiator() } else { builder.build_responder() }.map_err(failed)
}

/// Makes the handshake as the side that has dialled.
///
/// # Errors
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the listener does not have the key;
/// [`InvalidData`](io::ErrorKind::InvalidData) if it speaks something else, and the stream's own errors.
pub(super) async fn dial<S>(key: &Secret, name: &str, io: &mut S) -> io::Result<Proven>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut noise = begin(key, true)?;
    say_next(io, &mut noise).await?;
    let Some(hello) = read_step::<S, HELLO>(io).await? else {
        return Err(denied(format!("the listener does not have the key {name}")));
    };
    if noise.read_message(&hello, &mut []).is_err() {
        refuse(io).await?;
        return Err(denied(format!("the listener has another key in place of {name}")));
    }
    let binding = binding(&noise)?;
    let mut noise = noise.into_transport_mode().map_err(failed)?;
    let mut proof = [0; TAG];
    noise.write_message(&[], &mut proof).map_err(failed)?;
    say(io, &proof).await?;
    Ok(Proven { noise, binding })
}

/// Makes the handshake as the side that was dialled, with whichever of the keys the peer has. Returns its place as well.
///
/// # Errors
/// As [`dial`].
pub(super) async fn answer<S>(keys: &[Secret], io: &mut S) -> io::Result<(Proven, usize)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(hello) = read_step::<S, HELLO>(io).await? else {
        return Err(broken("the peer refuses before it has said anything"));
    };
    let mut known = None;
    for (place, key) in keys.iter().enumerate() {
        let mut noise = begin(key, false)?;
        if noise.read_message(&hello, &mut []).is_ok() {
            known = Some((noise, place));
            break;
        }
    }
    let Some((mut noise, place)) = known else {
        refuse(io).await?;
        return Err(denied("the peer has another key".to_owned()));
    };
    say_next(io, &mut noise).await?;
    let Some(proof) = read_step::<S, TAG>(io).await? else {
        return Err(denied("the peer has another key, and refuses this node's".to_owned()));
    };
    let binding = binding(&noise)?;
    let mut noise = noise.into_transport_mode().map_err(failed)?;
    if noise.read_message(&proof, &mut []).is_err() {
        return Err(denied(
            "the peer cannot prove that it has the key: its first message may be a recorded one".to_owned(),
        ));
    }
    Ok((Proven { noise, binding }, place))
}

/// Writes the next step of the handshake, 1 or 2.
async fn say_next<S: AsyncWrite + Unpin>(io: &mut S, noise: &mut HandshakeState) -> io::Result<()> {
    let mut hello = [0; HELLO];
    noise.write_message(&[], &mut hello).map_err(failed)?;
    say(io, &hello).await
}

async fn say<S: AsyncWrite + Unpin>(io: &mut S, step: &[u8]) -> io::Result<()> {
    let length = u16::try_from(step.len()).unwrap_or(u16::MAX).to_be_bytes();
    io.write_all(&[&length, step].concat()).await?;
    io.flush().await
}

/// Refuses the other side's key.
async fn refuse<S: AsyncWrite + Unpin>(io: &mut S) -> io::Result<()> {
    say(io, &[]).await
}

/// Reads a step of that length; `None` if it is a refusal.
async fn read_step<S: AsyncRead + Unpin, const N: usize>(io: &mut S) -> io::Result<Option<[u8; N]>> {
    let mut length = [0; LENGTH];
    read_all(io, &mut length).await?;
    match usize::from(u16::from_be_bytes(length)) {
        0 => Ok(None),
        announced if announced == N => {
            let mut step = [0; N];
            read_all(io, &mut step).await?;
            Ok(Some(step))
        }
        _ if length == PLAIN => Err(broken("the other side speaks without a key: dial key:host:port")),
        _ if length == TLS => Err(broken("the other side speaks TLS, and not by a shared key")),
        _ => Err(broken("the other side does not speak by a shared key")),
    }
}

async fn read_all<S: AsyncRead + Unpin>(io: &mut S, into: &mut [u8]) -> io::Result<()> {
    io.read_exact(into).await.map(|_| ()).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            let words = "the other side hung up before it had proven the key: does it listen at a key endpoint?";
            io::Error::new(io::ErrorKind::UnexpectedEof, words)
        }
        _ => error,
    })
}

fn binding(noise: &HandshakeState) -> io::Result<[u8; 32]> {
    noise.get_handshake_hash().try_into().map_err(|_| broken("the hash of the handshake has no 32 bytes"))
}

fn denied(words: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, words)
}

fn broken(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

/// Returns an error of the library, which only a fault of this crate's can cause.
fn failed(error: Error) -> io::Error {
    io::Error::other(format!("the handshake of the shared key: {error}"))
}
