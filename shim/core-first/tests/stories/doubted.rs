//! Goal: a commit whose outcome was unknown, once it is found to have committed and somebody was told, is not lost sight of on its own node: the node
//! publishes it, and until then reads it, however often it lists the key.
//!
//! Method: where others write too, the store, played by hand, takes the record without an answer, and nothing else, until the attempt's time is over. The
//! request is looked up, much time passes, and the key is read, while the store takes no version entry. A store that died in the middle of a load
//! and came back showed this: a request was replayed, its entry was read, and then was gone for a while.

use std::sync::Arc;

use aft_core_first::ids::{AttemptId, Key, RequestHash};
use aft_core_first::message::{Batch, Begin, CommitArgs, Found, Op, Refusal, Reply, Verb};
use aft_core_first::record::{Location, Record, Value};
use aft_core_first::settings::Settings;
use aft_core_first::store::{Answer, Body, Call, CallError, Name, Tag};
use bytes::Bytes;

use crate::by_hand::{Store, World, opening};

const HASH: RequestHash = RequestHash([1; 32]);
const ATTEMPT: AttemptId = AttemptId([1; 16]);

#[derive(Default)]
struct Doubtful {
    record: Option<Arc<Record>>,
    /// Version entries that the node tried to put.
    published: usize,
    /// It answers creates.
    well: bool,
    /// What it holds as a commit record is damaged.
    damaged: bool,
}

impl Store for Doubtful {
    fn answer(&mut self, call: Call) -> Answer {
        let stood = self.record.is_some();
        if let Call::Create(_, Body::Record(record)) = &call {
            self.record = Some(record.clone());
        }
        if let Call::Put(Name::Version(..), _) = &call {
            self.published += 1;
            return Answer::Failed(CallError::NoAnswer);
        }
        match call {
            Call::Create(..) if self.well && stood => Answer::Exists,
            Call::Create(..) if self.well => Answer::Created,
            Call::Create(..) => Answer::Failed(CallError::NoAnswer),
            Call::Get(Name::Commit(_)) if self.damaged => {
                Answer::Failed(CallError::Damaged("commit/01 ends early".into()))
            }
            Call::Get(Name::Commit(_)) | Call::Fetch { .. } => {
                Answer::Got(self.record.clone().map(|record| (Body::Record(record), Tag(Bytes::new()))))
            }
            Call::Get(_) => Answer::Got(None),
            Call::List { .. } => Answer::Listed { names: Vec::new(), more: false },
            Call::Put(..) => Answer::Done,
            other => panic!("nothing here asks {other:?}"),
        }
    }
}

fn write(key: &Key) -> Batch {
    let bytes = Bytes::from_static(b"v");
    let value =
        Value { size: 1, location: Location::Inline(bytes), etag: Bytes::new(), attributes: Bytes::new() };
    Batch { ops: vec![Op::Put(key.clone(), value)], commit: Some(CommitArgs::default()) }
}

/// The named request that writes `k`, whose outcome is in doubt.
fn doubted() -> Verb {
    let batch = write(&Key::parse("k").unwrap());
    Verb::Begin(Box::new(Begin { named: true, ..opening(1, batch) }))
}

fn world() -> World<Doubtful> {
    World::new(Settings::new(false, 3_600_000, true), Doubtful::default())
}

#[test]
fn a_doubted_commit_that_was_told_stays_in_sight() {
    let settings = Settings::new(false, 3_600_000, true);
    let (timeout_ms, recheck_ms) = (settings.timeout_default_ms, settings.recheck_after_ms);
    let mut world = world();
    world.send(doubted());
    world.pass(timeout_ms + 1);
    assert_eq!(world.replies.pop(), Some(Err(Refusal::Unknown(HASH))));

    let found = world.ask(Verb::LookUp(HASH));
    assert!(matches!(found, Ok(Reply::Found(_))), "{found:?}");
    assert!(world.store.published > 0, "nobody publishes it");
    for n in 2..5 {
        world.pass(3 * recheck_ms);
        let get = Op::Get(Key::parse("k").unwrap());
        let batch = Batch { ops: vec![get], commit: Some(CommitArgs::default()) };
        let read = world.ask(Verb::Begin(Box::new(opening(n, batch))));
        let Ok(Reply::Begun { reads, .. }) = read else { panic!("{read:?}") };
        assert!(matches!(reads[0].found, Found::Version(txn, _) if txn.attempt == ATTEMPT), "{reads:?}");
    }
}

/// A client with a store that was dead waited for a minute, its transaction's time, before it heard anything at all.
#[test]
fn who_waits_for_a_commit_is_told_soon_and_the_commit_goes_on() {
    let settings = Settings::new(false, 3_600_000, true);
    let patience_ms = settings.commit_patience_ms;
    assert!(patience_ms < settings.timeout_default_ms / 2);
    let mut world = world();
    world.send(doubted());
    world.pass(patience_ms - 1);
    assert_eq!(world.replies, []);
    world.pass(1);
    assert_eq!(std::mem::take(&mut world.replies), [Err(Refusal::Unknown(HASH))]);

    // Asked again, it is the same commit, with a patience of its own.
    for _ in 0..2 {
        world.send(Verb::Commit(ATTEMPT, CommitArgs::default()));
        world.pass(patience_ms / 3);
    }
    assert_eq!(world.replies, []);
    world.pass(patience_ms / 3);
    assert_eq!(std::mem::take(&mut world.replies), [Err(Refusal::Unknown(HASH))]);
    // And it has never stopped: when the store is well again, who still waits hears that it committed.
    world.store.well = true;
    world.pass(2_000);
    let told = std::mem::take(&mut world.replies);
    assert!(matches!(&told[..], [Ok(Reply::Committed(committed))] if committed.txn.is_some()), "{told:?}");
    assert!(world.store.published > 0, "nobody publishes it");
}

/// It was told as an error of the server alone, which clients take for an end: whether the transaction committed is open all the same.
#[test]
fn a_damaged_record_leaves_the_outcome_unknown_and_is_named() {
    let mut world = world();
    world.send(doubted());
    (world.store.well, world.store.damaged) = (true, true);
    world.pass(2_000);
    let unknown = Refusal::UnknownDamaged(HASH, "commit/01 ends early".into());
    assert_eq!(std::mem::take(&mut world.replies), [Err(unknown.clone())]);
    assert_eq!(world.ask(Verb::Commit(ATTEMPT, CommitArgs::default())), Err(unknown));
    world.store.damaged = false;
    let told = world.ask(Verb::Commit(ATTEMPT, CommitArgs::default()));
    assert!(matches!(told, Ok(Reply::Committed(_))), "{told:?}");
}

#[test]
fn a_transaction_leads_to_its_request() {
    let mut world = world();
    world.store.well = true;
    world.send(doubted());
    assert!(matches!(world.replies.pop(), Some(Ok(Reply::Begun { committed: Some(_), .. }))));
    let other = RequestHash([9; 32]);
    let found = world.ask(Verb::LookUpOf(ATTEMPT, other));
    assert!(matches!(&found, Ok(Reply::Found(record)) if record.hash == HASH), "{found:?}");
}
