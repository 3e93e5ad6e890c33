//! Goal: what a node has only heard of is not taken from its value cache (protocol, sections 5.4 and 8).
//!
//! Method: a transaction wrote a key long ago, and this node still holds the value in its cache. A later transaction deleted the key; both have been
//! collected since, the tombstone too. Now a late tell of the first one arrives. The store, played by hand, shows nothing of the key; the cache would
//! answer. The read must find the key absent.

use std::sync::Arc;

use aft_core_first::ids::{AttemptId, Hlc, Key, NodeId, RequestHash, TxnId};
use aft_core_first::message::{Batch, Found, Header, Input, Op, Reply, Tell, Verb};
use aft_core_first::record::{Kind, Location, Meta, Value, Write};
use aft_core_first::settings::Settings;
use aft_core_first::store::{Answer, Call};
use bytes::Bytes;

use crate::by_hand::{Store, WALL_MS, World, opening};

fn value() -> Write {
    let bytes = Bytes::from_static(b"gone");
    let (size, none) = (bytes.len() as u64, Bytes::new());
    Write::Put(Value { location: Location::Inline(bytes), size, etag: none.clone(), attributes: none })
}

/// What was asked of a store and a value cache that show nothing of the key, and its value.
#[derive(Default)]
struct Cached(Vec<Call>);

impl Store for Cached {
    fn answer(&mut self, call: Call) -> Answer {
        let answer = match &call {
            Call::List { .. } => Answer::Listed { names: Vec::new(), more: false },
            Call::Get(_) => Answer::Got(None),
            Call::Fetch { .. } => Answer::Cached(value()),
            other => panic!("a read does not ask {other:?}"),
        };
        self.0.push(call);
        answer
    }
}

#[test]
fn a_late_tell_brings_no_collected_value_back() {
    let mut world = World::new(Settings::new(false, 3_600_000, true), Cached::default());
    let key = Key::parse("k").unwrap();
    let txn = TxnId { time: Hlc::from_ms(WALL_MS - 20 * 86_400_000), attempt: AttemptId([7; 16]) };
    let writes = Arc::from([(key.clone(), value().meta())]);
    assert_eq!(value().meta(), Meta { kind: Kind::Inline, size: 4, etag: Bytes::new() });
    let header = Arc::new(Header { txn, hash: RequestHash([7; 32]), writes });
    let tell = Tell { sequence: 1, time: Hlc::from_ms(WALL_MS), commits: vec![header] };
    world.step(Input::Heard(NodeId(2), tell));
    let opening = opening(1, Batch::default());
    let attempt = opening.attempt;
    world.begin(opening);
    let read = world.ask(Verb::Run(attempt, Batch { ops: vec![Op::Get(key)], commit: None }));
    let asked = &world.store.0;
    let Ok(Reply::Ran { reads, .. }) = read else { panic!("{read:?}, after {asked:?}") };
    assert_eq!(reads[0].found, Found::Absent, "after {asked:?}");
}
