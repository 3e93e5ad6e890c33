//! The times at which transactions start: as soon as a client is free (closed), or at a fixed rate
//! (open).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::standard::{Length, Pace};

/// The schedule of one phase, which hands out transactions to the clients.
#[derive(Debug)]
pub(crate) struct Schedule {
    start: Instant,
    length: Length,
    pace: Pace,
    claimed: AtomicU64,
    started: AtomicU64,
    /// True if no further transaction is to start.
    stopped: AtomicBool,
    clients: usize,
    /// One permit for each transaction that is due (open pace), and at the end one for each client,
    /// which ends it.
    due: Arc<Semaphore>,
}

/// The turn of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    /// The transaction's place in the phase, from 0.
    pub(crate) nth: u64,
    /// The time at which it was to start, from which its latency counts.
    pub(crate) start: Instant,
}

impl Schedule {
    /// Starts a phase now, for this number of `clients`.
    pub(crate) fn start(length: Length, pace: Pace, clients: usize) -> Schedule {
        let schedule = Schedule {
            start: Instant::now(),
            length,
            pace,
            claimed: AtomicU64::new(0),
            started: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            clients,
            due: Arc::new(Semaphore::new(0)),
        };
        if let Pace::Open { per_s } = pace {
            let (start, due) = (schedule.start, Arc::clone(&schedule.due));
            let total = schedule.due_in_all(per_s);
            // Use a thread, because the runtime's timers have a resolution of a millisecond, and a
            // late start would count as latency. It ends by itself; nobody waits for it.
            std::thread::spawn(move || {
                for nth in 0..total {
                    let wait = offset(nth, per_s).saturating_sub(start.elapsed());
                    if !wait.is_zero() {
                        std::thread::sleep(wait);
                    }
                    due.add_permits(1);
                }
                due.add_permits(clients);
            });
        }
        schedule
    }

    /// Waits until the next transaction is due, and returns its turn. `None`: the phase is over.
    pub(crate) async fn next(&self) -> Option<Turn> {
        let turn = self.claim().await;
        self.started.fetch_add(u64::from(turn.is_some()), Ordering::Relaxed);
        turn
    }

    async fn claim(&self) -> Option<Turn> {
        match self.pace {
            Pace::Closed => {
                let nth = self.claimed.fetch_add(1, Ordering::Relaxed);
                let now = Instant::now();
                let over = match self.length {
                    Length::Transactions(total) => nth >= total,
                    Length::For(time) => now >= self.start + time,
                };
                let over = over || self.stopped.load(Ordering::Relaxed);
                (!over).then_some(Turn { nth, start: now })
            }
            // Wait for a permit. The permits of the end find no transaction left, and end their
            // clients.
            Pace::Open { per_s } => {
                self.due.acquire().await.expect("the semaphore is never closed").forget();
                let nth = self.claimed.fetch_add(1, Ordering::Relaxed);
                // A target that cannot keep up is not driven for ever.
                let over = nth >= self.due_in_all(per_s) || self.is_hopeless();
                let over = over || self.stopped.load(Ordering::Relaxed);
                (!over).then(|| Turn { nth, start: self.start + offset(nth, per_s) })
            }
        }
    }

    /// Ends the phase: no further transaction starts.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Clients that wait for a transaction to be due see it now.
        self.due.add_permits(self.clients);
    }

    /// Returns the number of transactions that were due and never started, because the phase had
    /// run for twice its time: the rate exceeds what the target can do.
    pub(crate) fn not_started(&self) -> u64 {
        match self.pace {
            Pace::Closed => 0,
            Pace::Open { per_s } => {
                self.due_in_all(per_s).saturating_sub(self.started.load(Ordering::Relaxed))
            }
        }
    }

    /// Returns the number of turns that were claimed, including those after the end.
    pub(crate) fn claimed(&self) -> u64 {
        self.claimed.load(Ordering::Relaxed)
    }

    /// Returns the time at which the phase started.
    pub(crate) fn start_time(&self) -> Instant {
        self.start
    }

    /// Returns the time since the phase started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn due_in_all(&self, per_s: f64) -> u64 {
        match self.length {
            Length::Transactions(total) => total,
            Length::For(time) => (time.as_secs_f64() * per_s).ceil() as u64,
        }
    }

    fn is_hopeless(&self) -> bool {
        matches!(self.length, Length::For(time) if self.elapsed() > 2 * time)
    }
}

/// Returns the time at which transaction `nth` is due, from the start of the phase.
fn offset(nth: u64, per_s: f64) -> Duration {
    Duration::from_secs_f64(nth as f64 / per_s)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Schedule;
    use crate::standard::{Length, Pace};

    #[tokio::test]
    async fn a_closed_pace_hands_out_the_exact_number() {
        let schedule = Schedule::start(Length::Transactions(3), Pace::Closed, 1);
        let mut turns = Vec::new();
        while let Some(turn) = schedule.next().await {
            turns.push(turn.nth);
        }
        assert_eq!(turns, [0, 1, 2]);
        assert_eq!(schedule.not_started(), 0);
    }

    /// A late client gets turns that start in the past: the wait is part of the latency.
    #[tokio::test]
    async fn an_open_pace_counts_latency_from_the_due_time() {
        let schedule = Schedule::start(Length::Transactions(5), Pace::Open { per_s: 1_000.0 }, 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let first = schedule.next().await.expect("the first is due");
        assert!(first.start.elapsed() >= Duration::from_millis(50));
        let mut last = first;
        while let Some(turn) = schedule.next().await {
            assert_eq!(turn.start - last.start, Duration::from_millis(1));
            last = turn;
        }
        assert_eq!(last.nth, 4);
    }

    #[tokio::test]
    async fn an_open_pace_stops_after_twice_its_time() {
        let time = Duration::from_millis(20);
        let schedule = Schedule::start(Length::For(time), Pace::Open { per_s: 1_000.0 }, 1);
        tokio::time::sleep(3 * time).await;
        assert_eq!(schedule.next().await, None);
        assert_eq!(schedule.not_started(), 20);
    }

    #[tokio::test]
    async fn a_stopped_phase_hands_out_nothing_more() {
        for pace in [Pace::Closed, Pace::Open { per_s: 0.001 }] {
            let schedule = Schedule::start(Length::Transactions(3), pace, 2);
            assert!(schedule.next().await.is_some());
            schedule.stop();
            for _ in 0..2 {
                assert_eq!(schedule.next().await, None);
            }
        }
    }
}
