//! Calls that a credential does not allow, however they ask.

use std::time::Duration;

use aft_e2e::client::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use hyper::{Method, StatusCode};

use crate::Key;
use crate::rust_sdk::client_of;

/// A presigned URL that stores one object must not read another one, by a header that makes a copy
/// of the call.
#[tokio::test]
async fn a_presigned_url_does_what_it_was_signed_for() {
    let key = Key::make("");
    let server = key.serve("memory:");
    let url = server.s3_url().await;
    let s3 = client_of(&url, &key.id, &key.secret);
    s3.create_bucket().bucket("b-1").send().await.expect("it is made");
    let secret = ByteStream::from_static(b"secret");
    s3.put_object().bucket("b-1").key("secret").body(secret).send().await.expect("it is stored");
    let hour = PresigningConfig::expires_in(Duration::from_secs(3_600)).expect("an hour is valid");
    let put = s3.put_object().bucket("b-1").key("mine").presigned(hour).await.expect("it is signed");
    let path = put.uri().strip_prefix(&url).expect("it is a URL of the endpoint").to_owned();
    let client = Client::new(url.trim_start_matches("http://").parse().expect("it is an address"));

    let source = ("x-amz-copy-source", "/b-1/secret");
    let covers = "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x-amz-copy-source, Signature=c";
    let encoded = path.replace("X-Amz-SignedHeaders", "X-Amz-SignedHeader%73");
    assert_ne!(encoded, path);
    let twice = format!("{path}&X-Amz-SignedHeaders=host%3Bx-amz-copy-source");
    for (path, headers, status) in [
        (&path, &[source][..], StatusCode::FORBIDDEN),
        (&path, &[source, ("authorization", covers)], StatusCode::BAD_REQUEST),
        (&path, &[source, ("authorization", "x SignedHeaders=x-amz-copy-source")], StatusCode::BAD_REQUEST),
        (&encoded, &[source], StatusCode::BAD_REQUEST),
        (&twice, &[source], StatusCode::BAD_REQUEST),
    ] {
        let answer = client.raw(Method::PUT, path, headers, "").await.expect("it answers");
        assert_eq!(answer.status(), status, "{path} {headers:?}: {answer:?}");
        let mine = s3.get_object().bucket("b-1").key("mine").send().await;
        assert!(mine.is_err(), "nothing was written: {path} {headers:?}");
    }
    let answer = client.raw(Method::PUT, &path, &[], "mine").await.expect("it answers");
    assert_eq!(answer.status(), StatusCode::OK, "{answer:?}");
}

/// An entity tag tells whether an object has certain bytes.
#[tokio::test]
async fn a_condition_on_a_tag_needs_the_right_to_read() {
    let key = Key::with_rights("", "write");
    let server = key.serve("memory:");
    let s3 = client_of(&server.s3_url().await, &key.id, &key.secret);
    s3.create_bucket().bucket("b-1").send().await.expect("it is made");
    let put = || s3.put_object().bucket("b-1").key("k").body(ByteStream::from_static(b"x"));
    let stored = put().if_none_match("*").send().await.expect("it is absent");
    let tag = stored.e_tag().expect("it has a tag").to_owned();
    let refused = put().if_match(&tag).send().await.expect_err("it may not read");
    assert!(format!("{refused:?}").contains("AccessDenied"), "{refused:?}");
    let delete = s3.delete_object().bucket("b-1").key("k").if_match(&tag).send().await;
    assert!(format!("{:?}", delete.expect_err("it may not read")).contains("AccessDenied"));
    s3.delete_object().bucket("b-1").key("k").send().await.expect("it may write");
}
