//! Goal: the tree keeps no more files open than it may. Method: a store with many tables is read
//! under two limits, and the descriptors of this process are counted.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;
use std::time::Duration;

use aft_store::{Name, Space, Store};
use aft_store_local::{LocalStore, Options};
use bytes::Bytes;

fn name(i: usize) -> Name {
    Name::new(Space::Version, "key", format!("{i:06}"))
}

fn body(i: usize) -> Bytes {
    Bytes::from(vec![i as u8; 20_000])
}

/// Returns the number of this process's open files in the directory.
fn open_in(dir: &Path) -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let paths = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    paths.filter(|path| path.starts_with(dir)).count()
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
