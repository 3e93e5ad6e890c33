//! Import: existing objects become versions of a store.
//!
//! Each object is a transaction of its own, or an upload in parts. Its bytes are verified before it
//! is committed, and it remembers the entity tag that it had, so that an import that runs again
//! continues where the last one ended, and replaces only what an import wrote.

mod object;
mod source;

use std::fmt;

use aft_door_s3::objects::Objects;
use futures::StreamExt as _;
use serde::Serialize;

use crate::import::object::{Job, Outcome};
use crate::import::source::Source;
use crate::progress::Progress;
use crate::{Failed, OBJECTS_AT_ONCE, Place, of_key};

/// The number of keys of one kind that a report names.
const NAMED_MAX: usize = 20;

/// The arguments of an import.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The bucket to import into; by default that of the source or of its manifest.
    pub bucket: Option<String>,
    /// True to replace objects that differ from the source and were not imported.
    pub overwrite: bool,
    /// True to import objects whose bytes do not fit their entity tag or checksum.
    pub any_etag: bool,
}

/// The result of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The bucket that was imported into.
    pub bucket: String,
    /// True if the bucket was made.
    pub bucket_is_new: bool,
    /// The objects that were written.
    pub imported: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The objects of these that could not be compared with their entity tag.
    pub not_verified: u64,
    /// The objects that were there already.
    pub skipped: u64,
    /// The objects that differ and were left as they are, because no import wrote them.
    pub different: u64,
    /// The objects that failed.
    pub failed: u64,
    /// Keys of the different ones; the first few.
    pub different_keys: Vec<String>,
    /// Keys of the failed ones with the reasons; the first few.
    pub failures: Vec<String>,
}

impl Report {
    /// Returns true if the bucket has every object of the source.
    pub fn is_whole(&self) -> bool {
        self.different == 0 && self.failed == 0
    }

    fn add(&mut self, key: String, outcome: Outcome) {
        match outcome {
            Outcome::Imported { bytes, is_verified } => {
                self.imported += 1;
                self.bytes += bytes;
                self.not_verified += u64::from(!is_verified);
            }
            Outcome::Present => self.skipped += 1,
            Outcome::Different => {
                self.different += 1;
                if self.different_keys.len() < NAMED_MAX {
                    self.different_keys.push(key);
                }
            }
            Outcome::Failed(why) => {
                self.failed += 1;
                if self.failures.len() < NAMED_MAX {
                    self.failures.push(of_key(&key, why));
                }
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { bucket, imported, bytes, not_verified, skipped, different, failed, .. } = self;
        let made = if self.bucket_is_new { ", which was made" } else { "" };
        write!(f, "imported {imported} objects, {bytes} bytes, into the bucket {bucket}{made}")?;
        write!(f, "\nskipped {skipped} that were there already")?;
        if *not_verified > 0 {
            write!(f, "\nnot verified by ETag: {not_verified}")?;
        }
        let list = |f: &mut fmt::Formatter<'_>, lines: &[String], count: u64| {
            lines.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
            match count - lines.len() as u64 {
                0 => Ok(()),
                more => write!(f, "\n  and {more} more"),
            }
        };
        if *different > 0 {
            write!(
                f,
                "\nleft {different} as they are: they differ from the source, and no import wrote them"
            )?;
            write!(f, " (--overwrite replaces them)")?;
            let keys: Vec<String> = self.different_keys.iter().map(|key| format!("{key:?}")).collect();
            list(f, &keys, *different)?;
        }
        if *failed > 0 {
            write!(f, "\nfailed {failed}: run the command again to try only these")?;
            list(f, &self.failures, *failed)?;
        }
        Ok(())
    }
}

/// Imports the objects of a place.
///
/// # Errors
/// Returns an error if the place cannot be listed, or nothing can be written. Objects that fail by
/// themselves are in the report.
pub async fn run(objects: Objects, place: &Place, options: Options) -> Result<Report, Failed> {
    let source = Source::open(place).await?;
    // Wrong arguments are rejected before anything is made.
    let Some(bucket) = options.bucket.or_else(|| source.bucket.clone()) else {
        return Err(format!("{place} suggests no name of a bucket: give one with --bucket"));
    };
    let (mut page, mut next) = source.page(None).await?;
    let bucket_is_new = objects.make_bucket(&bucket).await;
    let bucket_is_new = bucket_is_new
        .map_err(|why| format!("the bucket {bucket:?}: {why}; another name can be given with --bucket"))?;
    let left = objects.abort_leftovers(&bucket).await;
    left.map_err(|why| format!("the bucket {bucket:?}: {why}"))?;
    let mut report = Report { bucket: bucket.clone(), bucket_is_new, ..Report::default() };
    for other in &source.others {
        report.add(other.clone(), Outcome::Failed("it is neither a file nor a folder".into()));
    }
    let Options { overwrite, any_etag, .. } = options;
    let job = Job { objects, source, bucket, overwrite, any_etag };
    let progress = Progress::show("importing");
    loop {
        progress.expect(page.len());
        // The next page is requested while the objects of this one are imported.
        let following = async {
            match next {
                Some(next) => job.source.page(Some(next)).await.map(Some),
                None => Ok(None),
            }
        };
        let importing = async {
            let one = |item: source::Item| async {
                let key = item.key.clone();
                // Boxed because the future is large.
                let outcome = Box::pin(job.import(item)).await;
                (key, outcome)
            };
            let mut outcomes = futures::stream::iter(page).map(one).buffer_unordered(OBJECTS_AT_ONCE);
            while let Some((key, outcome)) = outcomes.next().await {
                progress.done(if let Outcome::Imported { bytes, .. } = outcome { bytes } else { 0 });
                report.add(key, outcome);
            }
        };
        let (following, ()) = futures::future::join(following, importing).await;
        match following? {
            Some(following) => (page, next) = following,
            None => return Ok(report),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_is_left() {
        let mut report = Report { bucket: "photos".into(), ..Report::default() };
        report.add("a".into(), Outcome::Imported { bytes: 3, is_verified: true });
        report.add("b".into(), Outcome::Imported { bytes: 4, is_verified: false });
        report.add("c".into(), Outcome::Present);
        assert!(report.is_whole());
        let text = report.to_string();
        assert_eq!(
            text,
            "imported 2 objects, 7 bytes, into the bucket photos\nskipped 1 that were there already\n\
             not verified by ETag: 1"
        );
        report.add("d".into(), Outcome::Different);
        assert!(!report.is_whole());
        for at in 0..NAMED_MAX + 2 {
            report.add(format!("e{at}"), Outcome::Failed("why".into()));
        }
        let text = report.to_string();
        for part in ["\n  \"d\"\n", "failed 22", "\"e0\": why", "and 2 more", "--overwrite"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
