//! A small HTTP/1.1 client: one persistent connection, one call at a time, `TCP_NODELAY`.
//!
//! The load generator shares the machine with the server that it measures, so this client does
//! little: no pool, no redirects, no retries. Callers decide about retries, and count them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::error::{Error, Result};

/// The timeout of one call. It is longer than the server's own timeout for a store that does not
/// answer, so that the server's answer is counted, not this timeout.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);

/// A server's address, parsed once.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// `http://HOST:PORT` or `https://HOST:PORT`, as given.
    pub(crate) url: String,
    authority: String,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    /// TLS, and the name that the server's certificate must have, if the scheme is https.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Server {
    /// Parses `http://HOST:PORT`.
    ///
    /// # Errors
    /// Returns the errors of [`Server::parse_with`].
    pub(crate) fn parse(url: &str, token: Option<&str>) -> Result<Server> {
        Server::parse_with(url, token, None)
    }

    /// Parses `http://HOST:PORT`, or with `tls` also `https://HOST:PORT`.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the URL has another form, or if the token cannot be sent in a
    /// header. The message says what to correct.
    pub(crate) fn parse_with(
        url: &str,
        token: Option<&str>,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Server> {
        if url.contains('@') {
            // The message does not repeat the URL: the part before the @ is a secret.
            let problem =
                "servers accept bearer tokens, not a user and password in the URL: use --token-file"
                    .to_owned();
            return Err(Error::Server { url: "http://…".to_owned(), problem });
        }
        let wrong = |problem: &str| Error::Server { url: url.to_owned(), problem: problem.to_owned() };
        let (rest, tls) = match (url.strip_prefix("http://"), url.strip_prefix("https://"), tls) {
            (Some(rest), ..) => (rest, None),
            (None, Some(rest), Some(tls)) => (rest, Some(tls.clone())),
            (None, Some(_), None) => return Err(wrong("this call supports only http://")),
            (None, None, _) => return Err(wrong("the URL must begin with http:// or https://")),
        };
        let authority = rest.trim_end_matches('/');
        if authority.is_empty() || authority.contains('/') || !authority.contains(':') {
            return Err(wrong("the URL must be http://HOST:PORT or https://HOST:PORT, without a path"));
        }
        let tls = match tls {
            None => None,
            Some(config) => {
                let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                    .map_err(|_| wrong("the host is not a name that a certificate can have"))?;
                Some((config, name))
            }
        };
        let host = HeaderValue::from_str(authority)
            .map_err(|_| wrong("the host has characters that a header cannot hold"))?;
        let authorization = match token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| wrong("the token has characters that a header cannot hold"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Server { url: url.to_owned(), authority: authority.to_owned(), host, authorization, tls })
    }
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// A call without an answer. The operation may have happened or not, unless nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// No connection could be opened, so nothing was sent.
    #[error("cannot connect: {0}; check that the server is running at this address")]
    NotSent(String),
    /// The connection broke, or the call timed out, after the request had been sent.
    #[error("no answer: {0}")]
    Broken(String),
}

/// A connection, which is opened when it is first needed.
#[derive(Debug)]
pub(crate) struct Connection {
    server: Server,
    sender: Option<http1::SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// Returns a connection that is not open yet.
    pub(crate) fn new(server: Server) -> Connection {
        Connection { server, sender: None }
    }

    /// Sends a call and waits for the whole answer. A connection that fails is closed; the next
    /// call opens a new one.
    ///
    /// # Errors
    /// Returns [`NoAnswer`] if no complete response came. A response with any status is an
    /// [`Answer`].
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> std::result::Result<Answer, NoAnswer> {
        let request = self.request(method, path, content_type, body);
        let answered = timeout(CALL_TIMEOUT, async {
            let sender = self.sender().await?;
            let response = sender.send_request(request).await.map_err(broken)?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(broken)?.to_bytes();
            Ok(Answer { status: head.status, body })
        });
        let answer = answered.await.unwrap_or_else(|_| Err(broken("the call timed out")));
        if answer.is_err() {
            self.sender = None;
        }
        answer
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("paths are made of tokens, numbers and plain names");
        let headers = request.headers_mut();
        headers.insert(HOST, self.server.host.clone());
        if let Some(authorization) = &self.server.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        request
    }

    /// Returns the open connection, opening one if necessary.
    async fn sender(&mut self) -> std::result::Result<&mut http1::SendRequest<Full<Bytes>>, NoAnswer> {
        let open = match self.sender.take() {
            // The server may have closed an idle connection; then open a new one before sending.
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let sender = match open {
            Some(sender) => sender,
            None => self.open().await.map_err(|why| NoAnswer::NotSent(why.to_string()))?,
        };
        Ok(self.sender.insert(sender))
    }

    async fn open(&self) -> std::io::Result<http1::SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&self.server.authority).await?;
        stream.set_nodelay(true)?;
        match self.server.tls.clone() {
            None => begin(stream).await,
            Some((config, name)) => begin(TlsConnector::from(config).connect(name, stream).await?).await,
        }
    }
}

/// Begins to speak HTTP on a stream.
async fn begin(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> std::io::Result<http1::SendRequest<Full<Bytes>>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    // The task ends when the sender is dropped or the server closes; a failure is reported by
    // the call in flight.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

fn broken(why: impl ToString) -> NoAnswer {
    NoAnswer::Broken(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[test]
    fn urls() {
        let check = |url: &str, fine: bool| assert_eq!(Server::parse(url, None).is_ok(), fine, "{url}");
        for url in ["http://:hunter2@h:1", "http://:hunter2@h:1/x", "http://hunter2@h", "https://hunter2@h:1"]
        {
            let why = Server::parse(url, None).unwrap_err().to_string();
            assert!(why.contains("--token-file") && !why.contains("hunter2"), "{why}");
        }
        check("http://127.0.0.1:7400", true);
        check("http://localhost:7400/", true);
        check("http://127.0.0.1", false);
        check("http://127.0.0.1:7400/v1", false);
        check("https://127.0.0.1:7400", false);
        check("local:DIR", false);
        assert!(Server::parse("http://h:1", Some("a\nb")).is_err());
    }
}
