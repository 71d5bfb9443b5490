//! The identity that a transport has proven of a peer.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

/// The identity of a peer that its transport has proven, beside the [`NodeId`](crate::NodeId), which the peer's key
/// proves over every transport.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Identity {
    /// The transport proves nothing about the peer: plain TCP.
    #[default]
    Unknown,
    /// The user of the process at the other end of a Unix socket, as the system says.
    Unix {
        /// The effective user id.
        uid: u32,
        /// The effective group id.
        gid: u32,
    },
    /// The peer knows a shared key.
    Key {
        /// The name of the key.
        name: String,
    },
    /// The peer has shown a certificate, and has proven that it is its own; see
    /// [`certificate`](Identity::certificate).
    #[non_exhaustive]
    Certificate {
        /// The DNS names and IP addresses in the certificate.
        names: Vec<String>,
        /// The SHA-256 hash of the certificate in DER.
        fingerprint: [u8; 32],
    },
}

impl Identity {
    /// Returns the identity of a peer that has proven that a certificate is its own.
    pub fn certificate(names: Vec<String>, fingerprint: [u8; 32]) -> Identity {
        Identity::Certificate { names, fingerprint }
    }
}

/// Describes the identity in a few words, as the log does.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Unknown => f.write_str("unknown"),
            Identity::Unix { uid, gid } => write!(f, "uid {uid}, gid {gid}"),
            Identity::Key { name } => write!(f, "key {name}"),
            Identity::Certificate { names, .. } if names.is_empty() => f.write_str("a certificate without a name"),
            Identity::Certificate { names, .. } => write!(f, "certificate of {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_described_in_a_few_words() {
        let certificate = |names: &[&str]| {
            let names = names.iter().copied().map(str::to_owned).collect();
            Identity::certificate(names, [7; 32]).to_string()
        };
        assert_eq!(Identity::default().to_string(), "unknown");
        assert_eq!(Identity::Unix { uid: 1000, gid: 100 }.to_string(), "uid 1000, gid 100");
        assert_eq!(Identity::Key { name: "blue".to_owned() }.to_string(), "key blue");
        assert_eq!(certificate(&["a.example", "10.0.0.1"]), "certificate of a.example, 10.0.0.1");
        assert_eq!(certificate(&[]), "a certificate without a name");
    }
}
