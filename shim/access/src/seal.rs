//! Binds an ID to the tenant that drew it, without storing either.
//!
//! An ID, such as that of a transaction's attempt, is a UUIDv7: 48 bits of time, a counter of 42
//! bits, and 32 random bits at its end. In the IDs of a tenant these last 32 are the start of
//!
//! ```text
//!   SHA-256( key of this process · the first 12 bytes of the ID · tenant )
//! ```
//!
//! To anyone without the key these bits are as random as before, and IDs stay as unique as they
//! were: the counter is unique within the process, and another process has another key. An ID that
//! leaks to another tenant is accepted from that tenant with a probability of 2⁻³², and another try
//! needs another leaked ID. No table is needed that could fill up. The seal of another process
//! cannot be checked; with such an ID a tenant can only ask whether its work took effect, and the
//! name under which that is looked up contains the tenant.

use std::fmt;

use rand::TryRng as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The offset of the seal in an ID, in bytes: after time and counter.
const AT: usize = 12;

/// The secret key from which seals are computed.
pub(crate) struct Sealer([u8; 32]);

impl Sealer {
    /// Draws a fresh key.
    ///
    /// # Errors
    /// Returns an error if the system's random number generator fails.
    pub(crate) fn draw() -> Result<Sealer, String> {
        let mut key = [0; 32];
        rand::rngs::SysRng
            .try_fill_bytes(&mut key)
            .map_err(|why| format!("the system's random number generator failed: {why}"))?;
        Ok(Sealer(key))
    }

    /// Replaces the end of `id` with the seal of `tenant`.
    pub(crate) fn seal(&self, mut id: [u8; 16], tenant: &str) -> [u8; 16] {
        let seal = self.of(&id, tenant);
        id[AT..].copy_from_slice(&seal);
        id
    }

    /// Returns true if `id` has the seal of `tenant`.
    pub(crate) fn is_of(&self, id: &[u8; 16], tenant: &str) -> bool {
        self.of(id, tenant).ct_eq(&id[AT..]).into()
    }

    fn of(&self, id: &[u8; 16], tenant: &str) -> [u8; 4] {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(&id[..AT]);
        hasher.update(tenant);
        *hasher.finalize().first_chunk().expect("a hash has 32 bytes")
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Returns a UUIDv7 with this counter.
    fn id(counter: u32) -> [u8; 16] {
        let mut id = *b"\x01\x98\x12\x34\x56\x78\x70\x00\x80\x00\x00\x00\xde\xad\xbe\xef";
        id[8..12].copy_from_slice(&(0x8000_0000 | counter).to_be_bytes());
        id
    }

    #[test]
    fn a_seal_is_of_one_tenant_and_one_process() {
        let (here, there) = (Sealer::draw().unwrap(), Sealer::draw().unwrap());
        for counter in 0..1_000 {
            let id = here.seal(id(counter), "shop");
            assert!(here.is_of(&id, "shop"));
            assert!(!here.is_of(&id, "bank") && !here.is_of(&id, "") && !there.is_of(&id, "shop"));
        }
    }

    #[test]
    fn sealed_ids_are_distinct_and_in_order() {
        let sealer = Sealer::draw().unwrap();
        let ids: Vec<_> = (0..10_000).map(|counter| sealer.seal(id(counter), "shop")).collect();
        assert_eq!(ids.iter().map(|id| &id[..AT]).collect::<HashSet<_>>().len(), 10_000);
        assert!(ids.is_sorted());
        // Still a UUIDv7.
        assert!(ids.iter().all(|id| id[6] >> 4 == 7 && id[8] >> 6 == 0b10));
    }
}
