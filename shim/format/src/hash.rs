//! Hashes that name requests. Pinned: a record lies under them for as long as it is kept.

use aft_core::ids::{AttemptId, Fingerprint, RequestHash};
use sha2::{Digest, Sha256};

/// Takes the place of the length of the first part in [`request_hash`]. No part is so long, so that
/// a named request never has the name of an unnamed one.
const OWN_PREFIX: u64 = u64::MAX;

/// Returns the name of a request that its caller named: SHA-256 over tenant, scope and request ID,
/// each after its length (8 bytes, big-endian).
pub fn request_hash(tenant: &str, scope: &str, id: &str) -> RequestHash {
    let mut hasher = Sha256::new();
    for part in [tenant, scope, id] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    RequestHash(hasher.finalize().into())
}

/// Returns the name of a request that its caller did not name: derived from its one attempt, and in
/// a domain of its own.
pub fn own_hash(attempt: AttemptId) -> RequestHash {
    let mut hasher = Sha256::new();
    hasher.update(OWN_PREFIX.to_be_bytes());
    hasher.update(attempt.0);
    RequestHash(hasher.finalize().into())
}

/// Returns the name of a request that its caller, a tenant with a credential, did not name:
/// [`own_hash`] with the tenant. So only the tenant that opened a transaction can ask for its
/// record by the transaction's token, on any node.
pub fn own_hash_of(tenant: &str, attempt: AttemptId) -> RequestHash {
    let mut hasher = Sha256::new();
    hasher.update(OWN_PREFIX.to_be_bytes());
    hasher.update(attempt.0);
    hasher.update((tenant.len() as u64).to_be_bytes());
    hasher.update(tenant);
    RequestHash(hasher.finalize().into())
}

/// The fingerprint of a payload that comes in pieces: [`fingerprint`] of all of them, one after the
/// other.
#[derive(Debug, Clone, Default)]
pub struct FingerprintOfPieces(Sha256);

impl FingerprintOfPieces {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the fingerprint of all bytes that came.
    pub fn finish(self) -> Fingerprint {
        Fingerprint(self.0.finalize().into())
    }
}

/// Returns the fingerprint of a request's payload: SHA-256 of its bytes.
pub fn fingerprint(payload: &[u8]) -> Fingerprint {
    Fingerprint(Sha256::digest(payload).into())
}
