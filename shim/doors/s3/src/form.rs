//! Forms of browsers, before the protocol's library parses them. What it does not do is done here:
//! to put the name of the file into the key, to carry out a signed form unchecked, to reject an
//! unsigned one before its file is read, and to wait only so long.
//!
//! The signature of a form is that of its policy alone, so the other fields may change.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aft_desk::Share;
use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;

use crate::failure::{Failure, Result};

/// The text in a key that stands for the name of the file.
const FILE_NAME: &str = "${filename}";
/// The fields with a signature, of both versions.
const SIGNATURES: [&str; 2] = ["x-amz-signature", "signature"];
/// The bytes of all fields in front of the file. S3 allows 20 KB.
const FIELDS_BYTES_MAX: usize = 64 << 10;
/// The end of the head of a part.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// The longest boundary, as RFC 2046 has it.
const BOUNDARY_BYTES_MAX: usize = 70;
/// The bytes of a form for which memory is taken at once.
const SHARE_BYTES: usize = 1 << 20;

/// The fields in front of the file, as headers: what S3 takes from headers elsewhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(pub(crate) HeaderMap);

/// The shares of memory that a form has, until its call ends.
#[derive(Clone, Default)]
struct Shares(Arc<Mutex<Vec<Share>>>);

/// Prepares a call, if it sends a form. With `unchecked`, its signature is taken off. `share` takes
/// memory: the protocol's library holds the file before anyone knows whose it is.
///
/// # Errors
/// Returns a failure if the fields in front of the file are too long, or do not arrive in time.
pub(crate) async fn prepare(
    request: Request<Body>,
    unchecked: bool,
    timeout: Duration,
    share: impl Fn(usize) -> Result<Option<Share>> + Clone + Send + 'static,
) -> Result<Request<Body>> {
    let Some(boundary) = boundary_of(&request)? else { return Ok(request) };
    let (mut head, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let mut front = BytesMut::new();
    let mut search = Search::default();
    let end = loop {
        if let Some(end) = search.file(&front, &boundary) {
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
        head.extensions.insert(Fields(headers_of(&front, &boundary)));
        let fields = rewritten(&front, &boundary, &file_name(&file), unchecked);
        front = BytesMut::from(&fields[..]);
        front.unsplit(file);
    }
    // The library reads to the end of the form, whatever its length.
    head.headers.remove(CONTENT_LENGTH);
    let shares = Shares::default();
    head.extensions.insert(shares.clone());
    let front = futures::stream::iter([Ok::<Bytes, axum::BoxError>(front.freeze())]);
    let rest = futures::stream::try_unfold((body, 0), move |(mut body, mut free)| {
        let (share, shares) = (share.clone(), shares.clone());
        async move {
            let piece: Bytes = match tokio::time::timeout(timeout, body.next()).await {
                Ok(Some(piece)) => piece?,
                Ok(None) => return Ok(None),
                Err(_) => return Err(axum::BoxError::from("the file of the form did not arrive in time")),
            };
            while free < piece.len() {
                let share = share(SHARE_BYTES).map_err(|failure| failure.message)?;
                shares.0.lock().expect("nothing panics while it holds the shares").extend(share);
                free += SHARE_BYTES;
            }
            free -= piece.len();
            Ok(Some((piece, (body, free))))
        }
    });
    Ok(Request::from_parts(head, Body::from_stream(front.chain(rest))))
}

/// The search for the file's part in a form that is arriving. It looks at no byte twice.
#[derive(Debug, Default)]
struct Search {
    /// The offset of the part that is looked at.
    part: usize,
    /// The end of that part's head, once it has arrived.
    head_end: Option<usize>,
    /// The offset up to which the form was searched.
    searched: usize,
}

impl Search {
    /// Returns the offset of the file's part; `None` if its head has not arrived.
    fn file(&mut self, front: &[u8], boundary: &[u8]) -> Option<usize> {
        loop {
            let head_end = match self.head_end {
                Some(end) => end,
                None => {
                    let from = self.part.max(self.searched.saturating_sub(HEAD_END.len() - 1));
                    let found = find(&front[from..], HEAD_END);
                    self.searched = found.map_or(front.len(), |at| from + at);
                    *self.head_end.insert(from + found?)
                }
            };
            if field_of(&front[self.part..head_end]).as_deref() == Some("file") {
                return Some(self.part);
            }
            let from = head_end.max(self.searched.saturating_sub(boundary.len() + 4));
            let next = next_part(&front[from..], boundary);
            self.searched = next.map_or(front.len(), |at| from + at);
            self.part = from + next?;
            self.head_end = None;
        }
    }
}

/// Returns the offset of the next boundary between two parts: a line of its own, so that a field
/// may contain its text.
fn next_part(bytes: &[u8], boundary: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + find(&bytes[from..], b"\r\n")? + 2;
        let after = bytes[at..].strip_prefix(boundary);
        if after.is_some_and(|after| after.starts_with(b"\r\n") || after.starts_with(b"--")) {
            return Some(at);
        }
        from = at;
    }
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
        let len = next_part(rest, boundary).unwrap_or(rest.len());
        let (part, after) = rest.split_at(len);
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

/// Returns the fields whose names and values can be headers.
fn headers_of(fields: &[u8], boundary: &[u8]) -> HeaderMap {
    let header = |part: &[u8]| {
        let head = head_of(part);
        let name = HeaderName::try_from(field_of(head)?).ok()?;
        let value = part.get(head.len() + HEAD_END.len()..)?.trim_ascii_end();
        Some((name, HeaderValue::from_bytes(value).ok()?))
    };
    parts(fields, boundary).filter_map(header).collect()
}

/// Returns the head of a part: all of it, if it has no end.
fn head_of(part: &[u8]) -> &[u8] {
    find(part, HEAD_END).map_or(part, |end| &part[..end])
}

/// Returns the line between two parts of a form; `None` if the call sends no form, or one without
/// a boundary, which the protocol's library rejects.
fn boundary_of(request: &Request<Body>) -> Result<Option<Vec<u8>>> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_form = kind.get(..19).is_some_and(|start| start.eq_ignore_ascii_case("multipart/form-data"));
    if request.method() != Method::POST || !is_form {
        return Ok(None);
    }
    let mut parameters = kind.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let named = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"));
    let Some((_, boundary)) = named else { return Ok(None) };
    let boundary = boundary.trim().trim_matches('"').as_bytes();
    if boundary.len() > BOUNDARY_BYTES_MAX {
        let why = format!("the boundary of the form has more than {BOUNDARY_BYTES_MAX} characters");
        return Err(Failure::invalid_argument(why));
    }
    Ok(Some([b"--", boundary].concat()))
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
        let request = prepare(request, unchecked, Duration::from_secs(5), |_| Ok(None)).await.unwrap();
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
        // A field may contain the text of a boundary.
        let within = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n\
                      x--b\r\nContent-Disposition: form-data; name=\"signature\"\r\n\r\n";
        assert!(!is_signed(within.as_bytes(), b"--b"));
        assert!(!is_signed(within.replace("x--b", "\r\n--bc").as_bytes(), b"--b"));
        assert!(is_signed(within.replace("x--b", "\r\n--b").as_bytes(), b"--b"));
    }

    #[tokio::test]
    async fn a_form_without_a_file_stays_as_it_is() {
        let text = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--b--\r\n";
        assert_eq!(prepared(vec![text], true).await, text);
        assert_eq!(prepared(vec!["garbage"], true).await, "garbage");
    }
}
