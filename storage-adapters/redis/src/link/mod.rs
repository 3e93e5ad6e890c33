//! The link to one server: typed calls on it, with their failures turned into messages.
//!
//! ```text
//!   store, commit, scan, open     callers, with a `request`: its kind, its timeout, its lane
//!     └─ Link                     read: the command, then the identity and the time
//!          │                      run: a script with its moment, loaded first if need be
//!          └─ connections         permits, connecting, looks, sending, errors, times
//!               ├─ dial           a new connection, with TLS or without
//!               └─ slots          the choice among connections
//!                    └─ slot      the place of one connection, and the attempts to make it
//!                         └─ live the connection, and what was learned on it
//! ```
//!
//! Requests are sent over a few shared connections, bounded in number and time, and counted.
//! Nothing is retried here except requests that the server did not run because it did not have the
//! script.
//!
//! A connection is used only after a look on it, which is repeated once a minute. The server's
//! clock (`clock`) is kept for each connection as well. So nothing that was learned from one server
//! is applied to another one to which the address leads later.

mod connections;
mod dial;
mod live;
mod request;
mod slot;
mod slots;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use aft_store::{Error, TimeHeard};
use bytes::Bytes;
use redis::{Cmd, Value};

use crate::clock::Here;
use crate::failure::{Failure, not_redis};
use crate::layout::Layout;
use crate::location::Location;
use crate::look::{self, Seen, Terms, micros, text};
use crate::meter::{Class, Meter};
use crate::scripts::{ANOTHER_STORE, DONE, LATE, NOT_DONE, Script};

use self::connections::{Answers, Connections};
use self::live::Live;
use self::request::{LARGE_TIMEOUT, READ_TIMEOUT, WRITE_TIMEOUT};
pub(crate) use self::request::{Lane, Ran, Read, Run};
use self::slot::Slot;

/// A client of one server.
pub(crate) struct Link {
    connections: Connections,
    /// The store's URL, for messages.
    url: String,
    /// The digests by which the server names the scripts, in the order of [`Script::ALL`].
    digests: [OnceLock<String>; Script::ALL.len()],
}

impl Link {
    /// Returns a client that has not connected yet.
    pub(crate) fn new(location: Location, look_every: Duration) -> Result<Link, Error> {
        let url = location.to_string();
        let connections =
            Connections::new(location, look_every).map_err(|why| Error::Refused(format!("{url}: {why}")))?;
        Ok(Link { connections, url, digests: Default::default() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn layout(&self) -> &Layout {
        self.connections.layout()
    }

    pub(crate) fn meter(&self) -> &Meter {
        self.connections.meter()
    }

    pub(crate) fn times_heard(&self) -> Vec<TimeHeard> {
        self.connections.times_heard()
    }

    /// Returns the name of a call for messages: the store, the call and the name.
    pub(crate) fn asked(&self, call: &str, name: &dyn std::fmt::Display) -> String {
        format!("{}: {call} {name}", self.url)
    }

    /// Connects to the server, and returns the first look at it.
    pub(crate) async fn first_look(&self, asked: &str) -> Result<Seen, Error> {
        let deadline = Instant::now() + READ_TIMEOUT;
        let ready = self.connections.ready(asked, Lane::Small, 0, deadline).await;
        let ready = ready.map_err(|failure| failure.into_error(asked))?;
        Ok(ready.live().seen().expect("a ready connection was looked at"))
    }

    /// Gives the store an identity if it has none, and makes every later look be compared with the
    /// one at the opening.
    pub(crate) async fn settle(&self, asked: &str, seen: Seen) -> Result<(), Error> {
        let identity = match &seen.identity {
            Some(identity) => identity.clone(),
            None => self.make_identity(asked).await.map_err(|failure| failure.into_error(asked))?,
        };
        self.connections.settle(Terms::new(self.layout(), identity, seen));
        Ok(())
    }

    /// Sets an identity if there is none, and returns the store's: another process may have been
    /// faster.
    async fn make_identity(&self, asked: &str) -> Result<Bytes, Failure> {
        let deadline = Instant::now() + WRITE_TIMEOUT;
        let ready = self.connections.ready(asked, Lane::Small, 0, deadline).await?;
        let mut set = redis::cmd("SET");
        set.arg(&self.layout().identity()[..]).arg(format!("{:032x}", rand::random::<u128>())).arg("NX");
        let requests = [set, look::identity_get(self.layout())];
        self.meter().sent(Class::Other, 0);
        self.meter().sent(Class::Other, 0);
        let (slot, live) = (ready.slot(), ready.live());
        let answers = self.connections.send(asked, slot, live, &requests, deadline).await?;
        let mut identity = None;
        for value in answers.values {
            identity = Some(self.connections.checked(asked, slot, live, value)?);
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
        let ready = self.connections.ready(asked, lane, 0, deadline).await?;
        let (slot, live) = (ready.slot(), ready.live());
        // The identity is read after the data: if it is right, the data were the store's. The time
        // is read too, since a caller that knows none after a pause may get it from any answer.
        let requests = [command, look::identity_get(self.layout()), redis::cmd("TIME")];
        self.meter().sent(class, 0);
        let Answers { values, sent, received } =
            self.connections.send(asked, slot, live, &requests, deadline).await?;
        let Ok([value, identity, time]) = <[Value; 3]>::try_from(values) else {
            return Err(Failure::Failed(not_redis(asked, "not three answers to three requests")));
        };
        let value = self.connections.checked(asked, slot, live, value)?;
        let time = micros(&self.connections.checked(asked, slot, live, time)?)
            .ok_or_else(|| Failure::Failed(not_redis(asked, "a malformed time")))?;
        self.connections.hear(live, sent, received, time);
        match self.connections.checked(asked, slot, live, identity)? {
            Value::BulkString(identity) if identity == *self.connections.terms().identity() => Ok(value),
            Value::BulkString(_) | Value::Nil => {
                Err(self.connections.estranged(asked, slot, live, deadline).await)
            }
            other => Err(Failure::Failed(not_redis(asked, &format!("{other:?} for an identity")))),
        }
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
        let ready = self.connections.ready(asked, lane, run.bytes, deadline).await?;
        let (slot, live) = (ready.slot(), ready.live());
        let mut command = redis::cmd("EVALSHA");
        command.arg(digest).arg(1 + run.keys.len()).arg(&self.layout().identity()[..]);
        for key in &run.keys {
            command.arg(&key[..]);
        }
        if run.is_write() {
            // The moment is in the time of the server at the other end of this connection.
            command.arg(self.moment(asked, slot, live, deadline).await?);
        }
        // The script compares the identity itself, at the moment at which it writes.
        command.arg(&self.connections.terms().identity()[..]);
        for argument in &run.arguments {
            command.arg(&argument[..]);
        }
        let class = if run.is_write() { Class::Write } else { Class::List };
        self.meter().sent(class, run.bytes);
        let requests = [command];
        let Answers { mut values, sent, received } =
            self.connections.send(asked, slot, live, &requests, deadline).await?;
        let value = self.connections.checked(asked, slot, live, values.pop().unwrap_or(Value::Nil))?;
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
        self.connections.hear(live, sent, received, now_us);
        match status {
            DONE | NOT_DONE => Ok(Ran { done: status == DONE, rest: rest.split_off(2) }),
            LATE => Err(Failure::Failed(Error::Busy(format!(
                "{asked}: it reached the server after its deadline, and took no effect"
            )))),
            ANOTHER_STORE => Err(self.connections.estranged(asked, slot, live, deadline).await),
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
        self.connections.ask_time(asked, slot, live, deadline).await?;
        let busy = || Failure::Failed(Error::Busy(format!("{asked}: not sent: the machine was suspended")));
        known()?.ok_or_else(busy)
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
        let ready = self.connections.ready(asked, Lane::Small, 0, deadline).await?;
        let (slot, live) = (ready.slot(), ready.live());
        self.meter().sent(Class::Other, 0);
        let mut answers = self.connections.send(asked, slot, live, &requests, deadline).await?;
        let answer =
            self.connections.checked(asked, slot, live, answers.values.pop().unwrap_or(Value::Nil))?;
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
}
