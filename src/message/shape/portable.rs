//! A shape for serde: its canonical encoding, as bytes or as their digits.

use std::fmt;
use std::fmt::Write;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;

use super::Shape;
use super::encoding;

/// Writes the canonical encoding: as a byte string in binary formats, as hexadecimal digits in human-readable ones.
impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let encoded = &self.inner.encoded;
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(encoded);
        }
        let mut digits = String::with_capacity(2 * encoded.len());
        for byte in encoded {
            // Writing to a String does not fail.
            let _ = write!(digits, "{byte:02x}");
        }
        serializer.serialize_str(&digits)
    }
}

/// # Errors
/// Fails if the bytes are no canonical encoding of a shape.
impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shape, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(EncodedShape)
        } else {
            deserializer.deserialize_bytes(EncodedShape)
        }
    }
}

/// The visitor that reads an encoding, in either form.
struct EncodedShape;

impl de::Visitor<'_> for EncodedShape {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the canonical encoding of a shape")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Shape, E> {
        let model = encoding::decode(bytes).map_err(E::custom)?;
        Ok(Shape::from_parts(model, bytes.to_vec()))
    }

    fn visit_str<E: de::Error>(self, digits: &str) -> Result<Shape, E> {
        // Two digits make a byte; with an odd number the last pair has one, and is refused.
        let pairs = digits.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        let bytes = pairs.collect::<Option<Vec<u8>>>();
        self.visit_bytes(&bytes.ok_or_else(|| E::custom("a shape is written in lower-case digits of base 16"))?)
    }
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
