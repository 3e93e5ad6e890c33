//! Answers that are not AFT's.

use std::time::{Duration, Instant};

use aft_client::{Client, Error, Op, Request};

use crate::every_call;
use crate::fake::{Act, Asked, Fake, aft, answer};

/// A page of a proxy.
fn page(status: &str, headers: &str) -> Vec<u8> {
    answer(status, &format!("Content-Type: text/html\r\n{headers}"), b"<html><b>No</b> entry</html>")
}

fn client(fake: &Fake) -> Client {
    Client::builder(&fake.url()).run_time_max(Duration::from_secs(20)).build().expect("a URL")
}

#[tokio::test]
async fn a_proxys_refusal_ends_every_call_at_once() {
    for status in [
        "301 Moved",
        "308 Permanent Redirect",
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "405 Method Not Allowed",
        "407 Proxy Authentication Required",
        "410 Gone",
        "411 Length Required",
        "413 Too Large",
        "414 URI Too Long",
        "431 Too Large",
        "501 Not Implemented",
    ] {
        let fake = Fake::start(move |_| {
            Act::say(page(status, "Location: https://login.example/\r\nServer: box\r\n"))
        })
        .await;
        let begun = Instant::now();
        let client = client(&fake);
        for (name, outcome) in every_call(&client).await {
            let why = outcome.expect_err(name);
            assert!(matches!(why, Error::Unavailable(_)) && !why.is_retryable(), "{name} {status}: {why:?}");
            let text = why.to_string();
            for part in [status, "Location: https://login.example/", "Server: box", "No entry", "a proxy's?"]
            {
                assert!(text.contains(part), "{name}: {part:?} is missing in {text}");
            }
            assert!(!text.contains("try again later") && !text.contains('<'), "{text}");
        }
        assert_eq!(fake.take().len(), 7, "each is sent once");
        assert!(begun.elapsed() < Duration::from_secs(10), "no call is repeated until its time is over");
    }
}

#[tokio::test]
async fn a_call_that_a_proxy_turned_away_is_sent_again() {
    let fake = Fake::start(|asked| match asked.before {
        0 => Act::say(page("429 Slow Down", "")),
        _ => aft(asked),
    })
    .await;
    for (name, outcome) in every_call(&client(&fake)).await {
        outcome.unwrap_or_else(|why| panic!("{name}: {why}"));
        fake.take();
    }
    // Its pause is kept.
    let fake = Fake::start(|asked| match asked.before {
        0 => Act::say(page("429 Slow Down", "Retry-After: 1\r\n")),
        _ => aft(asked),
    })
    .await;
    let begun = Instant::now();
    client(&fake).put("k", "v").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_page_with_a_success_is_no_reply() {
    let fake = Fake::start(|_| Act::say(page("200 OK", ""))).await;
    for (name, outcome) in every_call(&client(&fake)).await {
        let why = outcome.expect_err(name);
        match name {
            "put" | "execute" => assert!(matches!(why, Error::Unknown(_)), "{name}: {why:?}"),
            _ => assert!(matches!(why, Error::Unavailable(_)) && !why.is_retryable(), "{name}: {why:?}"),
        }
        assert!(why.to_string().contains("this is not AFT's answer"), "{why}");
    }
    assert_eq!(fake.take().len(), 7, "each is sent once");
    // From the commit on the page answers everything.
    for request in [Request::named("r"), Request::unnamed()] {
        let fake = Fake::start(after_the_first("/batch", page("200 OK", ""))).await;
        let client = client(&fake);
        let ran = client.run(request, |t| async move { t.put("k", "v").await.map(|()| "") });
        let ran = tokio::time::timeout(Duration::from_secs(10), ran).await.expect("it ends at once");
        assert!(matches!(ran, Err(Error::Unknown(_))), "{ran:?}");
    }
}

/// Returns a script that answers as AFT until a call of `name` comes, and with `page` from then on.
fn after_the_first(name: &'static str, page: Vec<u8>) -> impl Fn(&Asked) -> Act + Send + Sync {
    let reached = std::sync::atomic::AtomicBool::new(false);
    move |asked| {
        let is_it = asked.line.contains(name);
        if reached.fetch_or(is_it, std::sync::atomic::Ordering::Relaxed) || is_it {
            return Act::say(page.clone());
        }
        aft(asked)
    }
}

/// Loses the answer to a commit, and lets nothing through afterwards: the commit stays in doubt.
#[tokio::test]
async fn a_commit_in_doubt_stays_unknown_behind_a_proxy_that_refuses() {
    for request in [Request::named("r"), Request::unnamed()] {
        let fake = Fake::start(|asked| match asked.line.contains("/batch") && asked.before == 0 {
            true => Act::Close,
            false if asked.line.contains("/commit") || asked.line.contains("/batch") => {
                Act::say(page("403 Forbidden", ""))
            }
            false if asked.line.contains("/abort") || asked.before > 0 => Act::say(page("403 Forbidden", "")),
            false => aft(asked),
        })
        .await;
        let client = client(&fake);
        let ran = client.run(request, |t| async move { t.put("k", "v").await.map(|()| "") });
        let ran = tokio::time::timeout(Duration::from_secs(10), ran).await.expect("it ends at once");
        assert!(matches!(ran, Err(Error::Unknown(_))), "{ran:?} {:?}", fake.take_lines());
    }
    let fake = Fake::start(|asked| match asked.before {
        0 => Act::Close,
        _ => Act::say(page("403 Forbidden", "")),
    })
    .await;
    let executed = client(&fake).execute("e", vec![Op::put("k", "v")], "").await;
    assert!(matches!(executed, Err(Error::Unknown(_))), "{executed:?}");
    assert_eq!(fake.take().len(), 2);
}

#[tokio::test]
async fn the_error_of_a_retried_call_names_the_last_failure_and_the_tries() {
    let fake = Fake::start(|_| Act::say(page("502 Bad Gateway", ""))).await;
    let client = client(&fake).with_run_time_max(Duration::from_millis(300));
    let why = client.get("k").await.unwrap_err();
    let tries = fake.take().len();
    assert!(tries > 2 && why.is_retryable(), "{why:?}");
    assert!(why.to_string().contains("502 Bad Gateway"), "{why}");
    assert!(why.to_string().contains(&format!("the last of {tries} tries")), "{tries}: {why}");
    let why = client.run("r", |_| async { Ok::<_, Error>("") }).await.unwrap_err();
    let tries = fake.take().len();
    assert!(why.to_string().contains(&format!("the last of {tries} tries")), "{tries}: {why}");
}
