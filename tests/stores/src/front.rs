//! An HTTP proxy in front of a server: it records the requests, and treats each one as a rule
//! decides.
//!
//! The request's `Host` is passed on unchanged, since it is signed.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// The treatment of a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// The request and its answer are passed on.
    Pass,
    /// The request is passed on after this time.
    Late(Duration),
    /// The request is passed on without this header.
    Without(HeaderName),
    /// The front answers with this status and body, and does not pass the request on.
    Answer(u16, &'static str),
    /// The request is passed on and carried out, but the front answers with this status and body.
    PassButAnswer(u16, &'static str),
    /// The request is passed on and carried out, but the connection ends without an answer.
    PassButCut,
    /// The request is passed on; the connection ends after this many bytes of the answer's body.
    CutBody(usize),
    /// The request is passed on; the answer lacks this header.
    AnswerWithout(HeaderName),
    /// The request is passed on with another body, and the answer's body is changed. For servers
    /// that check no signature.
    Rewrite(Rewrite),
}

/// A function that changes a request's body, and returns the function for its answer's body.
#[derive(Clone)]
pub struct Rewrite(pub Arc<dyn Fn(Bytes) -> (Bytes, RewriteAnswer) + Send + Sync>);

/// A function that changes an answer's body.
pub type RewriteAnswer = Box<dyn FnOnce(Bytes) -> Bytes + Send>;

impl std::fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rewrite")
    }
}

/// A recorded request.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method: `GET`, `PUT`, …
    pub method: String,
    /// The path with the query.
    pub path: String,
    /// The name of DynamoDB's call, such as `PutItem`.
    pub target: Option<String>,
    /// The body; empty if the front answered by itself.
    pub body: Bytes,
    /// The instant at which the request arrived.
    pub from: Instant,
    /// The instant at which the answer's head had arrived.
    pub to: Instant,
}

impl Seen {
    /// Returns the method, or DynamoDB's name of the call, and the space. These are the same in
    /// every run: `PUT commit`, `LIST version`, `Query version`.
    pub fn what(&self) -> String {
        let spaces =
            ["commit", "intent", "version", "blob", "collect", "marker", "node", "lease", "store", "probe"];
        if let Some(target) = &self.target {
            let body = String::from_utf8_lossy(&self.body);
            let space = spaces.iter().find(|space| body.contains(&format!("{space}/")));
            return format!("{target} {}", space.copied().unwrap_or("other"));
        }
        let listing = self.path.split_once("list-type=2").map(|(_, query)| query);
        let method = if listing.is_some() { "LIST" } else { &self.method };
        let at = listing.unwrap_or(&self.path);
        let space = spaces
            .iter()
            .find(|space| at.contains(&format!("{space}/")) || at.contains(&format!("{space}%2F")));
        format!("{method} {}", space.copied().unwrap_or("other"))
    }

    /// Returns true if the request reads the object that holds the description and the mark, which
    /// a node also reads to learn the store's time.
    pub fn asks_time(&self) -> bool {
        ["GET store", "GetItem store"].contains(&self.what().as_str())
    }
}

type Rule = dyn Fn(&Request<Incoming>) -> Act + Send + Sync;

/// A running front, which ends with the runtime.
#[derive(Debug)]
pub struct Front {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Front {
    /// Starts a front for the server at `upstream`, `http://HOST:PORT`.
    pub async fn start(
        upstream: &str,
        rule: impl Fn(&Request<Incoming>) -> Act + Send + Sync + 'static,
    ) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the kernel's choice");
        let port = listener.local_addr().expect("it is bound").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let room = Arc::new(Room {
            upstream: upstream.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            rule: Box::new(rule),
            seen: seen.clone(),
        });
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                stream.set_nodelay(true).expect("it is a socket");
                let room = room.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| room.clone().serve(request));
                    let http = hyper::server::conn::http1::Builder::new();
                    // A connection that is cut on purpose ends with an error.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Front { port, seen }
    }

    /// Returns the address at which the front listens.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the requests since the last call.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().expect("no thread panics while it holds the lock"))
    }
}

struct Room {
    upstream: String,
    client: Client<HttpConnector, Full<Bytes>>,
    rule: Box<Rule>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// The error with which a handler cuts the connection.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

impl Room {
    async fn serve(self: Arc<Room>, request: Request<Incoming>) -> Result<Response<CutBody>, Cut> {
        let from = Instant::now();
        let act = (self.rule)(&request);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let method = request.method().to_string();
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
        let target = target.and_then(|target| target.split_once('.')).map(|(_, call)| call.to_owned());
        let mut body = Bytes::new();
        let answer = self.act(&act, request, &path, &mut body).await;
        let seen = Seen { method, path, target, body, from, to: Instant::now() };
        self.seen.lock().expect("no thread panics while it holds the lock").push(seen);
        answer
    }

    async fn act(
        &self,
        act: &Act,
        request: Request<Incoming>,
        path: &str,
        came: &mut Bytes,
    ) -> Result<Response<CutBody>, Cut> {
        if let Act::Answer(status, body) = act {
            return Ok(plain(*status, body));
        }
        // Everything from here on passes the request on.
        if let Act::Late(time) = act {
            tokio::time::sleep(*time).await;
        }
        let (mut head, body) = request.into_parts();
        let mut body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        // Recorded before a rewrite: the record shows the request as it came.
        *came = body.clone();
        let mut rewrite_answer = None;
        if let Act::Rewrite(Rewrite(rewrite)) = act {
            let (other, answer) = rewrite(body);
            body = other;
            rewrite_answer = Some(answer);
            head.headers.remove(CONTENT_LENGTH);
        }
        head.uri = format!("{}{path}", self.upstream).parse().expect("a path behind an address");
        if let Act::Without(header) = act {
            head.headers.remove(header);
        }
        let answer =
            self.client.request(Request::from_parts(head, Full::new(body))).await.map_err(|_| Cut)?;
        let (mut head, body) = answer.into_parts();
        let mut body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        if let Some(rewrite) = rewrite_answer {
            body = rewrite(body);
            head.headers.remove(CONTENT_LENGTH);
            // The checksum is that of the original body.
            head.headers.remove("x-amz-crc32");
        }
        // The answer is complete and rewritten; now the acts that damage it.
        let cut_at = match act {
            Act::PassButAnswer(status, body) => return Ok(plain(*status, body)),
            Act::PassButCut => return Err(Cut),
            Act::CutBody(len) => {
                // The full length is announced, so that the client knows that bytes are missing.
                head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
                Some((*len).min(body.len()))
            }
            Act::AnswerWithout(header) => {
                head.headers.remove(header);
                None
            }
            Act::Pass | Act::Late(_) | Act::Without(_) | Act::Answer(..) | Act::Rewrite(_) => None,
        };
        Ok(Response::from_parts(head, CutBody { whole: Some(body), cut_at }))
    }
}

fn plain(status: u16, body: &'static str) -> Response<CutBody> {
    let mut answer =
        Response::new(CutBody { whole: Some(Bytes::from_static(body.as_bytes())), cut_at: None });
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

/// A body that is cut after `cut_at` bytes, if that is set.
#[derive(Debug)]
struct CutBody {
    whole: Option<Bytes>,
    cut_at: Option<usize>,
}

impl Body for CutBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let cut_at = self.cut_at;
        Poll::Ready(match (self.whole.take(), cut_at) {
            (Some(whole), None) => (!whole.is_empty()).then(|| Ok(Frame::data(whole))),
            (Some(whole), Some(len)) => Some(Ok(Frame::data(whole.slice(..len)))),
            (None, None) => None,
            (None, Some(_)) => Some(Err(Cut)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.cut_at.is_none() && self.whole.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.whole, self.cut_at) {
            (Some(whole), _) => SizeHint::with_exact(whole.len() as u64),
            (None, _) => SizeHint::default(),
        }
    }
}
