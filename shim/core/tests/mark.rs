//! Goal: on a store that one node holds alone, an attempt whose outcome was unknown and whose intent never landed does not hold the recovery mark back for
//! the life of the process; as long as its intent could still land, it does.
//!
//! Method: the store, played by hand, gives no answer to anything that an attempt writes, and holds nothing of it. The clocks go on past the attempt's
//! deadline and the longest wait for late calls; the marks that the node puts are read.

use std::collections::VecDeque;

use aft_core::Node;
use aft_core::ids::{AttemptId, Hlc, Key, NodeId, RequestHash};
use aft_core::message::{
    Batch, Begin, CommitArgs, Input, Now, Op, Output, Refusal, Reply, Ticket, Verb, Visibility,
};
use aft_core::record::{Location, Value};
use aft_core::settings::Settings;
use aft_core::store::{Answer, Body, Call, CallError, Name};
use bytes::Bytes;

const WALL_MS: u64 = 1_700_000_000_000;
const MINUTE_MS: u64 = 60_000;
const GRACE_MS: u64 = 10 * MINUTE_MS;
const LOST: AttemptId = AttemptId([1; 16]);

struct World {
    node: Node,
    /// Since the start; both clocks.
    at_ms: u64,
    marks: Vec<Hlc>,
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
                    Output::Call(id, call) => inputs.push_back(Input::Answer(id, self.answer(&call))),
                    Output::Reply(_, reply) => self.replies.push(reply),
                    Output::Tell(_) | Output::Note(_) => {}
                }
            }
        }
    }

    fn answer(&mut self, call: &Call) -> Answer {
        match call {
            Call::Put(Name::Entered, Body::Entered(mark)) => {
                self.marks.push(*mark);
                Answer::Done
            }
            Call::Put(Name::Intent(_), _) | Call::Create(..) => Answer::Failed(CallError::NoAnswer),
            Call::List { .. } => Answer::Listed { names: Vec::new(), more: false },
            Call::Groups { .. } => Answer::Minutes { minutes: Vec::new(), more: false },
            Call::Get(_) => Answer::Got(None),
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
}

#[test]
fn an_intent_that_never_landed_holds_the_mark_back_only_while_it_could_land() {
    let settings = Settings::new(true, GRACE_MS, true);
    let (timeout_ms, wait_ms) = (settings.timeout_default_ms, settings.timeout_max_ms + GRACE_MS);
    let slack_ms = settings.slack_ms;
    let node = Node::new(NodeId(1), settings);
    let mut world = World { node, at_ms: 1_000, marks: Vec::new(), replies: Vec::new() };
    world.step(Input::Maintain(true));
    let bytes = Bytes::from_static(b"v");
    let value =
        Value { size: 1, location: Location::Inline(bytes), etag: Bytes::new(), attributes: Bytes::new() };
    let begin = Begin {
        attempt: LOST,
        hash: RequestHash([1; 32]),
        named: true,
        fingerprint: None,
        timeout_ms: None,
        wait_ms: 0,
        overlap: false,
        session: Vec::new(),
        retention_ms: None,
        visibility: Visibility::Relaxed,
        batch: Batch {
            ops: vec![Op::Put(Key::parse("k").unwrap(), value)],
            commit: Some(CommitArgs::default()),
        },
    };
    let put_at = Hlc::from_ms(WALL_MS + world.at_ms);
    world.step(Input::Verb(Ticket(1), Verb::Begin(Box::new(begin))));
    world.pass(timeout_ms + 1);
    assert_eq!(world.replies, [Err(Refusal::Unknown(RequestHash([1; 32])))]);

    world.pass(wait_ms - timeout_ms - 2);
    let held = world.marks.iter().max().copied();
    assert!(held.is_none_or(|mark| mark < put_at), "{held:?} is past {put_at:?}, which may still land");

    // A pass and a mark later.
    world.pass(slack_ms);
    let moved = world.marks.iter().max().copied();
    assert!(moved > Some(put_at), "{moved:?} is still before {put_at:?}, which cannot land any more");
}
