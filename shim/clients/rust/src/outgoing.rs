//! The body of a call while it is sent.
//!
//! A server may reject a call before it has received the whole body, and close the connection. Its
//! answer is lost if a write fails before the answer is read. So a large body is announced
//! (`Expect: 100-continue`), and sent when the server asks for it or stays silent for a while. It
//! is sent in pieces, between which the connection reads.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Notify;

/// The largest body that is sent without an announcement. For a larger one the extra round trip
/// costs little compared to the body.
const UNANNOUNCED_BYTES_MAX: u64 = 256 << 10;
/// The longest wait for the server's answer to the announcement: a server that does not know
/// announcements does not answer it.
const ANNOUNCED_TIME_MAX: Duration = Duration::from_secs(1);
/// The size of a piece: a few round trips of a nearby server's window.
const PIECE_BYTES: usize = 64 << 10;

/// The content of a call.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Whole(Bytes),
    /// Bytes that are read while they are sent, once.
    Source(Arc<Source>),
}

/// A source of bytes that can be read once.
pub(crate) struct Source {
    reader: Mutex<Pin<Box<dyn AsyncRead + Send>>>,
    size: Option<u64>,
    /// True once a byte may have been read: the source cannot be sent again.
    touched: AtomicBool,
    /// The reason why the source did not give its bytes.
    failure: Mutex<Option<String>>,
}

const POISONED: &str = "a source that panics ends its call";

impl Source {
    pub(crate) fn new(reader: impl AsyncRead + Send + 'static, size: Option<u64>) -> Arc<Source> {
        Arc::new(Source {
            reader: Mutex::new(Box::pin(reader)),
            size,
            touched: AtomicBool::new(false),
            failure: Mutex::default(),
        })
    }

    /// Reads one piece; an empty one at the end.
    fn poll_piece(&self, cx: &mut Context<'_>, len_max: usize) -> Poll<io::Result<Bytes>> {
        self.touched.store(true, Ordering::Relaxed);
        let mut piece = BytesMut::zeroed(len_max);
        let mut into = ReadBuf::new(&mut piece);
        ready!(self.reader.lock().expect(POISONED).as_mut().poll_read(cx, &mut into))?;
        let len = into.filled().len();
        piece.truncate(len);
        Poll::Ready(Ok(piece.freeze()))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Content {
    /// Returns the number of bytes, if it is known.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Content::Whole(bytes) => Some(bytes.len() as u64),
            Content::Source(source) => source.size,
        }
    }

    /// Returns true if the content cannot be sent again.
    pub(crate) fn is_spent(&self) -> bool {
        match self {
            Content::Whole(_) => false,
            Content::Source(source) => source.touched.load(Ordering::Relaxed),
        }
    }

    /// Returns the reason why the content's source did not give its bytes.
    pub(crate) fn failure(&self) -> Option<String> {
        match self {
            Content::Whole(_) => None,
            Content::Source(source) => source.failure.lock().expect(POISONED).clone(),
        }
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Content {
        Content::Whole(bytes)
    }
}

/// A body while it is sent.
pub(crate) struct Outgoing {
    content: Content,
    /// The number of bytes that are left to send, if it is known.
    left: Option<u64>,
    /// A future that ends when the body may be sent.
    waits: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    /// True once the whole body has been handed to the connection.
    pub(crate) sent: Arc<AtomicBool>,
}

impl Outgoing {
    /// Makes a body; and, if it has to be announced, also returns the handle to notify when the
    /// server asks for the body.
    pub(crate) fn new(content: Content) -> (Outgoing, Option<Arc<Notify>>) {
        let left = content.size();
        let sent = Arc::new(AtomicBool::new(left == Some(0)));
        if left.is_some_and(|left| left <= UNANNOUNCED_BYTES_MAX) {
            return (Outgoing { content, left, waits: None, sent }, None);
        }
        let asked_for = Arc::new(Notify::new());
        let notified = asked_for.clone();
        let waits = Box::pin(async move {
            // After the timeout the body is sent without having been asked for.
            let _ = tokio::time::timeout(ANNOUNCED_TIME_MAX, notified.notified()).await;
        });
        (Outgoing { content, left, waits: Some(waits), sent }, Some(asked_for))
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(waits) = &mut self.waits {
            ready!(waits.as_mut().poll(cx));
            self.waits = None;
        }
        let left = self.left.unwrap_or(u64::MAX);
        if left == 0 {
            return Poll::Ready(None);
        }
        let len_max = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let is_open_ended = self.left.is_none();
        let piece = match &mut self.content {
            Content::Whole(rest) => rest.split_to(len_max),
            Content::Source(source) => match ready!(source.poll_piece(cx, len_max)) {
                Ok(piece) if piece.is_empty() && is_open_ended => {
                    self.left = Some(0);
                    self.sent.store(true, Ordering::Relaxed);
                    return Poll::Ready(None);
                }
                Ok(piece) if !piece.is_empty() => piece,
                failed => {
                    let why = match failed {
                        Ok(_) => format!("the source ended {left} bytes before the size that was given"),
                        Err(why) => format!("the source failed: {why}"),
                    };
                    *source.failure.lock().expect(POISONED) = Some(why.clone());
                    return Poll::Ready(Some(Err(io::Error::other(why))));
                }
            },
        };
        if let Some(left) = &mut self.left {
            *left -= piece.len() as u64;
            if *left == 0 {
                self.sent.store(true, Ordering::Relaxed);
            }
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
