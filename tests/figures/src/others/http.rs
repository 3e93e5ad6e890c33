//! A minimal HTTP/1.1 client: one kept connection, one call at a time, `TCP_NODELAY`. Every client
//! of a load has a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// The time that an answer may take: longer than any latency that a figure shows.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

/// An answer of any status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Connection {
    /// Connects to `HOST:PORT`.
    ///
    /// # Errors
    /// Returns an error if nothing listens there.
    pub(crate) async fn open(host: &str) -> Result<Connection, String> {
        let stream = TcpStream::connect(host).await.map_err(|why| format!("cannot reach {host}: {why}"))?;
        stream.set_nodelay(true).map_err(|why| why.to_string())?;
        Connection::over(stream, host).await
    }

    /// Connects to a Unix domain socket.
    ///
    /// # Errors
    /// Returns an error if nothing listens there.
    pub(crate) async fn open_unix(path: &std::path::Path) -> Result<Connection, String> {
        let cannot = |why| format!("cannot reach {}: {why}", path.display());
        Connection::over(UnixStream::connect(path).await.map_err(cannot)?, "localhost").await
    }

    async fn over<S>(stream: S, host: &str) -> Result<Connection, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|why| why.to_string())?;
        // If the connection ends, the calls report it.
        tokio::spawn(connection);
        Ok(Connection { sender, host: host.to_owned() })
    }

    /// Sends a call with a body of JSON (none if `json` is empty), and waits for the whole answer.
    ///
    /// # Errors
    /// Returns an error if the connection broke, or if no answer came in time.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        json: String,
    ) -> Result<Answer, String> {
        let json_header = [(CONTENT_TYPE.as_str(), "application/json")];
        let headers = if json.is_empty() { headers.to_vec() } else { [&json_header, headers].concat() };
        self.send_bytes(method, path, &headers, Bytes::from(json)).await
    }

    /// Sends a call with a body of any type, and waits for the whole answer.
    ///
    /// # Errors
    /// Returns an error if the connection broke, or if no answer came in time.
    pub(crate) async fn send_bytes(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|why| why.to_string())?;
        let answer = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Answer { status: head.status, headers: head.headers, body })
        };
        match tokio::time::timeout(ANSWER_TIME_MAX, answer).await {
            Ok(answer) => answer.map_err(|why| format!("connection broke: {why}")),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}
