//! The file of a shared key.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::handshake::Secret;
use crate::key::create;
use crate::key::exposed;
use crate::key::put_hex;
use crate::key::unhex;

/// Bytes of a key.
const SECRET: usize = 32;

/// Bytes of a file that are read: more than a key's in any form.
const READ: u64 = 1024;

/// The reason why a shared key could not be read or saved.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum SharedKeyError {
    /// The file does not exist, exists already, or the system refuses access.
    #[error("the file of the shared key: {0}")]
    Io(#[from] io::Error),
    /// Other users than the file's owner may read or write it, so they may know the key.
    #[error("the file of the shared key is open to others (mode {mode:04o}): make a new key, or chmod 600")]
    Exposed {
        /// The permissions of the file.
        mode: u32,
    },
    /// The file holds fewer than 32 bytes, or fewer than 64 hexadecimal digits.
    #[error("the file of the shared key is too short: it has to hold 32 bytes, or 64 hexadecimal digits")]
    TooShort,
    /// The file holds something else.
    #[error("the file holds no shared key: it has to hold 32 bytes, or 64 hexadecimal digits")]
    NotAKey,
}

/// Reads a key: 32 bytes, or 64 hexadecimal digits with white space around them.
pub(super) fn read(path: &Path) -> Result<Secret, SharedKeyError> {
    let file = File::open(path)?;
    // Checked on the open file: another file may have its name by now.
    if let Some(mode) = exposed(&file)? {
        return Err(SharedKeyError::Exposed { mode });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(READ as usize));
    file.take(READ).read_to_end(&mut bytes)?;
    secret(&bytes)
}

fn secret(bytes: &[u8]) -> Result<Secret, SharedKeyError> {
    if let Ok(raw) = <[u8; SECRET]>::try_from(bytes) {
        return Ok(Zeroizing::new(raw));
    }
    let digits = bytes.trim_ascii();
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    match digits.len() {
        _ if !is_hex && bytes.len() < SECRET => Err(SharedKeyError::TooShort),
        _ if !is_hex => Err(SharedKeyError::NotAKey),
        length if length < 2 * SECRET => Err(SharedKeyError::TooShort),
        length if length > 2 * SECRET => Err(SharedKeyError::NotAKey),
        _ => unhex(digits).ok_or(SharedKeyError::NotAKey),
    }
}

/// Writes a key as hexadecimal digits to a new file that only its owner may read.
pub(super) fn save(secret: &Secret, path: &Path) -> Result<(), SharedKeyError> {
    let mut text = Zeroizing::new(Vec::with_capacity(2 * SECRET + 1));
    put_hex(&**secret, &mut text);
    text.push(b'\n');
    Ok(create(path, &text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_or_64_digits() {
        let is_key = |bytes: &[u8], expected: u8| secret(bytes).is_ok_and(|secret| *secret == [expected; SECRET]);
        assert!(is_key(&[7; 32], 7));
        assert!(is_key("ab".repeat(32).as_bytes(), 0xab));
        assert!(is_key(format!(" {}\r\n", "0F".repeat(32)).as_bytes(), 0x0f));
        // 32 digits are a key of bytes, however it came about.
        assert!(is_key(&[b'a'; 32], b'a'));
    }

    #[test]
    fn anything_shorter_or_longer_is_none() {
        let is_too_short = |bytes: &[u8]| matches!(secret(bytes), Err(SharedKeyError::TooShort));
        let is_none = |bytes: &[u8]| matches!(secret(bytes), Err(SharedKeyError::NotAKey));
        assert!(is_too_short(b"") && is_too_short(&[7; 31]) && is_too_short("ab".repeat(31).as_bytes()));
        assert!(is_none(&[7; 33]) && is_none("ab".repeat(33).as_bytes()) && is_none("xy".repeat(32).as_bytes()));
    }
}
