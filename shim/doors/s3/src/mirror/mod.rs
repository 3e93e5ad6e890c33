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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aft_core::ids::{Key, TxnId};
use aft_core::message::{Found, ListKeys, Op, Read};
use aft_core::record::{Value, Write};
use aft_desk::{Desk, Version, large, value_of};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use metrics::{counter, describe_counter, describe_gauge, gauge};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::mirror::rules::{Known, Latest, Step, There, step};
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
/// The pause between two checks of all mirrored objects.
const CHECK: Duration = Duration::from_secs(3_600);
/// The longest pause after rounds in which some key failed.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The entries of a page of the list, and the keys that are mirrored at once.
const PAGE_LEN: u32 = 1_000;
const KEYS_AT_ONCE: usize = 8;
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
    let all = mirrored.map(|bucket| Mirror { call: Call::of_server(&desk), bucket: bucket.clone() }.run());
    futures::future::join_all(all).await;
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
    /// The entity tag that the mirror has left; empty for a deletion.
    left: Option<String>,
}

impl Mirror {
    async fn run(self) {
        let mut checked = Instant::now();
        let mut failed_rounds = 0_u32;
        let mut is_behind = true;
        loop {
            if failed_rounds > 0 {
                tokio::time::sleep((AGAIN * (1 << failed_rounds.min(6))).min(PAUSE_MAX)).await;
            } else {
                let pause = if self.expects_any() { AGAIN } else { LOOK };
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.bucket.wake.notified() => tokio::time::sleep(GATHER).await,
                }
            }
            let caught_up = match is_behind {
                true => self.catch_up().await,
                false => Ok(()),
            };
            is_behind = caught_up.is_err();
            match caught_up.and(self.round().await) {
                Ok(()) => failed_rounds = 0,
                Err(failure) => {
                    failed_rounds += 1;
                    warn!(
                        bucket = self.bucket.name,
                        why = failure.message,
                        "the mirror is behind: some keys could not be written, and are tried again"
                    );
                }
            }
            if checked.elapsed() >= CHECK {
                match self.check().await {
                    Ok(found) if found > 0 => {
                        info!(bucket = self.bucket.name, found, "objects differ from what the mirror left")
                    }
                    Ok(_) => {}
                    Err(failure) => {
                        warn!(
                            bucket = self.bucket.name,
                            why = failure.message,
                            "the check of the mirror failed; it is repeated later"
                        );
                    }
                }
                checked = Instant::now();
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

    /// Mirrors what is due. Returns the failure of some key, after all were tried.
    async fn round(&self) -> Result<()> {
        let label = self.bucket.name.clone();
        let (mut after, mut count, mut oldest_ms, mut failed) = (None, 0, 0, None);
        loop {
            let ask = ListKeys { prefix: dues(&label), after, limit: PAGE_LEN, delimiter: None };
            let page = self.call.page(ask).await?;
            let since = |txn: TxnId| now_ms().saturating_sub(txn.time.ms());
            let ages = page.keys.iter().filter_map(|listed| listed.txn).map(since);
            count += page.keys.len();
            oldest_ms = ages.max().unwrap_or(0).max(oldest_ms);
            gauge!("aft_s3_mirror_due", "bucket" => label.clone()).set(count as f64);
            gauge!("aft_s3_mirror_lag_seconds", "bucket" => label.clone()).set(oldest_ms as f64 / 1_000.0);
            let mut by_key: BTreeMap<String, Vec<Key>> = BTreeMap::new();
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
            let one = |(key, entries): (String, Vec<Key>)| async move {
                // Boxed because the future is large.
                let mirrored = Box::pin(self.mirror(&key, &entries)).await;
                mirrored.map_err(|Failure { message, .. }| format!("{key:?}: {message}"))
            };
            let mut all = stream::iter(by_key).map(one).buffer_unordered(KEYS_AT_ONCE);
            while let Some(mirrored) = all.next().await {
                if let Err(why) = mirrored {
                    counter!("aft_s3_mirror_failures_total", "bucket" => label.clone()).increment(1);
                    failed = Some(why);
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        if count > 0 && failed.is_none() && !self.expects_any() {
            gauge!("aft_s3_mirror_due", "bucket" => label.clone()).set(0.0);
            gauge!("aft_s3_mirror_lag_seconds", "bucket" => label).set(0.0);
        }
        failed.map_or(Ok(()), |why| Err(Failure::new("ServiceUnavailable", 503, why)))
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
            let (state, known) = self.classify(there.as_ref(), seen.left.as_deref());
            let etag = there.map(|there| there.etag).unwrap_or_default();
            let mut done = None;
            match step(seen.latest, state, known) {
                Step::Done if seen.latest == Latest::Unwritten => return self.end(key, entries, None).await,
                Step::Done => return self.end(key, entries, Some(&etag)).await,
                Step::Report => {
                    self.report(key, &etag);
                    return self.end(key, entries, None).await;
                }
                Step::Write => {
                    let expect = match state {
                        There::Nothing => Expect::Nothing,
                        There::Marked(_) | There::Unmarked => Expect::Tag(etag),
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
        let left = left.map(|(value, _)| String::from_utf8_lossy(&value.etag).into_owned());
        Ok(Seen { latest, object, left })
    }

    /// Returns what the origin has, and whether that is what the mirror has left there.
    fn classify(&self, there: Option<&Plain>, left: Option<&str>) -> (There, Known) {
        let etag = there.map_or("", |there| there.etag.as_str());
        let known = match left {
            None => Known::Never,
            Some(left) if left == etag => Known::AsLeft,
            Some(_) => Known::Otherwise,
        };
        let state = match there {
            None => There::Nothing,
            Some(there) => match there.mark.as_deref().and_then(|mark| self.bucket.mapping.marked(mark)) {
                Some(version) => There::Marked(version),
                None => There::Unmarked,
            },
        };
        (state, known)
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
            mark: self.bucket.mapping.mark(version),
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
