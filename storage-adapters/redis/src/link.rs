//! Requests: sent over a few shared connections, bounded in number and time, counted, and with
//! their failures turned into messages.
//!
//! A connection carries many requests at once. It is dropped if it fails, if a request on it got no
//! answer for a few seconds, or if a look on it found that the server does not match (`look`); the
//! next request then makes a new one. Requests that are in flight on a dropped connection keep it
//! until they end. Nothing is retried here except requests that the server did not run because it
//! did not have the script.
//!
//! A connection is used only after a look on it, which is repeated once a minute. The server's
//! clock (`clock`) is kept for each connection as well. So nothing that was learned from one server
//! is applied to another one to which the address leads later.
//!
//! Small requests are spread over several connections, since a server reads no more than 16 KiB of
//! each before it syncs: over a single one, only two commits of two 4 KiB values would share a
//! sync, however many wait. A spare connection is made when those before it are full, so an idle
//! node has one.
//!
//! The client library's own timeouts (half a second for an answer) and its reconnecting manager are
//! not used: the former would end requests that are merely slow, and the latter delays requests and
//! repeats the handshake without reporting it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use aft_store::{Error, TimeHeard};
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo as _, Pipeline,
    RedisConnectionInfo, Value,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::clock::{self, Clock, Here};
use crate::failure::{Failure, Trouble, answered, classify, not_redis};
use crate::layout::Layout;
use crate::location::Location;
use crate::look::{self, Seen, Terms, text};
use crate::meter::{Class, Meter};
use crate::scripts::{ANOTHER_STORE, DONE, LATE, NOT_DONE, Script};
use crate::times::Times;

/// The number of requests in flight at once. With bodies of a few KiB they take a few MiB, and are
/// about a second's work for a server.
const REQUESTS_MAX: usize = 1024;
/// The number of requests that may wait inside the client library for a connection: all of them.
const PIPELINE_MAX: usize = REQUESTS_MAX;

/// The timeout of listings. All timeouts here include the wait for a permit and for a connection.
/// They are longer than those of a node's own calls (5, 10 and 30 s), which end those calls first;
/// these here are for other callers.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of writes with small bodies.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// The timeout of reads of a whole object, which may be large, and of writes with large bodies: 4
/// MiB at 1 Mbit/s take half a minute.
const LARGE_TIMEOUT: Duration = Duration::from_secs(45);
/// The size above which bodies use a separate connection, so that small requests do not wait behind
/// them.
const LARGE_BYTES: usize = 64 << 10;
/// The number of connections for small requests.
const SMALL_COUNT: usize = 8;
/// The number of bytes in flight with which a connection is full: as many as Redis reads from it at
/// a time (`PROTO_IOBUF_LEN`).
const FULL_BYTES: usize = 16 << 10;
/// The approximate size of a request without its bodies: names, digest, moment, identity.
const REQUEST_BYTES: usize = 256;

/// The time that a server has to accept a connection and give its first answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The time without an answer after which a dropped request makes its connection suspect: it may be
/// dead without the system knowing, and is not used again.
const SUSPECT_AFTER: Duration = Duration::from_secs(3);
/// The time after which a server that did not match is looked at again. Until then, calls are
/// rejected without a look.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The connections that a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// One of several connections, for small bodies.
    Small,
    /// A single connection, for large bodies.
    Large,
}

impl Lane {
    /// Returns the lane for a body of `bytes`.
    pub(crate) fn of(bytes: usize) -> Lane {
        if bytes > LARGE_BYTES { Lane::Large } else { Lane::Small }
    }
}

/// A request that reads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Read {
    /// A whole object.
    Get(Lane),
    /// A listing.
    List,
}

/// A run of a script, without its moment and the store's identity.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) script: Script,
    pub(crate) keys: Vec<Bytes>,
    pub(crate) arguments: Vec<Bytes>,
    /// The size of the bodies.
    pub(crate) bytes: usize,
}

impl Run {
    /// Returns the deadline of a run that begins now: after its timeout, but not later than
    /// `until`.
    pub(crate) fn deadline(&self, until: Option<Instant>) -> Instant {
        let deadline = Instant::now() + self.timeout();
        until.map_or(deadline, |until| until.min(deadline))
    }

    /// Returns the time that the run may take.
    pub(crate) fn timeout(&self) -> Duration {
        match (self.script, Lane::of(self.bytes)) {
            (Script::Scan, _) => READ_TIMEOUT,
            (_, Lane::Small) => WRITE_TIMEOUT,
            (_, Lane::Large) => LARGE_TIMEOUT,
        }
    }

    /// Returns true if the script writes, and therefore has a moment.
    fn is_write(&self) -> bool {
        self.script != Script::Scan
    }
}

/// The answer of a script.
#[derive(Debug)]
pub(crate) struct Ran {
    /// True if the script took effect; false if its condition did not hold.
    pub(crate) done: bool,
    /// The rest of its answer, after status and time.
    pub(crate) rest: Vec<Value>,
}

/// A connection.
#[derive(Clone)]
struct Live {
    /// The number of the connection, which no other has.
    number: u64,
    connection: MultiplexedConnection,
    learned: Arc<Learned>,
}

/// The state of the server, as learned on one connection.
struct Learned {
    clock: Mutex<Clock>,
    /// The last look that matched, and the time at which it began; `None` before the first, and
    /// while it is in doubt.
    seen: Mutex<Option<(Here, Seen)>>,
    /// The lock that is held during a look.
    looking: tokio::sync::Mutex<()>,
}

impl Live {
    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.learned.clock.lock().expect("no holder panics")
    }

    /// Returns true if its last look is more recent than `look_every`.
    fn is_fresh(&self, look_every: Duration) -> bool {
        let seen = self.learned.seen.lock().expect("no holder panics");
        let Some((began, _)) = seen.as_ref() else { return false };
        let here = Here::read();
        here.now - began.now < look_every && !here.was_suspended_since(*began)
    }
}

/// A failed attempt to get a connection.
#[derive(Debug)]
struct Failed {
    at: Instant,
    why: Unusable,
}

/// The reasons why a server cannot be used.
#[derive(Debug)]
enum Unusable {
    /// It does not answer, or gives a malformed answer.
    Error(Error),
    /// It answers, but does not match; the text says why, and what to do.
    Unfit(String),
}

/// The place of one connection, and the attempts to make the next.
#[derive(Default)]
struct Slot {
    live: Mutex<Option<Live>>,
    /// The lock that is held while a connection is made, and the failure of the last attempt.
    making: tokio::sync::Mutex<Option<Failed>>,
    /// The size of the requests that are in flight on the connection, or wait for it.
    in_flight: AtomicUsize,
}

impl Slot {
    fn live(&self) -> Option<Live> {
        self.live.lock().expect("no holder panics").clone()
    }

    /// Returns true if the slot still has the connection `number`.
    fn holds(&self, number: u64) -> bool {
        self.live.lock().expect("no holder panics").as_ref().is_some_and(|live| live.number == number)
    }

    /// Drops the connection `number`, if the slot still has it.
    fn forget(&self, number: u64) {
        let mut live = self.live.lock().expect("no holder panics");
        if live.as_ref().is_some_and(|live| live.number == number) {
            *live = None;
        }
    }

    fn bytes(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns true if a spare connection can be used now, or may be made. One that was idle since
    /// its last look expired is dropped first, since it may be dead without the system knowing.
    fn is_open(&self, look_every: Duration) -> bool {
        if let Some(live) = self.live() {
            if self.bytes() > 0 || live.is_fresh(look_every) {
                return true;
            }
            self.forget(live.number);
        }
        // While it is made, and for a while after a failure, the other connections carry the load.
        let Ok(making) = self.making.try_lock() else { return false };
        making.as_ref().is_none_or(|failed| failed.at.elapsed() >= LOOK_AGAIN)
    }
}

/// A permit, and a connection with a recent look.
struct Ready<'a> {
    _turn: SemaphorePermit<'a>,
    place: Place<'a>,
    live: Live,
}

/// The share of a slot that a request of `bytes` takes, until it is dropped.
struct Place<'a> {
    slot: &'a Slot,
    bytes: usize,
}

impl Place<'_> {
    fn on(slot: &Slot, bytes: usize) -> Place<'_> {
        slot.in_flight.fetch_add(bytes, Ordering::Relaxed);
        Place { slot, bytes }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let before = self.slot.in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
        assert!(before >= self.bytes, "a place is released once");
    }
}

/// The answers to some requests, which may be errors of the server, and the times at which they
/// were sent and received.
struct Answers {
    values: Vec<Value>,
    sent: Instant,
    received: Here,
}

/// A client of one server.
pub(crate) struct Link {
    client: Client,
    location: Location,
    layout: Layout,
    /// The store's URL, for messages.
    pub(crate) url: String,
    pub(crate) meter: Meter,
    /// The time for which a look is valid.
    look_every: Duration,
    /// The permits for requests in flight.
    turns: Semaphore,
    small: [Slot; SMALL_COUNT],
    large: Slot,
    /// The number of connections made so far.
    connections: AtomicU64,
    /// The terms that looks must match, once the store is open.
    terms: OnceLock<Terms>,
    times: Times,
    /// The digests by which the server names the scripts, in the order of [`Script::ALL`].
    digests: [OnceLock<String>; Script::ALL.len()],
}

impl Link {
    /// Returns a client that has not connected yet.
    pub(crate) fn new(location: Location, look_every: Duration) -> Result<Link, Error> {
        // Each look on a connection in use refreshes the server's time before it expires.
        assert!(look_every < clock::AGE_MAX, "a look comes before times expire");
        let url = location.to_string();
        // User, password and database are sent by `connect`, so that each rejection has its own
        // message.
        let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        // The library's default is off: a small request then waits until the packet before it is
        // acknowledged, which takes 40 ms with delayed acknowledgements.
        let sockets = TcpSettings::default().set_nodelay(true);
        let address = ConnectionAddr::Tcp(location.host.clone(), location.port);
        let client = address
            .into_connection_info()
            .and_then(|info| Client::open(info.set_redis_settings(settings).set_tcp_settings(sockets)))
            .map_err(|why| Error::Refused(format!("{url}: {why}")))?;
        Ok(Link {
            client,
            layout: Layout::new(&location.prefix),
            location,
            url,
            meter: Meter::default(),
            look_every,
            turns: Semaphore::new(REQUESTS_MAX),
            small: Default::default(),
            large: Slot::default(),
            connections: AtomicU64::new(0),
            terms: OnceLock::new(),
            times: Times::default(),
            digests: Default::default(),
        })
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn times_heard(&self) -> Vec<TimeHeard> {
        self.times.take()
    }

    /// Returns the name of a call for messages: the store, the call and the name.
    pub(crate) fn asked(&self, call: &str, name: &dyn std::fmt::Display) -> String {
        format!("{}: {call} {name}", self.url)
    }

    /// Connects to the server, and returns the first look at it.
    pub(crate) async fn first_look(&self, asked: &str) -> Result<Seen, Error> {
        let deadline = Instant::now() + READ_TIMEOUT;
        let ready =
            self.ready(asked, Lane::Small, 0, deadline).await.map_err(|failure| failure.into_error(asked))?;
        let seen = ready.live.learned.seen.lock().expect("no holder panics");
        let (_, seen) = seen.as_ref().expect("a ready connection was looked at");
        Ok(seen.clone())
    }

    /// Gives the store an identity if it has none, and makes every later look be compared with the
    /// one at the opening.
    pub(crate) async fn settle(&self, asked: &str, seen: Seen) -> Result<(), Error> {
        let identity = match &seen.identity {
            Some(identity) => identity.clone(),
            None => self.make_identity(asked).await.map_err(|failure| failure.into_error(asked))?,
        };
        let terms = Terms::new(&self.layout, identity, seen);
        self.terms.set(terms).expect("a store is opened once");
        Ok(())
    }

    /// Sets an identity if there is none, and returns the store's: another process may have been
    /// faster.
    async fn make_identity(&self, asked: &str) -> Result<Bytes, Failure> {
        let deadline = Instant::now() + WRITE_TIMEOUT;
        let ready = self.ready(asked, Lane::Small, 0, deadline).await?;
        let mut set = redis::cmd("SET");
        set.arg(&self.layout.identity()[..]).arg(format!("{:032x}", rand::random::<u128>())).arg("NX");
        let requests = [set, look::identity_get(&self.layout)];
        self.meter.sent(Class::Other, 0);
        self.meter.sent(Class::Other, 0);
        let slot = ready.place.slot;
        let answers = self.send(asked, slot, &ready.live, &requests, deadline).await?;
        let mut identity = None;
        for value in answers.values {
            identity = Some(self.checked(asked, slot, &ready.live, value)?);
        }
        match identity {
            Some(Value::BulkString(identity)) if !identity.is_empty() => Ok(identity.into()),
            other => Err(Failure::Failed(not_redis(asked, &format!("{other:?} for an identity just set")))),
        }
    }

    /// Sends a request that reads.
    pub(crate) async fn read(&self, asked: &str, read: Read, command: Cmd) -> Result<Value, Error> {
        let (lane, limit, class) = match read {
            Read::Get(lane) => (lane, LARGE_TIMEOUT, Class::Read),
            Read::List => (Lane::Small, READ_TIMEOUT, Class::List),
        };
        let read = self.read_by(asked, lane, class, command, Instant::now() + limit);
        read.await.map_err(|failure| failure.into_error(asked))
    }

    /// Sends a read, and checks after it that the data are the store's.
    async fn read_by(
        &self,
        asked: &str,
        lane: Lane,
        class: Class,
        command: Cmd,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let Ready { _turn, place, live } = self.ready(asked, lane, 0, deadline).await?;
        let slot = place.slot;
        // The identity is read after the data: if it is right, the data were the store's. The time
        // is read too, since a caller that knows none after a pause may get it from any answer.
        let requests = [command, look::identity_get(&self.layout), redis::cmd("TIME")];
        self.meter.sent(class, 0);
        let Answers { values, sent, received } = self.send(asked, slot, &live, &requests, deadline).await?;
        let Ok([value, identity, time]) = <[Value; 3]>::try_from(values) else {
            return Err(Failure::Failed(not_redis(asked, "not three answers to three requests")));
        };
        let value = self.checked(asked, slot, &live, value)?;
        let time = micros(&self.checked(asked, slot, &live, time)?)
            .ok_or_else(|| Failure::Failed(not_redis(asked, "a malformed time")))?;
        self.hear(&live, sent, received, time);
        match self.checked(asked, slot, &live, identity)? {
            Value::BulkString(identity) if identity == *self.terms().identity() => Ok(value),
            Value::BulkString(_) | Value::Nil => Err(self.estranged(asked, slot, &live, deadline).await),
            other => Err(Failure::Failed(not_redis(asked, &format!("{other:?} for an identity")))),
        }
    }

    fn terms(&self) -> &Terms {
        self.terms.get().expect("the store is open")
    }

    /// Runs a script, which has no effect after `deadline`.
    pub(crate) async fn run(&self, asked: &str, run: &Run, deadline: Instant) -> Result<Ran, Error> {
        let mut ran = self.run_once(asked, run, deadline).await;
        if matches!(ran, Err(Failure::NoScript)) {
            // After a restart or SCRIPT FLUSH the server does not have the script, and ran nothing.
            self.load(asked, run.script, deadline).await.map_err(|failure| failure.into_error(asked))?;
            ran = self.run_once(asked, run, deadline).await;
        }
        ran.map_err(|failure| failure.into_error(asked))
    }

    /// Runs a script that the server is expected to have.
    async fn run_once(&self, asked: &str, run: &Run, deadline: Instant) -> Result<Ran, Failure> {
        let digest = self.digest(asked, run.script, deadline).await?;
        let lane = Lane::of(run.bytes);
        let Ready { _turn, place, live } = self.ready(asked, lane, run.bytes, deadline).await?;
        let slot = place.slot;
        let mut command = redis::cmd("EVALSHA");
        command.arg(digest).arg(1 + run.keys.len()).arg(&self.layout.identity()[..]);
        for key in &run.keys {
            command.arg(&key[..]);
        }
        if run.is_write() {
            // The moment is in the time of the server at the other end of this connection.
            command.arg(self.moment(asked, slot, &live, deadline).await?);
        }
        // The script compares the identity itself, at the moment at which it writes.
        command.arg(&self.terms().identity()[..]);
        for argument in &run.arguments {
            command.arg(&argument[..]);
        }
        let class = if run.is_write() { Class::Write } else { Class::List };
        self.meter.sent(class, run.bytes);
        let requests = [command];
        let Answers { mut values, sent, received } =
            self.send(asked, slot, &live, &requests, deadline).await?;
        let value = self.checked(asked, slot, &live, values.pop().unwrap_or(Value::Nil))?;
        let strange =
            |what: &Value| Failure::Failed(not_redis(asked, &format!("a script answered {what:?}")));
        let Value::Array(mut rest) = value else { return Err(strange(&value)) };
        let &[Value::Int(status), Value::Int(now_us), ..] = &rest[..] else {
            return Err(strange(&Value::Array(rest)));
        };
        // `Times` relies on a time after 1970.
        if now_us <= 0 {
            return Err(strange(&Value::Int(now_us)));
        }
        self.hear(&live, sent, received, now_us);
        match status {
            DONE | NOT_DONE => Ok(Ran { done: status == DONE, rest: rest.split_off(2) }),
            LATE => Err(Failure::Failed(Error::Busy(format!(
                "{asked}: it reached the server after its deadline, and took no effect"
            )))),
            ANOTHER_STORE => Err(self.estranged(asked, slot, &live, deadline).await),
            _ => Err(strange(&Value::Int(status))),
        }
    }

    /// Returns the latest time, by the server's clock, at which a write with this deadline may
    /// begin.
    async fn moment(&self, asked: &str, slot: &Slot, live: &Live, deadline: Instant) -> Result<i64, Failure> {
        let known = || {
            let here = Here::read();
            if deadline < here.now {
                let text = format!("{asked}: not sent: its deadline has passed");
                return Err(Failure::Failed(Error::Busy(text)));
            }
            Ok(live.clock().moment(deadline, here))
        };
        if let Some(moment) = known()? {
            return Ok(moment);
        }
        // No valid time is known on this connection.
        self.ask_time(asked, slot, live, deadline).await?;
        let busy = || Failure::Failed(Error::Busy(format!("{asked}: not sent: the machine was suspended")));
        known()?.ok_or_else(busy)
    }

    /// Queries the server's time.
    async fn ask_time(
        &self,
        asked: &str,
        slot: &Slot,
        live: &Live,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let requests = [redis::cmd("TIME")];
        self.meter.sent(Class::Other, 0);
        let Answers { mut values, sent, received } =
            self.send(asked, slot, live, &requests, deadline).await?;
        let shown = self.checked(asked, slot, live, values.pop().unwrap_or(Value::Nil))?;
        let shown = micros(&shown).ok_or_else(|| Failure::Failed(not_redis(asked, "no time")))?;
        self.hear(live, sent, received, shown);
        Ok(())
    }

    /// Records the server's time.
    fn hear(&self, live: &Live, sent: Instant, received: Here, at_us: i64) {
        self.times.hear(sent, received.now, at_us);
        if !live.clock().hear(sent, received, at_us) {
            return;
        }
        // The clock was set back. The other connections most likely lead to the same server, so
        // their times are wrong as well.
        for other in self.slots().filter_map(Slot::live) {
            if other.number != live.number {
                other.clock().forget();
            }
        }
    }

    /// Returns a script's digest, and loads the script if that was not done yet.
    async fn digest(&self, asked: &str, script: Script, deadline: Instant) -> Result<&str, Failure> {
        if self.digests[script as usize].get().is_none() {
            self.load(asked, script, deadline).await?;
        }
        Ok(self.digests[script as usize].get().expect("it was loaded"))
    }

    /// Loads a script into the server.
    async fn load(&self, asked: &str, script: Script, deadline: Instant) -> Result<(), Failure> {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(script.text());
        let requests = [command];
        let Ready { _turn, place, live } = self.ready(asked, Lane::Small, 0, deadline).await?;
        let slot = place.slot;
        self.meter.sent(Class::Other, 0);
        let mut answers = self.send(asked, slot, &live, &requests, deadline).await?;
        let answer = self.checked(asked, slot, &live, answers.values.pop().unwrap_or(Value::Nil))?;
        let digest = text(&answer).filter(|digest| digest.len() == 40);
        let digest = digest.ok_or_else(|| Failure::Failed(not_redis(asked, "no digest of a script")))?;
        // It may be set already: the same text has the same digest.
        let _ = self.digests[script as usize].set(digest);
        Ok(())
    }

    /// Loads every script, so that the first writes need not.
    pub(crate) async fn load_all(&self, asked: &str) -> Result<(), Error> {
        let deadline = Instant::now() + WRITE_TIMEOUT;
        for script in Script::ALL {
            self.load(asked, script, deadline).await.map_err(|failure| failure.into_error(asked))?;
        }
        Ok(())
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.small.iter().chain([&self.large])
    }

    /// Chooses a connection for a request with bodies of `bytes`: the first that is not full, or
    /// else the one with the fewest bytes in flight.
    fn place(&self, lane: Lane, bytes: usize) -> Place<'_> {
        let bytes = REQUEST_BYTES + bytes;
        let (first, spare) = match lane {
            Lane::Small => self.small.split_first().expect("there is at least one slot"),
            Lane::Large => return Place::on(&self.large, bytes),
        };
        let has_room = |slot: &Slot| slot.bytes() == 0 || slot.bytes() + bytes <= FULL_BYTES;
        // Prefer the first connection, so that a quiet node uses only one.
        if has_room(first) {
            return Place::on(first, bytes);
        }
        let mut least = first;
        for slot in spare {
            if has_room(slot) && slot.is_open(self.look_every) {
                return Place::on(slot, bytes);
            }
            // A slot without a connection must not be chosen only because it has nothing in flight.
            if slot.live().is_some() && slot.bytes() < least.bytes() {
                least = slot;
            }
        }
        Place::on(least, bytes)
    }

    /// Waits for a permit, and for a connection with a recent look that matched.
    async fn ready(
        &self,
        asked: &str,
        lane: Lane,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Ready<'_>, Failure> {
        let Some(turn) = by(deadline, self.turns.acquire()).await else {
            let text = format!("{asked}: not sent: {REQUESTS_MAX} other requests are in flight");
            return Err(Failure::Failed(Error::Busy(text)));
        };
        let turn = turn.expect("never closed");
        // Take the place before waiting, so that requests that arrive meanwhile see this one's
        // bytes.
        let mut place = self.place(lane, bytes);
        let in_time =
            || Failure::Failed(Error::NoAnswer(format!("{asked}: not sent: no connection in time")));
        loop {
            let slot = place.slot;
            let live = match by(deadline, self.live(asked, slot)).await.ok_or_else(in_time)? {
                Ok(live) => live,
                // The server may have reached its limit of connections: use the first one.
                Err(_) if self.is_spare(slot) => {
                    place = Place::on(&self.small[0], place.bytes);
                    continue;
                }
                Err(error) => return Err(Failure::Failed(error)),
            };
            if live.is_fresh(self.look_every) {
                return Ok(Ready { _turn: turn, place, live });
            }
            // One caller takes the look; the others wait for its result.
            let looking = live.learned.looking.lock();
            let _looking = by(deadline, looking).await.ok_or_else(in_time)?;
            if !live.is_fresh(self.look_every) && slot.holds(live.number) {
                self.look_again(asked, slot, &live, deadline).await?;
            }
            // Otherwise another caller's look succeeded, or it failed and the slot has the failure:
            // go round again.
        }
    }

    fn is_spare(&self, slot: &Slot) -> bool {
        self.small[1..].iter().any(|spare| std::ptr::eq(spare, slot))
    }

    /// Looks at the server on a connection in use. If the server does not match, the connection is
    /// dropped, and calls are rejected for a while.
    async fn look_again(
        &self,
        asked: &str,
        slot: &Slot,
        live: &Live,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let why = match self.look(asked, slot, live, deadline).await {
            Ok(()) => return Ok(()),
            Err(Unusable::Error(error)) => return Err(Failure::Failed(error)),
            Err(unfit @ Unusable::Unfit(_)) => unfit,
        };
        let mut making = slot.making.lock().await;
        slot.forget(live.number);
        let failed = making.insert(Failed { at: Instant::now(), why });
        Err(Failure::Failed(failed.error(asked)))
    }

    /// Looks at the server after a request found another identity than the store's, and returns the
    /// request's failure.
    async fn estranged(&self, asked: &str, slot: &Slot, live: &Live, deadline: Instant) -> Failure {
        *live.learned.seen.lock().expect("no holder panics") = None;
        match self.look_again(asked, slot, live, deadline).await {
            Err(failure) => failure,
            // The store's own identity is back.
            Ok(()) => Failure::Failed(Error::Busy(format!(
                "{asked}: the store's identity was another one for a moment; nothing was done"
            ))),
        }
    }

    /// Takes a look at the server, and compares it with the terms.
    async fn look(&self, asked: &str, slot: &Slot, live: &Live, deadline: Instant) -> Result<(), Unusable> {
        let began = Here::read();
        let requests = look::requests(&self.layout);
        for _ in &requests {
            self.meter.sent(Class::Other, 0);
        }
        let failed = |failure: Failure| Unusable::Error(failure.into_error(asked));
        let answers = self.send(asked, slot, live, &requests, deadline).await.map_err(failed)?;
        let Answers { values, sent, received } = answers;
        let mut read = Vec::with_capacity(values.len());
        for (at, value) in values.into_iter().enumerate() {
            read.push(match self.checked(asked, slot, live, value) {
                Ok(value) => value,
                // A setting that may not be read counts as unknown, which `Terms::judge` takes into
                // account.
                Err(Failure::Failed(Error::Refused(_))) if look::MAY_BE_FORBIDDEN.contains(&at) => Value::Nil,
                Err(failure) => return Err(failed(failure)),
            });
        }
        // The last answer is the time; the others are the look itself.
        let time = read.pop().as_ref().and_then(micros);
        let time = time.ok_or_else(|| Unusable::Error(not_redis(asked, "no time")))?;
        let seen = Seen::read(&read).map_err(|what| Unusable::Error(not_redis(asked, what)))?;
        self.hear(live, sent, received, time);
        // Before the store is open there are no terms yet.
        if let Some(terms) = self.terms.get() {
            terms.judge(&seen).map_err(Unusable::Unfit)?;
        }
        *live.learned.seen.lock().expect("no holder panics") = Some((began, seen));
        Ok(())
    }

    /// Sends requests together, and returns their answers, if they arrive before `deadline`.
    async fn send(
        &self,
        asked: &str,
        slot: &Slot,
        live: &Live,
        requests: &[Cmd],
        deadline: Instant,
    ) -> Result<Answers, Failure> {
        let mut connection = live.connection.clone();
        let sent = Instant::now();
        let mut pending = Pending { slot, number: live.number, since: sent, answered: false };
        let answer = match requests {
            [request] => {
                let answer = by(deadline, connection.send_packed_command(request)).await;
                answer.map(|answer| answer.map(|value| vec![value]))
            }
            requests => {
                let mut pipeline = Pipeline::with_capacity(requests.len());
                for request in requests {
                    pipeline.add_command(request.clone());
                }
                by(deadline, connection.send_packed_commands(&pipeline, 0, requests.len())).await
            }
        };
        // A dropped request that was answered says nothing against the connection.
        pending.answered = answer.is_some();
        match answer {
            Some(Ok(values)) => Ok(Answers { values, sent, received: Here::read() }),
            Some(Err(error)) => {
                let Trouble { failure, ends_connection } = classify(asked, &error);
                if ends_connection {
                    slot.forget(live.number);
                    self.forget_idle();
                }
                Err(failure)
            }
            None => {
                slot.forget(live.number);
                Err(Failure::Failed(Error::NoAnswer(format!("{asked}: no answer in time"))))
            }
        }
    }

    /// Drops the idle spare connections after one has failed: they lead to the same server, and
    /// each might fail one more request.
    fn forget_idle(&self) {
        for slot in &self.small[1..] {
            if slot.bytes() == 0
                && let Some(live) = slot.live()
            {
                slot.forget(live.number);
            }
        }
    }

    /// Returns an answer that is not an error of the server; drops the connection if the error
    /// calls for that.
    fn checked(&self, asked: &str, slot: &Slot, live: &Live, value: Value) -> Result<Value, Failure> {
        let Value::ServerError(error) = value else { return Ok(value) };
        let trouble = answered(asked, error.code(), error.details().unwrap_or_default());
        let Trouble { failure, ends_connection } = trouble;
        if ends_connection {
            slot.forget(live.number);
        }
        Err(failure)
    }

    /// Returns the slot's connection, or makes a new one. A caller that waits while another
    /// caller's attempt fails gets the same failure, so that no caller waits for two attempts.
    async fn live(&self, asked: &str, slot: &Slot) -> Result<Live, Error> {
        if let Some(live) = slot.live() {
            return Ok(live);
        }
        // Failures from before this time are of no interest to this caller.
        let since = Instant::now();
        let mut making = slot.making.lock().await;
        if let Some(live) = slot.live() {
            return Ok(live);
        }
        if let Some(failed) = making.as_ref()
            && failed.counts(since)
        {
            return Err(failed.error(asked));
        }
        // This caller makes the connection; others wait for the lock.
        // Boxed, since it is large and rarely used, and would be part of every request's future.
        let made = by(Instant::now() + CONNECT_TIMEOUT, Box::pin(self.connect(asked, slot))).await;
        let made = made.unwrap_or_else(|| {
            Err(Unusable::Error(Error::NoAnswer(format!(
                "{asked}: not sent: no connection and no first answer within {CONNECT_TIMEOUT:?}"
            ))))
        });
        match made {
            Ok(live) => {
                *slot.live.lock().expect("no holder panics") = Some(live.clone());
                *making = None;
                Ok(live)
            }
            Err(why) => Err(making.insert(Failed { at: Instant::now(), why }).error(asked)),
        }
    }

    /// Makes a new connection: AUTH, SELECT, TIME, and a look.
    async fn connect(&self, asked: &str, slot: &Slot) -> Result<Live, Unusable> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_MAX);
        let failed = |failure: Failure| Unusable::Error(failure.into_error(asked));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connection.map_err(|error| failed(classify(asked, &error).failure))?;
        let live = Live {
            number: self.connections.fetch_add(1, Ordering::Relaxed),
            connection,
            learned: Arc::new(Learned {
                clock: Mutex::default(),
                seen: Mutex::default(),
                looking: tokio::sync::Mutex::default(),
            }),
        };
        // The caller's own timeout ends this earlier.
        let deadline = Instant::now() + 2 * CONNECT_TIMEOUT;
        let mut greetings = Vec::new();
        if let Some(password) = &self.location.password {
            let mut auth = redis::cmd("AUTH");
            if let Some(user) = &self.location.user {
                auth.arg(user);
            }
            auth.arg(password);
            greetings.push(auth);
        }
        if self.location.db != 0 {
            let mut select = redis::cmd("SELECT");
            select.arg(self.location.db);
            greetings.push(select);
        }
        // Each is sent alone, so that a rejection names its cause.
        for greeting in greetings {
            self.meter.sent(Class::Other, 0);
            let answers = self.send(asked, slot, &live, &[greeting], deadline).await.map_err(failed)?;
            for value in answers.values {
                self.checked(asked, slot, &live, value).map_err(failed)?;
            }
        }
        // Sent alone: the first answer shows whether the server is a Redis.
        self.ask_time(asked, slot, &live, deadline).await.map_err(failed)?;
        self.look(asked, slot, &live, deadline).await?;
        Ok(live)
    }
}

impl Failed {
    /// Returns true if this failure stands in for a new attempt, for a caller that began to wait at
    /// `since`.
    fn counts(&self, since: Instant) -> bool {
        match self.why {
            Unusable::Error(_) => self.at >= since,
            Unusable::Unfit(_) => self.at >= since || self.at.elapsed() < LOOK_AGAIN,
        }
    }

    /// Returns the failure as the error of the call `asked`.
    fn error(&self, asked: &str) -> Error {
        match &self.why {
            Unusable::Error(error) => error.clone(),
            Unusable::Unfit(problem) => Error::Refused(format!("{asked}: {problem}")),
        }
    }
}

/// A request in flight. If it is dropped after a while without an answer, its connection is not
/// used again.
struct Pending<'a> {
    slot: &'a Slot,
    number: u64,
    since: Instant,
    answered: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.answered && self.since.elapsed() >= SUSPECT_AFTER {
            self.slot.forget(self.number);
        }
    }
}

/// Returns the output of a future, if it is ready before `deadline`.
async fn by<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline.into(), future).await.ok()
}

/// Returns the time in an answer to TIME (seconds and microseconds) in microseconds.
fn micros(value: &Value) -> Option<i64> {
    let Value::Array(parts) = value else { return None };
    let number = |value: &Value| text(value)?.parse::<i64>().ok().filter(|number| *number >= 0);
    match &parts[..] {
        [seconds, micros] => number(seconds)?.checked_mul(1_000_000)?.checked_add(number(micros)?),
        _ => None,
    }
}
