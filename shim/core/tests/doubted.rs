//! Goal: a commit whose outcome was unknown, once it is found to have committed and somebody was told, is not lost sight of on its own node: the node
//! publishes it, and until then reads it, however often it lists the key.
//!
//! Method: where others write too, the store, played by hand, takes the record without an answer, and nothing else, until the attempt's time is over. The
//! request is looked up, much time passes, and the key is read, while the store takes no version entry. A store that died in the middle of a load
//! and came back showed this: a request was replayed, its entry was read, and then was gone for a while.

use std::collections::VecDeque;
use std::sync::Arc;

use aft_core::Node;
use aft_core::ids::{AttemptId, Key, NodeId, RequestHash};
use aft_core::message::{
    Batch, Begin, CommitArgs, Found, Input, Now, Op, Output, Refusal, Reply, Ticket, Verb, Visibility,
};
use aft_core::record::{Location, Record, Value};
use aft_core::settings::Settings;
use aft_core::store::{Answer, Body, Call, CallError, Name, Tag};
use bytes::Bytes;

const WALL_MS: u64 = 1_700_000_000_000;
const HASH: RequestHash = RequestHash([1; 32]);

struct World {
    node: Node,
    at_ms: u64,
    record: Option<Arc<Record>>,
    /// Version entries that the node tried to put.
    published: usize,
    replies: Vec<Result<Reply, Refusal>>,
}

impl World {
    fn step(&mut self, input: Input) {
        let now = Now { wall_ms: WALL_MS + self.at_ms, mono_ms: self.at_ms };
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut outputs = Vec::new();
            self.node.step(now, input, &mut outputs);
            for output in outputs {
                match output {
                    Output::Call(id, call) => inputs.push_back(Input::Answer(id, self.answer(call))),
                    Output::Reply(_, reply) => self.replies.push(reply),
                    Output::Tell(_) | Output::Note(_) => {}
                }
            }
        }
    }

    fn answer(&mut self, call: Call) -> Answer {
        if let Call::Create(_, Body::Record(record)) = &call {
            self.record = Some(record.clone());
        }
        if let Call::Put(Name::Version(..), _) = &call {
            self.published += 1;
            return Answer::Failed(CallError::NoAnswer);
        }
        match call {
            Call::Create(..) => Answer::Failed(CallError::NoAnswer),
            Call::Get(Name::Commit(_)) | Call::Fetch { .. } => {
                Answer::Got(self.record.clone().map(|record| (Body::Record(record), Tag(Bytes::new()))))
            }
            Call::Get(_) => Answer::Got(None),
            Call::List { .. } => Answer::Listed { names: Vec::new(), more: false },
            Call::Put(..) => Answer::Done,
            other => panic!("nothing here asks {other:?}"),
        }
    }

    /// Lets time pass, waking the node whenever it wants to be woken.
    fn pass(&mut self, ms: u64) {
        let until = self.at_ms + ms;
        while let Some(wake) = self.node.next_wake().filter(|wake| *wake <= until) {
            self.at_ms = self.at_ms.max(wake);
            self.step(Input::Wake);
        }
        self.at_ms = until;
    }

    fn ask(&mut self, verb: Verb) -> Result<Reply, Refusal> {
        self.step(Input::Verb(Ticket(self.at_ms), verb));
        self.replies.pop().expect("it is answered at once")
    }
}

fn begin(attempt: AttemptId, hash: RequestHash, batch: Batch) -> Verb {
    Verb::Begin(Box::new(Begin {
        attempt,
        hash,
        named: true,
        fingerprint: None,
        timeout_ms: None,
        wait_ms: 0,
        overlap: false,
        session: Vec::new(),
        retention_ms: None,
        visibility: Visibility::Relaxed,
        batch,
    }))
}

#[test]
fn a_doubted_commit_that_was_told_stays_in_sight() {
    let settings = Settings::new(false, 3_600_000, true);
    let (timeout_ms, recheck_ms) = (settings.timeout_default_ms, settings.recheck_after_ms);
    let node = Node::new(NodeId(1), settings);
    let mut world = World { node, at_ms: 1_000, record: None, published: 0, replies: Vec::new() };
    let key = Key::parse("k").unwrap();
    let bytes = Bytes::from_static(b"v");
    let value =
        Value { size: 1, location: Location::Inline(bytes), etag: Bytes::new(), attributes: Bytes::new() };
    let batch = Batch { ops: vec![Op::Put(key.clone(), value)], commit: Some(CommitArgs::default()) };
    world.step(Input::Verb(Ticket(1), begin(AttemptId([1; 16]), HASH, batch)));
    world.pass(timeout_ms + 1);
    assert_eq!(world.replies.pop(), Some(Err(Refusal::Unknown(HASH))));

    let found = world.ask(Verb::LookUp(HASH));
    assert!(matches!(found, Ok(Reply::Found(_))), "{found:?}");
    assert!(world.published > 0, "nobody publishes it");
    for n in 2..5 {
        world.pass(3 * recheck_ms);
        let get = Batch { ops: vec![Op::Get(key.clone())], commit: Some(CommitArgs::default()) };
        let (attempt, hash) = (AttemptId([n; 16]), RequestHash([n; 32]));
        let mut opening = begin(attempt, hash, get);
        if let Verb::Begin(begin) = &mut opening {
            begin.named = false;
        }
        let read = world.ask(opening);
        let Ok(Reply::Begun { reads, .. }) = read else { panic!("{read:?}") };
        assert!(
            matches!(reads[0].found, Found::Version(txn, _) if txn.attempt == AttemptId([1; 16])),
            "{reads:?}"
        );
    }
}
