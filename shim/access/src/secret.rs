//! Bearer tokens and their hashes: types that do not show what they hold.
//!
//! A token is 256 bits from the system's source of randomness, so its SHA-256 says nothing of it that could be searched for: a slow hash, as for
//! passwords that people choose, would cost every call milliseconds and protect nothing.

use std::fmt;

use rand::TryRng as _;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// What tokens begin with, so that programs which look for leaked secrets can find them.
const MARK: &str = "aft_";
/// The length of what is drawn.
const DRAWN_BYTES: usize = 32;
/// The longest token that is looked at: ours have 68 bytes; leaves room for those that another program made.
const TOKEN_BYTES_MAX: usize = 512;

/// A text that is shown once, to whom it belongs.
pub struct Secret(String);

impl Secret {
    /// A fresh bearer token.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn draw() -> Result<Secret, String> {
        let mut drawn = [0; DRAWN_BYTES];
        rand::rngs::SysRng.try_fill_bytes(&mut drawn).map_err(|why| format!("no randomness: {why}"))?;
        let mut text = MARK.to_owned();
        drawn.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        Ok(Secret(text))
    }

    /// A text that was read somewhere.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its hash.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// SHA-256 of a bearer token. Equality takes the same time whatever the two hold.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token's bytes.
    pub fn of(token: &[u8]) -> TokenHash {
        TokenHash(Sha256::digest(token).into())
    }

    /// The hash of what a client presents; `None` if it is too long to be anybody's token.
    pub(crate) fn of_presented(token: &[u8]) -> Option<TokenHash> {
        (token.len() <= TOKEN_BYTES_MAX).then(|| TokenHash::of(token))
    }

    /// 64 hexadecimal digits, as a credentials file has them.
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

    /// As [`TokenHash::from_hex`] takes it.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl ConstantTimeEq for TokenHash {
    fn ct_eq(&self, other: &TokenHash) -> Choice {
        // Word by word: `subtle` compares slices byte by byte, which is four times the work for every credential and call.
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
    fn tokens_are_drawn_and_not_shown() {
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
    fn hashes_are_hexadecimal() {
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
