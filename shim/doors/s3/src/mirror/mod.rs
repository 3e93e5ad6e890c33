//! The mirror: writes the newest committed version of each key of a bucket to its origin, under the
//! plain name, soon after the commit (docs/protocol.md, section 18).
//!
//! ```text
//!   a commit ─► due ─► what is there ─► newest version ─► step ─► the origin ─► still newest?
//!                           └────────────────◄── no ─────────────────────────────┘   yes: end
//! ```
//!
//! A commit writes an entry of a list together with its keys, and the entry goes only when the
//! mirror has seen, after its last request to the origin, that nothing newer was committed. So a
//! process that ends at any time leaves nothing behind that the next round does not find. Any
//! number of servers may mirror a bucket: each request holds only for the object that was seen.
//!
//! * `rules` – the decision. `check` – from time to time, a look at every mirrored object; and the
//!   list of all keys when a mirror is switched on.

mod check;
#[cfg(test)]
mod failures;
mod rules;
#[cfg(test)]
mod worlds;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aft_core::ids::{Key, TxnId};
use aft_core::message::{Found, ListKeys, Op, Read};
use aft_core::record::{Value, Write};
use aft_desk::{Desk, Version, large, value_of};
use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{StreamExt as _, stream};
use metrics::{counter, describe_counter, describe_gauge, gauge};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::mirror::rules::{Latest, Step, There, step};
use crate::object::{Object, inline, name};
use crate::operations::now_ms;
use crate::origin::mapping::{dues, hidden, key_of_due, plain};
use crate::origin::{Bucket, Expect, Origins, Outgoing, Plain, Trouble};

/// The pause after a commit of this process, so that one round mirrors many.
const GATHER: Duration = Duration::from_millis(200);
/// The pause between two rounds while commits of this process are not mirrored.
const AGAIN: Duration = Duration::from_secs(1);
/// The pause between two rounds that look for what other processes have left.
const LOOK: Duration = Duration::from_secs(10);
/// The age from which on an entry is mirrored by any process, and not only by its own.
const LEFT_AFTER_MS: u64 = 10_000;
/// The pause between two checks of all mirrored objects, and the one before the first.
const CHECK: Duration = Duration::from_secs(3_600);
const FIRST_CHECK: Duration = Duration::from_secs(300);
/// The pause before a key that failed is tried again; it doubles up to the longest one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The pause between two lines of the log about keys that fail, and the keys that a line names.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);
const NAMED_MAX: usize = 3;
/// The entries of a page of the list, and the keys that wait for their turn at most.
const PAGE_LEN: u32 = 1_000;
const WAITING_MAX: usize = 10_000;
/// The keys that are mirrored at once: a large object does not stop the others.
const KEYS_AT_ONCE: usize = 16;
/// The error of two clocks that are compared, with the second in which an object's time is rounded.
const SKEW_MS: u64 = 3_000;
/// The steps for one key in one round, before it waits for the next one.
const STEPS_MAX: usize = 6;

/// Mirrors the buckets that say so, without an end. A round that fails is tried again later.
pub async fn mirror(desk: Arc<Desk>, origins: Arc<Origins>) {
    describe_gauge!("aft_s3_mirror_lag_seconds", "Age of the oldest commit that is not mirrored, by bucket");
    describe_gauge!("aft_s3_mirror_due", "Changes that are not mirrored yet, by bucket");
    describe_counter!(
        "aft_s3_mirror_writes_total",
        "Objects written or deleted at origins, by bucket and kind"
    );
    describe_counter!(
        "aft_s3_mirror_foreign_total",
        "Objects at origins that others had overwritten, and that were left, by bucket"
    );
    describe_counter!(
        "aft_s3_mirror_failures_total",
        "Keys whose mirroring failed and is repeated, by bucket"
    );
    let mirrored = origins.buckets().filter(|bucket| bucket.mapping.mirror);
    let all = mirrored.map(|bucket| keep_running(desk.clone(), bucket.clone()));
    futures::future::join_all(all).await;
}

/// Runs the mirror of one bucket, again after a broken invariant.
async fn keep_running(desk: Arc<Desk>, bucket: Arc<Bucket>) {
    loop {
        let mirror = Mirror { call: Call::of_server(&desk), bucket: bucket.clone() };
        match tokio::spawn(mirror.run()).await {
            Ok(()) => unreachable!("a mirror has no end"),
            Err(why) if why.is_panic() => {
                error!(bucket = bucket.name, "the mirror has stopped, and is started again: this is a bug");
                tokio::time::sleep(PAUSE_MAX).await;
            }
            // The process ends.
            Err(_) => return,
        }
    }
}

/// The mirror of one bucket.
struct Mirror {
    /// Sees only what is in the store.
    call: Call,
    bucket: Arc<Bucket>,
}

/// The state of a key at one time, as the mirror has read it.
struct Seen {
    latest: Latest,
    /// The newest version, if it is an object.
    object: Option<Object>,
    /// True if the mirror has recorded what it left there.
    is_recorded: bool,
}

impl Mirror {
    async fn run(self) {
        let mut next_check = Instant::now() + FIRST_CHECK;
        let (mut is_behind, mut queue) = (true, Queue::default());
        let mut working = FuturesUnordered::new();
        // The first look comes at once.
        let now = Instant::now();
        let mut looked = now.checked_sub(LOOK).unwrap_or(now);
        loop {
            let pause = if self.expects_any() || queue.is_busy() { AGAIN } else { LOOK };
            tokio::select! {
                Some((key, mirrored)) = working.next(), if !working.is_empty() => {
                    let mirrored: Result<()> = mirrored;
                    if let Err(failure) = &mirrored {
                        let label = self.bucket.name.clone();
                        counter!("aft_s3_mirror_failures_total", "bucket" => label).increment(1);
                        debug!(bucket = self.bucket.name, key, why = failure.message, "a key was not mirrored");
                    }
                    queue.end(key, mirrored);
                }
                () = tokio::time::sleep_until(looked + pause) => {
                    self.refill(&mut queue, &mut is_behind).await;
                    looked = Instant::now();
                }
                () = self.bucket.wake.notified() => {
                    tokio::time::sleep(GATHER).await;
                    self.refill(&mut queue, &mut is_behind).await;
                    looked = Instant::now();
                }
            }
            while working.len() < KEYS_AT_ONCE
                && let Some((key, entries)) = queue.begin()
            {
                // Boxed because the future is large.
                let mirror = &self;
                let one = Box::pin(async move {
                    let mirrored = mirror.mirror(&key, &entries).await;
                    (key, mirrored)
                });
                working.push(one);
            }
            if Instant::now() >= next_check {
                self.check_all().await;
                next_check = Instant::now() + CHECK;
            }
        }
    }

    /// Reads the list, and first fills it if the mirror is behind. What fails is tried again later.
    async fn refill(&self, queue: &mut Queue, is_behind: &mut bool) {
        let filled = async {
            if *is_behind {
                self.catch_up().await?;
                *is_behind = false;
            }
            self.list_due(queue).await
        };
        if let Err(failure) = filled.await {
            queue.complain(&self.bucket.name, Some(&failure.message));
        } else {
            queue.complain(&self.bucket.name, None);
        }
    }

    /// Checks all mirrored objects.
    async fn check_all(&self) {
        let (bucket, checked) = (&self.bucket.name, self.check().await);
        match checked {
            Ok(0) => {}
            Ok(found) => info!(bucket, found, "objects differ from what the mirror left"),
            Err(Failure { message: why, .. }) => {
                warn!(bucket, why, "the check of the mirror failed; it is repeated later");
            }
        }
    }

    /// Returns true if entries that this process has written are not mirrored, or may yet commit.
    fn expects_any(&self) -> bool {
        let longest = self.call.caller.node().over_after();
        let mut due = self.bucket.due.lock().expect("nothing panics while it holds the list");
        due.retain(|_, since| since.elapsed() < longest);
        !due.is_empty()
    }

    /// Reads the list, and puts on the queue what this process has to mirror.
    async fn list_due(&self, queue: &mut Queue) -> Result<()> {
        let label = self.bucket.name.clone();
        let (mut after, mut count, mut oldest_ms) = (None, 0, 0);
        let mut by_key: BTreeMap<String, Vec<Key>> = BTreeMap::new();
        loop {
            let ask = ListKeys { prefix: dues(&label), after, limit: PAGE_LEN, delimiter: None };
            let page = self.call.page(ask).await?;
            let since = |txn: TxnId| now_ms().saturating_sub(txn.time.ms());
            let ages = page.keys.iter().filter_map(|listed| listed.txn).map(since);
            count += page.keys.len();
            oldest_ms = ages.max().unwrap_or(0).max(oldest_ms);
            for listed in page.keys {
                let is_left = listed.txn.is_none_or(|txn| since(txn) >= LEFT_AFTER_MS);
                if !is_left && !self.is_own(&listed.key) {
                    continue;
                }
                match key_of_due(&label, &listed.key).map(str::to_owned) {
                    Some(key) => by_key.entry(key).or_default().push(listed.key),
                    None => warn!(key = %listed.key, "no entry of the mirror's list"),
                }
            }
            match page.next {
                Some(next) if by_key.len() < WAITING_MAX => after = Some(next),
                _ => break,
            }
        }
        gauge!("aft_s3_mirror_due", "bucket" => label.clone()).set(count as f64);
        gauge!("aft_s3_mirror_lag_seconds", "bucket" => label).set(oldest_ms as f64 / 1_000.0);
        queue.was_due = count > 0;
        queue.fill(by_key);
        Ok(())
    }

    /// Returns true if this process has written an entry of the list.
    fn is_own(&self, entry: &Key) -> bool {
        self.bucket.due.lock().expect("nothing panics while it holds the list").contains_key(entry)
    }

    /// Mirrors a key, and removes the entries that were read before.
    async fn mirror(&self, key: &str, entries: &[Key]) -> Result<()> {
        for _ in 0..STEPS_MAX {
            // The origin is asked before the record is read: an object that somebody else has
            // written over ours is then never taken for version 0.
            let there = self.bucket.origin.head(key).await.map_err(|why| self.bucket.failure(why))?;
            let seen = self.look(key).await?;
            let state = self.classify(key, there.as_ref(), &seen);
            let etag = there.map(|there| there.etag).unwrap_or_default();
            let mut done = None;
            match step(seen.latest, state) {
                Step::Done if seen.latest == Latest::Unwritten => return self.end(key, entries, None).await,
                // The bucket never had anything there.
                Step::Done if state == There::Nothing && !seen.is_recorded => {
                    return self.end(key, entries, None).await;
                }
                Step::Done => return self.end(key, entries, Some(&etag)).await,
                Step::Report => {
                    self.report(key, &etag);
                    // So that the check finds it until it is out of the way.
                    return self.end(key, entries, Some("")).await;
                }
                Step::Write => {
                    let expect = match state {
                        There::Nothing => Expect::Nothing,
                        There::Marked(_) | There::Zero | There::Foreign => Expect::Tag(etag),
                    };
                    let object = seen.object.as_ref().expect("an object is written");
                    match self.write(key, object, expect).await {
                        Ok(etag) => done = Some(etag),
                        Err(Wrote::Again) => {}
                        Err(Wrote::Failed(failure)) => return Err(failure),
                    }
                }
                Step::Delete => match self.bucket.origin.delete(key, &etag).await {
                    Ok(()) => {
                        self.count("delete");
                        done = Some(String::new());
                    }
                    Err(Trouble::Changed) => {}
                    Err(trouble) => return Err(self.bucket.failure(trouble)),
                },
            }
            // Had something newer been committed and mirrored by another process meanwhile, a
            // request that held by chance, or was not compared, would have undone that.
            if let Some(etag) = done
                && self.look(key).await?.latest == seen.latest
            {
                return self.end(key, entries, Some(&etag)).await;
            }
        }
        debug!(bucket = self.bucket.name, key, "a key changes faster than it is mirrored");
        Ok(())
    }

    /// Reads the newest committed state of a key, and what the mirror has recorded about it.
    async fn look(&self, key: &str) -> Result<Seen> {
        let bucket = &self.bucket.name;
        let object = Key::parse(&name(bucket, key)).map_err(aft_desk::Refused::Key)?;
        let keys = [object, hidden(bucket, key), plain(bucket, key)];
        let mut reads = self.call.read_all_alone(&keys).await?.into_iter();
        let mut next = || reads.next().expect("one read for each key");
        let (object, deleted, left) = (Object::of(next())?, version_of(&next()), value_of(next().found));
        let latest = match (&object, deleted) {
            (Some(Object { version: Version::Committed(version), .. }), _) => Latest::Object(*version),
            (Some(_), _) => unreachable!("the mirror reads what is committed"),
            (None, Some(deleted)) => Latest::Deleted(deleted),
            (None, None) => Latest::Unwritten,
        };
        Ok(Seen { latest, object, is_recorded: left.is_some() })
    }

    /// Returns what the origin has.
    fn classify(&self, key: &str, there: Option<&Plain>, seen: &Seen) -> There {
        let Some(there) = there else { return There::Nothing };
        match there.mark.as_deref().and_then(|mark| self.bucket.mapping.marked(key, mark)) {
            Some(version) => There::Marked(version),
            // The mirror leaves no object without a mark.
            None if seen.is_recorded || self.is_later(there, seen.latest) => There::Foreign,
            None => There::Zero,
        }
    }

    /// Returns true if an object was changed after a commit, as far as two clocks tell: then it is
    /// no version 0.
    fn is_later(&self, there: &Plain, latest: Latest) -> bool {
        let (Latest::Object(version) | Latest::Deleted(version)) = latest else { return false };
        there.modified_ms > version.time.ms() + SKEW_MS
    }

    /// Writes an object to the origin, and returns its entity tag there.
    async fn write(&self, key: &str, object: &Object, expect: Expect) -> std::result::Result<String, Wrote> {
        let Version::Committed(version) = object.version else { unreachable!("it is committed") };
        let content = large::Content::of(&self.call.caller, &object.key, &object.value).await;
        let content = content.map_err(Failure::from).map_err(gone)?;
        let count = object.parts().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        let part = |at| content.piece(at).expect("each part is a piece");
        let parts = (0..count).map(part).map(|part| part.end - part.start).collect();
        // Without a transaction that is held open: a version that is overwritten and collected
        // meanwhile is not worth writing any more.
        let download = self.call.download(object, 0..content.size(), None).await.map_err(gone)?;
        let large::Download { first, more, share } = download;
        let more = more.map(move |piece| {
            // The memory is given back with the stream.
            let _held = &share;
            piece.map_err(|refusal| Failure::from(refusal).message)
        });
        let outgoing = Outgoing {
            attributes: aft_format::Attributes { checksum: None, ..object.about.clone() },
            mark: self.bucket.mapping.mark(key, version),
            size: object.size(),
            parts,
            bytes: stream::once(async { Ok(first) }).chain(more).boxed(),
        };
        match self.bucket.origin.put(key, expect, outgoing).await {
            Ok(etag) => {
                self.count("write");
                Ok(etag)
            }
            Err(Trouble::Changed) => Err(Wrote::Again),
            Err(trouble) => Err(Wrote::Failed(self.bucket.failure(trouble))),
        }
    }

    fn count(&self, kind: &'static str) {
        let bucket = self.bucket.name.clone();
        counter!("aft_s3_mirror_writes_total", "bucket" => bucket, "kind" => kind).increment(1);
    }

    fn report(&self, key: &str, etag: &str) {
        counter!("aft_s3_mirror_foreign_total", "bucket" => self.bucket.name.clone()).increment(1);
        warn!(
            bucket = self.bucket.name,
            key,
            etag,
            origin = self.bucket.mapping.place,
            "somebody else has overwritten a mirrored object; it is left as it is, and readers outside see it: move or \
             delete it there, and the mirror writes its own again"
        );
    }

    /// Ends the work on a key: removes entries, and records what was left at the origin.
    async fn end(&self, key: &str, entries: &[Key], left: Option<&str>) -> Result<()> {
        let mut ops: Vec<Op> = entries.iter().cloned().map(Op::Delete).collect();
        if let Some(etag) = left {
            let value = Value { etag: Bytes::copy_from_slice(etag.as_bytes()), ..inline(Bytes::new()) };
            ops.push(Op::Put(plain(&self.bucket.name, key), value));
        }
        if !ops.is_empty() {
            self.call.run_alone(ops).await?;
        }
        let mut due = self.bucket.due.lock().expect("nothing panics while it holds the list");
        for entry in entries {
            due.remove(entry);
        }
        Ok(())
    }
}

/// The keys that wait for their turn, are being mirrored, or have failed.
#[derive(Debug, Default)]
struct Queue {
    /// The keys with their entries, as they were listed last.
    waiting: BTreeMap<String, Vec<Key>>,
    busy: HashSet<String>,
    /// The keys that have failed: how often in a row, why, and when they are tried again.
    failed: BTreeMap<String, (u32, String, Instant)>,
    complained: Option<Instant>,
    /// True if the list had entries when it was read last: it is read again until it has none, so
    /// that the metrics are right.
    was_due: bool,
}

impl Queue {
    /// Returns true if there is something to look after soon.
    fn is_busy(&self) -> bool {
        self.was_due || !self.waiting.is_empty() || !self.busy.is_empty() || !self.failed.is_empty()
    }

    /// Takes what was listed.
    fn fill(&mut self, listed: BTreeMap<String, Vec<Key>>) {
        // Another process may have mirrored what failed here.
        self.failed.retain(|key, _| listed.contains_key(key));
        self.waiting = listed;
    }

    /// Returns the next key that can be mirrored.
    fn begin(&mut self) -> Option<(String, Vec<Key>)> {
        let now = Instant::now();
        let may = |key: &&String| {
            !self.busy.contains(*key) && self.failed.get(*key).is_none_or(|(_, _, next)| *next <= now)
        };
        let key = self.waiting.keys().find(may)?.clone();
        let entries = self.waiting.remove(&key).expect("it waits");
        self.busy.insert(key.clone());
        Some((key, entries))
    }

    /// Ends the work on a key.
    fn end(&mut self, key: String, mirrored: Result<()>) {
        assert!(self.busy.remove(&key), "a key that ends was begun");
        match mirrored {
            Ok(()) => drop(self.failed.remove(&key)),
            Err(failure) => {
                let times = self.failed.get(&key).map_or(0, |(times, ..)| *times);
                let pause = (PAUSE_MIN * (1 << times.min(6))).min(PAUSE_MAX);
                self.failed.insert(key, (times + 1, failure.message, Instant::now() + pause));
            }
        }
    }

    /// Logs what fails, from time to time.
    fn complain(&mut self, bucket: &str, listing: Option<&str>) {
        let is_silent = self.failed.is_empty() && listing.is_none();
        if is_silent || self.complained.is_some_and(|since| since.elapsed() < COMPLAINT_PAUSE) {
            return;
        }
        self.complained = Some(Instant::now());
        if let Some(why) = listing {
            warn!(bucket, why, "the mirror cannot read its list; it tries again");
            return;
        }
        let named = self.failed.iter().take(NAMED_MAX);
        let named: Vec<String> = named.map(|(key, (_, why, _))| format!("{key:?}: {why}")).collect();
        let (keys, some) = (self.failed.len(), named.join("; "));
        warn!(bucket, keys, some, "the mirror could not write keys; it tries them again");
    }
}

/// The reason why an object was not written.
enum Wrote {
    /// The key has changed, here or at the origin: look again.
    Again,
    Failed(Failure),
}

/// Returns the reason why the bytes of a version cannot be read: mostly that it was overwritten and
/// collected.
fn gone(failure: Failure) -> Wrote {
    match failure.may_run_again() {
        true => Wrote::Again,
        false => Wrote::Failed(failure),
    }
}

/// Returns the version of a value that was read.
fn version_of(read: &Read) -> Option<TxnId> {
    match &read.found {
        Found::Version(txn, Write::Put(_)) => Some(*txn),
        Found::Version(_, Write::Tombstone) | Found::Own(_) | Found::Absent => None,
    }
}
