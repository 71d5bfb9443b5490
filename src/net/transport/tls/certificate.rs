//! The contents of a certificate that rustls does not say: its names as text, its dates, and whether it may sign
//! others.
//!
//! It is not verified here. Certificates of peers come here only after rustls has verified them; a certificate that
//! cannot be read is one without names and with no end, which rustls would have refused.

use std::net::IpAddr;
use std::time::Duration;

use der::Decode;
use der::Reader;
use der::SliceReader;
use der::Tag;
use der::TagNumber;
use der::Tagged;
use der::asn1::AnyRef;
use der::asn1::GeneralizedTime;
use der::asn1::UtcTime;

/// The object identifiers 2.5.29.17 and 2.5.29.19, in DER.
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// The number of fields between the version and the validity (RFC 5280 section 4.1): serial number, signature, issuer.
const BEFORE_VALIDITY: usize = 3;

/// The tags of a DNS name and of an IP address among alternative names.
const DNS_NAME: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(2) };
const IP_ADDRESS: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(7) };

/// The tags of the version and of the extensions.
const VERSION: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
const EXTENSIONS: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(3) };

/// The parts of a certificate that are of use here.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Contents {
    /// The DNS names and the IP addresses, in the order of the certificate.
    pub(super) names: Vec<String>,
    /// The last moment at which it is valid, since 1970.
    pub(super) not_after: Option<Duration>,
    /// Whether it may sign other certificates.
    pub(super) is_authority: bool,
}

impl Contents {
    /// Reads a certificate in DER.
    pub(super) fn of(certificate: &[u8]) -> Contents {
        read(certificate).unwrap_or_default()
    }
}

fn read(certificate: &[u8]) -> Option<Contents> {
    let certificate = AnyRef::from_der(certificate).ok()?;
    let signed = items(certificate.value()).next()?;
    let mut contents = Contents::default();
    let fields = items(signed.value()).skip_while(|field| field.tag() == VERSION);
    for (at, field) in fields.enumerate() {
        if at == BEFORE_VALIDITY {
            contents.not_after = items(field.value()).nth(1).and_then(time);
        } else if field.tag() == EXTENSIONS {
            for extension in items(field.value()).flat_map(|list| items(list.value())) {
                contents.take(extension);
            }
        }
    }
    Some(contents)
}

impl Contents {
    /// Takes up an extension: its identifier, perhaps whether it is critical, and its value.
    fn take(&mut self, extension: AnyRef<'_>) {
        let mut parts = items(extension.value());
        let (Some(identifier), Some(value)) = (parts.next(), parts.last()) else { return };
        let Ok(value) = AnyRef::from_der(value.value()) else { return };
        if identifier.value() == SUBJECT_ALTERNATIVE_NAME {
            self.names = items(value.value()).filter_map(name).collect();
        } else if identifier.value() == BASIC_CONSTRAINTS {
            let first = items(value.value()).next();
            self.is_authority = first.is_some_and(|first| first.tag() == Tag::Boolean && first.value() != [0]);
        }
    }
}

/// Returns the values that stand one behind the other in those bytes, up to the first that cannot be read.
fn items(bytes: &[u8]) -> impl Iterator<Item = AnyRef<'_>> {
    let mut reader = SliceReader::new(bytes).ok();
    std::iter::from_fn(move || {
        let reader = reader.as_mut().filter(|reader| !reader.is_finished())?;
        AnyRef::decode(reader).ok()
    })
}

fn name(value: AnyRef<'_>) -> Option<String> {
    match value.tag() {
        DNS_NAME => std::str::from_utf8(value.value()).ok().map(str::to_owned),
        IP_ADDRESS => {
            let v4 = <[u8; 4]>::try_from(value.value()).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(value.value()).map(IpAddr::from);
            v4.or(v6).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

fn time(value: AnyRef<'_>) -> Option<Duration> {
    match value.tag() {
        Tag::UtcTime => value.decode_as::<UtcTime>().ok().map(|time| time.to_unix_duration()),
        _ => value.decode_as::<GeneralizedTime>().ok().map(|time| time.to_unix_duration()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes of a DER value.
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let value = parts.concat();
        let length = u8::try_from(value.len()).expect("a short value");
        let length = if length < 128 { vec![length] } else { vec![0x81, length] };
        [&[tag][..], &length, &value].concat()
    }

    fn certificate(until: &[u8], extensions: &[&[u8]]) -> Vec<u8> {
        let validity = der(0x30, &[&der(0x17, &[b"240101000000Z"]), until]);
        let empty = der(0x30, &[]);
        let extensions = der(0xa3, &[&der(0x30, extensions)]);
        let signed =
            der(0x30, &[&der(0xa0, &[&[2, 1, 2]]), &[2, 1, 7], &empty, &empty, &validity, &empty, &empty, &extensions]);
        der(0x30, &[&signed, &empty, &[3, 1, 0]])
    }

    #[test]
    fn names_dates_and_the_right_to_sign_are_read() {
        let names = der(
            0x30,
            &[&der(0x82, &[b"a.example"]), &der(0x81, &[b"a@b"]), &[0x87, 4, 10, 0, 0, 1], &der(0x87, &[&[0; 16]])],
        );
        let names = der(0x30, &[&der(6, &[SUBJECT_ALTERNATIVE_NAME]), &der(4, &[&names])]);
        let authority =
            |flag: &[u8]| der(0x30, &[&der(6, &[BASIC_CONSTRAINTS]), &[1, 1, 0xff], &der(4, &[&der(0x30, &[flag])])]);
        let contents =
            Contents::of(&certificate(&der(0x17, &[b"300101000000Z"]), &[&names, &authority(&[1, 1, 0xff])]));
        let expected = Contents {
            names: ["a.example", "10.0.0.1", "::"].map(str::to_owned).to_vec(),
            not_after: Some(Duration::from_secs(1_893_456_000)),
            is_authority: true,
        };
        assert_eq!(contents, expected);
        let contents = Contents::of(&certificate(&der(0x18, &[b"20500101000000Z"]), &[&authority(&[])]));
        assert_eq!(contents.not_after, Some(Duration::from_secs(2_524_608_000)));
        assert!(!contents.is_authority && contents.names.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0_usize..90,
        ) {
            Contents::of(&bytes);
            let mut changed = certificate(&der(0x17, &[b"300101000000Z"]), &[]);
            let at = at % changed.len();
            changed.splice(at..=at, bytes);
            Contents::of(&changed);
        }
    }
}
