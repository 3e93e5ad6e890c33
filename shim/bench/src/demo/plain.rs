//! A plain key-value server over a store, for the run without the shim. It offers `GET` and `PUT
//! /plain/KEY`, and nothing else.
//!
//! Only one process can open an embedded store, and functions are processes of their own, so a
//! server must be in between. It adds nothing: every `PUT` is one put, every `GET` one get.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use aft_store::{Name, Space, Store};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::demo::access::PLAIN_PATH;
use crate::error::{Error, Result};

/// A running server, which ends when dropped.
#[derive(Debug)]
pub(crate) struct Plain {
    address: SocketAddr,
    /// The task that accepts connections. It owns the connections' tasks, so dropping this ends all
    /// of them.
    _accepting: JoinSet<()>,
}

impl Plain {
    /// Serves `store` on a free port of the loopback interface.
    pub(crate) async fn start(store: Arc<dyn Store>) -> Result<Plain> {
        let listening = Error::io("cannot open a port for the plain server");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(listening)?;
        let address = listener.local_addr().map_err(Error::io("cannot read the plain server's address"))?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, store));
        Ok(Plain { address, _accepting: accepting })
    }

    /// Returns the server's URL, `http://HOST:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn accept(listener: TcpListener, store: Arc<dyn Store>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // Remove the tasks of connections that have ended.
        while connections.try_join_next().is_some() {}
        let store = Arc::clone(&store);
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            let service = service_fn(move |request| answer(Arc::clone(&store), request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    store: Arc<dyn Store>,
    request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = carry_out(&*store, request).await.unwrap_or_else(|status| (status, Bytes::new()));
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    Ok(response)
}

async fn carry_out(
    store: &dyn Store,
    request: Request<Incoming>,
) -> std::result::Result<(StatusCode, Bytes), StatusCode> {
    let key = request.uri().path().strip_prefix(PLAIN_PATH).unwrap_or_default();
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(StatusCode::BAD_REQUEST);
    }
    let name = name(key);
    match *request.method() {
        Method::GET => match store.get(&name).await {
            Ok(Some((body, _))) => Ok((StatusCode::OK, body)),
            Ok(None) => Err(StatusCode::NOT_FOUND),
            Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
        },
        Method::PUT => {
            let body = request.into_body().collect().await.map_err(|_| StatusCode::BAD_REQUEST)?.to_bytes();
            match store.put(&name, body).await {
                Ok(()) => Ok((StatusCode::NO_CONTENT, Bytes::new())),
                Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
            }
        }
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// The maximum length of a key in bytes; the demo's keys have a few dozen.
const KEY_BYTES_MAX: usize = 512;

/// Returns the name of a key's object. It is in [`Space::Node`], apart from the objects of the
/// protocol.
pub(crate) fn name(key: &str) -> Name {
    Name::new(Space::Node, format!("demo-plain/{key}"), "")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aft_store_memory::MemoryStore;

    use super::Plain;
    use crate::demo::access::Access;
    use crate::http::Server;

    #[tokio::test]
    async fn a_get_returns_the_last_put_value() {
        let plain = Plain::start(Arc::new(MemoryStore::new())).await.unwrap();
        let mut access = Access::new(Server::parse(&plain.url(), None).unwrap(), None);
        assert_eq!(access.get("bank/a").await.unwrap(), None);
        access.put("bank/a", b"1".to_vec()).await.unwrap();
        access.put("bank/a", b"2".to_vec()).await.unwrap();
        assert_eq!(access.get("bank/a").await.unwrap().as_deref(), Some(&b"2"[..]));
    }
}
