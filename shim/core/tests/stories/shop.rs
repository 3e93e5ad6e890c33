//! A test bed for stories: nodes over one typed store in memory, with clocks that are advanced by
//! hand.
//!
//! Calls are answered at once unless a story holds them back. Every answer carries the store's
//! time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use aft_core::Node;
use aft_core::clock::{Now, StoreTime};
use aft_core::ids::{AttemptId, Hlc, Key, NodeId, RequestHash, TxnId};
use aft_core::message::{
    Batch, Begin, CommitArgs, Committed, Found as Read, Input, Note, Op, Output, Refusal, Reply, Ticket, Verb,
};
use aft_core::record::{Format, Location, Record, Value, VersionEntry, Write};
use aft_core::settings::Settings;
use aft_core::store::{
    Answer, Body, Call, CallError, CallId, Created, Found, FoundRecord, Group, Heads, Name, Pieces, Scan, Tag,
};
use bytes::Bytes;

/// True time when a story begins, in milliseconds.
pub(crate) const BEGIN_MS: u64 = 1_700_000_000_000;

/// A typed store in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    pub(crate) commits: BTreeMap<RequestHash, Body>,
    pub(crate) versions: BTreeMap<Key, BTreeMap<(Reverse<TxnId>, VersionEntry), Body>>,
    /// The entries of checked keys, by the version that they follow.
    pub(crate) locks: BTreeMap<Key, BTreeMap<Reverse<TxnId>, Body>>,
    pub(crate) others: BTreeMap<Name, Body>,
    /// True if scans show all names, though heads are enough.
    pub(crate) scans_all: bool,
}

fn tag_of(body: &Body) -> Tag {
    Tag(format!("{body:?}").into())
}

impl Store {
    fn get(&self, name: &Name) -> Option<&Body> {
        match name {
            Name::Commit(hash) => self.commits.get(hash),
            Name::Version(key, entry) => self.versions.get(key)?.get(&(Reverse(entry.txn), entry.clone())),
            Name::Successor(key, before) => self.locks.get(key)?.get(&Reverse(*before)),
            other => self.others.get(other),
        }
    }

    pub(crate) fn put(&mut self, name: Name, body: Body) {
        match name {
            Name::Commit(hash) => drop(self.commits.insert(hash, body)),
            Name::Version(key, entry) => {
                self.versions.entry(key).or_default().insert((Reverse(entry.txn), entry), body);
            }
            Name::Successor(key, before) => {
                self.locks.entry(key).or_default().insert(Reverse(before), body);
            }
            other => drop(self.others.insert(other, body)),
        }
    }

    fn delete(&mut self, name: &Name) {
        match name {
            Name::Commit(hash) => drop(self.commits.remove(hash)),
            Name::Version(key, entry) => {
                if let Some(entries) = self.versions.get_mut(key) {
                    entries.remove(&(Reverse(entry.txn), entry.clone()));
                }
                self.versions.retain(|_, entries| !entries.is_empty());
            }
            Name::Successor(key, before) => {
                if let Some(entries) = self.locks.get_mut(key) {
                    entries.remove(&Reverse(*before));
                }
                self.locks.retain(|_, entries| !entries.is_empty());
            }
            other => drop(self.others.remove(other)),
        }
    }

    fn create(&mut self, record: &Arc<Record>) -> Created {
        if self.commits.contains_key(&record.hash) {
            return Created::Exists;
        }
        self.commits.insert(record.hash, Body::Record(record.clone()));
        Created::Created
    }

    /// Carries out a call.
    pub(crate) fn apply(&mut self, call: &Call) -> Answer {
        let tagged = |body: &Body| (body.clone(), tag_of(body));
        match call {
            Call::Get(name) | Call::Fetch { at: name, .. } => Answer::Got(self.get(name).map(tagged)),
            Call::Put(name, body) => {
                self.put(name.clone(), body.clone());
                Answer::Done
            }
            Call::Create(name, _) if self.get(name).is_some() => Answer::Created(Created::Exists),
            Call::Create(name, body) => {
                self.put(name.clone(), body.clone());
                Answer::Created(Created::Created)
            }
            Call::Commit(writes) => {
                let record = writes.record.as_ref().map(|record| Ok(self.create(record)));
                for (key, entry) in &writes.entries {
                    self.put(Name::Version(key.clone(), entry.clone()), Body::Empty);
                }
                Answer::Committed(Pieces { record, entries: vec![Ok(()); writes.entries.len()] })
            }
            Call::Replace(name, tag, body) => match self.get(name).map(tag_of) {
                Some(held) if held == *tag => {
                    self.put(name.clone(), body.clone());
                    Answer::Replaced
                }
                Some(_) | None => Answer::Changed,
            },
            Call::Delete(names) => {
                names.iter().for_each(|name| self.delete(name));
                Answer::Done
            }
            Call::DeleteIf(name, tag) => match self.get(name).map(tag_of) {
                Some(held) if held == *tag => {
                    self.delete(name);
                    Answer::Replaced
                }
                Some(_) | None => Answer::Changed,
            },
            Call::List { group, after, limit } => self.list(group, after.as_ref(), *limit as usize),
            Call::Scan { scan, limit } => self.scan(scan, *limit as usize),
        }
    }

    /// Returns every key with its version entries, newest first.
    fn entries(&self) -> BTreeMap<Key, Vec<VersionEntry>> {
        let mut all: BTreeMap<Key, Vec<VersionEntry>> = BTreeMap::new();
        for (key, entries) in &self.versions {
            all.entry(key.clone()).or_default().extend(entries.keys().map(|(_, entry)| entry.clone()));
        }
        for (key, entries) in &self.locks {
            all.entry(key.clone()).or_default().extend(entries.values().filter_map(VersionEntry::of_lock));
        }
        all.values_mut().for_each(|entries| entries.sort_by_key(|entry| Reverse(entry.txn)));
        all
    }

    fn list(&self, group: &Group, after: Option<&Name>, limit: usize) -> Answer {
        let all: Vec<Name> = match group {
            Group::Versions(key) => {
                let entries = self.entries().remove(key).unwrap_or_default();
                entries.into_iter().map(|entry| Name::Version(key.clone(), entry)).collect()
            }
            Group::Blobs(of) => {
                let blobs =
                    self.others.keys().filter(|name| matches!(name, Name::Blob { group, .. } if group == of));
                blobs.cloned().collect()
            }
        };
        let start = after.map_or(0, |after| all.iter().position(|name| name == after).map_or(0, |at| at + 1));
        let names: Vec<Name> = all[start..].iter().take(limit).cloned().collect();
        let more = all.len() > start + names.len();
        Answer::Listed { names, damaged: Vec::new(), more }
    }

    fn scan(&self, scan: &Scan, limit: usize) -> Answer {
        let (found, more) = match scan {
            Scan::Versions { prefix, after, heads } => {
                let all = self.entries();
                let keys = all.iter().filter(|(key, _)| key.as_str().starts_with(prefix.as_str()));
                let all = keys.flat_map(|(key, entries)| entries.iter().map(move |entry| (key, entry)));
                let later = all.filter(|(key, entry)| match after {
                    None => true,
                    Some(place) if key.as_str() != place.key => key.as_str() > place.key.as_str(),
                    Some(place) => place.entry.as_ref().is_some_and(|at| entry.txn < at.txn),
                });
                let heads = heads.as_ref().filter(|_| !self.scans_all);
                let mut below: BTreeMap<String, BTreeSet<Key>> = BTreeMap::new();
                let is_head = |(key, _): &(&Key, &VersionEntry)| {
                    let Some(Heads { delimiter, each }) = heads else { return true };
                    let rest = &key.as_str()[prefix.len()..];
                    let Some((folder, _)) = rest.split_once(delimiter.as_str()) else { return true };
                    let keys = below.entry(folder.to_owned()).or_default();
                    keys.insert((*key).clone());
                    keys.len() <= *each as usize
                };
                let later = later.filter(is_head).take(limit + 1);
                let mut names: Vec<(Key, VersionEntry)> =
                    later.map(|(key, entry)| (key.clone(), entry.clone())).collect();
                let more = names.len() > limit;
                names.truncate(limit);
                (Found::Versions(names), more)
            }
            Scan::Commits { after } => {
                let later = self.commits.keys().filter(|hash| after.is_none_or(|after| **hash > after));
                let found = |hash: &RequestHash| FoundRecord { hash: *hash, body: None, written_ms: None };
                let mut names: Vec<FoundRecord> = later.take(limit + 1).map(found).collect();
                let more = names.len() > limit;
                names.truncate(limit);
                (Found::Commits(names), more)
            }
            Scan::Blobs { .. } => (Found::Blobs(Vec::new()), false),
            Scan::Damaged { .. } => (Found::Damaged(Vec::new()), false),
        };
        Answer::Scanned { found, damaged: Vec::new(), unread: Vec::new(), more }
    }
}

/// A node with its clocks.
#[derive(Debug)]
struct Desk {
    node: Node,
    calls: VecDeque<(CallId, Call)>,
    replies: BTreeMap<Ticket, Result<Reply, Refusal>>,
    boot_offset_ms: u64,
    wall_offset_ms: i64,
}

/// Nodes over one store.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) store: Store,
    desks: Vec<Desk>,
    /// The true time since the story began, in milliseconds.
    pub(crate) now_ms: u64,
    /// The resolution of the store's time, in milliseconds.
    pub(crate) span_ms: u64,
    /// Returns true for calls that are held back.
    pub(crate) hold: fn(&Call) -> bool,
    /// Returns the error with which a call fails without an effect, if any.
    pub(crate) fail: fn(&Call) -> Option<CallError>,
    /// Returns true for calls that take effect and whose answers are lost.
    pub(crate) lose: fn(&Call) -> bool,
    /// True if answers carry the store's time.
    pub(crate) carries_time: bool,
    /// True to check all invariants after each step, which walks over the whole state.
    pub(crate) checks_invariants: bool,
    held: Vec<(usize, CallId, Call)>,
    /// Every call that nodes made since this was cleared.
    pub(crate) calls: Vec<Call>,
    pub(crate) notes: Vec<Note>,
    tickets: u64,
    attempts: u8,
}

pub(crate) fn key(text: &str) -> Key {
    Key::parse(text).expect("a short text is a key")
}

pub(crate) fn value(text: &str) -> Value {
    Value {
        location: Location::Inline(Bytes::copy_from_slice(text.as_bytes())),
        size: text.len() as u64,
        etag: Bytes::new(),
        attributes: Bytes::new(),
    }
}

pub(crate) fn hash(number: u8) -> RequestHash {
    RequestHash([number; 32])
}

impl Shop {
    /// Creates a shop with `nodes` nodes, whose store has a time of millisecond resolution.
    pub(crate) fn new(nodes: u64, settings: &Settings) -> Shop {
        let mut store = Store::default();
        store.put(Name::Format, Body::Format(Arc::new(Format::new(Bytes::new()))));
        let desk = |id| Desk {
            node: Node::new(NodeId(id), settings.clone()),
            calls: VecDeque::new(),
            replies: BTreeMap::new(),
            boot_offset_ms: 0,
            wall_offset_ms: 0,
        };
        Shop {
            store,
            desks: (1..=nodes).map(desk).collect(),
            now_ms: 0,
            span_ms: 1,
            hold: |_| false,
            fail: |_| None,
            lose: |_| false,
            carries_time: true,
            checks_invariants: true,
            held: Vec::new(),
            calls: Vec::new(),
            notes: Vec::new(),
            tickets: 0,
            attempts: 0,
        }
    }

    pub(crate) fn settings() -> Settings {
        let mut settings = Settings::new(false, 5_000, true);
        settings.timeout_max_ms = 60_000;
        settings.timeout_default_ms = 10_000;
        settings.run_scripts_twice = true;
        settings
    }

    fn now(&self, node: usize) -> Now {
        let desk = &self.desks[node];
        Now {
            mono_ms: 10_000 + self.now_ms,
            boot_ms: 10_000 + self.now_ms + desk.boot_offset_ms,
            wall_ms: (BEGIN_MS + self.now_ms).saturating_add_signed(desk.wall_offset_ms),
        }
    }

    fn step(&mut self, node: usize, input: Input) {
        let now = self.now(node);
        let mut outputs = Vec::new();
        self.desks[node].node.step(now, input, &mut outputs);
        if self.checks_invariants {
            self.desks[node].node.check_invariants();
        }
        for output in outputs {
            match output {
                Output::Reply(ticket, reply) => drop(self.desks[node].replies.insert(ticket, reply)),
                Output::Call(id, call) => {
                    self.calls.push(call.clone());
                    self.desks[node].calls.push_back((id, call));
                }
                Output::Tell(_) => {}
                Output::Note(note) => self.notes.push(note),
            }
        }
    }

    fn answer(&mut self, node: usize, id: CallId, answer: Answer) {
        let mono_ms = self.now(node).mono_ms;
        let time = StoreTime {
            sent_mono_ms: mono_ms,
            received_mono_ms: mono_ms,
            at_ms: (BEGIN_MS + self.now_ms) / self.span_ms * self.span_ms,
            span_ms: self.span_ms,
        };
        self.step(node, Input::Answer(id, answer, Some(time).filter(|_| self.carries_time)));
    }

    /// Answers all calls, except those that are held back.
    pub(crate) fn run(&mut self) {
        for node in 0..self.desks.len() {
            while let Some((id, call)) = self.desks[node].calls.pop_front() {
                if (self.hold)(&call) {
                    self.held.push((node, id, call));
                    continue;
                }
                let answer = match (self.fail)(&call) {
                    Some(error) => Answer::Failed(error),
                    None => self.store.apply(&call),
                };
                let answer = match (self.lose)(&call) {
                    true => Answer::Failed(CallError::NoAnswer),
                    false => answer,
                };
                self.answer(node, id, answer);
            }
        }
    }

    /// Returns the number of calls, since they were cleared, for which `is_it` returns true.
    pub(crate) fn count(&self, is_it: impl Fn(&Call) -> bool) -> usize {
        self.calls.iter().filter(|call| is_it(call)).count()
    }

    /// Returns the width of a node's bounds of the store's time, if the node knows the time.
    pub(crate) fn time_error_ms(&self, node: usize) -> Option<u64> {
        self.desks[node].node.time_error_ms()
    }

    /// Returns the true time, in milliseconds since the epoch.
    pub(crate) fn true_ms(&self) -> u64 {
        BEGIN_MS + self.now_ms
    }

    /// Puts the record of a commit at `time_ms` into the store, with its entries if `entries` is
    /// true, or without them, like an interrupted attempt.
    pub(crate) fn plant(&mut self, request: u8, time_ms: u64, keys: &[&str], text: &str, entries: bool) {
        let attempt = AttemptId([0xa0 + request; 16]);
        let record = Arc::new(Record {
            txn: TxnId { time: Hlc::from_ms(time_ms), attempt },
            hash: hash(request),
            named: true,
            fingerprint: None,
            retention_ms: 1_000_000,
            result: Some(Bytes::from_static(b"planted")),
            large_result: None,
            writes: keys.iter().map(|name| (key(name), Write::Put(value(text)))).collect(),
            follows: None,
        });
        if entries {
            for (key, entry) in record.entries() {
                self.store.put(Name::Version(key, entry), Body::Empty);
            }
        }
        self.store.put(Name::Commit(record.hash), Body::Record(record));
    }

    /// Puts a mark that has settled long ago.
    pub(crate) fn set_mark(&mut self, ms: u64) {
        let mark = TxnId::at(Hlc::from_ms(ms));
        let format = Format { mark, settled: mark, moved_ms: Some(0), ..Format::new(Bytes::new()) };
        self.store.put(Name::Format, Body::Format(Arc::new(format)));
    }

    /// Lets time pass, and wakes nodes when they are due.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        loop {
            self.run();
            let wakes = self.desks.iter().filter_map(|desk| desk.node.next_wake());
            let next = wakes.min().map(|wake| wake.saturating_sub(10_000).max(self.now_ms + 1));
            match next.filter(|next| *next <= end_ms) {
                Some(next) => self.now_ms = next,
                None => break,
            }
            for node in 0..self.desks.len() {
                self.step(node, Input::Wake);
            }
        }
        self.now_ms = end_ms;
        for node in 0..self.desks.len() {
            self.step(node, Input::Wake);
        }
        self.run();
    }

    /// Lets a node sweep, or stops it.
    pub(crate) fn switch_sweeps(&mut self, node: usize, on: bool) {
        self.step(node, Input::Upkeep(on));
        self.run();
    }

    /// Freezes all nodes for `ms` milliseconds, which their clocks show.
    pub(crate) fn freeze(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// Sets the wall clock of a node.
    pub(crate) fn set_wall(&mut self, node: usize, offset_ms: i64) {
        self.desks[node].wall_offset_ms = offset_ms;
    }

    /// Answers the calls that were held back, and holds no more. They take effect, unless `failure`
    /// is given, with which they fail.
    pub(crate) fn release(&mut self, failure: Option<CallError>) {
        self.hold = |_| false;
        for (node, id, call) in std::mem::take(&mut self.held) {
            let answer = match &failure {
                Some(failure) => Answer::Failed(failure.clone()),
                None => self.store.apply(&call),
            };
            self.answer(node, id, answer);
        }
        self.run();
    }

    /// Answers the calls that were held back, with their effect. Later calls are held as before.
    pub(crate) fn answer_held(&mut self) {
        for (node, id, call) in std::mem::take(&mut self.held) {
            let answer = self.store.apply(&call);
            self.answer(node, id, answer);
        }
        self.run();
    }

    /// Answers the calls that were held back, with their effect, and holds all that follow.
    pub(crate) fn hold_all(&mut self) {
        self.hold = |_| true;
        for (node, id, call) in std::mem::take(&mut self.held) {
            let answer = self.store.apply(&call);
            self.answer(node, id, answer);
        }
        self.run();
    }

    /// Sends a verb, and answers all calls that are not held back.
    pub(crate) fn send(&mut self, node: usize, verb: Verb) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.step(node, Input::Verb(ticket, verb));
        self.run();
        ticket
    }

    pub(crate) fn reply(&mut self, node: usize, ticket: Ticket) -> Option<Result<Reply, Refusal>> {
        self.desks[node].replies.remove(&ticket)
    }

    /// Sends a verb and waits up to a few seconds for its reply.
    pub(crate) fn ask(&mut self, node: usize, verb: Verb) -> Result<Reply, Refusal> {
        let ticket = self.send(node, verb);
        for _ in 0..5_000 {
            if let Some(reply) = self.reply(node, ticket) {
                return reply;
            }
            self.pass(1);
        }
        panic!("{ticket:?} has no reply; calls: {:?}", self.calls.iter().rev().take(5).collect::<Vec<_>>())
    }

    pub(crate) fn begin(&mut self, request: Option<u8>) -> Begin {
        self.attempts += 1;
        let attempt = AttemptId([self.attempts; 16]);
        let mut own = [0xee; 32];
        own[0] = self.attempts;
        let hash = request.map_or(RequestHash(own), hash);
        Begin { named: request.is_some(), ..Begin::new(attempt, hash) }
    }

    /// Runs a whole transaction of puts.
    pub(crate) fn write(&mut self, node: usize, request: Option<u8>, keys: &[&str], text: &str) -> Committed {
        let ops = keys.iter().map(|name| Op::Put(key(name), value(text))).collect();
        let batch = Batch { ops, commit: Some(CommitArgs::default()) };
        let begin = Begin { batch, ..self.begin(request) };
        match self.ask(node, Verb::Begin(Box::new(begin))) {
            Ok(Reply::Begun { committed: Some(committed), .. }) => committed,
            other => panic!("{other:?}"),
        }
    }

    /// Opens a transaction and writes keys in it.
    pub(crate) fn open_and_put(&mut self, node: usize, begin: Begin, keys: &[&str], text: &str) -> AttemptId {
        let attempt = self.open(node, begin);
        let ops = keys.iter().map(|name| Op::Put(key(name), value(text))).collect();
        let ran = self.ask(node, Verb::Run(attempt, Batch { ops, commit: None }));
        assert!(matches!(ran, Ok(Reply::Ran { .. })), "an open transaction takes writes: {ran:?}");
        attempt
    }

    /// Opens a transaction.
    pub(crate) fn open(&mut self, node: usize, begin: Begin) -> AttemptId {
        let attempt = begin.attempt;
        match self.ask(node, Verb::Begin(Box::new(begin))) {
            Ok(Reply::Begun { .. }) => attempt,
            other => panic!("{other:?}"),
        }
    }

    /// Reads a key in a transaction. Returns its text, if it has a value.
    pub(crate) fn get(
        &mut self,
        node: usize,
        attempt: AttemptId,
        name: &str,
    ) -> Result<Option<String>, Refusal> {
        let batch = Batch { ops: vec![Op::Get(key(name))], commit: None };
        match self.ask(node, Verb::Run(attempt, batch))? {
            Reply::Ran { reads, .. } => Ok(match &reads[0].found {
                Read::Version(_, write) | Read::Own(write) => {
                    write.value().map(|value| match &value.location {
                        Location::Inline(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                        Location::Blob(_) => "a blob".into(),
                    })
                }
                Read::Absent => None,
            }),
            other => panic!("{other:?}"),
        }
    }

    /// Reads a key in a fresh transaction of its own.
    pub(crate) fn read_fresh(&mut self, node: usize, name: &str) -> Option<String> {
        let begin = Begin { fresh: true, ..self.begin(None) };
        let attempt = self.open(node, begin);
        self.get(node, attempt, name).unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }
}
