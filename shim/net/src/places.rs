//! The places for connections: how many there are, for all peers and for one, and which connection
//! gives its place up if they run out.
//!
//! A connection that no call uses costs its peer nothing, so a few thousands of them must not keep
//! others out. If a place is needed and none is free, the connection that has been idle for longest
//! leaves. Connections in use stay: if all places are in use, new connections wait in the kernel's
//! queue.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tokio::sync::Notify;
use tracing::warn;

/// The time after which an idle connection may lose its place to another peer. A client that
/// connects sends its first call well within it.
const IDLE_TIME_MIN: Duration = Duration::from_secs(1);
/// The pause after which the places are looked at again, if no connection could be closed.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The shortest time between two log lines about a peer that has too many connections.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// The places for the connections of one listener.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places_max: usize,
    of_peer_max: usize,
    /// The start of the clock that counts idle times.
    start: Instant,
    taken: Mutex<Taken>,
    /// Notified when a place is given back.
    freed: Notify,
    /// True once all connections are to end.
    closing: AtomicBool,
}

#[derive(Debug, Default)]
struct Taken {
    /// The number of the next connection.
    next: u64,
    /// The connections, by number.
    seats: BTreeMap<u64, Arc<Seat>>,
    of_peer: BTreeMap<IpAddr, usize>,
    /// The time of the last log line about a peer that has too many connections.
    logged: Option<Instant>,
}

/// The state of one connection.
#[derive(Debug)]
struct Seat {
    peer: IpAddr,
    /// The calls in flight.
    calls: AtomicU32,
    /// The time since which no call has begun or ended, in milliseconds from [`Inner::start`].
    idle_since_ms: AtomicU64,
    /// The calls that have begun, ever.
    begun: AtomicU64,
    /// Notified to end the connection after the calls in flight.
    leave: Notify,
    /// Notified to end the connection at once: it has never carried a call.
    cut: Notify,
}

/// A connection's place, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    inner: Arc<Inner>,
    number: u64,
    seat: Arc<Seat>,
}

/// A call in flight, until this is dropped.
pub(crate) struct InCall(Arc<Inner>, Arc<Seat>);

impl Places {
    /// Makes `places_max` places, of which one peer address may take `of_peer_max`.
    pub(crate) fn new(places_max: usize, of_peer_max: usize) -> Places {
        assert!(places_max > 0 && of_peer_max > 0, "without a place nobody is served");
        Places(Arc::new(Inner {
            places_max,
            of_peer_max,
            start: Instant::now(),
            taken: Mutex::default(),
            freed: Notify::new(),
            closing: AtomicBool::new(false),
        }))
    }

    /// Returns a place for a connection from `peer`, once there is one; `None` if the peer has as
    /// many connections as it may, all of them in use.
    pub(crate) async fn take(&self, peer: IpAddr) -> Option<Place> {
        loop {
            // Created before the look at the places, so that none that is freed meanwhile is
            // missed.
            let freed = self.0.freed.notified();
            {
                let mut taken = self.0.taken();
                let own = taken.of_peer.get(&peer).copied().unwrap_or(0);
                let full = taken.seats.len() >= self.0.places_max;
                if own >= self.0.of_peer_max {
                    // A peer with too many connections harms only itself if it loses a young one.
                    let own = |seat: &Seat| seat.peer == peer;
                    let Some(idle) = self.0.longest_idle(&taken, Duration::ZERO, own) else {
                        self.0.note_refused(&mut taken, peer);
                        return None;
                    };
                    idle.end();
                } else if full {
                    if let Some(idle) = self.0.longest_idle(&taken, IDLE_TIME_MIN, |_| true) {
                        idle.end();
                    }
                } else {
                    return Some(self.0.seat(&mut taken, peer));
                }
            }
            // A place that is not given back in time is looked for again: a connection may have
            // become idle, or the one that was to end has begun another call.
            let _ = tokio::time::timeout(LOOK_AGAIN, freed).await;
        }
    }

    /// Ends every connection after its calls in flight, and returns when all have ended.
    pub(crate) async fn empty(&self) {
        self.0.closing.store(true, Ordering::Relaxed);
        loop {
            let freed = self.0.freed.notified();
            {
                let taken = self.0.taken();
                if taken.seats.is_empty() {
                    return;
                }
                taken.seats.values().for_each(|seat| seat.end());
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, freed).await;
        }
    }
}

impl Inner {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().expect("nothing panics while it holds the places")
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).expect("a process does not run for ages")
    }

    fn seat(self: &Arc<Inner>, taken: &mut Taken, peer: IpAddr) -> Place {
        let number = taken.next;
        taken.next += 1;
        let seat = Arc::new(Seat {
            peer,
            calls: AtomicU32::new(0),
            idle_since_ms: AtomicU64::new(self.now_ms()),
            begun: AtomicU64::new(0),
            leave: Notify::new(),
            cut: Notify::new(),
        });
        *taken.of_peer.entry(peer).or_default() += 1;
        let double = taken.seats.insert(number, seat.clone());
        assert!(double.is_none(), "connection {number} has two places");
        assert!(taken.seats.len() <= self.places_max, "there are more connections than places");
        gauge!("aft_http_connections").set(taken.seats.len() as f64);
        Place { inner: self.clone(), number, seat }
    }

    /// Returns the connection that has been idle for longest and at least for `least`, of those
    /// that `may` names.
    fn longest_idle(&self, taken: &Taken, least: Duration, may: impl Fn(&Seat) -> bool) -> Option<Arc<Seat>> {
        let latest = self.now_ms().checked_sub(least.as_millis() as u64)?;
        let idle = taken.seats.values().filter(|seat| may(seat) && seat.calls.load(Ordering::Relaxed) == 0);
        let since = |seat: &Arc<Seat>| seat.idle_since_ms.load(Ordering::Relaxed);
        let longest = idle.min_by_key(|seat| since(seat)).filter(|seat| since(seat) <= latest);
        if longest.is_some() {
            counter!("aft_http_connections_closed_total", "reason" => "idle").increment(1);
        }
        longest.cloned()
    }

    fn note_refused(&self, taken: &mut Taken, peer: IpAddr) {
        counter!("aft_http_connections_closed_total", "reason" => "peer").increment(1);
        if taken.logged.is_none_or(|logged| logged.elapsed() >= LOG_PAUSE) {
            taken.logged = Some(Instant::now());
            warn!(
                %peer,
                connections = self.of_peer_max,
                "connections are closed: their peer has as many in use as one address may have; raise doors.connections_per_peer_max if it is a proxy"
            );
        }
    }
}

impl Seat {
    /// Asks the connection to end: after its calls, or at once if it has never carried one.
    fn end(&self) {
        if self.begun.load(Ordering::Relaxed) == 0 { self.cut.notify_one() } else { self.leave.notify_one() }
    }
}

impl Place {
    /// Notes that a call has begun.
    pub(crate) fn call(&self) -> InCall {
        let seat = &self.seat;
        seat.begun.fetch_add(1, Ordering::Relaxed);
        seat.calls.fetch_add(1, Ordering::Relaxed);
        InCall(self.inner.clone(), seat.clone())
    }

    /// Returns once the connection is to end after the calls in flight.
    pub(crate) async fn leave(&self) {
        self.seat.leave.notified().await;
    }

    /// Returns true once the server closes all connections ([`Places::empty`]).
    pub(crate) fn is_closing(&self) -> bool {
        self.inner.closing.load(Ordering::Relaxed)
    }

    /// Returns once the connection is to end at once.
    pub(crate) async fn cut(&self) {
        self.seat.cut.notified().await;
    }
}

impl InCall {
    /// Returns true once the server closes all connections ([`Places::empty`]).
    pub(crate) fn is_closing(&self) -> bool {
        self.0.closing.load(Ordering::Relaxed)
    }
}

impl Drop for InCall {
    fn drop(&mut self) {
        let InCall(inner, seat) = self;
        seat.idle_since_ms.store(inner.now_ms(), Ordering::Relaxed);
        let calls = seat.calls.fetch_sub(1, Ordering::Relaxed);
        assert!(calls > 0, "a call ended that had not begun");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.inner.taken();
        let seat = taken.seats.remove(&self.number);
        assert!(seat.is_some(), "connection {} has no place", self.number);
        let own = taken.of_peer.get_mut(&self.seat.peer).expect("the peer of a place is counted");
        *own -= 1;
        if *own == 0 {
            taken.of_peer.remove(&self.seat.peer);
        }
        gauge!("aft_http_connections").set(taken.seats.len() as f64);
        drop(taken);
        self.inner.freed.notify_waiters();
        self.inner.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    async fn taken(places: &Places, peer: IpAddr) -> Place {
        let taken = tokio::time::timeout(Duration::from_secs(10), places.take(peer)).await;
        taken.expect("there is a place soon").expect("the peer may have one more")
    }

    #[tokio::test]
    async fn the_longest_idle_connection_makes_room() {
        let places = Places::new(3, 3);
        let (busy, idle, later) =
            (taken(&places, ONE).await, taken(&places, ONE).await, taken(&places, ONE).await);
        drop(idle.call());
        let in_call = busy.call();
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(later.call());
        let asked = tokio::spawn(async move {
            idle.leave().await;
            drop(idle);
        });
        let _new = taken(&places, OTHER).await;
        asked.await.expect("the idle one is asked to leave");
        drop((in_call, later));
    }

    #[tokio::test]
    async fn a_connection_that_never_sent_a_call_is_cut() {
        let places = Places::new(1, 1);
        let silent = taken(&places, ONE).await;
        let cut = tokio::spawn(async move {
            silent.cut().await;
            drop(silent);
        });
        taken(&places, OTHER).await;
        cut.await.expect("it is cut");
    }

    #[tokio::test]
    async fn a_peer_with_all_its_connections_in_use_gets_no_other() {
        let places = Places::new(4, 2);
        let (a, b) = (taken(&places, ONE).await, taken(&places, ONE).await);
        let calls = (a.call(), b.call());
        assert!(places.take(ONE).await.is_none());
        taken(&places, OTHER).await;
        drop(calls);
        drop(b);
        taken(&places, ONE).await;
    }

    #[tokio::test]
    async fn a_new_connection_waits_while_all_are_in_use() {
        let places = Places::new(1, 1);
        let only = taken(&places, ONE).await;
        let call = only.call();
        let waited = tokio::time::timeout(Duration::from_millis(200), places.take(OTHER)).await;
        assert!(waited.is_err(), "{waited:?}");
        drop(call);
        drop(only);
        taken(&places, OTHER).await;
    }

    #[tokio::test]
    async fn emptying_waits_for_the_last_connection() {
        let places = Places::new(2, 2);
        let place = taken(&places, ONE).await;
        drop(place.call());
        let emptied = tokio::spawn({
            let places = places.clone();
            async move { places.empty().await }
        });
        place.leave().await;
        assert!(!emptied.is_finished());
        drop(place);
        emptied.await.expect("it ends");
    }
}
