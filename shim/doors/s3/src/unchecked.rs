//! Calls whose signature is not checked: at an open server, or with a bearer token.
//!
//! The protocol's library rejects a signature that it cannot check, and decodes the framing of a
//! body only if it checks the signature. So here the signature is taken off, and the body decoded.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use aft_aws_chunked::{Decoder, Framing};
use axum::body::{Body, HttpBody};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, DATE};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Request, Uri};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;

use crate::failure::{Failure, Result};

/// The header that names the framing of a body, or its SHA-256.
const CONTENT_SHA256: &str = "x-amz-content-sha256";
/// The value of that header for a body without a digest.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// The header with the length of the content of a framed body.
pub(crate) const DECODED_LENGTH: &str = "x-amz-decoded-content-length";

/// The parameters of presigned URLs, of both versions of signatures.
const SIGNING: [&str; 10] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "AWSAccessKeyId",
    "Signature",
    "Expires",
];

/// The fields that follow a body, as an extension of its request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(Arc<Mutex<Vec<(String, String)>>>);

impl Fields {
    /// Returns the fields. They are there once the body has ended.
    pub(crate) fn take(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.0.lock().expect("nothing panics while it holds the fields"))
    }

    fn set(&self, fields: Vec<(String, String)>) {
        *self.0.lock().expect("nothing panics while it holds the fields") = fields;
    }
}

/// Takes the signature off a request, and decodes its body.
///
/// # Errors
/// Returns a failure if the body has a framing that is not known.
pub(crate) fn take_off(request: Request<Body>) -> Result<Request<Body>> {
    let (mut head, body) = request.into_parts();
    head.uri = without_signature(&head.uri);
    head.headers.remove(AUTHORIZATION);
    head.headers.remove(DATE);
    let named = head.headers.get(CONTENT_SHA256).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(framing) = Framing::of_header(named)? else {
        let is_digest = named.len() == 64 && named.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !named.is_empty() && !is_digest && named != UNSIGNED {
            let why = format!(
                "the header {CONTENT_SHA256} must have a SHA-256 in hexadecimal, {UNSIGNED}, or a framing"
            );
            return Err(Failure::invalid_argument(why));
        }
        return Ok(Request::from_parts(head, body));
    };
    head.headers.remove(CONTENT_SHA256);
    // From here on the length is that of the content.
    let announced = match head.headers.remove(DECODED_LENGTH) {
        Some(text) => {
            let length: Option<u64> = text.to_str().ok().and_then(|text| text.parse().ok());
            let invalid = || Failure::invalid_argument(format!("the header {DECODED_LENGTH} is no length"));
            Some(length.ok_or_else(invalid)?)
        }
        None => None,
    };
    match announced {
        Some(length) => head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
        None => head.headers.remove(CONTENT_LENGTH),
    };
    let fields = Fields::default();
    head.extensions.insert(fields.clone());
    let decoding = Decoding {
        body: body.boxed_unsync(),
        decoder: Some(Decoder::new(framing, announced)),
        piece: Bytes::new(),
        fields,
    };
    Ok(Request::from_parts(head, Body::from_stream(decoding)))
}

/// Takes the signature off a request that was checked, with its body decoded.
pub(crate) fn checked(request: Request<Body>) -> Request<Body> {
    let (mut head, body) = request.into_parts();
    head.uri = without_signature(&head.uri);
    for name in [AUTHORIZATION, DATE] {
        head.headers.remove(name);
    }
    // The body was compared with it.
    for name in [CONTENT_SHA256, DECODED_LENGTH] {
        head.headers.remove(name);
    }
    Request::from_parts(head, body)
}

/// Returns a URI without the parameters of a signature.
fn without_signature(uri: &Uri) -> Uri {
    without(uri, |pair| {
        let name = pair.split('=').next().unwrap_or_default();
        SIGNING.iter().any(|signing| signing.eq_ignore_ascii_case(name))
    })
}

/// Returns a URI without the parameters that `is_left_out` holds for.
pub(crate) fn without(uri: &Uri, is_left_out: impl Fn(&str) -> bool) -> Uri {
    let Some(query) = uri.query() else { return uri.clone() };
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_left_out(pair)).collect();
    let text = match kept.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{}", uri.path(), kept.join("&")),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).expect("a part of a query is a query"));
    Uri::from_parts(parts).expect("a URI with another query is a URI")
}

/// A body that is being decoded.
struct Decoding {
    body: UnsyncBoxBody<Bytes, axum::Error>,
    /// `None` once the body has ended.
    decoder: Option<Decoder>,
    /// The bytes that have arrived, and are not decoded yet.
    piece: Bytes,
    fields: Fields,
}

impl Decoding {
    fn fail(
        &mut self,
        why: impl Into<axum::BoxError>,
    ) -> Poll<Option<std::result::Result<Bytes, axum::BoxError>>> {
        self.decoder = None;
        Poll::Ready(Some(Err(why.into())))
    }
}

impl futures::Stream for Decoding {
    type Item = std::result::Result<Bytes, axum::BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(decoder) = &mut this.decoder else { return Poll::Ready(None) };
            match decoder.decode(&mut this.piece) {
                Ok(Some(content)) => return Poll::Ready(Some(Ok(content))),
                Ok(None) => {}
                Err(why) => return this.fail(why),
            }
            match std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        this.piece = bytes;
                    }
                }
                Some(Err(why)) => return this.fail(why),
                None => {
                    let decoder = this.decoder.take().expect("it was there above");
                    match decoder.finish() {
                        Ok(fields) => this.fields.set(fields),
                        Err(why) => return this.fail(why),
                    }
                    return Poll::Ready(None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_signature_leaves_a_query() {
        for (before, after) in [
            (
                "/b/k?X-Amz-Signature=a&response-content-type=b%26c&x-amz-date=d",
                "/b/k?response-content-type=b%26c",
            ),
            ("/b/k?AWSAccessKeyId=a&Signature=b&Expires=1", "/b/k"),
            ("/b?list-type=2&prefix=Signature", "/b?list-type=2&prefix=Signature"),
            ("http://h:1/b?delete&Expires=1", "http://h:1/b?delete"),
            ("/b", "/b"),
        ] {
            assert_eq!(without_signature(&before.parse().unwrap()).to_string(), after);
        }
    }
}
