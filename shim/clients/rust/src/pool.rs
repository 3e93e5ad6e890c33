//! The connections to one server: opens them, and keeps those that are idle.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tower::Service as _;

use crate::origin::Origin;
use crate::outgoing::Outgoing;
use crate::settings::{IDLE_CONNECTIONS_MAX, IDLE_TIME_MAX, READY_TIME_MAX};
use crate::tls::{self, Tls};
use crate::transport::{NoAnswer, describe};
use crate::watch::{Line, Timed, Top, Watch};

/// A connection on which no call is in flight.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Outgoing>,
    pub(crate) watch: Arc<Watch>,
    /// True if an earlier call has used it: the server may have closed it meanwhile.
    pub(crate) reused: bool,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
    wall_since: SystemTime,
}

/// The connections to one server.
pub(crate) struct Pool {
    origin: Origin,
    connector: HttpConnector,
    tls: Option<Tls>,
    /// The idle connections, the one that was used last at the end.
    idle: Mutex<VecDeque<Idle>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("origin", &self.origin).finish_non_exhaustive()
    }
}

const POISONED: &str = "no code panics while it holds the idle connections";

impl Pool {
    /// Makes a pool without connections. `tls` is present if and only if the scheme is https.
    pub(crate) fn new(origin: Origin, tls: Option<Tls>) -> Pool {
        assert_eq!(origin.secure, tls.is_some(), "TLS is configured for https, and for nothing else");
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Pool { origin, connector, tls, idle: Mutex::default() }
    }

    pub(crate) fn authority(&self) -> &str {
        &self.origin.authority
    }

    /// Returns an idle connection that is still open; `None` if there is none.
    pub(crate) async fn idle(&self) -> Option<Connection> {
        loop {
            let Idle { mut connection, since, wall_since } = self.idle.lock().expect(POISONED).pop_back()?;
            let wall = SystemTime::now().duration_since(wall_since).ok();
            if is_stale(since.elapsed(), wall) {
                // All others have been idle for longer.
                self.idle.lock().expect(POISONED).clear();
                return None;
            }
            if connection.sender.is_ready() {
                return Some(connection);
            }
            // The task of the connection may not have noticed yet that the last call has ended.
            let ready = tokio::time::timeout(READY_TIME_MAX, connection.sender.ready()).await;
            if let Ok(Ok(())) = ready {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose call has ended.
    pub(crate) fn keep(&self, mut connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        connection.reused = true;
        let idle = Idle { connection, since: Instant::now(), wall_since: SystemTime::now() };
        let mut kept = self.idle.lock().expect(POISONED);
        kept.push_back(idle);
        if kept.len() > IDLE_CONNECTIONS_MAX {
            kept.pop_front();
        }
    }

    /// Opens a connection, with its TLS handshake, within `timeout`.
    pub(crate) async fn open(&self, timeout: Duration) -> Result<Connection, NoAnswer> {
        match tokio::time::timeout(timeout, self.connect()).await {
            Ok(opened) => opened,
            Err(_) => Err(NoAnswer::NotSent(format!(
                "cannot connect to {}: no answer within {timeout:?}",
                self.authority()
            ))),
        }
    }

    async fn connect(&self) -> Result<Connection, NoAnswer> {
        let failed = |why: &(dyn std::error::Error + 'static)| {
            NoAnswer::NotSent(format!("cannot connect to {}: {}", self.authority(), describe(why)))
        };
        // The connector is always ready; the trait asks for a mutable one.
        let tcp = self.connector.clone().call(self.origin.dial.clone()).await;
        let tcp = tcp.map_err(|why| failed(&why))?.into_inner();
        let watch = Watch::new();
        let timed = Timed::new(tcp, watch.clone());
        let line = match &self.tls {
            None => Line::Plain(timed),
            Some(tls) => {
                let stream = tls.connect(timed).await;
                let stream = stream.map_err(|why| match tls::disagreement(&why) {
                    Some(why) => NoAnswer::Refused(format!("cannot connect to {}: {why}", self.authority())),
                    None => failed(&why),
                })?;
                Line::Secure(Box::new(stream))
            }
        };
        let top = TokioIo::new(Top::new(line, watch.clone()));
        let (sender, connection) = http1::handshake(top).await.map_err(|why| failed(&why))?;
        // The task ends when the sender is dropped or the server closes. The call in flight gets
        // the reason.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, watch, reused: false })
    }
}

/// Returns true if a connection that was idle for so long may have been closed by the server. The
/// monotonic clock stands still while a machine sleeps or a process is frozen, so the wall clock
/// counts as well; `wall` is `None` if that one was set back.
fn is_stale(monotonic: Duration, wall: Option<Duration>) -> bool {
    wall.is_none_or(|wall| wall.max(monotonic) >= IDLE_TIME_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_stale_by_either_clock() {
        let s = Duration::from_secs;
        assert!(!is_stale(s(1), Some(s(1))));
        assert!(is_stale(s(20), Some(s(1))));
        assert!(is_stale(s(1), Some(s(20))), "the process was frozen");
        assert!(is_stale(s(1), None), "the wall clock was set back");
    }
}
