//! The bytes of a connection: when the last one passed, and how many have come.
//!
//! ```text
//!   hyper ─ Top (counts what comes, keeps refusals) ─ TLS or nothing ─ Timed (notes times) ─ TCP
//! ```
//!
//! Time is noted below TLS, so that a slow line that is in the middle of a record is not silent.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::tls;

/// The type of a record with which TLS refuses a connection, and the major version after it.
const TLS_ALERT: [u8; 2] = [21, 3];

/// The time after a silence in which the runtime looks at the socket once more: some of its turns.
const LAST_LOOK: Duration = Duration::from_millis(5);

/// The bytes with which an answer begins.
const ANSWER_BEGIN: &[u8] = b"HTTP/";
/// The most bytes of another protocol that an error repeats.
const EXCERPT_LEN: usize = 40;

/// The state of a connection's bytes, which the connection and its callers share.
#[derive(Debug)]
pub(crate) struct Watch {
    opened: Instant,
    /// The time of the last byte in either direction, in microseconds since `opened`.
    last_us: AtomicU64,
    /// The number of bytes of HTTP that have come.
    received: AtomicU64,
    /// The reason why the server takes no call on this connection. It has read none.
    refused: OnceLock<String>,
}

impl Watch {
    pub(crate) fn new() -> Arc<Watch> {
        Arc::new(Watch {
            opened: Instant::now(),
            last_us: AtomicU64::new(0),
            received: AtomicU64::new(0),
            refused: OnceLock::new(),
        })
    }

    fn note(&self) {
        self.last_us.fetch_max(us(self.opened.elapsed()), Ordering::Relaxed);
    }

    /// Returns the number of bytes of HTTP that have come on the connection.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Returns the reason why the server has read no call on this connection, and will read none.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.get().filter(|_| self.received() == 0).map(String::as_str)
    }

    /// Waits for `future`. Returns `None` if no byte passes in either direction for `silence`,
    /// counted from this call on.
    ///
    /// After the process stood still (a frozen function, for instance) the time may be over before
    /// the runtime has looked at the socket. So it gets [`LAST_LOOK`] for that.
    pub(crate) async fn unless_silent<T>(
        &self,
        silence: Duration,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        self.note();
        let mut future = pin!(future);
        let mut timer = pin!(tokio::time::sleep(silence));
        let mut has_looked = false;
        loop {
            tokio::select! {
                biased;
                done = &mut future => return Some(done),
                () = &mut timer => {}
            }
            let last = Duration::from_micros(self.last_us.load(Ordering::Relaxed));
            let idle = self.opened.elapsed().saturating_sub(last);
            let left = silence.checked_sub(idle).filter(|left| !left.is_zero());
            if left.is_none() && has_looked {
                return None;
            }
            has_looked = left.is_none();
            let left = left.unwrap_or(LAST_LOOK);
            timer.as_mut().reset(tokio::time::Instant::now() + left);
        }
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A TCP connection that notes when bytes pass.
#[derive(Debug)]
pub(crate) struct Timed {
    tcp: TcpStream,
    watch: Arc<Watch>,
}

impl Timed {
    pub(crate) fn new(tcp: TcpStream, watch: Arc<Watch>) -> Timed {
        Timed { tcp, watch }
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(cx, into);
        if into.filled().len() > before {
            self.watch.note();
        }
        read
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.watch.note();
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(cx, slices);
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.watch.note();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// The stream that HTTP is spoken on.
#[derive(Debug)]
pub(crate) struct Top {
    line: Line,
    watch: Arc<Watch>,
    /// A byte that came while a refusal was looked for.
    ahead: Option<u8>,
}

#[derive(Debug)]
pub(crate) enum Line {
    Plain(Timed),
    Secure(Box<tls::Stream>),
}

impl Top {
    pub(crate) fn new(line: Line, watch: Arc<Watch>) -> Top {
        Top { line, watch, ahead: None }
    }

    /// Keeps the reason if the server refuses the connection before it has answered anything: with
    /// TLS 1.3 it reports a client certificate that it does not accept only after the handshake.
    fn keep_refusal(&self, why: &io::Error) {
        if let Some(reason) = tls::disagreement(why) {
            let _ = self.watch.refused.set(reason);
        }
    }

    /// Reads on after a write has failed: the reason may have come before.
    fn read_refusal(&mut self, cx: &mut Context<'_>) {
        if self.watch.received() > 0 || matches!(self.line, Line::Plain(_)) {
            return;
        }
        let mut one = [0; 1];
        let mut into = ReadBuf::new(&mut one);
        let _ = Pin::new(&mut *self).poll_read(cx, &mut into);
        self.ahead = into.filled().first().copied();
    }

    fn written(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Err(why)) = &written {
            self.keep_refusal(why);
            self.read_refusal(cx);
        }
        written
    }
}

impl AsyncRead for Top {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(byte) = self.ahead.take() {
            assert!(into.remaining() > 0, "a reader has room");
            into.put_slice(&[byte]);
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let read = match &mut self.line {
            Line::Plain(line) => Pin::new(line).poll_read(cx, into),
            Line::Secure(line) => Pin::new(line).poll_read(cx, into),
        };
        let come = &into.filled()[before..];
        if let Poll::Ready(Err(why)) = &read {
            self.keep_refusal(why);
        }
        let is_plain = matches!(self.line, Line::Plain(_));
        if self.watch.received() == 0
            && let Some(reason) = other_protocol(come, is_plain)
        {
            let _ = self.watch.refused.set(reason);
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        self.watch.received.fetch_add(come.len() as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Top {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.line {
            Line::Plain(line) => Pin::new(line).poll_write(cx, bytes),
            Line::Secure(line) => Pin::new(line).poll_write(cx, bytes),
        };
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.line {
            Line::Plain(line) => Pin::new(line).poll_write_vectored(cx, slices),
            Line::Secure(line) => Pin::new(line).poll_write_vectored(cx, slices),
        };
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.line {
            Line::Plain(line) => line.is_write_vectored(),
            Line::Secure(line) => line.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut self.line {
            Line::Plain(line) => Pin::new(line).poll_flush(cx),
            Line::Secure(line) => Pin::new(line).poll_flush(cx),
        };
        self.written(cx, flushed.map_ok(|()| 0)).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.line {
            Line::Plain(line) => Pin::new(line).poll_shutdown(cx),
            Line::Secure(line) => Pin::new(line).poll_shutdown(cx),
        }
    }
}

/// Returns the reason why a server whose first bytes on a connection are `come` understands no
/// call; `None` if they are the beginning of an answer.
fn other_protocol(come: &[u8], is_plain: bool) -> Option<String> {
    if is_plain && come.starts_with(&TLS_ALERT) {
        return Some("the port speaks TLS: write https://".to_owned());
    }
    let len = come.len().min(ANSWER_BEGIN.len());
    if come[..len] == ANSWER_BEGIN[..len] {
        return None;
    }
    let begin = String::from_utf8_lossy(&come[..come.len().min(EXCERPT_LEN)]);
    Some(format!(
        "the server does not speak HTTP, so this is not AFT's answer: it begins with {begin:?}; check the host and the port of the URL"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_of_other_protocols_are_no_answer() {
        for come in ["", "H", "HTTP/", "HTTP/1.1 200 OK"] {
            assert_eq!(other_protocol(come.as_bytes(), true), None, "{come}");
        }
        for come in ["SSH-2.0-OpenSSH_9", "-ERR unknown command", "220 mail", "<html>", "HTML"] {
            let why = other_protocol(come.as_bytes(), true).expect("it is no answer");
            assert!(why.contains("does not speak HTTP") && why.contains(come), "{why}");
        }
        assert!(other_protocol(&[21, 3, 3, 0], true).is_some_and(|why| why.contains("speaks TLS")));
    }
}
