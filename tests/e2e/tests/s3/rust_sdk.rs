//! The Rust SDK of AWS, which signs the chunks of streams and sends checksums after them.

use std::io::Write as _;

use aws_credential_types::Credentials;
use aws_sdk_s3::config::{BehaviorVersion, Region, StalledStreamProtectionConfig};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;

use crate::Key;

/// Returns a client of an endpoint.
pub(crate) fn client_of(url: &str, id: &str, secret: &str) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .force_path_style(true)
        // On a busy machine an answer may take longer than it allows, and a part would be sent
        // twice.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .credentials_provider(Credentials::new(id, secret, None, None, "test"));
    aws_sdk_s3::Client::from_conf(config.build())
}

#[tokio::test]
async fn streams_with_signed_chunks_are_stored() {
    let key = Key::make("b-");
    let server = key.serve("memory:");
    let s3 = client_of(&server.s3_url().await, &key.id, &key.secret);
    s3.create_bucket().bucket("b-1").send().await.expect("it is made");
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    file.write_all(&bytes).expect("it takes bytes");
    for algorithm in [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ] {
        let body = ByteStream::from_path(file.path()).await.expect("the file can be read");
        let put = s3.put_object().bucket("b-1").key("k").checksum_algorithm(algorithm.clone()).body(body);
        put.send().await.unwrap_or_else(|why| panic!("{algorithm:?}: {why:?}\n{}", server.log()));
        // The SDK compares the checksum of the answer with the bytes that it gets.
        let object = s3.get_object().bucket("b-1").key("k").send().await.expect("it is there");
        let got = object.body.collect().await.expect("all of it arrives").into_bytes();
        assert!(got == bytes, "{algorithm:?}: {} bytes came back", got.len());
    }
    // Another key, and another bucket, are not allowed.
    let stranger = client_of(&server.s3_url().await, &key.id, "wrong");
    let refused = stranger.get_object().bucket("b-1").key("k").send().await.expect_err("the secret is wrong");
    assert!(format!("{refused:?}").contains("SignatureDoesNotMatch"), "{refused:?}");
    let refused = s3.create_bucket().bucket("other").send().await.expect_err("the prefix is another one");
    assert!(format!("{refused:?}").contains("AccessDenied"), "{refused:?}");
    let refused = s3.head_bucket().bucket("other").send().await.expect_err("the prefix is another one");
    assert_eq!(refused.raw_response().map(|answer| answer.status().as_u16()), Some(403), "{refused:?}");
    s3.head_bucket().bucket("b-1").send().await.expect("it is one of the credential's");
    let versioning = s3.get_bucket_versioning().bucket("b-1").send().await.expect("it answers");
    assert_eq!(versioning.status(), None, "a bucket never had versions");
    // A version that the endpoint does not have is not left out in silence.
    let upload = s3.create_multipart_upload().bucket("b-1").key("copy").send().await.expect("it is made");
    let part = s3.upload_part_copy().bucket("b-1").key("copy").part_number(1);
    let part = part.copy_source("b-1/k?versionId=1").set_upload_id(upload.upload_id);
    let refused = part.send().await.expect_err("there are no versions");
    assert!(format!("{refused:?}").contains("NotImplemented"), "{refused:?}");
}
