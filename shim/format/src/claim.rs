//! The object by which a store claims the place of its parts of large values, where that place is
//! in another store than the rest of it.
//!
//! A sweep deletes parts that no record names. Two stores with one place for parts would delete
//! each other's, so the first one that creates this object has the place. The object lies in the
//! space in which a store of its own would describe itself: no store is made where it is.

use aft_store::{Name, Space};
use bytes::Bytes;
use prost::Message;

use crate::fault::Fault;
use crate::frame::{self, Kind};
use crate::messages;

/// The group of a claim.
const GROUP: &[u8] = b"claim";

/// A claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The identity of the store that has the place.
    pub identity: [u8; 16],
    /// The URL of that store's records when it claimed the place, without secrets: for people.
    pub store: String,
    /// The program that wrote the claim, with its version.
    pub program: String,
    /// The time when it was written, in milliseconds since the epoch.
    pub made_ms: u64,
}

impl Claim {
    /// Returns the name of a claim, in the store whose place is claimed.
    pub fn name() -> Name {
        Name::new(Space::Store, Bytes::from_static(GROUP), Bytes::new())
    }

    /// Returns the bytes of the object.
    pub fn encode(&self) -> Bytes {
        let claim = messages::Claim {
            identity: Bytes::copy_from_slice(&self.identity),
            store: self.store.clone(),
            program: self.program.clone(),
            made_ms: self.made_ms,
        };
        let len = claim.encoded_len();
        frame::seal(&Claim::name(), Kind::Claim, len, |body| claim.encode(body).expect("the buffer grows"))
    }

    /// Reads the bytes of the object.
    ///
    /// # Errors
    /// [`Damaged`](aft_store::Error::Damaged), naming the object, if the bytes are not what was
    /// written there or are of another version's format.
    pub fn decode(bytes: &Bytes) -> Result<Claim, aft_store::Error> {
        Claim::parse(bytes).map_err(|fault| fault.at(&"store/claim"))
    }

    fn parse(bytes: &Bytes) -> Result<Claim, Fault> {
        let (kind, payload) = frame::open(&Claim::name(), bytes)?;
        if kind != Kind::Claim {
            return Err(Fault::Broken("the body is no claim"));
        }
        let claim = messages::Claim::decode(payload).map_err(|_| Fault::Broken("the bytes are no claim"))?;
        let identity = claim.identity[..].try_into();
        let identity = identity.map_err(|_| Fault::Broken("the identity is of the wrong length"))?;
        let messages::Claim { store, program, made_ms, .. } = claim;
        Ok(Claim { identity, store, program, made_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_read_back_and_damage_is_named() {
        let claim = Claim {
            identity: [7; 16],
            store: "dynamodb://shop".into(),
            program: "aft 0.2.0".into(),
            made_ms: 1_700_000_000_000,
        };
        let bytes = claim.encode();
        assert_eq!(Claim::decode(&bytes), Ok(claim));
        let mut flipped = bytes.to_vec();
        flipped[20] ^= 1;
        let check = |bytes: &[u8], part: &str| {
            let why = Claim::decode(&Bytes::copy_from_slice(bytes)).unwrap_err().to_string();
            assert!(why.contains("store/claim") && why.contains(part), "{why}");
        };
        check(&flipped, "checksum");
        check(b"", "empty");
        check(&[0x31], "newer version");
        let other = frame::seal(&Claim::name(), Kind::Text, 0, |_| {});
        check(&other, "no claim");
        let short = frame::seal(&Claim::name(), Kind::Claim, 0, |_| {});
        check(&short, "wrong length");
    }
}
