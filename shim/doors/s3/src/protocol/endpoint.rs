//! The operations of the protocol. Each takes a call apart, runs it, and puts the answer together.
//! An operation that is not here is answered with `501 NotImplemented` and its name.

use std::sync::{Arc, Mutex};

use aft_desk::Caller;
use aft_format::{Attributes, Pair};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use s3s::dto::*;
use s3s::{Body, S3, S3Request, S3Response, S3Result, TrailingHeaders, s3_error};

use crate::attributes;
use crate::body::{self, Trailer};
use crate::call::{Call, Runs};
use crate::checksum::{self, Wanted};
use crate::conditions::{Conditions, Holds};
use crate::failure::{Failure, Result};
use crate::form::Fields;
use crate::object::Object;
use crate::operations::list::{Asked, Listed, Listing};
use crate::operations::read::Part;
use crate::operations::write::{Target, Written};
use crate::operations::{now_ms, tags};
use crate::origin::Origins;
use crate::protocol::convert::{self, Checksums, etag, timestamp};
use crate::protocol::multipart;
use crate::unchecked;
use crate::url_text;

/// The operations, with the settings that they need.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) net: aft_net::Settings,
    pub(super) region: String,
}

/// Returns the call that a request makes.
pub(super) fn call<T>(request: &S3Request<T>) -> Result<Call> {
    let caller =
        request.extensions.get::<Caller>().expect("a call has its caller before it has an operation");
    let origins = request.extensions.get::<Arc<Origins>>().expect("every call knows the origins");
    Call::new(caller.clone(), &request.headers, origins.clone())
}

/// Rejects a version ID, except that of a bucket without versions.
pub(super) fn check_version(version: Option<&str>) -> Result<()> {
    match version {
        None | Some("null") => Ok(()),
        Some(_) => Err(Failure::not_implemented("a version ID")),
    }
}

/// Rejects the keys of a customer's encryption.
pub(super) fn check_no_customer_key(algorithm: Option<&String>) -> Result<()> {
    match algorithm {
        None => Ok(()),
        Some(_) => Err(Failure::not_implemented("encryption with a key of the customer (SSE-C)")),
    }
}

/// Returns the fields that follow a request's body, to be called when the body has ended. They come
/// from our decoder, or from that of the protocol's library if it has checked a signature.
pub(crate) fn trailer(extensions: &Extensions) -> Trailer {
    let (ours, theirs) =
        (extensions.get::<unchecked::Fields>().cloned(), extensions.get::<TrailingHeaders>().cloned());
    Box::new(move || {
        if let Some(fields) = ours {
            return fields.take();
        }
        let headers = theirs.and_then(|headers| headers.take()).unwrap_or_default();
        let pairs = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
        pairs.collect()
    })
}

/// Returns a streaming blob as a body of the HTTP library.
pub(super) fn to_body(blob: Option<StreamingBlob>) -> axum::body::Body {
    match blob {
        Some(blob) => axum::body::Body::from_stream(SyncStream(Mutex::new(blob))),
        None => axum::body::Body::empty(),
    }
}

/// A stream behind a lock that nobody waits for.
struct SyncStream(Mutex<StreamingBlob>);

impl futures::Stream for SyncStream {
    type Item = std::result::Result<bytes::Bytes, s3s::StdError>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let mut blob = self.0.lock().expect("nothing panics while it holds the body");
        std::pin::Pin::new(&mut *blob).poll_next(cx)
    }
}

/// The arguments that GetObject and HeadObject share.
#[derive(Clone)]
struct Reading {
    bucket: String,
    key: String,
    part: Part,
    conditions: Conditions,
    with_checksum: bool,
    /// The headers of the answer that the call names.
    overrides: HeaderMap,
}

/// Takes a request of GetObject or HeadObject apart. Their types have the same fields, and nothing
/// in common.
macro_rules! reading {
    ($request:expr) => {{
        let expires = $request.headers.get(attributes::RESPONSE_EXPIRES).cloned();
        let input = $request.input;
        check_version(input.version_id.as_deref())?;
        check_no_customer_key(input.sse_customer_algorithm.as_ref())?;
        let mut overrides = overrides([
            (header::CONTENT_TYPE, input.response_content_type),
            (header::CACHE_CONTROL, input.response_cache_control),
            (header::CONTENT_DISPOSITION, input.response_content_disposition),
            (header::CONTENT_ENCODING, input.response_content_encoding),
            (header::CONTENT_LANGUAGE, input.response_content_language),
        ])?;
        overrides.extend(expires.map(|expires| (header::EXPIRES, expires)));
        Reading {
            bucket: input.bucket,
            key: input.key,
            part: convert::part(input.range, input.part_number)?,
            conditions: convert::conditions(
                input.if_match,
                input.if_none_match,
                input.if_modified_since,
                input.if_unmodified_since,
            ),
            with_checksum: input.checksum_mode.is_some(),
            overrides,
        }
    }};
}

/// Returns the headers of an answer that its call names.
fn overrides(named: [(header::HeaderName, Option<String>); 5]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in named {
        if let Some(value) = value {
            let invalid =
                |_| Failure::invalid_argument(format!("the value for the header {name} is not valid"));
            headers.insert(&name, HeaderValue::from_str(&value).map_err(invalid)?);
        }
    }
    Ok(headers)
}

/// The answer to a read, without bytes.
struct Described {
    output: HeadObjectOutput,
    headers: HeaderMap,
    /// The bytes of the object that the call asks for.
    bytes: std::ops::Range<u64>,
}

impl Described {
    /// Evaluates the conditions and the range of a read, and describes the object.
    async fn new(call: &Call, object: &Object, reading: Reading) -> S3Result<Described> {
        if reading.conditions.of_read(object, now_ms())? == Holds::NotModified {
            return Err(not_modified(object));
        }
        let size = object.size();
        let range = call.range_of(object, reading.part).await.map_err(|failure| beyond(failure, size))?;
        let bytes = range.clone().unwrap_or(0..size);
        let about = &object.about;
        let is_whole = range.is_none() && reading.with_checksum;
        let checksums = Checksums::of(about.checksum.as_ref().filter(|_| is_whole));
        let output = HeadObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: Some(i64::try_from(bytes.end - bytes.start).expect("a value has a size")),
            content_range: range
                .filter(|range| !range.is_empty())
                .map(|range| format!("bytes {}-{}/{size}", range.start, range.end - 1)),
            e_tag: etag(object.etag()),
            last_modified: Some(timestamp(object.modified_ms(now_ms()))),
            metadata: convert::metadata(about),
            parts_count: object.parts(),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            checksum_type: checksums.kind,
            ..HeadObjectOutput::default()
        };
        let mut headers = attributes::to_headers(about);
        headers.extend(reading.overrides);
        if !about.tags.is_empty() {
            headers.insert("x-amz-tagging-count", HeaderValue::from(about.tags.len()));
        }
        Ok(Described { output, headers, bytes })
    }
}

impl Endpoint {
    /// Writes an object whose body is arriving. `headers` are those of the body, which has the
    /// digests that are `wanted`.
    async fn write(
        &self,
        call: &Call,
        (target, about): (Target, Attributes),
        body: Option<StreamingBlob>,
        (headers, wanted): (&HeaderMap, Wanted),
        trailer: Trailer,
    ) -> Result<Written> {
        attributes::check_metadata(&about)?;
        // These checks come before the body is read, so that a bad call costs little.
        target.checked(call)?;
        let content = body::receive(&call.caller, &self.net, to_body(body), headers, wanted, trailer).await?;
        call.put(&target, about, content).await
    }
}

fn output_of(written: Written) -> PutObjectOutput {
    let checksums = Checksums::of(written.checksum.as_ref());
    PutObjectOutput {
        e_tag: etag(String::from_utf8_lossy(&written.etag).into_owned()),
        checksum_crc32: checksums.crc32,
        checksum_crc32c: checksums.crc32c,
        checksum_crc64nvme: checksums.crc64nvme,
        checksum_sha1: checksums.sha1,
        checksum_sha256: checksums.sha256,
        checksum_type: checksums.kind,
        ..PutObjectOutput::default()
    }
}

/// Returns a text of a listing in the encoding that the call asks for.
pub(super) struct Encoding(Option<EncodingType>);

impl Encoding {
    pub(super) fn new(asked: Option<EncodingType>) -> Result<Encoding> {
        match &asked {
            Some(encoding) if encoding.as_str() != EncodingType::URL => {
                Err(Failure::invalid_argument("encoding-type: the only encoding is url"))
            }
            _ => Ok(Encoding(asked)),
        }
    }

    /// Returns the encoding that the call asks for.
    pub(super) fn into_asked(self) -> Option<EncodingType> {
        self.0
    }

    pub(super) fn text(&self, text: &str) -> String {
        match self.0 {
            Some(_) => url_text::encode(text),
            None => text.to_owned(),
        }
    }

    fn objects(&self, objects: Vec<Listed>, owner: Option<&Owner>) -> Option<Vec<s3s::dto::Object>> {
        let object = |listed: Listed| s3s::dto::Object {
            key: Some(self.text(&listed.key)),
            size: Some(i64::try_from(listed.size).unwrap_or(i64::MAX)),
            e_tag: etag(listed.etag),
            last_modified: Some(timestamp(listed.modified_ms)),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
            owner: owner.cloned(),
            ..s3s::dto::Object::default()
        };
        Some(objects.into_iter().map(object).collect())
    }

    fn prefixes(&self, prefixes: &[String]) -> Option<Vec<CommonPrefix>> {
        let prefix = |prefix: &String| CommonPrefix { prefix: Some(self.text(prefix)) };
        (!prefixes.is_empty()).then(|| prefixes.iter().map(prefix).collect())
    }
}

/// The continuation token of a listing: an opaque text that contains the last key.
fn token_of(next: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(next)
}

fn next_of(token: &str) -> Result<String> {
    use base64::Engine as _;
    let invalid = || {
        Failure::invalid_argument("the continuation token is not one of this endpoint's: pass it unchanged")
    };
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    if bytes.is_empty() {
        return Err(invalid());
    }
    String::from_utf8(bytes).map_err(|_| invalid())
}

pub(super) fn owner() -> Owner {
    Owner { display_name: Some("aft".into()), id: Some("aft".into()) }
}

fn tag_pairs(tags: TagSet) -> Result<Vec<Pair>> {
    let pair = |tag: Tag| Pair { name: tag.key.unwrap_or_default(), value: tag.value.unwrap_or_default() };
    tags::checked(tags.into_iter().map(pair).collect())
}

#[async_trait::async_trait]
impl S3 for Endpoint {
    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let call = call(&request)?;
        let reading = reading!(request);
        let mut runs = Runs::default();
        let (Described { output: head, headers, bytes: _ }, answer) = loop {
            let (object, held) = call.find_to_send(&reading.bucket, &reading.key).await?;
            let described = Described::new(&call, &object, reading.clone()).await?;
            let sent = call.send(&object, described.bytes.clone(), held).await;
            if call.within.is_some() {
                break (described, sent?);
            }
            // Version 0 may be replaced between the look at it and the read of its bytes.
            if let Some(sent) = runs.end(sent).await {
                break (described, sent?);
            }
        };
        let (answer, body) = answer.into_parts();
        let output = GetObjectOutput {
            body: Some(StreamingBlob::from(Body::http_body_unsync(body))),
            accept_ranges: head.accept_ranges,
            content_length: head.content_length,
            content_range: head.content_range,
            e_tag: head.e_tag,
            last_modified: head.last_modified,
            metadata: head.metadata,
            parts_count: head.parts_count,
            checksum_crc32: head.checksum_crc32,
            checksum_crc32c: head.checksum_crc32c,
            checksum_crc64nvme: head.checksum_crc64nvme,
            checksum_sha1: head.checksum_sha1,
            checksum_sha256: head.checksum_sha256,
            checksum_type: head.checksum_type,
            ..GetObjectOutput::default()
        };
        let mut response = S3Response::with_headers(output, headers);
        // The watch for readers that stall goes with the answer.
        response.extensions = answer.extensions;
        Ok(response)
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let call = call(&request)?;
        let reading = reading!(request);
        let object = call.find(&reading.bucket, &reading.key).await?;
        let Described { output, headers, .. } = Described::new(&call, &object, reading).await?;
        Ok(S3Response::with_headers(output, headers))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        attributes::check_supported(&request.headers)?;
        let call = call(&request)?;
        let (headers, input) = (request.headers, request.input);
        let about = Attributes {
            metadata: convert::pairs(input.metadata),
            tags: input.tagging.as_deref().map(tags::of_header).transpose()?.unwrap_or_default(),
            ..attributes::of_headers(&headers)?
        };
        let conditions = convert::conditions(input.if_match, input.if_none_match, None, None);
        let target = Target { bucket: input.bucket, key: input.key, conditions };
        let trailer = trailer(&request.extensions);
        let wanted = Wanted::of_headers(&headers)?;
        let written = self.write(&call, (target, about), input.body, (&headers, wanted), trailer).await?;
        Ok(S3Response::new(output_of(written)))
    }

    /// A form's fields take the place of headers.
    async fn post_object(
        &self,
        request: S3Request<PostObjectInput>,
    ) -> S3Result<S3Response<PostObjectOutput>> {
        let call = call(&request)?;
        let Fields(mut fields) = request.extensions.get::<Fields>().cloned().unwrap_or_default();
        // The only field whose name is not that of its header.
        if let Some(acl) = fields.remove("acl") {
            fields.insert("x-amz-acl", acl);
        }
        attributes::check_supported(&fields)?;
        let input = request.input;
        for name in ["tagging", "if-match", "if-none-match"] {
            if fields.contains_key(name) {
                return Err(Failure::not_implemented(&format!("the field {name} of a form")).into());
            }
        }
        let expires = fields.get(header::EXPIRES).and_then(|expires| expires.to_str().ok());
        let about = Attributes {
            content_type: input.content_type,
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: input.content_encoding.as_deref().and_then(attributes::without_framing),
            content_language: input.content_language,
            website_redirect: input.website_redirect_location,
            expires: expires.map(str::to_owned),
            metadata: convert::pairs(input.metadata),
            ..Attributes::default()
        };
        let target = Target { bucket: input.bucket, key: input.key, conditions: Default::default() };
        // The headers of the call are those of the form, and not of its file.
        let (none, no_trailer) = (HeaderMap::new(), Box::new(Vec::new));
        let wanted = Wanted::of_headers(&fields)?;
        let written = self.write(&call, (target, about), input.body, (&none, wanted), no_trailer).await?;
        let output = PostObjectOutput {
            e_tag: etag(String::from_utf8_lossy(&written.etag).into_owned()),
            ..PostObjectOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let call = call(&request)?;
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        if input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
            return Err(Failure::not_implemented("a condition of a deletion on time or size").into());
        }
        let conditions = convert::conditions(input.if_match, None, None, None);
        call.delete(&Target { bucket: input.bucket, key: input.key, conditions }).await?;
        Ok(S3Response::with_status(DeleteObjectOutput::default(), StatusCode::NO_CONTENT))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let call = call(&request)?;
        let Delete { objects, quiet } = request.input.delete;
        for object in &objects {
            check_version(object.version_id.as_deref())?;
            if object.e_tag.is_some() || object.last_modified_time.is_some() || object.size.is_some() {
                return Err(Failure::not_implemented("a condition within DeleteObjects").into());
            }
        }
        let keys: Vec<String> = objects.into_iter().map(|object| object.key).collect();
        let denied = call.delete_all(&request.input.bucket, &keys).await?;
        let is_deleted = |key: &&String| !denied.iter().any(|(denied, _)| denied == *key);
        let deleted = keys
            .iter()
            .filter(is_deleted)
            .map(|key| DeletedObject { key: Some(key.clone()), ..DeletedObject::default() });
        let deleted: Vec<DeletedObject> = if quiet == Some(true) { Vec::new() } else { deleted.collect() };
        let errors: Vec<Error> = denied
            .into_iter()
            .map(|(key, failure)| Error {
                key: Some(key),
                code: Some(failure.code.to_owned()),
                message: Some(failure.message),
                version_id: None,
            })
            .collect();
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: (!deleted.is_empty()).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            ..DeleteObjectsOutput::default()
        }))
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        attributes::check_supported(&request.headers)?;
        let call = call(&request)?;
        let headers = attributes::of_headers(&request.headers)?;
        let input = request.input;
        let CopySource::Bucket { bucket, key, version_id } = &input.copy_source else {
            return Err(Failure::not_implemented("a copy from an access point").into());
        };
        check_version(version_id.as_deref())?;
        check_no_customer_key(input.copy_source_sse_customer_algorithm.as_ref())?;
        let replaces = |directive: Option<&str>, name: &str| match directive {
            None | Some("COPY") => Ok(false),
            Some("REPLACE") => Ok(true),
            Some(_) => Err(Failure::invalid_argument(format!("{name} is COPY or REPLACE"))),
        };
        let new_metadata = replaces(
            input.metadata_directive.as_ref().map(|directive| directive.as_str()),
            "x-amz-metadata-directive",
        )?;
        let new_tags = replaces(
            input.tagging_directive.as_ref().map(|directive| directive.as_str()),
            "x-amz-tagging-directive",
        )?;
        let redirect = headers.website_redirect.clone();
        let changes_nothing = !new_metadata && !new_tags && redirect.is_none();
        if **bucket == *input.bucket && **key == *input.key && changes_nothing {
            let why = "an object that is copied to itself must change its metadata, its redirect or its tags";
            return Err(Failure::invalid_request(why).into());
        }
        let tags = match (&input.tagging, new_tags) {
            (Some(text), true) => tags::of_header(text)?,
            (_, _) => Vec::new(),
        };
        let metadata = convert::pairs(input.metadata);
        attributes::check_metadata(&Attributes { metadata: metadata.clone(), ..Attributes::default() })?;
        let about = |source: &Attributes| {
            let kept = match new_metadata {
                true => Attributes { metadata: metadata.clone(), ..headers.clone() },
                // The redirect is not a part of the metadata.
                false => {
                    Attributes { website_redirect: redirect.clone(), modified_ms: None, ..source.clone() }
                }
            };
            Attributes { tags: if new_tags { tags.clone() } else { source.tags.clone() }, ..kept }
        };
        let wanted = match &input.checksum_algorithm {
            Some(algorithm) => Some(Wanted::computed(checksum::algorithm_of(algorithm.as_str())?)),
            None => None,
        };
        let of_source = convert::conditions(
            input.copy_source_if_match,
            input.copy_source_if_none_match,
            input.copy_source_if_modified_since,
            input.copy_source_if_unmodified_since,
        );
        // The protocol's library does not parse the conditions of a copy's target.
        let conditions = convert::of_target(&request.headers)?;
        let target = Target { bucket: input.bucket, key: input.key, conditions };
        let written = call.copy((bucket, key, &of_source), &target, about, wanted).await?;
        let checksums = Checksums::of(written.checksum.as_ref());
        let result = CopyObjectResult {
            e_tag: etag(String::from_utf8_lossy(&written.etag).into_owned()),
            last_modified: Some(timestamp(written.modified_ms)),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            checksum_type: checksums.kind,
        };
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            ..CopyObjectOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let call = call(&request)?;
        let input = request.input;
        let encoding = Encoding::new(input.encoding_type)?;
        let after = match &input.continuation_token {
            Some(token) => Some(next_of(token)?),
            None => input.start_after.clone(),
        };
        let asked = Asked {
            bucket: input.bucket.clone(),
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after,
            max_keys: input.max_keys,
        };
        let Listing { objects, prefixes, next, max_keys } = call.list(&asked).await?;
        let owner = (input.fetch_owner == Some(true)).then(owner);
        let count = i32::try_from(objects.len() + prefixes.len()).expect("a page is short");
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.text(&asked.prefix)),
            delimiter: input.delimiter.map(|delimiter| encoding.text(&delimiter)),
            start_after: input.start_after.map(|after| encoding.text(&after)),
            max_keys: Some(max_keys),
            key_count: Some(count),
            is_truncated: Some(next.is_some()),
            continuation_token: input.continuation_token,
            next_continuation_token: next.as_deref().map(token_of),
            common_prefixes: encoding.prefixes(&prefixes),
            contents: encoding.objects(objects, owner.as_ref()),
            encoding_type: encoding.into_asked(),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let call = call(&request)?;
        let input = request.input;
        let encoding = Encoding::new(input.encoding_type)?;
        let asked = Asked {
            bucket: input.bucket.clone(),
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: input.marker.clone(),
            max_keys: input.max_keys,
        };
        let Listing { objects, prefixes, next, max_keys } = call.list(&asked).await?;
        let is_truncated = next.is_some();
        // Without a delimiter the next page begins after the last key, which the client has; unless
        // the page has none.
        let has_delimiter =
            objects.is_empty() || input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty());
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.text(&asked.prefix)),
            marker: Some(encoding.text(&input.marker.unwrap_or_default())),
            delimiter: input.delimiter.map(|delimiter| encoding.text(&delimiter)),
            max_keys: Some(max_keys),
            is_truncated: Some(is_truncated),
            next_marker: next.filter(|_| has_delimiter).map(|next| encoding.text(&next)),
            common_prefixes: encoding.prefixes(&prefixes),
            contents: encoding.objects(objects, Some(&owner())),
            encoding_type: encoding.into_asked(),
            ..ListObjectsOutput::default()
        }))
    }

    async fn get_object_tagging(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let call = call(&request)?;
        check_version(request.input.version_id.as_deref())?;
        let object = call.find(&request.input.bucket, &request.input.key).await?;
        let tag = |pair: Pair| Tag { key: Some(pair.name), value: Some(pair.value) };
        let tag_set = object.about.tags.into_iter().map(tag).collect();
        Ok(S3Response::new(GetObjectTaggingOutput { tag_set, version_id: None }))
    }

    async fn put_object_tagging(
        &self,
        request: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        let call = call(&request)?;
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        call.set_tags(&input.bucket, &input.key, tag_pairs(input.tagging.tag_set)?).await?;
        Ok(S3Response::new(PutObjectTaggingOutput::default()))
    }

    async fn delete_object_tagging(
        &self,
        request: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        let call = call(&request)?;
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        call.set_tags(&input.bucket, &input.key, Vec::new()).await?;
        Ok(S3Response::with_status(DeleteObjectTaggingOutput::default(), StatusCode::NO_CONTENT))
    }

    async fn get_object_attributes(
        &self,
        request: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        let call = call(&request)?;
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        check_no_customer_key(input.sse_customer_algorithm.as_ref())?;
        let object = call.find(&input.bucket, &input.key).await?;
        // The protocol's library takes a list in one header for one name.
        let asked = input.object_attributes.iter().flat_map(|names| names.as_str().split(','));
        let asked: Vec<&str> = asked.map(str::trim).collect();
        let known = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];
        if asked.is_empty() || asked.iter().any(|asked| !known.contains(asked)) {
            let why = format!("x-amz-object-attributes: the attributes are {}", known.join(", "));
            return Err(Failure::invalid_argument(why).into());
        }
        let asks = |name: &str| asked.contains(&name);
        let checksums = Checksums::of(object.about.checksum.as_ref());
        let checksum = Checksum {
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            checksum_type: checksums.kind,
        };
        let has_checksum = checksum.checksum_type.is_some();
        Ok(S3Response::new(GetObjectAttributesOutput {
            last_modified: Some(timestamp(object.modified_ms(now_ms()))),
            e_tag: etag(object.etag()).filter(|_| asks(ObjectAttributes::ETAG)),
            object_size: asks(ObjectAttributes::OBJECT_SIZE)
                .then(|| i64::try_from(object.size()).expect("a value has a size")),
            storage_class: asks(ObjectAttributes::STORAGE_CLASS)
                .then(|| StorageClass::from_static(StorageClass::STANDARD)),
            checksum: (has_checksum && asks(ObjectAttributes::CHECKSUM)).then_some(checksum),
            ..GetObjectAttributesOutput::default()
        }))
    }

    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        attributes::check_supported(&request.headers)?;
        let call = call(&request)?;
        let input = request.input;
        if input.object_lock_enabled_for_bucket == Some(true) {
            return Err(Failure::not_implemented("object lock").into());
        }
        call.create_bucket(&input.bucket).await?;
        Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) }))
    }

    async fn delete_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        call(&request)?.delete_bucket(&request.input.bucket).await?;
        Ok(S3Response::with_status(DeleteBucketOutput::default(), StatusCode::NO_CONTENT))
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        call(&request)?.need_visible_bucket(&request.input.bucket).await?;
        let bucket_region = Some(self.region.clone());
        Ok(S3Response::new(HeadBucketOutput { bucket_region, ..HeadBucketOutput::default() }))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        call(&request)?.need_visible_bucket(&request.input.bucket).await?;
        // The protocol's name for us-east-1 is an empty one.
        let location = Some(self.region.clone()).filter(|region| region != "us-east-1");
        let location_constraint = location.map(BucketLocationConstraint::from);
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
    }

    /// A bucket never had versions.
    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        call(&request)?.need_visible_bucket(&request.input.bucket).await?;
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        Ok(S3Response::new(multipart::create(request).await?))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        Ok(S3Response::new(multipart::upload_part(self, request).await?))
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        Ok(S3Response::new(multipart::upload_part_copy(request).await?))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        Ok(S3Response::new(multipart::complete(request).await?))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        multipart::abort(request).await?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        Ok(S3Response::new(multipart::list_parts(request).await?))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        Ok(S3Response::new(multipart::list_uploads(request).await?))
    }

    async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let call = call(&request)?;
        let input = request.input;
        if input.continuation_token.is_some() || input.max_buckets.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "a page of ListBuckets is not implemented by this endpoint"
            ));
        }
        let prefix = input.prefix.unwrap_or_default();
        let buckets =
            call.list_buckets().await?.into_iter().filter(|bucket| bucket.name.starts_with(&prefix));
        let bucket = |bucket: crate::operations::buckets::Bucket| Bucket {
            name: Some(bucket.name),
            creation_date: Some(timestamp(bucket.created_ms)),
            bucket_region: Some(self.region.clone()),
        };
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.map(bucket).collect()),
            owner: Some(owner()),
            ..ListBucketsOutput::default()
        }))
    }
}

/// Returns the answer that sends no object, because the client has it already. The protocol's
/// library takes only a failure for an answer without a body.
fn not_modified(object: &Object) -> s3s::S3Error {
    let mut error = s3s::S3Error::from(Failure::new("NotModified", 304, "the client has this object"));
    let mut headers = attributes::to_headers(&object.about);
    headers.remove(header::CONTENT_TYPE);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", object.etag())) {
        headers.insert(header::ETAG, tag);
    }
    if let Some(modified) = convert::http_date(object.modified_ms(now_ms())) {
        headers.insert(header::LAST_MODIFIED, modified);
    }
    error.set_headers(headers);
    error
}

/// Adds the size of the object to the answer to a range beyond it.
fn beyond(failure: Failure, size: u64) -> s3s::S3Error {
    let mut error = s3s::S3Error::from(failure);
    let value = HeaderValue::from_str(&format!("bytes */{size}")).expect("a number is a header's value");
    let content_type = HeaderValue::from_static("application/xml");
    error.set_headers(HeaderMap::from_iter([
        (header::CONTENT_RANGE, value),
        (header::CONTENT_TYPE, content_type),
    ]));
    error
}
