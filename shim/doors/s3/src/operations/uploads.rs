//! Uploads in parts (docs/protocol.md, section 17).
//!
//! An upload is no attempt: it lasts for days, on any node. Its state is a key of its own, and each
//! part an ordinary value under another one; both are below a prefix that is no bucket. To complete
//! an upload is to write its state and the object's manifest in one transaction. So of completes
//! and an abort at the same time one commits, and the parts are copied nowhere.
//!
//! Every transaction that touches the parts reads the state as well, and is serializable: none
//! commits beside one that has changed it.

use std::collections::{BTreeMap, HashSet};
use std::sync::OnceLock;

use aft_access::Right;
use aft_core::ids::{Key, TxnId};
use aft_core::message::{CommitArgs, ListedKey, Op, Read, Refusal};
use aft_core::record::{Location, Value};
use aft_desk::large::{self, Arriving, Source};
use aft_desk::{Open, Opened, Outcome, Plan, value_of};
use aft_format::{Attributes, Checksum, ChecksumAlgorithm, ComposedTag, Manifest, Piece};
use aft_node::fresh_attempt;
use bytes::Bytes;
use prost::Message as _;
use tracing::warn;

use crate::body::Content;
use crate::call::{Call, Runs};
use crate::checksum::{self, NamedSum, Verified, Wanted};
use crate::conditions::Conditions;
use crate::failure::{Failure, Result};
use crate::object::{KEY_BYTES_MAX, Object, hex, inline, marker};
use crate::operations::now_ms;
use crate::operations::write::{Copying, Target};

/// The prefix of the keys of uploads. No bucket has this name, since it begins with a point.
pub(crate) const PREFIX: &str = ".uploads/";
/// The most parts of an upload, and the least bytes of every part but the last, as S3 has them.
const PARTS_MAX: i32 = 10_000;
pub(crate) const PART_BYTES_MIN: u64 = 5 << 20;
/// The most bytes of an object.
const OBJECT_BYTES_MAX: u64 = 5 << 40;
/// The most parts that one transaction deletes.
const DELETED_AT_ONCE: usize = 1_000;

/// The state of an upload, as it is stored. The field numbers are durable.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Upload {
    /// The key of the object.
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    /// The attributes that the object will have.
    #[prost(message, optional, tag = "2")]
    pub(crate) about: Option<Attributes>,
    /// The algorithm of the checksums of the parts.
    #[prost(enumeration = "ChecksumAlgorithm", tag = "3")]
    pub(crate) algorithm: i32,
    /// True if the object's checksum is that of all its bytes, and not that of the checksums.
    #[prost(bool, tag = "4")]
    pub(crate) full_object: bool,
    /// The time when the upload was made, in milliseconds since the epoch.
    #[prost(uint64, tag = "5")]
    pub(crate) made_ms: u64,
    /// The answer to the call that completed it.
    #[prost(message, optional, tag = "6")]
    pub(crate) completed: Option<Completed>,
}

/// The answer to a call that completed an upload.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Completed {
    /// The object's entity tag.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) etag: Bytes,
    /// The object's checksum.
    #[prost(message, optional, tag = "2")]
    pub(crate) checksum: Option<Checksum>,
}

/// The name of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadId {
    pub(crate) bucket: String,
    pub(crate) id: String,
}

impl UploadId {
    /// Draws the name of a new upload.
    fn draw(bucket: &str) -> UploadId {
        UploadId { bucket: bucket.to_owned(), id: hex(&fresh_attempt().0) }
    }

    /// Parses the name that a call gives.
    pub(crate) fn parse(bucket: &str, id: &str) -> Result<UploadId> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match id.len() == 32 && id.bytes().all(is_digit) {
            true => Ok(UploadId { bucket: bucket.to_owned(), id: id.to_owned() }),
            false => Err(no_such_upload()),
        }
    }

    /// Returns the key of the state.
    pub(crate) fn state(&self) -> Key {
        own_key(&format!("{PREFIX}{}/{}", self.bucket, self.id))
    }

    /// Returns the prefix of the keys of the parts.
    pub(crate) fn parts(&self) -> String {
        format!("{PREFIX}{}/{}/", self.bucket, self.id)
    }

    /// Returns a key for a part that is being uploaded. No two have the same, so that no part
    /// replaces another one.
    fn part(&self, number: i32) -> Key {
        own_key(&format!("{}{number:05}-{}", self.parts(), hex(&fresh_attempt().0)))
    }
}

/// Returns a key of the endpoint's own. A caller who may write the object may use it.
fn own_key(text: &str) -> Key {
    Key::parse(text).expect("a bucket and an ID are a short text")
}

fn no_such_upload() -> Failure {
    let why = "there is no such upload: it was completed or aborted, or never made";
    Failure::new("NoSuchUpload", 404, why)
}

fn invalid_part(number: i32) -> Failure {
    let why = format!("part {number} was not uploaded, or with another ETag or checksum");
    Failure::new("InvalidPart", 400, why)
}

/// Checks the number of a part.
fn check_number(number: i32) -> Result<()> {
    match number {
        1..=PARTS_MAX => Ok(()),
        _ => {
            Err(Failure::invalid_argument(format!("a part has a number from 1 to {PARTS_MAX}, not {number}")))
        }
    }
}

/// A part that was uploaded.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) number: i32,
    pub(crate) size: u64,
    pub(crate) modified_ms: u64,
    key: Key,
    /// The MD5 in hexadecimal digits.
    pub(crate) etag: Bytes,
    txn: TxnId,
}

/// A part that a call completes an upload with.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) number: i32,
    /// The entity tag, without quotes.
    pub(crate) etag: String,
    /// The checksum, if the call gives one.
    pub(crate) checksum: Option<NamedSum>,
}

/// The checksum and size that a call which completes an upload expects of the object.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected {
    pub(crate) checksum: Option<NamedSum>,
    pub(crate) size: Option<u64>,
}

/// An upload of a listing.
#[derive(Debug, Clone)]
pub(crate) struct ListedUpload {
    pub(crate) id: String,
    pub(crate) upload: Upload,
}

/// The object that an upload has become.
#[derive(Debug, Clone)]
pub(crate) struct Became {
    /// The entity tag, without quotes.
    pub(crate) etag: String,
    pub(crate) checksum: Option<Checksum>,
}

/// Returns the state that a read found.
pub(crate) fn state_of(read: Read) -> Result<Upload> {
    let key = read.key;
    let Some((value, _)) = value_of(read.found) else { return Err(no_such_upload()) };
    let damaged = || Failure::from(Refusal::Damaged(format!("{key:?} holds no state of an upload")));
    let Location::Inline(bytes) = &value.location else { return Err(damaged()) };
    let upload = Upload::decode(bytes.clone()).map_err(|_| damaged())?;
    match (1..=KEY_BYTES_MAX).contains(&upload.key.len()) {
        true => Ok(upload),
        false => Err(damaged()),
    }
}

/// Returns the state of an upload that is open.
fn open_state(read: Read) -> Result<Upload> {
    match state_of(read)? {
        upload if upload.completed.is_none() => Ok(upload),
        _ => Err(no_such_upload()),
    }
}

fn state_value(upload: &Upload) -> Value {
    inline(upload.encode_to_vec().into())
}

impl Call {
    /// Checks that the caller may write the object of an upload, and that uploads are possible.
    fn may_upload(&self, bucket: &str, key: &str) -> Result<Key> {
        let object = self.key(bucket, key, Right::Write)?;
        let state = UploadId { bucket: bucket.to_owned(), id: String::new() }.state();
        match self.caller.node().is_checked(&state) && self.caller.node().is_checked(&object) {
            true => Ok(object),
            false => Err(Failure::not_implemented(
                "an upload in parts, where keys are read_atomic (`aft store show` lists the levels),",
            )),
        }
    }

    /// Opens a transaction of the call's own, and reads keys in it.
    pub(crate) async fn open_reading(
        &self,
        first: &Key,
        keys: Vec<Key>,
        takes_long: bool,
    ) -> Result<(Vec<Read>, Open)> {
        let mut runs = Runs::default();
        loop {
            let mut ready = self.writing(first, runs.conflicts()).prepare(&self.caller, Some(first))?;
            if takes_long {
                ready.as_long_as_possible();
            }
            let opened = ready.open(&self.caller, keys.clone()).await;
            match runs.end(opened.map_err(Failure::from)).await {
                None => continue,
                Some(Err(failure)) => return Err(failure),
                Some(Ok(Opened::Open { reads, open })) => return Ok((reads, open)),
                Some(Ok(Opened::Replayed(replayed))) => {
                    unreachable!("a request without an ID has no {replayed:?}")
                }
            }
        }
    }

    /// Makes an upload, and returns its ID.
    pub(crate) async fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        about: Attributes,
        algorithm: Option<ChecksumAlgorithm>,
        full_object: bool,
    ) -> Result<String> {
        self.may_upload(bucket, key)?;
        let call = self.alone();
        // Rejected here and not after all parts were sent.
        call.need_bucket(bucket).await?.check(&about)?;
        let id = UploadId::draw(bucket);
        let upload = Upload {
            key: key.to_owned(),
            about: Some(about),
            algorithm: algorithm.unwrap_or(ChecksumAlgorithm::None).into(),
            full_object,
            made_ms: now_ms(),
            completed: None,
        };
        call.run_alone(vec![Op::Put(id.state(), state_value(&upload))]).await?;
        Ok(id.id)
    }

    /// Stores a part of an upload. Returns its digests.
    pub(crate) async fn upload_part(
        &self,
        id: &UploadId,
        key: &str,
        number: i32,
        content: Content,
    ) -> Result<Verified> {
        match content {
            Content::Whole { bytes, verified, _share } => {
                let value = inline(bytes);
                let attributes = Attributes { checksum: verified.checksum.clone(), ..Attributes::default() };
                let value = Value { etag: verified.etag.clone(), attributes: attributes.to_bytes(), ..value };
                let mut runs = Runs::default();
                loop {
                    let (_, open) = self.open_part(id, key, number, false).await?;
                    let plan = Plan::of(Op::Put(id.part(number), value.clone()));
                    let outcome = open.commit(&self.caller, plan, CommitArgs::default()).await;
                    if let Some(outcome) = runs.end(outcome.map_err(Failure::from)).await {
                        return outcome.map(|_| verified);
                    }
                }
            }
            Content::Large(large) => {
                let verified = large.verified();
                self.store_part(id, key, number, *large, &verified).await
            }
        }
    }

    /// Stores a part of an upload from bytes of an object. Returns its digests.
    pub(crate) async fn copy_part(
        &self,
        source: (&str, &str, &Conditions),
        range: Option<(u64, u64)>,
        (id, key, number): (&UploadId, &str, i32),
    ) -> Result<Verified> {
        let (from, from_key, conditions) = source;
        let upload = self.read_state(id, key).await?;
        let wanted = Wanted::default().of_upload(upload.algorithm)?;
        let mut runs = Runs::default();
        let (download, len) = loop {
            let (object, held) = self.find_to_send(from, from_key).await?;
            conditions.of_source(&object, now_ms())?;
            let range = match range {
                None => 0..object.size(),
                Some((first, last)) if first <= last && last < object.size() => first..last + 1,
                Some(_) => {
                    let why =
                        format!("the source has {} bytes, and the range is not within it", object.size());
                    return Err(Failure::new("InvalidRange", 416, why));
                }
            };
            let len = range.end - range.start;
            let download = self.download(&object, range, held).await;
            if self.within.is_some() {
                break (download?, len);
            }
            // Version 0 may be replaced between the look at it and the read of its bytes.
            if let Some(download) = runs.end(download).await {
                break (download?, len);
            }
        };
        let copying = Copying::new(download, wanted, len);
        let verified = copying.verified.clone();
        self.store_part(id, key, number, copying, &verified).await
    }

    /// Stores a large part as it arrives. `verified` has its digests once it has ended.
    pub(crate) async fn store_part(
        &self,
        id: &UploadId,
        key: &str,
        number: i32,
        source: impl Source<Error = Failure>,
        verified: &OnceLock<Verified>,
    ) -> Result<Verified> {
        let (_, open) = self.open_part(id, key, number, true).await?;
        let stored = large::store(&self.caller, open.attempt(), Arriving::new(source)).await?;
        let verified = verified.get().expect("the whole value was stored").clone();
        let about = Attributes { checksum: verified.checksum.clone(), ..Attributes::default() };
        let op = stored.put(id.part(number), verified.etag.clone(), about.to_bytes());
        open.commit(&self.caller, Plan::of(op), CommitArgs::default()).await.map_err(|refused| {
            match Failure::from(refused) {
                // The upload was completed or aborted meanwhile, or a bystander broke the commit:
                // the client has to send the part again.
                failure if failure.may_run_again() => Failure::new("SlowDown", 503, failure.message),
                failure => failure,
            }
        })?;
        Ok(verified)
    }

    /// Opens a transaction that writes a part of an open upload.
    async fn open_part(
        &self,
        id: &UploadId,
        key: &str,
        number: i32,
        takes_long: bool,
    ) -> Result<(Upload, Open)> {
        check_number(number)?;
        self.may_upload(&id.bucket, key)?;
        let state = id.state();
        let (mut reads, open) = self.open_reading(&state, vec![state.clone()], takes_long).await?;
        let upload = open_state(reads.pop().expect("the state was read"))?;
        if upload.key != key {
            return Err(no_such_upload());
        }
        Ok((upload, open))
    }

    /// Reads the state of an open upload.
    pub(crate) async fn read_state(&self, id: &UploadId, key: &str) -> Result<Upload> {
        self.may_upload(&id.bucket, key)?;
        match open_state(self.alone().read(id.state()).await?)? {
            upload if upload.key == key => Ok(upload),
            _ => Err(no_such_upload()),
        }
    }

    /// Lists the parts of an upload, in order: of each number the one that was uploaded last.
    pub(crate) async fn list_parts(&self, id: &UploadId) -> Result<Vec<Part>> {
        newest_parts(id, self.keys_of(id).await?)
    }

    /// Returns the checksums of parts, in their order.
    pub(crate) async fn checksums_of(&self, parts: &[Part]) -> Result<Vec<Option<Checksum>>> {
        let objects = self.read_parts(parts.iter().map(|part| part.key.clone()).collect()).await?;
        Ok(objects.into_iter().map(|object| object.about.checksum).collect())
    }

    /// Lists the keys of all parts of an upload.
    async fn keys_of(&self, id: &UploadId) -> Result<Vec<ListedKey>> {
        Ok(self.alone().list_all(&id.parts(), None).await?.keys)
    }

    /// Aborts an upload.
    pub(crate) async fn abort_upload(&self, id: &UploadId, key: &str) -> Result<()> {
        let call = self.alone();
        let mut runs = Runs::default();
        loop {
            let (_, open) = call.open_part(id, key, 1, false).await?;
            // From here on no complete and no part commits: they have read the state.
            let plan = Plan::of(Op::Delete(id.state()));
            let outcome = open.commit(&call.caller, plan, CommitArgs::default()).await;
            if let Some(outcome) = runs.end(outcome.map_err(Failure::from)).await {
                outcome?;
                break;
            }
        }
        call.delete_parts(id).await
    }

    /// Deletes the parts of an upload that has no state any more. What remains if this is
    /// interrupted is removed by the upkeep.
    pub(crate) async fn delete_parts(&self, id: &UploadId) -> Result<()> {
        let keys: Vec<Key> = self.keys_of(id).await?.into_iter().map(|listed| listed.key).collect();
        self.delete_all_of(&keys).await
    }

    async fn delete_all_of(&self, keys: &[Key]) -> Result<()> {
        for keys in keys.chunks(DELETED_AT_ONCE) {
            self.run_alone(keys.iter().cloned().map(Op::Delete).collect()).await?;
        }
        Ok(())
    }

    /// Completes an upload: writes the object in the call's transaction, and ends the upload.
    pub(crate) async fn complete_upload(
        &self,
        id: &UploadId,
        target: &Target,
        chosen: &[Chosen],
        expected: &Expected,
    ) -> Result<Became> {
        let key = self.may_upload(&id.bucket, &target.key)?;
        target.checked(self)?;
        if chosen.is_empty() {
            return Err(Failure::new("MalformedXML", 400, "the call names no part"));
        }
        if chosen.windows(2).any(|pair| pair[0].number >= pair[1].number) {
            let why = "the parts are not in the order of their numbers, each once";
            return Err(Failure::new("InvalidPartOrder", 400, why));
        }
        let state = self.alone().read(id.state()).await.and_then(state_of)?;
        // An upload becomes the object that it was made for, where its upkeep looks for it.
        if state.key != target.key {
            return Err(no_such_upload());
        }
        if let Some(completed) = &state.completed {
            return repeated(completed, chosen);
        }
        // The parts are read in a snapshot of their own. They are never replaced, and deleted only
        // by a transaction that changes the state, which this one's commit would conflict with.
        let listed = self.keys_of(id).await?;
        let parts = newest_parts(id, listed.clone())?;
        let (pieces, tag, whole) = self.compose(&state, &parts, chosen).await?;
        let numbers: HashSet<i32> = chosen.iter().map(|chosen| chosen.number).collect();
        let used: HashSet<&Key> =
            parts.iter().filter(|part| numbers.contains(&part.number)).map(|part| &part.key).collect();
        let unused: Vec<Key> =
            listed.into_iter().map(|listed| listed.key).filter(|key| !used.contains(key)).collect();
        match (&expected.checksum, &whole) {
            (Some(named), Some(whole)) if i32::from(named.algorithm) == whole.algorithm => {
                if !named.is_of(whole) {
                    return Err(Failure::bad_digest("checksum of the object"));
                }
            }
            (Some(named), _) => {
                let why = format!(
                    "the upload has no checksum of the algorithm {:?} to compare: name it when you make the upload",
                    named.algorithm
                );
                return Err(Failure::invalid_request(why));
            }
            (None, _) => {}
        }
        if let Some(size) = expected.size.filter(|size| *size != tag.size) {
            let why = format!("the parts have {} bytes, and x-amz-mp-object-size says {size}", tag.size);
            return Err(Failure::invalid_request(why));
        }
        let about = Attributes {
            checksum: whole.clone(),
            upload: Some(id.id.clone()),
            ..state.about.clone().unwrap_or_default()
        };
        let manifest = Manifest { pieces }.to_bytes();
        let value = Value { etag: tag.to_bytes(), attributes: about.to_bytes(), ..inline(manifest) };
        let completed = Completed { etag: tag.to_bytes(), checksum: whole.clone() };
        let became = Became { etag: format!("{}-{}", hex(&tag.md5), tag.parts), checksum: whole };
        let ended = Upload { completed: Some(completed), ..state };
        let ops = || vec![Op::Put(key.clone(), value.clone()), Op::Put(id.state(), state_value(&ended))];
        if let Some(attempt) = self.within {
            let now = state_of(self.caller.read(attempt, id.state()).await?)?;
            // The transaction itself may have completed it: the SDK has sent the call again.
            if let Some(completed) = &now.completed {
                return repeated(completed, chosen);
            }
            // The upload may be completed or aborted meanwhile.
            let (check, kind) = self.judge_within(attempt, target, &key, true).await?;
            let ops = self.complete(&kind, &target.bucket, ops())?;
            let plan: Plan = check.into_iter().chain(ops).collect();
            self.caller.run(attempt, plan, None, &Call::WITHIN).await?;
            return Ok(became);
        }
        let mut runs = Runs::default();
        loop {
            let mut keys = vec![id.state(), marker(&id.bucket)];
            keys.extend(target.conditions.any().then(|| key.clone()));
            let (reads, open) = self.open_reading(&key, keys, false).await?;
            let mut reads = reads.into_iter();
            let now = state_of(reads.next().expect("the state was read"))?;
            assert_eq!(now.key, target.key, "the key of an upload does not change");
            if let Some(completed) = &now.completed {
                return repeated(completed, chosen);
            }
            let bucket = reads.next().expect("the marker was read");
            let kind = self.judge(open.attempt(), target, bucket, reads.next()).await;
            let Some(kind) = runs.end(kind).await.transpose()? else { continue };
            let plan = self.complete(&kind, &target.bucket, ops())?.into_iter().collect();
            let outcome = open.commit(&self.caller, plan, CommitArgs::default()).await;
            if let Some(outcome) = runs.end(outcome.map_err(Failure::from)).await {
                match outcome? {
                    Outcome::Committed { .. } => {}
                    outcome => unreachable!("a commit without an ID ends {outcome:?}"),
                }
                // The upload is complete whether this ends well or not.
                if let Err(failure) = self.delete_all_of(&unused).await {
                    warn!(upload = id.id, why = failure.message, "parts that no object needs remain");
                }
                return Ok(became);
            }
        }
    }

    /// Returns the pieces of the object that an upload becomes, its tag and its checksum.
    async fn compose(
        &self,
        state: &Upload,
        parts: &[Part],
        chosen: &[Chosen],
    ) -> Result<(Vec<Piece>, ComposedTag, Option<Checksum>)> {
        let by_number: BTreeMap<i32, &Part> = parts.iter().map(|part| (part.number, part)).collect();
        let mut used = Vec::with_capacity(chosen.len());
        for chosen in chosen {
            match by_number.get(&chosen.number) {
                Some(part) if part.etag[..] == *chosen.etag.as_bytes() => used.push((*part, chosen)),
                _ => return Err(invalid_part(chosen.number)),
            }
        }
        let (_, all_but_last) = used.split_last().expect("there is a part");
        if let Some((part, _)) = all_but_last.iter().find(|(part, _)| part.size < PART_BYTES_MIN) {
            let why = format!(
                "part {} has {} bytes, and every part but the last has at least {PART_BYTES_MIN}",
                part.number, part.size
            );
            return Err(Failure::new("EntityTooSmall", 400, why));
        }
        let size: u64 = used.iter().map(|(part, _)| part.size).sum();
        if size > OBJECT_BYTES_MAX {
            return Err(Failure::new("EntityTooLarge", 400, "an object has at most 5 TiB"));
        }
        let objects = self.read_parts(used.iter().map(|(part, _)| part.key.clone()).collect()).await?;
        let (mut pieces, mut md5s, mut checksums) = (Vec::new(), Vec::new(), Vec::new());
        for (object, (part, chosen)) in objects.into_iter().zip(&used) {
            let sum = object.about.checksum.clone();
            if let Some(named) = &chosen.checksum
                && !sum.as_ref().is_some_and(|sum| named.is_of(sum))
            {
                return Err(invalid_part(part.number));
            }
            // Parts with another algorithm were rejected, so all that count have the upload's.
            let of_upload = sum.filter(|sum| sum.algorithm == state.algorithm);
            checksums.extend(of_upload.map(|sum| (sum.value, part.size)));
            md5s.extend(digits(&part.etag));
            pieces.push(match object.value.location {
                Location::Inline(bytes) => Piece::Inline(bytes),
                Location::Blob(blob) => Piece::Blob { blob, size: object.value.size },
            });
        }
        let count = u16::try_from(used.len()).expect("an upload has at most 10,000 parts");
        let tag = ComposedTag { md5: checksum::md5_of(&md5s), parts: count, size };
        // Parts without a checksum leave the object without one.
        let algorithm = ChecksumAlgorithm::try_from(state.algorithm).unwrap_or(ChecksumAlgorithm::None);
        let whole = match algorithm {
            ChecksumAlgorithm::None => None,
            _ if checksums.len() < used.len() => None,
            _ if state.full_object => checksum::combined(algorithm, &checksums),
            _ => {
                let values: Vec<Bytes> = checksums.into_iter().map(|(value, _)| value).collect();
                Some(checksum::composite(algorithm, &values))
            }
        };
        Ok((pieces, tag, whole))
    }

    /// Reads parts, without the bytes of blobs.
    async fn read_parts(&self, keys: Vec<Key>) -> Result<Vec<Object>> {
        let reads = self.read_all_alone(&keys).await?.into_iter();
        reads.map(|read| Object::of(read)?.ok_or_else(no_such_upload)).collect()
    }

    /// Lists the open uploads of a bucket, in the order of their keys and then of their IDs.
    pub(crate) async fn list_uploads(&self, bucket: &str, prefix: &str) -> Result<Vec<ListedUpload>> {
        self.caller.need(Right::Write)?;
        let call = self.alone();
        call.need_bucket(bucket).await?;
        let mut uploads = Vec::new();
        for (id, upload) in call.uploads_of(bucket).await? {
            let may = self.key(bucket, &upload.key, Right::Write).is_ok();
            if upload.completed.is_none() && may && upload.key.starts_with(prefix) {
                uploads.push(ListedUpload { id: id.id, upload });
            }
        }
        uploads.sort_by(|one, other| (&one.upload.key, &one.id).cmp(&(&other.upload.key, &other.id)));
        Ok(uploads)
    }

    /// Returns all uploads of a bucket that have a state. What is no state is left out, so that one
    /// damaged key does not hide the others.
    pub(crate) async fn uploads_of(&self, bucket: &str) -> Result<Vec<(UploadId, Upload)>> {
        let prefix = format!("{PREFIX}{bucket}/");
        // The parts are below the next slash.
        let listed = self.list_all(&prefix, Some("/")).await?.keys;
        let id = |listed: ListedKey| UploadId::parse(bucket, &listed.key.as_str()[prefix.len()..]).ok();
        let ids: Vec<UploadId> = listed.into_iter().filter_map(id).collect();
        let states: Vec<Key> = ids.iter().map(UploadId::state).collect();
        let mut uploads = Vec::new();
        for (id, read) in ids.into_iter().zip(self.read_all_alone(&states).await?) {
            match state_of(read) {
                Ok(upload) => uploads.push((id, upload)),
                // It was ended after it was listed.
                Err(failure) if failure.code == "NoSuchUpload" => {}
                Err(failure) => warn!(bucket, upload = id.id, why = failure.message, "no state of an upload"),
            }
        }
        Ok(uploads)
    }
}

/// Returns the answer to a call that completes an upload once more: the first one's, if it names
/// the same parts.
fn repeated(completed: &Completed, chosen: &[Chosen]) -> Result<Became> {
    let md5s: Vec<u8> = chosen.iter().flat_map(|chosen| digits(chosen.etag.as_bytes())).collect();
    let tag = ComposedTag::of(&completed.etag).expect("an upload becomes a composed value");
    if checksum::md5_of(&md5s) != tag.md5 {
        return Err(no_such_upload());
    }
    let etag = format!("{}-{}", hex(&tag.md5), tag.parts);
    Ok(Became { etag, checksum: completed.checksum.clone() })
}

/// Returns the parts of an upload, in order: of each number the one that was uploaded last.
fn newest_parts(id: &UploadId, listed: Vec<ListedKey>) -> Result<Vec<Part>> {
    let mut parts: BTreeMap<i32, Part> = BTreeMap::new();
    for listed in listed {
        let part = part_of(id, listed)?;
        match parts.get(&part.number) {
            Some(other) if other.txn > part.txn => {}
            _ => drop(parts.insert(part.number, part)),
        }
    }
    Ok(parts.into_values().collect())
}

/// Returns the part whose key a listing shows.
fn part_of(id: &UploadId, listed: ListedKey) -> Result<Part> {
    let text = listed.key.as_str().strip_prefix(&id.parts()).unwrap_or_default();
    let number = text.split_once('-').and_then(|(number, _)| number.parse().ok());
    let (Some(number), Some(txn)) = (number, listed.txn) else {
        return Err(Refusal::Damaged(format!("{:?} is no part of an upload", listed.key)).into());
    };
    Ok(Part {
        number,
        size: listed.meta.size,
        modified_ms: txn.time.ms(),
        key: listed.key,
        etag: listed.meta.etag,
        txn,
    })
}

/// Returns the bytes of hexadecimal digits; nothing for another text.
fn digits(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?);
    text.chunks(2).map(pair).collect::<Option<Vec<u8>>>().unwrap_or_default()
}
