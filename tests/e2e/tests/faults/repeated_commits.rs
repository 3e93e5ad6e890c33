//! A commit whose answer was lost is repeated: after many other transactions, and to a process that
//! never knew the transaction.
//!
//! The first protocol answered 404 once 10,000 other transactions had ended. Now the client sends
//! the request ID with the repeated commit, and the request's record answers it.

use std::time::Duration;

use aft_api::{Begin, Code, Commit, Format, Op, Reply};
use aft_e2e::client::{CallError, Client};
use aft_e2e::server::{Server, local};
use futures::StreamExt as _;

use crate::run;

/// More transactions than the first protocol remembered.
const OTHERS: u64 = 12_000;
const AT_ONCE: usize = 64;

/// Opens a request's transaction, writes and commits. Returns its token and the commit's answer.
async fn commit(client: &Client, id: &str, key: &str) -> (String, Reply) {
    let begin = Begin { request_id: Some(id.to_owned()), ..Begin::default() };
    let opened = client.begin(&begin).await.expect("an undisturbed server answers");
    let transaction = opened.transaction.expect("an open transaction has a token");
    client.put(&transaction, key, "value").await.expect("an undisturbed server answers");
    let committed = client.commit(&transaction, &result()).await.expect("an undisturbed server answers");
    assert!(committed.committed && committed.version.is_some(), "{committed:?}");
    (transaction, committed)
}

fn result() -> Commit {
    Commit { result: Some("result".into()) }
}

/// Asserts that `again` reports the same commit as `first`, as this attempt's own or from its
/// record.
fn same(first: &Reply, again: &Reply) {
    assert!(again.committed || again.replayed, "{again:?}");
    assert_eq!(again.version, first.version);
    if again.replayed {
        assert_eq!(again.result.as_deref(), Some(&b"result"[..]));
    }
}

#[test]
fn a_commit_can_be_repeated_after_many_others() {
    run(async {
        let server = Server::start("memory:");
        let client = Client::new(server.address()).speaking(Format::Protobuf);
        let (transaction, first) = commit(&client, "request", "key").await;
        let others = futures::stream::iter(0..OTHERS).map(async |number: u64| {
            let ops = vec![Op::put(format!("other/{}", number % 100), "value")];
            let reply = client.execute(&Begin { ops, ..Begin::default() }).await;
            assert!(reply.expect("an undisturbed server answers").committed);
        });
        others.buffer_unordered(AT_ONCE).collect::<()>().await;
        let again = client.commit_of(&transaction, "request", &result()).await;
        same(&first, &again.expect("a repeated commit is answered"));
    });
}

#[test]
fn a_commit_can_be_repeated_on_a_process_that_never_knew_it() {
    run(async {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let server = Server::start(&local(directory.path()));
        let (transaction, first) = commit(&Client::new(server.address()), "request", "key").await;
        let begin = Begin { request_id: Some("another".into()), ..Begin::default() };
        let opened = Client::new(server.address()).begin(&begin).await.expect("the server answers");
        let open = opened.transaction.expect("an open transaction has a token");
        server.kill();

        let server = Server::start(&local(directory.path()));
        let client = Client::new(server.address());
        for _ in 0..2 {
            let again = client.commit_of(&transaction, "request", &result()).await;
            same(&first, &again.expect("a repeated commit is answered"));
        }
        // A commit that was never sent before has no record: it is answered as unknown or lost.
        match client.commit_of(&open, "another", &result()).await {
            Err(CallError::Refused(problem)) => {
                assert!(matches!(problem.code, Code::Unknown | Code::Lost), "{problem:?}");
            }
            other => panic!("{other:?}"),
        }
        tokio::time::timeout(Duration::from_secs(5), client.request("another"))
            .await
            .expect("a look-up is quick")
            .expect_err("nothing was committed");
    });
}
