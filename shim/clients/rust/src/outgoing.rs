//! The body of a call while it is sent.
//!
//! A server may reject a call before it has received the whole body, and close the connection. Its
//! answer is lost if a write fails before the answer is read. So a large body is announced
//! (`Expect: 100-continue`), and sent when the server asks for it or stays silent for a while. It
//! is sent in pieces, between which the connection reads.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

/// The largest body that is sent without an announcement. For a larger one the extra round trip
/// costs little compared to the body.
const UNANNOUNCED_BYTES_MAX: usize = 256 << 10;
/// The longest wait for the server's answer to the announcement: a server that does not know
/// announcements does not answer it.
const ANNOUNCED_TIME_MAX: Duration = Duration::from_secs(1);
/// The size of a piece: a few round trips of a nearby server's window.
const PIECE_BYTES: usize = 64 << 10;

/// A body while it is sent.
pub(crate) struct Outgoing {
    rest: Bytes,
    /// A future that ends when the body may be sent.
    waits: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    /// True once the whole body has been handed to the connection.
    pub(crate) sent: Arc<AtomicBool>,
}

impl Outgoing {
    /// Makes a body; and, if it has to be announced, also returns the handle to notify when the
    /// server asks for the body.
    pub(crate) fn new(bytes: Bytes) -> (Outgoing, Option<Arc<Notify>>) {
        let sent = Arc::new(AtomicBool::new(bytes.is_empty()));
        if bytes.len() <= UNANNOUNCED_BYTES_MAX {
            return (Outgoing { rest: bytes, waits: None, sent }, None);
        }
        let asked_for = Arc::new(Notify::new());
        let notified = asked_for.clone();
        let waits = Box::pin(async move {
            // After the timeout the body is sent without having been asked for.
            let _ = tokio::time::timeout(ANNOUNCED_TIME_MAX, notified.notified()).await;
        });
        (Outgoing { rest: bytes, waits: Some(waits), sent }, Some(asked_for))
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("len", &self.rest.len()).finish_non_exhaustive()
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(waits) = &mut self.waits {
            ready!(waits.as_mut().poll(cx));
            self.waits = None;
        }
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let len = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(len);
        if self.rest.is_empty() {
            self.sent.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
