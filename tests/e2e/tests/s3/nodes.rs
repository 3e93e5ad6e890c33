//! Two servers on one store: what was acknowledged by one is read by the other.

use std::time::{Duration, Instant};

use aft_e2e::real_store::RealStore;
use aft_services::Service;
use aws_sdk_s3::primitives::ByteStream;
use rand::RngExt as _;

use crate::S3;
use crate::rust_sdk::client_of;

/// The number of puts that the auditor follows, and of those between two kills of the server that
/// took them.
const PUTS: (usize, usize) = (200, 50);
/// The same of the long test.
const MANY_PUTS: (usize, usize) = (10_000, 500);
/// The time within which a server is killed that has just been sent a put, in microseconds: about
/// twice the time that the put takes.
const KILL_WITHIN_US: u64 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_put_is_read_on_another_node() {
    audit(PUTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: cargo test --locked -p aft-e2e --test s3 -- --ignored --nocapture"]
async fn ten_thousand_acknowledged_puts_are_read_on_another_node() {
    audit(MANY_PUTS).await;
}

/// Follows each acknowledged PUT with a GET on another node, with kills between.
async fn audit((puts, between_kills): (usize, usize)) {
    let since = Instant::now();
    let Some(store) = RealStore::start(Service::Redis) else { return };
    let start = || store.serve(&S3);
    let (mut writer, reader) = (start(), start());
    let other = client_of(&reader.s3_url().await, "any", "any");
    let mut s3 = client_of(&writer.s3_url().await, "any", "any");
    s3.create_bucket().bucket("shared").send().await.expect("it is made");
    other.head_bucket().bucket("shared").send().await.expect("both nodes agree that it exists");
    // The outcome of a put that a kill interrupted is either of two.
    let (mut before, mut in_doubt) = (String::new(), 0);
    for number in 0..puts {
        let text = number.to_string();
        let body = ByteStream::from(text.clone().into_bytes());
        let put = s3.put_object().bucket("shared").key("k").body(body).send();
        let acknowledged = if number % between_kills == between_kills - 1 {
            let next = start();
            let put = tokio::spawn(put);
            let moment = Duration::from_micros(rand::rng().random_range(0..KILL_WITHIN_US));
            tokio::time::sleep(moment).await;
            std::mem::replace(&mut writer, next).kill();
            let ended = put.await.expect("it does not panic").is_ok();
            s3 = client_of(&writer.s3_url().await, "any", "any");
            ended
        } else {
            put.await.expect("it is stored");
            true
        };
        let got = other.get_object().bucket("shared").key("k").send().await.expect("it is there");
        let got = got.body.collect().await.expect("all of it arrives").into_bytes();
        let is_other = !acknowledged && got == before.as_bytes();
        assert!(got == text.as_bytes() || is_other, "put {number}: {acknowledged}, {got:?} after {before}");
        in_doubt += usize::from(!acknowledged);
        before = text;
    }
    s3.delete_object().bucket("shared").key("k").send().await.expect("it is deleted");
    tokio::time::sleep(Duration::from_millis(1)).await;
    s3.delete_bucket().bucket("shared").send().await.expect("it is empty");
    let gone = other.put_object().bucket("shared").key("k").body(ByteStream::from_static(b"x")).send().await;
    let refused = gone.expect_err("the bucket is gone on both nodes");
    assert!(format!("{refused:?}").contains("NoSuchBucket"), "{refused:?}");
    let (kills, seconds) = (puts / between_kills, since.elapsed().as_secs_f64());
    println!("{puts} puts, {kills} kills, {in_doubt} puts without an answer: {seconds:.0} s");
}
