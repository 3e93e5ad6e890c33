//! Runs that wrote nothing are never unknown.

use std::time::{Duration, Instant};

use aft_api::Code;
use aft_client::{Begun, Client, Error, Op, Request};

use crate::fake::{Act, Fake, aft, problem};

#[tokio::test]
async fn a_run_that_only_reads_runs_again() {
    for act in [Act::Close, Act::say(problem(Code::NotFound)), Act::say(problem(Code::Unknown))] {
        let told = act.clone();
        let fake = Fake::start(move |asked| match asked.line.contains("/commit") && asked.before == 0 {
            true => told.clone(),
            false => aft(asked),
        })
        .await;
        let client = Client::new(&fake.url()).unwrap();
        let begun = Instant::now();
        let mut called = 0;
        let ran = client.run(Request::unnamed(), |t| {
            called += 1;
            async move {
                t.get("k").await?;
                t.batch(vec![Op::get("l")]).await?;
                Ok::<_, Error>("")
            }
        });
        let ran = ran.await.unwrap_or_else(|why| panic!("{act:?}: {why}"));
        assert_eq!((ran.attempts, called), (2, 2), "{act:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{act:?}");
        // By hand it is the caller who runs it again.
        fake.take();
        let Begun::Open(t) = client.begin(Request::unnamed()).await.unwrap() else { panic!("it is new") };
        t.get("k").await.unwrap();
        let committed = t.commit("").await;
        assert!(matches!(committed, Err(Error::Retry(_))), "{act:?}: {committed:?}");
    }
}

/// Loses the answers of the same calls where something was written, or is kept under an ID.
#[tokio::test]
async fn a_run_that_wrote_or_has_an_id_is_still_in_doubt() {
    let lost = |asked: &crate::fake::Asked| match asked.before {
        0 if asked.line.contains("/commit") || asked.line.contains("/batch") => Act::Close,
        _ if asked.line.contains("/commit") || asked.line.contains("/batch") => {
            Act::say(problem(Code::NotFound))
        }
        _ => aft(asked),
    };
    let fake = Fake::start(lost).await;
    let client = Client::new(&fake.url()).unwrap();
    let wrote = client.run(Request::unnamed(), |t| async move { t.put("k", "v").await.map(|()| "") }).await;
    assert!(matches!(wrote, Err(Error::Unknown(_))), "{wrote:?}");
    // Another process may have written with the token.
    fake.take();
    let given = client.run(Request::unnamed(), |t| async move {
        let _ = t.token().to_owned();
        t.get("k").await.map(|_| "")
    });
    let given = given.await;
    assert!(matches!(given, Err(Error::Unknown(_))), "{given:?}");
}

#[tokio::test]
async fn a_whole_transaction_that_only_reads_is_sent_again() {
    let fake = Fake::start(|asked| if asked.before == 0 { Act::Close } else { aft(asked) }).await;
    let client = Client::new(&fake.url()).unwrap();
    client.execute(Request::unnamed(), vec![Op::get("k")], "").await.unwrap();
    assert_eq!(fake.take().len(), 2);
    let wrote = client.execute(Request::unnamed(), vec![Op::put("k", "v")], "").await;
    assert!(matches!(wrote, Err(Error::Unknown(_))), "{wrote:?}");
}
