//! Goal: a client that speaks HTTP/2 without negotiation (h2c with prior knowledge, as proxies and
//! gRPC stacks do) is served like any other. Method: a real server, and a client without HTTP/1.

use aft_api::{Batch, Begin, Code, Commit, Op};
use aft_e2e::client::{CallError, Client};
use aft_e2e::server::Server;
use hyper::{Method, Version};

#[tokio::test]
async fn http2_with_prior_knowledge_is_served() {
    let server = Server::start("memory:");
    let client = Client::http2(server.address());
    let health = client.raw(Method::GET, "/healthz", &[], "").await.expect("an undisturbed server answers");
    assert_eq!((health.status().as_u16(), health.version()), (200, Version::HTTP_2));

    let opened = client.begin(&Begin::default()).await.expect("an undisturbed server answers");
    let transaction = opened.transaction.expect("an open transaction has a token");
    // Far larger than a stream's window, so that the window has to be updated.
    let large = vec![7; 5 << 20];
    client.put(&transaction, "large", large.clone()).await.expect("an undisturbed server answers");
    let puts: Vec<_> = (0..100)
        .map(|n| {
            let batch = Batch { ops: vec![Op::put(format!("k{n}"), format!("v{n}"))], ..Batch::default() };
            let (client, transaction) = (client.clone(), transaction.clone());
            async move { client.batch(&transaction, &batch).await }
        })
        .collect();
    // All concurrently, over one connection.
    for put in futures::future::join_all(puts).await {
        put.expect("an undisturbed server answers");
    }
    let committed = client.commit(&transaction, &Commit::default()).await;
    assert!(committed.expect("an undisturbed server answers").committed);

    let other = Client::new(server.address());
    let read =
        other.raw(Method::GET, "/v1/keys/large", &[], "").await.expect("an undisturbed server answers");
    assert!(read.version() == Version::HTTP_11 && read.body()[..] == large[..], "{:?}", read.version());
    let ops = (0..100).map(|n| Op::get(format!("k{n}"))).collect();
    let read =
        client.execute(&Begin { ops, ..Begin::default() }).await.expect("an undisturbed server answers");
    for (n, read) in read.results.into_iter().enumerate() {
        assert_eq!(read.value, Some(format!("v{n}").into()));
    }
    match client.put(&transaction, "late", "v").await {
        Err(CallError::Refused(problem)) => assert_eq!(problem.code, Code::Ended),
        other => panic!("the transaction has ended: {other:?}"),
    }
}
