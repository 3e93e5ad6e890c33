//! A minimal HTTP client with the API's own types: answers are returned unchanged, and nothing is
//! retried.

use std::net::SocketAddr;
use std::time::Duration;

use aft_api::{Batch, Begin, Commit, Format, Listing, Problem, Reply, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Response, StatusCode};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The longest time that a call may take: far above the server's own bounds.
const CALL_TIME_MAX: Duration = Duration::from_secs(20);

/// The reason why a call did not return the expected reply.
#[derive(Debug)]
pub enum CallError {
    /// The connection was not accepted: the call had no effect.
    NotSent(String),
    /// The call was sent and got no answer: it may have had its effect.
    NoAnswer(String),
    /// The server answered with a problem.
    Refused(Box<Problem>),
}

/// The outcome of a call.
pub type Result<T> = std::result::Result<T, CallError>;

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Client {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    format: Format,
    /// The value of the header `Authorization`.
    authorization: Option<String>,
}

impl Client {
    /// Creates a client that speaks JSON.
    pub fn new(address: SocketAddr) -> Client {
        let http = legacy::Client::builder(TokioExecutor::new()).build_http();
        Client { http, address, format: Format::Json, authorization: None }
    }

    /// Creates a client that speaks JSON over HTTP/2 from the first byte on, as a client that knows
    /// that the server supports it.
    pub fn http2(address: SocketAddr) -> Client {
        let http = legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        Client { http, ..Client::new(address) }
    }

    /// Returns the same client with another encoding.
    pub fn speaking(self, format: Format) -> Client {
        Client { format, ..self }
    }

    /// Returns the same client with a bearer token.
    pub fn bearing(self, token: &str) -> Client {
        Client { authorization: Some(format!("Bearer {token}")), ..self }
    }

    /// Returns the same client for a server at another address.
    pub fn at(&self, address: SocketAddr) -> Client {
        Client { address, ..self.clone() }
    }

    /// Sends any call, and returns the answer unchanged.
    ///
    /// # Errors
    /// [`CallError::NotSent`] if the server cannot be reached, [`CallError::NoAnswer`] if no
    /// complete answer comes in time.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response<Bytes>> {
        let mut request =
            hyper::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Full::new(body.into())).expect("tests make valid requests");
        let answer = async {
            let response = self.http.request(request).await.map_err(|why| {
                let text = describe(&why);
                // Only a failed connect proves that the server has seen nothing of the call.
                if why.is_connect() { CallError::NotSent(text) } else { CallError::NoAnswer(text) }
            })?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|why| CallError::NoAnswer(describe(&why)))?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        match tokio::time::timeout(CALL_TIME_MAX, answer).await {
            Ok(answer) => answer,
            // The server may have received the call before the time was over.
            Err(_) => Err(CallError::NoAnswer(format!("nothing within {CALL_TIME_MAX:?}"))),
        }
    }

    /// `POST /v1/transactions`
    ///
    /// # Errors
    /// [`CallError::NotSent`] or [`CallError::NoAnswer`] if no answer comes, [`CallError::Refused`]
    /// if the answer is a problem.
    pub async fn begin(&self, begin: &Begin) -> Result<Reply> {
        self.post("/v1/transactions", self.format.encode(begin)).await
    }

    /// `POST /v1/execute`
    ///
    /// # Errors
    /// [`CallError::NotSent`] or [`CallError::NoAnswer`] if no answer comes, [`CallError::Refused`]
    /// if the answer is a problem.
    pub async fn execute(&self, begin: &Begin) -> Result<Reply> {
        self.post("/v1/execute", self.format.encode(begin)).await
    }

    /// `POST /v1/transactions/{t}/batch`
    ///
    /// # Errors
    /// [`CallError::NotSent`] or [`CallError::NoAnswer`] if no answer comes, [`CallError::Refused`]
    /// if the answer is a problem.
    pub async fn batch(&self, transaction: &str, batch: &Batch) -> Result<Reply> {
        self.post(&format!("/v1/transactions/{transaction}/batch"), self.format.encode(batch)).await
    }

    /// `POST /v1/transactions/{t}/commit`
    ///
    /// # Errors
    /// [`CallError::NotSent`] or [`CallError::NoAnswer`] if no answer comes, [`CallError::Refused`]
    /// if the answer is a problem.
    pub async fn commit(&self, transaction: &str, commit: &Commit) -> Result<Reply> {
        self.post(&format!("/v1/transactions/{transaction}/commit"), self.format.encode(commit)).await
    }

    /// `POST /v1/transactions/{t}/commit` with a request ID: a server that has forgotten the
    /// transaction, or never knew it, answers from the request's record.
    ///
    /// # Errors
    /// [`CallError::NotSent`] or [`CallError::NoAnswer`] if no answer comes, [`CallError::Refused`]
    /// if the answer is a problem.
    pub async fn commit_of(&self, transaction: &str, request: &str, commit: &Commit) -> Result<Reply> {
        let kind = self.format.content_type();
        let headers = [("content-type", kind), ("accept", kind), ("idempotency-key", request)];
        let path = format!("/v1/transactions/{transaction}/commit");
        let response = self.raw(Method::POST, &path, &headers, self.format.encode(commit)).await?;
        let body = accepted(response)?.into_body();
        Ok(self
            .format
            .decode(&body)
            .unwrap_or_else(|why| panic!("POST {path}: not a reply ({why}): {body:?}")))
    }

    /// `POST /v1/transactions/{t}/abort`
    ///
    /// # Errors
    /// [`CallError::NotSent`] or [`CallError::NoAnswer`] if no answer comes, [`CallError::Refused`]
    /// if the answer is a problem.
    pub async fn abort(&self, transaction: &str) -> Result<()> {
        let path = format!("/v1/transactions/{transaction}/abort");
        accepted(self.raw(Method::POST, &path, &[], Bytes::new()).await?).map(|_| ())
    }

    /// `PUT /v1/transactions/{t}/keys/{key}`
    ///
    /// # Errors
    /// [`CallError::NotSent`] or [`CallError::NoAnswer`] if no answer comes, [`CallError::Refused`]
    /// if the answer is a problem.
    pub async fn put(&self, transaction: &str, key: &str, value: impl Into<Bytes>) -> Result<()> {
        let path = format!("/v1/transactions/{transaction}/keys/{}", encode(key));
        accepted(self.raw(Method::PUT, &path, &[], value).await?).map(|_| ())
    }

    /// `GET /v1/transactions/{t}/keys?prefix=…`, for all pages; `limit` is the number of keys per
    /// page.
    ///
    /// # Errors
    /// [`CallError::NotSent`] or [`CallError::NoAnswer`] if no answer comes, [`CallError::Refused`]
    /// if the answer is a problem.
    pub async fn list(&self, transaction: &str, prefix: &str, limit: u32) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!(
                "/v1/transactions/{transaction}/keys?prefix={}&after={}&limit={limit}",
                encode(prefix),
                encode(&after)
            );
            let body = self.get(&path).await?;
            let page: Listing =
                self.format.decode(&body).unwrap_or_else(|why| panic!("GET {path}: {why}: {body:?}"));
            keys.extend(page.keys.into_iter().map(|listed| listed.key));
            match page.next {
                Some(next) => after = next,
                None => return Ok(keys),
            }
        }
    }

    /// Returns the value of the metric `name` from `GET /metrics`, summed over labels; 0 if there
    /// is none.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn metric(&self, name: &str) -> f64 {
        let answer = self.raw(Method::GET, "/metrics", &[], Bytes::new()).await;
        let answer = answer.expect("the server answers GET /metrics").into_body();
        let text = String::from_utf8_lossy(&answer);
        let of_name = |line: &str| {
            let (labelled, number) = line.rsplit_once(' ')?;
            (labelled.split('{').next() == Some(name)).then(|| number.parse::<f64>().ok())?
        };
        text.lines().filter_map(of_name).sum()
    }

    /// `GET /v1/requests/{id}`
    ///
    /// # Errors
    /// [`CallError::NotSent`] or [`CallError::NoAnswer`] if no answer comes, [`CallError::Refused`]
    /// if the answer is a problem.
    pub async fn request(&self, id: &str) -> Result<Request> {
        let path = format!("/v1/requests/{}", encode(id));
        let body = self.get(&path).await?;
        Ok(self.format.decode(&body).unwrap_or_else(|why| panic!("GET {path}: {why}: {body:?}")))
    }

    /// Sends a `GET`, and returns the body of a successful reply.
    async fn get(&self, path: &str) -> Result<Bytes> {
        let accept = self.format.content_type();
        let response = self.raw(Method::GET, path, &[("accept", accept)], Bytes::new()).await?;
        Ok(accepted(response)?.into_body())
    }

    /// Sends a `POST` with a body in this client's format, and returns the reply.
    async fn post(&self, path: &str, body: Bytes) -> Result<Reply> {
        let kind = self.format.content_type();
        let response =
            self.raw(Method::POST, path, &[("content-type", kind), ("accept", kind)], body).await?;
        let body = accepted(response)?.into_body();
        Ok(self
            .format
            .decode(&body)
            .unwrap_or_else(|why| panic!("POST {path}: not a reply ({why}): {body:?}")))
    }
}

/// Returns a successful response unchanged, and any other as a problem.
fn accepted(response: Response<Bytes>) -> Result<Response<Bytes>> {
    if response.status().is_success() {
        return Ok(response);
    }
    let (status, body) = (response.status(), response.body());
    let problem: Problem = serde_json::from_slice(body).unwrap_or_else(|why| {
        panic!("{status} without a problem ({why}): {}", String::from_utf8_lossy(body))
    });
    assert_eq!(StatusCode::from_u16(problem.status).ok(), Some(status), "{problem:?}");
    Err(CallError::Refused(Box::new(problem)))
}

/// Percent-encodes all bytes except those that are valid both in a path and in a query. `/` is not
/// encoded: it is an ordinary byte of keys.
pub fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(byte.into())
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn describe(why: &dyn std::error::Error) -> String {
    let mut text = why.to_string();
    let mut cause = why.source();
    while let Some(why) = cause {
        text.push_str(&format!(": {why}"));
        cause = why.source();
    }
    text
}
