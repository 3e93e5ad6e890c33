//! The body of a call on its way.
//!
//! A server may refuse a call before it has all of its body, and close: an answer that has come is then lost if a write fails before it is read. So a large
//! body is announced (`Expect: 100-continue`) and sent when the server asks for it, or says nothing for a while; and it goes in pieces, between
//! which the connection reads.

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

/// A larger body is announced: a round trip is little beside what it costs.
const UNANNOUNCED_BYTES_MAX: usize = 256 << 10;
/// A server that does not know announcements says nothing.
const ANNOUNCED_TIME_MAX: Duration = Duration::from_secs(1);
/// Some round trips of a near server's window.
const PIECE_BYTES: usize = 64 << 10;

/// A body on its way.
pub(crate) struct Outgoing {
    rest: Bytes,
    /// Over when the body may be sent.
    waits: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    /// All of it has been handed to the connection.
    pub(crate) sent: Arc<AtomicBool>,
}

impl Outgoing {
    /// A body; and, if it is to be announced, what to notify when the server asks for it.
    pub(crate) fn new(bytes: Bytes) -> (Outgoing, Option<Arc<Notify>>) {
        let sent = Arc::new(AtomicBool::new(bytes.is_empty()));
        if bytes.len() <= UNANNOUNCED_BYTES_MAX {
            return (Outgoing { rest: bytes, waits: None, sent }, None);
        }
        let asked_for = Arc::new(Notify::new());
        let notified = asked_for.clone();
        let waits = Box::pin(async move {
            // Asked for or not: then it is sent.
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
