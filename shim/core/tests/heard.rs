//! Goal: what a node has only heard of is not taken from its value cache (protocol, sections 5.4 and 8).
//!
//! Method: a transaction wrote a key long ago, and this node still holds the value in its cache. A later transaction deleted the key; both have been
//! collected since, the tombstone too. Now a late tell of the first one arrives. The store, played by hand, shows nothing of the key; the cache would
//! answer. The read must find the key absent.

#![expect(clippy::unwrap_used, reason = "a failed test says where")]

use std::collections::VecDeque;
use std::sync::Arc;

use aft_core::Node;
use aft_core::ids::{AttemptId, Hlc, Key, NodeId, RequestHash, TxnId};
use aft_core::message::{
    Batch, Begin, Found, Header, Input, Now, Op, Output, Reply, Tell, Ticket, Verb, Visibility,
};
use aft_core::record::{Kind, Location, Meta, Value, Write};
use aft_core::settings::Settings;
use aft_core::store::{Answer, Call};
use bytes::Bytes;

const WALL_MS: u64 = 1_700_000_000_000;

fn value() -> Write {
    let bytes = Bytes::from_static(b"gone");
    let (size, none) = (bytes.len() as u64, Bytes::new());
    Write::Put(Value { location: Location::Inline(bytes), size, etag: none.clone(), attributes: none })
}

/// Steps the node, answering every call as the store and the value cache would; the replies.
fn step(node: &mut Node, input: Input, asked: &mut Vec<Call>) -> Vec<Reply> {
    let now = Now { wall_ms: WALL_MS, mono_ms: 1_000 };
    let mut inputs = VecDeque::from([input]);
    let mut replies = Vec::new();
    while let Some(input) = inputs.pop_front() {
        let mut outputs = Vec::new();
        node.step(now, input, &mut outputs);
        for output in outputs {
            match output {
                Output::Call(id, call) => {
                    let answer = match &call {
                        Call::List { .. } => Answer::Listed { names: Vec::new(), more: false },
                        Call::Get(_) => Answer::Got(None),
                        Call::Fetch { .. } => Answer::Cached(value()),
                        other => panic!("a read does not ask {other:?}"),
                    };
                    asked.push(call);
                    inputs.push_back(Input::Answer(id, answer));
                }
                Output::Reply(_, reply) => replies.push(reply.unwrap()),
                Output::Tell(_) | Output::Note(_) => {}
            }
        }
    }
    replies
}

#[test]
fn a_late_tell_brings_no_collected_value_back() {
    let mut node = Node::new(NodeId(1), Settings::new(false, 3_600_000, true));
    let key = Key::parse("k").unwrap();
    let txn = TxnId { time: Hlc::from_ms(WALL_MS - 20 * 86_400_000), attempt: AttemptId([7; 16]) };
    let writes = Arc::from([(key.clone(), value().meta())]);
    assert_eq!(value().meta(), Meta { kind: Kind::Inline, size: 4, etag: Bytes::new() });
    let header = Arc::new(Header { txn, hash: RequestHash([7; 32]), writes });
    let mut asked = Vec::new();
    let tell = Tell { sequence: 1, time: Hlc::from_ms(WALL_MS), commits: vec![header] };
    step(&mut node, Input::Heard(NodeId(2), tell), &mut asked);
    let attempt = AttemptId([1; 16]);
    let begin = Begin {
        attempt,
        hash: RequestHash([1; 32]),
        named: false,
        fingerprint: None,
        timeout_ms: None,
        wait_ms: 0,
        overlap: false,
        session: Vec::new(),
        retention_ms: None,
        visibility: Visibility::Relaxed,
        batch: Batch { ops: Vec::new(), commit: None },
    };
    step(&mut node, Input::Verb(Ticket(1), Verb::Begin(Box::new(begin))), &mut asked);
    let get = Batch { ops: vec![Op::Get(key)], commit: None };
    let replies = step(&mut node, Input::Verb(Ticket(2), Verb::Run(attempt, get)), &mut asked);
    let [Reply::Ran { reads, .. }] = replies.as_slice() else { panic!("{replies:?}, after {asked:?}") };
    assert_eq!(reads[0].found, Found::Absent, "after {asked:?}");
}
