//! A real node over a store in memory, behind real doors at a real socket, and a client that
//! returns answers unchanged.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aft_access::Access;
use aft_api::{Format, Problem, Reply};
use aft_desk::Desk;
use aft_door_native::{Door, Meters};
use aft_net::Tls;
use aft_node::{NodeHandle, NodeSettings};
use aft_store::Store as _;
use aft_store_memory::MemoryStore;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The longest time of a call, far above that of any call: one that hangs fails its test.
const CALL_TIME_MAX: Duration = Duration::from_secs(20);

/// The settings of a door's two halves.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) net: aft_net::Settings,
    pub(crate) desk: aft_desk::Settings,
}

/// A server and a client for it. It ends with its runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) node: NodeHandle,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// The answer to a call.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::with(|_, _| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut NodeSettings, &mut Settings)) -> Server {
        Server::over(MemoryStore::new(), change).await
    }

    pub(crate) async fn over(
        store: MemoryStore,
        change: impl FnOnce(&mut NodeSettings, &mut Settings),
    ) -> Server {
        Server::guarded(store, Arc::new(Access::open()), change).await
    }

    pub(crate) async fn guarded(
        store: MemoryStore,
        access: Arc<Access>,
        change: impl FnOnce(&mut NodeSettings, &mut Settings),
    ) -> Server {
        Server::with_tls(store, access, None, change).await
    }

    pub(crate) async fn with_tls(
        store: MemoryStore,
        access: Arc<Access>,
        tls: Option<Arc<Tls>>,
        change: impl FnOnce(&mut NodeSettings, &mut Settings),
    ) -> Server {
        let meters = Meters::install();
        let mut node = NodeSettings::new(&store.capabilities());
        let mut doors = Settings::default();
        change(&mut node, &mut doors);
        let node = aft_node::start(Arc::new(store), node).await.expect("the settings are sound");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let desk = Desk::new(node.clone(), access, doors.desk);
        let door = Door::new(desk, doors.net, meters);
        tokio::spawn(aft_door_native::serve(listener, door, tls, std::future::pending()));
        Server { address, node, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).expect("tests name methods"))
            .uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        // A body of a POST is JSON unless the test says otherwise.
        let body = body.into();
        let typed = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if method == "POST" && !typed && !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(body)).expect("tests make valid requests");
        let answer = async {
            let (head, body) = self.client.request(request).await.expect("the server answers").into_parts();
            let body = body.collect().await.expect("the answer is whole").to_bytes();
            Answer { status: head.status, headers: head.headers, body }
        };
        let answer = tokio::time::timeout(CALL_TIME_MAX, answer).await;
        let answer = answer.unwrap_or_else(|_| panic!("{method} {path}: no answer"));
        assert_ne!(answer.status, 500, "{method} {path}: {answer:?}");
        answer
    }

    pub(crate) async fn post(&self, path: &str, json: &str) -> Answer {
        self.call("POST", path, &[("content-type", "application/json")], json.to_owned()).await
    }

    /// Opens a transaction and returns its token.
    pub(crate) async fn open(&self) -> String {
        let answer = self.post("/v1/transactions", "{}").await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.reply().transaction.expect("an open transaction has a token")
    }
}

impl Answer {
    pub(crate) fn reply(&self) -> Reply {
        assert!(self.status.is_success(), "{self:?}");
        Format::Json.decode(&self.body).expect("a success is a reply")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("headers are ASCII"))
    }

    /// Returns the problem, and checks that it agrees with the answer's status and headers.
    pub(crate) fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: Problem = serde_json::from_slice(&self.body).expect("a refusal is a problem");
        assert_eq!(problem.status, self.status.as_u16(), "{self:?}");
        assert_eq!(problem.status, problem.code.status(), "{self:?}");
        assert_eq!(problem.action, problem.code.action(), "{self:?}");
        assert_eq!(self.header("aft-error"), Some(problem.code.as_str()), "{self:?}");
        assert_eq!(self.header("retry-after").is_some(), problem.retry_after_ms.is_some(), "{self:?}");
        problem
    }
}
