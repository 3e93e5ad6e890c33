//! The last changes to an answer: what S3 writes and the protocol's library does not.

use axum::body::{Body, HttpBody as _};
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt as _;

/// The end of an error document, before which the ID of the call is written.
const END_OF_ERROR: &str = "</Error>";

/// The namespace of the protocol's documents.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
/// The starts of documents that the library writes without it.
const ROOTS_WITHOUT_NAMESPACE: [&str; 2] = ["<CopyObjectResult>", "<CopyPartResult>"];
/// The start of the answer to GetObjectAttributes.
const DESCRIPTION: &str = "<GetObjectAttributesResponse";

/// Finishes an answer. `id` is that of the call.
pub(crate) async fn finish(mut response: Response, is_head: bool, id: &str) -> Response {
    if is_head && response.headers().contains_key(CONTENT_RANGE) && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    if response.status() == StatusCode::NOT_MODIFIED {
        *response.body_mut() = Body::empty();
        for name in [CONTENT_LENGTH, CONTENT_TYPE] {
            response.headers_mut().remove(name);
        }
        return response;
    }
    let headers = response.headers();
    let is_document = headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/xml")
        && !headers.contains_key(ACCEPT_RANGES)
        && response.body().size_hint().exact().is_some();
    if is_head || !is_document {
        return response;
    }
    let (mut head, body) = response.into_parts();
    // The document is in memory already, so this is the body as it is.
    let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let bytes = match std::str::from_utf8(&bytes) {
        Ok(text) => document(text, head.status, id).map_or(bytes.clone(), Into::into),
        Err(_) => bytes,
    };
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    Response::from_parts(head, Body::from(bytes))
}

/// Returns a document with what is missing; `None` if nothing is.
fn document(text: &str, status: StatusCode, id: &str) -> Option<String> {
    let is_error = status.as_u16() >= 300 && text.ends_with(END_OF_ERROR);
    // A parser reads a bare carriage return as a line feed, so that a key would be another one.
    let has_return = text.contains('\r');
    let root = text.split_once("?>").map_or(text, |(_, root)| root).trim_start();
    let bare = ROOTS_WITHOUT_NAMESPACE.into_iter().find(|start| root.starts_with(start));
    let is_description = root.starts_with(DESCRIPTION);
    if !is_error && !has_return && bare.is_none() && !is_description {
        return None;
    }
    let mut text = text.replace('\r', "&#13;");
    if let Some(start) = bare {
        let named = start.replace('>', &format!(" xmlns=\"{NAMESPACE}\">"));
        text = text.replacen(start, &named, 1);
    }
    if is_description {
        // This document alone has the entity tag without quotes.
        text = text.replace("<ETag>\"", "<ETag>").replace("\"</ETag>", "</ETag>");
    }
    if is_error {
        // A message may repeat what the caller sent, and XML has no way to write most control
        // characters.
        text = text.replace(is_unwritable, "\u{fffd}");
        text.truncate(text.len() - END_OF_ERROR.len());
        if !text.contains("<Message>") {
            text.push_str("<Message>the call is not valid for this operation: see its code</Message>");
        }
        text.push_str(&format!("<RequestId>{id}</RequestId>{END_OF_ERROR}"));
    }
    Some(text)
}

/// Returns true for a character that XML 1.0 cannot contain.
fn is_unwritable(c: char) -> bool {
    (c < ' ' && !['\t', '\n', '\r'].contains(&c)) || ['\u{fffe}', '\u{ffff}'].contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_get_what_is_missing() {
        let ok = StatusCode::OK;
        assert_eq!(document("<Key>a</Key>", ok, "7"), None);
        assert_eq!(document("<Key>a\rb</Key>", ok, "7").as_deref(), Some("<Key>a&#13;b</Key>"));
        let copied = document("<CopyObjectResult><ETag>", ok, "7").unwrap();
        assert!(copied.starts_with("<CopyObjectResult xmlns=\"http://s3.amazonaws.com/"), "{copied}");
        let tag = "<GetObjectAttributesResponse xmlns=\"n\"><ETag>\"a\"</ETag>";
        assert!(document(tag, ok, "7").unwrap().ends_with("<ETag>a</ETag>"));
        let error = document("<Error><Code>C</Code></Error>", StatusCode::BAD_REQUEST, "7").unwrap();
        assert!(error.ends_with("</Message><RequestId>7</RequestId></Error>"), "{error}");
        let error = document("<Error><Message>m</Message></Error>", StatusCode::BAD_REQUEST, "7").unwrap();
        assert_eq!(error, "<Error><Message>m</Message><RequestId>7</RequestId></Error>");
        let error =
            document("<Error><Message>\u{1}\t</Message></Error>", StatusCode::BAD_REQUEST, "7").unwrap();
        assert!(error.contains("<Message>\u{fffd}\t</Message>"), "{error}");
    }
}
