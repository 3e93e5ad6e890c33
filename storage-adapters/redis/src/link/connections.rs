//! Connections to one server: made, looked at, used and dropped.
//!
//! ```text
//!   ready ── a permit, a place (`slots`), its connection (`slot`)
//!     │         └── none yet: connect ── AUTH, SELECT, TIME, a look
//!     └── a look, if the last one is older than a minute
//!   send ── the requests together, with one deadline
//!   checked ── each answer; an error of the server may end the connection
//!   hear ── the server's time from the answers
//! ```
//!
//! A connection carries many requests at once. It is dropped if it fails, if a request on it got no
//! answer for a few seconds, or if a look on it found that the server does not match (`look`); the
//! next request then makes a new one.
//!
//! The client library's own timeouts (half a second for an answer) and its reconnecting manager are
//! not used: the former would end requests that are merely slow, and the latter delays requests and
//! repeats the handshake without reporting it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aft_store::{Error, TimeHeard};
use redis::{AsyncConnectionConfig, Cmd, Pipeline, Value};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::dial::Dial;
use super::live::Live;
use super::request::Lane;
use super::slot::{Pending, Place, Slot, Unusable};
use super::slots::Slots;
use crate::clock::{self, Here};
use crate::failure::{Failure, Trouble, answered, classify, not_redis};
use crate::layout::Layout;
use crate::location::Location;
use crate::look::{self, Seen, Terms, micros};
use crate::meter::{Class, Meter};
use crate::times::Times;

/// The number of requests in flight at once. With bodies of a few KiB they take a few MiB, and are
/// about a second's work for a server.
const REQUESTS_MAX: usize = 1024;
/// The number of requests that may wait inside the client library for a connection: all of them.
const PIPELINE_MAX: usize = REQUESTS_MAX;
/// The time that a server has to accept a connection and give its first answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A permit, and a connection with a recent look.
pub(super) struct Ready<'a> {
    _turn: SemaphorePermit<'a>,
    place: Place<'a>,
    live: Live,
}

impl<'a> Ready<'a> {
    pub(super) fn slot(&self) -> &'a Slot {
        self.place.slot()
    }

    pub(super) fn live(&self) -> &Live {
        &self.live
    }
}

/// The answers to some requests, which may be errors of the server, and the times at which they
/// were sent and received.
pub(super) struct Answers {
    pub(super) values: Vec<Value>,
    pub(super) sent: Instant,
    pub(super) received: Here,
}

/// The connections to one server.
pub(super) struct Connections {
    dial: Dial,
    location: Location,
    layout: Layout,
    meter: Meter,
    /// The time for which a look is valid.
    look_every: Duration,
    /// The permits for requests in flight.
    turns: Semaphore,
    slots: Slots,
    /// The number of connections made so far.
    count: AtomicU64,
    /// The terms that looks must match, once the store is open.
    terms: OnceLock<Terms>,
    times: Times,
}

impl Connections {
    /// Returns the connections to the server at `location`, none of which is made yet.
    ///
    /// # Errors
    /// Returns an error as [`Dial::new`] does.
    pub(super) fn new(location: Location, look_every: Duration) -> Result<Connections, String> {
        // Each look on a connection in use refreshes the server's time before it expires.
        assert!(look_every < clock::AGE_MAX, "a look comes before times expire");
        Ok(Connections {
            dial: Dial::new(&location)?,
            layout: Layout::new(&location.prefix),
            location,
            meter: Meter::default(),
            look_every,
            turns: Semaphore::new(REQUESTS_MAX),
            slots: Slots::default(),
            count: AtomicU64::new(0),
            terms: OnceLock::new(),
            times: Times::default(),
        })
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(super) fn times_heard(&self) -> Vec<TimeHeard> {
        self.times.take()
    }

    /// Makes every later look be compared with `terms`.
    pub(super) fn settle(&self, terms: Terms) {
        self.terms.set(terms).expect("a store is opened once");
    }

    pub(super) fn terms(&self) -> &Terms {
        self.terms.get().expect("the store is open")
    }

    /// Waits for a permit, and for a connection with a recent look that matched.
    pub(super) async fn ready(
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
        let mut place = self.slots.place(lane, bytes, self.look_every);
        let in_time =
            || Failure::Failed(Error::NoAnswer(format!("{asked}: not sent: no connection in time")));
        loop {
            let slot = place.slot();
            let live = match by(deadline, self.live(asked, slot)).await.ok_or_else(in_time)? {
                Ok(live) => live,
                // The server may have reached its limit of connections: use the first one.
                Err(_) if self.slots.is_spare(slot) => {
                    place = self.slots.on_first(&place);
                    continue;
                }
                Err(error) => return Err(Failure::Failed(error)),
            };
            if live.is_fresh(self.look_every) {
                return Ok(Ready { _turn: turn, place, live });
            }
            // One caller takes the look; the others wait for its result.
            let _looking = by(deadline, live.begin_look()).await.ok_or_else(in_time)?;
            if !live.is_fresh(self.look_every) && slot.holds(live.number()) {
                self.look_again(asked, slot, &live, deadline).await?;
            }
            // Otherwise another caller's look succeeded, or it failed and the slot has the failure:
            // go round again.
        }
    }

    /// Returns the slot's connection, or makes a new one. A caller that waits while another
    /// caller's attempt fails gets the same failure.
    async fn live(&self, asked: &str, slot: &Slot) -> Result<Live, Error> {
        let make = || async {
            // Boxed, since it is large and rarely used, and would be part of every request's
            // future.
            let made = by(Instant::now() + CONNECT_TIMEOUT, Box::pin(self.connect(asked, slot))).await;
            made.unwrap_or_else(|| {
                // A Redis without TLS waits for the end of what it takes for a command.
                let hint = if self.dial.is_tls() { "; does it speak TLS on this port?" } else { "" };
                Err(Unusable::Error(Error::NoAnswer(format!(
                    "{asked}: not sent: no connection and no first answer within {CONNECT_TIMEOUT:?}{hint}"
                ))))
            })
        };
        slot.live_or_make(asked, make).await
    }

    /// Makes a new connection: AUTH, SELECT, TIME, and a look.
    async fn connect(&self, asked: &str, slot: &Slot) -> Result<Live, Unusable> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_MAX);
        let failed = |failure: Failure| Unusable::Error(failure.into_error(asked));
        let connection = self.dial.connect(asked, config).await?;
        let live = Live::new(self.count.fetch_add(1, Ordering::Relaxed), connection);
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
        live.looked(began, seen);
        Ok(())
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
        match self.look(asked, slot, live, deadline).await {
            Ok(()) => Ok(()),
            Err(Unusable::Error(error)) => Err(Failure::Failed(error)),
            Err(Unusable::Unfit(problem)) => {
                Err(Failure::Failed(slot.reject(asked, live.number(), problem).await))
            }
        }
    }

    /// Looks at the server after a request found another identity than the store's, and returns the
    /// request's failure.
    pub(super) async fn estranged(
        &self,
        asked: &str,
        slot: &Slot,
        live: &Live,
        deadline: Instant,
    ) -> Failure {
        live.doubt();
        match self.look_again(asked, slot, live, deadline).await {
            Err(failure) => failure,
            // The store's own identity is back.
            Ok(()) => Failure::Failed(Error::Busy(format!(
                "{asked}: the store's identity was another one for a moment; nothing was done"
            ))),
        }
    }

    /// Queries the server's time.
    pub(super) async fn ask_time(
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
    pub(super) fn hear(&self, live: &Live, sent: Instant, received: Here, at_us: i64) {
        self.times.hear(sent, received.now, at_us);
        if !live.clock().hear(sent, received, at_us) {
            return;
        }
        // The clock was set back. The other connections most likely lead to the same server, so
        // their times are wrong as well.
        for other in self.slots.all().filter_map(Slot::live) {
            if other.number() != live.number() {
                other.clock().forget();
            }
        }
    }

    /// Sends requests together, and returns their answers, if they arrive before `deadline`.
    pub(super) async fn send(
        &self,
        asked: &str,
        slot: &Slot,
        live: &Live,
        requests: &[Cmd],
        deadline: Instant,
    ) -> Result<Answers, Failure> {
        let mut connection = live.connection();
        let sent = Instant::now();
        let pending = Pending::new(slot, live.number(), sent);
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
        pending.end(answer.is_some());
        match answer {
            Some(Ok(values)) => Ok(Answers { values, sent, received: Here::read() }),
            Some(Err(error)) => {
                let Trouble { failure, ends_connection } = classify(asked, &error);
                if ends_connection {
                    slot.forget(live.number());
                    self.slots.forget_idle();
                }
                Err(failure)
            }
            None => {
                slot.forget(live.number());
                Err(Failure::Failed(Error::NoAnswer(format!("{asked}: no answer in time"))))
            }
        }
    }

    /// Returns an answer that is not an error of the server; drops the connection if the error
    /// calls for that.
    pub(super) fn checked(
        &self,
        asked: &str,
        slot: &Slot,
        live: &Live,
        value: Value,
    ) -> Result<Value, Failure> {
        let Value::ServerError(error) = value else { return Ok(value) };
        let trouble = answered(asked, error.code(), error.details().unwrap_or_default());
        let Trouble { failure, ends_connection } = trouble;
        if ends_connection {
            slot.forget(live.number());
        }
        Err(failure)
    }
}

/// Returns the output of a future, if it is ready before `deadline`.
async fn by<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline.into(), future).await.ok()
}
