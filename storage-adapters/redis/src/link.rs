//! Requests: sent over few connections that are shared, bounded in number and time, counted, their
//! failures put into words.
//!
//! Connections carry many requests at once. One that fails is forgotten, and so is one on which a
//! request got no answer for some seconds, or on which a look found what does not fit (`look`); the
//! next request makes a new one. Requests that are in flight on a forgotten one keep it until they
//! end. Nothing is repeated here but what the server says it did not run for want of the script.
//!
//! A connection is used only after a look on it, which is repeated once a minute; the server's
//! clock (`clock`) is known by the connection as well. So nothing that was learned from one server
//! is believed of another one to which the address leads later.
//!
//! Small requests go over several connections, since a server reads no more than 16 KiB of each
//! before it syncs: over one, two commits of two values of 4 KiB share a sync, however many wait. A
//! spare one is made when those before it are full, so an idle node has one.
//!
//! The client library's own time-outs (half a second for an answer) and its reconnecting manager
//! are not used: the one would end what is only slow, the other holds requests back and repeats the
//! handshake where nobody sees it.

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

/// Requests in flight at once: with bodies of some KiB these are some MiB, and a second's work of a
/// server.
const REQUESTS_MAX: usize = 1024;
/// Requests that wait inside the client library for a connection to take them: as many as there may
/// be.
const PIPELINE_MAX: usize = REQUESTS_MAX;

/// The time that a request may take, the wait for its turn and for a connection included. Above the
/// time-outs of a node's own calls (5, 10 and 30 s), which bound them first; these are for other
/// callers. For listings:
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// For writes with small bodies.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// For every read of a whole object, which may be large, and for large bodies: 4 MiB at 1 Mbit/s
/// take half a minute.
const LARGE_TIMEOUT: Duration = Duration::from_secs(45);
/// Bodies beyond this size go over a connection of their own, so that small requests do not wait
/// behind them.
const LARGE_BYTES: usize = 64 << 10;
/// Connections for small requests.
const SMALL_COUNT: usize = 8;
/// Bytes in flight with which a connection is full: as many as Redis reads of one at a time
/// (`PROTO_IOBUF_LEN`).
const FULL_BYTES: usize = 16 << 10;
/// Bytes of a request beside its bodies: names, digest, moment, identity; roughly.
const REQUEST_BYTES: usize = 256;

/// A server that does not take a connection, and answer on it, by then is not there or does not
/// serve.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection on which a request that was given up had no answer for so long may be dead, without
/// the system knowing.
const SUSPECT_AFTER: Duration = Duration::from_secs(3);
/// A server that did not fit is looked at again after this time, and calls until then are refused
/// without.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The connections that a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Small,
    Large,
}

impl Lane {
    /// For a body of so many bytes.
    pub(crate) fn of(bytes: usize) -> Lane {
        if bytes > LARGE_BYTES { Lane::Large } else { Lane::Small }
    }
}

/// A request that reads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Read {
    /// A whole object.
    Get(Lane),
    List,
}

/// The run of a script, but for its moment and the store's identity.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) script: Script,
    pub(crate) keys: Vec<Bytes>,
    pub(crate) arguments: Vec<Bytes>,
    /// The size of the bodies.
    pub(crate) bytes: usize,
}

impl Run {
    /// The end of the time that it may take, from now on: not later than `until`.
    pub(crate) fn deadline(&self, until: Option<Instant>) -> Instant {
        let deadline = Instant::now() + self.timeout();
        until.map_or(deadline, |until| until.min(deadline))
    }

    pub(crate) fn timeout(&self) -> Duration {
        match (self.script, Lane::of(self.bytes)) {
            (Script::Scan, _) => READ_TIMEOUT,
            (_, Lane::Small) => WRITE_TIMEOUT,
            (_, Lane::Large) => LARGE_TIMEOUT,
        }
    }

    /// It holds itself to a moment.
    fn is_write(&self) -> bool {
        self.script != Script::Scan
    }
}

/// The answer of a script.
#[derive(Debug)]
pub(crate) struct Ran {
    /// It did what it was asked: else a condition did not hold.
    pub(crate) done: bool,
    /// The rest of its answer, behind status and time.
    pub(crate) rest: Vec<Value>,
}

/// A connection that was looked at.
#[derive(Clone)]
struct Live {
    number: u64,
    connection: MultiplexedConnection,
    learned: Arc<Learned>,
}

/// Knowledge about the server, learned on one connection.
struct Learned {
    clock: Mutex<Clock>,
    /// The last look that fitted, and when it began; `None` before the first, and when it is in
    /// doubt.
    seen: Mutex<Option<(Here, Seen)>>,
    /// Held during a look.
    looking: tokio::sync::Mutex<()>,
}

impl Live {
    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.learned.clock.lock().expect("no holder panics")
    }

    /// Its last look is more recent than that.
    fn is_fresh(&self, look_every: Duration) -> bool {
        let seen = self.learned.seen.lock().expect("no holder panics");
        let Some((began, _)) = seen.as_ref() else { return false };
        let here = Here::read();
        here.now - began.now < look_every && !here.was_suspended_since(*began)
    }
}

/// An attempt to get a connection that failed.
#[derive(Debug)]
struct Failed {
    at: Instant,
    why: Unusable,
}

/// A reason for which a server cannot be used.
#[derive(Debug)]
enum Unusable {
    /// It does not answer, or not as it should.
    Error(Error),
    /// It answers, and does not fit: with what to do.
    Unfit(String),
}

/// One connection, and the making of the next.
#[derive(Default)]
struct Slot {
    live: Mutex<Option<Live>>,
    /// Held while one is made; why the last attempt failed.
    making: tokio::sync::Mutex<Option<Failed>>,
    /// Bytes of the requests in flight on it, or that wait for it.
    in_flight: AtomicUsize,
}

impl Slot {
    fn live(&self) -> Option<Live> {
        self.live.lock().expect("no holder panics").clone()
    }

    fn holds(&self, number: u64) -> bool {
        self.live.lock().expect("no holder panics").as_ref().is_some_and(|live| live.number == number)
    }

    fn forget(&self, number: u64) {
        let mut live = self.live.lock().expect("no holder panics");
        if live.as_ref().is_some_and(|live| live.number == number) {
            *live = None;
        }
    }

    fn bytes(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns true if a spare connection can be used now, or may be made. One that nobody used
    /// since its last look expired is made anew, since it may be dead without the system knowing.
    fn is_open(&self, look_every: Duration) -> bool {
        if let Some(live) = self.live() {
            if self.bytes() > 0 || live.is_fresh(look_every) {
                return true;
            }
            self.forget(live.number);
        }
        // While one is made, and for a while after a failure, the others carry the load.
        let Ok(making) = self.making.try_lock() else { return false };
        making.as_ref().is_none_or(|failed| failed.at.elapsed() >= LOOK_AGAIN)
    }
}

/// A turn, and a connection that was looked at.
struct Ready<'a> {
    _turn: SemaphorePermit<'a>,
    place: Place<'a>,
    live: Live,
}

/// A place on a connection, for so many bytes.
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

/// The answers to some requests, errors of the server among them, and the times around them.
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
    /// The time for which a look is believed.
    look_every: Duration,
    turns: Semaphore,
    small: [Slot; SMALL_COUNT],
    large: Slot,
    connections: AtomicU64,
    /// The terms that looks are held to, once the store is open.
    terms: OnceLock<Terms>,
    times: Times,
    /// The digests by which the server knows the scripts, in their order.
    digests: [OnceLock<String>; Script::ALL.len()],
}

impl Link {
    /// Connects to nobody yet.
    pub(crate) fn new(location: Location, look_every: Duration) -> Result<Link, Error> {
        // A connection in use hears the server's time with each look, before it forgets what it
        // heard.
        assert!(look_every < clock::AGE_MAX, "a look comes before times expire");
        let url = location.to_string();
        // Who, with which password and in which database, is said in the handshake of `connect`, so
        // that each refusal has its own words.
        let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        // The library leaves this off: a small request then waits until the packet before it is
        // acknowledged, for 40 ms where that is delayed.
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

    pub(crate) fn asked(&self, call: &str, name: &dyn std::fmt::Display) -> String {
        format!("{}: {call} {name}", self.url)
    }

    /// The first look at the server.
    pub(crate) async fn first_look(&self, asked: &str) -> Result<Seen, Error> {
        let deadline = Instant::now() + READ_TIMEOUT;
        let ready =
            self.ready(asked, Lane::Small, 0, deadline).await.map_err(|failure| failure.into_error(asked))?;
        let seen = ready.live.learned.seen.lock().expect("no holder panics");
        let (_, seen) = seen.as_ref().expect("a ready connection was looked at");
        Ok(seen.clone())
    }

    /// Gives the store an identity if it has none, and holds every later look to what was seen at
    /// the opening.
    pub(crate) async fn settle(&self, asked: &str, seen: Seen) -> Result<(), Error> {
        let identity = match &seen.identity {
            Some(identity) => identity.clone(),
            None => self.make_identity(asked).await.map_err(|failure| failure.into_error(asked))?,
        };
        let terms = Terms::new(&self.layout, identity, seen);
        self.terms.set(terms).expect("a store is opened once");
        Ok(())
    }

    /// The identity that the store has afterwards: this one, or that of somebody who was faster.
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
        // The identity is asked for behind it: if it is right then, the data before were the
        // store's. So is the time: after a pause the caller knows none, and any answer must bring
        // it.
        let requests = [command, look::identity_get(&self.layout), redis::cmd("TIME")];
        self.meter.sent(class, 0);
        let Answers { values, sent, received } = self.send(asked, slot, &live, &requests, deadline).await?;
        let Ok([value, identity, time]) = <[Value; 3]>::try_from(values) else {
            return Err(Failure::Failed(not_redis(asked, "other than three answers to three requests")));
        };
        let value = self.checked(asked, slot, &live, value)?;
        let time = micros(&self.checked(asked, slot, &live, time)?)
            .ok_or_else(|| Failure::Failed(not_redis(asked, "a time that is none")))?;
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

    /// Runs a script, which does nothing after `deadline`.
    pub(crate) async fn run(&self, asked: &str, run: &Run, deadline: Instant) -> Result<Ran, Error> {
        let mut ran = self.run_once(asked, run, deadline).await;
        if matches!(ran, Err(Failure::NoScript)) {
            // A restart or SCRIPT FLUSH: it ran nothing.
            self.load(asked, run.script, deadline).await.map_err(|failure| failure.into_error(asked))?;
            ran = self.run_once(asked, run, deadline).await;
        }
        ran.map_err(|failure| failure.into_error(asked))
    }

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
            command.arg(self.moment(asked, slot, &live, deadline).await?);
        }
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

    /// The last moment at which a write with this deadline may begin, by the clock of the server at
    /// the other end.
    async fn moment(&self, asked: &str, slot: &Slot, live: &Live, deadline: Instant) -> Result<i64, Failure> {
        let known = || {
            let here = Here::read();
            if deadline < here.now {
                let text = format!("{asked}: not sent: its time is over");
                return Err(Failure::Failed(Error::Busy(text)));
            }
            Ok(live.clock().moment(deadline, here))
        };
        if let Some(moment) = known()? {
            return Ok(moment);
        }
        // Nothing was heard that still holds.
        self.ask_time(asked, slot, live, deadline).await?;
        let busy = || Failure::Failed(Error::Busy(format!("{asked}: not sent: the machine was suspended")));
        known()?.ok_or_else(busy)
    }

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

    /// Takes in the server's time.
    fn hear(&self, live: &Live, sent: Instant, received: Here, at_us: i64) {
        self.times.hear(sent, received.now, at_us);
        if !live.clock().hear(sent, received, at_us) {
            return;
        }
        // The clock was set back: the other connections most likely lead to the same server.
        for other in self.slots().filter_map(Slot::live) {
            if other.number != live.number {
                other.clock().forget();
            }
        }
    }

    async fn digest(&self, asked: &str, script: Script, deadline: Instant) -> Result<&str, Failure> {
        if self.digests[script as usize].get().is_none() {
            self.load(asked, script, deadline).await?;
        }
        Ok(self.digests[script as usize].get().expect("it was loaded"))
    }

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
        // The same text has the same digest.
        let _ = self.digests[script as usize].set(digest);
        Ok(())
    }

    /// Loads every script: what the opening costs, the first writes do not.
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

    /// Chooses a connection for a request with bodies of so many bytes: the first that is not full,
    /// else the one with the least in flight.
    fn place(&self, lane: Lane, bytes: usize) -> Place<'_> {
        let bytes = REQUEST_BYTES + bytes;
        let (first, spare) = match lane {
            Lane::Small => self.small.split_first().expect("there is at least one slot"),
            Lane::Large => return Place::on(&self.large, bytes),
        };
        let has_room = |slot: &Slot| slot.bytes() == 0 || slot.bytes() + bytes <= FULL_BYTES;
        if has_room(first) {
            return Place::on(first, bytes);
        }
        let mut least = first;
        for slot in spare {
            if has_room(slot) && slot.is_open(self.look_every) {
                return Place::on(slot, bytes);
            }
            if slot.live().is_some() && slot.bytes() < least.bytes() {
                least = slot;
            }
        }
        Place::on(least, bytes)
    }

    /// Waits for a turn, and for a connection on which a recent look found nothing amiss.
    async fn ready(
        &self,
        asked: &str,
        lane: Lane,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Ready<'_>, Failure> {
        let Some(turn) = by(deadline, self.turns.acquire()).await else {
            let text = format!("{asked}: not sent: {REQUESTS_MAX} requests are in flight");
            return Err(Failure::Failed(Error::Busy(text)));
        };
        let turn = turn.expect("never closed");
        let mut place = self.place(lane, bytes);
        let in_time =
            || Failure::Failed(Error::NoAnswer(format!("{asked}: not sent: no connection in time")));
        loop {
            let slot = place.slot;
            let live = match by(deadline, self.live(asked, slot)).await.ok_or_else(in_time)? {
                Ok(live) => live,
                // A server may have no more connections to give: the first one does.
                Err(_) if self.is_spare(slot) => {
                    place = Place::on(&self.small[0], place.bytes);
                    continue;
                }
                Err(error) => return Err(Failure::Failed(error)),
            };
            if live.is_fresh(self.look_every) {
                return Ok(Ready { _turn: turn, place, live });
            }
            // One looks, the others wait for what it finds.
            let looking = live.learned.looking.lock();
            let _looking = by(deadline, looking).await.ok_or_else(in_time)?;
            if !live.is_fresh(self.look_every) && slot.holds(live.number) {
                self.look_again(asked, slot, &live, deadline).await?;
            }
            // Else the look failed for another caller, who has left word of it in the slot; or it
            // was good.
        }
    }

    fn is_spare(&self, slot: &Slot) -> bool {
        self.small[1..].iter().any(|spare| std::ptr::eq(spare, slot))
    }

    /// Looks at the server on a connection in use. If it does not fit, the connection is not used
    /// again, and calls are refused for a while.
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

    /// Looks at the server after it showed another identity than the store's.
    async fn estranged(&self, asked: &str, slot: &Slot, live: &Live, deadline: Instant) -> Failure {
        *live.learned.seen.lock().expect("no holder panics") = None;
        match self.look_again(asked, slot, live, deadline).await {
            Err(failure) => failure,
            // It is back.
            Ok(()) => Failure::Failed(Error::Busy(format!(
                "{asked}: the store's identity was another for a moment; nothing was done"
            ))),
        }
    }

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
                // A setting that may not be read is not known; what that means is for the judge of
                // the look.
                Err(Failure::Failed(Error::Refused(_))) if look::MAY_BE_FORBIDDEN.contains(&at) => Value::Nil,
                Err(failure) => return Err(failed(failure)),
            });
        }
        let time = read.pop().as_ref().and_then(micros);
        let time = time.ok_or_else(|| Unusable::Error(not_redis(asked, "no time")))?;
        let seen = Seen::read(&read).map_err(|what| Unusable::Error(not_redis(asked, what)))?;
        self.hear(live, sent, received, time);
        // Before the store is open there is nothing to hold it to.
        if let Some(terms) = self.terms.get() {
            terms.judge(&seen).map_err(Unusable::Unfit)?;
        }
        *live.learned.seen.lock().expect("no holder panics") = Some((began, seen));
        Ok(())
    }

    /// Sends requests in one piece, and takes their answers until their time is up.
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

    /// Forgets the spare connections that nobody uses, since one has ended: they lead to the same
    /// server, and each would fail one more request.
    fn forget_idle(&self) {
        for slot in &self.small[1..] {
            if slot.bytes() == 0
                && let Some(live) = slot.live()
            {
                slot.forget(live.number);
            }
        }
    }

    /// An answer that is no error of the server.
    fn checked(&self, asked: &str, slot: &Slot, live: &Live, value: Value) -> Result<Value, Failure> {
        let Value::ServerError(error) = value else { return Ok(value) };
        let trouble = answered(asked, error.code(), error.details().unwrap_or_default());
        let Trouble { failure, ends_connection } = trouble;
        if ends_connection {
            slot.forget(live.number);
        }
        Err(failure)
    }

    /// The connection that there is, or a new one. Who waits while another one's attempt fails
    /// shares its failure: nobody waits for two.
    async fn live(&self, asked: &str, slot: &Slot) -> Result<Live, Error> {
        if let Some(live) = slot.live() {
            return Ok(live);
        }
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
        // Boxed: it is large and seldom, and every request's future would hold it.
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

    /// A new connection: AUTH, SELECT, TIME, a look.
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
        // The caller ends it before.
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
        for greeting in greetings {
            self.meter.sent(Class::Other, 0);
            let answers = self.send(asked, slot, &live, &[greeting], deadline).await.map_err(failed)?;
            for value in answers.values {
                self.checked(asked, slot, &live, value).map_err(failed)?;
            }
        }
        // Alone: what is no Redis is seen by its first answer.
        self.ask_time(asked, slot, &live, deadline).await.map_err(failed)?;
        self.look(asked, slot, &live, deadline).await?;
        Ok(live)
    }
}

impl Failed {
    /// It says enough about an attempt that would begin now, for a caller who began to wait at
    /// `since`.
    fn counts(&self, since: Instant) -> bool {
        match self.why {
            Unusable::Error(_) => self.at >= since,
            Unusable::Unfit(_) => self.at >= since || self.at.elapsed() < LOOK_AGAIN,
        }
    }

    fn error(&self, asked: &str) -> Error {
        match &self.why {
            Unusable::Error(error) => error.clone(),
            Unusable::Unfit(problem) => Error::Refused(format!("{asked}: {problem}")),
        }
    }
}

/// A request on its way. If it is given up after a while without an answer, its connection is not
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

/// The output of a future, if it comes by then.
async fn by<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline.into(), future).await.ok()
}

/// The answer to TIME, seconds and microseconds, in microseconds.
fn micros(value: &Value) -> Option<i64> {
    let Value::Array(parts) = value else { return None };
    let number = |value: &Value| text(value)?.parse::<i64>().ok().filter(|number| *number >= 0);
    match &parts[..] {
        [seconds, micros] => number(seconds)?.checked_mul(1_000_000)?.checked_add(number(micros)?),
        _ => None,
    }
}
