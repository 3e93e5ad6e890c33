//! Forms of browsers, before the protocol's library parses them. What it does not do is done here:
//! to put the name of the file into the key, to carry out a signed form unchecked, to reject an
//! unsigned one before its file is read, and to wait only so long.
//!
//! The signature of a form is that of its policy alone, so the other fields may change.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{Method, Request};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;

use crate::failure::{Failure, Result};

/// The text in a key that stands for the name of the file.
const FILE_NAME: &str = "${filename}";
/// The fields with a signature, of both versions.
const SIGNATURES: [&str; 2] = ["x-amz-signature", "signature"];
/// The bytes of all fields in front of the file. S3 allows 20 KB.
const FIELDS_BYTES_MAX: usize = 64 << 10;

/// Prepares a call, if it sends a form. With `unchecked`, its signature is taken off.
///
/// # Errors
/// Returns a failure if the fields in front of the file are too long, or do not arrive in time.
pub(crate) async fn prepare(
    request: Request<Body>,
    unchecked: bool,
    timeout: Duration,
) -> Result<Request<Body>> {
    let Some(boundary) = boundary_of(&request) else { return Ok(request) };
    let (mut head, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let mut front = BytesMut::new();
    let end = loop {
        if let Some(end) = end_of_fields(&front, &boundary) {
            break Some(end);
        }
        if front.len() > FIELDS_BYTES_MAX {
            let why = format!("the fields in front of the file have more than {FIELDS_BYTES_MAX} bytes");
            return Err(Failure::new("MaxPostPreDataLengthExceeded", 400, why));
        }
        match tokio::time::timeout(timeout, body.next()).await {
            Ok(Some(Ok(bytes))) => front.extend_from_slice(&bytes),
            Ok(Some(Err(why))) => {
                return Err(Failure::new("IncompleteBody", 400, format!("the form ended early: {why}")));
            }
            // A form without a file is for the protocol's library to reject.
            Ok(None) => break None,
            Err(_) => {
                return Err(Failure::new("RequestTimeout", 400, "the form did not arrive in time"));
            }
        }
    };
    if let Some(end) = end {
        if !unchecked && !is_signed(&front[..end], &boundary) {
            return Err(Failure::new("AccessDenied", 403, "the form has no signature"));
        }
        let file = front.split_off(end);
        let fields = rewritten(&front, &boundary, &file_name(&file), unchecked);
        front = BytesMut::from(&fields[..]);
        front.unsplit(file);
    }
    // The library reads to the end of the form, whatever its length.
    head.headers.remove(CONTENT_LENGTH);
    let front = futures::stream::iter([Ok::<Bytes, axum::BoxError>(front.freeze())]);
    let rest = futures::stream::try_unfold(body, move |mut body| async move {
        match tokio::time::timeout(timeout, body.next()).await {
            Ok(Some(piece)) => Ok(Some((piece?, body))),
            Ok(None) => Ok(None),
            Err(_) => Err(axum::BoxError::from("the file of the form did not arrive in time")),
        }
    });
    Ok(Request::from_parts(head, Body::from_stream(front.chain(rest))))
}

/// Returns true if fields contain a signature.
fn is_signed(fields: &[u8], boundary: &[u8]) -> bool {
    parts(fields, boundary).any(|part| field_of(head_of(part)).is_some_and(|name| is_signature(&name)))
}

fn is_signature(name: &str) -> bool {
    SIGNATURES.contains(&name)
}

/// Returns the parts of a form, each from its boundary on.
fn parts<'a>(fields: &'a [u8], boundary: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = fields;
    std::iter::from_fn(move || {
        let skip = boundary.len().min(rest.len());
        let len = find(&rest[skip..], boundary).map_or(rest.len(), |at| skip + at);
        let (part, after) = rest.split_at(len);
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

/// Returns the head of a part: all of it, if it has no end.
fn head_of(part: &[u8]) -> &[u8] {
    find(part, b"\r\n\r\n").map_or(part, |end| &part[..end])
}

/// Returns the line between two parts of a form; `None` if the call sends no form, or one without
/// a boundary, which the protocol's library rejects.
fn boundary_of(request: &Request<Body>) -> Option<Vec<u8>> {
    let kind = request.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let is_form = kind.get(..19).is_some_and(|start| start.eq_ignore_ascii_case("multipart/form-data"));
    if request.method() != Method::POST || !is_form {
        return None;
    }
    let mut parameters = kind.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, boundary) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))?;
    Some([b"--", boundary.trim().trim_matches('"').as_bytes()].concat())
}

/// Returns the offset of the file's part; `None` if its head has not arrived.
fn end_of_fields(front: &[u8], boundary: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let part = &front[at..];
        let head = &part[..find(part, b"\r\n\r\n")?];
        if field_of(head).as_deref() == Some("file") {
            return Some(at);
        }
        // The next part begins with its boundary.
        at += boundary.len().min(part.len());
        at += find(&front[at..], boundary)?;
    }
}

/// Returns fields with the file's name in their key, and without a signature if it is `unchecked`.
fn rewritten(fields: &[u8], boundary: &[u8], file_name: &str, unchecked: bool) -> Vec<u8> {
    let mut made = Vec::new();
    for part in parts(fields, boundary) {
        match field_of(head_of(part)).as_deref() {
            Some(name) if unchecked && is_signature(name) => {}
            Some("key") => {
                let text = String::from_utf8_lossy(part).replace(FILE_NAME, file_name);
                made.extend_from_slice(text.as_bytes());
            }
            _ => made.extend_from_slice(part),
        }
    }
    made
}

/// Returns the name of the field whose part has this head, in small letters.
fn field_of(head: &[u8]) -> Option<String> {
    parameter_of(head, "name").map(|name| name.to_ascii_lowercase())
}

/// Returns the name of the file whose part comes first, without the folders that some browsers
/// send.
fn file_name(file: &[u8]) -> String {
    let name = parameter_of(head_of(file), "filename").unwrap_or_default();
    name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned()
}

/// Returns a parameter of the header Content-Disposition in the head of a part.
fn parameter_of(head: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    let is_disposition =
        |line: &&str| line.get(..20).is_some_and(|start| start.eq_ignore_ascii_case("content-disposition:"));
    let line = text.split("\r\n").find(is_disposition)?;
    let mut parameters = line.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(found, _)| found.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim().trim_matches('"').to_owned())
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nup/${filename}\r\n\
                        --b\r\ncontent-disposition: form-data; name=\"X-Amz-Signature\"\r\n\r\nabc\r\n\
                        --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\\\d\\\\a b.txt\"\r\n\r\n";
    const REST: &str = "${filename}\r\n--b--\r\n";

    async fn prepared(pieces: Vec<&'static str>, unchecked: bool) -> String {
        let pieces = pieces.into_iter().map(|piece| Ok::<_, axum::Error>(Bytes::from(piece)));
        let request = Request::builder()
            .method(Method::POST)
            .header(CONTENT_TYPE, "multipart/form-data; boundary=b")
            .body(Body::from_stream(futures::stream::iter(pieces)))
            .unwrap();
        let request = prepare(request, unchecked, Duration::from_secs(5)).await.unwrap();
        String::from_utf8(request.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_key_gets_the_name_of_the_file() {
        let unsigned = FORM.replace("up/${filename}", "up/a b.txt") + REST;
        assert_eq!(prepared(vec![FORM, REST], false).await, unsigned);
        // Wherever the network cuts it.
        for at in 0..FORM.len() {
            let (front, end) = FORM.split_at(at);
            assert_eq!(prepared(vec![front, end, REST], false).await, unsigned, "cut at {at}");
        }
    }

    #[tokio::test]
    async fn a_signature_that_is_not_checked_is_taken_off() {
        let text = prepared(vec![FORM, REST], true).await;
        assert!(!text.to_ascii_lowercase().contains("x-amz-signature"), "{text}");
        assert!(text.contains("up/a b.txt") && text.ends_with(REST), "{text}");
    }

    #[test]
    fn an_unsigned_form_is_known_by_its_fields() {
        assert!(is_signed(FORM.as_bytes(), b"--b"));
        assert!(!is_signed(FORM.replace("Signature", "Date").as_bytes(), b"--b"));
    }

    #[tokio::test]
    async fn a_form_without_a_file_stays_as_it_is() {
        let text = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--b--\r\n";
        assert_eq!(prepared(vec![text], true).await, text);
        assert_eq!(prepared(vec!["garbage"], true).await, "garbage");
    }
}
