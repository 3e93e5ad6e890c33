//! Values as raw bodies of calls and replies. Small ones are held whole. Large ones pass part by
//! part, so that memory is bounded for any size.
//!
//! ```text
//!         a value that fits in a commit record   a larger value
//!   in:   read whole                             parts are stored as they arrive
//!   out:  whole, or a range                      parts are read as they are sent, a few ahead
//! ```

use std::ops::Range;

use aft_api::{Code, header};
use aft_core::ids::Key;
use aft_core::message::{Found, Read};
use aft_core::record::Value;
use aft_desk::large;
use aft_desk::{Held, Version, attributes_of, value_of};
use aft_net::body::{Limits, Started, start};
use aft_net::browser::excerpt;
use aft_net::reply;
use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    IF_MODIFIED_SINCE, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;

use crate::body::{self, Large, Whole};
use crate::caller::Caller;
use crate::calls::call::header_value;
use crate::calls::values::{attributes, version_text};
use crate::failure::{Failure, Result};

/// The content type that curl sends if it is given none.
const FORM: &str = "application/x-www-form-urlencoded";
/// The content type of a value that was written without one.
const DEFAULT_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Headers that would change the meaning of a write and are not supported. A write with one is
/// rejected, rather than carried out as if the header were not there.
const UNSUPPORTED: [HeaderName; 4] =
    [IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, CONTENT_RANGE, CONTENT_ENCODING];

/// A value in a request's body.
pub(crate) struct Incoming {
    pub(crate) content_type: Option<String>,
    pub(crate) content: Content,
}

/// The bytes of a value in a request's body.
pub(crate) enum Content {
    /// The whole value, in memory.
    Whole(Whole),
    /// A value too large for a commit record, whose bytes are still arriving.
    Large(Large),
}

impl Incoming {
    /// Begins to read a value from a request's body. `what` names it in messages.
    pub(crate) async fn start(
        caller: &Caller,
        request: Request<Body>,
        what: &'static str,
    ) -> Result<Incoming> {
        let (head, body) = request.into_parts();
        let content_type = match head.headers.get(CONTENT_TYPE) {
            // curl sends this type with any `--data`, so it says nothing about the value.
            Some(text) if text == FORM => None,
            Some(text) => Some(
                text.to_str()
                    .map_err(|_| Failure::invalid("the header Content-Type is not ASCII"))?
                    .to_owned(),
            ),
            None => None,
        };
        // These checks come before the body is read, so that a bad call costs little.
        for name in UNSUPPORTED {
            if head.headers.contains_key(&name) {
                return Err(Failure::invalid(format!(
                    "the header {name} is not supported: a write replaces the whole value and stores the body unchanged; send the call without the header"
                )));
            }
        }
        attributes(content_type.clone())?;
        // A value that may be inline is read whole; a larger one is stored in parts as it arrives,
        // each with a timeout of its own.
        let (limit, whole_max) = (caller.settings().value_bytes_max, caller.node().inline_value_bytes_max());
        let limits = Limits { what, bytes_max: limit, timeout: caller.door().net.body_timeout };
        let part_bytes = caller.node().part_bytes();
        let started = start(caller.budget(), body, &head.headers, limits, whole_max, part_bytes).await?;
        let content = match started {
            Started::Whole(whole) => Content::Whole(whole),
            Started::Large(large) => Content::Large(Large(large)),
        };
        Ok(Incoming { content_type, content })
    }
}

/// Returns true if sending the value of a read takes long, so that its transaction should stay open
/// meanwhile.
pub(crate) fn takes_long(read: &Read) -> bool {
    let value = match &read.found {
        Found::Own(write) | Found::Version(_, write) => write.value(),
        Found::Absent => None,
    };
    value.is_some_and(large::takes_long)
}

/// Responds with a value as a raw body. `held` keeps a transaction open until the body is sent.
pub(crate) async fn respond(
    caller: &Caller,
    read: Read,
    method: &Method,
    headers: &HeaderMap,
    held: Option<Held>,
) -> Result<Response> {
    aft_core::room!();
    let key = read.key;
    let Some((value, version)) = value_of(read.found) else {
        let detail = format!("{key:?} has no value: it was never written, or it was deleted");
        return Err(Failure::new(Code::Absent, detail));
    };
    let content_type = attributes_of(&key, &value)?.content_type;
    let size = large::size_of(&value.etag, value.size);
    let asked = if method == Method::HEAD { None } else { range(headers, size)? };
    let range = asked.clone().unwrap_or(0..size);
    if method != Method::HEAD {
        caller.charge(usize::try_from(range.end - range.start).unwrap_or(usize::MAX));
    }
    let mut response = if method == Method::HEAD {
        Response::new(Body::empty())
    } else {
        content(caller, &key, &value, range.clone(), held).await?
    };
    // A content type that was written through another door may not be valid in a header.
    let content_type =
        content_type.and_then(|text| HeaderValue::try_from(text).ok()).unwrap_or(DEFAULT_CONTENT_TYPE);
    if let Some(asked) = asked {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let text = format!("bytes {}-{}/{}", asked.start, asked.end - 1, size);
        response.headers_mut().insert(CONTENT_RANGE, header_value(&text));
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, content_type);
    // The entity tag, for a later conditional write. An uncommitted write has no version yet.
    let text = version_text(version);
    if version != Version::Uncommitted {
        headers.insert(ETAG, header_value(&format!("\"{text}\"")));
    }
    headers.insert(header::VERSION, header_value(&text));
    Ok(response)
}

/// Responds with a range of a value's bytes.
async fn content(
    caller: &Caller,
    key: &Key,
    value: &Value,
    range: Range<u64>,
    held: Option<Held>,
) -> Result<Response> {
    let content = large::Content::of(caller, key, value).await?;
    if let Some(bytes) = content.in_memory(&range) {
        let share = caller.share(bytes.len())?;
        // Copied, because the bytes are a slice of a record or of a request's body, all of which a
        // slow reader would keep in memory.
        return Ok(body::large(Bytes::copy_from_slice(&bytes), share));
    }
    stream(caller, key, &content, range, held).await
}

/// Responds with a range of bytes, part by part.
pub(crate) async fn stream(
    caller: &Caller,
    key: &Key,
    content: &large::Content,
    range: Range<u64>,
    held: Option<Held>,
) -> Result<Response> {
    let len = range.end - range.start;
    let download = large::read(caller, key, content, range, held).await?;
    Ok(reply::stream(download.first, download.more, len, download.share))
}

/// Returns the range that the client asks for: one range of bytes (RFC 9110, section 14). `None`
/// for any other request, which gets the whole value, as the standard allows.
fn range(headers: &HeaderMap, size: u64) -> Result<Option<Range<u64>>> {
    let Some(text) = headers.get(RANGE).and_then(|text| text.to_str().ok()) else { return Ok(None) };
    // If-Range is not evaluated; the whole value is correct in either case.
    if headers.contains_key(IF_RANGE) {
        return Ok(None);
    }
    match parse_range(text, size) {
        Asked::Whole => Ok(None),
        Asked::Range(range) => Ok(Some(range)),
        Asked::Beyond => Err(beyond(text, size)),
    }
}

fn beyond(text: &str, size: u64) -> Failure {
    let detail = format!(
        "the header Range asks for {:?}, but the value has {size} bytes: ask for a range within it",
        excerpt(text)
    );
    let mut failure = Failure::new(Code::RangeNotSatisfiable, detail);
    failure.problem.actual = Some(size);
    failure
}

/// The part of a value that a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Range(Range<u64>),
    Beyond,
}

fn parse_range(text: &str, size: u64) -> Asked {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|rest| rest.trim().split_once('-')) else {
        return Asked::Whole;
    };
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number above u64::MAX is beyond any value's end.
        true if !text.is_empty() => Some(text.parse().unwrap_or(u64::MAX)),
        _ => None,
    };
    match (first, number(first), last, number(last)) {
        (_, Some(first), "", _) if first < size => Asked::Range(first..size),
        (_, Some(first), _, Some(last)) if first <= last && first < size => {
            Asked::Range(first..last.saturating_add(1).min(size))
        }
        (_, Some(first), _, Some(last)) if first > last => Asked::Whole,
        (_, Some(_), "", _) | (_, Some(_), _, Some(_)) => Asked::Beyond,
        ("", _, _, Some(0)) => Asked::Beyond,
        ("", _, _, Some(suffix)) if size > 0 => Asked::Range(size.saturating_sub(suffix)..size),
        ("", _, _, Some(_)) => Asked::Beyond,
        // Several ranges, or a malformed one.
        _ => Asked::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_headers_are_parsed_or_ignored() {
        for (text, expected) in [
            ("bytes=0-0", Asked::Range(0..1)),
            ("bytes=2-4", Asked::Range(2..5)),
            ("bytes=2-", Asked::Range(2..10)),
            ("bytes=2-99", Asked::Range(2..10)),
            ("bytes=9-99999999999999999999999", Asked::Range(9..10)),
            ("bytes=-3", Asked::Range(7..10)),
            ("bytes=-99", Asked::Range(0..10)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=10-12", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=4-2", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("lines=1-2", Asked::Whole),
        ] {
            assert_eq!(parse_range(text, 10), expected, "{text}");
        }
        assert_eq!(parse_range("bytes=0-0", 0), Asked::Beyond);
        assert_eq!(parse_range("bytes=-5", 0), Asked::Beyond);
    }
}
