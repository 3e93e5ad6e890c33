//! Goal: what a node keeps is bounded in bytes, and the bytes that it counts are those that it takes. Method: an allocator that counts, and a node
//! over a store that answers from thin air. What the index takes is the difference between two nodes with the same past, of which one forgets all
//! that it may. One test, since the allocator counts for the whole process.

#![expect(clippy::unwrap_used, reason = "a failed test says where")]

use std::alloc::System;
use std::collections::VecDeque;

use aft_core_first::Node;
use aft_core_first::ids::{AttemptId, Hlc, Key, NodeId, RequestHash, TxnId};
use aft_core_first::message::{
    Batch, Begin, Bound, CommitArgs, Input, Now, Op, Output, Refusal, Reply, Ticket, Verb, Visibility,
};
use aft_core_first::record::{Kind, Location, Meta, Record, Value, VersionEntry, Write, Writes};
use aft_core_first::settings::Settings;
use aft_core_first::store::{Answer, Body, Call, Group, Name, Tag};
use bytes::Bytes;
use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Keys of a case: enough that what is not the index drowns.
const KEYS: u64 = 4_000;

/// What the store holds of each key before the node's own commits.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Versions listed of each key.
    listed: u64,
    /// Keys that each of their transactions wrote.
    cowritten: u64,
    /// Keys written in one commit; 0: keys are read.
    written: u64,
    etag: &'static [u8],
}

fn key(number: u64) -> Key {
    Key::parse(&format!("bench/{number:08}")).unwrap()
}

fn attempt(number: u64) -> AttemptId {
    AttemptId(u128::from(number).to_be_bytes())
}

fn hash(number: u64) -> RequestHash {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    RequestHash(hash)
}

fn value(etag: &[u8]) -> Value {
    let location = Location::Inline(Bytes::from_static(b"v"));
    // A slice of something greater, as it comes from a request's body.
    let body = Bytes::from([etag, &[0; 4_096]].concat());
    Value { location, size: 1, etag: body.slice(..etag.len()), attributes: Bytes::new() }
}

impl Shape {
    /// The version that stands at this place in the listing of a key: neighbouring keys are cowritten.
    fn version(self, number: u64, place: u64) -> VersionEntry {
        let first = number - number % self.cowritten;
        let id = first * 64 + place;
        VersionEntry {
            txn: TxnId { time: Hlc(1_000_000 - place), attempt: attempt(id) },
            hash: hash(id),
            meta: Meta { kind: Kind::Inline, size: 1, etag: Bytes::copy_from_slice(self.etag) },
            cowritten: self.cowritten as u32,
        }
    }

    fn answer(self, call: Call) -> Answer {
        match call {
            Call::Create(..) => Answer::Created,
            Call::Put(..) | Call::Delete(_) => Answer::Done,
            Call::List { group: Group::Versions(key), after: None, .. } => {
                let number: u64 = key.as_str()["bench/".len()..].parse().unwrap();
                let names =
                    (0..self.listed).map(|place| Name::Version(key.clone(), self.version(number, place)));
                Answer::Listed { names: names.collect(), more: self.listed == 16 }
            }
            Call::Get(Name::Commit(of)) => {
                let id = u64::from_be_bytes(of.0[..8].try_into().unwrap());
                let (first, place) = (id / 64, id % 64);
                let writes = (first..first + self.cowritten)
                    .map(|number| (key(number), Write::Put(value(self.etag))))
                    .collect();
                let record = Record {
                    txn: self.version(first, place).txn,
                    hash: of,
                    named: false,
                    fingerprint: None,
                    retention_ms: 0,
                    result: None,
                    large_result: None,
                    blobs: 0,
                    writes: Writes::Full(writes),
                };
                Answer::Got(Some((Body::Record(record.into()), Tag(Bytes::new()))))
            }
            Call::Fetch { .. } => Answer::Cached(Write::Tombstone),
            call => panic!("nothing asks {call:?} here"),
        }
    }
}

/// A node and its store.
struct World {
    node: Node,
    shape: Shape,
    now: Now,
    ids: u64,
    /// Puts of version entries get no answer.
    stalled: bool,
}

impl World {
    fn new(shape: Shape, change: impl FnOnce(&mut Settings)) -> World {
        let mut settings = Settings::new(true, 0, true);
        change(&mut settings);
        let now = Now { wall_ms: 1_000_000, mono_ms: 1_000 };
        World { node: Node::new(NodeId(1), settings), shape, now, ids: 1 << 40, stalled: false }
    }

    /// Carries one verb out; its reply.
    fn ask(&mut self, verb: Verb) -> Result<Reply, Refusal> {
        self.ids += 1;
        let ticket = Ticket(self.ids);
        let mut inputs = VecDeque::from([Input::Verb(ticket, verb)]);
        let mut told = None;
        while let Some(input) = inputs.pop_front() {
            let mut outputs = Vec::new();
            self.node.step(self.now, input, &mut outputs);
            for output in outputs {
                match output {
                    Output::Reply(of, reply) if of == ticket => told = Some(reply),
                    Output::Call(_, Call::Put(Name::Version(..), _)) if self.stalled => {}
                    Output::Call(id, call) => inputs.push_back(Input::Answer(id, self.shape.answer(call))),
                    Output::Reply(..) | Output::Tell(_) | Output::Note(_) => {}
                }
            }
        }
        told.unwrap()
    }

    /// Runs operations in a transaction of their own, and commits.
    fn execute(&mut self, ops: Vec<Op>) -> Result<Reply, Refusal> {
        self.begin(ops, Some(CommitArgs::default()))
    }

    fn begin(&mut self, ops: Vec<Op>, commit: Option<CommitArgs>) -> Result<Reply, Refusal> {
        self.ids += 1;
        self.now.mono_ms += 1;
        self.now.wall_ms += 1;
        self.ask(Verb::Begin(Box::new(Begin {
            attempt: attempt(self.ids),
            hash: hash(self.ids),
            named: false,
            fingerprint: None,
            timeout_ms: None,
            wait_ms: 0,
            overlap: false,
            session: Vec::new(),
            retention_ms: None,
            visibility: Visibility::Relaxed,
            batch: Batch { ops, commit },
        })))
    }

    /// Touches every key once, in an order that a factor mixes.
    fn load(&mut self, keys: u64, factor: u64) {
        let Shape { written, etag, .. } = self.shape;
        let mixed = |number: u64| number * factor % keys;
        for number in (0..keys).step_by(written.max(1) as usize) {
            let ops = match written {
                0 => vec![Op::Get(key(mixed(number)))],
                _ => (number..number + written).map(|n| Op::Put(key(mixed(n)), value(etag))).collect(),
            };
            self.execute(ops).unwrap();
        }
    }
}

/// Allocated bytes of a node with this past, and what its index says that it takes.
fn taken(shape: Shape, index_bytes_max: usize, keys: u64, factor: u64) -> (usize, usize) {
    let before = ALLOCATOR.allocated();
    let mut world = World::new(shape, |settings| settings.index_bytes_max = index_bytes_max);
    world.load(keys, factor);
    let taken = (ALLOCATOR.allocated() - before, world.node.index_bytes());
    world.node.check_invariants();
    taken
}

/// The index takes at most what it says, and not less than half of it.
fn check_estimate(shape: Shape, factor: u64) {
    let (with, says) = taken(shape, usize::MAX, KEYS, factor);
    let (without, rest) = taken(shape, 1, KEYS, factor);
    let (takes, says) = (with - without, says - rest);
    println!("{shape:?}, factor {factor}: takes {takes}, says {says}, {} a key", says / KEYS as usize);
    assert!(takes <= says, "{shape:?}: takes {takes} bytes, says {says}");
    assert!(says <= 2 * takes, "{shape:?}: takes {takes} bytes, says {says}");
}

/// However many keys there are, the index stays within its bound.
fn check_bound(shape: Shape) {
    const BYTES_MAX: usize = 1 << 20;
    let (with, says) = taken(shape, BYTES_MAX, 5 * KEYS, 7);
    let (without, _) = taken(shape, 1, 5 * KEYS, 7);
    println!("{shape:?}: takes {} of {BYTES_MAX}", with - without);
    assert!(says <= BYTES_MAX, "{shape:?}: {says} bytes");
    assert!(with - without <= BYTES_MAX, "{shape:?}: takes {} bytes", with - without);
}

/// Commits that cannot be published stop new transactions before they take more than their share.
fn check_unpublished() {
    let shape = Shape { listed: 0, cowritten: 1, written: 100, etag: b"" };
    let mut world = World::new(shape, |settings| settings.publish_queue_max = 1_000);
    world.stalled = true;
    let before = ALLOCATOR.allocated();
    let commits = (0..1_000)
        .take_while(|nth| {
            let ops = (0..100).map(|n| Op::Put(key(nth * 100 + n), value(b""))).collect();
            match world.execute(ops) {
                Ok(_) => true,
                Err(refusal) => {
                    assert_eq!(refusal, Refusal::Overloaded(Bound::PublishQueue));
                    false
                }
            }
        })
        .count();
    assert_eq!(commits, 10);
    let takes = ALLOCATOR.allocated() - before;
    println!("a version entry that waits takes {} bytes", takes / 1_000);
    assert!(takes / 1_000 < 3 * 1_024, "2 KiB are promised, and its place in the index: {takes}");
}

/// Open transactions are refused before all of them together take more than their bound.
fn check_open() {
    const BYTES_MAX: usize = 4 << 20;
    let shape = Shape { listed: 1, cowritten: 50, written: 0, etag: b"" };
    let mut world = World::new(shape, |settings| {
        settings.transactions_bytes_max = BYTES_MAX;
        settings.index_bytes_max = 1;
    });
    let before = ALLOCATOR.allocated();
    let mut open = 0;
    let refused = loop {
        let reads = (0..10).map(|n| Op::Get(key((open * 10 + n) * 50))).collect();
        match world.begin(reads, None) {
            Ok(_) => open += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refused, Refusal::Overloaded(Bound::Transactions));
    let (takes, says) = (ALLOCATOR.allocated() - before, world.node.transactions_bytes());
    println!("{open} open transactions take {takes}, say {says}");
    assert!(open > 1 && takes <= says && says <= 2 * takes && says <= BYTES_MAX);
    // Those that are open may go on up to the bound, and can always end.
    let first = attempt((1 << 40) + 1);
    let ops: Vec<Op> = (0..1_000).map(|n| Op::Get(key(n))).collect();
    let ran = |world: &mut World, ops| world.ask(Verb::Run(first, Batch { ops, commit: None }));
    while world.node.transactions_bytes() < BYTES_MAX {
        let n = world.ids % 100_000;
        ran(&mut world, (0..100).map(|m| Op::Get(key(n * 5_000 + m * 50))).collect()).unwrap();
    }
    assert_eq!(ran(&mut world, ops), Err(Refusal::Overloaded(Bound::Transactions)));
    world.ask(Verb::Commit(first, CommitArgs::default())).unwrap();
    world.node.check_invariants();
}

#[test]
fn memory_is_bounded_in_bytes() {
    let etag: &[u8] = b"0123456789abcdef0123456789abcdef";
    let written = |written, etag| Shape { listed: 0, cowritten: 1, written, etag };
    let read = |listed, cowritten, etag| Shape { listed, cowritten, written: 0, etag };
    let shapes = [
        written(1, b""),
        written(2, b""),
        written(100, b""),
        written(1, etag),
        read(1, 1, b""),
        read(16, 1, b""),
        read(16, 2, b""),
        read(3, 50, etag),
    ];
    for shape in shapes {
        check_estimate(shape, 1);
        check_estimate(shape, 7_919);
        check_bound(shape);
    }
    check_unpublished();
    check_open();
}
