//! Goal: each piece of a commit has a fate of its own, or all have the same one; each answer is
//! true; and commits, scans and times are passed to the store inside as such. Method: the memory
//! store inside, which shows what took effect, and a store inside that records its calls.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use aft_store::{
    Capabilities, Committed, Created, Error, GroupPage, ItemPage, Name, Position, Replaced, Result, ScanPage,
    Space, Store, Tag, TimeHeard, Writes,
};
use aft_store_faulty::{Call, Counts, Faults, FaultyStore, Latency};
use aft_store_memory::MemoryStore;
use async_trait::async_trait;
use bytes::Bytes;

const ENTRIES: usize = 3;

fn faulty(seed: u64, faults: Faults) -> FaultyStore<MemoryStore> {
    FaultyStore::new(Arc::new(MemoryStore::new()), seed, faults)
}

fn record() -> Name {
    Name::new(Space::Commit, "request", "")
}

fn entry(i: usize) -> Name {
    Name::new(Space::Version, format!("key {i:03}"), "attempt")
}

fn writes(entries: usize) -> Writes {
    Writes {
        create: Some((record(), "record".into())),
        puts: (0..entries).map(|i| (entry(i), Bytes::new())).collect(),
    }
}

/// Returns the answers of the pieces, one letter for each, the record first.
fn letters(committed: &Committed) -> String {
    let letter = |error: &Error| match error {
        Error::NoAnswer(_) => 'n',
        Error::Busy(_) => 'b',
        error => panic!("{error}"),
    };
    let created = committed.created.as_ref().map(|created| match created {
        Ok(Created::Created) => 'c',
        Ok(Created::Exists) => 'e',
        Err(error) => letter(error),
    });
    let puts = committed.puts.iter().map(|put| put.as_ref().map_or_else(letter, |()| 'p'));
    created.into_iter().chain(puts).collect()
}

/// Returns one sign for each piece, the record first: `+` if it exists, `-` if not.
fn there(store: &FaultyStore<MemoryStore>, entries: usize) -> String {
    let names: Vec<Name> = store.inner().objects().into_iter().map(|(name, _)| name).collect();
    let pieces = std::iter::once(record()).chain((0..entries).map(entry));
    pieces.map(|piece| if names.contains(&piece) { '+' } else { '-' }).collect()
}

/// Checks `faults`, one fault that always happens, for pieces with fates of their own and for a
/// whole commit: the answers, and the pieces that exist at once and at last.
async fn check(faults: Faults, answers: &str, at_once: &str, at_last: &str) {
    for commit_whole in [0.0, 1.0] {
        let store = faulty(3, Faults { commit_whole, ..faults });
        let committed = store.commit(writes(ENTRIES)).await;
        assert_eq!(letters(&committed), answers, "{commit_whole} {faults:?}");
        assert_eq!(there(&store, ENTRIES), at_once, "{commit_whole} {faults:?} at once");
        store.quiesce().await;
        assert_eq!(there(&store, ENTRIES), at_last, "{commit_whole} {faults:?} at last");
        let counts = store.counts(Call::Commit);
        let expected = if commit_whole == 0.0 { 1 + ENTRIES as u64 } else { 1 };
        assert_eq!((counts.calls, counts.faults()), (1, expected), "{counts:?}");
        assert_eq!(store.counts_total(), counts);
    }
}

#[tokio::test]
async fn each_fault_has_its_documented_effect_on_commits() {
    let late = Latency::fixed(5_000);
    check(Faults { no_answer_done: 1.0, ..Faults::NONE }, "nnnn", "++++", "++++").await;
    check(Faults { no_answer_late: 1.0, late, ..Faults::NONE }, "nnnn", "----", "++++").await;
    check(Faults { no_answer_never: 1.0, ..Faults::NONE }, "nnnn", "----", "----").await;
    check(Faults { busy: 1.0, ..Faults::NONE }, "bbbb", "----", "----").await;
    check(Faults { twice: 1.0, ..Faults::NONE }, "eppp", "++++", "++++").await;
    check(Faults { again_late: 1.0, late, ..Faults::NONE }, "cppp", "++++", "++++").await;
}

#[tokio::test]
async fn without_faults_a_commit_is_passed_to_the_store_inside() {
    let store = faulty(1, Faults::NONE);
    assert_eq!(letters(&store.commit(writes(ENTRIES)).await), "cppp");
    assert_eq!(there(&store, ENTRIES), "++++");
    assert_eq!(letters(&store.commit(writes(ENTRIES)).await), "eppp");
    let alone = Writes { create: None, ..writes(1) };
    assert_eq!(store.commit(alone).await, Committed { created: None, puts: vec![Ok(())] });
    assert_eq!(store.commit(Writes::default()).await, Committed { created: None, puts: Vec::new() });
    assert_eq!(store.counts(Call::Commit), Counts { calls: 4, ..Counts::default() });
}

/// Shows that every mix of record and entry comes up, at once and at last: both, one without the
/// other, neither. A piece that answered `Ok` exists, and one that answered `Busy` does not.
#[tokio::test]
async fn pieces_have_independent_fates() {
    let faults = Faults {
        no_answer_done: 0.15,
        no_answer_late: 0.25,
        no_answer_never: 0.15,
        busy: 0.15,
        late: Latency::Uniform { min_us: 2_000, max_us: 6_000 },
        ..Faults::NONE
    };
    let (mut at_once, mut at_last) = (Vec::new(), Vec::new());
    let mut late_one_by_one = false;
    for seed in 0..60 {
        let store = faulty(seed, faults);
        let committed = store.commit(writes(1)).await;
        let answers = letters(&committed);
        at_once.push(there(&store, 1));
        store.quiesce().await;
        at_last.push(there(&store, 1));
        for ((answer, once), last) in
            answers.chars().zip(at_once[seed as usize].chars()).zip(at_last[seed as usize].chars())
        {
            match answer {
                'c' | 'p' => assert_eq!(
                    (once, last),
                    ('+', '+'),
                    "seed {seed}: a piece answered Ok, but does not exist"
                ),
                'b' => assert_eq!((once, last), ('-', '-'), "seed {seed}: a piece answered Busy, but exists"),
                'n' => late_one_by_one |= (once, last) == ('-', '+'),
                other => panic!("seed {seed}: {other}"),
            }
        }
    }
    for mix in ["++", "+-", "-+", "--"] {
        assert!(at_once.iter().any(|there| there == mix), "{mix} never came up at once: {at_once:?}");
        assert!(at_last.iter().any(|there| there == mix), "{mix} never came up at last: {at_last:?}");
    }
    assert!(late_one_by_one, "no piece landed late");
    // A large commit has pieces of every fate.
    let store = faulty(7, faults);
    let committed = store.commit(writes(60)).await;
    for letter in ['p', 'n', 'b'] {
        assert!(letters(&committed).contains(letter), "{letter} never came up");
    }
    let counts = store.counts(Call::Commit);
    assert!(
        counts.no_answer_done > 0 && counts.no_answer_late > 0 && counts.no_answer_never > 0,
        "{counts:?}"
    );
    assert_eq!(counts.calls, 1);
}

/// Shows that a commit with one fate exists whole or not at all, at every moment.
#[tokio::test]
async fn a_commit_with_one_fate_is_never_partial() {
    let faults = Faults { commit_whole: 1.0, ..Faults::all(0.15, Latency::None, Latency::fixed(2_000)) };
    let mut seen = Vec::new();
    for seed in 0..40 {
        let store = faulty(seed, faults);
        store.commit(writes(ENTRIES)).await;
        seen.push(there(&store, ENTRIES));
        store.quiesce().await;
        seen.push(there(&store, ENTRIES));
    }
    assert!(seen.iter().all(|there| there == "++++" || there == "----"), "{seen:?}");
    assert!(seen.contains(&"++++".to_owned()) && seen.contains(&"----".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_fates() {
    let faults = Faults::all(0.12, Latency::None, Latency::None);
    let run = async |seed: u64| {
        let store = faulty(seed, faults);
        let mut answers = Vec::new();
        for _ in 0..20 {
            answers.push(letters(&store.commit(writes(5)).await));
        }
        answers
    };
    let first = run(11).await;
    assert_eq!(first, run(11).await);
    assert_ne!(first, run(12).await);
}

#[tokio::test]
async fn a_scan_is_delayed_or_not_answered() {
    let store = faulty(1, Faults { latency: Latency::fixed(3_000), ..Faults::NONE });
    store.inner().commit(writes(ENTRIES)).await;
    let start = Instant::now();
    let page = store.scan(Space::Version, b"key", None, 10).await.expect("nothing fails");
    assert_eq!(page.names.len(), ENTRIES);
    assert!(start.elapsed().as_micros() >= 3_000, "{:?}", start.elapsed());
    for (faults, busy) in [
        (Faults { no_answer_never: 1.0, ..Faults::NONE }, false),
        (Faults { no_answer_done: 1.0, ..Faults::NONE }, false),
        (Faults { busy: 1.0, ..Faults::NONE }, true),
    ] {
        store.set_faults(faults);
        let answer = store.scan(Space::Version, b"key", None, 10).await;
        assert!(matches!(answer, Err(Error::Busy(_))) == busy && answer.is_err(), "{answer:?}");
    }
    assert_eq!(store.counts(Call::Scan).calls, 4);
    assert_eq!(store.counts(Call::Scan).faults(), 3);
    assert_eq!(store.counts(Call::List).calls + store.counts(Call::Groups).calls, 0);
}

/// A store that records its calls, and returns the times that it was made with.
#[derive(Debug, Default)]
struct Noting {
    inner: MemoryStore,
    asked: Mutex<Vec<&'static str>>,
    times: Mutex<Vec<TimeHeard>>,
}

impl Noting {
    fn note(&self, call: &'static str) -> &MemoryStore {
        self.asked.lock().expect("nothing panics").push(call);
        &self.inner
    }
}

#[async_trait]
impl Store for Noting {
    fn url(&self) -> String {
        "noting:".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn times_heard(&self) -> Vec<TimeHeard> {
        std::mem::take(&mut self.times.lock().expect("nothing panics"))
    }

    async fn commit(&self, writes: Writes) -> Committed {
        self.note("commit").commit(writes).await
    }

    async fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<ScanPage> {
        self.note("scan").scan(space, prefix, after, limit).await
    }

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        self.note("get").get(name).await
    }

    async fn put(&self, name: &Name, body: Bytes) -> Result<()> {
        self.note("put").put(name, body).await
    }

    async fn create(&self, name: &Name, body: Bytes) -> Result<Created> {
        self.note("create").create(name, body).await
    }

    async fn replace(&self, name: &Name, tag: &Tag, body: Bytes) -> Result<Replaced> {
        self.note("replace").replace(name, tag, body).await
    }

    async fn delete(&self, names: &[Name]) -> Result<()> {
        self.note("delete").delete(names).await
    }

    async fn delete_if(&self, name: &Name, tag: &Tag) -> Result<Replaced> {
        self.note("delete_if").delete_if(name, tag).await
    }

    async fn list(&self, space: Space, group: &[u8], after: Option<&[u8]>, limit: usize) -> Result<ItemPage> {
        self.note("list").list(space, group, after, limit).await
    }

    async fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GroupPage> {
        self.note("groups").groups(space, prefix, after, limit).await
    }
}

#[tokio::test]
async fn commits_scans_and_times_pass_through() {
    let now = Instant::now();
    let time = TimeHeard { sent: now, received: now, at_ms: 5, span_ms: 1000 };
    let inner = Arc::new(Noting { times: Mutex::new(vec![time]), ..Noting::default() });
    let store = FaultyStore::new(inner.clone(), 1, Faults::NONE);
    store.commit(writes(ENTRIES)).await;
    store.scan(Space::Version, b"", None, 10).await.expect("nothing fails");
    assert_eq!(*inner.asked.lock().expect("nothing panics"), ["commit", "scan"]);
    assert_eq!(store.times_heard(), [time]);
    assert_eq!(store.times_heard(), []);
}
