//! Requests: sent over few connections that are shared, bounded in number and time, counted, their failures put into words.
//!
//! Connections carry many requests at once. One that fails is forgotten, and so is one on which a request got no answer for some seconds; the next
//! request makes a new one. Requests that are under way on a forgotten one keep it until they end. Nothing is repeated here but what the server says
//! it did not run for want of the script.
//!
//! The client library's own time-outs (half a second for an answer) and its reconnecting manager are not used: the one would end what is only slow, the
//! other holds requests back and repeats the handshake where nobody sees it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use aft_store::Error;
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, Value,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::failure::{Failure, Trouble, answered, classify, not_redis};
use crate::location::Location;
use crate::meter::{Class, Meter};
use crate::scripts::Script;

/// Requests under way at once: with bodies of some KiB these are some MiB, and a second's work of a server.
const REQUESTS_MAX: usize = 1024;
/// Requests that wait inside the client library for a connection to take them: as many as there may be.
const PIPELINE_MAX: usize = REQUESTS_MAX;

/// The time that a request may take, the wait for its turn and for a connection included. Above the time-outs of a node's own calls (5, 10
/// and 30 s), which bound them first; these are for other callers.
/// For listings.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// For every read of a whole object, which may be large, and for large bodies: 4 MiB at 1 Mbit/s take half a minute.
const LARGE_TIMEOUT: Duration = Duration::from_secs(45);
/// The longest of them: also how long after its sending a write may at most begin.
pub(crate) const TIMEOUT_MAX: Duration = LARGE_TIMEOUT;
/// Bodies beyond this size go over a connection of their own, so that small requests do not wait behind them.
const LARGE_BYTES: usize = 64 << 10;

/// A server that does not take a connection, and answer on it, by then is not there or does not serve.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection on which a request that was given up had no answer for so long may be dead, without the system knowing.
const SUSPECT_AFTER: Duration = Duration::from_secs(3);

/// Which connection a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Small,
    Large,
}

impl Lane {
    const COUNT: usize = 2;

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
    /// What the opening asks.
    Other,
}

/// A write, but for its last moment.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) script: Script,
    pub(crate) keys: Vec<Bytes>,
    pub(crate) arguments: Vec<Bytes>,
    /// Of the body.
    pub(crate) bytes: usize,
}

#[derive(Clone)]
struct Live {
    number: u64,
    connection: MultiplexedConnection,
}

/// One connection, and the making of the next.
#[derive(Default)]
struct Slot {
    live: Mutex<Option<Live>>,
    /// Held while one is made; why the last attempt failed, and when.
    making: tokio::sync::Mutex<Option<(Instant, Error)>>,
}

impl Slot {
    fn live(&self) -> Option<Live> {
        self.live.lock().expect("nobody panics with it in hand").clone()
    }

    fn forget(&self, number: u64) {
        let mut live = self.live.lock().expect("nobody panics with it in hand");
        if live.as_ref().is_some_and(|live| live.number == number) {
            *live = None;
        }
    }
}

/// A client of one server.
pub(crate) struct Link {
    client: Client,
    location: Location,
    /// The store's URL, for messages.
    pub(crate) url: String,
    pub(crate) meter: Meter,
    turns: Semaphore,
    slots: [Slot; Lane::COUNT],
    connections: AtomicU64,
    /// What the server's clock is ahead of `start`, in milliseconds.
    clock: AtomicI64,
    start: Instant,
    /// The digests by which the server knows the scripts, in their order.
    digests: [OnceLock<String>; Script::ALL.len()],
}

impl Link {
    /// Connects to nobody yet.
    pub(crate) fn new(location: Location) -> Result<Link, Error> {
        let url = location.to_string();
        // Who, with which password and in which database, is said in the handshake of `connect`, so that each refusal has its own words.
        let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        // The library leaves this off: a small request then waits until the packet before it is acknowledged, for 40 ms where that is delayed.
        let sockets = TcpSettings::default().set_nodelay(true);
        let address = ConnectionAddr::Tcp(location.host.clone(), location.port);
        let client = address
            .into_connection_info()
            .and_then(|info| Client::open(info.set_redis_settings(settings).set_tcp_settings(sockets)))
            .map_err(|why| Error::Refused(format!("{url}: {why}")))?;
        Ok(Link {
            client,
            location,
            url,
            meter: Meter::default(),
            turns: Semaphore::new(REQUESTS_MAX),
            slots: Default::default(),
            connections: AtomicU64::new(0),
            clock: AtomicI64::new(0),
            start: Instant::now(),
            digests: Default::default(),
        })
    }

    /// Sends a request that reads.
    pub(crate) async fn read(&self, asked: &str, read: Read, command: &Cmd) -> Result<Value, Error> {
        let (lane, limit, class) = match read {
            Read::Get(lane) => (lane, LARGE_TIMEOUT, Class::Read),
            Read::List => (Lane::Small, READ_TIMEOUT, Class::List),
            Read::Other => (Lane::Small, READ_TIMEOUT, Class::Other),
        };
        let deadline = Instant::now() + limit;
        let sent = self.within(asked, lane, deadline, || {
            self.meter.sent(class, 0);
            command.clone()
        });
        sent.await.map_err(|failure| failure.into_error(asked))
    }

    /// Sends a write: whether it was done.
    pub(crate) async fn write(&self, asked: &str, write: &Write) -> Result<bool, Error> {
        let lane = Lane::of(write.bytes);
        let limit = if lane == Lane::Large { LARGE_TIMEOUT } else { WRITE_TIMEOUT };
        let deadline = Instant::now() + limit;
        let send = async || {
            let digest = self.digest(asked, write.script, deadline).await?;
            self.within(asked, lane, deadline, || {
                self.meter.sent(Class::Write, write.bytes);
                self.command(digest, write, deadline)
            })
            .await
        };
        let mut sent = send().await;
        if matches!(sent, Err(Failure::NoScript)) {
            // A restart or SCRIPT FLUSH: it ran nothing.
            self.load(asked, write.script, deadline).await.map_err(|failure| failure.into_error(asked))?;
            sent = send().await;
        }
        match sent.map_err(|failure| failure.into_error(asked))? {
            Value::Int(1) => Ok(true),
            Value::Int(0) => Ok(false),
            Value::Int(late) if late < 0 => {
                self.set_clock(-late);
                Err(Error::Busy(format!("{asked}: it came to the server too late, who did nothing")))
            }
            other => Err(not_redis(asked, &format!("a script answered {other:?}"))),
        }
    }

    fn command(&self, digest: &str, write: &Write, deadline: Instant) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(digest).arg(write.keys.len());
        for key in &write.keys {
            command.arg(&key[..]);
        }
        command.arg(self.server_time(deadline));
        for argument in &write.arguments {
            command.arg(&argument[..]);
        }
        command
    }

    /// A moment by the server's clock, in milliseconds.
    fn server_time(&self, at: Instant) -> i64 {
        self.clock.load(Ordering::Relaxed) + (at - self.start).as_millis() as i64
    }

    /// The server's clock shows this, or did a moment ago: what follows from it is never too late.
    fn set_clock(&self, shown_ms: i64) {
        self.clock.store(shown_ms - self.start.elapsed().as_millis() as i64, Ordering::Relaxed);
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
        let answer = self
            .within(asked, Lane::Small, deadline, || {
                self.meter.sent(Class::Other, 0);
                command.clone()
            })
            .await?;
        let digest = text(answer).filter(|digest| digest.len() == 40);
        let digest =
            digest.ok_or_else(|| Failure::Failed(not_redis(asked, "a digest of a script that is none")))?;
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

    pub(crate) fn asked(&self, call: &str, name: &dyn std::fmt::Display) -> String {
        format!("{}: {call} {name}", self.url)
    }

    /// Waits for a turn and a connection, sends what `command` makes then, and ends it when its time is up.
    async fn within(
        &self,
        asked: &str,
        lane: Lane,
        deadline: Instant,
        command: impl FnOnce() -> Cmd,
    ) -> Result<Value, Failure> {
        let Ok(turn) = timeout_at(deadline, self.turns.acquire()).await else {
            let text = format!("{asked}: not sent: {REQUESTS_MAX} requests are under way");
            return Err(Failure::Failed(Error::Busy(text)));
        };
        let _turn = turn.expect("never closed");
        let slot = &self.slots[lane as usize];
        let mut live = match timeout_at(deadline, self.live(asked, slot)).await {
            Ok(live) => live.map_err(Failure::Failed)?,
            Err(_) => {
                return Err(Failure::Failed(Error::NoAnswer(format!(
                    "{asked}: not sent: no connection in time"
                ))));
            }
        };
        let mut pending = Pending { slot, number: live.number, since: Instant::now(), answered: false };
        let command = command();
        let answer = timeout_at(deadline, live.connection.send_packed_command(&command)).await;
        pending.answered = answer.is_ok();
        let Ok(answer) = answer else {
            slot.forget(live.number);
            let text = format!("{asked}: no answer in time");
            return Err(Failure::Failed(Error::NoAnswer(text)));
        };
        let trouble = match answer {
            Ok(Value::ServerError(error)) => {
                answered(asked, error.code(), error.details().unwrap_or_default())
            }
            Ok(value) => return Ok(value),
            Err(error) => classify(asked, &error),
        };
        let Trouble { failure, ends_connection } = trouble;
        if ends_connection {
            slot.forget(live.number);
        }
        Err(failure)
    }

    /// The connection that there is, or a new one. Who waits while another one's attempt fails shares its failure: nobody waits for two.
    async fn live(&self, asked: &str, slot: &Slot) -> Result<Live, Error> {
        if let Some(live) = slot.live() {
            return Ok(live);
        }
        let since = Instant::now();
        let mut making = slot.making.lock().await;
        if let Some(live) = slot.live() {
            return Ok(live);
        }
        if let Some((at, error)) = making.as_ref()
            && *at >= since
        {
            return Err(error.clone());
        }
        let made = timeout_at(since.max(Instant::now()) + CONNECT_TIMEOUT, self.connect(asked)).await;
        let made = made.unwrap_or_else(|_| {
            Err(Error::NoAnswer(format!(
                "{asked}: not sent: no connection and no first answer within {CONNECT_TIMEOUT:?}"
            )))
        });
        match made {
            Ok(connection) => {
                let number = self.connections.fetch_add(1, Ordering::Relaxed);
                let live = Live { number, connection };
                *slot.live.lock().expect("nobody panics with it in hand") = Some(live.clone());
                *making = None;
                Ok(live)
            }
            Err(error) => {
                *making = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// A new connection: AUTH, SELECT, TIME.
    async fn connect(&self, asked: &str) -> Result<MultiplexedConnection, Error> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_MAX);
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connection.map_err(|error| classify(asked, &error).failure.into_error(asked))?;
        if let Some(password) = &self.location.password {
            let mut auth = redis::cmd("AUTH");
            if let Some(user) = &self.location.user {
                auth.arg(user);
            }
            auth.arg(password);
            self.greet(asked, &mut connection, &auth).await?;
        }
        if self.location.db != 0 {
            self.greet(asked, &mut connection, redis::cmd("SELECT").arg(self.location.db)).await?;
        }
        let shown = self.greet(asked, &mut connection, &redis::cmd("TIME")).await?;
        let shown = millis(&shown).ok_or_else(|| not_redis(asked, "a time that is none"))?;
        self.set_clock(shown);
        Ok(connection)
    }

    async fn greet(
        &self,
        asked: &str,
        connection: &mut MultiplexedConnection,
        command: &Cmd,
    ) -> Result<Value, Error> {
        self.meter.sent(Class::Other, 0);
        let trouble = match connection.send_packed_command(command).await {
            Ok(Value::ServerError(error)) => {
                answered(asked, error.code(), error.details().unwrap_or_default())
            }
            Ok(value) => return Ok(value),
            Err(error) => classify(asked, &error),
        };
        Err(trouble.failure.into_error(asked))
    }
}

/// A request on its way. If it is given up after a while without an answer, its connection is not used again.
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

/// The text of an answer that is one.
pub(crate) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Of the answer to TIME: seconds and microseconds.
fn millis(value: &Value) -> Option<i64> {
    let Value::Array(parts) = value else { return None };
    let number = |value: &Value| text(value.clone())?.parse::<i64>().ok();
    match &parts[..] {
        [seconds, micros] => number(seconds)?.checked_mul(1_000)?.checked_add(number(micros)? / 1_000),
        _ => None,
    }
}
