//! Values of the protocol and of the operations.

use std::time::{Duration, SystemTime};

use aft_format::{Attributes, Checksum, Pair};
use axum::http::HeaderValue;
use s3s::dto::{ChecksumType, ETag, ETagCondition, Metadata, Range, Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode};
use time::OffsetDateTime;

use crate::checksum;
use crate::conditions::{Conditions, Tag};
use crate::failure::Failure;
use crate::operations::read::Part;

impl From<Failure> for S3Error {
    fn from(failure: Failure) -> S3Error {
        let code = S3ErrorCode::from_bytes(failure.code.as_bytes()).expect("a code is ASCII");
        let mut error = S3Error::with_message(code, failure.message);
        let status = axum::http::StatusCode::from_u16(failure.status).expect("a failure has a status");
        error.set_status_code(status);
        error
    }
}

/// Returns the failure that a broken body stands for, if the check of its signature broke it. The
/// library's errors have no public type, so they are recognized by their text.
pub(crate) fn failure_of_body(why: &str) -> Option<Failure> {
    if why.contains("UploadStreamError: Sha256Mismatch") {
        let why = "the body does not have the SHA-256 of the header x-amz-content-sha256: nothing was stored";
        return Some(Failure::new("XAmzContentSHA256Mismatch", 400, why));
    }
    if why.contains("AwsChunkedStreamError: SignatureMismatch") {
        let why =
            "the signature of a chunk of the body is not the one that its key makes: nothing was stored";
        return Some(Failure::new("SignatureDoesNotMatch", 403, why));
    }
    None
}

/// Returns a time in milliseconds since the epoch, in whole seconds: clients compare the times of
/// listings, which have fractions, with those of headers, which have none.
pub(super) fn timestamp(ms: u64) -> Timestamp {
    // Times beyond the year 9999 have no form in the protocol.
    const LAST_S: u64 = 253_402_300_799;
    Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs((ms / 1_000).min(LAST_S)))
}

/// Returns a time in milliseconds since the epoch as a header has it.
pub(super) fn http_date(ms: u64) -> Option<HeaderValue> {
    let mut text = Vec::new();
    timestamp(ms).format(TimestampFormat::HttpDate, &mut text).ok()?;
    HeaderValue::from_bytes(&text).ok()
}

/// Returns a time in seconds since the epoch.
pub(super) fn seconds(timestamp: Timestamp) -> i64 {
    OffsetDateTime::from(timestamp).unix_timestamp()
}

/// Returns an entity tag with its quotes.
pub(super) fn etag(tag: String) -> Option<ETag> {
    Some(ETag::Strong(tag))
}

fn tag(condition: Option<ETagCondition>) -> Option<Tag> {
    condition.map(|condition| match condition {
        ETagCondition::Any => Tag::Any,
        ETagCondition::ETag(tag) => Tag::Is(tag.into_value()),
    })
}

/// Returns the conditions of a call.
pub(super) fn conditions(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
    if_modified_since: Option<Timestamp>,
    if_unmodified_since: Option<Timestamp>,
) -> Conditions {
    Conditions {
        if_match: tag(if_match),
        if_none_match: tag(if_none_match),
        if_modified_since: if_modified_since.map(seconds),
        if_unmodified_since: if_unmodified_since.map(seconds),
    }
}

/// Returns the part of an object that a call asks for.
pub(super) fn part(range: Option<Range>, number: Option<i32>) -> Result<Part, Failure> {
    match (range, number) {
        (Some(_), Some(_)) => {
            Err(Failure::invalid_request("the call asks for a range and for a part: ask for one of them"))
        }
        (Some(Range::Int { first, last }), None) => Ok(Part::Bytes(first, last)),
        (Some(Range::Suffix { length }), None) => Ok(Part::Last(length)),
        (None, Some(number @ 1..=10_000)) => Ok(Part::Number(number)),
        (None, Some(number)) => {
            Err(Failure::invalid_argument(format!("a part has a number from 1 to 10000, not {number}")))
        }
        (None, None) => Ok(Part::Whole),
    }
}

/// Returns the user metadata of a write.
pub(super) fn pairs(metadata: Option<Metadata>) -> Vec<Pair> {
    let metadata = metadata.unwrap_or_default();
    let mut pairs: Vec<Pair> = metadata.into_iter().map(|(name, value)| Pair { name, value }).collect();
    pairs.sort();
    pairs
}

/// Returns the user metadata of an object.
pub(super) fn metadata(about: &Attributes) -> Option<Metadata> {
    let pairs = about.metadata.iter().map(|pair| (pair.name.clone(), pair.value.clone()));
    (!about.metadata.is_empty()).then(|| pairs.collect())
}

/// The checksum of an object, in the field of its algorithm.
#[derive(Default)]
pub(super) struct Checksums {
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
    pub(super) kind: Option<ChecksumType>,
}

impl Checksums {
    /// Returns the fields for a checksum, if there is one that this program knows.
    pub(super) fn of(kept: Option<&Checksum>) -> Checksums {
        let mut fields = Checksums::default();
        let Some(kept) = kept else { return fields };
        let text = Some(checksum::text_of(kept));
        match checksum::name_of(kept) {
            Some("CRC32") => fields.crc32 = text,
            Some("CRC32C") => fields.crc32c = text,
            Some("CRC64NVME") => fields.crc64nvme = text,
            Some("SHA1") => fields.sha1 = text,
            Some("SHA256") => fields.sha256 = text,
            _ => return fields,
        }
        fields.kind = Some(ChecksumType::from_static(match kept.parts {
            0 => ChecksumType::FULL_OBJECT,
            _ => ChecksumType::COMPOSITE,
        }));
        fields
    }
}

/// Returns the conditions on the target of a copy, which are headers of the call.
pub(super) fn of_target(headers: &axum::http::HeaderMap) -> Result<Conditions, Failure> {
    let parse = |name: &str| {
        let Some(value) = headers.get(name) else { return Ok(None) };
        let condition = ETagCondition::parse_http_header(value.as_bytes());
        condition
            .map(Some)
            .map_err(|_| Failure::invalid_argument(format!("the header {name} is no entity tag")))
    };
    Ok(conditions(parse("if-match")?, parse("if-none-match")?, None, None))
}
