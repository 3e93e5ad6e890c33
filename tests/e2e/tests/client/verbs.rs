//! Every verb against an undisturbed server, and the number of calls that it costs.

use std::time::Duration;

use aft_client::{Begun, Client, Error, Op, Request, Transaction};
use aft_e2e::server::Server;
use bytes::Bytes;
use hyper as http;

use crate::interposer::{Act, Interposer};
use crate::{client, increment, number, text};

async fn open(client: &Client, request: impl Into<Request>) -> Transaction {
    match client.begin(request).await {
        Ok(Begun::Open(transaction)) => transaction,
        other => panic!("an open transaction was expected: {other:?}"),
    }
}

/// Keys that a careless encoding would mistake for another part of a path.
const STRANGE_KEYS: &[&str] =
    &["/a", "a//b", "a b", "ä/ü", "%41", "a%2Fb", "?x=1", "#", "a+b", "..", "./a", "\"", "\u{1}", "日本"];

#[tokio::test]
async fn every_verb_works_and_invalid_arguments_are_rejected() {
    let server = Server::start("memory:");
    for buffer in [1 << 20, 0] {
        let url = format!("http://{}", server.address());
        let client = Client::builder(&url).write_buffer_bytes_max(buffer).build().unwrap();
        let t = open(&client, Request::unnamed()).await;
        for key in STRANGE_KEYS {
            t.put(format!("{buffer}{key}"), *key).await.unwrap();
        }
        t.put_as(format!("{buffer}typed"), "{}", "application/json").await.unwrap();
        t.put(format!("{buffer}gone"), "x").await.unwrap();
        t.delete(format!("{buffer}gone")).await.unwrap();
        // Its own writes are visible, both buffered and sent ones.
        let typed = t.get(format!("{buffer}typed")).await.unwrap().unwrap();
        assert_eq!(
            (typed.content_type.as_str(), typed.version.as_str()),
            ("application/json", "uncommitted")
        );
        assert_eq!(t.get(format!("{buffer}gone")).await.unwrap(), None);
        assert_eq!(
            client.get(format!("{buffer}typed")).await.unwrap(),
            None,
            "another client does not see them before the commit"
        );
        let listed = t.list(buffer.to_string()).page_len(3).all().await.unwrap();
        assert_eq!(listed.len(), STRANGE_KEYS.len() + 1);
        assert!(listed.is_sorted_by_key(|listed| listed.key.clone()));
        let large = Bytes::from(vec![7; 300_000]);
        t.put(format!("{buffer}large"), "small first").await.unwrap();
        t.put(format!("{buffer}large"), large.clone()).await.unwrap();
        assert_eq!(t.get(format!("{buffer}large")).await.unwrap().unwrap().bytes, large);
        t.put(format!("{buffer}small"), large.clone()).await.unwrap();
        t.put(format!("{buffer}small"), "small last").await.unwrap();
        let reads = t
            .batch(vec![
                Op::get(format!("{buffer}..")),
                Op::put(format!("{buffer}.."), "new"),
                Op::get(format!("{buffer}..")),
                Op::get("nothing"),
            ])
            .await
            .unwrap();
        let reads: Vec<_> = reads.into_iter().map(|read| read.value).collect();
        assert_eq!(reads, [Some("..".into()), Some("new".into()), None]);
        let ran = t.commit("").await.unwrap();
        assert!(!ran.replayed && ran.version.is_some() && ran.result.is_empty(), "{ran:?}");

        assert!(matches!(t.get("x").await, Err(Error::Invalid(_))), "it has ended");
        assert!(matches!(t.put("x", "x").await, Err(Error::Invalid(_))), "it has ended");
        for key in STRANGE_KEYS.iter().filter(|key| **key != "..") {
            let value = client.get(format!("{buffer}{key}")).await.unwrap().expect("it was committed");
            assert_eq!(text(&value.bytes), *key);
        }
        assert_eq!(client.get(format!("{buffer}large")).await.unwrap().unwrap().bytes, large);
        assert_eq!(client.get(format!("{buffer}small")).await.unwrap().unwrap().bytes, "small last");

        let t = open(&client, Request::unnamed()).await;
        t.put("aborted", "x").await.unwrap();
        t.abort().await.unwrap();
        assert!(matches!(t.commit("").await, Err(Error::Invalid(_))), "it has ended");
        client.put("alone", "1").await.unwrap();
        assert_eq!(client.get("alone").await.unwrap().unwrap().bytes, "1");
        client.delete("alone").await.unwrap();
        assert_eq!(client.get("alone").await.unwrap(), None);
        assert_eq!(client.get("aborted").await.unwrap(), None);
        assert!(matches!(client.get("").await, Err(Error::Invalid(_))));
        assert!(matches!(client.put("k".repeat(2_000), "").await, Err(Error::Invalid(_))));
    }
}

#[tokio::test]
async fn runs_replay_and_are_looked_up() {
    let server = Server::start("memory:");
    let client = client(server.address());
    let run = |value: &'static str| {
        client.run("r/1 ä", move |t| async move {
            t.put("k", value).await?;
            Ok::<_, Error>(value)
        })
    };
    let first = run("one").await.unwrap();
    let second = run("two").await.unwrap();
    assert_eq!((first.result.as_ref(), first.replayed), (&b"one"[..], false));
    assert_eq!((second.result.as_ref(), second.replayed), (&b"one"[..], true));
    assert_eq!(first.version, second.version);
    let found = client.request("r/1 ä").await.unwrap().expect("it committed");
    assert_eq!((Some(found.version), found.result), (first.version.clone(), Some("one".into())));
    assert_eq!(client.request("r/2").await.unwrap(), None);
    let other = client.request(Request::named("r/1 ä").scope("elsewhere")).await.unwrap();
    assert_eq!(other, None);
    assert!(matches!(client.begin("r/1 ä").await.unwrap(), Begun::Replayed(ran) if ran == second));

    let executed = client.execute("e", vec![Op::put("a", "1"), Op::get("a")], "done").await.unwrap();
    assert_eq!(executed.reads[0].value.as_deref(), Some(&b"1"[..]));
    let again = client.execute("e", vec![Op::put("a", "1"), Op::get("a")], "done").await.unwrap();
    assert!(again.ran.replayed && again.ran.result == "done" && again.reads.is_empty(), "{again:?}");
    let reused = client.execute("e", vec![Op::put("a", "2")], "done").await.unwrap_err();
    assert!(matches!(reused, Error::KeyReused(_)), "{reused}");

    // A result that is too large for a commit call is put with a call of its own, and read in the
    // same way.
    assert_eq!(client.result("e").await.unwrap().as_deref(), Some(&b"done"[..]));
    assert_eq!(client.result("nothing").await.unwrap(), None);
    let large = Bytes::from(vec![7; 2 << 20]);
    let t = open(&client, "large").await;
    let raw = aft_e2e::client::Client::new(server.address());
    let path = format!("/v1/transactions/{}/result", t.token());
    let put = raw.raw(http::Method::PUT, &path, &[], large.clone()).await.unwrap();
    assert!(put.status().is_success(), "{put:?}");
    t.commit("").await.unwrap();
    let Ok(Begun::Replayed(ran)) = client.begin("large").await else { panic!("it has committed") };
    assert_eq!((ran.result.len(), ran.result_size), (0, Some(2 << 20)));
    assert_eq!(client.result("large").await.unwrap(), Some(large));

    let with = |print: &'static str| {
        let request = Request::named("f").fingerprint(print);
        client.run(request, |_| async { Ok::<_, Error>("") })
    };
    with("a").await.unwrap();
    assert!(with("a").await.unwrap().replayed);
    assert!(matches!(with("b").await, Err(Error::KeyReused(_))));
}

#[tokio::test]
async fn a_functions_error_aborts_and_comes_back() {
    #[derive(Debug, PartialEq)]
    enum Own {
        Broke,
        Client,
    }
    impl From<Error> for Own {
        fn from(_: Error) -> Own {
            Own::Client
        }
    }
    let server = Server::start("memory:");
    let client = client(server.address());
    let mut called = 0;
    let ran = client
        .run("r", |t| {
            called += 1;
            async move {
                t.put("k", "v").await?;
                Err::<&str, _>(Own::Broke)
            }
        })
        .await;
    assert_eq!((ran, called), (Err(Own::Broke), 1));
    assert_eq!(client.get("k").await.unwrap(), None);
    // The attempt is over: another one does not wait for it.
    let again =
        tokio::time::timeout(Duration::from_secs(4), client.run("r", |_| async { Ok::<_, Own>("2") }));
    assert_eq!(again.await.expect("the new attempt does not wait for the failed one").unwrap().result, "2");
}

/// Commits by hand inside a run, which is rejected: the run could not report the outcome.
#[tokio::test]
async fn a_function_does_not_commit() {
    let server = Server::start("memory:");
    let client = client(server.address());
    let by_hand = client.run("r", |t| async move { t.commit("").await.map(|ran| ran.result) }).await;
    assert!(matches!(by_hand, Err(Error::Invalid(_))), "{by_hand:?}");
    let by_hand = client.run("r", |t| async move { t.abort().await.map(|()| "") }).await;
    assert!(matches!(by_hand, Err(Error::Invalid(_))), "{by_hand:?}");
    assert_eq!(client.request("r").await.unwrap(), None);
}

#[tokio::test]
async fn runs_can_be_spawned_and_their_errors_boxed() {
    let server = Server::start("memory:");
    let client = client(server.address());
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                client
                    .run(format!("r{n}"), |t| async move {
                        t.put(format!("k{n}"), "v").await?;
                        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(n.to_string())
                    })
                    .await
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap().unwrap().result, n.to_string());
    }
}

/// Counts the calls of a transaction with one get and two puts.
#[tokio::test]
async fn a_transaction_costs_few_calls() {
    let server = Server::start("memory:");
    let interposer = Interposer::start(server.address(), |_, _| Act::Pass).await;
    let url = format!("http://{}", interposer.address);
    let function = |t: Transaction| async move {
        let next = increment(&t, "counter").await?;
        t.put(format!("entry/{next}"), "x").await?;
        Ok::<_, Error>(next.to_string())
    };
    let client = Client::new(&url).unwrap();
    client.run("a", function).await.unwrap();
    assert_eq!(interposer.take_calls(), ["begin", "get", "batch"]);
    client.run(Request::named("b").reads(["counter"]), function).await.unwrap();
    assert_eq!(interposer.take_calls(), ["begin", "batch"]);
    let replayed = client.run("b", function).await.unwrap();
    assert!(replayed.replayed && replayed.result == "2", "{replayed:?}");
    assert_eq!(interposer.take_calls(), ["begin"]);
    client.run("blind", |t| async move { t.put("k", "v").await.map(|()| "") }).await.unwrap();
    assert_eq!(interposer.take_calls(), ["begin", "batch"]);
    client.run("reads", |t| async move { t.get("k").await.map(|_| "") }).await.unwrap();
    assert_eq!(interposer.take_calls(), ["begin", "get", "commit"]);
    let eager = Client::builder(&url).write_buffer_bytes_max(0).build().unwrap();
    eager.run("c", function).await.unwrap();
    assert_eq!(interposer.take_calls(), ["begin", "get", "put", "put", "commit"]);
    assert_eq!(number(client.get("counter").await.unwrap()), 3);
}

/// Writes more than the client buffers: the writes are sent in parts, and commit together.
#[tokio::test]
async fn many_writes_are_sent_in_parts_and_commit_together() {
    let server = Server::start("memory:");
    let interposer = Interposer::start(server.address(), |_, _| Act::Pass).await;
    let client = client(interposer.address);
    let ran = client.run("r", |t| async move {
        for n in 0..900 {
            t.put(format!("many/{n:04}"), n.to_string()).await?;
        }
        let first = t.get("many/0000").await?.expect("its own write");
        Ok::<_, Error>(first.bytes)
    });
    assert_eq!(ran.await.unwrap().result, "0");
    assert_eq!(interposer.take_calls(), ["begin", "batch", "get", "batch"]);
    let t = open(&client, Request::unnamed()).await;
    assert_eq!(t.list("many/").page_len(250).all().await.unwrap().len(), 900);
}

/// Loses an answer: the call is sent again, and the server recognises it by the ID that the client
/// drew for it.
#[tokio::test]
async fn repeated_conditions_and_sums_take_effect_once() {
    let server = Server::start("memory:");
    let direct = client(server.address());
    for (act, sum) in [(Act::CutBefore, Some(1)), (Act::CutAfter, None), (Act::BadGateway, Some(1))] {
        let name = format!("{act:?}");
        let disturbed = || async {
            let act = act.clone();
            let script = move |_: &str, before| if before == 0 { act.clone() } else { Act::Pass };
            client(Interposer::start(server.address(), script).await.address)
        };
        let created = disturbed().await.put_if(Op::put(&name, "a").if_absent()).await.unwrap();
        let found = direct.get(&name).await.unwrap().expect("it was created");
        assert_eq!(Some(found.version), created.version, "{name}");
        let counter = format!("counter/{name}");
        assert_eq!(disturbed().await.add(&counter, 1).await.unwrap(), sum, "{name}");
        assert_eq!(number(direct.get(&counter).await.unwrap()), 1, "{name}");
    }
    let again = direct.put_if(Op::put("CutAfter", "b").if_absent()).await.unwrap_err();
    assert!(again.is_condition_failed() && matches!(again, Error::Invalid(_)), "{again}");
    assert!(matches!(direct.put_if(Op::put("k", "b")).await, Err(Error::Invalid(_))), "without a condition");
    let guarded = direct.run("r", |t| async move {
        t.put("waits", "x").await?;
        t.batch(vec![Op::check("CutAfter").if_value("a"), Op::delete("CutAfter")]).await?;
        Ok::<_, Error>("")
    });
    guarded.await.unwrap();
    assert_eq!(direct.get("CutAfter").await.unwrap(), None);
}

/// Uses names that proxies rewrite in paths, with every kind of call that names a thing.
#[tokio::test]
async fn names_with_dots_and_empty_segments_are_those_that_were_given() {
    let server = Server::start("memory:");
    let url = format!("http://{}", server.address());
    let client = Client::builder(&url).write_buffer_bytes_max(0).build().unwrap();
    for name in ["a//b", "/a", "a/", "a/../b", "a/./b", ".", "..", "/", "//", "a/?x=1&y=+/../%2F"] {
        client.put(name, name).await.unwrap();
        assert_eq!(client.get(name).await.unwrap().expect(name).bytes, name);
        assert_eq!(client.get_fresh(name).await.unwrap().expect(name).bytes, name);
        assert_eq!(client.get_range(name, 0, 1).await.unwrap().expect(name).bytes, name[..1]);
        let ran = client.run(Request::named(name).scope(name), |t| async move {
            let old = t.get(name).await?.expect("it was put");
            t.delete(name).await?;
            t.put(name, "new").await?;
            Ok::<_, Error>(old.bytes)
        });
        assert_eq!(ran.await.unwrap().result, name);
        assert_eq!(client.get(name).await.unwrap().expect(name).bytes, "new");
        let request = Request::named(name).scope(name);
        assert!(client.request(request.clone()).await.unwrap().is_some(), "{name}");
        assert_eq!(client.result(request.clone()).await.unwrap().expect(name), name);
        assert!(client.result_stream(request).await.unwrap().is_some(), "{name}");
        client.delete(name).await.unwrap();
        assert_eq!(client.get(name).await.unwrap(), None);
    }
    for name in ["a", "b", "a/b"] {
        assert_eq!(client.get(name).await.unwrap(), None, "{name} is another key");
    }
}

/// Waits for an open attempt if it is asked to, and runs beside it otherwise.
#[tokio::test]
async fn an_open_attempt_is_waited_for_if_the_request_says_so() {
    let server = Server::start("memory:");
    let client = client(server.address());
    let first = open(&client, "r").await;
    first.put("k", "first").await.unwrap();
    let waiting = Request::named("r").wait().run_time_max(Duration::from_millis(600));
    let waited = client.begin(waiting).await;
    assert!(matches!(waited, Err(Error::InProgress(_))), "{waited:?}");
    let second = client.run("r", |t| async move { t.put("k", "second").await.map(|()| "second") });
    assert_eq!(second.await.unwrap().result, "second");
    let late = first.commit("first").await.unwrap();
    assert!(late.replayed && late.result == "second", "{late:?}");
}
