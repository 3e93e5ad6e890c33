//! Goal: damage to acknowledged data is found, and is never read as something else. Method: a small
//! store is closed, one thing in a copy of its directory is changed, and the copy is opened and
//! read. It must refuse to open, or answer `Damaged`, or hold exactly what was written.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aft_store::{Error, Name, Space, Store};
use aft_store_local::{LocalStore, OpenError, Options};
use bytes::Bytes;

const NAMES: usize = 60;
/// The number of places in a file that are tried.
const PLACES: u64 = 60;

fn name(i: usize) -> Name {
    Name::new(Space::Commit, format!("group {i:03}"), "item")
}

fn body(i: usize) -> Bytes {
    let len = if i == 7 { 70_000 } else { 100 + 50 * i };
    (0..len).map(|at| (at * 31 + i) as u8).collect()
}

async fn fill(dir: &Path, options: &Options) -> LocalStore {
    let store = LocalStore::open(dir, options).unwrap();
    for i in 0..NAMES {
        store.put(&name(i), body(i)).await.expect("a fresh store takes writes");
    }
    store
}

/// Returns the directory of a closed store whose data is all in the journal.
async fn in_journal() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    drop(fill(dir.path(), &Options::default()).await);
    // Cut the reserved space, which every copy would have to read.
    let journal = journal(dir.path());
    fs::OpenOptions::new().write(true).open(&journal).unwrap().set_len(used(&journal) + 4096).unwrap();
    dir
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            // A few KiB of the 64 MiB that the journal reserves are in use. Some of the zeros
            // behind them are kept.
            false => {
                let copy = fs::File::create(to.join(entry.file_name())).unwrap();
                let len = entry.metadata().unwrap().len();
                let used = used(&entry.path());
                copy.write_all_at(&fs::read(entry.path()).unwrap()[..used as usize], 0).unwrap();
                copy.set_len(len.min(used + 4096)).unwrap();
            }
        }
    }
}

/// The outcome of opening and reading a damaged directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Refused,
    SaysDamaged,
    Intact,
}

/// Opens the directory and reads everything. Panics if something is missing or wrong and no error
/// says so.
async fn verdict(dir: &Path, context: &str) -> Verdict {
    let store = match LocalStore::open(dir, &Options::default()) {
        Ok(store) => store,
        Err(OpenError::Damaged { what, .. }) => {
            println!("{context}: {what}");
            return Verdict::Refused;
        }
        Err(error) => panic!("{context}: {error}"),
    };
    let mut verdict = Verdict::Intact;
    for i in 0..NAMES {
        match store.get(&name(i)).await {
            Ok(Some((read, _))) => {
                assert_eq!(read, body(i), "{context}: {} was read as something else", name(i))
            }
            Ok(None) => panic!("{context}: {} was silently lost", name(i)),
            Err(Error::Damaged(what)) => {
                println!("{context}: {what}");
                verdict = Verdict::SaysDamaged;
            }
            Err(error) => panic!("{context}: {error}"),
        }
    }
    verdict
}

/// Changes a copy of the directory `from`. Checks that opening and reading it has one of the
/// outcomes in `expect`, and that a refusal is repeated.
async fn check(from: &Path, context: &str, change: impl FnOnce(&Path), expect: &[Verdict]) {
    let dirs = tempfile::tempdir().unwrap();
    let dir = dirs.path().join("copy");
    copy(from, &dir);
    change(&dir);
    let first = verdict(&dir, context).await;
    assert!(expect.contains(&first), "{context}: {first:?}");
    if first == Verdict::Refused {
        let again = verdict(&dir, &format!("{context}, again")).await;
        assert_eq!(again, Verdict::Refused, "{context}: the second open did not find the damage");
    }
}

fn journal(dir: &Path) -> PathBuf {
    let mut journals = files(&dir.join("tree"), |path| path.extension().is_some_and(|end| end == "jnl"));
    assert_eq!(journals.len(), 1, "{journals:?}");
    journals.remove(0)
}

fn files(dir: &Path, wanted: impl Fn(&Path) -> bool + Copy) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, wanted));
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The bytes in use at the start of a journal.
fn used(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    (bytes.len() - bytes.iter().rev().take_while(|&&byte| byte == 0).count()) as u64
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[tokio::test]
async fn flipped_bytes_in_the_journal_are_found() {
    let dir = in_journal().await;
    let used = used(&journal(dir.path()));
    // At places all over the journal, and at every byte of the last batch, which no other batch
    // follows.
    let places = (0..PLACES).map(|place| place * used / PLACES).chain(used - 60..used);
    for at in places {
        check(
            dir.path(),
            &format!("journal byte {at} of {used}"),
            |dir| flip(&journal(dir), at),
            &[Verdict::Refused],
        )
        .await;
    }
}

#[tokio::test]
async fn a_journal_cut_short_is_found() {
    let dir = in_journal().await;
    let used = used(&journal(dir.path()));
    for at in (0..PLACES).map(|place| place * used / PLACES).chain([used - 1]) {
        let cut =
            |dir: &Path| fs::OpenOptions::new().write(true).open(journal(dir)).unwrap().set_len(at).unwrap();
        check(dir.path(), &format!("journal cut to {at} of {used}"), cut, &[Verdict::Refused]).await;
        let zero = |dir: &Path| {
            let journal = fs::OpenOptions::new().write(true).open(journal(dir)).unwrap();
            journal.write_all_at(&vec![0; (used - at) as usize], at).unwrap();
        };
        check(dir.path(), &format!("journal zeroed from {at} of {used}"), zero, &[Verdict::Refused]).await;
    }
}

#[tokio::test]
async fn missing_pieces_are_found() {
    let dir = in_journal().await;
    let gone = |path: PathBuf| fs::remove_file(path).unwrap();
    check(dir.path(), "no journal", |dir| gone(journal(dir)), &[Verdict::Refused]).await;
    check(dir.path(), "no marker of the tree", |dir| gone(dir.join("tree/version")), &[Verdict::Refused])
        .await;
    let no_tree = |dir: &Path| fs::remove_dir_all(dir.join("tree")).unwrap();
    check(dir.path(), "no tree", no_tree, &[Verdict::Refused]).await;
    let flip_mark = |dir: &Path| flip(&dir.join("ACKED"), 3);
    check(dir.path(), "damaged mark", flip_mark, &[Verdict::Refused]).await;
    check(dir.path(), "no mark", |dir| gone(dir.join("ACKED")), &[Verdict::Intact]).await;
}

#[tokio::test]
async fn a_torn_end_of_the_journal_is_not_damage() {
    let dir = in_journal().await;
    let end = used(&journal(dir.path()));
    let start_of_batch = fs::read(journal(dir.path())).unwrap()[..40].to_vec();
    for (what, bytes) in [("a started batch", &start_of_batch[..]), ("dirt", b"\x01\x02\xff dirt")] {
        let tear = |dir: &Path| {
            let journal = fs::OpenOptions::new().write(true).open(journal(dir)).unwrap();
            journal.write_all_at(bytes, end).unwrap();
        };
        check(dir.path(), what, tear, &[Verdict::Intact]).await;
    }
}

#[tokio::test]
async fn damaged_tables_are_found() {
    // Memory tables are written out often, so that nearly everything is in tables.
    let mut options = Options::default();
    options.memtable_bytes = 16 << 10;
    for separate in [false, true] {
        options.separate_values = separate;
        let dir = tempfile::tempdir().unwrap();
        let store = fill(dir.path(), &options).await;
        // Time for the last memory tables to be written out.
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(store);
        for journal in
            files(&dir.path().join("tree"), |path| path.extension().is_some_and(|end| end == "jnl"))
        {
            fs::OpenOptions::new()
                .write(true)
                .open(&journal)
                .unwrap()
                .set_len(used(&journal) + 4096)
                .unwrap();
        }
        let tables = files(&dir.path().join("tree/keyspaces"), |path| path.is_file());
        assert!(tables.len() > 2, "no memory table was written out: {tables:?}");
        let mut seen = Vec::new();
        for table in &tables {
            let table = table.strip_prefix(dir.path()).unwrap();
            let len = fs::metadata(dir.path().join(table)).unwrap().len();
            for at in (0..5).map(|place| place * len / 5).filter(|&at| at < len) {
                let context = format!("{} byte {at} of {len}", table.display());
                let dirs = tempfile::tempdir().unwrap();
                copy(dir.path(), &dirs.path().join("copy"));
                flip(&dirs.path().join("copy").join(table), at);
                seen.push(verdict(&dirs.path().join("copy"), &context).await);
            }
            let gone = |dir: &Path| fs::remove_file(dir.join(table)).unwrap();
            let context = format!("{} is missing", table.display());
            let expect = [Verdict::Refused, Verdict::SaysDamaged, Verdict::Intact];
            check(dir.path(), &context, gone, &expect).await;
        }
        for verdict in [Verdict::Refused, Verdict::SaysDamaged] {
            assert!(seen.contains(&verdict), "no damage to a table led to {verdict:?}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn damaged_bodies_are_found() {
    let dir = in_journal().await;
    let body_file = |dir: &Path| files(&dir.join("bodies"), |_| true).remove(0);
    let damaged = [Verdict::SaysDamaged];
    check(dir.path(), "flipped body", |dir| flip(&body_file(dir), 4711), &damaged).await;
    check(dir.path(), "missing body", |dir| fs::remove_file(body_file(dir)).unwrap(), &damaged).await;
    let cut =
        |dir: &Path| fs::OpenOptions::new().write(true).open(body_file(dir)).unwrap().set_len(100).unwrap();
    check(dir.path(), "cut body", cut, &damaged).await;
}

#[tokio::test]
async fn foreign_and_newer_directories_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "important").unwrap();
    let foreign = LocalStore::open(dir.path(), &Options::default()).unwrap_err();
    assert!(matches!(&foreign, OpenError::Foreign { found, .. } if found == "thesis.tex"), "{foreign}");
    assert!(foreign.to_string().contains(&dir.path().display().to_string()), "{foreign}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a refused directory was changed");

    let dir = in_journal().await;
    fs::write(dir.path().join("AFT-STORE"), "AFT-STORE 2\n").unwrap();
    let newer = LocalStore::open(dir.path(), &Options::default()).unwrap_err();
    assert!(matches!(newer, OpenError::Newer { .. }), "{newer}");
}

#[tokio::test]
async fn a_second_open_names_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let store = fill(dir.path(), &Options::default()).await;
    let held = LocalStore::open(dir.path(), &Options::default()).unwrap_err();
    assert!(matches!(&held, OpenError::Held { pid, .. } if *pid == std::process::id().to_string()), "{held}");
    assert_eq!(
        store.get(&name(1)).await.unwrap().unwrap().0,
        body(1),
        "the failed open disturbed the holder"
    );
    drop(store);
    LocalStore::open(dir.path(), &Options::default()).expect("the directory is free again");
}

#[tokio::test]
async fn an_interrupted_creation_is_started_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("AFT-STORE"), "AFT-STORE 1 initialising\n").unwrap();
    fs::create_dir(dir.path().join("tree")).unwrap();
    fs::write(dir.path().join("tree/0.jnl"), "half made").unwrap();
    let store = fill(dir.path(), &Options::default()).await;
    drop(store);
    assert_eq!(verdict(dir.path(), "created again").await, Verdict::Intact);
}
