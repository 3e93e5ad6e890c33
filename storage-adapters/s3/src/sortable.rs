//! Encodings of bytes as text that keep byte order: the two encodings that make up keys of objects.
//!
//! S3 lists keys in the byte order of their UTF-8, so both encodings keep the order, also of two
//! strings of which one is a prefix of the other:
//!
//! * [`Encoding::Readable`], for user keys. Letters and digits represent themselves. Every other
//!   byte becomes a lead character and two hex digits. The lead lies in the same gap between
//!   ASCII's letters and digits as the byte: `-` for 00–2F, `=` for 3A–40, `_` for 5B–60, `~` for
//!   7B–FF. So `orders/17` is `orders-2F17`.
//! * [`Encoding::Dense`], for everything else. Base64 whose alphabet is in ASCII order, without
//!   padding: six bits a character, the highest first, the last character filled up with zeros. If
//!   one string is a prefix of another, so is its text, except for that last character, which can
//!   only be lower.
//!
//! Neither uses `!`, `+`, `.` or `/`: `layout` puts keys together with them.

use base64::Engine as _;
use base64::alphabet::Alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

/// The alphabet of base64, in ASCII order.
const ALPHABET: Alphabet =
    match Alphabet::new("-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz") {
        Ok(alphabet) => alphabet,
        Err(_) => panic!("64 different characters of ASCII"),
    };
/// The base64 codec. It rejects text with trailing bits that are not zero, which no encoder
/// produces, so that no two texts decode to the same bytes.
const BASE64: GeneralPurpose = GeneralPurpose::new(&ALPHABET, NO_PAD);

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The way in which bytes are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Text that people can read, with three characters for a byte that is not a letter or digit.
    Readable,
    /// Text with four characters for three bytes.
    Dense,
}

impl Encoding {
    /// Encodes `bytes` as text.
    pub(crate) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Encoding::Dense => BASE64.encode(bytes),
            Encoding::Readable => {
                let mut text = String::with_capacity(bytes.len() * 3);
                for &byte in bytes {
                    match lead(byte) {
                        None => text.push(char::from(byte)),
                        Some(lead) => {
                            text.push(lead);
                            text.push(char::from(HEX[usize::from(byte >> 4)]));
                            text.push(char::from(HEX[usize::from(byte & 15)]));
                        }
                    }
                }
                text
            }
        }
    }

    /// Returns the start that the texts of all byte strings with this prefix share. Other texts may
    /// start with it too.
    pub(crate) fn encode_prefix(self, prefix: &[u8]) -> String {
        let mut text = self.encode(prefix);
        match self {
            Encoding::Readable => {}
            // The last character may hold bits of the byte that follows the prefix.
            Encoding::Dense => text.truncate(prefix.len() * 8 / 6),
        }
        text
    }

    /// Decodes a text; `None` if no bytes encode to it.
    pub(crate) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Encoding::Dense => BASE64.decode(text).ok(),
            Encoding::Readable => {
                let mut bytes = Vec::with_capacity(text.len());
                let mut rest = text.as_bytes();
                while let Some((&first, after)) = rest.split_first() {
                    if first.is_ascii_alphanumeric() {
                        bytes.push(first);
                        rest = after;
                        continue;
                    }
                    let (&[high, low], after) = after.split_first_chunk::<2>()?;
                    let byte = hex(high)? << 4 | hex(low)?;
                    if lead(byte) != Some(char::from(first)) {
                        return None;
                    }
                    bytes.push(byte);
                    rest = after;
                }
                Some(bytes)
            }
        }
    }
}

/// Returns the lead character before the hex digits of a byte; `None` for a byte that represents
/// itself.
fn lead(byte: u8) -> Option<char> {
    match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => None,
        0..b'0' => Some('-'),
        b':'..b'A' => Some('='),
        b'['..b'a' => Some('_'),
        b'{'.. => Some('~'),
    }
}

fn hex(digit: u8) -> Option<u8> {
    HEX.iter().position(|&one| one == digit).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: [Encoding; 2] = [Encoding::Readable, Encoding::Dense];

    #[test]
    fn readable_texts_have_their_documented_form() {
        for (bytes, text) in [
            (&b"orders/17"[..], "orders-2F17"),
            (b"Stock.tea", "Stock-2Etea"),
            (b"a:b@c", "a=3Ab=40c"),
            (b"a_b~", "a_5Fb~7E"),
            (b"\x00\xff", "-00~FF"),
        ] {
            assert_eq!(Encoding::Readable.encode(bytes), text);
        }
    }

    #[test]
    fn texts_that_no_encoder_produces_are_rejected() {
        for text in ["-", "-2", "-2f", "=2F", "/", "a!", "-41", "~2F", "ä"] {
            assert_eq!(Encoding::Readable.decode(text), None, "{text}");
        }
        for text in ["-", "a", "-0", "--=", "--==", "/-", "ä"] {
            assert_eq!(Encoding::Dense.decode(text), None, "{text}");
        }
    }

    #[test]
    fn single_bytes_keep_their_order() {
        for encoding in BOTH {
            let texts: Vec<String> = (0..=255).map(|byte| encoding.encode(&[byte])).collect();
            assert!(texts.is_sorted_by(|a, b| a < b), "{encoding:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_survive_encoding_and_decoding(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            for encoding in BOTH {
                prop_assert_eq!(encoding.decode(&encoding.encode(&bytes)), Some(bytes.clone()));
            }
        }

        #[test]
        fn order_is_kept(
            start in prop::collection::vec(any::<u8>(), 0..8),
            a in prop::collection::vec(any::<u8>(), 0..8),
            b in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let (a, b) = ([&start[..], &a].concat(), [&start[..], &b].concat());
            for encoding in BOTH {
                let (one, other) = (encoding.encode(&a), encoding.encode(&b));
                prop_assert_eq!(a.cmp(&b), one.cmp(&other), "{} {}", one, other);
                prop_assert!(encoding.encode(&a).starts_with(&encoding.encode_prefix(&start)));
            }
        }
    }
}
