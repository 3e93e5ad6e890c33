//! The operations of uploads in parts.

use aft_format::{Attributes, ChecksumAlgorithm as Algorithm};
use s3s::S3Request;
use s3s::dto::*;

use crate::attributes;
use crate::body;
use crate::checksum::{self, NamedSum, Wanted};
use crate::failure::{Failure, Result};
use crate::operations::tags;
use crate::operations::uploads::{Chosen, Expected, ListedUpload, UploadId};
use crate::operations::write::Target;
use crate::protocol::convert::{self, Checksums, etag, timestamp};
use crate::protocol::endpoint::{
    Encoding, Endpoint, call, check_no_customer_key, check_version, owner, to_body, trailer,
};

/// The most parts and uploads of one page, as S3 has it.
const PAGE_LEN_MAX: i32 = 1_000;

/// Returns the algorithm and the type of the checksums of an upload.
fn checksums_of(input: &CreateMultipartUploadInput) -> Result<(Option<Algorithm>, bool)> {
    let algorithm = match &input.checksum_algorithm {
        Some(algorithm) => Some(checksum::algorithm_of(algorithm.as_str())?),
        None => None,
    };
    let kind = input.checksum_type.as_ref().map(|kind| kind.as_str());
    let is_crc = matches!(algorithm, Some(Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Crc64Nvme));
    match (algorithm, kind) {
        (Some(Algorithm::Crc64Nvme), None | Some(ChecksumType::FULL_OBJECT)) => Ok((algorithm, true)),
        (Some(Algorithm::Crc64Nvme), Some(_)) => Err(Failure::invalid_request(
            "x-amz-checksum-type: CRC64NVME is a checksum of the type FULL_OBJECT",
        )),
        (_, None | Some(ChecksumType::COMPOSITE)) => Ok((algorithm, false)),
        (_, Some(ChecksumType::FULL_OBJECT)) if is_crc => Ok((algorithm, true)),
        (_, Some(_)) => {
            Err(Failure::invalid_request("x-amz-checksum-type: the algorithm does not have this type"))
        }
    }
}

/// Returns the algorithm of an upload's checksums and their type, as the protocol names them.
fn names_of(algorithm: i32, full_object: bool) -> (Option<ChecksumAlgorithm>, Option<ChecksumType>) {
    let name = checksum::name_of_algorithm(algorithm);
    let kind = if full_object { ChecksumType::FULL_OBJECT } else { ChecksumType::COMPOSITE };
    (name.map(ChecksumAlgorithm::from_static), name.map(|_| ChecksumType::from_static(kind)))
}

pub(super) async fn create(
    request: S3Request<CreateMultipartUploadInput>,
) -> Result<CreateMultipartUploadOutput> {
    attributes::check_supported(&request.headers)?;
    let call = call(&request)?;
    let input = request.input;
    let (algorithm, full_object) = checksums_of(&input)?;
    let about = Attributes {
        metadata: convert::pairs(input.metadata),
        tags: input.tagging.as_deref().map(tags::of_header).transpose()?.unwrap_or_default(),
        ..attributes::of_headers(&request.headers)?
    };
    attributes::check_metadata(&about)?;
    let id = call.create_upload(&input.bucket, &input.key, about, algorithm, full_object).await?;
    let (checksum_algorithm, checksum_type) = names_of(algorithm.map_or(0, i32::from), full_object);
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        checksum_algorithm,
        checksum_type,
        ..CreateMultipartUploadOutput::default()
    })
}

pub(super) async fn upload_part(
    endpoint: &Endpoint,
    request: S3Request<UploadPartInput>,
) -> Result<UploadPartOutput> {
    let call = call(&request)?;
    check_no_customer_key(request.input.sse_customer_algorithm.as_ref())?;
    let id = UploadId::parse(&request.input.bucket, &request.input.upload_id)?;
    // The upload is looked at before the body is read, so that a bad call costs little.
    let upload = call.read_state(&id, &request.input.key).await?;
    let wanted = Wanted::of_headers(&request.headers)?.of_upload(upload.algorithm)?;
    let trailer = trailer(&request.extensions);
    let UploadPartInput { body, key, part_number, .. } = request.input;
    let content =
        body::receive(&call.caller, &endpoint.net, to_body(body), &request.headers, wanted, trailer).await?;
    let verified = call.upload_part(&id, &key, part_number, content).await?;
    let checksums = Checksums::of(verified.checksum.as_ref());
    Ok(UploadPartOutput {
        e_tag: etag(String::from_utf8_lossy(&verified.etag).into_owned()),
        checksum_crc32: checksums.crc32,
        checksum_crc32c: checksums.crc32c,
        checksum_crc64nvme: checksums.crc64nvme,
        checksum_sha1: checksums.sha1,
        checksum_sha256: checksums.sha256,
        ..UploadPartOutput::default()
    })
}

/// Parses `bytes=FIRST-LAST`, the only form of a range of a source.
fn source_range(text: &str) -> Result<(u64, u64)> {
    let range = text.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let range = range.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    range.ok_or_else(|| {
        Failure::invalid_argument("x-amz-copy-source-range: the form of a range is bytes=FIRST-LAST")
    })
}

pub(super) async fn upload_part_copy(
    request: S3Request<UploadPartCopyInput>,
) -> Result<UploadPartCopyOutput> {
    let call = call(&request)?;
    let input = request.input;
    check_no_customer_key(input.copy_source_sse_customer_algorithm.as_ref())?;
    let CopySource::Bucket { bucket, key, version_id } = &input.copy_source else {
        return Err(Failure::not_implemented("a copy from an access point"));
    };
    check_version(version_id.as_deref())?;
    let conditions = convert::conditions(
        input.copy_source_if_match,
        input.copy_source_if_none_match,
        input.copy_source_if_modified_since,
        input.copy_source_if_unmodified_since,
    );
    let range = input.copy_source_range.as_deref().map(source_range).transpose()?;
    let id = UploadId::parse(&input.bucket, &input.upload_id)?;
    let verified =
        call.copy_part((bucket, key, &conditions), range, (&id, &input.key, input.part_number)).await?;
    let checksums = Checksums::of(verified.checksum.as_ref());
    let result = CopyPartResult {
        e_tag: etag(String::from_utf8_lossy(&verified.etag).into_owned()),
        last_modified: Some(timestamp(crate::operations::now_ms())),
        checksum_crc32: checksums.crc32,
        checksum_crc32c: checksums.crc32c,
        checksum_crc64nvme: checksums.crc64nvme,
        checksum_sha1: checksums.sha1,
        checksum_sha256: checksums.sha256,
    };
    Ok(UploadPartCopyOutput { copy_part_result: Some(result), ..UploadPartCopyOutput::default() })
}

pub(super) async fn complete(
    request: S3Request<CompleteMultipartUploadInput>,
) -> Result<CompleteMultipartUploadOutput> {
    let call = call(&request)?;
    let input = request.input;
    check_no_customer_key(input.sse_customer_algorithm.as_ref())?;
    let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    let chosen = |part: CompletedPart| {
        let malformed = || Failure::new("MalformedXML", 400, "a part has a PartNumber and an ETag");
        Ok(Chosen {
            number: part.part_number.ok_or_else(malformed)?,
            etag: part.e_tag.ok_or_else(malformed)?.into_value(),
            checksum: NamedSum::of([
                part.checksum_crc32,
                part.checksum_crc32c,
                part.checksum_crc64nvme,
                part.checksum_sha1,
                part.checksum_sha256,
            ]),
        })
    };
    let chosen: Vec<Chosen> = parts.into_iter().map(chosen).collect::<Result<_>>()?;
    let size = input.mpu_object_size.map(u64::try_from);
    let expected = Expected {
        checksum: NamedSum::of([
            input.checksum_crc32,
            input.checksum_crc32c,
            input.checksum_crc64nvme,
            input.checksum_sha1,
            input.checksum_sha256,
        ]),
        size: size
            .transpose()
            .map_err(|_| Failure::invalid_argument("x-amz-mp-object-size must not be negative"))?,
    };
    let id = UploadId::parse(&input.bucket, &input.upload_id)?;
    let conditions = convert::conditions(input.if_match, input.if_none_match, None, None);
    let target = Target { bucket: input.bucket.clone(), key: input.key.clone(), conditions };
    let became = call.complete_upload(&id, &target, &chosen, &expected).await?;
    let checksums = Checksums::of(became.checksum.as_ref());
    Ok(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: etag(became.etag),
        checksum_crc32: checksums.crc32,
        checksum_crc32c: checksums.crc32c,
        checksum_crc64nvme: checksums.crc64nvme,
        checksum_sha1: checksums.sha1,
        checksum_sha256: checksums.sha256,
        checksum_type: checksums.kind,
        ..CompleteMultipartUploadOutput::default()
    })
}

pub(super) async fn abort(request: S3Request<AbortMultipartUploadInput>) -> Result<()> {
    let call = call(&request)?;
    let id = UploadId::parse(&request.input.bucket, &request.input.upload_id)?;
    call.abort_upload(&id, &request.input.key).await
}

/// Returns the length of a page that a call asks for.
fn page_len(asked: Option<i32>) -> Result<usize> {
    match asked.unwrap_or(PAGE_LEN_MAX) {
        len @ 0.. => Ok(usize::try_from(len.min(PAGE_LEN_MAX)).expect("it is not negative")),
        _ => Err(Failure::invalid_argument("the length of a page must not be negative")),
    }
}

pub(super) async fn list_parts(request: S3Request<ListPartsInput>) -> Result<ListPartsOutput> {
    let call = call(&request)?;
    let input = request.input;
    let id = UploadId::parse(&input.bucket, &input.upload_id)?;
    let upload = call.read_state(&id, &input.key).await?;
    let (len, after) = (page_len(input.max_parts)?, input.part_number_marker.unwrap_or(0));
    let mut parts = call.list_parts(&id).await?;
    parts.retain(|part| part.number > after);
    let is_truncated = parts.len() > len;
    parts.truncate(len);
    let checksums = call.checksums_of(&parts).await?;
    let next = parts.last().map(|part| part.number);
    let part = |(part, sum): (crate::operations::uploads::Part, Option<aft_format::Checksum>)| {
        let checksums = Checksums::of(sum.as_ref());
        Part {
            part_number: Some(part.number),
            size: Some(i64::try_from(part.size).unwrap_or(i64::MAX)),
            e_tag: etag(String::from_utf8_lossy(&part.etag).into_owned()),
            last_modified: Some(timestamp(part.modified_ms)),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
        }
    };
    let (checksum_algorithm, checksum_type) = names_of(upload.algorithm, upload.full_object);
    Ok(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        part_number_marker: Some(after),
        next_part_number_marker: next.filter(|_| is_truncated),
        max_parts: i32::try_from(len).ok(),
        is_truncated: Some(is_truncated),
        parts: Some(parts.into_iter().zip(checksums).map(part).collect()),
        owner: Some(owner()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        checksum_algorithm,
        checksum_type,
        ..ListPartsOutput::default()
    })
}

pub(super) async fn list_uploads(
    request: S3Request<ListMultipartUploadsInput>,
) -> Result<ListMultipartUploadsOutput> {
    let call = call(&request)?;
    let input = request.input;
    let encoding = Encoding::new(input.encoding_type)?;
    if input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()) {
        return Err(Failure::not_implemented("a listing of uploads with a delimiter"));
    }
    let (prefix, key_marker) = (input.prefix.unwrap_or_default(), input.key_marker.unwrap_or_default());
    let id_marker = input.upload_id_marker.unwrap_or_default();
    let len = page_len(input.max_uploads)?;
    let mut uploads = call.list_uploads(&input.bucket, &prefix).await?;
    // Without an ID, all uploads of the marker's key are behind it.
    uploads.retain(|listed| match (listed.upload.key.as_str(), id_marker.as_str()) {
        (key, "") => key > key_marker.as_str(),
        (key, id) => (key, listed.id.as_str()) > (key_marker.as_str(), id),
    });
    let is_truncated = uploads.len() > len;
    uploads.truncate(len);
    let next = uploads.last().filter(|_| is_truncated).cloned();
    let upload = |listed: ListedUpload| {
        let (checksum_algorithm, checksum_type) =
            names_of(listed.upload.algorithm, listed.upload.full_object);
        MultipartUpload {
            key: Some(encoding.text(&listed.upload.key)),
            upload_id: Some(listed.id),
            initiated: Some(timestamp(listed.upload.made_ms)),
            owner: Some(owner()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            checksum_algorithm,
            checksum_type,
            ..MultipartUpload::default()
        }
    };
    Ok(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: Some(encoding.text(&prefix)),
        key_marker: Some(encoding.text(&key_marker)),
        upload_id_marker: Some(id_marker),
        next_key_marker: next.as_ref().map(|listed| encoding.text(&listed.upload.key)),
        next_upload_id_marker: next.map(|listed| listed.id),
        max_uploads: i32::try_from(len).ok(),
        is_truncated: Some(is_truncated),
        uploads: Some(uploads.into_iter().map(upload).collect()),
        encoding_type: encoding.into_asked(),
        ..ListMultipartUploadsOutput::default()
    })
}
