//! Calls that nobody awaited: the commit waits for those in flight, and none is left out in
//! silence.

use std::time::Duration;

use aft_api::{Batch, Code, Format};
use aft_client::{Client, Error, Op, Request, Transaction};
use tokio::sync::oneshot;

use crate::fake::{Act, Asked, Fake, aft, no_content, problem, value};

/// A value that is sent at once, with a call of its own.
const LARGE: usize = 100_000;

/// Returns a script that answers reads and writes of keys after a while.
fn slow(asked: &Asked) -> Act {
    let late = Duration::from_millis(200);
    match asked.line.split_once(' ') {
        Some(("PUT", _)) => Act::Say(no_content(), late),
        Some(("GET", _)) => Act::Say(value("1"), late),
        _ => aft(asked),
    }
}

fn client(fake: &Fake) -> Client {
    Client::builder(&fake.url()).run_time_max(Duration::from_secs(10)).build().expect("a URL")
}

/// Returns the last part of each path.
fn names(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.rsplit('/').next().expect("a path has a part")).collect()
}

#[tokio::test]
async fn the_commit_waits_for_a_write_in_flight() {
    let fake = Fake::start(slow).await;
    let client = client(&fake);
    let ran = client.run("r", |t: Transaction| async move {
        tokio::spawn(async move { t.put("large", vec![7; LARGE]).await });
        Ok::<_, Error>("ok")
    });
    assert_eq!(ran.await.unwrap().result, "ok");
    assert_eq!(names(&fake.take_lines()), ["transactions", "large", "commit"]);
}

/// Tasks that read, then write: they make calls while the commit already waits.
#[tokio::test]
async fn the_commit_waits_for_tasks_between_two_calls() {
    let fake = Fake::start(slow).await;
    let client = client(&fake);
    let ran = client.run(Request::unnamed(), |t: Transaction| async move {
        for key in ["a", "b"] {
            let t = t.clone();
            tokio::spawn(async move {
                t.get(key).await?;
                tokio::task::yield_now().await;
                t.put(key, "1").await
            });
        }
        Ok::<_, Error>("ok")
    });
    ran.await.unwrap();
    let calls = fake.take();
    let last = calls.last().expect("there was a commit");
    assert!(last.line.ends_with("/batch"), "{}", last.line);
    let batch: Batch = Format::Protobuf.decode_request(&last.body.clone().into()).unwrap();
    assert_eq!(batch.ops, [Op::put("a", "1"), Op::put("b", "1")]);
    assert_eq!(batch.commit, Some(true));
}

#[tokio::test]
async fn a_failure_that_nobody_awaited_fails_the_run_or_runs_it_again() {
    let spawned = |fake: &Fake| {
        let client = client(fake);
        async move {
            let ran = client.run("r", |t: Transaction| async move {
                tokio::spawn(async move { t.put("large", vec![7; LARGE]).await });
                Ok::<_, Error>("ok")
            });
            ran.await
        }
    };
    let late = Duration::from_millis(100);
    let fake = Fake::start(move |asked| match asked.line.starts_with("PUT") {
        true => Act::Say(problem(Code::TooLarge), late),
        false => aft(asked),
    })
    .await;
    let ran = spawned(&fake).await;
    assert_eq!(ran.unwrap_err().code(), Some(Code::TooLarge));
    let lines = fake.take_lines();
    assert!(!names(&lines).contains(&"commit"), "{lines:?}");
    // A failure that another attempt may not have.
    let fake = Fake::start(move |asked| match asked.line.starts_with("PUT") && asked.before == 0 {
        true => Act::Say(problem(Code::SnapshotGone), late),
        false => aft(asked),
    })
    .await;
    assert_eq!(spawned(&fake).await.unwrap().attempts, 2);
}

#[tokio::test]
async fn a_call_after_the_commit_began_is_rejected() {
    let fake = Fake::start(aft).await;
    let (give, take) = oneshot::channel();
    let mut give = Some(give);
    let client = client(&fake);
    let ran = client.run("r", |t: Transaction| {
        give.take().expect("it runs once").send(t).expect("somebody takes it");
        async { Ok::<_, Error>("ok") }
    });
    ran.await.unwrap();
    let t = take.await.unwrap();
    for why in [t.get("k").await.unwrap_err(), t.put("k", "v").await.unwrap_err()] {
        assert!(matches!(why, Error::Invalid(_)), "{why:?}");
        assert!(why.to_string().contains("a call of this transaction was not awaited"), "{why}");
    }
}

/// Drops writes in the middle: the transaction must not commit without them.
#[tokio::test]
async fn a_dropped_write_is_not_left_out_in_silence() {
    let fake = Fake::start(slow).await;
    let mut called = 0;
    let client = client(&fake);
    let ran = client.run("r", |t: Transaction| {
        called += 1;
        let patience = Duration::from_millis(if called == 1 { 50 } else { 5_000 });
        async move {
            t.put("small", "1").await?;
            // The buffer goes with the batch, and is lost with it.
            let _ = tokio::time::timeout(patience, t.put("large", vec![7; LARGE])).await;
            Ok::<_, Error>("ok")
        }
    });
    assert_eq!(ran.await.unwrap().attempts, 2);
}
