//! The transport for nodes that share a key: endpoints `key:host:port`, over TCP.
//!
//! `handshake` has the bytes that prove the key, and `records` encrypts the stream behind them; `file` reads and writes
//! keys.

mod file;
mod handshake;
mod records;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use sha2::Digest;
use sha2::Sha256;
use zeroize::Zeroizing;

pub use self::file::SharedKeyError;
use self::handshake::Proven;
use self::handshake::Secret;
use self::records::Records;
use super::over_tcp;
use super::over_tcp::Ends;
use super::over_tcp::OverTcp;
use super::over_tcp::Tcp;
use super::seam::BoxFuture;
use super::seam::Channel;
use super::seam::Incoming;
use super::seam::Transport;
use crate::env;
use crate::observe::identity::Identity;

/// Keys that are valid at a time.
const MAX_KEYS: usize = 16;

/// Hashed together with a key to its default name, so that the hash has no other meaning.
const NAME_WORD: &[u8] = b"hermod1 key name\0";

/// A key that all nodes of a system share: it encrypts their connections, and proves to each end that the other one has
/// it too. Endpoints have the form `key:host:port`, and URIs `hermod+key://host:port/name`.
///
/// For systems without certificates. Whoever has the key is in: it does not tell one node from another, beside the id
/// that each node proves by its [`NodeKey`](crate::NodeKey). To shut one node out, replace the key. For certificates,
/// use `Tls`, behind the feature `tls`.
///
/// ```no_run
/// use actix_hermod::Node;
/// use actix_hermod::SharedKey;
///
/// # #[derive(actix::Message, serde::Serialize, serde::Deserialize)]
/// # #[rtype(result = "()")]
/// # struct Ping;
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::builder().transport(SharedKey::from_file("cluster.key")?).start();
/// node.listen("key:0.0.0.0:4242").await?;
/// // On another host, with the same file:
/// node.remote::<Ping>("key:server:4242", "ping")?.do_send(Ping);
/// # Ok(()) }
/// ```
///
/// # Protection
/// Nobody without the key reads or changes what is sent, makes a node believe that he has it, or learns from a listener
/// more than that it expects another key. Recorded traffic stays secret if the key becomes known later (forward
/// secrecy). A recorded or relayed handshake is worthless: the nodes' own greeting is bound to the channel. An observer
/// sees addresses, times and amounts, and can cut connections.
///
/// The handshake is Noise `NNpsk0` (revision 34 of the [specification](https://noiseprotocol.org/noise.html)) by `snow`,
/// with X25519, ChaCha20-Poly1305 and SHA-256: two steps before the first byte can be sent. The alternative, TLS with
/// throw-away certificates whose proof is an HMAC over the exporter, would have compiled all of rustls and a provider for
/// the same protection, and would depend on a certificate check that accepts everything. AES-GCM is not used: without
/// processor support it is slow, or leaks through its timing.
///
/// # Changing the key
/// Several keys may be valid at a time: the first is used to dial, and all of them are accepted. To change the key
/// without a moment in which nodes cannot reach each other, restart the nodes one by one, three times over: with
/// `old.and(new)`, then with `new.and(old)`, then with `new`.
///
/// # Secrets in memory
/// The key is wiped from memory when its last clone is dropped, and is not in the output of `Debug`. Copies that the
/// handshake makes are not wiped.
#[derive(Clone)]
pub struct SharedKey {
    /// The first is used to dial.
    keys: Arc<[Secret]>,
    names: Arc<[String]>,
}

impl SharedKey {
    /// Makes a key of 32 random bytes of the system.
    ///
    /// # Panics
    /// If the system has no random bytes.
    #[must_use]
    pub fn generate() -> SharedKey {
        SharedKey::of(Zeroizing::new(env::random_bytes()))
    }

    /// Makes a key of bytes that the application keeps. They have to be random: from a password, or any other text that
    /// a person has made up, everybody can guess them.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> SharedKey {
        SharedKey::of(Zeroizing::new(bytes))
    }

    /// Reads a key from a file: 32 bytes, or 64 hexadecimal digits with white space around them. Both can be made with
    /// usual tools, such as `openssl rand -hex 32 > cluster.key && chmod 600 cluster.key`.
    ///
    /// # Errors
    /// [`Io`](SharedKeyError::Io) if the file cannot be read; [`Exposed`](SharedKeyError::Exposed) if other users than
    /// its owner may read or write it (checked on Unix only); [`TooShort`](SharedKeyError::TooShort) or
    /// [`NotAKey`](SharedKeyError::NotAKey) if it holds something else.
    pub fn from_file(path: impl AsRef<Path>) -> Result<SharedKey, SharedKeyError> {
        file::read(path.as_ref()).map(SharedKey::of)
    }

    /// Writes the first key, as hexadecimal digits, to a new file that only its owner may read (mode 0600, on Unix).
    ///
    /// # Errors
    /// [`Io`](SharedKeyError::Io) if the file exists already, which is left unchanged, or if the system refuses access.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), SharedKeyError> {
        self.keys.first().map_or(Ok(()), |key| file::save(key, path.as_ref()))
    }

    /// Gives the first key a name, by which peers that have it are known ([`Identity::Key`]). Default: eight hexadecimal
    /// digits of a hash of the key, from which the key cannot be found.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> SharedKey {
        let rest = self.names.iter().skip(1).cloned();
        self.names = std::iter::once(name.into()).chain(rest).collect();
        self
    }

    /// Accepts peers with the keys of `others`, too. The first key of this one is still used to dial.
    ///
    /// # Panics
    /// If that makes more than 16 keys.
    #[track_caller]
    #[must_use]
    pub fn and(self, others: SharedKey) -> SharedKey {
        let count = self.keys.len() + others.keys.len();
        assert!(count <= MAX_KEYS, "{count} shared keys are valid at a time; at most {MAX_KEYS} may be");
        SharedKey {
            keys: self.keys.iter().chain(&*others.keys).cloned().collect(),
            names: self.names.iter().chain(&*others.names).cloned().collect(),
        }
    }

    fn of(secret: Secret) -> SharedKey {
        let hash: [u8; 32] = Sha256::new().chain_update(NAME_WORD).chain_update(*secret).finalize().into();
        let name = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        SharedKey { keys: [secret].into(), names: [name].into() }
    }

    fn identity(&self, place: usize) -> Identity {
        Identity::Key { name: self.names.get(place).cloned().unwrap_or_default() }
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKey").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Transport for SharedKey {
    fn scheme(&self) -> &str {
        "key"
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Channel>> {
        Box::pin(over_tcp::connect(address, None, self))
    }

    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Incoming>>> {
        Box::pin(over_tcp::bind(address, Arc::new(self.clone())))
    }
}

impl OverTcp for SharedKey {
    fn may_dial(&self) -> io::Result<()> {
        Ok(())
    }

    fn may_listen(&self) -> io::Result<()> {
        Ok(())
    }

    fn dialled<'a>(&'a self, _: &'a str, mut tcp: Tcp, ends: Ends) -> BoxFuture<'a, io::Result<Channel>> {
        Box::pin(async move {
            // There is always a first key.
            let (Some(key), Some(name)) = (self.keys.first(), self.names.first()) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let proven = handshake::dial(key, name, &mut tcp).await;
            channel(proven.map(|proven| (proven, self.identity(0))), tcp, ends).await
        })
    }

    fn accepted(&self, mut tcp: Tcp, ends: Ends) -> BoxFuture<'static, io::Result<Channel>> {
        let key = self.clone();
        Box::pin(async move {
            let proven = handshake::answer(&key.keys, &mut tcp).await;
            channel(proven.map(|(proven, place)| (proven, key.identity(place))), tcp, ends).await
        })
    }
}

/// Returns the channel behind a handshake, or its error, once the peer has read the refusal.
async fn channel(proven: io::Result<(Proven, Identity)>, tcp: Tcp, ends: Ends) -> io::Result<Channel> {
    match proven {
        Ok((Proven { noise, binding }, identity)) => {
            Ok(ends.channel(Records::new(tcp, noise)).identity(identity).binding(binding))
        }
        Err(error) => {
            over_tcp::hang_up(tcp).await;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests;
