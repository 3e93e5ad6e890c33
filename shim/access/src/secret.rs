//! Bearer tokens and their hashes, and access keys, in types whose debug output does not show them.
//!
//! A token is 256 bits from the system's random number generator, so it cannot be found from its
//! SHA-256 by search. A slow hash, as for passwords that people choose, would cost every call
//! milliseconds and protect nothing.
//!
//! An access key of the S3 protocol signs calls, and a signature cannot be checked without the
//! secret itself. So these secrets are kept as they are; the file that holds them is its owner's
//! alone.

use std::fmt;

use rand::TryRng as _;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The start of every token that is drawn here, so that scanners for leaked secrets can find them.
const MARK: &str = "aft_";
/// The number of random bytes in a token, and in the secret of an access key.
const DRAWN_BYTES: usize = 32;
/// The start of the IDs of access keys that are drawn here.
const ACCESS_KEY_MARK: &str = "AFT";
/// The number of random bytes in the ID of an access key; IDs of Amazon's have 20 characters, too.
const ACCESS_KEY_BYTES: usize = 8;
/// The longest ID and the longest secret of an access key that are accepted, in bytes: Amazon's
/// bounds for IDs, and room for secrets that another program made.
const ACCESS_KEY_ID_BYTES_MAX: usize = 128;
const ACCESS_KEY_SECRET_BYTES_MAX: usize = 128;
/// The longest token that is accepted, in bytes. Tokens drawn here have 68 bytes; the rest is room
/// for tokens that another program made.
const TOKEN_BYTES_MAX: usize = 512;

/// A secret text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Draws a fresh bearer token.
    ///
    /// # Errors
    /// Returns an error if the system's random number generator fails.
    pub fn draw() -> Result<Secret, String> {
        Ok(Secret(format!("{MARK}{}", draw_hex::<DRAWN_BYTES>()?)))
    }

    /// Wraps an existing text.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// Returns the text.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the hash of the text.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.as_bytes())
    }
}

/// Draws random bytes, in hexadecimal digits.
fn draw_hex<const BYTES: usize>() -> Result<String, String> {
    let mut drawn = [0; BYTES];
    rand::rngs::SysRng
        .try_fill_bytes(&mut drawn)
        .map_err(|why| format!("the system's random number generator failed: {why}"))?;
    Ok(drawn.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// An access key of the S3 protocol: an ID that calls name, and the secret that signs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    id: String,
    secret: Secret,
}

impl AccessKey {
    /// Draws a fresh access key.
    ///
    /// # Errors
    /// Returns an error if the system's random number generator fails.
    pub fn draw() -> Result<AccessKey, String> {
        let id = format!("{ACCESS_KEY_MARK}{}", draw_hex::<ACCESS_KEY_BYTES>()?.to_uppercase());
        Ok(AccessKey { id, secret: Secret(draw_hex::<DRAWN_BYTES>()?) })
    }

    /// Wraps an existing access key; `None` if its ID or its secret is empty, too long, or has
    /// characters that signatures or headers do not allow.
    pub fn new(id: String, secret: String) -> Option<AccessKey> {
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=ACCESS_KEY_ID_BYTES_MAX).contains(&id.len())
            && id.bytes().all(is_id)
            && (1..=ACCESS_KEY_SECRET_BYTES_MAX).contains(&secret.len())
            && secret.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then_some(AccessKey { id, secret: Secret(secret) })
    }

    /// Returns the ID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the secret.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The SHA-256 of a bearer token. Comparing two takes the same time whether they are equal or not.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Returns the hash of a token's bytes.
    pub fn of(token: &[u8]) -> TokenHash {
        TokenHash(Sha256::digest(token).into())
    }

    /// Returns the hash of a token that a client presents; `None` if it is too long to be valid.
    pub(crate) fn of_presented(token: &[u8]) -> Option<TokenHash> {
        (token.len() <= TOKEN_BYTES_MAX).then(|| TokenHash::of(token))
    }

    /// Parses 64 hexadecimal digits, as in a credentials file; `None` if `text` is anything else.
    pub fn from_hex(text: &str) -> Option<TokenHash> {
        let text = text.as_bytes();
        let mut hash = [0; 32];
        if text.len() != 2 * hash.len() {
            return None;
        }
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(TokenHash(hash))
    }

    /// Formats the hash as [`TokenHash::from_hex`] parses it.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl ConstantTimeEq for TokenHash {
    fn ct_eq(&self, other: &TokenHash) -> Choice {
        // Word by word: `subtle` compares slices byte by byte, which is four times the work for
        // every credential and call.
        let difference = self.0.chunks_exact(8).zip(other.0.chunks_exact(8)).fold(0, |sum, (a, b)| {
            let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("a chunk has eight bytes"));
            sum | (word(a) ^ word(b))
        });
        difference.ct_eq(&0)
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &TokenHash) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_neither_tokens_nor_hashes() {
        let (one, other) = (Secret::draw().unwrap(), Secret::draw().unwrap());
        assert_eq!(one.expose().len(), MARK.len() + 2 * DRAWN_BYTES);
        assert_ne!(one.expose(), other.expose());
        assert!(one.hash() == one.hash() && one.hash() != other.hash());
        let shown = format!("{one:?} {:?}", one.hash());
        assert!(
            !shown.contains(&one.expose()[MARK.len()..]) && !shown.contains(&one.hash().to_hex()),
            "{shown}"
        );
    }

    #[test]
    fn access_keys_are_drawn_and_do_not_show_their_secret() {
        let (one, other) = (AccessKey::draw().unwrap(), AccessKey::draw().unwrap());
        assert!(one.id().len() == 19 && one.id().starts_with("AFT") && one.id() != other.id());
        assert_ne!(one.secret().expose(), other.secret().expose());
        assert!(!format!("{one:?}").contains(one.secret().expose()));
        let new = |id: &str, secret: &str| AccessKey::new(id.into(), secret.into());
        assert!(new("minioadmin", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY").is_some());
        for (id, secret) in [("", "s"), ("a", ""), ("a/b", "s"), ("a", "s s"), (&"a".repeat(129), "s")] {
            assert_eq!(new(id, secret), None, "{id:?} {secret:?}");
        }
    }

    #[test]
    fn hashes_round_trip_through_hexadecimal() {
        let hash = TokenHash::of(b"abc");
        assert_eq!(hash.to_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(TokenHash::from_hex(&hash.to_hex().to_uppercase()), Some(hash));
        for wrong in ["", "ba78", &"g".repeat(64), &"é".repeat(32), &"0".repeat(65)] {
            assert_eq!(TokenHash::from_hex(wrong), None, "{wrong}");
        }
        for at in 0..32 {
            let mut other = hash;
            other.0[at] ^= 0x10;
            assert_ne!(other, hash, "byte {at}");
        }
    }
}
