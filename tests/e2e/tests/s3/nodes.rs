//! Two servers on one store: what was acknowledged by one is read by the other.

use std::time::Duration;

use aft_e2e::real_store::RealStore;
use aft_e2e::server::Server;
use aft_services::Service;
use aws_sdk_s3::primitives::ByteStream;

use crate::S3;
use crate::rust_sdk::client_of;

/// The number of puts that the auditor follows. `AFT_TORTURE_MINUTES` is for longer runs.
const PUTS: usize = 200;
/// The number of puts between two kills of the server that took them.
const BETWEEN_KILLS: usize = 50;

/// Follows each acknowledged PUT with a GET on another node, with kills between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_put_is_read_on_another_node() {
    let Some(store) = RealStore::start(Service::Redis) else { return };
    let start = || store.serve(&S3);
    let (mut writer, reader) = (start(), start());
    let other = client_of(&reader.s3_url().await, "any", "any");
    let mut s3 = client_of(&writer.s3_url().await, "any", "any");
    s3.create_bucket().bucket("shared").send().await.expect("it is made");
    other.head_bucket().bucket("shared").send().await.expect("both nodes agree that it exists");
    for number in 0..PUTS {
        let text = number.to_string();
        let body = ByteStream::from(text.clone().into_bytes());
        s3.put_object().bucket("shared").key("k").body(body).send().await.expect("it is stored");
        let got = other.get_object().bucket("shared").key("k").send().await.expect("it is there");
        let got = got.body.collect().await.expect("all of it arrives").into_bytes();
        assert_eq!(got, text.as_bytes(), "put {number} was acknowledged before");
        if number % BETWEEN_KILLS == BETWEEN_KILLS - 1 {
            let dead: Server = std::mem::replace(&mut writer, start());
            dead.kill();
            s3 = client_of(&writer.s3_url().await, "any", "any");
        }
    }
    s3.delete_object().bucket("shared").key("k").send().await.expect("it is deleted");
    tokio::time::sleep(Duration::from_millis(1)).await;
    s3.delete_bucket().bucket("shared").send().await.expect("it is empty");
    let gone = other.put_object().bucket("shared").key("k").body(ByteStream::from_static(b"x")).send().await;
    let refused = gone.expect_err("the bucket is gone on both nodes");
    assert!(format!("{refused:?}").contains("NoSuchBucket"), "{refused:?}");
}
