//! A proxy between client and server that records every call, and follows a script that decides
//! about each one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aft_api::{Code, PROBLEM_CONTENT_TYPE, Problem};
use aft_e2e::client::Client;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

/// The treatment of a call.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Pass,
    /// The client gets this problem, and the server never sees the call.
    Refuse(Code),
    /// The client gets no answer, and the server never sees the call.
    CutBefore,
    /// The client gets no answer, and the server carries out the call.
    CutAfter,
    /// The client gets a gateway's answer, and the server never sees the call.
    BadGateway,
}

type Script = dyn Fn(&str, usize) -> Act + Send + Sync;

/// A proxy that ends with its runtime.
#[derive(Clone)]
pub(crate) struct Interposer {
    pub(crate) address: SocketAddr,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Interposer {
    /// Starts a proxy. `script` is called with a call's name (`begin`, `get`, `put`, `batch`,
    /// `commit`, `abort`, `execute`, `keys`, `request`, `alone`) and the number of earlier calls of
    /// that name.
    pub(crate) async fn start(
        server: SocketAddr,
        script: impl Fn(&str, usize) -> Act + Send + Sync + 'static,
    ) -> Interposer {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (script, noted): (Arc<Script>, _) = (Arc::new(script), calls.clone());
        tokio::spawn(async move {
            let upstream = Client::new(server);
            loop {
                let (stream, _) = listener.accept().await.expect("connections are taken");
                let (script, noted, upstream) = (script.clone(), noted.clone(), upstream.clone());
                let service = service_fn(move |request| {
                    let (script, noted, upstream) = (script.clone(), noted.clone(), upstream.clone());
                    async move { answer(&*script, &noted, &upstream, request).await }
                });
                // A handler's error cuts the connection, which is how the acts `Cut…` work.
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Interposer { address, calls }
    }

    /// Returns the names of the recorded calls, in order, and forgets them.
    pub(crate) fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().expect("no thread panics while it holds the lock"))
    }
}

async fn answer(
    script: &Script,
    noted: &Mutex<Vec<String>>,
    upstream: &Client,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let name = name_of(request.method().as_str(), request.uri().path());
    let before = {
        let mut noted = noted.lock().expect("no thread panics while it holds the lock");
        noted.push(name.to_owned());
        noted.iter().filter(|other| *other == name).count() - 1
    };
    let act = script(name, before);
    match act {
        // These reach the server; everything else is answered or cut here.
        Act::Pass | Act::CutAfter => {}
        Act::CutBefore => return Err("cut before"),
        Act::BadGateway => {
            let response = Response::builder().status(502).body(Full::from("<h1>Bad gateway</h1>"));
            return Ok(response.expect("a valid response"));
        }
        Act::Refuse(code) => {
            let mut problem = Problem::new(code, "the script says so");
            if code == Code::Overloaded || code == Code::InProgress {
                problem.retry_after_ms = Some(20);
            }
            let body = serde_json::to_vec(&problem).expect("a problem is JSON");
            let response = Response::builder()
                .status(code.status())
                .header("content-type", PROBLEM_CONTENT_TYPE)
                .body(Full::from(body));
            return Ok(response.expect("a valid response"));
        }
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| "the client went away")?.to_bytes();
    let headers: Vec<_> = head
        .headers
        .iter()
        // The upstream client sets these headers itself.
        .filter(|(name, _)| !matches!(name.as_str(), "host" | "content-length" | "transfer-encoding"))
        .map(|(name, value)| (name.as_str(), value.to_str().expect("headers are text")))
        .collect();
    let path = head.uri.path_and_query().expect("a call has a path").as_str();
    let response = upstream.raw(head.method, path, &headers, body).await.map_err(|_| "no server")?;
    match act {
        Act::CutAfter => Err("cut after"),
        _ => Ok::<_, Infallible>(response.map(Full::from)).map_err(|never| match never {}),
    }
}

fn name_of(method: &str, path: &str) -> &'static str {
    let rest = path.strip_prefix("/v1/").unwrap_or_default();
    if rest == "transactions" {
        return "begin";
    }
    if let Some(rest) = rest.strip_prefix("transactions/") {
        return match rest.split('/').nth(1) {
            Some("batch") => "batch",
            Some("commit") => "commit",
            Some("abort") => "abort",
            Some("keys") if rest.split('/').nth(2).is_none() => "keys",
            Some("keys") if method == "GET" => "get",
            _ => "put",
        };
    }
    match rest.split('/').next() {
        Some("execute") => "execute",
        Some("requests") => "request",
        _ => "alone",
    }
}
