//! Objects of an S3 endpoint, as a client sees them.

use std::collections::BTreeMap;

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{ChecksumMode, CompletedMultipartUpload, CompletedPart};

/// The size of all parts of an upload but the last one.
pub(crate) const PART_BYTES: usize = 5 << 20;

/// The metadata that marks a mirrored object.
const MARK: &str = "aft-mirror";

/// Keys of all kinds: of every length of UTF-8, with what URLs, XML and file systems treat in ways
/// of their own, and with names that an export uses itself.
pub(crate) const KEYS: [&str; 27] = [
    "plain",
    "folder",
    "folder/",
    "folder/file",
    "folder/sub/file",
    "a+b",
    "a b",
    "100%",
    "%41",
    "%2e%2e",
    "a//b",
    "/a",
    "//",
    ".",
    "..",
    "../outside",
    "a/../b",
    "ä/日本/ключ/😀",
    "control\u{1}\t\n\u{7f}",
    "quote\"'<&>\\`$(x)",
    "aft-manifest.jsonl",
    "aft-manifest.partial.jsonl",
    "%aft-manifest.jsonl",
    ".aft-export/1",
    "-rf",
    "*?[x]",
    "~",
];

/// Returns a client of an endpoint that checks no signatures.
pub(crate) fn client_of(url: &str) -> Client {
    client_with(url, "any", "any")
}

/// Returns a client of an endpoint, with an access key.
pub(crate) fn client_with(url: &str, id: &str, secret: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .force_path_style(true)
        .credentials_provider(Credentials::new(id, secret, None, None, "test"));
    Client::from_conf(config.build())
}

/// An object with everything that a client sees of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) bytes: Vec<u8>,
    pub(crate) etag: String,
    headers: Vec<Option<String>>,
    metadata: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    checksum: Option<String>,
    /// The length of its first part, if it has several.
    part: Option<i64>,
}

impl Seen {
    /// Returns all but the bytes, for messages.
    pub(crate) fn without_bytes(&self) -> Seen {
        Seen { bytes: Vec::new(), ..self.clone() }
    }

    /// Returns true if it has the mark of a mirrored object.
    pub(crate) fn has_mark(&self) -> bool {
        self.metadata.contains_key(MARK)
    }

    /// Returns what a mirror keeps: all but the mark and the checksum.
    pub(crate) fn without_mark(mut self) -> Seen {
        self.metadata.remove(MARK);
        Seen { checksum: None, ..self }
    }
}

/// Puts an object.
pub(crate) async fn put(s3: &Client, bucket: &str, key: &str, bytes: impl Into<Vec<u8>>) {
    let body = ByteStream::from(bytes.into());
    let put = s3.put_object().bucket(bucket).key(key).body(body).send().await;
    put.unwrap_or_else(|why| panic!("{key:?}: {why:?}"));
}

/// Fills a bucket with objects of all kinds, and returns their keys.
pub(crate) async fn fill(s3: &Client, bucket: &str) -> Vec<String> {
    for (at, key) in KEYS.iter().enumerate() {
        put(s3, bucket, key, format!("{at}: {key}")).await;
    }
    let mut keys: Vec<String> = KEYS.iter().map(|key| (*key).to_owned()).collect();
    let long = format!("{}/{}", "ä".repeat(300), "x".repeat(400));
    put(s3, bucket, &long, "long").await;
    put(s3, bucket, "empty", "").await;
    // Beyond what is kept within a record, and of a length that is no round number.
    put(s3, bucket, "large", vec![7; 9_000_001]).await;
    let about = s3
        .put_object()
        .bucket(bucket)
        .key("about")
        .body(ByteStream::from_static(b"about"))
        .content_type("text/plain; charset=utf-8")
        .cache_control("no-cache")
        .content_disposition("attachment; filename=\"a.txt\"")
        .content_encoding("identity")
        .content_language("de")
        .website_redirect_location("/other")
        .expires(DateTime::from_secs(4_000_000_000))
        .metadata("name", "value with spaces")
        .metadata("empty", "")
        .tagging("stage=test&two%20words=%C3%A4%2B1")
        .checksum_algorithm(aws_sdk_s3::types::ChecksumAlgorithm::Sha256);
    about.send().await.expect("an object with attributes is put");
    parts(s3, bucket, "parts").await;
    keys.extend([&long, "empty", "large", "about", "parts"].map(str::to_owned));
    keys
}

/// Uploads an object in three parts, with metadata and tags.
async fn parts(s3: &Client, bucket: &str, key: &str) {
    let made =
        s3.create_multipart_upload().bucket(bucket).key(key).metadata("in", "parts").tagging("of=three");
    let id = made.send().await.expect("it is made").upload_id.expect("it has an ID");
    let mut upload = CompletedMultipartUpload::builder();
    for (number, bytes) in [(1, PART_BYTES), (2, PART_BYTES + 1), (3, 3)] {
        let body = ByteStream::from(vec![number as u8; bytes]);
        let part = s3.upload_part().bucket(bucket).key(key).upload_id(&id).part_number(number);
        let part = part.body(body).send().await.expect("it is stored");
        upload = upload.parts(CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).build());
    }
    let done = s3.complete_multipart_upload().bucket(bucket).key(key).upload_id(&id);
    done.multipart_upload(upload.build()).send().await.expect("it is complete");
}

/// Reads an object.
pub(crate) async fn see(s3: &Client, bucket: &str, key: &str) -> Seen {
    let got = s3.get_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled).send().await;
    let got = got.unwrap_or_else(|why| panic!("{key:?}: {why:?}"));
    let tags = s3.get_object_tagging().bucket(bucket).key(key).send().await.expect("it has tags");
    let etag = got.e_tag().expect("it has a tag").to_owned();
    let part = match etag.contains('-') {
        true => {
            let head = s3.head_object().bucket(bucket).key(key).part_number(1).send().await;
            head.expect("it has a part").content_length
        }
        false => None,
    };
    let headers = [
        got.content_type(),
        got.cache_control(),
        got.content_disposition(),
        got.content_encoding(),
        got.content_language(),
        got.website_redirect_location(),
        got.expires_string(),
    ];
    Seen {
        etag,
        headers: headers.map(|header| header.map(str::to_owned)).into(),
        metadata: got.metadata().into_iter().flatten().map(|(a, b)| (a.clone(), b.clone())).collect(),
        tags: tags.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect(),
        checksum: got.checksum_sha256().map(str::to_owned),
        part,
        bytes: got.body.collect().await.expect("all of it arrives").to_vec(),
    }
}

/// Reads objects, in the order of `keys`, and checks that the bucket has no others.
pub(crate) async fn see_all(s3: &Client, bucket: &str, keys: &[String]) -> Vec<(String, Seen)> {
    let listed = s3.list_objects_v2().bucket(bucket).encoding_type(aws_sdk_s3::types::EncodingType::Url);
    let listed = listed.send().await.expect("it lists");
    let shown: Vec<&str> = listed.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!(shown.len(), keys.len(), "{shown:#?}");
    let mut seen = Vec::with_capacity(keys.len());
    for key in keys {
        seen.push((key.clone(), see(s3, bucket, key).await));
    }
    seen
}
