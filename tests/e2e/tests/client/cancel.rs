//! A run that is dropped aborts its transaction, and so does one whose function panics. A run that
//! is dropped while it commits leaves the transaction to the commit.

use std::sync::Arc;
use std::time::Duration;

use aft_client::{Error, Request};
use aft_e2e::server::Server;
use tokio::sync::Notify;

use crate::interposer::{Act, Interposer};

#[tokio::test]
async fn a_dropped_run_aborts() {
    let server = Server::start("memory:");
    let interposer = Interposer::start(server.address(), |_, _| Act::Pass).await;
    let client = crate::client(interposer.address);
    let inside = Arc::new(Notify::new());
    let running = tokio::spawn({
        let (client, inside) = (client.clone(), inside.clone());
        async move {
            client
                .run("r", |t| {
                    let inside = inside.clone();
                    async move {
                        t.put("k", "v").await?;
                        inside.notify_one();
                        std::future::pending::<()>().await;
                        Ok::<_, Error>("")
                    }
                })
                .await
        }
    });
    inside.notified().await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    // The request is free at once: another attempt does not wait for the deadline of the dropped
    // one.
    let again = client.run("r", |_| async { Ok::<_, Error>("second") });
    let again = tokio::time::timeout(Duration::from_secs(4), again)
        .await
        .expect("the new attempt does not wait for the dropped one");
    assert_eq!(again.unwrap().result, "second");
    assert!(interposer.take_calls().contains(&"abort".to_owned()));
    assert_eq!(client.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn a_dropped_transaction_aborts() {
    let server = Server::start("memory:");
    let interposer = Interposer::start(server.address(), |_, _| Act::Pass).await;
    let client = crate::client(interposer.address);
    drop(client.begin("r").await.unwrap());
    for _ in 0..200 {
        if interposer.take_calls().contains(&"abort".to_owned()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no abort was sent");
}

#[tokio::test]
async fn a_function_that_panics_aborts() {
    let server = Server::start("memory:");
    let client = crate::client(server.address());
    let panicking = tokio::spawn({
        let client = client.clone();
        async move {
            client
                .run("r", |t| async move {
                    t.put("k", "v").await?;
                    if t.token().len() > 1 {
                        panic!("on purpose");
                    }
                    Ok::<_, Error>("")
                })
                .await
        }
    });
    assert!(panicking.await.unwrap_err().is_panic());
    let again = client.run("r", |_| async { Ok::<_, Error>("second") });
    let again = tokio::time::timeout(Duration::from_secs(4), again)
        .await
        .expect("the new attempt does not wait for the panicked one");
    assert_eq!(again.unwrap().result, "second");
    let unnamed = client.run(Request::unnamed(), |t| async move { t.get("k").await.map(|_| "") });
    unnamed.await.unwrap();
}
