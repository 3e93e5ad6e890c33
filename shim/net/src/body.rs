//! Request bodies: read within a size, a time and a budget.
//!
//! Clients send a body before they listen. So the rest of a body that is rejected is read for a
//! while ([`lend`], [`Rest::skip`]): otherwise the connection would break under the client before
//! it has read why.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::http::{HeaderMap, Request};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, timeout_at};

/// Bodies up to this size need no share of the budget: the number of connections bounds them.
pub const SMALL_BYTES_MAX: usize = 64 << 10;

/// The bytes of a rejected body that are read all the same, and the time for it.
const SURPLUS_BYTES_MAX: usize = 128 << 20;
const SURPLUS_TIME_MAX: Duration = Duration::from_secs(5);

/// The memory for large bodies, which doors share. A share is taken before the bytes are held, and
/// given back when it is dropped.
pub trait Budget: Send + Sync {
    /// A share of the budget.
    type Share: Send + Sync;
    /// The refusal of a share.
    type Refused: Send;

    /// Counts bytes that came in.
    fn charge(&self, bytes: usize);

    /// Returns the memory for a body of `bytes` that is decoded after it was read, with the copies
    /// that this takes.
    fn with_copies(&self, bytes: usize) -> usize;

    /// Enlarges `share` to `bytes` of memory.
    ///
    /// # Errors
    /// Returns the refusal if the budget has no room; then `share` is unchanged.
    fn grow(&self, share: &mut Option<Self::Share>, bytes: usize) -> Result<(), Self::Refused>;
}

/// A body that was not read to its end.
#[derive(Debug)]
pub enum BodyError<R> {
    /// The body has more than `limit` bytes: at least `actual`.
    TooLarge {
        /// The name of the body, for messages.
        what: &'static str,
        /// The bound in bytes.
        limit: usize,
        /// The bytes that were announced, or have arrived.
        actual: usize,
    },
    /// The body, or a part of it, did not arrive in time.
    TooSlow {
        /// The name of the body, for messages.
        what: &'static str,
        /// The time limit that was exceeded.
        timeout: Duration,
    },
    /// The connection ended or broke the protocol within the body.
    BrokeOff {
        /// The name of the body, for messages.
        what: &'static str,
        /// The cause, as the HTTP library reports it.
        why: String,
    },
    /// The budget has no room.
    Refused(R),
}

/// The limits of one body.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The name of the body, for messages.
    pub what: &'static str,
    /// The most bytes.
    pub bytes_max: usize,
    /// The time for the body, or for each stretch of a large one.
    pub timeout: Duration,
}

/// The part of a request's body that its handler has left.
#[derive(Clone)]
pub struct Rest(Arc<Lent>);

struct Lent {
    body: Mutex<Body>,
    /// True if the client sends the body only after `100 Continue`, which the first read sends.
    on_demand: bool,
    /// True once the handler has begun to read.
    begun: AtomicBool,
}

/// Splits off a handle with which the rest of a request's body can be read after its handler. A
/// body that fits into the sockets' buffers is left alone.
pub fn lend(request: Request<Body>) -> (Request<Body>, Option<Rest>) {
    let hint = request.body().size_hint();
    if hint.upper().is_some_and(|bytes| bytes <= SMALL_BYTES_MAX as u64) {
        return (request, None);
    }
    let (head, body) = request.into_parts();
    let on_demand = head.headers.contains_key(EXPECT);
    let rest = Rest(Arc::new(Lent { body: Mutex::new(body), on_demand, begun: AtomicBool::new(false) }));
    (Request::from_parts(head, Body::new(rest.clone())), Some(rest))
}

impl Rest {
    /// Reads some of the rest, so that a client that sends the whole body before it reads can read
    /// the answer. A client that still waits for `100 Continue` sends nothing, and needs none.
    pub async fn skip(self) {
        if self.0.on_demand && !self.0.begun.load(Ordering::Relaxed) {
            return;
        }
        let mut body = Body::new(self);
        let skip = async {
            let mut skipped = 0;
            while let Some(Ok(frame)) = body.frame().await {
                skipped += frame.data_ref().map_or(0, Bytes::len);
                if skipped > SURPLUS_BYTES_MAX {
                    return;
                }
            }
        };
        // The time is bounded: a client that is slower may not be able to read the answer.
        let _ = tokio::time::timeout(SURPLUS_TIME_MAX, skip).await;
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        self.0.body.lock().expect("nothing panics while it holds the body")
    }
}

impl HttpBody for Rest {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.0.begun.store(true, Ordering::Relaxed);
        Pin::new(&mut *self.body()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}

/// A whole body, with its share of the budget.
pub struct Whole<B: Budget> {
    /// The body.
    pub bytes: Bytes,
    /// The share; a small body has none.
    pub share: Option<B::Share>,
}

/// A body whose size is known well enough to choose how to read it.
pub enum Started<B: Budget> {
    /// A body that is small enough to be held, read to its end.
    Whole(Whole<B>),
    /// A larger body, whose rest is read piece by piece.
    Large(Box<Large<B>>),
}

/// A large body that is being read.
pub struct Large<B: Budget> {
    reading: Reading<B>,
    /// Pieces that were read before the body was known to be large, in reverse order.
    first: Vec<Bytes>,
    announced: Option<usize>,
    bytes: usize,
    /// The bytes for which one timeout holds.
    stretch: usize,
    in_stretch: usize,
    /// The deadline of this stretch. Its time begins at the first wait for its bytes: before that,
    /// the transaction of a large value may have to wait.
    deadline: Option<Instant>,
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rest(…)")
    }
}

impl<B: Budget> fmt::Debug for Whole<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whole").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl<B: Budget> fmt::Debug for Started<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Started::Whole(whole) => whole.fmt(f),
            Started::Large(large) => large.fmt(f),
        }
    }
}

impl<B: Budget> fmt::Debug for Large<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Large").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Begins to read a body. A body of at most `whole_max` bytes is read to its end. For a larger one,
/// the timeout of `limits` applies to each `stretch` of bytes.
///
/// # Errors
/// Returns the reason why the body was not read. If the body was too large or the budget had no
/// room, some of the rest was skipped, so that the client can read the answer.
pub async fn start<B: Budget>(
    budget: B,
    body: Body,
    headers: &HeaderMap,
    limits: Limits,
    whole_max: usize,
    stretch: usize,
) -> Result<Started<B>, BodyError<B::Refused>> {
    assert!(stretch > 0, "a stretch has bytes");
    let announced = announced(headers);
    let mut reading = Reading { body, limits, share: None, budget };
    // An announced size that is small needs no decision: the body is read whole.
    if announced.is_some_and(|bytes| bytes <= whole_max) {
        reading.limits.bytes_max = limits.bytes_max.min(whole_max);
        return reading.read(headers).await.map(Started::Whole);
    }
    // Otherwise read until the body ends or is known to be large. A size that is too large is
    // rejected before a byte is read.
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
    let (mut first, bytes) = match tokio::time::timeout(limits.timeout, begun).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(error)) => return Err(error),
        Err(_) => return Err(reading.too_slow()),
    };
    // A large body: the pieces read so far are given out first, from the end of the reversed list.
    if bytes > whole_max {
        first.reverse();
        let large = Large { reading, first, announced, bytes, stretch, in_stretch: 0, deadline: None };
        if bytes <= limits.bytes_max {
            return Ok(Started::Large(Box::new(large)));
        }
        return Err(large.reading.check(bytes).expect_err("it is larger than it may be"));
    }
    // Its size was not announced, so it takes its share late, and for itself alone: it is a value,
    // and not decoded.
    if bytes > SMALL_BYTES_MAX {
        reading.budget.grow(&mut reading.share, bytes).map_err(BodyError::Refused)?;
    }
    Ok(Started::Whole(Whole { bytes: first.concat().into(), share: reading.share }))
}

/// Reads a whole body.
///
/// # Errors
/// Returns the errors of [`start`].
pub async fn read<B: Budget>(
    budget: B,
    body: Body,
    headers: &HeaderMap,
    limits: Limits,
) -> Result<Whole<B>, BodyError<B::Refused>> {
    Reading { body, limits, share: None, budget }.read(headers).await
}

impl<B: Budget> Large<B> {
    /// Wraps a body that was already read.
    pub fn of(whole: Whole<B>, budget: B, timeout: Duration) -> Large<B> {
        let bytes = whole.bytes.len();
        let limits = Limits { what: "a body", bytes_max: bytes, timeout };
        let reading = Reading { body: Body::empty(), limits, share: whole.share, budget };
        let (announced, first) = (Some(bytes), vec![whole.bytes]);
        Large { reading, first, announced, bytes, stretch: usize::MAX, in_stretch: 0, deadline: None }
    }

    /// Gives each piece from here on a timeout of its own: the bytes are read, and not stored.
    pub fn take_time(&mut self) {
        (self.stretch, self.deadline) = (1, None);
    }

    /// Returns the size that the client announced, in bytes.
    pub fn announced(&self) -> Option<usize> {
        self.announced
    }

    /// Returns the next bytes; `None` at the end.
    ///
    /// # Errors
    /// Returns a [`BodyError`] if the body is too large, too slow or breaks off. Do not call it
    /// again then.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError<B::Refused>> {
        // Pieces that were read by `start` were checked there.
        if let Some(first) = self.first.pop() {
            return Ok(Some(first));
        }
        let timeout = self.reading.limits.timeout;
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + timeout);
        let frame = match timeout_at(deadline, self.reading.frame()).await {
            Ok(frame) => frame?,
            Err(_) => return Err(self.reading.too_slow()),
        };
        if let Some(frame) = &frame {
            self.bytes += frame.len();
            self.reading.check(self.bytes)?;
            self.in_stretch += frame.len();
            // The next stretch gets a deadline of its own when its bytes are waited for.
            if self.in_stretch >= self.stretch {
                (self.deadline, self.in_stretch) = (None, 0);
            }
        }
        Ok(frame)
    }
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok())
}

/// A body that is being read.
struct Reading<B: Budget> {
    body: Body,
    limits: Limits,
    share: Option<B::Share>,
    budget: B,
}

impl<B: Budget> Reading<B> {
    async fn read(mut self, headers: &HeaderMap) -> Result<Whole<B>, BodyError<B::Refused>> {
        match tokio::time::timeout(self.limits.timeout, self.whole(headers)).await {
            Ok(Ok(bytes)) => Ok(Whole { bytes, share: self.share }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.too_slow()),
        }
    }

    async fn whole(&mut self, headers: &HeaderMap) -> Result<Bytes, BodyError<B::Refused>> {
        let announced = announced(headers);
        // A body that announces its size is checked before a byte of it is held.
        if let Some(announced) = announced {
            self.check(announced)?;
            self.hold(announced)?;
        }
        // A body of one frame, as most are, is not copied. It is read to its end, because it may be
        // decoded on the way: its last bytes may not be content, and be wrong.
        let Some(first) = self.frame().await? else { return Ok(Bytes::new()) };
        self.check(first.len())?;
        let Some(second) = self.frame().await? else { return Ok(first) };
        let mut whole = BytesMut::with_capacity(announced.unwrap_or(first.len() + second.len()));
        whole.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(frame) = next {
            self.check(whole.len() + frame.len())?;
            self.hold(whole.len() + frame.len())?;
            whole.extend_from_slice(&frame);
            next = self.frame().await?;
        }
        Ok(whole.freeze())
    }

    async fn frame(&mut self) -> Result<Option<Bytes>, BodyError<B::Refused>> {
        while let Some(frame) = self.body.frame().await {
            let frame =
                frame.map_err(|why| BodyError::BrokeOff { what: self.limits.what, why: why.to_string() })?;
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                self.budget.charge(data.len());
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    fn check(&self, actual: usize) -> Result<(), BodyError<B::Refused>> {
        let Limits { what, bytes_max: limit, .. } = self.limits;
        if actual <= limit { Ok(()) } else { Err(BodyError::TooLarge { what, limit, actual }) }
    }

    fn too_slow(&self) -> BodyError<B::Refused> {
        BodyError::TooSlow { what: self.limits.what, timeout: self.limits.timeout }
    }

    /// Takes the share for `bytes`. Small bodies need none, and are copied as small ones.
    fn hold(&mut self, bytes: usize) -> Result<(), BodyError<B::Refused>> {
        if bytes <= SMALL_BYTES_MAX {
            return Ok(());
        }
        let bytes = self.budget.with_copies(bytes);
        self.budget.grow(&mut self.share, bytes).map_err(BodyError::Refused)
    }
}

#[cfg(test)]
mod tests {
    use futures::stream::unfold;

    use super::*;

    /// A budget of these bytes, which nobody gives back.
    struct Fixed(usize);

    impl Budget for Fixed {
        type Share = usize;
        type Refused = usize;

        fn charge(&self, _: usize) {}

        fn with_copies(&self, bytes: usize) -> usize {
            2 * bytes
        }

        fn grow(&self, share: &mut Option<usize>, bytes: usize) -> Result<(), usize> {
            if bytes > self.0 {
                return Err(bytes);
            }
            *share = Some(bytes);
            Ok(())
        }
    }

    const TIMEOUT: Duration = Duration::from_millis(200);

    fn limits() -> Limits {
        Limits { what: "a value", bytes_max: 1 << 20, timeout: TIMEOUT }
    }

    /// A body of `count` pieces of 100 KiB, each after a pause.
    fn slow(count: usize, pause: Duration) -> Body {
        Body::from_stream(unfold(0, move |at| async move {
            tokio::time::sleep(pause).await;
            let piece = Ok::<_, std::io::Error>(Bytes::from(vec![7; 100 << 10]));
            (at < count).then_some((piece, at + 1))
        }))
    }

    async fn large(body: Body, whole_max: usize, stretch: usize) -> Box<Large<Fixed>> {
        let headers = HeaderMap::new();
        match start(Fixed(1 << 20), body, &headers, limits(), whole_max, stretch).await.unwrap() {
            Started::Large(large) => large,
            Started::Whole(whole) => panic!("{whole:?} is small"),
        }
    }

    #[tokio::test]
    async fn a_body_of_unknown_size_takes_memory_for_itself_and_an_announced_one_for_its_copies() {
        let mut headers = HeaderMap::new();
        for (announced, share) in [(false, 100 << 10), (true, 200 << 10)] {
            if announced {
                headers.insert(CONTENT_LENGTH, (100 << 10).into());
            }
            let body = slow(1, Duration::ZERO);
            match start(Fixed(1 << 20), body, &headers, limits(), 256 << 10, 1).await.unwrap() {
                Started::Whole(whole) => assert_eq!(whole.share, Some(share), "{announced}"),
                Started::Large(large) => panic!("{large:?} is large"),
            }
        }
    }

    #[tokio::test]
    async fn a_stretch_has_one_timeout_unless_each_piece_takes_its_time() {
        let pause = TIMEOUT / 2;
        let mut one = large(slow(6, pause), 1, 1 << 20).await;
        let ended = async {
            while one.next().await?.is_some() {}
            Ok::<_, BodyError<usize>>(())
        }
        .await;
        assert!(matches!(ended, Err(BodyError::TooSlow { .. })), "{ended:?}");
        let mut patient = large(slow(6, pause), 1, 1 << 20).await;
        patient.take_time();
        let mut bytes = 0;
        while let Some(piece) = patient.next().await.unwrap() {
            bytes += piece.len();
        }
        assert_eq!(bytes, 6 * (100 << 10));
    }
}
