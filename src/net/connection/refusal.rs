//! A goodbye in place of a greeting, with which a node that has no room for a connection turns the peer away.

use bytes::BytesMut;

use crate::net::peers::admission::NoRoom;
use crate::wire::frames::Front;
use crate::wire::frames::front;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::goodbye::Goodbye;
use crate::wire::frames::kind;
use crate::wire::handshake::MAGIC;

/// The longest goodbye that is read, in bytes: the longest detail, and room for extensions.
const MAX_REFUSAL: usize = 512;

/// Returns the bytes that a rejected peer reads.
pub(super) fn refusal(why: NoRoom) -> BytesMut {
    let mut out = BytesMut::new();
    Goodbye { why: Farewell::NoRoom, read: 0, detail: &why.to_string() }.put(&mut out);
    out
}

/// The classification of the front of a stream.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum FirstWords {
    /// A greeting, or something unknown.
    Greeting,
    /// More bytes are needed to tell.
    Wants,
    /// The peer has turned this node away, with this text.
    Refusal(String),
}

/// Tells a refusal from a greeting, by the bytes that have come so far.
pub(super) fn first_words(bytes: &[u8]) -> FirstWords {
    if MAGIC.starts_with(bytes) || bytes.starts_with(&MAGIC) {
        return FirstWords::Greeting;
    }
    match front(bytes, MAX_REFUSAL) {
        Ok(Front::Frame(raw)) if raw.kind == kind::GOODBYE => match Goodbye::read(raw.payload) {
            Ok(goodbye) => FirstWords::Refusal(goodbye.detail.to_owned()),
            Err(_) => FirstWords::Greeting,
        },
        Ok(Front::Wants(_)) if bytes.get(4).is_none_or(|kind| *kind == kind::GOODBYE) => FirstWords::Wants,
        _ => FirstWords::Greeting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_a_greeting_however_little_has_come() {
        let refusal = refusal(NoRoom::Connections);
        assert_eq!(first_words(&refusal), FirstWords::Refusal("too many connections".to_owned()));
        assert_eq!(first_words(&[]), FirstWords::Greeting, "nothing has come that is none");
        for cut in 1..refusal.len() {
            assert_eq!(first_words(&refusal[..cut]), FirstWords::Wants, "{cut} bytes");
        }
        for cut in 0..=MAGIC.len() {
            assert_eq!(first_words(&MAGIC[..cut]), FirstWords::Greeting, "{cut} bytes");
        }
        for other in [&b"HTTP/1.1 400"[..], &[0xff; 20], &[5, 0, 0, 0, 9, 0, 0], &[3, 0, 0, 0, 11, 4, 0x80, 0x80]] {
            assert_eq!(first_words(other), FirstWords::Greeting, "{other:?}");
        }
    }
}
