//! Goal: a transaction's room in its commit record is counted exactly, whatever its batches replace and however they overlap.
//! Method: a node that may keep ten bytes, and whose store answers when the test says so.

use aft_core_first::Node;
use aft_core_first::ids::{AttemptId, Key, NodeId};
use aft_core_first::message::{
    Batch, Begin, CommitArgs, Excess, Input, Measured, Now, Op, Output, Refusal, Reply, Ticket, Verb,
};
use aft_core_first::record::{Location, RECORD_BYTES_BASE, Record, Value, WRITE_BYTES_BASE};
use aft_core_first::settings::Settings;
use aft_core_first::store::{Answer, Body, Call, CallId};
use bytes::Bytes;

use crate::by_hand::opening;

const ATTEMPT: AttemptId = AttemptId([7; 16]);
const ROOM: usize = 10;
/// Room for five keys of ten bytes.
const RECORD_ROOM: usize = RECORD_BYTES_BASE + 5 * (WRITE_BYTES_BASE + 10);

struct World {
    node: Node,
    tickets: u64,
    calls: Vec<(CallId, Call)>,
    replies: Vec<(Ticket, Result<Reply, Refusal>)>,
}

impl World {
    /// A node with one open transaction.
    fn new() -> World {
        let settings = Settings {
            write_buffer_bytes_max: ROOM,
            record_bytes_max: RECORD_ROOM,
            ..Settings::new(true, 0, true)
        };
        let node = Node::new(NodeId(1), settings);
        let mut world = World { node, tickets: 0, calls: Vec::new(), replies: Vec::new() };
        let begin = Begin { attempt: ATTEMPT, ..opening(1, Batch::default()) };
        assert!(world.ask(Verb::Begin(Box::new(begin))).unwrap().is_ok());
        world
    }

    fn step(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.node.step(Now { wall_ms: 1_000_000, mono_ms: 1 }, input, &mut outputs);
        self.node.check_invariants();
        for output in outputs {
            match output {
                Output::Reply(ticket, reply) => self.replies.push((ticket, reply)),
                Output::Call(id, call) => self.calls.push((id, call)),
                Output::Tell(_) | Output::Note(_) => {}
            }
        }
    }

    /// The reply, if it comes at once.
    fn ask(&mut self, verb: Verb) -> Option<Result<Reply, Refusal>> {
        self.tickets += 1;
        self.step(Input::Verb(Ticket(self.tickets), verb));
        self.reply(self.tickets)
    }

    fn reply(&mut self, ticket: u64) -> Option<Result<Reply, Refusal>> {
        let at = self.replies.iter().position(|(of, _)| *of == Ticket(ticket))?;
        Some(self.replies.remove(at).1)
    }

    fn run(&mut self, ops: Vec<Op>) -> Option<Result<Reply, Refusal>> {
        self.ask(Verb::Run(ATTEMPT, Batch { ops, commit: None }))
    }

    /// Whether a batch of writes fits.
    fn check(&mut self, ops: Vec<Op>, expect: Result<(), usize>) {
        let shown = format!("{ops:?}");
        let outcome = self.run(ops).expect("writes are answered at once");
        assert_eq!(verdict(outcome), expect, "{shown}");
    }
}

/// `Err`: what the inline values would be.
fn verdict(outcome: Result<Reply, Refusal>) -> Result<(), usize> {
    match outcome {
        Ok(Reply::Ran { .. }) => Ok(()),
        Err(Refusal::TooLarge(Excess { of: Measured::InlineValues, actual, limit: ROOM })) => Err(actual),
        other => panic!("{other:?}"),
    }
}

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn put(at: &str, len: usize) -> Op {
    let location = Location::Inline(Bytes::from(vec![0; len]));
    Op::Put(key(at), Value { location, size: len as u64, etag: Bytes::new(), attributes: Bytes::new() })
}

#[test]
fn what_is_replaced_gives_its_room_back() {
    let mut world = World::new();
    world.check(vec![put("a", 6), put("b", 4)], Ok(()));
    world.check(vec![put("c", 1)], Err(11));
    world.check(vec![put("a", 5), put("c", 1)], Ok(()));
    world.check(vec![put("a", 6)], Err(11));
    world.check(vec![Op::Delete(key("b")), put("d", 4)], Ok(()));
    // Within one batch as well: only the last write of a key counts.
    world.check(vec![put("d", 9), put("d", 5), put("d", 4)], Ok(()));
    world.check(vec![put("e", 11), Op::Delete(key("e"))], Ok(()));
    world.check(vec![put("e", 1)], Err(11));
}

/// Two batches that wait for their reads saw room for both of their writes, and had it for one.
#[test]
fn batches_that_overlap_do_not_share_their_room() {
    let mut world = World::new();
    assert_eq!(world.run(vec![Op::Get(key("r")), put("a", 6)]), None);
    assert_eq!(world.run(vec![Op::Get(key("r")), put("b", 6)]), None);
    let (first, second) = (world.tickets - 1, world.tickets);
    while let Some((id, call)) = world.calls.pop() {
        let Call::List { .. } = call else { panic!("{call:?}") };
        world.step(Input::Answer(id, Answer::Listed { names: Vec::new(), more: false }));
    }
    let mut verdicts = [first, second].map(|ticket| verdict(world.reply(ticket).unwrap()));
    verdicts.sort_unstable();
    assert_eq!(verdicts, [Ok(()), Err(12)]);
    // What was refused left nothing behind, and may run again with less.
    world.check(vec![put("c", 4)], Ok(()));
    world.check(vec![put("c", 5)], Err(11));
}

/// By how much the record would be too large.
fn excess(outcome: Result<Reply, Refusal>) -> usize {
    match outcome {
        Err(Refusal::TooLarge(Excess { of: Measured::Record, actual, limit: RECORD_ROOM })) => {
            actual - RECORD_ROOM
        }
        other => panic!("{other:?}"),
    }
}

fn long(n: usize) -> Op {
    Op::Delete(key(&format!("tombstone{n}")))
}

fn result(len: usize) -> CommitArgs {
    CommitArgs { result: Some(Bytes::from(vec![0; len])) }
}

impl World {
    /// The record that the commit under way sends.
    fn record(&self) -> &Record {
        let record = self.calls.iter().find_map(|(_, call)| match call {
            Call::Create(_, Body::Record(record)) => Some(record),
            _ => None,
        });
        record.expect("a commit is under way")
    }
}

#[test]
fn keys_and_results_count_as_well() {
    let mut world = World::new();
    assert_eq!(excess(world.run((0..6).map(long).collect()).unwrap()), WRITE_BYTES_BASE + 10);
    assert!(world.run((0..4).map(long).collect()).unwrap().is_ok());
    // Ten bytes of room in the value are not ten bytes of room in the record.
    assert_eq!(excess(world.run(vec![put("0123456789", 1)]).unwrap()), 1);
    let room = WRITE_BYTES_BASE + 10;
    assert_eq!(excess(world.ask(Verb::Commit(ATTEMPT, result(room + 1))).unwrap()), 1);
    let batch = |len| Batch { ops: vec![long(3)], commit: Some(result(len)) };
    assert_eq!(excess(world.ask(Verb::Run(ATTEMPT, batch(room + 2))).unwrap()), 2);
    // It is open all the while, and commits with what fits.
    assert_eq!(world.ask(Verb::Commit(ATTEMPT, result(room))), None);
    assert_eq!(world.record().bytes_max(), RECORD_ROOM);
}

/// A commit waits for a batch; the batch may not take the room of its result.
#[test]
fn a_result_that_waits_keeps_its_room() {
    let mut world = World::new();
    assert!(world.run((0..4).map(long).collect()).unwrap().is_ok());
    assert_eq!(world.run(vec![Op::Get(key("r")), long(4)]), None);
    let batch = world.tickets;
    assert_eq!(world.ask(Verb::Commit(ATTEMPT, result(1))), None);
    let (id, _) = world.calls.pop().unwrap();
    world.step(Input::Answer(id, Answer::Listed { names: Vec::new(), more: false }));
    assert_eq!(excess(world.reply(batch).unwrap()), 1);
    assert_eq!(
        (world.record().keys().len(), world.record().bytes_max()),
        (4, RECORD_ROOM - WRITE_BYTES_BASE - 9)
    );
}

/// A transaction without a name that wrote nothing stores nothing: its result needs no room.
#[test]
fn what_is_not_stored_needs_no_room() {
    let mut world = World::new();
    assert!(world.ask(Verb::Commit(ATTEMPT, result(RECORD_ROOM))).unwrap().is_ok());
}
