//! A plain key-value server over a store, for the run without the shim: `GET` and `PUT /plain/KEY`, and nothing else.
//!
//! An embedded store can be opened by one process only, and functions are processes; so something must stand between. It adds nothing and
//! holds nothing back: every `PUT` is one put, every `GET` one get.

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

/// A running server; ends when dropped.
#[derive(Debug)]
pub(crate) struct Plain {
    address: SocketAddr,
    /// The one task that accepts; it owns the connections' tasks, so that dropping this ends all.
    _accepting: JoinSet<()>,
}

impl Plain {
    /// Serves a store on a free port of the loopback interface.
    pub(crate) async fn start(store: Arc<dyn Store>) -> Result<Plain> {
        let listening = Error::io("listening for the plain server");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(listening)?;
        let address = listener.local_addr().map_err(Error::io("reading the plain server's address"))?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, store));
        Ok(Plain { address, _accepting: accepting })
    }

    /// `http://HOST:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn accept(listener: TcpListener, store: Arc<dyn Store>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // A client that dies takes its connection along.
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

/// The longest key; the demo's have a few dozen bytes.
const KEY_BYTES_MAX: usize = 512;

/// Among the commit records, where nothing enumerates names and no record's (a hash) can meet it; so a value takes the path that the
/// shim's records take, and is as durable.
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
    async fn gives_back_what_was_put() {
        let plain = Plain::start(Arc::new(MemoryStore::new())).await.unwrap();
        let mut access = Access::new(Server::parse(&plain.url(), None).unwrap(), None);
        assert_eq!(access.get("bank/a").await.unwrap(), None);
        access.put("bank/a", b"1".to_vec()).await.unwrap();
        access.put("bank/a", b"2".to_vec()).await.unwrap();
        assert_eq!(access.get("bank/a").await.unwrap().as_deref(), Some(&b"2"[..]));
    }
}
