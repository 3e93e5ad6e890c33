//! A large value on its way in: its bytes as they arrive, and a fingerprint of them if one is needed.

use aft_core::ids::Fingerprint;
use aft_format::FingerprintOfPieces;
use bytes::Bytes;

use crate::body::Large;
use crate::failure::Result;

/// A large value that is arriving.
pub(crate) struct Arriving {
    body: Large,
    sum: Option<FingerprintOfPieces>,
}

impl Arriving {
    pub(crate) fn new(body: Large) -> Arriving {
        Arriving { body, sum: None }
    }

    /// Returns the size that the client announced, in bytes.
    pub(crate) fn announced(&self) -> Option<usize> {
        self.body.announced()
    }

    /// Makes a fingerprint of `before` and of all bytes from here on.
    pub(crate) fn sum_up(&mut self, before: &[u8]) {
        let mut sum = FingerprintOfPieces::default();
        sum.update(before);
        self.sum = Some(sum);
    }

    /// Returns the fingerprint of what was read, if one was to be made.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.sum.clone().map(FingerprintOfPieces::finish)
    }

    /// Returns the next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let piece = self.body.next().await?;
        if let (Some(piece), Some(sum)) = (&piece, &mut self.sum) {
            sum.update(piece);
        }
        Ok(piece)
    }

    /// Reads the rest and keeps nothing of it but its fingerprint.
    pub(crate) async fn read_on(&mut self) -> Result<()> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    /// Reads some of the rest, so that a client that sends before it listens gets to read the answer.
    pub(crate) async fn skip(self) {
        self.body.skip().await;
    }
}
