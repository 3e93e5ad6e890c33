//! The answer of a handler, as it is kept for later deliveries of its request.
//!
//! The kept bytes begin with a line for people and for the layer: `aft-response 1`, the mode and
//! the content type.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

/// The header with the mode of a response.
pub const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");
const STREAMING: &str = "streaming";
const BUFFERED: &str = "buffered";
const MAGIC: &str = "aft-response 1";
/// The content type of a response that names none.
const DEFAULT_TYPE: &str = "application/json";

/// The answer of a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// True if it was sent as a stream.
    pub streaming: bool,
    /// The content type.
    pub content_type: HeaderValue,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// Returns a buffered answer in JSON.
    pub fn json(body: impl Into<Bytes>) -> Reply {
        Reply { streaming: false, content_type: HeaderValue::from_static(DEFAULT_TYPE), body: body.into() }
    }

    /// Puts together what the runtime has sent.
    pub fn of(headers: &HeaderMap, body: Bytes) -> Reply {
        let mode = headers.get(RESPONSE_MODE);
        let default = || HeaderValue::from_static(DEFAULT_TYPE);
        Reply {
            streaming: mode.is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(STREAMING.as_bytes())),
            content_type: headers.get(CONTENT_TYPE).cloned().unwrap_or_else(default),
            body,
        }
    }

    /// Returns the headers with which the answer is posted.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, self.content_type.clone());
        if self.streaming {
            headers.insert(RESPONSE_MODE, HeaderValue::from_static(STREAMING));
        }
        headers
    }

    /// Returns the bytes that are kept.
    pub fn encode(&self) -> Bytes {
        let mode = if self.streaming { STREAMING } else { BUFFERED };
        let mut bytes = format!("{MAGIC} {mode} ").into_bytes();
        bytes.extend_from_slice(self.content_type.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }

    /// Reads kept bytes; `None` if a program other than the layer has kept them.
    pub fn decode(bytes: &Bytes) -> Option<Reply> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let rest = bytes[..end].strip_prefix(MAGIC.as_bytes())?.strip_prefix(b" ")?;
        let space = rest.iter().position(|byte| *byte == b' ')?;
        let streaming = match &rest[..space] {
            mode if mode == STREAMING.as_bytes() => true,
            mode if mode == BUFFERED.as_bytes() => false,
            _ => return None,
        };
        let content_type = HeaderValue::from_bytes(&rest[space + 1..]).ok()?;
        Some(Reply { streaming, content_type, body: bytes.slice(end + 1..) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_kept_as_it_was() {
        for (streaming, content_type, body) in [
            (false, "application/json", &b"{\"a\": 1}"[..]),
            (true, "application/vnd.awslambda.http-integration-response", b"{}\0\0\0\0\0\0\0\0\nhello\n"),
            (false, "text/plain; charset=utf-8", b""),
            (false, "", b"\n"),
        ] {
            let content_type = HeaderValue::from_static(content_type);
            let reply = Reply { streaming, content_type, body: Bytes::from_static(body) };
            assert_eq!(Reply::decode(&reply.encode()), Some(reply));
        }
    }

    #[test]
    fn bytes_of_other_programs_are_no_reply() {
        for bytes in [
            "",
            "\n",
            "{\"a\": 1}\n",
            "aft-response 1",
            "aft-response 1 odd a/b\n",
            "aft-response 2 buffered a\n",
        ] {
            assert_eq!(Reply::decode(&Bytes::from_static(bytes.as_bytes())), None, "{bytes:?}");
        }
    }
}
