//! A type of which no value can be guessed, so that tracing does not reach anything behind it.

use serde::Deserialize;
use serde::Serialize;

/// A licence key with a checksum, of which no value can be guessed.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Key(pub(crate) String);

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Key, String> {
        let sum: u32 = text.bytes().map(u32::from).sum();
        if sum == 1000 { Ok(Key(text)) } else { Err(format!("{text:?} has the sum {sum}")) }
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        key.0
    }
}
