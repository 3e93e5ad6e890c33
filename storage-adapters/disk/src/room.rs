//! The room on the file system of a directory.

use std::path::Path;

use rustix::fs::statvfs;

/// The room on a file system, as this process may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The free bytes.
    pub free_bytes: u64,
    /// The size of the file system in bytes.
    pub size_bytes: u64,
    /// The number of files that can still be made, and the number that there may be. `None` on file
    /// systems without such a limit.
    pub files: Option<(u64, u64)>,
}

impl Room {
    /// Reads the room on the file system of `dir`. Returns `None` if the file system does not
    /// report its size. It takes a microsecond on a local file system.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub fn of(dir: &Path) -> std::io::Result<Option<Room>> {
        let found = statvfs(dir)?;
        if found.f_blocks == 0 {
            return Ok(None);
        }
        Ok(Some(Room {
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            size_bytes: found.f_blocks.saturating_mul(found.f_frsize),
            files: (found.f_files > 0).then_some((found.f_favail, found.f_files)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::Room;

    #[test]
    fn the_room_is_part_of_the_file_system() {
        let dir = tempfile::tempdir().expect("there is room");
        let room = Room::of(dir.path()).expect("it exists").expect("it has a size");
        assert!(room.free_bytes > 0 && room.free_bytes <= room.size_bytes, "{room:?}");
        assert!(room.files.is_none_or(|(free, all)| free <= all), "{room:?}");
        assert!(Room::of(&dir.path().join("missing")).is_err());
    }
}
