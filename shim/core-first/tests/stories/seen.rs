//! Goal: who presents a session never reads a key older than what the session has seen, also when its commit has been collected (protocol, sections 5.4 and 6).
//!
//! Method: the store is played by hand. The session's commit wrote k0 and k1; it is slim, since newer versions of both are there: `A` wrote k0, `B` wrote k0 and k1. But of
//! `B`, whose publisher died, k0's entry is missing. So whoever reads k0 finds `A`, must then reject `B` at k1, and comes to `Old`. Without a session that is a right
//! answer; with it, it is older than what was seen.

use std::sync::Arc;

use aft_core_first::ids::{AttemptId, Hlc, Key, RequestHash, SessionEntry, TxnId};
use aft_core_first::message::{Batch, Begin, Found, Op, Refusal, Reply, Verb};
use aft_core_first::record::{Location, Record, Value, VersionEntry, Write, Writes};
use aft_core_first::settings::Settings;
use aft_core_first::store::{Answer, Body, Call, Group, Name, Tag};
use bytes::Bytes;

use crate::by_hand::{Store, WALL_MS, World, opening};

/// The transactions, oldest first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Txn {
    Old = 1,
    Seen,
    A,
    B,
}

const ALL: [Txn; 4] = [Txn::Old, Txn::Seen, Txn::A, Txn::B];

impl Txn {
    fn id(self) -> TxnId {
        TxnId { time: Hlc::from_ms(WALL_MS - 100_000 + self as u64), attempt: AttemptId([self as u8; 16]) }
    }

    fn hash(self) -> RequestHash {
        RequestHash([self as u8; 32])
    }

    fn keys(self) -> Vec<Key> {
        let names: &[&str] = match self {
            Txn::Old => &["k1"],
            Txn::A => &["k0"],
            Txn::Seen | Txn::B => &["k0", "k1"],
        };
        names.iter().map(|name| Key::parse(name).unwrap()).collect()
    }

    fn record(self) -> Arc<Record> {
        let keys = self.keys();
        let writes = match self {
            Txn::Seen => Writes::Slim(keys.into()),
            Txn::Old | Txn::A | Txn::B => {
                Writes::Full(keys.into_iter().map(|key| (key, self.write())).collect())
            }
        };
        Arc::new(Record {
            txn: self.id(),
            hash: self.hash(),
            named: false,
            fingerprint: None,
            retention_ms: 3_600_000,
            result: None,
            large_result: None,
            blobs: 0,
            writes,
        })
    }

    fn write(self) -> Write {
        let bytes = Bytes::copy_from_slice(&[self as u8]);
        Write::Put(Value {
            location: Location::Inline(bytes),
            size: 1,
            etag: Bytes::new(),
            attributes: Bytes::new(),
        })
    }

    fn entry(self) -> VersionEntry {
        let cowritten = self.keys().len() as u32;
        VersionEntry { txn: self.id(), hash: self.hash(), meta: self.write().meta(), cowritten }
    }
}

/// A store that holds these, but for `B`'s entry of k0.
struct HalfPublished;

impl Store for HalfPublished {
    fn answer(&mut self, call: Call) -> Answer {
        let record = |hash: &RequestHash| {
            let found = ALL.into_iter().find(|txn| txn.hash() == *hash);
            Answer::Got(found.map(|txn| (Body::Record(txn.record()), Tag(Bytes::from_static(b"tag")))))
        };
        match &call {
            Call::List { group: Group::Versions(key), after, .. } => {
                let after = after.as_ref().map(|name| match name {
                    Name::Version(_, entry) => entry.txn,
                    other => panic!("{other:?} is no version"),
                });
                let listed = ALL.into_iter().rev().filter(|txn| {
                    let is_missing = *txn == Txn::B && key.as_str() == "k0";
                    txn.keys().contains(key) && !is_missing && after.is_none_or(|after| txn.id() < after)
                });
                let names = listed.map(|txn| Name::Version(key.clone(), txn.entry())).collect();
                Answer::Listed { names, more: false }
            }
            Call::Get(Name::Commit(hash)) | Call::Fetch { hash, .. } => record(hash),
            Call::Get(_) => Answer::Got(None),
            Call::Put(..) => Answer::Done,
            other => panic!("a read does not ask {other:?}"),
        }
    }
}

/// Reads keys one after the other, in a transaction with this session.
fn read(session: &[Txn], keys: [&str; 2]) -> Vec<Result<Found, Refusal>> {
    let mut world = World::new(Settings::new(false, 3_600_000, true), HalfPublished);
    let session = session.iter().map(|txn| SessionEntry { txn: txn.id(), hash: txn.hash() }).collect();
    let opening = Begin { session, ..opening(9, Batch::default()) };
    let attempt = opening.attempt;
    world.begin(opening);
    let get = |key: &str| {
        let batch = Batch { ops: vec![Op::Get(Key::parse(key).unwrap())], commit: None };
        match world.ask(Verb::Run(attempt, batch))? {
            Reply::Ran { reads, .. } => Ok(reads[0].found.clone()),
            other => panic!("{other:?}"),
        }
    };
    keys.map(get).into()
}

fn found(txn: Txn) -> Result<Found, Refusal> {
    Ok(Found::Version(txn.id(), txn.write()))
}

#[test]
fn what_a_session_has_seen_is_not_unseen() {
    assert_eq!(
        read(&[], ["k0", "k1"]),
        [found(Txn::A), found(Txn::Old)],
        "read atomic, and nothing was seen"
    );
    let gone = Err(Refusal::SnapshotGone(Key::parse("k1").unwrap()));
    assert_eq!(read(&[Txn::Seen], ["k0", "k1"]), [found(Txn::A), gone], "the request is to run again");
    // In the other order there is nothing to reject.
    assert_eq!(read(&[Txn::Seen], ["k1", "k0"]), [found(Txn::B), found(Txn::B)]);
    // A session that has seen less is none the worse.
    assert_eq!(read(&[Txn::Old], ["k0", "k1"]), [found(Txn::A), found(Txn::Old)]);
}
