//! Goal: the rules one by one, as short stories. Method: a node (or two) over a store that answers at once and in order, told in text:
//!
//! ```text
//!   1 t: begin r7            open transaction t on node 1 for request r7 (`-`: unnamed)
//!   1 t: put a=1 b=2         1 t: del a          1 t: get a b        1 t: list x
//!   1 t: commit done         1 t: abort          1 : lookup r7
//!   drop 1                   node 1 dies with all it knows; an empty one takes its place
//!   tells off                commits are told to nobody from now on
//!   unpublished 1            node 1's version entries get no answer and do not land; `unpublished 1 b`: those of `b`; `unpublished`: all land again
//!   late 1                   node 1's commit records get no answer (`late -`: nobody's); `land`: they land
//!   held                     how many objects of each kind the store holds
//!   pass 60000               so much time passes          maintain 1       node 1 becomes the maintainer      maintain 1 off
//! ```
//!
//! Every line that replies prints its reply; the whole print is compared with what is expected.

use std::collections::{BTreeMap, VecDeque};

use aft_core_first::Node;
use aft_core_first::ids::{AttemptId, Fingerprint, Key, NodeId, RequestHash};
use aft_core_first::message::{
    Batch, Begin, CommitArgs, Found, Input, ListKeys, Now, Op, Output, Refusal, Reply, Ticket, Verb,
};
use aft_core_first::record::{Location, Value, Write};
use aft_core_first::settings::Settings;
use aft_core_first::store::{Answer, Body, Call, CallError, Group, Groups, Name, Tag};
use bytes::Bytes;

use crate::by_hand::opening;

/// Names in listing order: versions newest first, the rest by their own order.
#[derive(Default)]
struct Store {
    map: BTreeMap<Name, (Body, u64)>,
    tags: u64,
}

impl Store {
    fn tag(&mut self) -> u64 {
        self.tags += 1;
        self.tags
    }

    fn call(&mut self, call: Call) -> Answer {
        let tag_of = |tag: u64| Tag(Bytes::from(tag.to_string()));
        match call {
            Call::Get(name) => {
                Answer::Got(self.map.get(&name).map(|(body, tag)| (body.clone(), tag_of(*tag))))
            }
            Call::Fetch { hash, .. } => self.call(Call::Get(Name::Commit(hash))),
            Call::Put(name, body) => {
                let tag = self.tag();
                self.map.insert(name, (body, tag));
                Answer::Done
            }
            Call::Create(name, _) if self.map.contains_key(&name) => Answer::Exists,
            Call::Create(name, body) => {
                self.call(Call::Put(name, body));
                Answer::Created
            }
            Call::Replace(name, tag, body) => match self.map.get(&name) {
                Some((_, held)) if tag_of(*held) == tag => {
                    self.call(Call::Put(name, body));
                    Answer::Replaced
                }
                _ => Answer::Changed,
            },
            Call::Delete(names) => {
                names.iter().for_each(|name| drop(self.map.remove(name)));
                Answer::Done
            }
            Call::DeleteIf(name, tag) => match self.map.get(&name) {
                Some((_, held)) if tag_of(*held) == tag => {
                    self.map.remove(&name);
                    Answer::Replaced
                }
                _ => Answer::Changed,
            },
            Call::List { group, after, limit } => {
                let mut names: Vec<Name> = self
                    .map
                    .keys()
                    .filter(|name| match (&group, name) {
                        (Group::Versions(key), Name::Version(of, _)) => key == of,
                        (Group::Intents(minute), Name::Intent(intent)) => intent.minute == *minute,
                        (Group::Collects(minute), Name::Collect(collect)) => collect.minute == *minute,
                        (Group::Blobs(of), Name::Blob { attempt, .. }) => attempt == of,
                        _ => false,
                    })
                    .cloned()
                    .collect();
                if let Group::Versions(_) = group {
                    names.reverse();
                }
                let newer_first = |name: &Name, after: &Name| match (name, after) {
                    (Name::Version(_, a), Name::Version(_, b)) => a.txn < b.txn,
                    _ => name > after,
                };
                names.retain(|name| after.as_ref().is_none_or(|after| newer_first(name, after)));
                let more = names.len() > limit as usize;
                names.truncate(limit as usize);
                Answer::Listed { names, more }
            }
            Call::Groups { groups: Groups::Keys { prefix, after }, limit } => {
                let mut keys: Vec<Key> = self
                    .map
                    .keys()
                    .filter_map(|name| match name {
                        Name::Version(key, _) => Some(key.clone()),
                        _ => None,
                    })
                    .filter(|key| key.as_str().starts_with(&prefix))
                    .filter(|key| after.as_deref().is_none_or(|after| key.as_str() > after))
                    .collect();
                keys.dedup();
                let more = keys.len() > limit as usize;
                keys.truncate(limit as usize);
                Answer::Keys { keys, more }
            }
            Call::Groups { groups: Groups::IntentMinutes { after }, .. } => {
                self.minutes(
                    after,
                    |name| if let Name::Intent(intent) = name { Some(intent.minute) } else { None },
                )
            }
            Call::Groups { groups: Groups::CollectMinutes { after }, .. } => self.minutes(after, |name| {
                if let Name::Collect(collect) = name { Some(collect.minute) } else { None }
            }),
        }
    }

    /// How many objects there are of each kind.
    fn held(&self) -> String {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.map.keys() {
            let kind = match name {
                Name::Commit(_) => "commit",
                Name::Intent(_) => "intent",
                Name::Version(..) => "version",
                Name::Blob { .. } => "blob",
                Name::Collect(_) => "collect",
                Name::Marker(_) => "marker",
                Name::Entered | Name::Horizon => "node",
            };
            *kinds.entry(kind).or_default() += 1;
        }
        let held: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        held.join(", ")
    }

    fn minutes(&self, after: Option<u32>, minute: impl Fn(&Name) -> Option<u32>) -> Answer {
        let mut minutes: Vec<u32> = self
            .map
            .keys()
            .filter_map(minute)
            .filter(|minute| after.is_none_or(|after| *minute > after))
            .collect();
        minutes.sort_unstable();
        minutes.dedup();
        Answer::Minutes { minutes, more: false }
    }
}

struct World {
    store: Store,
    nodes: BTreeMap<u64, Node>,
    lives: u64,
    now: Now,
    tickets: u64,
    attempts: BTreeMap<String, AttemptId>,
    print: Vec<String>,
    tells: bool,
    /// Whose commit records are late, and those that are.
    late: (Option<u64>, Vec<(Name, Body)>),
    /// Whose version entries do not land, and of which key.
    unpublished: Option<(u64, Option<Key>)>,
    settings: Settings,
}

impl World {
    fn new(settings: Settings) -> World {
        let now = Now { wall_ms: 1_000_000_000_000, mono_ms: 1_000 };
        let nodes = [1, 2].map(|id| (id, Node::new(NodeId(id), settings.clone()))).into();
        World {
            store: Store::default(),
            nodes,
            lives: 2,
            now,
            tickets: 0,
            attempts: BTreeMap::new(),
            print: Vec::new(),
            tells: true,
            late: (None, Vec::new()),
            unpublished: None,
            settings,
        }
    }

    fn step(&mut self, id: u64, input: Input) {
        let mut queue = VecDeque::from([(id, input)]);
        while let Some((id, input)) = queue.pop_front() {
            let mut out = Vec::new();
            let node = self.nodes.get_mut(&id).unwrap();
            node.step(self.now, input, &mut out);
            node.check_invariants();
            for output in out {
                match output {
                    Output::Reply(_, reply) => self.print.push(show(&reply)),
                    Output::Call(call, Call::Put(Name::Version(key, _), _)) if self.fails(id, &key) => {
                        queue.push_back((id, Input::Answer(call, Answer::Failed(CallError::NoAnswer))));
                    }
                    Output::Call(call, Call::Create(name, body)) if self.late.0 == Some(id) => {
                        self.late.1.push((name, body));
                        queue.push_back((id, Input::Answer(call, Answer::Failed(CallError::NoAnswer))));
                    }
                    Output::Call(call, what) => {
                        let answer = self.store.call(what);
                        queue.push_back((id, Input::Answer(call, answer)));
                    }
                    Output::Tell(tell) if self.tells => {
                        let others = self.nodes.keys().filter(|other| **other != id);
                        queue.extend(others.map(|other| (*other, Input::Heard(NodeId(id), tell.clone()))));
                    }
                    Output::Tell(_) | Output::Note(_) => {}
                }
            }
        }
    }

    fn fails(&self, id: u64, key: &Key) -> bool {
        let unpublished = self.unpublished.as_ref();
        unpublished.is_some_and(|(of, only)| *of == id && only.as_ref().is_none_or(|only| only == key))
    }

    fn verb(&mut self, id: u64, verb: Verb) {
        self.tickets += 1;
        self.step(id, Input::Verb(Ticket(self.tickets), verb));
    }

    fn pass(&mut self, mut ms: u64) {
        while ms > 0 {
            let next = self.nodes.values().filter_map(Node::next_wake).min().unwrap_or(u64::MAX);
            let step = next.saturating_sub(self.now.mono_ms).clamp(1, ms);
            ms -= step;
            self.now.mono_ms += step;
            self.now.wall_ms += step;
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                self.step(id, Input::Wake);
            }
        }
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["drop", id] => {
                self.lives += 1;
                let life = NodeId(self.lives * 10);
                self.nodes.insert(id.parse().unwrap(), Node::new(life, self.settings.clone()));
            }
            ["tells", on] => self.tells = *on == "on",
            ["late", id] => self.late.0 = id.parse().ok(),
            ["land"] => {
                for (name, body) in std::mem::take(&mut self.late.1) {
                    self.store.call(Call::Create(name, body));
                }
            }
            ["unpublished", rest @ ..] => {
                let key = rest.get(1).map(|key| Key::parse(key).unwrap());
                self.unpublished = rest.first().map(|id| (id.parse().unwrap(), key));
            }
            ["pass", ms] => self.pass(ms.parse().unwrap()),
            ["maintain", id, rest @ ..] => {
                self.step(id.parse().unwrap(), Input::Maintain(rest.is_empty()));
            }
            ["held"] => self.print.push(self.store.held()),
            [id, name, verb, rest @ ..] => {
                self.transaction(id.parse().unwrap(), name.trim_end_matches(':'), verb, rest)
            }
            other => panic!("not a line: {other:?}"),
        }
    }

    fn transaction(&mut self, id: u64, name: &str, verb: &str, rest: &[&str]) {
        let attempt = self.attempts.get(name).copied().unwrap_or(AttemptId([0xee; 16]));
        let key = |text: &str| Key::parse(text).unwrap();
        let run = |ops: Vec<Op>| Verb::Run(attempt, Batch { ops, commit: None });
        match verb {
            "begin" => {
                let mut bytes = [0; 16];
                bytes[8..].copy_from_slice(&(self.attempts.len() as u64 + 1).to_be_bytes());
                let attempt = AttemptId(bytes);
                self.attempts.insert(name.to_owned(), attempt);
                let named = rest[0] != "-";
                let hash = if named { hash_of(rest[0]) } else { hash_of(&attempt.to_string()) };
                let fingerprint = rest.get(1).filter(|text| **text != "overlap");
                let begin = Begin {
                    attempt,
                    hash,
                    named,
                    fingerprint: fingerprint.map(|text| Fingerprint(hash_of(text).0)),
                    overlap: rest.last() == Some(&"overlap"),
                    ..opening(1, Batch::default())
                };
                self.verb(id, Verb::Begin(Box::new(begin)));
            }
            "put" => {
                let ops = rest.iter().map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap();
                    let bytes = Bytes::from(value.to_owned());
                    let size = bytes.len() as u64;
                    let value = Value {
                        location: Location::Inline(bytes),
                        size,
                        etag: Bytes::new(),
                        attributes: Bytes::new(),
                    };
                    Op::Put(key(name), value)
                });
                self.verb(id, run(ops.collect()));
            }
            "del" => self.verb(id, run(rest.iter().map(|name| Op::Delete(key(name))).collect())),
            "get" => self.verb(id, run(rest.iter().map(|name| Op::Get(key(name))).collect())),
            "list" => {
                let prefix = rest.first().copied().unwrap_or("").to_owned();
                self.verb(id, Verb::List(attempt, ListKeys { prefix, after: None, limit: 100 }));
            }
            "commit" => {
                let result = rest.first().map(|text| Bytes::from((*text).to_owned()));
                self.verb(id, Verb::Commit(attempt, CommitArgs { result }));
            }
            "abort" => self.verb(id, Verb::Abort(attempt)),
            "lookup" => self.verb(id, Verb::LookUp(hash_of(rest[0]))),
            other => panic!("not a verb: {other}"),
        }
    }
}

fn hash_of(text: &str) -> RequestHash {
    let mut hash = [0; 32];
    hash[..text.len().min(32)].copy_from_slice(&text.as_bytes()[..text.len().min(32)]);
    RequestHash(hash)
}

fn show(reply: &Result<Reply, Refusal>) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let write = |write: &Write| match write {
        Write::Tombstone => "deleted".to_owned(),
        Write::Put(Value { location: Location::Inline(bytes), .. }) => text(bytes),
        Write::Put(_) => "blob".to_owned(),
    };
    match reply {
        Ok(Reply::Begun { .. }) => "begun".into(),
        Ok(Reply::Ran { reads, .. }) if reads.is_empty() => "ok".into(),
        Ok(Reply::Ran { reads, .. }) => {
            let reads = reads.iter().map(|read| {
                let found = match &read.found {
                    Found::Own(own) => format!("own {}", write(own)),
                    Found::Version(_, version) => write(version),
                    Found::Absent => "absent".into(),
                };
                format!("{}: {found}", read.key)
            });
            reads.collect::<Vec<_>>().join(", ")
        }
        Ok(Reply::Listed { keys, next }) => {
            let keys: Vec<&str> = keys.iter().map(|listed| listed.key.as_str()).collect();
            format!("[{}]{}", keys.join(" "), if next.is_some() { " more" } else { "" })
        }
        Ok(Reply::Reserved { number }) => format!("blob {number}"),
        Ok(Reply::Committed(_)) => "committed".into(),
        Ok(Reply::Replayed(replayed)) => {
            format!("replayed {}", replayed.result.as_ref().map_or("-".into(), text))
        }
        Ok(Reply::Aborted) => "aborted".into(),
        Ok(Reply::Found(record)) => format!("found {} keys", record.keys().len()),
        Err(refusal) => match refusal {
            Refusal::InProgress { .. } => "InProgress".into(),
            refusal => format!("{refusal:?}"),
        },
    }
}

/// Runs a story line by line, under a store that nodes share, and compares what was replied.
fn check(story: &str, expect: &[&str]) {
    check_with(Settings::new(false, 3_600_000, true), story, expect);
}

fn check_with(settings: Settings, story: &str, expect: &[&str]) {
    let mut world = World::new(settings);
    story.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| world.line(line));
    assert_eq!(world.print, expect, "{story}");
}

#[test]
fn a_transaction_reads_its_own_writes_and_nobody_else_does_before_the_commit() {
    check(
        "1 t: begin -
         1 t: put a=1
         1 t: get a b
         2 u: begin -
         2 u: get a
         1 t: commit
         2 v: begin -
         2 v: get a b",
        &[
            "begun",
            "ok",
            "a: own 1, b: absent",
            "begun",
            "a: absent",
            "committed",
            "begun",
            "a: 1, b: absent",
        ],
    );
}

#[test]
fn a_key_read_twice_gives_the_same_version() {
    check(
        "1 t: begin -
         1 t: put a=1
         1 t: commit
         2 u: begin -
         2 u: get a
         1 v: begin -
         1 v: put a=2
         1 v: commit
         2 u: get a
         2 w: begin -
         2 w: get a",
        &["begun", "ok", "committed", "begun", "a: 1", "begun", "ok", "committed", "a: 1", "begun", "a: 2"],
    );
}

#[test]
fn no_fractured_read_in_either_direction() {
    // u reads a before the newer pair commits, and so must not see that pair's b; w reads the new a, and so must not see the old b.
    check(
        "1 t: begin -
         1 t: put a=1 b=1
         1 t: commit
         1 u: begin -
         1 u: get a
         1 v: begin -
         1 v: put a=2 b=2
         1 v: commit
         1 u: get b
         1 w: begin -
         1 w: get a b",
        &[
            "begun",
            "ok",
            "committed",
            "begun",
            "a: 1",
            "begun",
            "ok",
            "committed",
            "b: 1",
            "begun",
            "a: 2, b: 2",
        ],
    );
}

#[test]
fn absent_is_older_than_everything() {
    check(
        "1 u: begin -
         1 u: get a
         1 t: begin -
         1 t: put a=1 b=1
         1 t: commit
         1 u: get b",
        &["begun", "a: absent", "begun", "ok", "committed", "b: absent"],
    );
}

#[test]
fn a_half_published_transaction_reads_whole_on_a_cold_node() {
    // Only the entry of a has landed: the record behind it names b too.
    let mut world = World::new(Settings::new(false, 3_600_000, true));
    world.tells = false;
    ["1 t: begin -", "1 t: put a=1 b=1", "1 t: commit"].into_iter().for_each(|line| world.line(line));
    let half =
        world.store.map.keys().find(|name| matches!(name, Name::Version(key, _) if key.as_str() == "b"));
    let half = half.cloned().unwrap();
    world.store.map.remove(&half);
    ["2 u: begin -", "2 u: get a", "2 u: get b", "2 w: begin -", "2 w: list"]
        .into_iter()
        .for_each(|line| world.line(line));
    assert_eq!(world.print[3..], ["begun", "a: 1", "b: 1", "begun", "[a b]"]);
}

#[test]
fn one_of_two_attempts_on_two_nodes_commits_and_the_other_gets_its_result() {
    check(
        "1 t: begin r
         2 u: begin r
         1 t: put a=1
         2 u: put a=2
         2 u: commit two
         1 t: commit one
         1 v: begin r
         1 w: begin -
         1 w: get a",
        &["begun", "begun", "ok", "ok", "committed", "replayed two", "replayed two", "begun", "a: 2"],
    );
}

#[test]
fn a_zombie_loses_and_a_retry_after_a_crash_replays() {
    check(
        "1 t: begin r
         1 t: put a=1
         1 t: commit one
         drop 1
         1 u: begin r
         1 : lookup r
         1 t: put a=3
         1 t: commit",
        &["begun", "ok", "committed", "replayed one", "found 1 keys", "NotFound", "NotFound"],
    );
}

#[test]
fn an_open_attempt_makes_others_wait_unless_they_overlap() {
    check(
        "1 t: begin r
         1 u: begin r
         1 v: begin r overlap
         1 v: put a=1
         1 v: commit one
         1 t: commit",
        &["begun", "InProgress", "begun", "ok", "committed", "replayed one"],
    );
}

#[test]
fn a_reused_request_id_is_told_by_its_fingerprint() {
    check(
        "1 t: begin r payload
         1 t: commit one
         1 u: begin r payload
         1 v: begin r other",
        &["begun", "committed", "replayed one", "KeyReused"],
    );
}

#[test]
fn a_repeated_commit_gets_the_same_answer_and_nothing_follows_the_end() {
    check(
        "1 t: begin -
         1 t: put a=1
         1 t: commit
         1 t: commit
         1 t: put a=2
         1 t: abort
         1 u: begin -
         1 u: abort
         1 u: abort
         1 u: commit",
        &["begun", "ok", "committed", "committed", "Ended", "Ended", "begun", "aborted", "aborted", "Ended"],
    );
}

#[test]
fn silence_is_abort() {
    check(
        "1 t: begin r
         1 t: put a=1
         pass 60001
         1 t: commit
         1 u: begin r
         1 u: get a",
        &["begun", "ok", "Lost", "begun", "a: absent"],
    );
}

#[test]
fn a_deleted_key_is_gone_and_lists_follow_the_snapshot() {
    check(
        "1 t: begin -
         1 t: put a=1 b=1
         1 t: commit
         1 u: begin -
         1 u: list
         1 v: begin -
         1 v: del a
         1 v: put c=1
         1 v: commit
         1 u: list
         1 u: get c a
         1 w: begin -
         1 w: list
         1 w: get a",
        &[
            "begun",
            "ok",
            "committed",
            "begun",
            "[a b]",
            "begun",
            "ok",
            "ok",
            "committed",
            "[a b]",
            "c: absent, a: 1",
            "begun",
            "[b c]",
            "a: deleted",
        ],
    );
}

#[test]
fn a_maintainer_publishes_what_a_dead_node_left() {
    check(
        "tells off
         unpublished 1
         1 t: begin -
         1 t: put a=1 b=1
         1 t: commit
         drop 1
         maintain 2
         pass 2000
         1 u: begin -
         1 u: get b a",
        &["begun", "ok", "committed", "begun", "b: 1, a: 1"],
    );
}

#[test]
fn what_recovery_has_put_is_read_even_if_it_could_not_put_all() {
    // On a store of its own a node lists a key once: what it puts there later it must know of. Recovery puts a, fails at b, and is called off.
    check_with(
        Settings::new(true, 0, true),
        "1 t: begin -
         1 t: put a=1 b=1
         1 t: commit
         unpublished 1
         1 u: begin -
         1 u: put a=2 b=2
         1 u: commit
         drop 1
         1 v: begin -
         1 v: get a
         1 v: abort
         unpublished 1 b
         maintain 1
         pass 100
         maintain 1 off
         1 w: begin -
         1 w: get a b",
        &[
            "begun",
            "ok",
            "committed",
            "begun",
            "ok",
            "committed",
            "begun",
            "a: 1",
            "aborted",
            "begun",
            "a: 2, b: 2",
        ],
    );
}

#[test]
fn a_commit_that_lands_behind_one_maintainer_is_collected_by_another() {
    // t is older than s and lands when s has been looked at already. Node 2 maintains next, and must not look with a horizon between the two, where o holds it
    // back: nobody would come back for t.
    let mut settings = Settings::new(false, 3_600_000, true);
    settings.timeout_default_ms = settings.timeout_max_ms;
    check_with(
        settings,
        "late 1
         1 t: begin -
         1 t: put a=1
         1 t: commit
         late -
         drop 1
         pass 1
         2 o: begin -
         pass 1
         1 s: begin -
         1 s: put a=2
         1 s: commit
         pass 61000
         maintain 1
         pass 20000
         held
         maintain 1 off
         land
         maintain 2
         pass 20000
         2 o: abort
         pass 5000000000
         held",
        &[
            "begun",
            "ok",
            "begun",
            "begun",
            "ok",
            "committed",
            "1 commit, 1 intent, 1 node, 1 version",
            "aborted",
            "1 commit, 1 marker, 1 node, 1 version",
        ],
    );
}

#[test]
fn collecting_leaves_the_newest_versions_and_nothing_else() {
    // Three generations of a and b, then both are deleted: in the end nothing of them is stored.
    let mut settings = Settings::new(true, 0, true);
    settings.maintenance_interval_ms = 600_000;
    settings.maintenance_pause_max_ms = 600_000;
    check_with(
        settings,
        "maintain 1
         1 t: begin -
         1 t: put a=1 b=1
         1 t: commit
         1 u: begin -
         1 u: put a=2
         1 u: commit
         1 v: begin -
         1 v: put a=3 b=3
         1 v: commit
         pass 7200000
         1 w: begin -
         1 w: get a b
         1 w: abort
         held
         1 x: begin -
         1 x: del a b
         1 x: commit
         pass 3600000000
         1 y: begin -
         1 y: get a b
         held",
        &[
            "begun",
            "ok",
            "committed",
            "begun",
            "ok",
            "committed",
            "begun",
            "ok",
            "committed",
            "begun",
            "a: 3, b: 3",
            "aborted",
            // v's record and two entries, two markers, and the mark up to which intents are entered.
            "1 commit, 2 marker, 1 node, 2 version",
            "begun",
            "ok",
            "committed",
            "begun",
            "a: absent, b: absent",
            // The mark.
            "1 node",
        ],
    );
}
