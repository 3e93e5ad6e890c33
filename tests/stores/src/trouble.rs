//! A store behind a front that breaks its answers.

use std::sync::{Arc, Mutex};

use aft_services::Server;
use aft_store::{Error, Name, Space, Store};
use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::{Act, Front};

/// A version's name in this group.
pub fn name(group: &'static str) -> Name {
    Name::new(Space::Version, group, "item")
}

/// A store behind a front whose act can be changed.
#[derive(Debug)]
pub struct Behind<S> {
    /// Before the server.
    pub front: Front,
    /// By way of the front.
    pub store: Arc<S>,
    /// What every message has.
    url: &'static str,
    /// What is deleted in one call.
    deleted: Vec<Name>,
    act: Arc<Mutex<Act>>,
}

impl<S: Store> Behind<S> {
    /// Starts a front before a server, and opens the store at the front's endpoint. Every message must have the text `url`; `deleted` is what is deleted in
    /// one call.
    pub async fn start(
        server: &Server,
        url: &'static str,
        deleted: Vec<Name>,
        open: impl AsyncFnOnce(String) -> Arc<S>,
    ) -> Behind<S> {
        let act = Arc::new(Mutex::new(Act::Pass));
        let rule = act.clone();
        let front =
            Front::start(&server.endpoint(), move |_| rule.lock().expect("nobody panics with it").clone())
                .await;
        let store = open(front.endpoint()).await;
        Behind { front, store, url, deleted, act }
    }

    /// From now on.
    pub fn set(&self, act: Act) {
        *self.act.lock().expect("nobody panics with it") = act;
    }

    /// Every call, each of which must fail in this way.
    pub async fn every_call(&self, act: Act, expect: fn(&Error) -> bool, words: &[&str]) {
        self.set(Act::Pass);
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

/// What was asked may have been carried out.
pub fn no_answer(error: &Error) -> bool {
    matches!(error, Error::NoAnswer(_))
}

/// Nothing was carried out, and it may be asked again.
pub fn busy(error: &Error) -> bool {
    matches!(error, Error::Busy(_))
}

/// Nothing was carried out, and nothing will be.
pub fn refused(error: &Error) -> bool {
    matches!(error, Error::Refused(_))
}

/// The endpoint of a server that speaks Redis to everybody.
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
