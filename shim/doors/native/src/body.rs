//! Bodies of calls and replies: decoded and encoded.

use aft_api::{Code, Format, RequestBody};
use aft_desk::large::Source;
use aft_desk::{Meter, Refused, Share, with_copies};
use aft_net::body::{BodyError, Limits};
use aft_net::browser::excerpt;
use aft_net::reply;
use axum::body::Body;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;

use crate::caller::Caller;
use crate::failure::{Failure, Result};

/// The memory for one caller's bodies.
#[derive(Debug)]
pub(crate) struct Budget(pub(crate) Meter);

impl aft_net::body::Budget for Budget {
    type Share = Share;
    type Refused = Refused;

    fn charge(&self, bytes: usize) {
        self.0.charge(bytes);
    }

    fn with_copies(&self, bytes: usize) -> usize {
        with_copies(bytes)
    }

    fn grow(&self, share: &mut Option<Share>, bytes: usize) -> aft_desk::Result<()> {
        self.0.grow(share, bytes)
    }
}

/// A whole body, with its share of the memory for all bodies.
pub(crate) type Whole = aft_net::body::Whole<Budget>;

/// A large body that is being read.
#[derive(Debug)]
pub(crate) struct Large(pub(crate) Box<aft_net::body::Large<Budget>>);

impl Large {
    /// Wraps a body that was already read.
    pub(crate) fn of(whole: Whole, caller: &Caller) -> Large {
        let timeout = caller.door().net.body_timeout;
        Large(Box::new(aft_net::body::Large::of(whole, caller.budget(), timeout)))
    }
}

impl Source for Large {
    type Error = BodyError<Refused>;

    fn announced(&self) -> Option<usize> {
        self.0.announced()
    }

    async fn next(&mut self) -> std::result::Result<Option<Bytes>, BodyError<Refused>> {
        self.0.next().await
    }

    fn take_time(&mut self) {
        self.0.take_time();
    }
}

/// A decoded call.
pub(crate) struct Call<T> {
    pub(crate) message: T,
    /// The encoding of the reply.
    pub(crate) reply: Format,
    _share: Option<Share>,
}

/// Reads and decodes a body in JSON or protobuf.
pub(crate) async fn message<T: RequestBody>(caller: &Caller, request: Request<Body>) -> Result<Call<T>> {
    let (head, body) = request.into_parts();
    let limits = Limits {
        what: "the body",
        bytes_max: caller.settings().body_bytes_max,
        timeout: caller.door().net.body_timeout,
    };
    let whole = aft_net::body::read(caller.budget(), body, &head.headers, limits).await?;
    // The type is checked after the body is read, because an empty body may have any type. A body
    // with another type, or with none, may be the form of a web page, so it is not taken for JSON.
    let text = head.headers.get(CONTENT_TYPE);
    let format = match text.and_then(|text| text.to_str().ok()).and_then(Format::of_content_type) {
        Some(format) => format,
        None if whole.bytes.is_empty() => Format::Json,
        None => {
            let found = match text {
                None => "no content type".to_owned(),
                Some(text) => {
                    let text = String::from_utf8_lossy(text.as_bytes());
                    format!("the content type {:?}", excerpt(&text))
                }
            };
            return Err(Failure::new(
                Code::UnsupportedMediaType,
                format!(
                    "the body has {found}, but this call takes only {} and {}: send one of them in the header Content-Type (curl: --json instead of -d)",
                    Format::Json.content_type(),
                    Format::Protobuf.content_type()
                ),
            ));
        }
    };
    let message = format.decode_request(&whole.bytes)?;
    Ok(Call { message, reply: accepted(&head.headers).unwrap_or(format), _share: whole.share })
}

/// Returns the encoding that the client asks for; `None` if it names neither.
pub(crate) fn accepted(headers: &HeaderMap) -> Option<Format> {
    headers.get(ACCEPT)?.to_str().ok()?.split(',').find_map(Format::of_content_type)
}

/// Makes a reply. If it is large, `share` is its share of memory, taken before the reply was made.
pub(crate) fn respond<T: prost::Message + Serialize>(
    caller: &Caller,
    status: StatusCode,
    format: Format,
    message: &T,
    share: Option<Share>,
) -> Response {
    let body = encode(format, message);
    caller.charge(body.len());
    with_head(status, format, large(body, share))
}

/// Makes a reply, and takes its share of memory afterwards. Use it for replies of at most some MiB
/// whose call can be repeated.
///
/// # Errors
/// Returns an *overloaded* failure if there is no room for the reply.
pub(crate) fn respond_within<T: prost::Message + Serialize>(
    caller: &Caller,
    status: StatusCode,
    format: Format,
    message: &T,
) -> Result<Response> {
    let body = encode(format, message);
    let share = caller.share(body.len())?;
    caller.charge(body.len());
    Ok(with_head(status, format, large(body, share)))
}

fn encode<T: prost::Message + Serialize>(format: Format, message: &T) -> Bytes {
    let body = format.encode(message);
    if format == Format::Protobuf {
        return body;
    }
    // The bytes have one owner, so they become a vector without a copy; adding the newline may
    // still make the vector grow.
    let mut line = Vec::from(body);
    line.push(b'\n');
    line.into()
}

fn with_head(status: StatusCode, format: Format, mut response: Response) -> Response {
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response
}

/// Makes the response of a body in memory, and gives back the part of its share that it does not
/// need.
pub(crate) fn large(bytes: Bytes, mut share: Option<Share>) -> Response {
    if let Some(share) = &mut share {
        share.shrink(bytes.len());
    }
    reply::response(bytes, share)
}
