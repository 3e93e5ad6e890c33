//! Export: the latest committed state of a bucket becomes plain objects, as one snapshot.
//!
//! ```text
//!   one transaction:  list ─► plan ─► partial manifest ─► remove ─► read and write ─► manifest
//! ```
//!
//! One transaction chooses the versions of all keys, so they are read atomic: of a commit that
//! wrote several of them the export has all of the writes or what superseded them. The bytes are
//! read in the same transaction. If its time is over, or a version is not kept any more, the export
//! fails; the next one skips what was written and is unchanged.

mod plan;
mod target;

use std::fmt;

use aft_door_s3::objects::{Entry, Objects, Problem, Snapshot};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use crate::export::plan::Plan;
use crate::export::target::{Stopped, Target};
use crate::manifest::{Header, Line};
use crate::progress::Progress;
use crate::sending::Content;
use crate::{Failed, OBJECTS_AT_ONCE, Place, of_key};

/// The number of failures that a message names.
const NAMED_MAX: usize = 20;

/// The arguments of an export.
#[derive(Debug, Clone)]
pub struct Options {
    /// The URL of the store, for the manifest.
    pub store: String,
    /// The bucket.
    pub bucket: String,
    /// The time at which the export began, in UTC, for the manifest.
    pub began: String,
}

/// The result of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The bucket.
    pub bucket: String,
    /// The time of the snapshot, in UTC.
    pub snapshot: String,
    /// The objects of the snapshot.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The objects that were written now.
    pub written: u64,
    /// The objects that were there already.
    pub skipped: u64,
    /// The objects of an earlier export that were removed.
    pub removed: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { bucket, snapshot, objects, bytes, written, skipped, removed } = self;
        write!(f, "exported the bucket {bucket} as of {snapshot}: {objects} objects, {bytes} bytes")?;
        write!(f, "\nwrote {written}, skipped {skipped} that were there already, removed {removed}")
    }
}

/// Exports a bucket to a place.
///
/// # Errors
/// Returns an error if the snapshot was not written as a whole; the text says what to do.
pub async fn run(objects: &Objects, place: &Place, options: Options) -> Result<Report, Failed> {
    let Options { store, bucket, began } = options;
    let target = Target::open(place).await?;
    if let Some(other) = target.known_bucket.as_ref().filter(|other| **other != bucket) {
        return Err(format!(
            "{place} holds an export of the bucket {other}: choose another place for the bucket {bucket}"
        ));
    }
    let snapshot = objects.snapshot().await.map_err(|why| why.message)?;
    let progress = Progress::show("exporting");
    snapshot.need_whole_bucket(&bucket).await.map_err(|why| why.message)?;
    let entries = list(&snapshot, &bucket).await?;
    progress.expect(entries.len());
    let names = target.names(entries.iter().map(|entry| entry.key.as_str()));
    let plan = Plan::new(entries, names, &target.known, |line| target.is_there(line));
    // Everything that can be rejected is rejected before anything is changed.
    for (_, name) in &plan.writes {
        target.check_free(name)?;
    }
    let header = |lines: &[Line]| Header::new(&store, &bucket, began.clone(), lines);
    let partial = plan.partial(&target.known);
    target.begin(header(&partial), partial).await?;
    // First, because a key may have become a folder of others, or a folder a key.
    for name in &plan.gone {
        target.remove(name).await?;
    }
    let Plan { kept, writes, gone } = plan;
    kept.iter().for_each(|_| progress.done(0));
    let mut report = Report {
        bucket: bucket.clone(),
        snapshot: began.clone(),
        skipped: kept.len() as u64,
        ..Report::default()
    };
    report.removed = gone.len() as u64;
    let mut lines = kept;
    let written = write_all(&snapshot, &target, &bucket, writes, &progress).await;
    let written = match written {
        Ok(written) => written,
        Err(why) => {
            target.give_up().await;
            return Err(why);
        }
    };
    report.written = written.len() as u64;
    lines.extend(written);
    lines.sort_by(|one, other| one.key.cmp(&other.key));
    let header = header(&lines);
    (report.objects, report.bytes) = (header.objects, header.bytes);
    target.end(&header, &lines).await?;
    Ok(report)
}

/// Lists all objects of a bucket.
async fn list(snapshot: &Snapshot, bucket: &str) -> Result<Vec<Entry>, Failed> {
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page = snapshot.list(bucket, after.as_deref()).await;
        let page = page.map_err(|problem| stopped(problem).into_text())?;
        entries.extend(page.objects);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(entries),
        }
    }
}

/// Writes objects, several at once, and returns their lines. Goes on after one that fails by
/// itself, so that the next export has less to do.
async fn write_all(
    snapshot: &Snapshot,
    target: &Target,
    bucket: &str,
    writes: Vec<(Entry, String)>,
    progress: &Progress,
) -> Result<Vec<Line>, Failed> {
    let (mut lines, mut failures, mut failed) = (Vec::with_capacity(writes.len()), Vec::new(), 0_usize);
    let one = |(entry, name): (Entry, String)| async move {
        let key = entry.key.clone();
        // Boxed because the future is large.
        (key, Box::pin(write_one(snapshot, target, bucket, entry, name)).await)
    };
    let mut written = futures::stream::iter(writes).map(one).buffer_unordered(OBJECTS_AT_ONCE);
    while let Some((key, written)) = written.next().await {
        match written {
            Ok(line) => {
                progress.done(line.size);
                lines.push(line);
            }
            Err(Stopped::Snapshot) => return Err(Stopped::Snapshot.into_text()),
            Err(Stopped::Failed(why)) => {
                failed += 1;
                if failures.len() < NAMED_MAX {
                    failures.push(of_key(&key, why));
                }
            }
        }
    }
    match failed {
        0 => Ok(lines),
        _ => {
            let more = if failed > failures.len() { ", and others" } else { "" };
            Err(format!(
                "{failed} objects were not written, so there is no manifest of a whole snapshot; run the command \
                 again when the reason is gone:\n  {}{more}",
                failures.join("\n  ")
            ))
        }
    }
}

/// Writes an object, and returns its line.
async fn write_one(
    snapshot: &Snapshot,
    target: &Target,
    bucket: &str,
    entry: Entry,
    name: String,
) -> Result<Line, Stopped> {
    let found = snapshot.read(bucket, &entry.key).await.map_err(stopped)?;
    let found = found.expect("what a transaction has listed, it reads");
    assert_eq!(found.version(), entry.version, "a transaction reads the version that it has listed");
    let parts = found.parts();
    let mut line = Line {
        name: Some(name).filter(|name| *name != entry.key),
        key: entry.key,
        size: found.size(),
        etag: found.etag(),
        version: found.version().to_string(),
        modified_ms: found.modified_ms(),
        parts: parts.clone(),
        ..Line::default()
    };
    line.set(found.attributes());
    let bytes = snapshot.bytes(&found).await.map_err(stopped)?;
    let content = Content { size: found.size(), parts, bytes: bytes.map_err(stopped).boxed() };
    target.write(&mut line, found.attributes(), content).await?;
    Ok(line)
}

fn stopped(problem: Problem) -> Stopped {
    match problem.is_end_of_snapshot() {
        true => Stopped::Snapshot,
        false => Stopped::Failed(problem.message),
    }
}

impl Stopped {
    /// Returns the text for people.
    fn into_text(self) -> Failed {
        match self {
            Stopped::Snapshot => "the snapshot ended before all of it was read, because the time of its transaction \
                                  is over or a version of it was removed: run the command again, which skips what \
                                  was written and is unchanged"
                .into(),
            Stopped::Failed(why) => why,
        }
    }
}
