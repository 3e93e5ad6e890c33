//! The room that writes leave free on the file system.
//!
//! A tree that cannot write out a memory table, or cannot merge tables, fails as a whole, and its
//! deletions free nothing any more. So the store looks at the free room before it writes a batch or
//! a body's file, and rejects what would use up the reserve: definitely, with nothing written.
//!
//! The reserve is [`MEMTABLES`] memory tables: two of them to be written out as tables, and as much
//! again for a merge of such tables, which keeps its input until it is done. It is at least
//! [`RESERVE_BYTES_MIN`], for the tree's lists of tables, and at most 1/[`SHARE`] of the file
//! system, so that a small one can be used as well: on 60 MiB, 7.5 MiB stay free. A merge of large
//! tables may take more than any reserve. Then the tree fails and is reopened, see `heal`.
//!
//! Deletions, and the notes that upkeep writes about them, need to go on for longer than writes:
//! they leave half of the reserve.
//!
//! The check is no guarantee, since other programs write too, and a quota may be lower than what is
//! free.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aft_disk::Room;
use aft_store::{Error, Result};

/// The reserve in memory tables.
const MEMTABLES: u64 = 4;
/// The least reserve, in bytes.
const RESERVE_BYTES_MIN: u64 = 1 << 20;
/// The part of the file system that the reserve is at most: one of this number.
const SHARE: u64 = 8;
/// The files that writes leave to be made: tables, journals and lists of them.
const FILES: u64 = 64;

/// The purpose of a write, which decides about the reserve that it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A write of a caller.
    Data,
    /// A deletion, or a note about deletions.
    Upkeep,
}

/// The free room at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    room: Room,
    /// The free bytes that nobody has claimed.
    unclaimed: u64,
    /// The bytes to leave free.
    reserve: u64,
}

impl Look {
    /// Returns true if `bytes` more may be written.
    pub(crate) fn allows(&self, bytes: u64, purpose: Purpose) -> bool {
        let part = match purpose {
            Purpose::Data => 1,
            Purpose::Upkeep => 2,
        };
        let files = self.room.files.is_none_or(|(free, all)| free >= FILES.min(all / SHARE) / part);
        files && self.unclaimed >= bytes.saturating_add(self.reserve / part)
    }

    /// Returns true if the tree can be opened and work: the reserve is free, `times` over, or half
    /// of the file system.
    pub(crate) fn suffices(&self, times: u64) -> bool {
        self.allows(0, Purpose::Data) && self.unclaimed >= self.enough(times)
    }

    fn enough(&self, times: u64) -> u64 {
        self.reserve.saturating_mul(times).min(self.room.size_bytes / 2)
    }
}

/// The reserve of a store.
#[derive(Debug)]
pub(crate) struct Reserve {
    dir: PathBuf,
    /// The reserve on a large file system, in bytes.
    wanted: u64,
    /// The bytes of bodies that are being written to files.
    claimed: AtomicU64,
    /// True from the first write that was rejected until there is room again.
    full: AtomicBool,
}

/// The room of a body that is being written to a file, given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    reserve: &'a Reserve,
    bytes: u64,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let before = self.reserve.claimed.fetch_sub(self.bytes, Ordering::AcqRel);
        assert!(before >= self.bytes, "{} bytes of {before} are given back", self.bytes);
    }
}

impl Reserve {
    pub(crate) fn new(dir: &Path, memtable_bytes: u64) -> Reserve {
        Reserve {
            dir: dir.to_owned(),
            wanted: memtable_bytes.saturating_mul(MEMTABLES).max(RESERVE_BYTES_MIN),
            claimed: AtomicU64::new(0),
            full: AtomicBool::new(false),
        }
    }

    /// Looks at the free room. Returns `None` if the file system does not tell; then writes are not
    /// checked.
    pub(crate) fn look(&self) -> Option<Look> {
        let room = Room::of(&self.dir).ok().flatten()?;
        let reserve = self.wanted.min(room.size_bytes / SHARE);
        let claimed = self.claimed.load(Ordering::Acquire);
        let look = Look { room, unclaimed: room.free_bytes.saturating_sub(claimed), reserve };
        // A quarter more than the reserve: the log should not say again and again that a disk is
        // full and is not.
        if self.full.load(Ordering::Relaxed)
            && look.allows(reserve / 4, Purpose::Data)
            && self.full.swap(false, Ordering::Relaxed)
        {
            tracing::debug!(dir = %self.dir.display(), free_mib = room.free_bytes >> 20, "there is room again; writes go on");
        }
        Some(look)
    }

    /// Claims room for a body that is about to be written to a file.
    ///
    /// # Errors
    /// Returns [`Error::Refused`] if it would not leave the reserve.
    pub(crate) fn claim(&self, bytes: usize, purpose: Purpose) -> Result<Claim<'_>> {
        let bytes = bytes as u64;
        match self.look() {
            Some(look) if !look.allows(bytes, purpose) => Err(self.reject(&look, bytes)),
            Some(_) | None => {
                self.claimed.fetch_add(bytes, Ordering::AcqRel);
                Ok(Claim { reserve: self, bytes })
            }
        }
    }

    /// Returns the error for a write that would not leave the reserve. The first one is logged here
    /// for those who debug; a node tells its operator of stores that reject calls.
    pub(crate) fn reject(&self, look: &Look, bytes: u64) -> Error {
        let says = self.says(look);
        if !self.full.swap(true, Ordering::Relaxed) {
            tracing::debug!(dir = %self.dir.display(), "{says}; writes are rejected until there is room again, reads go on");
        }
        Error::Refused(format!("local:{}: no room for a write of {bytes} bytes: {says}", self.dir.display()))
    }

    /// Describes the room, and what to do about it.
    pub(crate) fn says(&self, look: &Look) -> String {
        let Look { room, reserve, .. } = look;
        if let Some((free, all)) = room.files
            && free < FILES.min(all / SHARE)
        {
            return format!("the file system can hold {free} more files of {all} only; free space on it");
        }
        format!(
            "{} of {} MiB of the file system are free, and the store keeps {} MiB for its own work; free space on it, or enlarge it",
            mib(room.free_bytes),
            mib(room.size_bytes),
            mib(*reserve)
        )
    }
}

/// Describes the room that a failed tree waits for.
pub(crate) fn says_enough(look: &Look, times: u64) -> String {
    format!("{} MiB must be free for the tree to be opened again", mib(look.enough(times)))
}

/// Returns mebibytes with one decimal, rounded down.
fn mib(bytes: u64) -> String {
    format!("{}.{}", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(free_mib: u64, size_mib: u64, memtable_mib: u64) -> Look {
        let wanted = (memtable_mib << 20) * MEMTABLES;
        let room = Room { free_bytes: free_mib << 20, size_bytes: size_mib << 20, files: None };
        Look { room, unclaimed: room.free_bytes, reserve: wanted.min(room.size_bytes / SHARE) }
    }

    #[test]
    fn the_reserve_is_a_share_of_a_small_disk_and_some_tables_on_a_large_one() {
        let small = look(8, 60, 64);
        assert_eq!(small.reserve, 60 << 20 >> 3);
        assert!(small.allows(512 << 10, Purpose::Data) && !small.allows((512 << 10) + 1, Purpose::Data));
        assert!(small.allows(4 << 20, Purpose::Upkeep) && !small.allows(5 << 20, Purpose::Upkeep));
        assert!(small.suffices(1) && !small.suffices(2));
        let large = look(300, 1 << 20, 64);
        assert_eq!(large.reserve, 256 << 20);
        assert!(large.suffices(1) && !large.suffices(2));
    }

    #[test]
    fn half_of_the_disk_is_always_enough() {
        assert!(look(31, 60, 64).suffices(1 << 20) && !look(29, 60, 64).suffices(1 << 20));
    }

    #[test]
    fn files_run_out_as_well() {
        let mut look = look(300, 1 << 20, 64);
        look.room.files = Some((40, 1 << 20));
        assert!(!look.allows(1, Purpose::Data) && look.allows(1, Purpose::Upkeep));
        look.room.files = Some((40, 160));
        assert!(look.allows(1, Purpose::Data), "a file system for 160 files is small");
    }

    #[test]
    fn claims_add_up_until_they_are_given_back() {
        let dir = tempfile::tempdir().expect("there is room");
        let reserve = Reserve::new(dir.path(), 16 << 10);
        let Some(before) = reserve.look() else { return };
        let claim = reserve.claim(1 << 20, Purpose::Data).expect("there is room");
        let claimed = reserve.claimed.load(Ordering::Acquire);
        drop(claim);
        assert_eq!((claimed, reserve.claimed.load(Ordering::Acquire)), (1 << 20, 0));
        let all = usize::try_from(before.room.size_bytes).expect("64 bits");
        let error = reserve.claim(all, Purpose::Upkeep).expect_err("nobody has as much");
        assert!(matches!(&error, Error::Refused(why) if why.contains("free space")), "{error}");
    }

    #[test]
    fn sizes_have_a_decimal() {
        assert_eq!((mib(0), mib(7_864_320), mib(1 << 30)), ("0.0".into(), "7.5".into(), "1024.0".into()));
    }
}
