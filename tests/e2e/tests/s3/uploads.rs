//! Uploads in parts whose object is gone, or whose end was interrupted: their parts are removed,
//! and those of all others stay. All times of the protocol are divided.

use std::time::{Duration, Instant};

use aft_e2e::client::Client;
use aft_e2e::server::{Server, local};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use hyper::Method;

use crate::S3;
use crate::rust_sdk::client_of;

/// The divisor: an attempt is over after 9 s, and the pause between rounds is at most 36 s.
const DIVISOR: &str = "200";
/// The time in which the upkeep must have come: several rounds.
const TIME_MAX: Duration = Duration::from_secs(180);
const PART_BYTES: usize = 5 << 20;

/// Uploads two parts of a key. Returns the upload's ID, and the parts.
async fn parts(s3: &aws_sdk_s3::Client, key: &str) -> (String, CompletedMultipartUpload) {
    let made = s3.create_multipart_upload().bucket("b-1").key(key).send().await.expect("it is made");
    let id = made.upload_id().expect("it has an ID").to_owned();
    let mut upload = CompletedMultipartUpload::builder();
    for number in [1_u8, 2] {
        let body = ByteStream::from(vec![number; PART_BYTES]);
        let part = s3.upload_part().bucket("b-1").key(key).upload_id(&id).part_number(number.into());
        let part = part.body(body).send().await.expect("it is stored");
        let part = CompletedPart::builder().part_number(number.into()).set_e_tag(part.e_tag);
        upload = upload.parts(part.build());
    }
    (id, upload.build())
}

/// Opens a longer transaction, and returns its token.
pub(crate) async fn open(client: &Client, isolation: &str) -> String {
    let json = [("content-type", "application/json")];
    let body = serde_json::json!({ "isolation": isolation }).to_string();
    let opened = client.raw(Method::POST, "/v1/transactions", &json, body).await;
    let opened: serde_json::Value = serde_json::from_slice(opened.expect("it opens").body()).expect("JSON");
    opened["transaction"].as_str().expect("it is open").to_owned()
}

/// Returns the keys of all uploads.
async fn keys(client: &Client) -> Vec<String> {
    let deadline = Instant::now() + TIME_MAX;
    loop {
        let path = format!("/v1/transactions/{}", open(client, "read_atomic").await);
        let listed = client.raw(Method::GET, &format!("{path}/keys?prefix=.uploads"), &[], "").await;
        let listed: serde_json::Value =
            serde_json::from_slice(listed.expect("it lists").body()).expect("JSON");
        if let Some(keys) = listed["keys"].as_array() {
            return keys.iter().map(|key| key["key"].as_str().expect("a key is text").to_owned()).collect();
        }
        // With divided times a transaction may expire before its first call on a busy machine.
        assert!(Instant::now() < deadline, "no listing: {listed}");
    }
}

#[tokio::test]
async fn parts_that_nothing_needs_are_removed() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let more = [&S3[..], &["--bucket", "b-1", "--test-time-divisor", DIVISOR]].concat();
    let server = Server::start_with(&local(directory.path()), &more);
    let s3 = client_of(&server.s3_url().await, "any", "any");
    let client = Client::new(server.address());
    let mut kept = Vec::new();
    for key in ["kept", "overwritten", "deleted"] {
        let (id, upload) = parts(&s3, key).await;
        let done = s3.complete_multipart_upload().bucket("b-1").key(key).upload_id(&id);
        done.multipart_upload(upload).send().await.expect("it is complete");
        kept.extend((key == "kept").then_some(id));
    }
    kept.push(parts(&s3, "open").await.0);
    // An abort that was interrupted after its first transaction.
    let (interrupted, _) = parts(&s3, "interrupted").await;
    let state = format!("/v1/keys/.uploads/b-1/{interrupted}");
    client.raw(Method::DELETE, &state, &[], "").await.expect("the server answers");
    s3.put_object()
        .bucket("b-1")
        .key("overwritten")
        .body(ByteStream::from_static(b"x"))
        .send()
        .await
        .expect("put");
    s3.delete_object().bucket("b-1").key("deleted").send().await.expect("it is deleted");
    assert_eq!(keys(&client).await.len(), 5 * 3 - 1, "each has a state and two parts");
    let start = Instant::now();
    loop {
        let left = keys(&client).await;
        assert!(kept.iter().all(|id| left.iter().filter(|key| key.contains(id)).count() == 3), "{left:?}");
        if left.len() == 6 {
            break;
        }
        assert!(start.elapsed() < TIME_MAX, "{left:?} are left:\n{}", server.log());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let object = s3.get_object().bucket("b-1").key("kept").send().await.expect("it is there");
    let bytes = object.body.collect().await.expect("all of it arrives").into_bytes();
    assert!(
        bytes[..PART_BYTES].iter().all(|byte| *byte == 1)
            && bytes[PART_BYTES..].iter().all(|byte| *byte == 2)
    );
}

/// A longer transaction may complete an upload only if its commit fails when the upload has ended
/// meanwhile.
#[tokio::test]
async fn only_a_serializable_transaction_completes_an_upload() {
    let server = Server::start_with("memory:", &[&S3[..], &["--bucket", "b-1"]].concat());
    let s3 = client_of(&server.s3_url().await, "any", "any");
    let client = Client::new(server.address());
    let (id, upload) = parts(&s3, "k").await;
    let complete = async |token: String| {
        let call = s3.complete_multipart_upload().bucket("b-1").key("k").upload_id(&id);
        let call = call.multipart_upload(upload.clone()).customize();
        let named = call.mutate_request(move |request| {
            request.headers_mut().insert("aft-transaction", token.clone());
        });
        named.send().await
    };
    let refused = complete(open(&client, "read_atomic").await).await.expect_err("its commit checks nothing");
    assert!(format!("{refused:?}").contains("serializable"), "{refused:?}");
    let token = open(&client, "serializable").await;
    complete(token.clone()).await.expect("it is complete, within the transaction");
    s3.head_object().bucket("b-1").key("k").send().await.expect_err("it is not committed");
    let path = format!("/v1/transactions/{token}/commit");
    let json = [("content-type", "application/json")];
    client.raw(Method::POST, &path, &json, "{}").await.expect("it commits");
    let object = s3.head_object().bucket("b-1").key("k").send().await.expect("it is there");
    assert_eq!(object.content_length(), Some(2 * PART_BYTES as i64));
}

/// An upload that another key could end would leave its own without parts.
#[tokio::test]
async fn an_upload_becomes_the_object_that_it_was_made_for() {
    let server = Server::start_with("memory:", &[&S3[..], &["--bucket", "b-1"]].concat());
    let s3 = client_of(&server.s3_url().await, "any", "any");
    let (id, upload) = parts(&s3, "k").await;
    let complete = |key: &str| {
        let call = s3.complete_multipart_upload().bucket("b-1").key(key).upload_id(&id);
        call.multipart_upload(upload.clone())
    };
    let refused = complete("other").send().await.expect_err("it was made for another key");
    assert!(format!("{refused:?}").contains("NoSuchUpload"), "{refused:?}");
    let refused = complete("k").mpu_object_size(1).send().await.expect_err("it has two parts");
    assert!(format!("{refused:?}").contains("x-amz-mp-object-size"), "{refused:?}");
    let whole = complete("k").checksum_crc32("AAAAAA==").send().await.expect_err("it has no checksum");
    assert!(format!("{whole:?}").contains("Crc32"), "{whole:?}");
    // A part that is sent again, and one that the object does not need, go with the end.
    for number in [2_u8, 3] {
        let body = ByteStream::from(vec![2; PART_BYTES]);
        let part = s3.upload_part().bucket("b-1").key("k").upload_id(&id).part_number(number.into());
        part.body(body).send().await.expect("it is stored");
    }
    let client = Client::new(server.address());
    assert_eq!(keys(&client).await.len(), 5, "a state and four parts");
    complete("k").mpu_object_size(2 * PART_BYTES as i64).send().await.expect("it is complete");
    assert_eq!(keys(&client).await.len(), 3, "a state and the parts of the object");
    let refused = complete("other").send().await.expect_err("nor afterwards");
    assert!(format!("{refused:?}").contains("NoSuchUpload"), "{refused:?}");
    complete("k").send().await.expect("a resend gets the same answer");
}

#[tokio::test]
async fn parts_have_checksums_of_their_upload() {
    let server = Server::start_with("memory:", &[&S3[..], &["--bucket", "b-1"]].concat());
    let s3 = client_of(&server.s3_url().await, "any", "any");
    let made = s3.create_multipart_upload().bucket("b-1").key("k");
    let made = made.checksum_algorithm(ChecksumAlgorithm::Sha256).send().await.expect("it is made");
    let id = made.upload_id().expect("it has an ID");
    let part = |algorithm: ChecksumAlgorithm| {
        let part = s3.upload_part().bucket("b-1").key("k").upload_id(id).part_number(1);
        part.checksum_algorithm(algorithm).body(ByteStream::from_static(b"abc")).send()
    };
    let refused = part(ChecksumAlgorithm::Crc32).await.expect_err("it is another algorithm");
    assert!(format!("{refused:?}").contains("InvalidRequest"), "{refused:?}");
    let stored = part(ChecksumAlgorithm::Sha256).await.expect("it is stored");
    assert!(stored.checksum_sha256().is_some(), "{stored:?}");
}
