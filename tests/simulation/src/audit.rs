//! The store auditor: judges every effect on the store when it lands, and remembers what committed.
//!
//! What it holds the node against is the design's protocol, not the node's code: nothing is published that did not commit, a commit record is
//! only ever slimmed, nothing goes that is not superseded, and whoever was told of a commit can rely on an intent until every
//! version entry stands. Effects are judged where they land, so late calls of dead nodes are judged too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aft_core::ids::{AttemptId, Hlc, Key, RequestHash, TxnId};
use aft_core::message::Refusal;
use aft_core::record::{BlobRef, Location, Record, VersionEntry, Write};
use aft_core::settings::Settings;
use aft_core::store::{Answer, Body, Call, Name};

use crate::attempt::{Attempt, Ended, attempt_number};
use crate::model::StoreModel;
use crate::script::Request;

/// A promise that was broken: which, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule, in the words of the protocol.
    pub rule: &'static str,
    /// The story.
    pub text: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.rule, self.text)
    }
}

/// Breaks off with a violation.
pub(crate) fn broken<T>(rule: &'static str, text: String) -> Result<T, Violation> {
    Err(Violation { rule, text })
}

/// Whether all is well so far.
pub type Verdict = Result<(), Violation>;

/// A transaction that committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Commit {
    /// Its record as it was created.
    pub record: Arc<Record>,
    /// When the record landed.
    pub landed_ms: u64,
    /// Somebody was told: an acknowledgement, a replay, a look-up.
    pub told: bool,
    /// When each of its version entries first landed.
    pub entered: BTreeMap<Key, u64>,
    /// Its record was slimmed or deleted.
    pub collected: bool,
}

impl Commit {
    /// All of its version entries have landed at one time or another.
    pub fn published(&self) -> bool {
        self.entered.len() == self.record.keys().len()
    }
}

/// What the auditor needs to know of the world.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) now_ms: u64,
    pub(crate) settings: &'a Settings,
    pub(crate) requests: &'a [Request],
    pub(crate) attempts: &'a [Attempt],
}

/// The auditor.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Audit {
    /// Every transaction that ever committed.
    pub commits: BTreeMap<AttemptId, Commit>,
    /// The attempts that committed under a name, oldest first.
    pub winners: BTreeMap<RequestHash, Vec<AttemptId>>,
    /// Keys of which some version was collected, or is about to be: their marker stood.
    pub collected_keys: BTreeSet<Key>,
}

impl Audit {
    /// The committed version of a key by an attempt.
    pub fn write(&self, attempt: AttemptId, key: &Key) -> Option<&Write> {
        self.commits.get(&attempt)?.record.write(key)
    }

    /// Whether a committed tombstone of the key exists that is at least so new.
    pub fn tombstone_since(&self, key: &Key, least: TxnId) -> bool {
        self.commits.values().any(|commit| {
            commit.record.txn >= least && matches!(commit.record.write(key), Some(Write::Tombstone))
        })
    }

    /// Somebody is told of this commit.
    pub(crate) fn tell(&mut self, attempt: AttemptId, store: &StoreModel) -> Verdict {
        if let Some(commit) = self.commits.get_mut(&attempt) {
            commit.told = true;
        }
        self.promise(attempt, store)
    }

    /// Of a transaction that somebody was told of, an intent stands or every version entry has stood.
    fn promise(&self, attempt: AttemptId, store: &StoreModel) -> Verdict {
        let Some(commit) = self.commits.get(&attempt) else { return Ok(()) };
        let safe = !commit.told
            || commit.collected
            || commit.published()
            || store.intents.iter().any(|intent| {
                // An exclusive store's next life looks at no intent up to the mark.
                intent.attempt == attempt && store.entered.is_none_or(|mark| intent.time > mark)
            });
        if safe {
            return Ok(());
        }
        broken(
            "P7: an intent is durable, or all is published, when somebody is told of a commit and from then on",
            format!(
                "{} was told of, has no intent, and of its version entries stand only {:?}",
                commit.record.txn,
                commit.entered.keys()
            ),
        )
    }

    /// Lets an effect land: judges it, performs it, remembers it.
    pub(crate) fn land(
        &mut self,
        store: &mut StoreModel,
        call: &Call,
        scene: Scene<'_>,
    ) -> Result<Answer, Violation> {
        match call {
            Call::Get(_) | Call::Fetch { .. } | Call::List { .. } | Call::Groups { .. } => {
                return Ok(store.apply(call, scene.settings.delete_if));
            }
            Call::Put(name, body) => self.judge_put(store, name, body)?,
            Call::Create(name, body) => self.judge_create(store, name, body, scene)?,
            Call::Replace(name, tag, body) => {
                let holds = store.get(name).is_some_and(|held| crate::model::tag_of(&held) == *tag);
                if holds {
                    self.judge_replace(store, name, body, scene)?;
                }
            }
            Call::Delete(names) => {
                for name in names {
                    self.judge_delete(store, name, false, scene)?;
                }
            }
            Call::DeleteIf(name, tag) => {
                let holds = store.get(name).is_some_and(|held| crate::model::tag_of(&held) == *tag);
                if holds {
                    self.judge_delete(store, name, true, scene)?;
                }
            }
        }
        let answer = store.apply(call, scene.settings.delete_if);
        if let Call::Delete(names) = call {
            for name in names {
                if let Name::Intent(intent) = name {
                    self.promise(intent.attempt, store)?;
                }
            }
        }
        if let Call::Put(Name::Entered, _) = call {
            self.commits.keys().try_for_each(|attempt| self.promise(*attempt, store))?;
        }
        if let Call::Put(Name::Marker(key), _) = call {
            self.collected_keys.insert(key.clone());
        }
        if let (Call::Put(Name::Version(key, entry), _), Answer::Done) = (call, &answer)
            && let Some(commit) = self.commits.get_mut(&entry.txn.attempt)
        {
            commit.entered.entry(key.clone()).or_insert(scene.now_ms);
        }
        if let (Call::Create(Name::Commit(hash), Body::Record(record)), Answer::Created) = (call, &answer) {
            self.winners.entry(*hash).or_default().push(record.txn.attempt);
            let commit = Commit {
                record: record.clone(),
                landed_ms: scene.now_ms,
                told: false,
                entered: BTreeMap::new(),
                collected: false,
            };
            self.commits.insert(record.txn.attempt, commit);
        }
        Ok(answer)
    }

    fn judge_put(&self, store: &StoreModel, name: &Name, body: &Body) -> Verdict {
        match (name, body) {
            (Name::Commit(_), _) => broken("a commit record is created, never put", format!("{name:?}")),
            (Name::Version(key, entry), _) => self.judge_entry(key, entry),
            (Name::Horizon, _) => {
                broken("the horizon is created and replaced, never put", format!("{body:?}"))
            }
            (Name::Collect(collect), Body::Collect(entry)) => match store.collects.get(collect) {
                Some(held) if held != entry && held.stage == entry.stage => {
                    broken("no name holds two contents", format!("{collect:?}: {held:?}, then {entry:?}"))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn judge_entry(&self, key: &Key, entry: &VersionEntry) -> Verdict {
        let Some(commit) = self.commits.get(&entry.txn.attempt) else {
            return broken("P3: published is only what committed", format!("{key}: {entry:?}"));
        };
        let record = &commit.record;
        let right = record.txn == entry.txn
            && record.hash == entry.hash
            && record.write(key).is_some_and(|write| write.meta() == entry.meta)
            && record.keys().len() == entry.cowritten as usize;
        if !right {
            return broken(
                "a version entry says what its record says",
                format!("{key}: {entry:?} for {record:?}"),
            );
        }
        Ok(())
    }

    fn judge_create(&self, store: &StoreModel, name: &Name, body: &Body, scene: Scene<'_>) -> Verdict {
        let (Name::Commit(hash), Body::Record(record)) = (name, body) else {
            return match name {
                Name::Horizon => Ok(()),
                _ => broken("only commit records and the horizon are created", format!("{name:?}")),
            };
        };
        if store.commits.contains_key(hash) {
            return Ok(());
        }
        let attempt = scene.attempts.get(attempt_number(record.txn.attempt));
        let Some(attempt) = attempt.filter(|attempt| attempt.id == record.txn.attempt) else {
            return broken("a record names the attempt that asked for it", format!("{record:?}"));
        };
        let request = &scene.requests[attempt.request];
        let writes = record.full().map(|writes| writes.iter().cloned().collect::<BTreeMap<_, _>>());
        if attempt.commits == 0 || record.hash != *hash || request.hash_for(attempt.id) != *hash {
            return broken("P3: what commits was asked to commit, under its own name", format!("{record:?}"));
        }
        if !writes.is_some_and(|writes| attempt.explains(&writes)) {
            return broken(
                "P1: a record holds the transaction's writes, all of them and no others",
                format!("{record:?}, but the client wrote {:?}, {:?}", attempt.writes, attempt.carried),
            );
        }
        if record.keys().len() > scene.settings.write_set_len_max {
            return broken("every bound holds", format!("{} keys in {record:?}", record.keys().len()));
        }
        if attempt.outcome == Some(Ended::Aborted) {
            return broken("P1: what is aborted has no effect", format!("{record:?}"));
        }
        if let Some(Ended::Refused(refusal)) = attempt.ended()
            && !matches!(refusal, Refusal::Unknown(_) | Refusal::UnknownDamaged(..) | Refusal::Ended)
        {
            return broken(
                "a refusal tells the truth: only after Unknown may an attempt still commit",
                format!("{} was refused with {refusal:?}, and now commits", record.txn),
            );
        }
        for (_, write) in record.full().into_iter().flat_map(|writes| writes.iter()) {
            if let Write::Put(value) = write
                && let Location::Blob(blob) = &value.location
                && blob_parts(blob).iter().any(|part| !store.blobs.contains_key(part))
            {
                return broken("P6: a committed blob is whole", format!("{} of {}", blob.number, record.txn));
            }
        }
        if let Some(result) = &record.large_result {
            let parts = blob_parts(&result.blob);
            if attempt.large_result != Some(*result)
                || parts.iter().any(|part| !store.blobs.contains_key(part))
            {
                return broken("P5: a large result is the one that was given, whole", format!("{record:?}"));
            }
        }
        for winner in self.winners.get(hash).into_iter().flatten() {
            let earlier = &self.commits[winner].record;
            let kept_until = earlier.txn.time.ms() + earlier.retention_ms;
            if *winner == attempt.id || attempt.begun_ms + scene.settings.skew_max_ms < kept_until {
                return broken(
                    "P5: of all attempts of one request at most one commits",
                    format!(
                        "{} committed (kept until {kept_until}), and now {} of an attempt begun at {}",
                        earlier.txn, record.txn, attempt.begun_ms
                    ),
                );
            }
        }
        Ok(())
    }

    fn judge_replace(&mut self, store: &StoreModel, name: &Name, body: &Body, scene: Scene<'_>) -> Verdict {
        let (Name::Commit(hash), Body::Record(slim)) = (name, body) else {
            return match (name, body) {
                (Name::Collect(_), _) => Ok(()),
                (Name::Horizon, Body::Time(time)) => {
                    let latest = Some(Hlc::from_ms(scene.now_ms + scene.settings.skew_max_ms));
                    if store.horizon < Some(*time) || store.horizon > latest {
                        return Ok(());
                    }
                    broken(
                        "section 8: the horizon does not go back",
                        format!("{:?} to {time:?}", store.horizon),
                    )
                }
                _ => broken(
                    "only commit records, collect entries and the horizon are replaced",
                    format!("{name:?}"),
                ),
            };
        };
        let held = &store.commits[hash];
        if **slim != held.slim() {
            return broken("a record is replaced by its slim form only", format!("{held:?} by {slim:?}"));
        }
        self.judge_collected(slim.txn, "its record is slimmed", scene)?;
        if let Some(commit) = self.commits.get_mut(&slim.txn.attempt) {
            commit.collected = true;
            let keys = commit.record.keys();
            self.collected_keys.extend(keys);
        }
        Ok(())
    }

    /// A transaction may lose its first piece only if every version of it is superseded, or an old lone tombstone.
    fn judge_collected(&self, txn: TxnId, what: &str, scene: Scene<'_>) -> Verdict {
        let Some(commit) = self.commits.get(&txn.attempt) else { return Ok(()) };
        if commit.collected {
            return Ok(());
        }
        for key in commit.record.keys() {
            let newer =
                self.commits.values().any(|other| other.record.txn > txn && other.entered.contains_key(&key));
            let age_ms = (scene.now_ms + scene.settings.skew_max_ms).saturating_sub(txn.time.ms());
            let old_tombstone = commit.record.write(&key) == Some(&Write::Tombstone)
                && age_ms >= scene.settings.tombstone_age_ms;
            if !newer && !old_tombstone {
                return broken(
                    "section 8: only what is superseded on every key is collected",
                    format!("{txn} still has the newest version of {key}, and {what}"),
                );
            }
        }
        Ok(())
    }

    fn judge_delete(&mut self, store: &StoreModel, name: &Name, by_tag: bool, scene: Scene<'_>) -> Verdict {
        if store.get(name).is_none() {
            return Ok(());
        }
        match name {
            Name::Commit(hash) => self.judge_header(&store.commits[hash].clone(), by_tag, scene),
            Name::Version(key, entry) => {
                self.judge_collected(entry.txn, "its version entry goes", scene)?;
                if !store.markers.contains_key(key) {
                    return broken(
                        "section 8: a marker stands before a version of its key is deleted",
                        format!("{key}: {entry:?}"),
                    );
                }
                self.collected_keys.insert(key.clone());
                Ok(())
            }
            Name::Blob { attempt, number, .. } => match self.commits.get(attempt) {
                Some(commit) if !commit.collected && names_blob(&commit.record, *number) => broken(
                    "P6: the blobs of a committed transaction stand until it is collected",
                    format!("{name:?} of {}", commit.record.txn),
                ),
                Some(commit) if is_result(&commit.record, *number) => {
                    retained(&commit.record, "its result goes", &scene)
                }
                Some(_) | None => Ok(()),
            },
            Name::Intent(_) | Name::Collect(_) | Name::Marker(_) | Name::Entered => Ok(()),
            Name::Horizon => broken("the horizon stays", format!("{name:?}")),
        }
    }

    fn judge_header(&mut self, held: &Record, by_tag: bool, scene: Scene<'_>) -> Verdict {
        let told = self.commits.get(&held.txn.attempt).is_some_and(|commit| commit.told);
        retained(held, if told { "told of, it goes" } else { "never told of, it goes" }, &scene)?;
        if held.full().is_some() && !held.keys().is_empty() {
            return broken("P6: a record's values go before the record", format!("{}", held.txn));
        }
        if held.named && !by_tag {
            return broken(
                "section 8: the header of a named request goes by a conditional delete",
                format!("{}", held.txn),
            );
        }
        self.judge_collected(held.txn, "its record goes", scene)?;
        if let Some(commit) = self.commits.get_mut(&held.txn.attempt) {
            commit.collected = true;
        }
        Ok(())
    }
}

/// Whether a record's retention has passed.
fn retained(record: &Record, what: &str, scene: &Scene<'_>) -> Verdict {
    let until_ms = record.txn.time.ms() + record.retention_ms;
    if scene.now_ms + scene.settings.skew_max_ms < until_ms {
        return broken(
            "P5: a record is kept for its request's retention, and its result with it",
            format!("{}: {what}, but is kept until {until_ms}", record.txn),
        );
    }
    Ok(())
}

fn blob_parts(blob: &BlobRef) -> Vec<(AttemptId, u32, u32)> {
    (0..blob.parts).map(|part| (blob.attempt, blob.number, part)).collect()
}

/// Whether this blob of its attempt is a record's result.
fn is_result(record: &Record, number: u32) -> bool {
    record.large_result.is_some_and(|result| result.blob.number == number)
}

/// Whether a record names this blob of its attempt: one whose key was written again is nobody's.
fn names_blob(record: &Record, number: u32) -> bool {
    let writes = record.full().into_iter().flat_map(|writes| writes.iter());
    writes.into_iter().any(|(_, write)| match write {
        Write::Put(value) => match &value.location {
            Location::Blob(blob) => blob.number == number,
            Location::Inline(_) => false,
        },
        Write::Tombstone => false,
    })
}
