//! The phases of a run: preparation, warm-up, measurement; with the same clients throughout.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::progress::{Progress, State};
use crate::standard::history::Log;
use crate::standard::load::{Client, Load, Tally};
use crate::standard::pace::Schedule;
use crate::standard::plan::Planner;
use crate::standard::target::Clients;
use crate::standard::value::Values;
use crate::standard::{Length, Options, Pace, Prepare};

/// The warm-up before a measurement whose length is a time: long enough for caches and connections.
const WARM_UP: Duration = Duration::from_secs(1);

/// The clients and their load.
#[derive(Debug)]
pub(crate) struct Phases {
    load: Arc<Load>,
    clients: Vec<Client>,
    /// The number of the next transaction. Numbers are used only once, so each phase draws
    /// different keys.
    number: u64,
    /// The history of all phases.
    log: Log,
    /// True to draw progress; `way` names the run then.
    progress: bool,
    way: &'static str,
}

/// The results of the measured phase.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) tally: Tally,
    /// The time of the phase. If the target went away: the time until the last commit.
    pub(crate) elapsed: Duration,
    /// True if the target went away, which ended the phase early.
    pub(crate) is_gone: bool,
}

impl Phases {
    pub(crate) fn new(options: &Options, seed: u64, clients: Clients) -> Phases {
        let planner = Planner::new(options.workload.clone(), seed);
        let values = Values::new(options.workload.value_bytes, seed);
        let load = Load::new(planner, values, &clients, options.history.is_some());
        Phases {
            load: Arc::new(load),
            clients: clients.clients,
            number: 0,
            log: Log::default(),
            progress: options.progress,
            way: options.way.name(),
        }
    }

    /// Writes or reads every key once, with all clients.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if that failed for a key: then the target cannot be measured. The
    /// message counts the failures by code.
    pub(crate) async fn prepare(&mut self, how: Prepare, target: &str) -> Result<()> {
        let plans = self.load.preparation(how);
        let clients = self.clients.len();
        let load = Arc::clone(&self.load);
        let prepared = move || State { done: load.committed(), text: String::new() };
        let _progress = self.show("preparing", plans.len() as u64, prepared);
        let mut tasks = JoinSet::new();
        for (nth, mut client) in self.clients.drain(..).enumerate() {
            // Deal out the transactions evenly.
            let mine: Vec<_> = plans.iter().skip(nth).step_by(clients).cloned().collect();
            let load = Arc::clone(&self.load);
            tasks.spawn(async move {
                let mut tally = Tally::new();
                for plan in mine {
                    if !load.transaction(&mut client, &plan, &mut tally).await {
                        break;
                    }
                }
                (client, tally)
            });
        }
        let tally = self.join(tasks).await;
        // A key that could not be prepared would make reads cheaper than they are.
        if tally.transactions < plans.len() as u64 {
            let problem =
                format!("cannot prepare the keys before the run; failures by code: {:?}", tally.errors);
            return Err(Error::Server { url: target.to_owned(), problem });
        }
        self.log.add(tally.log);
        Ok(())
    }

    /// Runs the load without measuring it.
    pub(crate) async fn warm_up(&mut self, options: &Options) {
        let usual = match options.length {
            Length::Transactions(_) => Duration::ZERO,
            Length::For(_) => WARM_UP,
        };
        let time = options.warm_up.unwrap_or(usual);
        if !time.is_zero() {
            let measured = self.run("warming up", Length::For(time), options.pace).await;
            self.log.add(measured.tally.log);
        }
    }

    /// Runs the load and measures it.
    pub(crate) async fn measure(&mut self, options: &Options) -> Measured {
        let mut measured = self.run("measuring", options.length, options.pace).await;
        self.log.add(std::mem::take(&mut measured.tally.log));
        measured
    }

    /// Takes the history of all phases.
    pub(crate) fn take_log(&mut self) -> Log {
        std::mem::take(&mut self.log)
    }

    async fn run(&mut self, what: &str, length: Length, pace: Pace) -> Measured {
        let schedule = Arc::new(Schedule::start(length, pace, self.clients.len()));
        let first = self.number;
        let (load, drawn, before) = (Arc::clone(&self.load), Arc::clone(&schedule), self.load.committed());
        let state = move || state(length, load.committed() - before, drawn.elapsed());
        let _progress = self.show(what, whole(length), state);
        let mut tasks = JoinSet::new();
        for mut client in self.clients.drain(..) {
            let (load, schedule) = (Arc::clone(&self.load), Arc::clone(&schedule));
            tasks.spawn(async move {
                let mut tally = Tally::new();
                while let Some(turn) = schedule.next().await {
                    let plan = load.plan(first + turn.nth);
                    // Latency counts from the turn, and includes all attempts. Failed transactions
                    // have none.
                    if load.transaction(&mut client, &plan, &mut tally).await {
                        tally.latencies.record(turn.start.elapsed());
                    }
                    // Every further transaction would only count its failures.
                    if load.is_gone() {
                        schedule.stop();
                    }
                }
                (client, tally)
            });
        }
        let mut tally = self.join(tasks).await;
        let is_gone = self.load.is_gone();
        let elapsed = match tally.last_committed {
            Some(last) if is_gone => last - schedule.start_time(),
            _ => schedule.elapsed(),
        };
        tally.errors("not_started", schedule.not_started());
        self.number += schedule.claimed();
        Measured { tally, elapsed, is_gone }
    }

    /// Shows the progress of a phase.
    fn show(&self, what: &str, length: u64, state: impl Fn() -> State + Send + 'static) -> Progress {
        Progress::show(self.progress, format!("{}: {what}", self.way), length, state)
    }

    /// Waits for all clients, and returns the sum of their counts.
    async fn join(&mut self, mut tasks: JoinSet<(Client, Tally)>) -> Tally {
        let mut all = Tally::new();
        while let Some(ended) = tasks.join_next().await {
            let (client, tally) = ended.expect("a client does not panic, and nobody aborts it");
            self.clients.push(client);
            all.add(tally);
        }
        all
    }
}

/// Returns the length of a phase's bar: transactions, or milliseconds.
fn whole(length: Length) -> u64 {
    match length {
        Length::Transactions(total) => total,
        Length::For(time) => millis(time),
    }
}

/// Returns the state of a phase in which `transactions` have committed after `elapsed`.
fn state(length: Length, transactions: u64, elapsed: Duration) -> State {
    let done = match length {
        Length::Transactions(_) => transactions,
        Length::For(_) => millis(elapsed),
    };
    let per_s = transactions as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
    State { done, text: format!("{transactions} transactions, {per_s:.0}/s") }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{state, whole};
    use crate::standard::Length;

    #[test]
    fn progress_follows_what_bounds_the_phase() {
        let (half, number) = (Length::For(Duration::from_secs(20)), Length::Transactions(800));
        let elapsed = Duration::from_secs(10);
        assert_eq!((whole(half), state(half, 400, elapsed).done), (20_000, 10_000));
        assert_eq!((whole(number), state(number, 400, elapsed).done), (800, 400));
        assert_eq!(state(number, 400, elapsed).text, "400 transactions, 40/s");
    }
}
