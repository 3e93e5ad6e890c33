//! Goal: a full disk rejects writes definitely, reads go on, and writes go on once there is room
//! again, in the same process. Method: stores on small file systems in memory, which a file of
//! another program fills up and leaves; the last test kills a process in the middle of that.
//!
//! Mounting needs rights that not every machine gives; the tests are skipped there.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aft_store::{Created, Error, Name, Space, Store, Writes};
use aft_store_local::{LocalStore, Options};
use bytes::Bytes;

mod lines;
use lines::lines_about;

const DISK_MIB: usize = 60;
/// The size of a body that is too large to be inline, in bytes.
const LARGE: usize = 100_000;
/// The variable that names the directory of the child's store.
const DIR: &str = "AFT_FULL_DISK_TEST_DIR";

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

fn small_tables() -> Options {
    let mut options = Options::default();
    options.memtable_bytes = 128 << 10;
    options
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

/// The outcomes of creates under names that are used once.
#[derive(Default)]
struct Outcomes {
    created: Vec<usize>,
    rejected: Vec<usize>,
    unknown: Vec<usize>,
}

impl Outcomes {
    fn add(&mut self, i: usize, outcome: Result<Created, Error>) {
        match outcome {
            Ok(Created::Created) => self.created.push(i),
            Err(Error::Refused(_) | Error::Busy(_)) => self.rejected.push(i),
            Err(Error::NoAnswer(_)) => self.unknown.push(i),
            other => panic!("a create of a new name answered {other:?}"),
        }
    }

    async fn check(&self, store: &LocalStore, when: &str) {
        for &i in &self.created {
            let (read, _) =
                store.get(&name(i)).await.unwrap().unwrap_or_else(|| panic!("{when}: {i} is lost"));
            assert_eq!(read, body(i, len(i)), "{when}");
        }
        for &i in &self.rejected {
            assert_eq!(store.get(&name(i)).await.unwrap(), None, "{when}: {i} was rejected");
        }
    }
}

fn len(i: usize) -> usize {
    if i.is_multiple_of(9) { LARGE } else { 50_000 }
}

/// Waits until a write is acknowledged, and returns how long that took.
async fn until_writable(store: &LocalStore) -> Duration {
    let start = Instant::now();
    loop {
        match store.put(&Name::new(Space::Version, "other", "writable"), Bytes::from("yes")).await {
            Ok(()) => return start.elapsed(),
            Err(error) => assert!(start.elapsed() < Duration::from_secs(20), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Fills the disk while the tree writes out memory tables, until the tree has failed `FAILURES`
/// times. Deletes what it wrote now and then, so that the disk is never full of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_failed_on_a_full_disk_is_reopened() {
    const FAILURES: usize = 4;
    const ROUNDS_MAX: usize = 400;
    lines::listen();
    let Some(disk) = SmallDisk::mount() else { return };
    let dir = disk.store();
    let store = LocalStore::open(&dir, &small_tables()).unwrap();
    let (mut outcomes, mut next, mut slowest, mut failures) = (Outcomes::default(), 0, Duration::ZERO, 0);
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "the tree failed {failures} times only");
        // Some writes whose flush is under way when the disk fills up.
        let creates = (next..next + 6).map(|i| {
            let store = store.clone();
            tokio::spawn(async move { (i, store.create(&name(i), body(i, len(i))).await) })
        });
        let creates: Vec<_> = creates.collect();
        next += creates.len();
        std::thread::sleep(Duration::from_micros(300 * (round as u64 % 7)));
        disk.fill(0);
        for create in creates {
            let (i, outcome) = create.await.unwrap();
            outcomes.add(i, outcome);
        }
        // Reads go on while the disk is full, whatever the tree has gone through.
        outcomes.check(&store, "on the full disk").await;
        disk.leave();
        slowest = slowest.max(until_writable(&store).await);
        outcomes.check(&store, "with room again").await;
        assert_eq!(store.ended(), None);
        failures = lines_about(&dir).iter().filter(|line| line.contains("reopened")).count();
        if failures >= FAILURES {
            break;
        }
        if outcomes.created.len() > 60 {
            for &i in &outcomes.created {
                until_writable(&store).await;
                store.delete(&[name(i)]).await.unwrap();
            }
            outcomes = Outcomes::default();
        }
    }
    println!("{next} creates, {failures} failures of the tree; writable again after at most {slowest:?}");
    drop(store);
    let store = LocalStore::open(&dir, &small_tables()).expect("opens after it healed");
    outcomes.check(&store, "in the next process").await;
    // Nothing refers to the body files of creates that had no effect.
    let files = std::fs::read_dir(dir.join("bodies")).unwrap().count();
    let kept = |outcomes: &[usize]| outcomes.iter().filter(|i| len(**i) == LARGE).count();
    assert!(files <= kept(&outcomes.created) + kept(&outcomes.unknown), "{files} body files");
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

/// Runs as the child; does nothing unless the parent has set the environment variable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes_while_the_disk_fills_up() {
    static FULL: AtomicBool = AtomicBool::new(false);
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = PathBuf::from(dir);
    let store = LocalStore::open(dir.join("store"), &small_tables()).expect("opens after every kill");
    let from: usize = std::env::var("AFT_FULL_DISK_TEST_FROM").unwrap().parse().unwrap();
    let file = dir.join("of another program");
    std::thread::spawn(move || {
        for round in 0.. {
            std::thread::sleep(Duration::from_millis(5 * (round % 17)));
            FULL.store(true, Ordering::Relaxed);
            fill(&file, 0);
            std::thread::sleep(Duration::from_millis(5));
            std::fs::remove_file(&file).unwrap();
            FULL.store(false, Ordering::Relaxed);
        }
    });
    let out = Mutex::new(std::io::stdout());
    for i in from.. {
        // A name of each ten stays.
        let name = Name::new(Space::Version, "kept", format!("{}", i % 300));
        if let Ok(()) = store.put(&name, body(i, 40_000)).await {
            writeln!(out.lock().unwrap(), "put {i}").expect("the parent reads");
        }
        if i % 10 == 9 {
            let old = Name::new(Space::Version, "kept", format!("{}", (i + 150) % 300));
            if let Ok(()) = store.delete(&[old]).await {
                writeln!(out.lock().unwrap(), "deleted {}", (i + 150) % 300).expect("the parent reads");
            }
        }
    }
}

#[tokio::test]
async fn acknowledged_writes_survive_kills_while_the_store_heals() {
    const KILLS: u64 = 6;
    let Some(disk) = SmallDisk::mount() else { return };
    let mut newest: BTreeMap<usize, Option<usize>> = BTreeMap::new();
    let (mut from, mut acknowledged) = (0, 0);
    for round in 0..KILLS {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child_that_writes_while_the_disk_fills_up", "--exact", "--nocapture"]);
        command.env(DIR, disk.dir.path()).env("AFT_FULL_DISK_TEST_FROM", from.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reading = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(1500 + 97 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in reading.join().unwrap() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["put", i] => {
                    let i: usize = i.parse().unwrap();
                    newest.insert(i % 300, Some(i));
                    (from, acknowledged) = (from.max(i + 1), acknowledged + 1);
                }
                ["deleted", item] => drop(newest.insert(item.parse().unwrap(), None)),
                _ => {}
            }
        }
        // The child may have gone on a little without an acknowledgement that was heard.
        from = (from + 600) / 300 * 300;
        let _gone = std::fs::remove_file(disk.others());
        let store = LocalStore::open(disk.store(), &small_tables()).expect("opens after a kill");
        for (item, expect) in &newest {
            let name = Name::new(Space::Version, "kept", item.to_string());
            let read = store.get(&name).await.unwrap().map(|(body, _)| body);
            let i = |body: &Bytes| String::from_utf8_lossy(&body[..6]).parse::<usize>().unwrap();
            match (expect, &read) {
                (Some(put), Some(read)) => {
                    // A write without an acknowledgement may have taken effect.
                    assert!(i(read) >= *put, "{name} went back from {put} to {}", i(read));
                }
                (Some(put), None) => {
                    // Only the last writes before the kill may have been deletions.
                    assert!(*put + 300 > from - 900, "{name} was acknowledged with {put}, but is missing");
                }
                (None, _) => {}
            }
        }
    }
    println!("{acknowledged} writes were acknowledged");
    assert!(acknowledged > 100, "only {acknowledged} writes were acknowledged");
}
