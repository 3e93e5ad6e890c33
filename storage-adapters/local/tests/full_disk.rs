//! Goal: a full disk rejects writes definitely, reads go on, and writes go on once there is room
//! again, in the same process. Method: stores on small file systems in memory, which a file of
//! another program fills up and leaves.
//!
//! Mounting needs rights that not every machine gives; the tests are skipped there.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aft_store::{Created, Error, Name, Space, Store, Writes};
use aft_store_local::{LocalStore, Options};
use bytes::Bytes;

mod lines;
use lines::lines_about;

const DISK_MIB: usize = 60;
/// The size of a body that is too large to be inline, in bytes.
const LARGE: usize = 100_000;

/// A small file system in memory, unmounted when dropped.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
        assert!(unmounted.unwrap().success(), "cannot unmount {}", self.dir.path().display());
    }
}

impl SmallDisk {
    /// Mounts a file system, or says that the running test is skipped.
    fn mount() -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m"), "tmpfs"]).arg(dir.path());
        let output = mount.stderr(Stdio::piped()).output();
        if output.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk { dir });
        }
        let thread = std::thread::current();
        let line = format!("skipped: {}: tmpfs (cannot mount)\n", thread.name().unwrap_or("a test"));
        // Not `println!`, whose output the test harness captures while the test passes.
        let mut out = std::io::stdout().lock();
        out.write_all(line.as_bytes()).and_then(|()| out.flush()).unwrap();
        None
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn others(&self) -> PathBuf {
        self.dir.path().join("of another program")
    }

    /// Takes all free room but `left` bytes, as another program would.
    fn fill(&self, left: u64) {
        fill(&self.others(), left);
    }

    fn leave(&self) {
        std::fs::remove_file(self.others()).unwrap();
    }
}

fn fill(file: &Path, left: u64) {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
    // Again until nothing is free, since the store gives and takes room meanwhile.
    for _ in 0..8 {
        let free = rustix::fs::statvfs(file_dir(&file)).unwrap();
        let free = free.f_bavail * free.f_frsize;
        let Some(take) = free.checked_sub(left).filter(|&take| take > 0) else { return };
        let at = file.metadata().unwrap().len();
        let _taken = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), at, take);
    }
}

fn file_dir(file: &std::fs::File) -> PathBuf {
    use std::os::fd::AsRawFd;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    path.parent().unwrap().to_owned()
}

fn name(i: usize) -> Name {
    Name::new(Space::Version, "key", format!("{i:06}"))
}

fn body(i: usize, len: usize) -> Bytes {
    Bytes::from(format!("{i:06} ").bytes().cycle().take(len).collect::<Vec<u8>>())
}

fn acked(dir: &Path) -> u64 {
    let acked = std::fs::read(dir.join("ACKED")).unwrap();
    u64::from_le_bytes(*acked.first_chunk().unwrap())
}

fn rejected_for_room(answer: Result<impl std::fmt::Debug, Error>, what: &str) {
    match answer {
        Err(Error::Refused(why)) => {
            assert!(why.contains("free space") && why.contains("MiB"), "{what}: {why}")
        }
        other => panic!("{what} on a full disk answered {other:?}"),
    }
}

#[tokio::test]
async fn a_full_disk_rejects_writes_until_there_is_room() {
    lines::listen();
    let Some(disk) = SmallDisk::mount() else { return };
    let dir = disk.store();
    let store = LocalStore::open(&dir, &Options::default()).unwrap();
    store.put(&name(0), body(0, 1000)).await.unwrap();
    store.put(&name(1), body(1, LARGE)).await.unwrap();
    for round in 0..2 {
        disk.fill(0);
        let before = (acked(&dir), std::fs::read_dir(dir.join("bodies")).unwrap().count());
        for _ in 0..3 {
            rejected_for_room(store.put(&name(2), body(2, 10)).await, "a put");
            rejected_for_room(store.put(&name(2), body(2, LARGE)).await, "a put of a file");
            rejected_for_room(store.create(&name(2), body(2, 10)).await, "a create");
            let writes = Writes { create: Some((name(2), body(2, 10))), puts: vec![(name(3), body(3, 10))] };
            let committed = store.commit(writes).await;
            rejected_for_room(committed.created.unwrap(), "a commit");
        }
        assert_eq!(
            store.create(&name(0), body(7, 10)).await,
            Ok(Created::Exists),
            "a lost create needs no room"
        );
        assert_eq!(store.get(&name(0)).await.unwrap().unwrap().0, body(0, 1000), "reads go on");
        assert_eq!(store.get(&name(1)).await.unwrap().unwrap().0, body(1, LARGE), "reads go on");
        assert_eq!(store.get(&name(2)).await.unwrap(), None, "a rejected write has no effect");
        let after = (acked(&dir), std::fs::read_dir(dir.join("bodies")).unwrap().count());
        assert_eq!(after, before, "the tree and the files are untouched");
        assert_eq!(store.ended(), None);
        disk.leave();
        store.put(&name(4), body(4, 10)).await.expect("there is room again");
        store.put(&name(5), body(5, LARGE)).await.expect("there is room again");
        let lines = lines_about(&dir);
        assert_eq!(lines.len(), 2 * (round + 1), "one line when it begins and one when it ends: {lines:?}");
    }
}

#[tokio::test]
async fn deletions_go_on_while_a_smaller_reserve_is_free() {
    let Some(disk) = SmallDisk::mount() else { return };
    let store = LocalStore::open(disk.store(), &Options::default()).unwrap();
    for i in 0..4 {
        store.put(&name(i), body(i, LARGE)).await.unwrap();
    }
    // An eighth of the disk is kept from writes, half of that from everything.
    disk.fill(((DISK_MIB as u64) << 20) / 12);
    rejected_for_room(store.put(&name(9), body(9, 10)).await, "a put");
    store.delete(&[name(0), name(1)]).await.expect("a deletion is let through");
    let (_, tag) = store.get(&name(2)).await.unwrap().unwrap();
    store.delete_if(&name(2), &tag).await.expect("a deletion is let through");
    let note = Name::new(Space::Store, "sweep", "1");
    store.put(&note, Bytes::from("a note of upkeep")).await.expect("notes of upkeep are let through");
    assert_eq!(store.get(&name(0)).await.unwrap(), None);
    disk.fill(0);
    rejected_for_room(store.delete(&[name(3)]).await, "a deletion without any room");
    rejected_for_room(store.put(&note, Bytes::from("2")).await, "a note without any room");
    disk.leave();
    store.delete(&[name(3)]).await.expect("there is room again");
}

#[tokio::test]
async fn a_store_opens_on_a_full_disk() {
    let Some(disk) = SmallDisk::mount() else { return };
    let store = LocalStore::open(disk.store(), &Options::default()).unwrap();
    store.put(&name(0), body(0, 1000)).await.unwrap();
    drop(store);
    disk.fill(0);
    let store = LocalStore::open(disk.store(), &Options::default()).expect("opening needs no room");
    assert_eq!(store.get(&name(0)).await.unwrap().unwrap().0, body(0, 1000));
    rejected_for_room(store.put(&name(1), body(1, 10)).await, "a put");
    disk.leave();
    store.put(&name(1), body(1, 10)).await.expect("there is room again");
}
