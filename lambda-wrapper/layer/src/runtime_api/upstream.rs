//! Calls to Lambda's own Runtime API, and to its Extensions API.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, Uri};

use crate::http::{Body, BoxError, Connections, full, strip_hop_by_hop};

/// Lambda's API, at the address that the environment names.
#[derive(Debug)]
pub struct Upstream {
    authority: String,
    host: HeaderValue,
    connections: Connections,
}

impl Upstream {
    /// Makes the connections to `HOST:PORT`, without opening one.
    ///
    /// # Errors
    /// Returns an error if that is no address.
    pub fn new(authority: &str) -> Result<Upstream, String> {
        let wrong = || format!("AWS_LAMBDA_RUNTIME_API is {authority:?}, which is not HOST:PORT");
        let parsed: hyper::http::uri::Authority = authority.parse().map_err(|_| wrong())?;
        let host = HeaderValue::from_str(parsed.as_str()).map_err(|_| wrong())?;
        Ok(Upstream { authority: parsed.to_string(), host, connections: Connections::default() })
    }

    /// Drops all idle connections: those of before a freeze may be dead without knowing it.
    pub fn renew(&self) {
        self.connections.renew();
    }

    /// Sends a call, and returns the head of the answer. There is no timeout: an event may come
    /// hours later.
    ///
    /// # Errors
    /// Returns the reason why there is no answer.
    pub async fn send(
        &self,
        method: Method,
        path_and_query: &str,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Incoming>, BoxError> {
        strip_hop_by_hop(&mut headers);
        headers.insert(HOST, self.host.clone());
        let uri: Uri = format!("http://{}{path_and_query}", self.authority).parse()?;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(self.connections.get().request(request).await?)
    }

    /// Sends a call without a body.
    ///
    /// # Errors
    /// Returns the reason why there is no answer.
    pub async fn get(&self, path: &str, headers: HeaderMap) -> Result<Response<Incoming>, BoxError> {
        self.send(Method::GET, path, headers, full(Bytes::new())).await
    }
}
