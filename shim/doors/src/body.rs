//! Bodies: read within a limit and a time, decoded and encoded.

use aft_api::{Code, Format, RequestBody};
use aft_core::ids::Fingerprint;
use aft_format::FingerprintOfPieces;
use axum::body::{Body, HttpBody};
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

use crate::caller::Caller;
use crate::failure::{Failure, Result};
use crate::reply;
use crate::share::{Meter, SMALL_BYTES_MAX, Share, with_copies};

/// How much of a body that is refused is read all the same, and for how long, so that the client, which sends before it listens, gets to
/// read why.
const SURPLUS_BYTES_MAX: usize = 128 << 20;
const SURPLUS_TIME_MAX: Duration = Duration::from_secs(5);

/// What a handler may leave of a request's body.
#[derive(Clone)]
pub(crate) struct Rest(Arc<Mutex<Body>>);

/// Hands a request's body to its handler such that what it leaves can be read; a body that fits into the sockets' buffers is left alone.
pub(crate) fn lend(request: Request<Body>) -> (Request<Body>, Option<Rest>) {
    let hint = request.body().size_hint();
    if hint.upper().is_some_and(|bytes| bytes <= SMALL_BYTES_MAX as u64) {
        return (request, None);
    }
    let (head, body) = request.into_parts();
    let rest = Rest(Arc::new(Mutex::new(body)));
    (Request::from_parts(head, Body::new(rest.clone())), Some(rest))
}

impl Rest {
    /// Reads some of it, so that a client that sends all before it listens gets to read the refusal.
    pub(crate) async fn skip(self) {
        skip(&mut Body::new(self)).await;
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        self.0.lock().expect("nobody panics with the body in hand")
    }
}

impl HttpBody for Rest {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.body()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}

/// A whole body, and its share of the bound for all.
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    _share: Option<Share>,
}

/// A body that may be too large to be held.
pub(crate) enum Started {
    /// It is not.
    Whole(Whole),
    /// It is: its rest is read part by part.
    Large(Box<Large>),
}

/// A large body that is being read.
pub(crate) struct Large {
    reading: Reading,
    /// What was read before it was known to be large.
    pub(crate) first: Vec<Bytes>,
    /// Its size, if the client told.
    pub(crate) announced: Option<usize>,
    bytes: usize,
    timeout: Duration,
    /// Of all that was read, if it is wanted.
    sum: Option<FingerprintOfPieces>,
}

/// Begins to read a body of at most `limit` bytes: in whole if it has no more than `whole_max`.
pub(crate) async fn start(
    caller: &Caller,
    body: Body,
    headers: &HeaderMap,
    what: &'static str,
    limit: usize,
    whole_max: usize,
) -> Result<Started> {
    let announced = announced(headers);
    let timeout = caller.settings.body_timeout;
    let mut reading = Reading { body, what, limit, share: None, meter: caller.meter() };
    if announced.is_some_and(|bytes| bytes <= whole_max) {
        return read(caller, reading.body, headers, what, limit.min(whole_max)).await.map(Started::Whole);
    }
    let begun = async {
        announced.map_or(Ok(()), |bytes| reading.check(bytes))?;
        let (mut first, mut bytes) = (Vec::new(), 0);
        while bytes <= whole_max {
            let Some(frame) = reading.frame().await? else { break };
            bytes += frame.len();
            first.push(frame);
        }
        Ok((first, bytes))
    };
    let (first, bytes) = match tokio::time::timeout(timeout, begun).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(failure)) => {
            reading.skip_after(&failure).await;
            return Err(failure);
        }
        Err(_) => return Err(too_slow(what, timeout)),
    };
    if bytes > whole_max {
        let large = Large { reading, first, announced, bytes, timeout, sum: None };
        if bytes <= limit {
            return Ok(Started::Large(Box::new(large)));
        }
        large.skip().await;
        return Err(Failure::beyond(Code::TooLarge, what, limit, bytes));
    }
    let share = caller.share(bytes)?;
    Ok(Started::Whole(Whole { bytes: first.concat().into(), _share: share }))
}

impl Large {
    /// A body that is here already.
    pub(crate) fn of(whole: Whole, caller: &Caller) -> Large {
        let (bytes, timeout) = (whole.bytes.len(), caller.settings.body_timeout);
        let meter = caller.meter();
        let reading =
            Reading { body: Body::empty(), what: "a body", limit: bytes, share: whole._share, meter };
        Large { reading, first: vec![whole.bytes], announced: Some(bytes), bytes, timeout, sum: None }
    }

    /// The next bytes; `None` at the end. `deadline` is that of the part that they belong to.
    pub(crate) async fn next(&mut self, deadline: Instant) -> Result<Option<Bytes>> {
        let what = self.reading.what;
        let frame = match timeout_at(deadline, self.reading.frame()).await {
            Ok(frame) => frame?,
            Err(_) => return Err(too_slow(what, self.timeout)),
        };
        if let Some(frame) = &frame {
            self.bytes += frame.len();
            self.reading.check(self.bytes)?;
            if let Some(sum) = &mut self.sum {
                sum.update(frame);
            }
        }
        Ok(frame)
    }

    /// From here on a fingerprint is made of `before` and all of the body.
    pub(crate) fn sum_up(&mut self, before: &[u8]) {
        let mut sum = FingerprintOfPieces::default();
        sum.update(before);
        self.first.iter().for_each(|piece| sum.update(piece));
        self.sum = Some(sum);
    }

    /// The fingerprint of what was read, if one was to be made.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.sum.clone().map(FingerprintOfPieces::finish)
    }

    /// Reads the rest and keeps nothing of it.
    pub(crate) async fn read_on(&mut self) -> Result<()> {
        loop {
            let deadline = self.deadline();
            if self.next(deadline).await?.is_none() {
                return Ok(());
            }
        }
    }

    /// When a part must have come that begins now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Reads some of what is left, so that the client, which sends before it listens, gets to read the answer.
    pub(crate) async fn skip(mut self) {
        self.reading.skip().await;
    }
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok())
}

fn too_slow(what: &str, timeout: Duration) -> Failure {
    let detail = format!("{what} did not come within {} s: nothing was done", timeout.as_secs());
    Failure::new(Code::BodyTimeout, detail)
}

/// Reads a body of at most `limit` bytes. `what` is for the problem.
pub(crate) async fn read(
    caller: &Caller,
    body: Body,
    headers: &HeaderMap,
    what: &'static str,
    limit: usize,
) -> Result<Whole> {
    let mut reading = Reading { body, what, limit, share: None, meter: caller.meter() };
    let timeout = caller.settings.body_timeout;
    match tokio::time::timeout(timeout, reading.whole(headers)).await {
        Ok(Ok(bytes)) => Ok(Whole { bytes, _share: reading.share }),
        Ok(Err(failure)) => {
            reading.skip_after(&failure).await;
            Err(failure)
        }
        Err(_) => Err(too_slow(what, timeout)),
    }
}

struct Reading {
    body: Body,
    what: &'static str,
    limit: usize,
    share: Option<Share>,
    meter: Meter,
}

impl Reading {
    async fn whole(&mut self, headers: &HeaderMap) -> Result<Bytes> {
        let announced = announced(headers);
        if let Some(announced) = announced {
            self.check(announced)?;
            self.hold(announced)?;
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
            self.hold(whole.len() + frame.len())?;
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
                self.meter.charge(data.len());
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

    async fn skip_after(&mut self, failure: &Failure) {
        if failure.0.code == Code::TooLarge || failure.0.code == Code::Overloaded {
            self.skip().await;
        }
    }

    /// The share of so many bytes; small ones need none, and are copied as small ones.
    fn hold(&mut self, bytes: usize) -> Result<()> {
        if bytes <= SMALL_BYTES_MAX {
            return Ok(());
        }
        self.meter.grow(&mut self.share, with_copies(bytes))
    }

    async fn skip(&mut self) {
        skip(&mut self.body).await;
    }
}

async fn skip(body: &mut Body) {
    let skip = async {
        let mut skipped = 0;
        while let Some(Ok(frame)) = body.frame().await {
            skipped += frame.data_ref().map_or(0, Bytes::len);
            if skipped > SURPLUS_BYTES_MAX {
                return;
            }
        }
    };
    // Too slow: then the client may have to do without the reason.
    let _ = tokio::time::timeout(SURPLUS_TIME_MAX, skip).await;
}

/// A decoded call.
pub(crate) struct Call<T> {
    pub(crate) message: T,
    /// How the reply is to be encoded.
    pub(crate) reply: Format,
    _share: Option<Share>,
}

/// Reads and decodes a body in JSON or protobuf.
pub(crate) async fn message<T: RequestBody>(caller: &Caller, request: Request<Body>) -> Result<Call<T>> {
    let (head, body) = request.into_parts();
    let whole = read(caller, body, &head.headers, "the body", caller.settings.body_bytes_max).await?;
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
    Ok(Call { message, reply: accepted(&head.headers).unwrap_or(format), _share: whole._share })
}

/// The encoding that the client asks for.
pub(crate) fn accepted(headers: &HeaderMap) -> Option<Format> {
    headers.get(ACCEPT)?.to_str().ok()?.split(',').find_map(Format::of_content_type)
}

/// A reply. If it is large, `share` is its share, taken before it was made.
pub(crate) fn respond<T: prost::Message + Serialize>(
    caller: &Caller,
    status: StatusCode,
    format: Format,
    message: &T,
    share: Option<Share>,
) -> Response {
    let body = encode(format, message);
    caller.charge(body.len());
    with_head(status, format, reply::response(body, share))
}

/// A reply that takes its share once it is made: at most some MiB, and nothing is lost if it is refused.
pub(crate) fn respond_within<T: prost::Message + Serialize>(
    caller: &Caller,
    status: StatusCode,
    format: Format,
    message: &T,
) -> Result<Response> {
    let body = encode(format, message);
    let share = caller.share(body.len())?;
    caller.charge(body.len());
    Ok(with_head(status, format, reply::response(body, share)))
}

fn encode<T: prost::Message + Serialize>(format: Format, message: &T) -> Bytes {
    let body = format.encode(message);
    if format == Format::Protobuf {
        return body;
    }
    // Nobody else holds the bytes, so this copies nothing but what a growing vector does.
    let mut line = Vec::from(body);
    line.push(b'\n');
    line.into()
}

fn with_head(status: StatusCode, format: Format, mut response: Response) -> Response {
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response
}
