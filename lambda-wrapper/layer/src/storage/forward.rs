//! The way to the S3 endpoint of a shim: the layer's credential takes the place of the function's
//! signature, which the shim could not verify. The shim decodes the framing of a body whose
//! signature was taken off, so this does not.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, EXPECT, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Response, Uri};

use crate::http::{Body, BoxError, Connections, arriving, strip_hop_by_hop};

/// The S3 endpoint of a shim.
#[derive(Debug)]
pub struct Forward {
    authority: Authority,
    authorization: Option<HeaderValue>,
    connections: Connections,
}

impl Forward {
    /// Makes the connections to the endpoint at `url`, without opening one.
    ///
    /// # Errors
    /// Returns an error if the URL or the token cannot be used.
    pub fn new(url: &str, token: Option<&str>) -> Result<Forward, String> {
        let wrong = |why: &str| format!("AFT_S3_URL is {url:?}: {why}");
        let uri: Uri = url.parse().map_err(|_| wrong("that is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("it must begin with http://"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(wrong("nothing may follow the host and the port"));
        }
        let authority = uri.authority().cloned().ok_or_else(|| wrong("it names no host"))?;
        let authorization = match token {
            None => None,
            Some(token) => {
                let value = HeaderValue::from_str(&format!("Bearer {token}"));
                let mut value = value.map_err(|_| "AFT_TOKEN cannot be sent in a header".to_owned())?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Forward { authority, authorization, connections: Connections::default() })
    }

    /// Drops all idle connections.
    pub fn renew(&self) {
        self.connections.renew();
    }

    /// Sends a call on, and returns its answer. Both bodies are passed on as they arrive.
    ///
    /// # Errors
    /// Returns the reason why there is no answer.
    pub async fn send(&self, request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
        let (mut head, body) = request.into_parts();
        strip_hop_by_hop(&mut head.headers);
        // This process asks for the body itself.
        head.headers.remove(EXPECT);
        head.headers.remove(AUTHORIZATION);
        if let Some(value) = &self.authorization {
            head.headers.insert(AUTHORIZATION, value.clone());
        }
        head.headers.insert(HOST, HeaderValue::from_str(self.authority.as_str())?);
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = format!("http://{}{path}", self.authority).parse()?;
        head.version = hyper::Version::HTTP_11;
        let answer = self.connections.get().request(Request::from_parts(head, arriving(body))).await?;
        let (mut head, body) = answer.into_parts();
        strip_hop_by_hop(&mut head.headers);
        Ok(Response::from_parts(head, body.map_err(BoxError::from).boxed_unsync()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        for (url, part) in [
            ("https://h:1", "http://"),
            ("h:1", "http://"),
            ("http://h:1/b", "nothing may follow"),
            ("http://h:1?a", "nothing may follow"),
            ("", "no URL"),
        ] {
            let why = Forward::new(url, None).unwrap_err();
            assert!(why.contains(part) && why.contains("AFT_S3_URL"), "{url}: {why}");
        }
        assert!(Forward::new("http://h:1", Some("a\nb")).unwrap_err().contains("AFT_TOKEN"));
        let forward = Forward::new("http://127.0.0.1:7401", Some("hunter2")).unwrap();
        assert!(!format!("{forward:?}").contains("hunter2"));
    }
}
