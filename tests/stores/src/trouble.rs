//! A store behind a front that breaks its answers.

use std::sync::{Arc, Mutex};

use aft_services::Server;
use aft_store::{Error, Name, Space, Store};
use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::{Act, Front};

/// Returns the name of a version in `group`.
pub fn name(group: &'static str) -> Name {
    Name::new(Space::Version, group, "item")
}

/// A store behind a front whose act can be changed.
#[derive(Debug)]
pub struct Behind<S> {
    /// The front, between the store and the server.
    pub front: Front,
    /// The store, which connects through the front.
    pub store: Arc<S>,
    /// The text that every error message must contain.
    url: &'static str,
    /// The names that are deleted in one call.
    deleted: Vec<Name>,
    act: Arc<Mutex<Act>>,
}

impl<S: Store> Behind<S> {
    /// Starts a front for a server, and opens the store at the front's endpoint. Every error
    /// message must contain `url`; `deleted` are the names to delete in one call.
    pub async fn start(
        server: &Server,
        url: &'static str,
        deleted: Vec<Name>,
        open: impl AsyncFnOnce(String) -> Arc<S>,
    ) -> Behind<S> {
        let act = Arc::new(Mutex::new(Act::Pass));
        let rule = act.clone();
        let front = Front::start(&server.endpoint(), move |_| {
            rule.lock().expect("no thread panics while it holds the lock").clone()
        })
        .await;
        let store = open(front.endpoint()).await;
        Behind { front, store, url, deleted, act }
    }

    /// Applies `act` to all requests from now on.
    pub fn set(&self, act: Act) {
        *self.act.lock().expect("no thread panics while it holds the lock") = act;
    }

    /// Makes every call under `act`, and checks that each fails with an error for which `expect` is
    /// true and whose message contains all of `words`.
    pub async fn every_call(&self, act: Act, expect: fn(&Error) -> bool, words: &[&str]) {
        self.set(Act::Pass);
        // An object must exist, so that replace and delete_if reach the server with a valid tag.
        let there = name("there");
        self.store.put(&there, Bytes::from("body")).await.expect("all passes");
        let (_, tag) = self.store.get(&there).await.expect("all passes").expect("it was put");
        self.set(act.clone());
        let (store, body) = (&self.store, Bytes::from("other"));
        let failures = [
            ("get", store.get(&there).await.err()),
            ("get_pieces", store.get_pieces(&there, &mut |_| {}).await.err()),
            ("put", store.put(&there, body.clone()).await.err()),
            ("create", store.create(&name("new"), body.clone()).await.err()),
            ("replace", store.replace(&there, &tag, body).await.err()),
            ("delete_if", store.delete_if(&there, &tag).await.err()),
            ("delete", store.delete(&self.deleted).await.err()),
            ("list", store.list(Space::Version, b"there", None, 10).await.err()),
            ("groups", store.groups(Space::Version, b"", None, 10).await.err()),
            ("scan", store.scan(Space::Version, b"", None, 10).await.err()),
        ];
        for (call, error) in failures {
            let error = error.unwrap_or_else(|| panic!("{call} under {act:?} succeeded"));
            assert!(expect(&error), "{call} under {act:?}: {error:?}");
            let text = error.to_string();
            for word in words.iter().chain(&[self.url]) {
                assert!(text.contains(word), "{call} under {act:?}: {word:?} is missing in {text}");
            }
        }
        self.set(Act::Pass);
    }
}

/// Returns true if the call may have been carried out.
pub fn no_answer(error: &Error) -> bool {
    matches!(error, Error::NoAnswer(_))
}

/// Returns true if the call was not carried out and may be retried.
pub fn busy(error: &Error) -> bool {
    matches!(error, Error::Busy(_))
}

/// Returns true if the call was not carried out and never will be.
pub fn refused(error: &Error) -> bool {
    matches!(error, Error::Refused(_))
}

/// Starts a server that answers every connection in Redis's protocol, and returns its endpoint.
pub async fn redis_speaker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the kernel's choice");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"-ERR unknown command\r\n").await;
        }
    });
    format!("http://127.0.0.1:{port}")
}
