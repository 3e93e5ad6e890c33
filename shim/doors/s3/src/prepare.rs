//! The preparation of a call whose signature was checked, or needs no check: what S3 reads more
//! leniently than the protocol's library, and the digests of XML.

use std::sync::Arc;
use std::time::Duration;

use aft_desk::Caller;
use axum::body::Body;
use axum::http::header::{
    CONTENT_LENGTH, EXPIRES, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
    RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Limited};

use crate::attributes;
use crate::checksum::{Digests, Wanted};
use crate::failure::{Failure, Result};
use crate::protocol::{failure_of_body, trailer};
use crate::unchecked;

/// The start of the names of headers with user metadata.
const METADATA: &str = "x-amz-meta-";
/// Headers whose value is a time. One that cannot be read is ignored, as HTTP wants it.
const TIMES: [HeaderName; 2] = [IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
/// Such headers of copies. A copy without its condition would be another call, so one that cannot
/// be read is for the protocol's library to reject.
const TIMES_OF_COPIES: [HeaderName; 2] = [
    HeaderName::from_static("x-amz-copy-source-if-modified-since"),
    HeaderName::from_static("x-amz-copy-source-if-unmodified-since"),
];

/// The parameters of calls that write. Old presigned URLs have two headers in them.
const PARAMETERS: [&str; 8] =
    ["content-md5", "content-type", "delete", "partNumber", "tagging", "uploadId", "uploads", "versionId"];

/// The bounds of a body that is read before its call is carried out.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) xml_bytes_max: usize,
    pub(crate) body_timeout: Duration,
}

impl Bounds {
    /// Prepares a call.
    ///
    /// # Errors
    /// Returns a failure if its body is XML and has not the digests that the call names.
    pub(crate) async fn prepare(&self, mut request: Request<Body>) -> Result<Request<Body>> {
        check_parameters(&request)?;
        check_conditions(&request)?;
        read_leniently(request.headers_mut());
        pass_on_expires(&mut request);
        let Some(wanted) = wanted_of_xml(&request)? else { return Ok(request) };
        let (mut head, body) = request.into_parts();
        let limit = self.xml_bytes_max;
        let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let caller = head.extensions.get::<Caller>().expect("a call has its caller before its body is read");
        // Held until the call ends, because the library parses all of it at once.
        let share = caller.share(length.unwrap_or(limit).min(limit))?;
        head.extensions.insert(Arc::new(share));
        let read = tokio::time::timeout(self.body_timeout, Limited::new(body, limit).collect());
        let bytes = match read.await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(why)) if why.is::<http_body_util::LengthLimitError>() => {
                let why = format!("the body has more than {limit} bytes");
                return Err(Failure::new("MaxMessageLengthExceeded", 400, why));
            }
            Ok(Err(why)) => {
                let why = why.to_string();
                return Err(failure_of_body(&why).unwrap_or_else(|| {
                    Failure::new("IncompleteBody", 400, format!("the body ended early: {why}"))
                }));
            }
            Err(_) => return Err(Failure::new("RequestTimeout", 400, "the body did not arrive in time")),
        };
        let mut digests = Digests::new(wanted);
        digests.update(&bytes);
        digests.verify(&trailer(&head.extensions)())?;
        Ok(Request::from_parts(head, Body::from(bytes)))
    }
}

/// Rejects a call that writes, with a parameter that is not known. Operations that the protocol got
/// later differ from a plain write or deletion by their parameter alone.
fn check_parameters(request: &Request<Body>) -> Result<()> {
    if [Method::GET, Method::HEAD].contains(request.method()) {
        return Ok(());
    }
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let mut names = pairs.map(|pair| pair.split('=').next().unwrap_or_default());
    // S3 writes parameters that begin with x- to its logs, and ignores them.
    let is_known = |name: &str| {
        name.is_empty()
            || PARAMETERS.contains(&name)
            || name.get(..2).is_some_and(|x| x.eq_ignore_ascii_case("x-"))
    };
    match names.find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => {
            let name = aft_net::browser::excerpt(name);
            Err(Failure::not_implemented(&format!("the parameter {name:?} of a call that writes")))
        }
    }
}

/// Rejects a write that has a condition without a value: a client whose variable was empty means
/// something by it, and a write without a condition would overwrite.
fn check_conditions(request: &Request<Body>) -> Result<()> {
    if [Method::GET, Method::HEAD].contains(request.method()) {
        return Ok(());
    }
    for name in [IF_MATCH, IF_NONE_MATCH] {
        if request.headers().get_all(&name).iter().any(|value| value.as_bytes().trim_ascii().is_empty()) {
            let why = format!("the header {name} is empty: give it an ETag or *, or leave it out");
            return Err(Failure::invalid_argument(why));
        }
    }
    Ok(())
}

/// Takes the parameter response-expires, which is any text to S3 and a time to the protocol's
/// library, out of the query.
fn pass_on_expires(request: &mut Request<Body>) {
    const NAME: &str = "response-expires=";
    request.headers_mut().remove(attributes::RESPONSE_EXPIRES);
    let query = request.uri().query().unwrap_or_default();
    let Some(value) = query.split('&').find_map(|pair| pair.strip_prefix(NAME)) else { return };
    let text = percent_encoding::percent_decode_str(&value.replace('+', " ")).collect::<Vec<u8>>();
    let uri = unchecked::without(request.uri(), |pair| pair.starts_with(NAME));
    *request.uri_mut() = uri;
    // A text that no header can have is left out.
    if let Ok(text) = HeaderValue::from_bytes(&text) {
        request.headers_mut().insert(attributes::RESPONSE_EXPIRES, text);
    }
}

/// Changes headers that S3 accepts and the protocol's library rejects.
fn read_leniently(headers: &mut HeaderMap) {
    // As if there were none: the whole object is a right answer.
    if headers.get(RANGE).is_some_and(|range| !is_single_range(range)) {
        headers.remove(RANGE);
    }
    // The time of an object is any text.
    if let Some(expires) = headers.remove(EXPIRES) {
        headers.insert(attributes::EXPIRES_AS_TEXT, expires);
    }
    for name in TIMES {
        let Some(time) = headers.remove(&name) else { continue };
        if let Some(time) = read_time(&time) {
            headers.insert(name, time);
        }
    }
    for name in TIMES_OF_COPIES {
        if let Some(time) = headers.get(&name).and_then(read_time) {
            headers.insert(name, time);
        }
    }
    // The values of a header that is sent twice are joined.
    let repeated: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(METADATA) && headers.get_all(*name).iter().count() > 1)
        .cloned()
        .collect();
    for name in repeated {
        let values: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&values.join(&b","[..])) {
            headers.insert(name, joined);
        }
    }
}

/// Returns a time of any of the three forms of HTTP in the usual one.
fn read_time(value: &HeaderValue) -> Option<HeaderValue> {
    let time = httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()?;
    HeaderValue::try_from(httpdate::fmt_http_date(time)).ok()
}

/// Returns the digests of the body of a call that consists of XML, which the protocol's library
/// parses without a look at them; `None` for any other call.
fn wanted_of_xml(request: &Request<Body>) -> Result<Option<Wanted>> {
    let headers = request.headers();
    let has = |name: &str| {
        let mut pairs = request.uri().query().unwrap_or_default().split('&');
        pairs.any(|pair| pair.split('=').next() == Some(name))
    };
    match *request.method() {
        Method::POST if has("delete") => Wanted::of_headers(headers).map(Some),
        Method::PUT if has("tagging") => Wanted::of_headers(headers).map(Some),
        // The checksums of this call are those of the object.
        Method::POST if has("uploadId") => Ok(Some(Wanted::of_payload(headers))),
        _ => Ok(None),
    }
}

/// Returns true if a header asks for one range of bytes. Any other one is ignored, as S3 does.
fn is_single_range(range: &HeaderValue) -> bool {
    let Some(range) = range.to_str().ok().and_then(|text| text.strip_prefix("bytes=")) else { return false };
    let Some((first, last)) = range.split_once('-') else { return false };
    let is_number =
        |text: &str| (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    match (first, last) {
        ("", last) => is_number(last),
        (first, "") => is_number(first),
        (first, last) => {
            let order = |text: &str| text.parse::<u64>().expect("at most eighteen digits");
            is_number(first) && is_number(last) && order(first) <= order(last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_ranges_are_ignored() {
        for (range, single) in [
            ("bytes=0-0", true),
            ("bytes=5-", true),
            ("bytes=-5", true),
            ("bytes=0-1,3-4", false),
            ("bytes=4-2", false),
            ("bytes=-", false),
            ("bytes=a-b", false),
            ("lines=1-2", false),
            ("bytes=+1-2", false),
            ("bytes=0-99999999999999999999", false),
        ] {
            assert_eq!(is_single_range(&HeaderValue::from_static(range)), single, "{range}");
        }
    }

    #[test]
    fn headers_are_read_leniently() {
        let mut headers = HeaderMap::new();
        let mut add =
            |name: &'static str, value: &'static str| headers.append(name, HeaderValue::from_static(value));
        add("if-modified-since", "yesterday");
        add("if-unmodified-since", "Sunday, 06-Nov-94 08:49:37 GMT");
        add("expires", "0");
        add("x-amz-meta-a", "1");
        add("x-amz-meta-a", "2");
        read_leniently(&mut headers);
        let of = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(of("if-modified-since"), None);
        assert_eq!(of("if-unmodified-since"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!((of("expires"), of("x-amz-meta-a")), (None, Some("1,2")));
        assert_eq!(attributes::of_headers(&headers).unwrap().expires.as_deref(), Some("0"));
    }
}
