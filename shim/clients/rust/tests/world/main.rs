//! Goal: the client does the right thing where the world between it and a server is not kind:
//! proxies, certificates, slow and dead lines, tasks that nobody awaits. Method: small servers in
//! the test answer as they are told, over plain TCP or TLS, and note what they were asked.
//! `tests/e2e/tests/client` has the tests against a real server.

mod fake;
mod foreign;
mod large;
mod lines;
mod paths;
mod pure;
mod stragglers;
mod tls;

use aft_client::{Client, Error, Ran, Request};

/// The outcomes of the calls of each kind, by name.
async fn every_call(client: &Client) -> Vec<(&'static str, Result<(), Error>)> {
    let run = |request: Request| {
        client.run(request, |t| async move {
            t.put("k", "v").await?;
            Ok::<_, Error>("done")
        })
    };
    let none = |ran: Result<Ran, Error>| ran.map(|_| ());
    vec![
        ("get", client.get("k").await.map(|_| ())),
        ("put", none(client.put("k", "v").await)),
        ("run", none(run(Request::named("r")).await)),
        ("unnamed run", none(run(Request::unnamed()).await)),
        ("execute", client.execute("e", vec![aft_client::Op::put("k", "v")], "").await.map(|_| ())),
        ("request", client.request("r").await.map(|_| ())),
        ("stream", client.stream("k").await.map(|_| ())),
    ]
}
