//! The HTTP types of the local endpoints, and the loop that serves them.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tracing::debug;

use crate::processes::Peer;

/// Any error that ends a body.
pub type BoxError = Box<dyn StdError + Send + Sync>;
/// The body of a request or an answer of the local endpoints.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The time after which an idle connection is not used again.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// The headers that belong to one connection, and are not passed on.
const HOP_BY_HOP: [HeaderName; 5] =
    [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("keep-alive")];

/// Returns a body that has these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Returns the body of a request or an answer that arrives, trailers included.
pub fn arriving(body: Incoming) -> Body {
    body.map_err(BoxError::from).boxed_unsync()
}

/// Returns an answer in JSON.
pub fn json(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Removes the headers that belong to one connection.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The kept connections to one server.
#[derive(Debug)]
pub struct Connections(Mutex<Client<HttpConnector, Body>>);

impl Default for Connections {
    fn default() -> Connections {
        Connections(Mutex::new(client()))
    }
}

impl Connections {
    /// Returns a client that uses them.
    pub fn get(&self) -> Client<HttpConnector, Body> {
        self.0.lock().expect("nothing panics while it holds the client").clone()
    }

    /// Drops those that are idle: one of before a freeze may be dead without knowing it.
    pub fn renew(&self) {
        *self.0.lock().expect("nothing panics while it holds the client") = client();
    }
}

fn client() -> Client<HttpConnector, Body> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE_MAX).pool_timer(TokioTimer::new());
    builder.build(connector)
}

/// A service that answers every call.
pub trait Answers: Clone + Send + Sync + 'static {
    /// Answers a call of a client.
    fn answer(&self, request: Request<Incoming>, peer: &Peer) -> impl Future<Output = Response<Body>> + Send;
}

/// Binds a free port of the loopback address. The literal address matters: SDKs use the paths of a
/// bucket only for an IP address.
///
/// # Errors
/// Returns the system's error, with what was tried.
pub async fn bind() -> Result<(TcpListener, SocketAddr), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.map_err(|why| format!("cannot listen on a port of 127.0.0.1: {why}"))?;
    let address = listener.local_addr();
    let address = address.map_err(|why| format!("cannot read the address listened on: {why}"))?;
    Ok((listener, address))
}

/// Serves HTTP/1.1 on a listener until the task is dropped. With `half_close` a client may close
/// its side of the connection after a request; without, its call ends with that.
pub async fn serve(listener: TcpListener, service: impl Answers, half_close: bool) {
    let server = listener.local_addr().expect("a listener has an address");
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(why) => {
                // For instance because the process has no descriptors left: some will be closed.
                debug!(%why, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        // Without it, an answer in two writes waits for the peer's delayed acknowledgement: 40 ms.
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        let peer = Arc::new(Peer::new(client, server));
        tokio::spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let (service, peer) = (service.clone(), peer.clone());
                async move { Ok::<_, Infallible>(service.answer(request, &peer).await) }
            });
            // No timeout: a runtime waits for its next event for as long as it takes.
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(None)
                .half_close(half_close)
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            if let Err(why) = served {
                debug!(%why, "a local connection ended");
            }
        });
    }
}
