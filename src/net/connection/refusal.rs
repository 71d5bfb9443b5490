//! A goodbye in place of a greeting, or of a part of it, with which a node turns the peer away.

use std::io;

use std::ops::RangeInclusive;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::net::peers::admission::NoRoom;
use crate::net::transport::Stream;
use crate::wire::frames::Front;
use crate::wire::frames::front;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::goodbye::Goodbye;
use crate::wire::frames::kind;
use crate::wire::hello::MAGIC;

/// The longest goodbye that is read, in bytes: the longest detail, and room for extensions.
const MAX_REFUSAL: usize = 512;

/// Bytes that are read from a peer that was turned away, and has not noticed yet: as many as wait for a connection by
/// default.
const LINGERED: usize = 4 << 20;

/// Bytes that are read at a time meanwhile.
const AT_ONCE: usize = 8 << 10;

/// Says goodbye in place of the next part of the greeting.
pub(super) async fn goodbye_instead(stream: &mut Stream, why: Farewell, detail: &str) -> io::Result<()> {
    let mut out = BytesMut::new();
    Goodbye { why, read: 0, detail }.put(&mut out);
    stream.say(&out).await?;
    stream.write.shutdown().await
}

/// Reads on until the peer hangs up, within the time for a greeting. Messages may have followed the peer's proof: if
/// the stream was closed with them unread, the system would reset it, and the goodbye might be lost.
pub(super) async fn linger(stream: &mut Stream) {
    let (mut bytes, mut left) = (vec![0; AT_ONCE], LINGERED);
    while left > 0 {
        match stream.read.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(read) => left = left.saturating_sub(read),
        }
    }
}

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
    /// A record of TLS, which is not spoken here.
    Tls,
}

/// The kinds of TLS records: change of cipher, alert, handshake and data (RFC 8446 section 5.1).
const TLS_RECORDS: RangeInclusive<u8> = 0x14..=0x17;

/// The versions that stand in such records, behind a 3: from TLS 1.0 to TLS 1.3.
const TLS_VERSIONS: RangeInclusive<u8> = 1..=4;

/// Tells a refusal from a greeting, by the bytes that have come so far.
pub(super) fn first_words(bytes: &[u8]) -> FirstWords {
    if MAGIC.starts_with(bytes) || bytes.starts_with(&MAGIC) {
        return FirstWords::Greeting;
    }
    // As the length of a frame it would be far more than that of a refusal.
    if let [kind, 3, version, ..] = bytes
        && TLS_RECORDS.contains(kind)
        && TLS_VERSIONS.contains(version)
    {
        return FirstWords::Tls;
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
        for tls in [&[0x16, 3, 1, 2, 0, 1][..], &[0x15, 3, 3, 0, 2, 2, 10], &[0x15, 3, 3]] {
            assert_eq!(first_words(tls), FirstWords::Tls, "{tls:?}");
        }
        for other in [&b"HTTP/1.1 400"[..], &[0xff; 20], &[5, 0, 0, 0, 9, 0, 0], &[3, 0, 0, 0, 11, 4, 0x80, 0x80]] {
            assert_eq!(first_words(other), FirstWords::Greeting, "{other:?}");
        }
    }
}
