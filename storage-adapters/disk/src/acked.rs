//! The number of the newest acknowledged batch, in a file of its own.
//!
//! The file is overwritten in place after every sync of the journal and before the acknowledgement.
//! It is not synced itself, which would double the cost of a commit. So after the death of the
//! process it is exact, and after a power cut it has the state of the last write-back, seconds ago.
//! It is never ahead of the journal: if a journal ends before it, acknowledged batches are lost.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use crate::checksum::xxh64;
use crate::home::PRIVATE_FILE;
use crate::{Home, OpenError};

pub(crate) const ACKED_FILE: &str = "ACKED";

/// The file with the number of the newest acknowledged batch.
#[derive(Debug)]
pub struct Acked {
    file: File,
}

impl Acked {
    /// The number and its checksum, 8 bytes each.
    const BYTES: usize = 16;

    /// Opens the file, and returns it with the number that it holds, if there is one. Logs a
    /// warning if the directory is not new and the file holds no number.
    ///
    /// # Errors
    /// Returns [`OpenError::Damaged`] if the number does not match its checksum, and
    /// [`OpenError::Io`] if the file cannot be opened or read. The directory is unchanged; the
    /// message says what to do.
    pub fn open(home: &Home) -> Result<(Acked, Option<u64>), OpenError> {
        let path = home.dir().join(ACKED_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE_FILE)
            .open(&path)
            .map_err(OpenError::io("cannot open", &path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(OpenError::io("cannot read", &path))?;
        if bytes.is_empty() {
            if !home.is_new() {
                tracing::warn!(path = %path.display(), "the file ACKED is missing or empty: this time, a lost end of the journal is not noticed");
            }
            return Ok((Acked { file }, None));
        }
        let number = bytes.first_chunk::<8>().map(|number| u64::from_le_bytes(*number));
        match number.filter(|&number| bytes == Acked::encode(number)) {
            Some(number) => Ok((Acked { file }, Some(number))),
            None => {
                let what = format!(
                    "the file {ACKED_FILE} does not match its checksum (remove it to open the store without this check)"
                );
                Err(OpenError::damaged(home.dir(), what))
            }
        }
    }

    fn encode(number: u64) -> [u8; Acked::BYTES] {
        let mut bytes = [0; Acked::BYTES];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..].copy_from_slice(&xxh64(&number.to_le_bytes(), 0).to_le_bytes());
        bytes
    }

    /// Records that the batch with this number, and all before it, are durable and about to be
    /// acknowledged.
    ///
    /// # Errors
    /// Returns the error of the file system. Do not acknowledge the batch then: the next open could
    /// not notice its loss.
    pub fn advance(&self, number: u64) -> std::io::Result<()> {
        self.file.write_all_at(&Acked::encode(number), 0)
    }

    /// Makes the recorded number durable.
    ///
    /// # Errors
    /// Returns the error of the file system. The number may be lost in a power cut then.
    pub fn sync(&self) -> std::io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::{ACKED_FILE, Acked};
    use crate::home::tests::LAYOUT;
    use crate::{Home, OpenError};

    #[test]
    fn the_number_survives_and_is_checked() {
        let dir = tempfile::tempdir().expect("there is room");
        let home = Home::take(dir.path(), LAYOUT).expect("a fresh directory");
        let (acked, number) = Acked::open(&home).expect("there is no file yet");
        assert_eq!(number, None);
        acked.advance(7).and_then(|()| acked.advance(1 << 40)).expect("there is room");
        acked.sync().expect("there is room");
        let (_, number) = Acked::open(&home).expect("nothing is damaged");
        assert_eq!(number, Some(1 << 40));

        let path = dir.path().join(ACKED_FILE);
        let bytes = std::fs::read(&path).expect("the file exists");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&path, damaged).expect("there is room");
            let opened = Acked::open(&home);
            assert!(matches!(opened, Err(OpenError::Damaged { .. })), "byte {at}: {opened:?}");
        }
        std::fs::write(&path, &bytes[..12]).expect("there is room");
        assert!(matches!(Acked::open(&home), Err(OpenError::Damaged { .. })), "the file was cut short");
    }
}
