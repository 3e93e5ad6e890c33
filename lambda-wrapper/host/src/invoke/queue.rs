//! Events: invocations that nobody waits for. Each is retried by Lambda's rules (`retries`).

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::perform::perform;
use super::{Delivery, Invoke, InvokeError, Invoked};
use crate::logs::{Line, Source};
use crate::pool::Pool;
use crate::retries::{Attempted, Next, Retries};

/// The events that a host holds at once, so that senders which are faster than their functions do
/// not fill the memory. More are throttled.
const EVENTS_MAX: usize = 10_000;

/// The places for events.
#[derive(Debug)]
pub(crate) struct Queue(Arc<Semaphore>);

impl Default for Queue {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(EVENTS_MAX)))
    }
}

/// An event that was taken.
#[derive(Debug)]
pub struct Queued {
    /// Its request ID, which all its deliveries and retries share.
    pub request_id: String,
    /// One end for each delivery.
    ends: mpsc::UnboundedReceiver<EventEnd>,
}

impl Queued {
    /// Waits for the end of the next delivery to end. Returns `None` if all have ended, or if the
    /// host ended first.
    pub async fn end(&mut self) -> Option<EventEnd> {
        self.ends.recv().await
    }
}

/// The end of one delivery of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventEnd {
    /// The number of attempts that ran the function.
    pub attempts: u32,
    /// The number of attempts that were throttled.
    pub throttled: u32,
    /// The last attempt's answer or rejection. The event was dropped unless it is that of a
    /// function that has returned.
    pub last: Result<Invoked, InvokeError>,
}

impl Queue {
    /// Takes an event that was checked, and has its request ID.
    pub(crate) fn send(
        &self,
        pool: &Arc<Pool>,
        event: &Invoke,
        delivery: Delivery,
    ) -> Result<Queued, InvokeError> {
        let request_id = event.request_id.clone().expect("a checked event has its request ID");
        let place = Arc::clone(&self.0).try_acquire_owned().map_err(|_| InvokeError::Throttled)?;
        // Bounded by the number of deliveries.
        let (ended, ends) = mpsc::unbounded_channel();
        let lanes = if delivery == Delivery::TwiceAtOnce { 2 } else { 1 };
        let turns = if delivery == Delivery::TwiceInTurn { 2 } else { 1 };
        assert!(lanes * turns <= 2, "an event is delivered at most twice");
        let place = Arc::new(place);
        for _ in 0..lanes {
            let lane = Lane { pool: Arc::clone(pool), event: event.clone(), turns, ended: ended.clone() };
            tokio::spawn(lane.run(Arc::clone(&place)));
        }
        Ok(Queued { request_id, ends })
    }
}

/// Deliveries of one event, one after the other.
struct Lane {
    pool: Arc<Pool>,
    event: Invoke,
    turns: u32,
    ended: mpsc::UnboundedSender<EventEnd>,
}

impl Lane {
    async fn run(self, _place: Arc<OwnedSemaphorePermit>) {
        for _ in 0..self.turns {
            let end = self.deliver().await;
            // Most senders do not ask.
            let _ = self.ended.send(end);
        }
    }

    async fn deliver(&self) -> EventEnd {
        let shared = &self.pool.shared;
        let function = &shared.function;
        let mut retries = Retries::new(function.retries, function.event_age, shared.config.pause_divisor);
        let since = Instant::now();
        let (mut attempts, mut throttled) = (0, 0);
        loop {
            let last = perform(Arc::clone(&self.pool), self.event.clone()).await;
            let attempted = match &last {
                Ok(invoked) if invoked.is_ok() => Attempted::Returned,
                Ok(_) => Attempted::Failed,
                Err(InvokeError::Throttled) => Attempted::Throttled,
                // The host is stopping, or cannot start processes.
                Err(_) => return EventEnd { attempts, throttled, last },
            };
            if attempted == Attempted::Throttled {
                throttled += 1
            } else {
                attempts += 1
            }
            let so_far = match attempted {
                Attempted::Returned => "has returned",
                Attempted::Failed => "has failed",
                Attempted::Throttled => "was throttled",
            };
            match retries.after(attempted, since.elapsed()) {
                Next::Retry(pause) => {
                    self.say(&format!("{so_far}; it is retried after {pause:?}"));
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Next::Done => {}
                Next::Exhausted => {
                    self.say(&format!("is dropped after {attempts} attempts: it has no retries left"));
                }
                Next::TooOld => self.say(&format!("is dropped after {attempts} attempts: it is too old")),
            }
            return EventEnd { attempts, throttled, last };
        }
    }

    /// Writes a line about the event.
    fn say(&self, what: &str) {
        let id = self.event.request_id.as_deref().unwrap_or_default();
        self.pool.shared.logs.line(Line {
            function: self.pool.shared.function.name.clone(),
            environment: String::new(),
            process: "host".to_owned(),
            source: Source::Platform,
            text: format!("the event {id} {what}"),
        });
    }
}
