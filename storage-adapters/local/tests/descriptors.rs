//! Goal: a process that runs out of descriptors loses nothing, and the store takes writes again
//! once there are some; the tree keeps no more files open than it may. Method: this test binary
//! runs itself as a child under a low limit; the child uses up its descriptors and returns them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aft_store::{Error, Name, Space, Store};
use aft_store_local::{LocalStore, Options};
use bytes::Bytes;

mod lines;
use lines::lines_about;

const DIR: &str = "AFT_DESCRIPTORS_TEST_DIR";

fn name(i: usize) -> Name {
    Name::new(Space::Version, "key", format!("{i:06}"))
}

fn body(i: usize) -> Bytes {
    Bytes::from(vec![i as u8; 20_000])
}

fn small_tables() -> Options {
    let mut options = Options::default();
    options.memtable_bytes = 1 << 20;
    options
}

/// Returns the number of this process's open files in the directory.
fn open_in(dir: &Path) -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let paths = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    paths.filter(|path| path.starts_with(dir)).count()
}

/// Runs as the child; does nothing unless the parent has set the environment variable.
#[tokio::test]
async fn child_that_runs_out_of_descriptors() {
    let Ok(dir) = std::env::var(DIR) else { return };
    lines::listen();
    let dir = Path::new(&dir);
    let store = LocalStore::open(dir, &small_tables()).unwrap();
    let mut written = 0;
    for round in 0..3 {
        let mut taken = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        assert!(taken.len() > 10, "{} descriptors were free", taken.len());
        let mut rejected = 0;
        for i in 0..300 {
            match store.put(&name(written), body(written)).await {
                Ok(()) => written += 1,
                Err(Error::Busy(_) | Error::Refused(_)) => rejected += 1,
                Err(error) => panic!("write {i} answered {error}"),
            }
            if rejected > 20 {
                break;
            }
        }
        assert!(rejected > 0, "the tree never failed");
        assert_eq!(store.get(&name(0)).await.unwrap().unwrap().0, body(0), "reads go on");
        drop(taken);
        let since = Instant::now();
        while let Err(error) = store.put(&name(written), body(written)).await {
            assert!(since.elapsed() < Duration::from_secs(10), "{error}");
            assert!(matches!(error, Error::Busy(_) | Error::Refused(_)), "{error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        written += 1;
        println!("{written} written; writable after {:?}", since.elapsed());
        assert_eq!(store.ended(), None);
        for i in 0..written {
            assert_eq!(store.get(&name(i)).await.unwrap().expect("acknowledged").0, body(i), "{i}");
        }
        let lines = lines_about(dir);
        assert_eq!(lines.len(), 2 * (round + 1), "one line when it begins and one when it ends: {lines:?}");
        assert!(
            lines[2 * round].starts_with("WARN") && lines[2 * round + 1].starts_with("INFO"),
            "{lines:?}"
        );
    }
    println!("healed: {written}");
}

#[tokio::test]
async fn a_store_without_descriptors_heals_when_there_are_some() {
    let dir = tempfile::tempdir().unwrap();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 64; exec \"$@\"", "sh"]).arg(std::env::current_exe().unwrap());
    limited.args(["child_that_runs_out_of_descriptors", "--exact", "--nocapture"]);
    let output = limited.env(DIR, dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let healed = said.lines().find_map(|line| line.strip_prefix("healed: ")).unwrap();
    let store = LocalStore::open(dir.path(), &small_tables()).expect("opens after it healed");
    for i in 0..healed.parse().unwrap() {
        assert_eq!(store.get(&name(i)).await.unwrap().expect("acknowledged").0, body(i), "{i}");
    }
}

#[tokio::test]
async fn the_tree_keeps_no_more_files_open_than_it_may() {
    const NAMES: usize = 400;
    const OPEN_FILES: usize = 32;
    let open_with = async |open_files: usize| {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::default();
        (options.memtable_bytes, options.separate_values) = (64 << 10, true);
        options.open_files = open_files;
        let store = LocalStore::open(dir.path(), &options).unwrap();
        for i in 0..NAMES {
            store.put(&name(i), body(i)).await.unwrap();
        }
        for i in 0..NAMES {
            assert_eq!(store.get(&name(i)).await.unwrap().unwrap().0, body(i));
        }
        // Until the tree has merged its tables.
        let mut least = usize::MAX;
        for _ in 0..20 {
            least = least.min(open_in(&dir.path().join("tree")));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        least
    };
    let (many, few) = (open_with(900).await, open_with(OPEN_FILES).await);
    println!("{many} files are open by default, {few} of {OPEN_FILES}");
    // The tree rounds up to its shards, of which each core has four, and does not count journals
    // and its lock.
    let shards = 4 * std::thread::available_parallelism().unwrap().get();
    assert!(few <= OPEN_FILES.next_multiple_of(shards) + 4, "{few} files are open");
    assert!(many > few, "{many} files are too few to show anything");
    // A number below what the tree takes is raised.
    let mut options = Options::default();
    options.open_files = 0;
    LocalStore::open(tempfile::tempdir().unwrap().path().join("store"), &options).unwrap();
}
