//! Goal: acknowledged writes survive the death of the process and a full disk; nothing is created
//! twice; a commit exists whole or not at all. Method: this test binary runs itself as a child that
//! writes and prints each acknowledgement. The parent kills it with SIGKILL at random moments, or
//! lets it run into a limit on the size of files; then it opens the directory and looks for
//! everything that was printed.
//!
//! After a process's death the kernel still has all that was written, so this does not test the
//! sync itself: that needs a power cut.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aft_store::{Created, Error, Name, Position, Space, Store, Writes};
use aft_store_local::{LocalStore, Options};
use bytes::Bytes;

const DIR: &str = "AFT_CRASH_TEST_DIR";
const ROUND: &str = "AFT_CRASH_TEST_ROUND";
const CALLERS: usize = 8;
const KILLS: usize = 10;

fn own(round: usize, caller: usize, i: usize) -> Name {
    Name::new(Space::Commit, format!("own-{round}-{caller}-{i}"), "")
}

fn shared(round: usize, i: usize) -> Name {
    Name::new(Space::Lease, "shared", format!("{round}-{i}"))
}

fn counter(caller: usize) -> Name {
    Name::new(Space::Node, "counter", caller.to_string())
}

/// Returns the `i`-th body of a caller; every 16th is large enough for a file.
fn body(round: usize, caller: usize, i: usize) -> Bytes {
    let len = if i % 16 == 7 { 66_000 } else { 10 + i % 3000 };
    let text = format!("round {round} caller {caller} i {i} ");
    text.bytes().cycle().take(len).collect()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").expect("the parent reads");
}

/// Runs as the child; does nothing unless the parent has set the environment variables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes_until_killed() {
    let (Ok(dir), Ok(round)) = (std::env::var(DIR), std::env::var(ROUND)) else { return };
    let round: usize = round.parse().expect("a number");
    let store = Arc::new(LocalStore::open(dir, &Options::default()).expect("opens after every kill"));
    let callers = (0..CALLERS).map(|caller| {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0.. {
                let created = store.create(&own(round, caller, i), body(round, caller, i)).await;
                assert_eq!(created, Ok(Created::Created));
                say(&format!("own {caller} {i}"));
                store
                    .put(&counter(caller), Bytes::from(format!("{round} {i}")))
                    .await
                    .expect("writes do not fail before the kill");
                say(&format!("counter {caller} {i}"));
                let raced = store.create(&shared(round, i), Bytes::from(caller.to_string())).await;
                if raced == Ok(Created::Created) {
                    say(&format!("shared {caller} {i}"));
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("callers do not panic");
    }
}

/// All writes that were acknowledged so far.
#[derive(Default)]
struct Acknowledged {
    own: Vec<(usize, usize, usize)>,
    shared: BTreeMap<(usize, usize), usize>,
    counters: BTreeMap<usize, (usize, usize)>,
}

/// A record of the acknowledgements of children, and a check of the store against it.
trait Ledger {
    /// Records a line printed by the child of this round.
    fn take(&mut self, round: usize, line: &str);

    /// Checks the store that the child left.
    async fn check(&self, store: &LocalStore);
}

/// Returns the words of an acknowledgement: its kind, the caller, and the caller's number for it.
/// Other lines come from the test harness, or were cut off by the kill.
fn acknowledgement(line: &str) -> Option<(&str, usize, usize)> {
    let words: Vec<&str> = line.split(' ').collect();
    let [what, caller, i] = words[..] else { return None };
    Some((what, caller.parse().ok()?, i.parse().ok()?))
}

impl Ledger for Acknowledged {
    fn take(&mut self, round: usize, line: &str) {
        let Some((what, caller, i)) = acknowledgement(line) else { return };
        match what {
            "own" => self.own.push((round, caller, i)),
            "counter" => drop(self.counters.insert(caller, (round, i))),
            "shared" => {
                let other = self.shared.insert((round, i), caller);
                assert_eq!(other, None, "two creates of {} were acknowledged", shared(round, i));
            }
            _ => {}
        }
    }

    async fn check(&self, store: &LocalStore) {
        for &(round, caller, i) in &self.own {
            let name = own(round, caller, i);
            let found = store.get(&name).await.unwrap();
            let (read, _) = found.unwrap_or_else(|| panic!("{name} was acknowledged, but is missing"));
            assert_eq!(read, body(round, caller, i), "{name}");
        }
        for (&(round, i), caller) in &self.shared {
            let (read, _) = store.get(&shared(round, i)).await.unwrap().expect("it was acknowledged");
            assert_eq!(read, caller.to_string(), "{}", shared(round, i));
        }
        for (&caller, &(round, i)) in &self.counters {
            let (read, _) = store.get(&counter(caller)).await.unwrap().expect("it was acknowledged");
            let read = String::from_utf8(read.to_vec()).unwrap();
            let (read_round, read_i) = read.split_once(' ').unwrap();
            let read: (usize, usize) = (read_round.parse().unwrap(), read_i.parse().unwrap());
            // The next write may have been in flight.
            assert!(
                read >= (round, i),
                "counter of caller {caller} went back from {:?} to {read:?}",
                (round, i)
            );
        }
    }
}

fn child(dir: &Path, test: &str, round: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(DIR, dir).env(ROUND, round.to_string()).stdout(Stdio::piped());
    command
}

/// Runs a child [`KILLS`] times, kills it each time, and checks what it left against the ledger.
async fn kill_again_and_again(test: &str, ledger: &mut impl Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    println!("moments of the kills are drawn from seed {seed}");
    let mut state = u64::from(seed) | 1;
    for round in 0..KILLS {
        let mut child = child(dir.path(), test, round).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Two rounds in three are killed some time after the first acknowledgements, one in three
        // while it starts.
        let mut before = 0;
        if round % 3 != 2 {
            for line in lines.by_ref() {
                ledger.take(round, &line.unwrap());
                before += 1;
                if before > 3 {
                    break;
                }
            }
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Read on while the child runs, so that it never blocks on a full pipe.
        let reading = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_micros(state % 250_000));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in reading.join().unwrap() {
            ledger.take(round, &line);
        }
        let store = LocalStore::open(dir.path(), &Options::default()).expect("opens after a kill");
        ledger.check(&store).await;
    }
}

#[tokio::test]
async fn acknowledged_writes_survive_kills() {
    let mut acknowledged = Acknowledged::default();
    kill_again_and_again("child_that_writes_until_killed", &mut acknowledged).await;
    println!("{} creates, {} races, all there", acknowledged.own.len(), acknowledged.shared.len());
    assert!(acknowledged.own.len() > 100, "only {} writes were acknowledged", acknowledged.own.len());
}

/// A commit of a caller: of a record of its own, or of a record for which all callers race.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Committing {
    raced: bool,
    round: usize,
    caller: usize,
    i: usize,
}

impl Committing {
    const GROUPS: &[u8] = b"committed";

    fn record(self) -> Name {
        let Committing { raced, round, caller, i } = self;
        let own = if raced { String::new() } else { format!(" of {caller}") };
        Name::new(Space::Commit, format!("committed in {round}{own} as {i}"), "")
    }

    /// Returns the body of the record, which names the commit; every 16th is large enough for a
    /// file.
    fn body(self) -> Bytes {
        let Committing { raced, round, caller, i } = self;
        let head = format!("{} {round} {caller} {i} ", usize::from(raced));
        let len = if i % 16 == 5 { 66_000 } else { head.len() };
        head.bytes().chain(std::iter::repeat(b'.')).take(len).collect()
    }

    fn of_record(body: &[u8]) -> Committing {
        let text = String::from_utf8(body.to_vec()).unwrap();
        let mut words = text.split(' ').map(|word| word.parse().unwrap_or(usize::MAX));
        let mut next = || words.next().unwrap();
        let of = Committing { raced: next() == 1, round: next(), caller: next(), i: next() };
        assert_eq!(of.body(), body, "a record holds something else");
        of
    }

    fn entries(self) -> impl Iterator<Item = Name> {
        let Committing { raced, round, caller, i } = self;
        (0..1 + (caller + i) % 7).map(move |key| {
            let item = format!("{} {round} {caller} {i}", usize::from(raced));
            Name::new(Space::Version, format!("committed key {key}"), item)
        })
    }

    fn writes(self) -> Writes {
        let puts = self.entries().map(|name| (name, Bytes::new())).collect();
        Writes { create: Some((self.record(), self.body())), puts }
    }
}

/// Runs as the child; does nothing unless the parent has set the environment variables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_commits_until_killed() {
    let (Ok(dir), Ok(round)) = (std::env::var(DIR), std::env::var(ROUND)) else { return };
    let round: usize = round.parse().expect("a number");
    let store = Arc::new(LocalStore::open(dir, &Options::default()).expect("opens after every kill"));
    let callers = (0..CALLERS).map(|caller| {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0.. {
                for raced in [false, true] {
                    let commit = Committing { raced, round, caller, i };
                    let committed = store.commit(commit.writes()).await;
                    assert!(
                        committed.puts.iter().all(Result::is_ok),
                        "commits do not fail before the kill: {committed:?}"
                    );
                    match committed.created {
                        Some(Ok(Created::Created)) => {
                            say(&format!("{} {caller} {i}", if raced { "raced" } else { "alone" }));
                        }
                        Some(Ok(Created::Exists)) if raced => {}
                        other => panic!("a commit answered {other:?}"),
                    }
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("callers do not panic");
    }
}

/// All commits that were acknowledged so far.
#[derive(Default)]
struct AcknowledgedCommits {
    acknowledged: BTreeSet<Committing>,
    /// The number of commits that were found whole although their acknowledgement was not printed.
    unheard: AtomicUsize,
}

async fn scanned(store: &LocalStore, space: Space) -> BTreeSet<Name> {
    let (mut found, mut after) = (BTreeSet::new(), None);
    loop {
        let page = store.scan(space, Committing::GROUPS, after.as_ref(), 1000).await.unwrap();
        let last = page.names.last().cloned();
        found.extend(page.names.into_iter().map(|name| Name::new(space, name.group, name.item)));
        match last {
            Some(last) if page.more => after = Some(Position { group: last.group, item: Some(last.item) }),
            _ => return found,
        }
    }
}

impl Ledger for AcknowledgedCommits {
    fn take(&mut self, round: usize, line: &str) {
        let Some((what, caller, i)) = acknowledgement(line) else { return };
        if what == "raced" || what == "alone" {
            self.acknowledged.insert(Committing { raced: what == "raced", round, caller, i });
        }
    }

    /// Checks that all acknowledged commits are there, and that each record found has its entries,
    /// and each entry its record.
    async fn check(&self, store: &LocalStore) {
        let mut winners = BTreeSet::new();
        for record in scanned(store, Space::Commit).await {
            let (body, _) = store.get(&record).await.unwrap().expect("the scan found it");
            let winner = Committing::of_record(&body);
            assert_eq!(winner.record(), record, "a record under another name");
            winners.insert(winner);
        }
        let lost: Vec<_> = self.acknowledged.difference(&winners).collect();
        assert!(lost.is_empty(), "acknowledged commits are missing: {lost:?}");
        let entries: BTreeSet<Name> = winners.iter().flat_map(|winner| winner.entries()).collect();
        let found = scanned(store, Space::Version).await;
        let missing: Vec<_> = entries.difference(&found).map(Name::to_string).collect();
        assert!(missing.is_empty(), "records without their entries: {missing:?}");
        let stray: Vec<_> = found.difference(&entries).map(Name::to_string).collect();
        assert!(stray.is_empty(), "entries without their records: {stray:?}");
        self.unheard.store(winners.len() - self.acknowledged.len(), Ordering::Relaxed);
    }
}

#[tokio::test]
async fn acknowledged_commits_survive_kills_whole() {
    let mut commits = AcknowledgedCommits::default();
    kill_again_and_again("child_that_commits_until_killed", &mut commits).await;
    let (raced, alone): (Vec<Committing>, Vec<Committing>) =
        commits.acknowledged.iter().partition(|commit| commit.raced);
    let unheard = commits.unheard.into_inner();
    println!(
        "{} commits, {} races, {unheard} without a printed acknowledgement, all whole",
        alone.len(),
        raced.len()
    );
    assert!(alone.len() > 100 && raced.len() > 10, "{} and {} were acknowledged", alone.len(), raced.len());
}

fn filler(i: usize) -> (Name, Bytes) {
    (Name::new(Space::Version, "filler", format!("{i:06}")), Bytes::from(vec![i as u8; 60_000]))
}

fn no_flushes() -> Options {
    let mut options = Options::default();
    // No flush, so that the journal grows until it reaches the limit.
    options.memtable_bytes = 128 << 20;
    options
}

/// Runs as the child; does nothing unless the parent has set the environment variables.
#[tokio::test]
async fn child_that_writes_until_the_disk_is_full() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let store = LocalStore::open(dir, &no_flushes()).expect("there is room for an empty store");
    let mut i = 0;
    let error = loop {
        let (name, body) = filler(i);
        match store.put(&name, body).await {
            Ok(()) => say(&format!("own 0 {i}")),
            Err(error) => break error,
        }
        i += 1;
    };
    assert!(matches!(error, Error::NoAnswer(_)), "{error}");
    say(&format!("stopped: {error}"));
    // The tree is opened again, but the limit does not pass, so the store ends after some tries.
    let since = Instant::now();
    while store.ended().is_none() {
        assert!(since.elapsed() < Duration::from_secs(60), "the store should report that it needs a restart");
        let later = store.put(&filler(i).0, filler(i).1).await;
        assert!(
            matches!(later, Err(Error::NoAnswer(_) | Error::Busy(_) | Error::Refused(_))),
            "a write beyond the limit answered {later:?}"
        );
        assert_eq!(
            store.get(&filler(i).0).await.unwrap(),
            None,
            "a write without an answer has no effect later"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..3 {
        let later = store.put(&filler(i + 1).0, Bytes::from("small")).await;
        assert!(matches!(later, Err(Error::Refused(_))), "a write after a failed one answered {later:?}");
        let delete = store.delete(&[filler(0).0]).await;
        assert!(
            matches!(delete, Err(Error::Refused(_))),
            "a delete after a failed write answered {delete:?}"
        );
    }
    assert_eq!(store.get(&filler(0).0).await.unwrap().unwrap().0, filler(0).1, "reads should still work");
    say("refused as it should");
}

#[tokio::test]
async fn a_full_disk_loses_no_acknowledged_write() {
    let dir = tempfile::tempdir().unwrap();
    let plain = child(dir.path(), "child_that_writes_until_the_disk_is_full", 0);
    let mut limited = Command::new("sh");
    // The journal reserves 64 MiB, which is 131072 blocks; a little beyond it, writes fail with
    // EFBIG, as with ENOSPC on a full disk.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 132000; exec \"$@\"", "sh"]);
    limited.arg(plain.get_program()).args(plain.get_args());
    limited.env(DIR, dir.path()).env(ROUND, "0");
    let output = limited.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("refused as it should"), "{said}");
    let acknowledged = said.lines().filter(|line| line.starts_with("own ")).count();
    assert!(acknowledged > 1000, "only {acknowledged} writes before the limit");
    let store = LocalStore::open(dir.path(), &no_flushes()).expect("opens after a full disk");
    for i in 0..acknowledged {
        let (name, body) = filler(i);
        assert_eq!(store.get(&name).await.unwrap().expect("it was acknowledged").0, body, "{name}");
    }
    store
        .put(&filler(acknowledged + 5).0, Bytes::from("again"))
        .await
        .expect("writes work again without the limit");
}
