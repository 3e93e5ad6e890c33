//! SHA-256 over labelled parts.

use sha2::{Digest as _, Sha256};

/// A hash over parts. Each goes in with its length, so that no two lists of parts are one text.
#[derive(Debug)]
pub(crate) struct Parts(Sha256);

impl Parts {
    /// Starts a hash for one purpose; hashes of different purposes are never equal by design.
    pub(crate) fn of(purpose: &str) -> Parts {
        let mut parts = Parts(Sha256::new());
        parts.add(purpose.as_bytes());
        parts
    }

    /// Adds a part.
    pub(crate) fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// Adds the mark of a part that is missing, which is no part's bytes.
    pub(crate) fn add_nothing(&mut self) {
        self.0.update(u64::MAX.to_be_bytes());
    }

    /// Returns the hash.
    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// Returns the hash as 64 hexadecimal digits.
    pub(crate) fn hex(self) -> String {
        hex(&self.finish())
    }
}

/// Returns bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes every write");
        text
    })
}
