//! The import of one object: look, read, verify, commit.

use std::time::Duration;

use aft_door_s3::objects::{Expected, Incoming, Objects, Only, Problem};

use crate::import::source::{Item, Shape, Source};
use crate::link::{Failure, Got};

/// The number of tries of an object, for failures that pass and for an object that changes.
const TRIES_MAX: u32 = 4;
/// The pause after the first failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(250);

/// The part of an import that all objects share.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) objects: Objects,
    pub(super) source: Source,
    pub(super) bucket: String,
    pub(super) overwrite: bool,
    pub(super) any_etag: bool,
}

/// The outcome for one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was written.
    Imported {
        bytes: u64,
        /// Its bytes were compared with its entity tag.
        is_verified: bool,
    },
    /// The bucket has it already.
    Present,
    /// The bucket has another object with this key, which no import wrote.
    Different,
    /// It was not imported, for a reason.
    Failed(String),
}

/// The reason why a try failed.
enum Stop {
    /// Another try may succeed.
    Passes(String),
    /// The object has changed at the source.
    Changed,
    /// The bytes are not those of the tag.
    WrongTag(String),
    /// Anything else.
    Ends(String),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        match failure {
            Failure::Changed => Stop::Changed,
            failure => Stop::Ends(failure.into_text()),
        }
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Stop {
        match problem.code {
            // Somebody wrote the key, or this import did and did not hear of it: look again.
            "SlowDown"
            | "ServiceUnavailable"
            | "IncompleteBody"
            | "PreconditionFailed"
            | "ConditionalRequestConflict"
            | "OperationAborted" => Stop::Passes(problem.message),
            "BadDigest" => Stop::WrongTag(problem.message),
            _ => Stop::Ends(problem.message),
        }
    }
}

impl Job {
    /// Imports an object.
    pub(super) async fn import(&self, mut item: Item) -> Outcome {
        let (mut pause, mut accept) = (PAUSE, false);
        let mut last = String::new();
        for tried in 0..TRIES_MAX {
            let stop = match self.try_once(&item, accept, tried > 0).await {
                Ok(outcome) => return outcome,
                Err(stop) => stop,
            };
            match stop {
                Stop::Ends(why) => return Outcome::Failed(why),
                Stop::WrongTag(_) if self.any_etag && !accept => accept = true,
                Stop::WrongTag(why) => {
                    let etag = item.etag.as_deref().unwrap_or("of the file");
                    return Outcome::Failed(format!(
                        "its bytes are not those of its entity tag {etag} or of its checksum ({why}); if tags are no \
                         digests there, add --accept-any-etag"
                    ));
                }
                Stop::Passes(why) => {
                    last = why;
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Stop::Changed => {
                    last = Failure::Changed.into_text();
                    item = match self.source.again(&item).await {
                        Ok(item) => item,
                        Err(failure) => return Outcome::Failed(failure.into_text()),
                    };
                }
            }
        }
        Outcome::Failed(last)
    }

    /// Imports an object, if the bucket does not have it. With `accept`, its bytes need not make
    /// its entity tag.
    async fn try_once(&self, item: &Item, accept: bool, is_repeated: bool) -> Result<Outcome, Stop> {
        let found = self.objects.look(&self.bucket, &item.key).await?;
        let etag = match &found {
            // The bytes of a file are read only to compare them, or to import them.
            Some(found) if found.size != item.size && !self.may_replace(found) => {
                return Ok(Outcome::Different);
            }
            _ => self.source.etag_of(item).await?,
        };
        let only = match found {
            None => Only::IfAbsent,
            Some(found) => {
                let is_same = found.etag == etag || found.attributes.source_etag.as_ref() == Some(&etag);
                if found.size == item.size && is_same {
                    let bytes = item.size;
                    return Ok(match is_repeated {
                        // A try before this one has written it, and did not hear of it.
                        true => Outcome::Imported { bytes, is_verified: !accept },
                        false => Outcome::Present,
                    });
                }
                if !self.may_replace(&found) {
                    return Ok(Outcome::Different);
                }
                Only::IfTag(found.etag)
            }
        };
        let mut shape = self.source.shape(item, &etag).await?;
        if accept {
            // A checksum must still be right.
            shape.etag = None;
        }
        let is_verified = match self.objects.can_upload(&self.bucket, &item.key, &shape.parts)? {
            true => self.upload(item, &etag, shape, only).await?,
            false => self.put(item, &etag, shape, only).await?,
        };
        Ok(Outcome::Imported { bytes: item.size, is_verified })
    }

    /// Returns true if an object of the bucket may be replaced: an import wrote it, or the caller
    /// allows it.
    fn may_replace(&self, found: &aft_door_s3::objects::Looked) -> bool {
        self.overwrite || found.attributes.source_etag.is_some()
    }

    /// Imports an object in one transaction. Returns true if its bytes were compared with its tag.
    async fn put(&self, item: &Item, etag: &str, shape: Shape, only: Only) -> Result<bool, Stop> {
        let got = self.source.get(item, etag, &[], None).await?;
        let mut attributes = self.source.attributes(item, &got).await?;
        let Got { size, bytes, is_encrypted, .. } = got;
        let Shape { etag: known, parts, .. } = shape;
        let known = known.filter(|_| !is_encrypted);
        let parts = if known.is_some() { parts } else { Vec::new() };
        let is_verified = known.is_some();
        let checksum = attributes.checksum.take();
        attributes.source_etag = Some(etag.to_owned());
        let incoming = Incoming { bytes, size, expected: Expected { etag: known, parts, checksum } };
        self.objects.put((&self.bucket, &item.key), only, attributes, incoming).await?;
        Ok(is_verified)
    }

    /// Imports an object in the parts that it has at the source. Returns true if its bytes were
    /// compared with its tag.
    async fn upload(&self, item: &Item, etag: &str, shape: Shape, only: Only) -> Result<bool, Stop> {
        let Shape { etag: known, parts, checksum } = shape;
        let first = self.source.get(item, etag, &parts, Some(0)).await?;
        let mut attributes = self.source.attributes(item, &first).await?;
        // Where the tag is no digest, the parts are still those of the source.
        let known = known.filter(|_| !first.is_encrypted);
        let is_verified = known.is_some();
        attributes.checksum = None;
        attributes.source_etag = Some(etag.to_owned());
        let expected = Expected { etag: known, parts: Vec::new(), checksum };
        let target = (self.bucket.as_str(), item.key.as_str());
        let mut upload = self.objects.begin_upload(target, attributes, expected).await?;
        let ended: Result<(), Stop> = async {
            let mut first = Some(first);
            for at in 0..parts.len() {
                let got = match first.take() {
                    Some(first) => first,
                    None => self.source.get(item, etag, &parts, Some(at)).await?,
                };
                let incoming = Incoming { bytes: got.bytes, size: parts[at], expected: Expected::default() };
                self.objects.put_part(&mut upload, incoming).await?;
            }
            Ok(self.objects.end_upload(&upload, only).await?)
        }
        .await;
        if ended.is_err() {
            // What cannot be aborted now is aborted by the next import.
            let _ = self.objects.abort_upload(&upload).await;
        }
        ended.map(|()| is_verified)
    }
}
