//! Goal: what was acknowledged survives the death of the process and a full disk; nothing is created twice. Method: this test binary runs itself as
//! a child that writes and prints each acknowledgement; the parent kills it with SIGKILL at random moments, or lets it run into a limit on
//! the size of files, then opens the directory and looks for everything that was printed.
//!
//! A process's death keeps what the kernel was given, so this does not test the sync itself: that needs a power cut.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aft_store::{Created, Error, Name, Space, Store};
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

/// What a caller writes as its i-th; every 16th is large enough for a file.
fn body(round: usize, caller: usize, i: usize) -> Bytes {
    let len = if i % 16 == 7 { 66_000 } else { 10 + i % 3000 };
    let text = format!("round {round} caller {caller} i {i} ");
    text.bytes().cycle().take(len).collect()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").expect("the parent reads");
}

/// The child: does nothing unless the parent asks for it.
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
                    .expect("no failures here");
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

/// Everything that was acknowledged so far.
#[derive(Default)]
struct Acknowledged {
    own: Vec<(usize, usize, usize)>,
    shared: BTreeMap<(usize, usize), usize>,
    counters: BTreeMap<usize, (usize, usize)>,
}

impl Acknowledged {
    /// Takes a line; what is not an acknowledgement is the test harness talking, or a line cut off by the kill.
    fn take(&mut self, round: usize, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, caller, i] = words[..] else { return };
        let (Ok(caller), Ok(i)) = (caller.parse(), i.parse()) else { return };
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
            let (read, _) = found.unwrap_or_else(|| panic!("{name} was acknowledged and is gone"));
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
            // The next one may have been on its way.
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

#[tokio::test]
async fn acknowledged_writes_survive_kills() {
    let dir = tempfile::tempdir().unwrap();
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    println!("moments of the kills are drawn from seed {seed}");
    let mut state = u64::from(seed) | 1;
    let mut acknowledged = Acknowledged::default();
    for round in 0..KILLS {
        let mut child = child(dir.path(), "child_that_writes_until_killed", round).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Count from the first acknowledgement, so that no round is all start-up. One round in three is killed while it starts.
        let mut before = 0;
        if round % 3 != 2 {
            for line in lines.by_ref() {
                acknowledged.take(round, &line.unwrap());
                before += 1;
                if before > 3 {
                    break;
                }
            }
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let reading = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_micros(state % 250_000));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in reading.join().unwrap() {
            acknowledged.take(round, &line);
        }
        let store = LocalStore::open(dir.path(), &Options::default()).expect("opens after a kill");
        acknowledged.check(&store).await;
    }
    println!("{} creates, {} races, all there", acknowledged.own.len(), acknowledged.shared.len());
    assert!(acknowledged.own.len() > 100, "only {} writes were acknowledged", acknowledged.own.len());
}

fn filler(i: usize) -> (Name, Bytes) {
    (Name::new(Space::Version, "filler", format!("{i:06}")), Bytes::from(vec![i as u8; 60_000]))
}

fn no_flushes() -> Options {
    let mut options = Options::default();
    // So that the journal grows until it meets the limit.
    options.memtable_bytes = 1 << 30;
    options
}

/// The child: does nothing unless the parent asks for it.
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
    assert!(store.ended().is_some(), "the store tells that only a restart helps");
    say(&format!("stopped: {error}"));
    for _ in 0..3 {
        let later = store.put(&filler(i + 1).0, Bytes::from("small")).await;
        assert!(matches!(later, Err(Error::Refused(_))), "a write after a failed one answered {later:?}");
        let delete = store.delete(&[filler(0).0]).await;
        assert!(
            matches!(delete, Err(Error::Refused(_))),
            "a delete after a failed write answered {delete:?}"
        );
    }
    assert_eq!(store.get(&filler(0).0).await.unwrap().unwrap().0, filler(0).1, "reads go on");
    say("refused as it should");
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let plain = child(dir.path(), "child_that_writes_until_the_disk_is_full", 0);
    let mut limited = Command::new("sh");
    // The journal reserves 64 MiB, which is 131072 blocks; a little beyond it, writes fail with EFBIG, as with ENOSPC on a full disk.
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
    store.put(&filler(acknowledged + 5).0, Bytes::from("again")).await.expect("there is room again");
}
