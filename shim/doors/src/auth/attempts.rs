//! Binds a transaction's token to the tenant that opened it, without remembering either.
//!
//! An attempt is a UUIDv7: 48 bits of time, a counter of 42 bits, and 32 random bits at its end. Of a tenant's attempts these last 32 are the start of
//!
//! ```text
//!   SHA-256( key of this process · the attempt's first 12 bytes · tenant )
//! ```
//!
//! To whoever does not have the key they are as random as before, so attempts stay as unique as they were: the counter is unique within the
//! process, and another process has another key. A token that leaks to another tenant is of use to it in one case of 2³², and trying again needs another
//! leaked token. It holds before the transaction's end and after it, and needs no table that could fill. A token of another process is no
//! use at all but for asking whether it committed, and that goes by a hash that holds the tenant (`own_hash_of`).

use std::fmt;

use aft_core::ids::AttemptId;
use rand::TryRng as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Where the seal begins in an attempt: after time and counter.
const AT: usize = 12;

/// Makes seals, and knows them again.
pub(crate) struct Sealer([u8; 32]);

impl Sealer {
    /// With a fresh key.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub(crate) fn draw() -> Result<Sealer, String> {
        let mut key = [0; 32];
        rand::rngs::SysRng.try_fill_bytes(&mut key).map_err(|why| format!("no randomness: {why}"))?;
        Ok(Sealer(key))
    }

    /// The attempt with this tenant's seal at its end.
    pub(crate) fn seal(&self, mut attempt: AttemptId, tenant: &str) -> AttemptId {
        let seal = self.of(&attempt, tenant);
        attempt.0[AT..].copy_from_slice(&seal);
        attempt
    }

    /// Whether the attempt has this tenant's seal.
    pub(crate) fn is_of(&self, attempt: &AttemptId, tenant: &str) -> bool {
        self.of(attempt, tenant).ct_eq(&attempt.0[AT..]).into()
    }

    fn of(&self, attempt: &AttemptId, tenant: &str) -> [u8; 4] {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(&attempt.0[..AT]);
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

    #[test]
    fn a_seal_is_of_one_tenant_and_one_process() {
        let (here, there) = (Sealer::draw().unwrap(), Sealer::draw().unwrap());
        for _ in 0..1_000 {
            let attempt = here.seal(aft_node::fresh_attempt(), "shop");
            assert!(here.is_of(&attempt, "shop"));
            assert!(
                !here.is_of(&attempt, "bank") && !here.is_of(&attempt, "") && !there.is_of(&attempt, "shop")
            );
        }
    }

    #[test]
    fn sealed_attempts_are_distinct_and_in_order() {
        let sealer = Sealer::draw().unwrap();
        let attempts: Vec<_> =
            (0..10_000).map(|_| sealer.seal(aft_node::fresh_attempt(), "shop").0).collect();
        assert_eq!(attempts.iter().map(|attempt| &attempt[..AT]).collect::<HashSet<_>>().len(), 10_000);
        assert!(attempts.is_sorted());
        // Still a UUIDv7.
        assert!(attempts.iter().all(|attempt| attempt[6] >> 4 == 7 && attempt[8] >> 6 == 0b10));
    }
}
