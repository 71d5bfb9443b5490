//! The identity of a node: an Ed25519 key pair (RFC 8032). The node's id is the hash of the public key, so a signature
//! by that key proves ownership of the id.
//!
//! An id has 128 bits of the hash. Taking another node's id needs a second preimage, 2¹²⁸ tries; a collision only gives
//! one owner two keys of one id.

use std::fmt;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;

use ed25519_dalek::Signer;
use ed25519_dalek::SigningKey;
use ed25519_dalek::VerifyingKey;
use sha2::Digest;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::env;
use crate::ident::NodeId;

/// Length of a signature, in bytes.
pub(crate) const SIGNATURE: usize = 64;

/// Prefix of the bytes that are hashed to an id, so that the hash has no other meaning.
const ID_WORD: &[u8] = b"hermod1 node\0";

/// Prefix of the digits in a key's file.
const FILE_WORD: &[u8] = b"hermod1-node-key:";

/// Length of a secret key, in bytes.
const SECRET: usize = 32;

/// Length of a key's file, in bytes: the prefix, two digits a byte, and the end of the line.
const FILE: usize = FILE_WORD.len() + 2 * SECRET + 1;

/// The key pair of a node: the [`NodeId`] is the hash of the public key, and each greeting is signed with the secret
/// key.
///
/// A node without a given key makes a fresh one at its start, and is another node after a restart. To stay the same
/// node for peers that have stored its id, a node keeps its key in a file:
///
/// ```
/// use actix_hermod::KeyError;
/// use actix_hermod::Node;
/// use actix_hermod::NodeKey;
///
/// # fn main() -> Result<(), KeyError> {
/// # let folder = std::env::temp_dir().join(format!("hermod-key-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("node.key");
/// let key = match NodeKey::load(&path) {
///     Err(KeyError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
///         let fresh = NodeKey::generate();
///         fresh.save(&path)?;
///         fresh
///     }
///     loaded => loaded?,
/// };
/// assert_eq!(NodeKey::load(&path)?.id(), key.id());
/// # std::fs::remove_dir_all(&folder)?;
/// # actix::System::new().block_on(async {
/// let id = key.id();
/// let node = Node::builder().identity(key).start();
/// assert_eq!(node.id(), id);
/// # });
/// # Ok(()) }
/// ```
///
/// One key is for one running node. Two nodes that run at the same time with the same key count as two runs of one
/// node: the leases held by the one end when the other connects. See also the manual's page on
/// [identity](crate::manual::identity).
///
/// The secret is wiped from memory when the key is dropped, and `Debug` shows the id only.
#[derive(Clone)]
pub struct NodeKey {
    secret: SigningKey,
    id: NodeId,
}

/// The reason why a key could not be read or saved.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file does not exist, exists already, or the system refuses access.
    #[error("the file of the node's key: {0}")]
    Io(#[from] io::Error),
    /// Other users than the file's owner may read or write it, so they may know the key.
    #[error("the file of the node's key is open to others (mode {mode:04o}): make a new key, or chmod 600")]
    Exposed {
        /// The permissions of the file.
        mode: u32,
    },
    /// The file holds something else.
    #[error("the file holds no node key")]
    NotAKey,
}

impl NodeKey {
    /// Makes a key pair from 32 random bytes of the system.
    ///
    /// # Panics
    /// Panics if the system has no random bytes.
    #[must_use]
    pub fn generate() -> NodeKey {
        NodeKey::from_secret(&Zeroizing::new(env::random_bytes()))
    }

    /// Reads a key written by [`save`](NodeKey::save).
    ///
    /// # Errors
    /// [`KeyError::Io`] if the file cannot be read; [`KeyError::Exposed`] if other users than its owner may read or
    /// write it (checked on Unix only); [`KeyError::NotAKey`] if it holds something else.
    pub fn load(path: impl AsRef<Path>) -> Result<NodeKey, KeyError> {
        let file = File::open(path)?;
        // Checked on the open file: another file may have its name by now.
        if let Some(mode) = exposed(&file)? {
            return Err(KeyError::Exposed { mode });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(FILE + 1));
        file.take(FILE as u64 + 1).read_to_end(&mut text)?;
        let digits = text.trim_ascii_end().strip_prefix(FILE_WORD).ok_or(KeyError::NotAKey)?;
        let secret = unhex(digits).ok_or(KeyError::NotAKey)?;
        Ok(NodeKey::from_secret(&secret))
    }

    /// Writes the key to a new file that only its owner may read (mode 0600, on Unix).
    ///
    /// # Errors
    /// [`KeyError::Io`] if the file exists already, which is left unchanged, or if the system refuses access.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), KeyError> {
        Ok(create(path.as_ref(), &self.text())?)
    }

    /// Returns the id of the node that has this key.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    pub(crate) fn from_secret(secret: &[u8; SECRET]) -> NodeKey {
        let secret = SigningKey::from_bytes(secret);
        let id = PublicKey(secret.verifying_key().to_bytes()).id();
        NodeKey { secret, id }
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey(self.secret.verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        self.secret.sign(message).to_bytes()
    }

    /// Returns the content of the key's file.
    fn text(&self) -> Zeroizing<Vec<u8>> {
        let mut text = Zeroizing::new(Vec::with_capacity(FILE));
        text.extend_from_slice(FILE_WORD);
        put_hex(self.secret.as_bytes(), &mut text);
        text.push(b'\n');
        text
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Returns the permissions of a secret's file if other users than its owner may read or write it.
#[cfg(unix)]
pub(crate) fn exposed(file: &File) -> io::Result<Option<u32>> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions()) & 0o7777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

#[cfg(not(unix))]
pub(crate) fn exposed(_: &File) -> io::Result<Option<u32>> {
    Ok(None)
}

/// Writes a secret to a new file that only its owner may read (mode 0600, on Unix).
pub(crate) fn create(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key is of no use, and would block the next attempt.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Writes bytes as hexadecimal digits into room that is there already, so that none of them is left elsewhere.
pub(crate) fn put_hex(bytes: &[u8], text: &mut Vec<u8>) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    bytes.iter().for_each(|byte| text.extend([digit(byte >> 4), digit(byte & 0xf)]));
}

/// Reads a secret of 32 bytes in hexadecimal digits.
pub(crate) fn unhex(digits: &[u8]) -> Option<Zeroizing<[u8; SECRET]>> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != SECRET || !rest.is_empty() {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    let mut secret = Zeroizing::new([0; SECRET]);
    for (byte, [high, low]) in secret.iter_mut().zip(pairs) {
        *byte = (value(*high)? * 16 + value(*low)?) as u8;
    }
    Some(secret)
}

/// The public half of a node's key, in the form used by greetings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PublicKey(pub(crate) [u8; 32]);

impl PublicKey {
    /// Returns the id of the owner of the key.
    pub(crate) fn id(&self) -> NodeId {
        let hash: [u8; 32] = Sha256::new().chain_update(ID_WORD).chain_update(self.0).finalize().into();
        NodeId(hash.first_chunk().copied().unwrap_or_default())
    }

    /// Returns whether the key has signed the message. Keys with which one signature fits any message, and signatures
    /// that others could derive from a valid one, are refused (`verify_strict`).
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8; SIGNATURE]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A folder that is removed when this is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            let folder = std::env::temp_dir().join(format!("hermod-key-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir(&folder).expect("a folder");
            Folder(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.join("node.key")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_key_that_was_kept_is_the_same_node() {
        let (folder, key) = (Folder::new(), NodeKey::generate());
        key.save(folder.file()).expect("it can be kept");
        let again = NodeKey::load(folder.file()).expect("it can be read");
        assert_eq!((again.id(), again.public()), (key.id(), key.public()));
        assert!(key.public().has_signed(b"message", &again.sign(b"message")));
        assert_ne!(NodeKey::generate().id(), key.id());
    }

    #[test]
    fn a_key_is_not_written_over_another() {
        let (folder, key) = (Folder::new(), NodeKey::generate());
        key.save(folder.file()).expect("it can be kept");
        let refused = NodeKey::generate().save(folder.file());
        assert!(matches!(refused, Err(KeyError::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists));
        assert_eq!(NodeKey::load(folder.file()).expect("it is as it was").id(), key.id());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new();
        NodeKey::generate().save(folder.file()).expect("it can be kept");
        let mode = std::fs::metadata(folder.file()).expect("it is there").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600);
        for exposed in [0o640, 0o604, 0o620, 0o602, 0o601, 0o644] {
            std::fs::set_permissions(folder.file(), PermissionsExt::from_mode(exposed)).expect("it is ours");
            let refused = NodeKey::load(folder.file());
            assert!(matches!(refused, Err(KeyError::Exposed { mode }) if mode == exposed), "{exposed:o}");
        }
        std::fs::set_permissions(folder.file(), PermissionsExt::from_mode(0o400)).expect("it is ours");
        assert!(NodeKey::load(folder.file()).is_ok());
    }

    #[test]
    fn a_file_that_holds_something_else_is_no_key() {
        let folder = Folder::new();
        NodeKey::generate().save(folder.file()).expect("it can be kept");
        let whole = std::fs::read(folder.file()).expect("it can be read");
        let middle = FILE_WORD.len() + 9;
        let other_digit = [&whole[..middle], b"g", &whole[middle + 1..]].concat();
        let parts = [&whole[1..], &whole[..FILE - 2], &[&whole[..FILE - 1], b"0\n"].concat()].map(<[u8]>::to_vec);
        for text in parts.into_iter().chain([Vec::new(), other_digit, vec![b'a'; 1 << 20]]) {
            std::fs::write(folder.file(), &text).expect("it can be written");
            assert!(matches!(NodeKey::load(folder.file()), Err(KeyError::NotAKey)));
        }
        std::fs::write(folder.file(), &whole[..FILE - 1]).expect("it can be written");
        assert!(NodeKey::load(folder.file()).is_ok(), "an editor may have taken the end of the line away");
    }

    #[test]
    fn the_secret_is_not_shown() {
        let key = NodeKey::from_secret(&[0xa5; 32]);
        let shown = format!("{key:?} {:?}", crate::Node::builder().identity(key.clone()));
        assert!(shown.contains(&key.id().to_string()));
        assert!(!shown.contains("165") && !shown.to_lowercase().contains("a5a5"), "{shown}");
    }

    #[test]
    fn a_signature_is_of_one_message_and_by_one_key() {
        let (key, other) = (NodeKey::from_secret(&[1; 32]), NodeKey::from_secret(&[2; 32]));
        let signature = key.sign(b"message");
        assert!(key.public().has_signed(b"message", &signature));
        assert!(!key.public().has_signed(b"massage", &signature));
        assert!(!other.public().has_signed(b"message", &signature));
        for byte in 0..SIGNATURE {
            let mut damaged = signature;
            damaged[byte] ^= 1;
            assert!(!key.public().has_signed(b"message", &damaged), "byte {byte}");
        }
    }

    /// With the neutral element as a key, a signature that consists of the neutral element fits every message (RFC
    /// 8032's plain check lets it pass).
    #[test]
    fn a_key_by_which_everything_is_signed_is_refused() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; SIGNATURE];
        signature[0] = 1;
        assert!(!PublicKey(neutral).has_signed(b"message", &signature));
    }

    /// A fixed vector, because stored ids must mean the same for ever.
    #[test]
    fn an_id_is_the_hash_of_a_key_behind_a_word() {
        let key = NodeKey::from_secret(&[7; 32]);
        let hash = Sha256::digest([b"hermod1 node\0".as_slice(), &key.public().0].concat());
        assert_eq!(key.id().0, hash[..16]);
    }
}
