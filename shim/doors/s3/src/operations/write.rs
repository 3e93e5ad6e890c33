//! PutObject and CopyObject: a value with its attributes, under one key.

use std::ops::ControlFlow;

use aft_access::Right;
use aft_core::ids::{AttemptId, Key};
use aft_core::message::{CommitArgs, Condition, Found, Op, Read};
use aft_core::record::{Location, Value};
use aft_desk::large::{self, Arriving, Source};
use aft_desk::{Opened, Opening, Outcome, Plan, Version};
use aft_format::{Attributes, Checksum};
use bytes::Bytes;
use prost::Message as _;

use crate::body::{Content, Large};
use crate::call::{Call, Runs};
use crate::checksum::{Digests, Verified, Wanted};
use crate::conditions::Conditions;
use crate::failure::{Failure, Result};
use crate::object::{Object, bucket_of, marker, modified_ms};
use crate::operations::now_ms;
use crate::origin::mapping::Kind;

/// The answer to a write, as it is kept for a resend of the call.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Written {
    /// The entity tag, without quotes.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) etag: Bytes,
    /// The checksum that is kept.
    #[prost(message, optional, tag = "2")]
    pub(crate) checksum: Option<Checksum>,
    /// The time of the write, in milliseconds since the epoch. Not kept: a resend has the commit's.
    #[prost(uint64, tag = "3")]
    pub(crate) modified_ms: u64,
}

/// The key that a call writes, with its conditions.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) conditions: Conditions,
}

impl Target {
    /// Returns the key, if the call may write it, and may read it where a condition would tell
    /// about its bytes.
    pub(crate) fn checked(&self, call: &Call) -> Result<Key> {
        if self.conditions.names_tag() {
            call.key(&self.bucket, &self.key, Right::Read)?;
        }
        call.key(&self.bucket, &self.key, Right::Write)
    }
}

impl Call {
    /// Writes an object.
    pub(crate) async fn put(&self, target: &Target, about: Attributes, content: Content) -> Result<Written> {
        let key = target.checked(self)?;
        match content {
            Content::Whole { bytes, verified, _share } => {
                self.put_whole(target, &key, about, bytes, verified).await
            }
            Content::Large(large) => self.put_large(target, &key, about, *large).await,
        }
    }

    /// Writes an object whose bytes are at hand and verified.
    pub(crate) async fn put_whole(
        &self,
        target: &Target,
        key: &Key,
        about: Attributes,
        bytes: Bytes,
        Verified { etag, checksum }: Verified,
    ) -> Result<Written> {
        let about = Attributes { checksum: checksum.clone(), ..about };
        let value = Value {
            size: bytes.len() as u64,
            location: Location::Inline(bytes),
            etag: etag.clone(),
            attributes: about.to_bytes(),
        };
        let written = Written { etag, checksum, modified_ms: 0 };
        let ops = || vec![Op::Put(key.clone(), value.clone())];
        self.write(target, key, written, ops).await
    }

    /// Writes keys of one bucket, whose operations are known beforehand.
    pub(crate) async fn write(
        &self,
        target: &Target,
        key: &Key,
        written: Written,
        ops: impl Fn() -> Vec<Op> + Send + Sync,
    ) -> Result<Written> {
        if let Some(attempt) = self.within {
            let (check, kind) = self.judge_within(attempt, target, key, false).await?;
            let ops = self.complete(&kind, &target.bucket, ops())?;
            let plan: Plan = check.into_iter().chain(ops).collect();
            self.caller.run(attempt, plan, None, &Call::WITHIN).await?;
            return Ok(Written { modified_ms: now_ms(), ..written });
        }
        // Without conditions and where the store checks keys, one call does it all.
        if !target.conditions.any() && self.caller.node().is_checked(key) {
            // In memory a condition costs nothing: the commit fails if the bucket is deleted
            // meanwhile. On a shared store it would cost a record, a lock on the bucket, and a get
            // in each listing of the object. So the bucket is looked at first, and a deletion of it
            // at this very moment is missed.
            let is_exclusive = self.caller.node().is_exclusive();
            let mut kind = match is_exclusive {
                true => self.kind_to_expect(&target.bucket),
                false => self.need_bucket(&target.bucket).await?,
            };
            let mut runs = Runs::default();
            loop {
                let check = is_exclusive.then(|| Op::Check(marker(&target.bucket), kind.holds()));
                let ops = self.complete(&kind, &target.bucket, ops())?;
                let plan: Plan = check.into_iter().chain(ops).collect();
                let ready = self.writing(key, runs.conflicts()).prepare(&self.caller, Some(key))?;
                let outcome = ready.run(&self.caller, plan, Some(CommitArgs::default())).await;
                match runs.end(outcome.map_err(Failure::from)).await {
                    None => continue,
                    Some(Ok(outcome)) => return told(outcome, written),
                    Some(Err(failure)) if failure.code == "PreconditionFailed" => {
                        let found = self.need_bucket(&target.bucket).await?;
                        if found == kind {
                            return Err(Failure::no_such_bucket(&target.bucket));
                        }
                        kind = found;
                    }
                    Some(Err(failure)) => return Err(failure),
                }
            }
        }
        let mut runs = Runs::default();
        loop {
            let ran = self.write_judged(target, key, runs.conflicts(), &written, ops()).await;
            if let Some(ran) = runs.end(ran).await {
                return ran;
            }
        }
    }

    /// Returns the kind that a bucket has, unless the store records another one.
    fn kind_to_expect(&self, bucket: &str) -> Kind {
        let known = self.origins.as_ref().and_then(|origins| origins.get(bucket));
        known.map_or(Kind::Own, |bucket| Kind::Mapped(bucket.mapping.clone()))
    }

    /// Judges whether a write may take effect, and carries it out, in a transaction of the call's
    /// own.
    async fn write_judged(
        &self,
        target: &Target,
        key: &Key,
        conflicts: u32,
        written: &Written,
        ops: Vec<Op>,
    ) -> Result<Written> {
        let (open, kind) = match self.open_to_write(target, key, conflicts, false).await? {
            ControlFlow::Continue(open) => open,
            ControlFlow::Break(kept) => return same_call(kept, written),
        };
        let ops = self.complete(&kind, &target.bucket, ops)?;
        let args = CommitArgs { result: self.kept(target, written), ..CommitArgs::default() };
        let outcome = open.commit(&self.caller, ops.into_iter().collect(), args).await?;
        told(outcome, written.clone())
    }

    /// Opens a transaction of the call's own, and judges whether it may write. Breaks with the
    /// first answer if the call is a resend of one that was carried out.
    async fn open_to_write(
        &self,
        target: &Target,
        key: &Key,
        conflicts: u32,
        takes_long: bool,
    ) -> Result<ControlFlow<Written, (aft_desk::Open, Kind)>> {
        let mut opening = self.writing(key, conflicts);
        if target.conditions.any() {
            if opening.isolation == Some(aft_core::message::Isolation::ReadAtomic) {
                return Err(Failure::not_implemented(
                    "a conditional write of a bucket whose keys are read_atomic (`aft store show` lists the levels)",
                ));
            }
            // A resend of the call by its SDK is the same request, whose answer is kept.
            opening = Opening { request_id: self.resend_id(target), retention_ms: Some(0), ..opening };
        }
        let mut ready = opening.prepare(&self.caller, Some(key))?;
        if takes_long {
            ready.as_long_as_possible();
        }
        let mut keys = vec![marker(&target.bucket)];
        keys.extend(target.conditions.any().then(|| key.clone()));
        let (reads, open) = match ready.open(&self.caller, keys).await? {
            Opened::Open { reads, open } => (reads, open),
            Opened::Replayed(replayed) => {
                let kept = Written::decode(replayed.result.unwrap_or_default());
                let kept = kept.map_err(|_| Failure::from(aft_core::message::Refusal::ResultGone))?;
                return Ok(ControlFlow::Break(Written { modified_ms: replayed.txn.time.ms(), ..kept }));
            }
        };
        let mut reads = reads.into_iter();
        let bucket = reads.next().expect("the bucket's marker was read");
        let kind = self.judge(open.attempt(), target, bucket, reads.next()).await?;
        Ok(ControlFlow::Continue((open, kind)))
    }

    /// Judges whether a longer transaction may write. Returns the bucket's kind, and the operation
    /// that its batch has to begin with, if the write holds only as long as what was read does:
    /// `rests` says so, and any condition.
    pub(crate) async fn judge_within(
        &self,
        attempt: AttemptId,
        target: &Target,
        key: &Key,
        rests: bool,
    ) -> Result<(Option<Op>, Kind)> {
        let has_condition = target.conditions.any();
        if !rests && !has_condition && self.is_own(&target.bucket) {
            return Ok((None, Kind::Own));
        }
        let bucket = self.caller.read(attempt, marker(&target.bucket)).await?;
        let found = match has_condition {
            true => Some(self.caller.read(attempt, key.clone()).await?),
            false => None,
        };
        // Such a write means something only if the commit fails when what was read changes
        // meanwhile. A check makes the node reject transactions for which it would not. This one
        // holds: the bucket is committed, or the transaction creates it.
        let is_committed = matches!(&bucket.found, Found::Version(..));
        let kind = self.judge(attempt, target, bucket, found).await?;
        let condition = if is_committed { kind.holds() } else { Condition::Absent };
        Ok(((rests || has_condition).then(|| Op::Check(marker(&target.bucket), condition)), kind))
    }

    /// Judges whether a write may take effect, by what its bucket's marker and its key hold in a
    /// transaction. Returns the bucket's kind.
    pub(crate) async fn judge(
        &self,
        attempt: AttemptId,
        target: &Target,
        bucket: Read,
        found: Option<Read>,
    ) -> Result<Kind> {
        let Some((kind, _)) = bucket_of(bucket) else { return Err(Failure::no_such_bucket(&target.bucket)) };
        let kind = self.known(&target.bucket, kind)?;
        let object = match found.map(Object::of).transpose()? {
            Some(None) => self.through(&target.bucket, &target.key, Some(attempt)).await?,
            found => found.flatten(),
        };
        target.conditions.of_write(&target.key, object.as_ref())?;
        Ok(kind)
    }

    /// Returns the answer to keep for a resend of the call.
    fn kept(&self, target: &Target, written: &Written) -> Option<Bytes> {
        let is_named = target.conditions.any() && self.resend_id(target).is_some();
        is_named.then(|| written.encode_to_vec().into())
    }

    async fn put_large(
        &self,
        target: &Target,
        key: &Key,
        about: Attributes,
        large: Large,
    ) -> Result<Written> {
        let verified = large.verified();
        let stored = |stored: &large::Stored| {
            let Verified { etag, checksum } = verified.get().expect("the whole body was stored").clone();
            let about = Attributes { checksum: checksum.clone(), ..about.clone() };
            let op = stored.put(key.clone(), etag.clone(), about.to_bytes());
            (op, Written { etag, checksum, modified_ms: 0 })
        };
        self.store(target, key, large, stored).await
    }

    /// Stores a large value as it arrives, and writes it.
    pub(crate) async fn store<S: Source<Error = Failure>>(
        &self,
        target: &Target,
        key: &Key,
        source: S,
        stored: impl FnOnce(&large::Stored) -> (Op, Written),
    ) -> Result<Written> {
        if let Some(attempt) = self.within {
            let (check, kind) = self.judge_within(attempt, target, key, false).await?;
            let (op, written) = stored(&large::store(&self.caller, attempt, Arriving::new(source)).await?);
            let ops = self.complete(&kind, &target.bucket, vec![op])?;
            let plan: Plan = check.into_iter().chain(ops).collect();
            self.caller.run(attempt, plan, None, &Call::WITHIN).await?;
            return Ok(Written { modified_ms: now_ms(), ..written });
        }
        // The bytes can be read once, so only the opening can be tried again; and the transaction
        // stays open for as long as the client may take to send them.
        let mut runs = Runs::default();
        let (open, kind) = loop {
            let opened = self.open_to_write(target, key, runs.conflicts(), true).await;
            match runs.end(opened).await {
                None => continue,
                Some(Err(failure)) => return Err(failure),
                // The bytes of a resend are not read: it stores them all, or nothing.
                Some(Ok(ControlFlow::Break(kept))) if kept.etag.is_empty() => return Err(another_call()),
                Some(Ok(ControlFlow::Break(kept))) => return Ok(kept),
                Some(Ok(ControlFlow::Continue(open))) => break open,
            }
        };
        let (op, written) = stored(&large::store(&self.caller, open.attempt(), Arriving::new(source)).await?);
        let args = CommitArgs { result: self.kept(target, &written), ..CommitArgs::default() };
        let plan = self.complete(&kind, &target.bucket, vec![op])?.into_iter().collect();
        let outcome = open.commit(&self.caller, plan, args).await.map_err(|refused| {
            let failure = Failure::from(refused);
            match failure.may_run_again() {
                // The client has to send the bytes again.
                true if target.conditions.any() => {
                    Failure::new("ConditionalRequestConflict", 409, failure.message)
                }
                true => Failure::new("SlowDown", 503, failure.message),
                false => failure,
            }
        })?;
        told(outcome, written)
    }

    /// Finds an object to copy, and begins to read its bytes if they are not at hand.
    async fn find_to_copy(
        &self,
        bucket: &str,
        key: &str,
        conditions: &Conditions,
    ) -> Result<(Object, Option<large::Download>)> {
        let mut runs = Runs::default();
        loop {
            let (object, held) = self.find_to_send(bucket, key).await?;
            conditions.of_source(&object, now_ms())?;
            if object.is_at_hand() {
                return Ok((object, None));
            }
            let download = self.download(&object, 0..object.size(), held).await;
            // Version 0 may be replaced between the look at it and the read of its bytes.
            let ended = match self.within {
                Some(_) => Some(download),
                None => runs.end(download).await,
            };
            if let Some(download) = ended {
                return Ok((object, Some(download?)));
            }
        }
    }

    /// Writes a copy of an object, with attributes that `about` makes of the source's.
    pub(crate) async fn copy(
        &self,
        source: (&str, &str, &Conditions),
        target: &Target,
        about: impl Fn(&Attributes) -> Attributes,
        wanted: Option<Wanted>,
    ) -> Result<Written> {
        let (bucket, key, conditions) = source;
        let to = target.checked(self)?;
        let (object, download) = self.find_to_copy(bucket, key, conditions).await?;
        // A copy is no object of an upload or of an import.
        let about = Attributes { upload: None, source_etag: None, ..about(&object.about) };
        // Objects of the native API have no MD5 yet, those of uploads have that of their parts, and
        // a new algorithm means a new checksum.
        let kept = Kept { etag: object.value.etag.clone(), checksum: object.about.checksum.clone() };
        // The tag of version 0 may be no digest: only the same object with other attributes keeps
        // it.
        let is_same = (bucket, key) == (target.bucket.as_str(), target.key.as_str());
        let is_known = object.about.upload.is_none() && (object.through.is_none() || is_same);
        let is_whole = is_known && !kept.etag.is_empty();
        let kept = (wanted.is_none() && is_whole).then_some(kept);
        // A copy of version 0 has a checksum of the same kind.
        let known = object.about.checksum.as_ref().filter(|sum| object.through.is_some() && sum.parts == 0);
        let again = known.and_then(|sum| aft_format::ChecksumAlgorithm::try_from(sum.algorithm).ok());
        let wanted = wanted.or(again.map(Wanted::computed));
        match &object.value.location {
            Location::Inline(bytes) if object.is_at_hand() => {
                let verified = match kept {
                    Some(Kept { etag, checksum }) => Verified { etag, checksum },
                    None => {
                        let mut digests = Digests::new(wanted.unwrap_or_default());
                        digests.update(bytes);
                        digests.verify(&[])?
                    }
                };
                self.put_whole(target, &to, about, bytes.clone(), verified).await
            }
            // A blob belongs to the attempt that wrote it, and goes with it; the parts of an upload
            // belong to its object, and version 0 to the origin. So the bytes are copied, within
            // the server.
            Location::Inline(_) | Location::Blob(_) => {
                let download = download.expect("the bytes are not at hand");
                let copying = Copying::new(download, wanted.unwrap_or_default(), object.size());
                let digests = copying.verified.clone();
                let stored = |stored: &large::Stored| {
                    let computed = digests.get().expect("the whole value was copied").clone();
                    let Verified { etag, checksum } = match kept {
                        Some(Kept { etag, checksum }) => Verified { etag, checksum },
                        None => computed,
                    };
                    let about = Attributes { checksum: checksum.clone(), ..about };
                    let op = stored.put(to.clone(), etag.clone(), about.to_bytes());
                    (op, Written { etag, checksum, modified_ms: 0 })
                };
                self.store(target, &to, copying, stored).await
            }
        }
    }
}

/// The digests that a copy takes over from its source.
struct Kept {
    etag: Bytes,
    checksum: Option<Checksum>,
}

/// Returns the answer that is kept for a call, if it is for the same bytes.
fn same_call(kept: Written, written: &Written) -> Result<Written> {
    match kept.etag == written.etag {
        true => Ok(kept),
        false => Err(another_call()),
    }
}

/// The failure of a call whose ID another one had.
fn another_call() -> Failure {
    Failure::invalid_request(
        "the header amz-sdk-invocation-id has the ID of another call that was carried out: use one ID per call",
    )
}

/// Returns the answer to a write that has committed.
fn told(outcome: Outcome, written: Written) -> Result<Written> {
    match outcome {
        Outcome::Committed { committed, .. } => {
            let version = committed.txn.map(Version::Committed);
            let modified_ms = modified_ms(version.unwrap_or(Version::Uncommitted), now_ms());
            Ok(Written { modified_ms, ..written })
        }
        // Another sending of the call was carried out while this one ran.
        Outcome::Replayed(replayed) => {
            let kept = Written::decode(replayed.result.unwrap_or_default());
            let kept = kept.map_err(|_| Failure::from(aft_core::message::Refusal::ResultGone))?;
            same_call(Written { modified_ms: replayed.txn.time.ms(), ..kept }, &written)
        }
        Outcome::Open { .. } | Outcome::Ran { .. } => unreachable!("a write commits"),
    }
}

/// The bytes of an object that is being copied.
pub(crate) struct Copying {
    first: Option<Bytes>,
    more: futures::stream::BoxStream<'static, std::result::Result<Bytes, aft_core::message::Refusal>>,
    _share: Option<aft_desk::Share>,
    digests: Option<Digests>,
    /// The number of bytes that are still to come.
    left: u64,
    pub(crate) verified: std::sync::Arc<std::sync::OnceLock<Verified>>,
}

impl Copying {
    pub(crate) fn new(download: large::Download, wanted: Wanted, size: u64) -> Copying {
        Copying {
            first: Some(download.first),
            more: download.more,
            _share: download.share,
            digests: Some(Digests::new(wanted)),
            left: size,
            verified: std::sync::Arc::default(),
        }
    }
}

/// The failure of a copy whose source has another number of bytes than it says.
fn wrong_length() -> Failure {
    Failure::new(
        "ServiceUnavailable",
        503,
        "the source of the copy did not send the bytes that it has: try again",
    )
}

impl Source for Copying {
    type Error = Failure;

    fn announced(&self) -> Option<usize> {
        None
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        use futures::StreamExt as _;
        let piece = match self.first.take() {
            Some(first) if !first.is_empty() => Some(first),
            _ => self.more.next().await.transpose()?,
        };
        match (&piece, self.digests.take()) {
            (Some(bytes), Some(mut digests)) => {
                self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(wrong_length)?;
                digests.update(bytes);
                self.digests = Some(digests);
            }
            (None, Some(_)) if self.left > 0 => return Err(wrong_length()),
            (None, Some(digests)) => {
                self.verified.set(digests.verify(&[])?).expect("the copy ends once");
            }
            (_, None) => {}
        }
        Ok(piece)
    }

    fn take_time(&mut self) {}
}
