//! Accepts connections: HTTP/1.1 with keep-alive, and HTTP/2. Without TLS the version is recognized
//! by the first bytes, with TLS it is negotiated (ALPN).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderValue, Request, Version};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::places::{Place, Places};
use crate::reply::Progress;
use crate::settings::Settings;
use crate::stall::Impatient;
use crate::tls::{Accepted, Peer, Tls};

/// The most bytes of a call's head that hyper buffers before it rejects the call without a body. It
/// is above the limit in the settings, so that our own answer, which has the numbers, comes first.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The most streams of one HTTP/2 connection; each is a call.
const STREAMS_MAX: u32 = 256;
/// The first bytes of an HTTP/2 connection.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The number of bytes that the server reads to find the version, before its own timers start.
const VERSION_BYTES: usize = HTTP2_PREFACE.len();

/// The pause before an incomplete preface is checked again.
const PEEK_PAUSE: Duration = Duration::from_millis(20);

/// The time for which a server that stops answers further calls on connections that are kept, each
/// with the note that the connection ends. A client that has just sent a call on one that closes
/// cannot know whether the call was carried out.
const LINGER: Duration = Duration::from_secs(1);

/// The pause after an accept that failed, such as for lack of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Returns the bytes of all header names and values of a call. The door compares them with
/// [`Settings::header_bytes_max`], since its protocol defines the answer.
pub fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Serves `router` until `stop` completes. Then it accepts no new connection, finishes the calls in
/// flight within the settings' `stop_timeout`, and returns. With `tls`, connections that do not
/// speak TLS are dropped.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: &Settings,
    tls: Option<Arc<Tls>>,
    stop: impl Future<Output = ()>,
) {
    let mut stop = std::pin::pin!(stop);
    let places = Places::new(settings.connections_max, settings.connections_per_peer_max);
    let server = server(settings);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let first_bytes = settings.header_timeout;
        let stall = settings.reply_stall_timeout;
        let (tls, router, server) = (tls.clone(), router.clone(), server.clone());
        tokio::spawn(async move {
            let served = async {
                match tls {
                    // The server's own timers start only with the first bytes of HTTP, so a silent
                    // connection is dropped here: its place would be lost.
                    None if speaks_within(&stream, first_bytes).await => {
                        let line = Line { router, server, stall, peer: None, place: &place };
                        line.serve(Impatient::new(stream, stall)).await;
                    }
                    None => {}
                    // Boxed, so that a connection without TLS has no room for its state.
                    Some(tls) => {
                        let served = async {
                            match tls.accept(stream, stall, first_bytes).await {
                                Ok(Accepted { stream, http2, peer }) => {
                                    let server =
                                        if http2 { server.http2_only() } else { server.http1_only() };
                                    Line { router, server, stall, peer, place: &place }.serve(stream).await;
                                }
                                Err(why) => debug!("a connection ended during the TLS handshake: {why}"),
                            }
                        };
                        Box::pin(served).await;
                    }
                }
            };
            tokio::select! {
                () = served => {}
                () = place.cut() => debug!("a connection without a call is closed to make room"),
            }
        });
    }
    // Connections that arrive from now on are refused by the kernel.
    drop(listener);
    let timeout = settings.stop_timeout;
    if tokio::time::timeout(timeout, places.empty()).await.is_err() {
        warn!(
            "calls were still in flight {} s after the stop: their connections are closed",
            timeout.as_secs()
        );
    }
}

/// A connection, with the parts that serve it.
struct Line<'p> {
    router: Router,
    server: Builder<TokioExecutor>,
    stall: Duration,
    peer: Option<Peer>,
    place: &'p Place,
}

impl Line<'_> {
    async fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Line { router, server, stall, peer, place } = self;
        let cut = Arc::new(Notify::new());
        let service = service_fn(|mut request: Request<Incoming>| {
            if let Some(peer) = &peer {
                request.extensions_mut().insert(peer.clone());
            }
            let in_call = place.call();
            // HTTP/2 says it in a frame of its own.
            let says_close = request.version() < Version::HTTP_2;
            let answered = call(router.clone(), request, stall, cut.clone());
            async move {
                let mut answer = answered.await;
                if let Ok(answer) = &mut answer
                    && says_close
                    && in_call.is_closing()
                {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                drop(in_call);
                answer
            }
        });
        let mut connection = std::pin::pin!(server.serve_connection(TokioIo::new(stream), service));
        let mut linger = std::pin::pin!(tokio::time::sleep(LINGER));
        let mut lingers = false;
        loop {
            tokio::select! {
                ended = &mut connection => {
                    if let Err(why) = ended {
                        debug!("a connection ended: {why}");
                    }
                    return;
                }
                () = cut.notified() => {
                    debug!("a connection is closed: its peer read nothing of a large reply in time");
                    return;
                }
                // An idle connection ends at once, another one after its calls in flight.
                () = place.leave(), if !lingers => match place.is_closing() {
                    true => {
                        lingers = true;
                        linger.as_mut().reset(tokio::time::Instant::now() + LINGER);
                    }
                    false => connection.as_mut().graceful_shutdown(),
                },
                () = &mut linger, if lingers => {
                    lingers = false;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Serves one call. Over HTTP/2, `cut` is notified if the peer stalls a large reply. Over HTTP/1.1
/// the socket's own limit ends the connection.
async fn call(
    router: Router,
    request: Request<Incoming>,
    stall: Duration,
    cut: Arc<Notify>,
) -> Result<Response, Infallible> {
    let streams = request.version() == Version::HTTP_2;
    let response = router.oneshot(request.map(Body::new)).await?;
    if let (true, Some(progress)) = (streams, response.extensions().get::<Arc<Progress>>().cloned()) {
        tokio::spawn(async move {
            if !progress.ends(stall).await {
                cut.notify_one();
            }
        });
    }
    Ok(response)
}

/// Returns true if enough bytes arrive within `limit` to recognize the version of HTTP. The
/// server's own timers start only then, and until then the connection would hold its place.
async fn speaks_within(stream: &TcpStream, limit: Duration) -> bool {
    let enough = async {
        let mut first = [0; VERSION_BYTES];
        let mut seen = 0;
        loop {
            match stream.peek(&mut first).await {
                Ok(0) | Err(_) => return false,
                Ok(len) if len == VERSION_BYTES || !HTTP2_PREFACE.starts_with(&first[..len]) => return true,
                // A peek returns at once while unread bytes are there, so without a pause an
                // incomplete preface would keep this loop busy.
                Ok(len) if len == seen => tokio::time::sleep(PEEK_PAUSE).await,
                Ok(len) => seen = len,
            }
        }
    };
    tokio::time::timeout(limit, enough).await.unwrap_or(false)
}

/// Accepts the next connection, and waits for a place for it; `None` if the accept failed, or if
/// the peer has too many connections.
async fn accept(listener: &TcpListener, places: &Places) -> Option<(TcpStream, Place)> {
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Answers are complete when they are written, so waiting for more bytes would only
            // delay them. If the option cannot be set, they are delayed.
            let _ = stream.set_nodelay(true);
            let place = places.take(peer.ip().to_canonical()).await?;
            Some((stream, place))
        }
        Err(why) => {
            warn!("accept failed: {why}");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn server(settings: &Settings) -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .keep_alive_interval(settings.header_timeout);
    server
}
