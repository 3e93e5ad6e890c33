//! Sessions: the client carries them from commit to transaction, merges concurrent ones, and shares
//! them among its clones.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use aft_client::{Client, Code, Error, Op, Request};
use aft_e2e::server::Server;
use aft_format::decode_session;

use crate::client;

fn entries(client: &Client) -> usize {
    client.session().map_or(0, |token| decode_session(&token).expect("a session token is one").entries.len())
}

#[tokio::test]
async fn commits_are_carried_and_merged() {
    let server = Server::start("memory:");
    let first = client(server.address());
    assert_eq!(first.session(), None);
    // A read alone adds no commit to the session.
    first.get("nothing").await.unwrap();
    assert_eq!(entries(&first), 0);
    let clone = first.clone();
    first.put("a", "1").await.unwrap();
    assert_eq!(entries(&clone), 1, "clones share it");
    // Two concurrent transactions that began with the same token.
    let run = |client: &Client, key: &'static str, order: Arc<tokio::sync::Barrier>| {
        let client = client.clone();
        tokio::spawn(async move {
            client
                .run(Request::unnamed(), |t| {
                    let order = order.clone();
                    async move {
                        order.wait().await;
                        t.put(key, "1").await.map(|()| "")
                    }
                })
                .await
        })
    };
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let (one, two) = (run(&first, "b", both.clone()), run(&clone, "c", both));
    let versions =
        [one.await.unwrap().unwrap().version.unwrap(), two.await.unwrap().unwrap().version.unwrap()];
    let session = decode_session(&first.session().unwrap()).unwrap();
    for version in versions {
        assert!(
            session.entries.iter().any(|entry| entry.txn.to_string() == version),
            "{version} {session:?}"
        );
    }
    // A replay adds the winner's commit, and removes nothing.
    let other = client(server.address());
    other.execute("r", vec![Op::put("d", "1")], "").await.unwrap();
    let before = entries(&first);
    assert!(first.run("r", |_| async { Ok::<_, Error>("") }).await.unwrap().replayed);
    assert_eq!(entries(&first), before + 1);
    // A client with its own session diverges; another client can join that session.
    let own = first.with_own_session();
    assert_eq!(own.session(), first.session());
    own.put("e", "1").await.unwrap();
    assert_ne!(own.session(), first.session());
    other.join_session(&own.session().unwrap());
    assert_eq!(other.session(), own.session());
    let off = Client::builder(&format!("http://{}", server.address())).session(false).build().unwrap();
    off.put("f", "1").await.unwrap();
    assert_eq!(off.session(), None);
}

/// Puts an older backup under a session. The client hears of it once, and then reads what is there.
#[tokio::test]
async fn a_session_notices_an_older_backup() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let backup = directory.path().join("backup");
    let server = Server::on(&store);
    client(server.address()).execute("first", vec![Op::put("k", "old")], "").await.unwrap();
    server.kill();
    copy(&store, &backup).unwrap();
    let server = Server::on(&store);
    let live = client(server.address());
    live.execute("second", vec![Op::put("k", "new")], "").await.unwrap();
    let token = live.session().unwrap();
    server.kill();
    let server = Server::on(&backup);
    let client = client(server.address());
    for how in ["get", "run"] {
        client.join_session(&token);
        let read = match how {
            "get" => client.get("k").await.map(|_| ()),
            _ => {
                let never = |_| async { unreachable!("the function does not run") };
                client.run::<_, _, &str, Error>(Request::unnamed(), never).await.map(|_| ())
            }
        };
        let error = read.expect_err("the older value is not given in silence");
        assert_eq!(error.code(), Some(Code::SessionLost), "{how}: {error}");
        assert!(!error.is_retryable(), "{how}");
        assert_eq!(client.session(), None, "{how}: the session is dropped");
        assert_eq!(client.get("k").await.unwrap().unwrap().bytes, "old");
    }
    let log = server.log();
    assert_eq!(log.matches("restored from an older backup").count(), 1, "{log}");
}

/// Copies the files of a store.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let (from, to) = (file.path(), to.join(file.file_name()));
        if file.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

/// Presents the token to a restarted server on the same store, which then knows what the session
/// has seen.
#[tokio::test]
async fn a_session_outlives_a_server() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path());
    let before = client(server.address());
    for n in 0..5 {
        before.put("k", n.to_string()).await.unwrap();
    }
    let token = before.session().unwrap();
    server.kill();
    let server = Server::on(directory.path());
    let after = client(server.address());
    after.join_session(&token);
    assert_eq!(after.get("k").await.unwrap().unwrap().bytes, "4");
    let seen = Arc::new(Mutex::new(None));
    let into = seen.clone();
    after
        .run("r", move |t| {
            let into = into.clone();
            async move {
                *into.lock().unwrap() = t.get("k").await?.map(|value| value.bytes);
                Ok::<_, Error>("")
            }
        })
        .await
        .unwrap();
    assert_eq!(seen.lock().unwrap().as_deref(), Some(&b"4"[..]));
}
