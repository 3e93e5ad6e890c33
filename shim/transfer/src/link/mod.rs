//! Requests to a bucket outside the store: each is one call of the SDK, which repeats it after
//! failures that pass.
//!
//! Reads are pinned: with the entity tag of a listing, so that all bytes of an object are of one
//! version. Writes carry the MD5 of their bytes, which the server compares.

use std::time::Duration;

use aft_door_s3::origin::{Expect, MARK};
use aft_format::{Attributes, Checksum, ChecksumAlgorithm, Pair};
use aft_store_aws::{Form, Mistake, Settings, chain, settings};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumMode, CompletedMultipartUpload, CompletedPart, EncodingType, ServerSideEncryption,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, unfold};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::Failed;
use crate::manifest::checksum_of;

mod blank;
mod origin;

pub use origin::open_origin;

/// The patience of a client: the number of times that the SDK sends a request, with its own pauses
/// between them, and the time in which an answer has to begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    sendings: u32,
    answer: Duration,
}

/// The patience of a transfer, which runs for long.
pub(crate) const OF_TRANSFERS: Patience = Patience { sendings: 5, answer: Duration::from_secs(60) };
/// The patience of a server, whose client waits.
pub(crate) const OF_SERVERS: Patience = Patience { sendings: 3, answer: Duration::from_secs(10) };
/// The time in which a connection has to be there.
const CONNECT: Duration = Duration::from_secs(5);
/// The least rate at which a body must be sent, in bytes a second.
const RATE_MIN: u64 = 64 << 10;

/// The time for which no byte may pass before a transfer counts as broken.
const STALL: Duration = Duration::from_secs(30);
/// The type of the content of an object that was written without one.
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";
/// The size from which on the signature leaves the body out: the MD5 covers it already.
const SIGNED_BYTES_MAX: usize = 1 << 20;

/// The form of a bucket's URL. The prefix is not a part of it here.
const FORM: Form = Form { scheme: "s3", check_name: check_bucket, prefix_bytes_max: 0 };

fn check_bucket(bucket: &str) -> Result<(), String> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    match (3..=255).contains(&bucket.len()) && bucket.chars().all(is_known) {
        true => Ok(()),
        false => Err(format!("{bucket:?} is not a valid name of a bucket")),
    }
}

/// The attributes and conditions of a write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write<'a> {
    /// The attributes.
    pub(crate) about: &'a Attributes,
    /// The value of the metadata that marks a mirrored object.
    pub(crate) mark: Option<&'a str>,
    /// The object that must be there.
    pub(crate) expect: Option<&'a Expect>,
}

impl Write<'_> {
    /// Returns the metadata, with the mark.
    fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.about.metadata.iter().map(|pair| (pair.name.as_str(), pair.value.as_str()));
        pairs.chain(self.mark.map(|mark| (MARK, mark)))
    }

    /// Returns the headers If-Match and If-None-Match.
    fn conditions(&self) -> (Option<String>, Option<String>) {
        match self.expect {
            None => (None, None),
            Some(Expect::Nothing) => (None, Some("*".into())),
            Some(Expect::Tag(etag)) => (Some(format!("\"{etag}\"")), None),
        }
    }
}

/// Returns the attributes that an answer has, without tags. The types of the answers to GetObject
/// and HeadObject have the same methods, and nothing in common.
macro_rules! attributes_of {
    ($output:expr) => {{
        let output = &$output;
        let metadata = output.metadata().into_iter().flatten();
        let mut metadata: Vec<Pair> =
            metadata.map(|(name, value)| Pair { name: name.clone(), value: value.clone() }).collect();
        metadata.sort();
        let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        Attributes {
            content_type: text(output.content_type()).filter(|text| text != DEFAULT_CONTENT_TYPE),
            cache_control: text(output.cache_control()),
            content_disposition: text(output.content_disposition()),
            content_encoding: text(output.content_encoding()),
            content_language: text(output.content_language()),
            expires: text(output.expires_string()),
            website_redirect: text(output.website_redirect_location()),
            metadata,
            checksum: checksum_in([
                output.checksum_crc64_nvme(),
                output.checksum_crc32_c(),
                output.checksum_crc32(),
                output.checksum_sha256(),
                output.checksum_sha1(),
            ]),
            ..Attributes::default()
        }
    }};
}
use attributes_of;

/// A client for the objects of one bucket below a prefix.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    client: Client,
    bucket: String,
    /// Empty, or with a `/` at its end.
    prefix: String,
    patience: Patience,
}

/// The reason why a request has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The object has another entity tag than the one that was asked for.
    Changed,
    /// There is no such object.
    Missing,
    /// Anything else, for people.
    Failed(Failed),
}

impl Failure {
    /// Returns the text for people.
    pub(crate) fn into_text(self) -> Failed {
        match self {
            Failure::Changed => "it was changed while it was read: run the command again".into(),
            Failure::Missing => "it is not there any more".into(),
            Failure::Failed(why) => why,
        }
    }
}

impl From<Failed> for Failure {
    fn from(why: Failed) -> Failure {
        Failure::Failed(why)
    }
}

/// An object of a listing, by its name below the prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) size: u64,
    /// The entity tag, without quotes.
    pub(crate) etag: String,
}

/// A part of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// The part of an upload in parts with this number.
    Number(u32),
    /// A number of bytes from a place on.
    Bytes(u64, u64),
}

/// An object, or a part of one, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) size: u64,
    /// The entity tag of the object, without quotes.
    pub(crate) etag: String,
    /// The number of parts of an upload in parts, if a part was asked for; 0 for other objects.
    pub(crate) parts: u32,
    /// The checksum of the object, if no part was asked for.
    pub(crate) checksum: Option<Checksum>,
}

/// An object, or a part of one, whose bytes are arriving.
pub(crate) struct Got {
    /// The number of bytes.
    pub(crate) size: u64,
    /// The entity tag of the object, without quotes.
    pub(crate) etag: String,
    /// The attributes, without tags.
    pub(crate) attributes: Attributes,
    /// True if there are tags.
    pub(crate) has_tags: bool,
    /// True if the entity tag is no MD5, because the object is encrypted with a key of its owner.
    pub(crate) is_encrypted: bool,
    pub(crate) bytes: BoxStream<'static, Result<Bytes, String>>,
}

impl Link {
    /// Opens the bucket at a URL without a prefix.
    ///
    /// # Errors
    /// Returns an error if the URL is wrong, or if there are no credentials or no region.
    pub(crate) async fn open(url: &str, prefix: &str, patience: Patience) -> Result<Link, Failed> {
        let times = TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(patience.answer).build();
        let Settings { location, sdk, .. } = settings(&FORM, url, None).await.map_err(explain)?;
        let mut config = aws_sdk_s3::config::Builder::from(&sdk)
            .retry_config(RetryConfig::standard().with_max_attempts(patience.sendings))
            .timeout_config(times)
            .interceptor(blank::Keys)
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(STALL).build());
        config.set_endpoint_url(location.endpoint.clone());
        if location.endpoint.is_some() {
            // As for a store on such a server.
            config = config
                .force_path_style(true)
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        }
        let client = Client::from_conf(config.build());
        Ok(Link { client, bucket: location.name, prefix: prefix.to_owned(), patience })
    }

    /// Returns the times of a request with a body of some bytes, which is sent before the answer
    /// begins.
    fn times_of(&self, bytes: usize) -> aws_sdk_s3::config::Builder {
        let sending = Duration::from_secs(bytes as u64 / RATE_MIN);
        let times =
            TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(self.patience.answer + sending);
        aws_sdk_s3::config::Config::builder().timeout_config(times.build())
    }

    fn key(&self, name: &str) -> String {
        blank::stand_in(format!("{}{name}", self.prefix))
    }

    /// Returns the text of a failure with its call.
    fn failed<E>(&self, call: &str, error: &SdkError<E>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
        match (status, code) {
            (Some(412), _) | (Some(409), "ConditionalRequestConflict") => return Failure::Changed,
            (Some(404), "NoSuchBucket") => {}
            (Some(404), _) => return Failure::Missing,
            _ => {}
        }
        let bucket = &self.bucket;
        Failure::Failed(match (status, code) {
            (_, "NoSuchBucket") => format!("the bucket {bucket} does not exist: make it, or check its name"),
            (_, "AccessDenied") => {
                format!(
                    "{call} in the bucket {bucket} is not allowed: the credentials need that right ({message})"
                )
            }
            (Some(status), "") => format!("{call} in the bucket {bucket}: status {status}"),
            (Some(status), code) => format!("{call} in the bucket {bucket}: {status} {code}: {message}"),
            (None, _) => format!("{call} in the bucket {bucket}: {}", chain(error)),
        })
    }

    /// Lists a page of the objects below the prefix, in the order of their names. `after` is what
    /// the page before returned.
    ///
    /// # Errors
    /// Returns an error if the bucket cannot be listed.
    pub(crate) async fn list(&self, after: Option<String>) -> Result<(Vec<Listed>, Option<String>), Failed> {
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(&self.prefix);
        // XML has no way to write most control characters.
        let request = request.encoding_type(EncodingType::Url).set_continuation_token(after);
        let listed = Box::pin(request.send()).await;
        let output = listed.map_err(|error| self.failed("a listing", &error).into_text())?;
        let is_encoded = output.encoding_type() == Some(&EncodingType::Url);
        let mut objects = Vec::with_capacity(output.contents().len());
        for object in output.contents() {
            let key = object.key().unwrap_or_default();
            let key = if is_encoded { decoded(key) } else { Some(key.to_owned()) };
            let name = key.as_deref().and_then(|key| key.strip_prefix(&self.prefix));
            let Some(name) = name else {
                return Err(format!("the bucket {} lists a key that was not asked for", self.bucket));
            };
            // The prefix itself, as some programs make it for an empty folder.
            if !name.is_empty() {
                let size = u64::try_from(object.size().unwrap_or_default()).unwrap_or_default();
                objects.push(Listed { name: name.to_owned(), size, etag: bare(object.e_tag()) });
            }
        }
        let next = output.next_continuation_token().map(str::to_owned);
        Ok((objects, next.filter(|_| output.is_truncated() == Some(true))))
    }

    /// Requests a part of an object that has the entity tag `etag`.
    ///
    /// # Errors
    /// Returns [`Failure::Changed`] if it has another one.
    pub(crate) async fn get(&self, name: &str, part: Part, etag: &str) -> Result<Got, Failure> {
        let request = self.client.get_object().bucket(&self.bucket).key(self.key(name));
        let request = request.if_match(format!("\"{etag}\"")).checksum_mode(ChecksumMode::Enabled);
        let request = match part {
            // No byte is in the range of an empty object.
            Part::Whole | Part::Bytes(_, 0) => request,
            Part::Number(number) => request.part_number(i32::try_from(number).unwrap_or(i32::MAX)),
            Part::Bytes(from, size) => request.range(format!("bytes={from}-{}", from + size - 1)),
        };
        let output = Box::pin(request.send()).await;
        Ok(got(output.map_err(|error| self.failed("a read", &error))?))
    }

    /// Looks at an object, or at a part of it.
    ///
    /// # Errors
    /// Returns [`Failure::Missing`] if there is none.
    pub(crate) async fn head(&self, name: &str, part: Option<u32>) -> Result<Head, Failure> {
        let request = self.client.head_object().bucket(&self.bucket).key(self.key(name));
        let part = part.map(|number| i32::try_from(number).unwrap_or(i32::MAX));
        let request = request.set_part_number(part).checksum_mode(ChecksumMode::Enabled);
        let output = Box::pin(request.send()).await;
        let output = output.map_err(|error| self.failed("a look at an object", &error))?;
        let checksum = checksum_in([
            output.checksum_crc64_nvme(),
            output.checksum_crc32_c(),
            output.checksum_crc32(),
            output.checksum_sha256(),
            output.checksum_sha1(),
        ]);
        Ok(Head {
            size: u64::try_from(output.content_length().unwrap_or_default()).unwrap_or_default(),
            etag: bare(output.e_tag()),
            parts: output.parts_count().and_then(|parts| u32::try_from(parts).ok()).unwrap_or_default(),
            checksum,
        })
    }

    /// Returns the text of a small object; `None` if there is none.
    ///
    /// # Errors
    /// Returns an error if it cannot be read, or is no text.
    pub(crate) async fn text(&self, name: &str) -> Result<Option<String>, Failed> {
        let request = self.client.get_object().bucket(&self.bucket).key(self.key(name));
        let output = match Box::pin(request.send()).await.map_err(|error| self.failed("a read", &error)) {
            Ok(output) => output,
            Err(Failure::Missing) => return Ok(None),
            Err(failure) => return Err(failure.into_text()),
        };
        let bytes = output.body.collect().await.map_err(|why| broken(&why))?.into_bytes();
        let text = String::from_utf8(bytes.into()).map_err(|_| format!("the object {name:?} is no text"))?;
        Ok(Some(text))
    }

    /// Returns the tags of an object.
    ///
    /// # Errors
    /// Returns an error if they cannot be read.
    pub(crate) async fn tags(&self, name: &str) -> Result<Vec<Pair>, Failure> {
        let request = self.client.get_object_tagging().bucket(&self.bucket).key(self.key(name));
        let output = Box::pin(request.send()).await;
        let output = output.map_err(|error| self.failed("a read of the tags", &error))?;
        let pair = |tag: &aws_sdk_s3::types::Tag| Pair { name: tag.key().into(), value: tag.value().into() };
        Ok(output.tag_set().iter().map(pair).collect())
    }

    /// Writes an object, and returns its entity tag, without quotes; `None` if it is no MD5.
    ///
    /// # Errors
    /// Returns an error if the server rejects it, as it does bytes that do not have this MD5.
    pub(crate) async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        md5: [u8; 16],
        write: &Write<'_>,
    ) -> Result<Option<String>, Failure> {
        let (len, about) = (bytes.len(), write.about);
        let (if_match, if_none_match) = write.conditions();
        let mut request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(name))
            .content_md5(STANDARD.encode(md5))
            .content_type(about.content_type.as_deref().unwrap_or(DEFAULT_CONTENT_TYPE))
            .set_cache_control(about.cache_control.clone())
            .set_content_disposition(about.content_disposition.clone())
            .set_content_encoding(about.content_encoding.clone())
            .set_content_language(about.content_language.clone())
            .set_website_redirect_location(about.website_redirect.clone())
            .set_tagging(tagging(&about.tags))
            .set_if_match(if_match)
            .set_if_none_match(if_none_match);
        for (name, value) in write.metadata() {
            request = request.metadata(name, value);
        }
        let times = self.times_of(len);
        let mut request = request.body(ByteStream::from(bytes)).customize().config_override(times);
        if let Some(expires) = about.expires.clone() {
            // The SDK would parse it as a time, and it may be any text.
            request = request.mutate_request(move |request| {
                request.headers_mut().insert("expires", expires.clone());
            });
        }
        if len > SIGNED_BYTES_MAX {
            request = request.disable_payload_signing();
        }
        let output = Box::pin(request.send()).await;
        let output = output.map_err(|error| self.failed("a write", &error))?;
        let is_md5 = !is_encrypted(output.server_side_encryption(), output.sse_customer_algorithm());
        Ok(is_md5.then(|| bare(output.e_tag())))
    }

    /// Makes an upload in parts, and returns its ID.
    ///
    /// # Errors
    /// Returns an error if the server rejects it.
    pub(crate) async fn begin_upload(&self, name: &str, write: &Write<'_>) -> Result<String, Failure> {
        let about = write.about;
        let mut request = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(self.key(name))
            .content_type(about.content_type.as_deref().unwrap_or(DEFAULT_CONTENT_TYPE))
            .set_cache_control(about.cache_control.clone())
            .set_content_disposition(about.content_disposition.clone())
            .set_content_encoding(about.content_encoding.clone())
            .set_content_language(about.content_language.clone())
            .set_website_redirect_location(about.website_redirect.clone())
            .set_tagging(tagging(&about.tags));
        for (name, value) in write.metadata() {
            request = request.metadata(name, value);
        }
        let mut request = request.customize();
        if let Some(expires) = about.expires.clone() {
            request = request.mutate_request(move |request| {
                request.headers_mut().insert("expires", expires.clone());
            });
        }
        let output = Box::pin(request.send()).await;
        let output = output.map_err(|error| self.failed("an upload in parts", &error))?;
        Ok(output.upload_id().unwrap_or_default().to_owned())
    }

    /// Writes a part of an upload, and returns it for the end of the upload.
    ///
    /// # Errors
    /// Returns an error if the server rejects it.
    pub(crate) async fn put_part(
        &self,
        name: &str,
        upload: &str,
        number: i32,
        bytes: Bytes,
        md5: [u8; 16],
    ) -> Result<CompletedPart, Failure> {
        let request = self.client.upload_part().bucket(&self.bucket).key(self.key(name)).upload_id(upload);
        let request = request.part_number(number).content_md5(STANDARD.encode(md5));
        let times = self.times_of(bytes.len());
        let request = request.body(ByteStream::from(bytes)).customize().config_override(times);
        let request = request.disable_payload_signing();
        let output = Box::pin(request.send()).await;
        let output = output.map_err(|error| self.failed("a write of a part", &error))?;
        let part = CompletedPart::builder().part_number(number).set_e_tag(output.e_tag().map(str::to_owned));
        Ok(part.build())
    }

    /// Completes an upload, and returns the entity tag of the object, without quotes; `None` if it
    /// is not made of MD5s.
    ///
    /// # Errors
    /// Returns an error if the server rejects it.
    pub(crate) async fn end_upload(
        &self,
        name: &str,
        upload: &str,
        parts: Vec<CompletedPart>,
        write: &Write<'_>,
    ) -> Result<Option<String>, Failure> {
        let (if_match, if_none_match) = write.conditions();
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(self.key(name));
        let request = request.set_if_match(if_match).set_if_none_match(if_none_match);
        let output = Box::pin(request.upload_id(upload).multipart_upload(parts).send()).await;
        let output = output.map_err(|error| self.failed("the end of an upload", &error))?;
        let is_md5 = !is_encrypted(output.server_side_encryption(), None);
        Ok(is_md5.then(|| bare(output.e_tag())))
    }

    /// Aborts an upload. What cannot be aborted stays, as after a process that was killed.
    pub(crate) async fn abort_upload(&self, name: &str, upload: &str) {
        let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(self.key(name));
        drop(Box::pin(request.upload_id(upload).send()).await);
    }

    /// Deletes an object. One that does not exist counts as deleted.
    ///
    /// # Errors
    /// Returns an error if the server rejects it.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), Failed> {
        let request = self.client.delete_object().bucket(&self.bucket).key(self.key(name));
        match Box::pin(request.send()).await.map_err(|error| self.failed("a deletion", &error)) {
            Ok(_) | Err(Failure::Missing) => Ok(()),
            Err(failure) => Err(failure.into_text()),
        }
    }
}

fn explain(mistake: Mistake) -> Failed {
    match mistake {
        Mistake::Url { url, problem } => {
            format!("\"{url}\": {problem}; the form is s3://BUCKET/PREFIX?endpoint=URL&region=R")
        }
        Mistake::NoCredentials { url, why } => format!(
            "{url}: no credentials ({why}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"
        ),
        Mistake::NoRegion(url) => format!("{url}: no region; write region=… in the URL, or set AWS_REGION"),
    }
}

/// Returns an object whose bytes are arriving.
fn got(output: GetObjectOutput) -> Got {
    let attributes = attributes_of!(output);
    Got {
        size: u64::try_from(output.content_length().unwrap_or_default()).unwrap_or_default(),
        etag: bare(output.e_tag()),
        has_tags: output.tag_count().is_some_and(|count| count > 0),
        is_encrypted: is_encrypted(output.server_side_encryption(), output.sse_customer_algorithm()),
        attributes,
        bytes: unfold(Some(output.body), |body| async {
            let mut body = body?;
            match body.next().await? {
                Ok(bytes) => Some((Ok(bytes), Some(body))),
                Err(why) => Some((Err(broken(&why)), None)),
            }
        })
        .boxed(),
    }
}

/// Returns the first of the checksums that an answer has: in CRC-64, CRC-32C, CRC-32, SHA-256 and
/// SHA-1.
fn checksum_in(texts: [Option<&str>; 5]) -> Option<Checksum> {
    let algorithms = [
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Crc32c,
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Sha256,
        ChecksumAlgorithm::Sha1,
    ];
    algorithms.into_iter().zip(texts).find_map(|(algorithm, text)| checksum_of(algorithm, text?))
}

fn broken(why: &(dyn std::error::Error + 'static)) -> Failed {
    format!("the answer broke off: {}", chain(why))
}

/// Returns true if the entity tag of an object that is encrypted like this is no MD5.
fn is_encrypted(by_server: Option<&ServerSideEncryption>, by_customer: Option<&str>) -> bool {
    by_customer.is_some() || by_server.is_some_and(|kind| *kind != ServerSideEncryption::Aes256)
}

/// Returns an entity tag without its quotes.
fn bare(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

/// Decodes a key of a listing. Servers write a space as `+` or as `%20`, and a `+` as `%2B`.
fn decoded(key: &str) -> Option<String> {
    let spaced = key.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// Returns tags as a header has them.
fn tagging(tags: &[Pair]) -> Option<String> {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pair = |Pair { name, value }: &Pair| format!("{}={}", encoded(name), encoded(value));
    (!tags.is_empty()).then(|| tags.iter().map(pair).collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_listings_are_decoded() {
        for (text, key) in
            [("a%2Bb+c%20d", "a+b c d"), ("a//b", "a//b"), ("%C3%A4%01", "ä\u{1}"), ("100%25", "100%")]
        {
            assert_eq!(decoded(text).as_deref(), Some(key));
        }
        assert_eq!(decoded("%ff"), None);
    }

    #[test]
    fn tags_are_written_as_a_query() {
        let pair = |name: &str, value: &str| Pair { name: name.into(), value: value.into() };
        assert_eq!(tagging(&[]), None);
        assert_eq!(tagging(&[pair("a b", "ä"), pair("c", "")]).as_deref(), Some("a%20b=%C3%A4&c="));
    }
}
