//! Large replies. Their bytes hold a share of the memory bound until the last byte has left, and
//! are given to the connection piece by piece.
//!
//! The share lives in the owner of the bytes, so it is given back exactly when they are freed.
//! Bytes that the HTTP library or a connection still holds count as well.
//!
//! Over HTTP/1.1 a reader that stalls stalls its connection, which `stall` ends. Over HTTP/2 it may
//! stall one stream and keep the connection alive. The library then neither polls the body nor
//! offers a way to reset the stream. So [`Progress`] is watched from outside, and the connection is
//! closed.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt as _, empty};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tracing::warn;

/// The most bytes that are given to the connection at once: large enough for few polls, and small
/// enough that a reader of some KiB/s takes a piece within a minute.
const PIECE_BYTES: usize = 256 << 10;

/// Makes a response of `bytes`. If there is a `share`, the bytes are given to the connection in
/// pieces, and the share is held until the last of them has left.
pub fn response<S: Send + Sync + 'static>(bytes: Bytes, share: Option<S>) -> Response {
    let Some(share) = share else { return Response::new(Body::from(bytes)) };
    let progress = Arc::new(Progress::default());
    let left = bytes.len() as u64;
    let lease = Arc::new(Lease { progress: progress.clone(), _share: Some(Box::new(share)) });
    with_progress(Pieces { rest: held(bytes, lease), left, more: empty().boxed(), progress })
}

/// Makes a response of `len` bytes that arrive part by part: `first`, and then `more`. They hold
/// `share` until the last of them has left. An error ends the connection early, so that the client
/// sees that the value is not complete.
pub fn stream<S, E>(
    first: Bytes,
    more: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    len: u64,
    share: Option<S>,
) -> Response
where
    S: Send + Sync + 'static,
    E: fmt::Debug + 'static,
{
    let progress = Arc::new(Progress::default());
    let share = share.map(|share| Box::new(share) as Box<dyn Any + Send + Sync>);
    let lease = Arc::new(Lease { progress: progress.clone(), _share: share });
    let of_more = lease.clone();
    let more = more
        .map(move |part| match part {
            Ok(bytes) => Ok(held(bytes, of_more.clone())),
            Err(why) => Err(format!("{why:?}")),
        })
        .boxed();
    with_progress(Pieces { rest: held(first, lease), left: len, more, progress })
}

fn with_progress(pieces: Pieces) -> Response {
    let progress = pieces.progress.clone();
    let mut response = Response::new(Body::new(pieces));
    response.extensions_mut().insert(progress);
    response
}

fn held(bytes: Bytes, lease: Arc<Lease>) -> Bytes {
    Bytes::from_owner(Held { bytes, _lease: lease })
}

/// The progress of a large reply, as an extension of its response.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pieces: AtomicU64,
    ended: Notify,
}

impl Progress {
    /// Waits for the reply's end. Returns false once no piece has been taken for at least `limit`,
    /// and at most twice that.
    pub(crate) async fn ends(&self, limit: Duration) -> bool {
        let mut seen = None;
        loop {
            let pieces = self.pieces.load(Ordering::Relaxed);
            if seen.replace(pieces) == Some(pieces) {
                return false;
            }
            if tokio::time::timeout(limit, self.ended.notified()).await.is_ok() {
                return true;
            }
        }
    }
}

/// The resources that all bytes of a large reply hold together.
struct Lease {
    progress: Arc<Progress>,
    _share: Option<Box<dyn Any + Send + Sync>>,
}

/// The owner of bytes of a large reply.
struct Held {
    bytes: Bytes,
    _lease: Arc<Lease>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.progress.ended.notify_one();
    }
}

/// A body in slices of one buffer, and then of the buffers that follow it.
struct Pieces {
    rest: Bytes,
    /// The bytes that are still to be sent, including those of `rest`.
    left: u64,
    more: BoxStream<'static, Result<Bytes, String>>,
    progress: Arc<Progress>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        while self.rest.is_empty() {
            match ready!(self.more.poll_next_unpin(cx)) {
                Some(Ok(part)) => self.rest = part,
                // The connection ends early, so the client sees that the value is not complete.
                Some(Err(why)) => {
                    warn!(why, "a large value could not be read to its end: its connection is closed");
                    return Poll::Ready(Some(Err(std::io::Error::other(why))));
                }
                None => return Poll::Ready(None),
            }
        }
        self.progress.pieces.fetch_add(1, Ordering::Relaxed);
        let len = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(len);
        self.left -= len as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const BYTES: usize = 3 * PIECE_BYTES + 1;

    #[tokio::test]
    async fn the_share_is_held_as_long_as_any_piece() {
        let share = Arc::new(());
        let mut body = response(vec![7; BYTES].into(), Some(share.clone())).into_body();
        let mut last = Bytes::new();
        let mut len = 0;
        while let Some(frame) = body.frame().await {
            last = frame.unwrap().into_data().unwrap();
            len += last.len();
        }
        drop(body);
        assert_eq!((len, last.len()), (BYTES, 1));
        assert_eq!(Arc::strong_count(&share), 2, "one byte must keep the whole buffer");
        drop(last);
        assert_eq!(Arc::strong_count(&share), 1);
    }

    #[tokio::test]
    async fn a_stalled_reply_is_noticed_and_a_slow_one_is_not() {
        const LIMIT: Duration = Duration::from_millis(200);
        let response = response(vec![7; BYTES].into(), Some(()));
        let progress = response.extensions().get::<Arc<Progress>>().unwrap().clone();
        let mut body = response.into_body();
        let reader = async {
            for _ in 0..3 {
                tokio::time::sleep(LIMIT / 2).await;
                body.frame().await.unwrap().unwrap();
            }
            // One piece is left, and is never taken.
            std::future::pending::<()>().await;
        };
        let since = std::time::Instant::now();
        tokio::select! {
            ended = progress.ends(LIMIT) => assert!(!ended),
            () = reader => unreachable!("it has no end"),
        }
        assert!(since.elapsed() >= LIMIT * 2, "{:?}", since.elapsed());
        drop(body);
        assert!(progress.ends(LIMIT).await);
    }
}
