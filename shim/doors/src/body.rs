//! Bodies: read within a limit and a time, decoded and encoded.

use aft_wire::http::{Code, Format, RequestBody};
use axum::body::Body;
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::Serialize;
use std::time::Duration;
use tokio::sync::SemaphorePermit;

use crate::failure::{Failure, Result};
use crate::router::Doors;

/// Bodies up to this size are not counted against the bound for all: connections bound them.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// The unit of the bound for all bodies.
const UNIT_BYTES: usize = 64 << 10;
/// How much of a body that is refused is read all the same, and for how long, so that the client, which sends before it listens, gets to
/// read why.
const SURPLUS_BYTES_MAX: usize = 128 << 20;
const SURPLUS_TIME_MAX: Duration = Duration::from_secs(5);

/// A whole body, and its share of the bound for all.
pub(crate) struct Whole<'a> {
    pub(crate) bytes: Bytes,
    _held: Option<SemaphorePermit<'a>>,
}

/// Reads a body of at most `limit` bytes. `what` is for the problem.
pub(crate) async fn read<'a>(
    doors: &'a Doors,
    body: Body,
    headers: &HeaderMap,
    what: &str,
    limit: usize,
) -> Result<Whole<'a>> {
    let mut reading = Reading { body, what, limit, held: None };
    let timeout = doors.settings.body_timeout;
    match tokio::time::timeout(timeout, reading.whole(doors, headers)).await {
        Ok(Ok(bytes)) => Ok(Whole { bytes, _held: reading.held }),
        Ok(Err(failure)) => {
            if failure.0.code == Code::TooLarge || failure.0.code == Code::Overloaded {
                reading.skip().await;
            }
            Err(failure)
        }
        Err(_) => Err(Failure::new(
            Code::BodyTimeout,
            format!("{what} did not come within {} s: nothing was done", timeout.as_secs()),
        )),
    }
}

struct Reading<'a, 'w> {
    body: Body,
    what: &'w str,
    limit: usize,
    held: Option<SemaphorePermit<'a>>,
}

impl<'a> Reading<'a, '_> {
    async fn whole(&mut self, doors: &'a Doors, headers: &HeaderMap) -> Result<Bytes> {
        let announced =
            headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse::<usize>().ok());
        if let Some(announced) = announced {
            self.check(announced)?;
            self.hold(doors, announced)?;
        }
        let Some(first) = self.frame().await? else { return Ok(Bytes::new()) };
        self.check(first.len())?;
        if Some(first.len()) == announced {
            return Ok(first);
        }
        let Some(second) = self.frame().await? else { return Ok(first) };
        let mut whole = BytesMut::with_capacity(announced.unwrap_or(first.len() + second.len()));
        whole.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(frame) = next {
            self.check(whole.len() + frame.len())?;
            self.hold(doors, whole.len() + frame.len())?;
            whole.extend_from_slice(&frame);
            if announced == Some(whole.len()) {
                break;
            }
            next = self.frame().await?;
        }
        Ok(whole.freeze())
    }

    async fn frame(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|why| Failure::invalid(format!("{} broke off: {why}", self.what)))?;
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    fn check(&self, bytes: usize) -> Result<()> {
        if bytes <= self.limit {
            Ok(())
        } else {
            Err(Failure::beyond(Code::TooLarge, self.what, self.limit, bytes))
        }
    }

    /// Takes a share of the bound for all bodies, up to `bytes` in all.
    fn hold(&mut self, doors: &'a Doors, bytes: usize) -> Result<()> {
        if bytes <= SMALL_BYTES_MAX {
            return Ok(());
        }
        let have = self.held.as_ref().map_or(0, SemaphorePermit::num_permits);
        let need = bytes.div_ceil(UNIT_BYTES).saturating_sub(have);
        if need == 0 {
            return Ok(());
        }
        let Ok(more) = doors.bodies.try_acquire_many(need as u32) else {
            let mut failure = Failure::new(
                Code::Overloaded,
                format!(
                    "large bodies under way have {} bytes in all, their bound: try again after a while",
                    doors.settings.bodies_bytes_max
                ),
            );
            failure.0.retry_after_ms = Some(1_000);
            return Err(failure);
        };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }

    async fn skip(&mut self) {
        let skip = async {
            let mut skipped = 0;
            while let Ok(Some(frame)) = self.frame().await {
                skipped += frame.len();
                if skipped > SURPLUS_BYTES_MAX {
                    return;
                }
            }
        };
        // Too slow: then the client may have to do without the reason.
        let _ = tokio::time::timeout(SURPLUS_TIME_MAX, skip).await;
    }
}

/// The bound for all bodies, in its units.
pub(crate) fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES)
}

/// A decoded call.
pub(crate) struct Call<'a, T> {
    pub(crate) message: T,
    /// How the reply is to be encoded.
    pub(crate) reply: Format,
    _held: Option<SemaphorePermit<'a>>,
}

/// Reads and decodes a body in JSON or protobuf.
pub(crate) async fn message<'a, T: RequestBody>(
    doors: &'a Doors,
    request: Request<Body>,
) -> Result<Call<'a, T>> {
    let (head, body) = request.into_parts();
    let whole = read(doors, body, &head.headers, "the body", doors.settings.body_bytes_max).await?;
    let format = match head.headers.get(CONTENT_TYPE) {
        None => Format::Json,
        Some(text) => match text.to_str().ok().and_then(Format::of_content_type) {
            Some(format) => format,
            // What `curl -d` says of any body; a body of this type in earnest would not be JSON.
            None if text == "application/x-www-form-urlencoded" => Format::Json,
            None if whole.bytes.is_empty() => Format::Json,
            None => {
                return Err(Failure::new(
                    Code::UnsupportedMediaType,
                    format!(
                        "the body is {:?}; this call takes {} and {}",
                        crate::path::excerpt(&String::from_utf8_lossy(text.as_bytes())),
                        Format::Json.content_type(),
                        Format::Protobuf.content_type()
                    ),
                ));
            }
        },
    };
    let message = format.decode_request(&whole.bytes)?;
    Ok(Call { message, reply: accepted(&head.headers).unwrap_or(format), _held: whole._held })
}

/// The encoding that the client asks for.
pub(crate) fn accepted(headers: &HeaderMap) -> Option<Format> {
    headers.get(ACCEPT)?.to_str().ok()?.split(',').find_map(Format::of_content_type)
}

/// A reply.
pub(crate) fn respond<T: prost::Message + Serialize>(
    status: StatusCode,
    format: Format,
    message: &T,
) -> Response {
    let mut body = format.encode(message);
    if format == Format::Json {
        // Nobody else holds the bytes, so this copies nothing but what a growing vector does.
        let mut line = Vec::from(body);
        line.push(b'\n');
        body = line.into();
    }
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response
}
