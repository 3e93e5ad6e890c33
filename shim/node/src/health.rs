//! The store's health, as the outcomes of its calls tell: whether it answers, whether it takes
//! writes, since when it does not, and why.
//!
//! A store that stops answering fails every call, so each state is logged when it begins and when
//! it ends, and never once a call. Reads and writes are looked at apart: a store that is full
//! rejects writes and answers reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aft_core::store::Name;
use aft_format::encode_name;
use aft_store::Error;
use metrics::{Gauge, gauge};
use tracing::{info, warn};

use crate::calls;
use crate::handle::NodeHandle;
use crate::stats::CallKind;

/// The time for which calls must have gone without an answer before the store counts as silent. One
/// lost answer among many says nothing.
const SILENT_MIN: Duration = Duration::from_secs(1);
/// The time after which a state of trouble makes the server not ready. Shorter ones pass while a
/// load balancer would still be shifting calls.
const UNREADY_AFTER: Duration = Duration::from_secs(5);
/// The time without a failure after which a state of trouble is not known to last: nobody has
/// tried.
const STALE_AFTER: Duration = Duration::from_secs(10);
/// The longest time after which the last answer still shows that the store answers.
const FRESH: Duration = Duration::from_secs(2);
/// The shortest time between two log lines that say that the store rejects calls of one kind. A
/// store may reject one call and take the next.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// The health of one node's store.
pub(crate) struct Health {
    start: Instant,
    /// The time of the last answer of any kind, in milliseconds from `start`.
    answered_ms: AtomicU64,
    /// True while [`State::trouble`] has any. It spares the lock while all is well.
    in_trouble: AtomicBool,
    state: Mutex<State>,
    /// For the kinds: 1, or 0 while there is trouble.
    up: [Gauge; 2],
}

#[derive(Debug, Default)]
struct State {
    /// The trouble of the calls that read, and of those that write.
    trouble: [Option<Trouble>; 2],
    /// The trouble that is logged, so that its end will be.
    logged: Option<Logged>,
    /// The time of the last log line about rejected calls.
    rejection_logged: Option<Instant>,
}

/// A trouble in the log.
#[derive(Debug, Clone, Copy)]
struct Logged {
    /// True if the store was silent, false if it rejected calls.
    silent: bool,
    since: Instant,
}

/// A state in which calls of one kind fail.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    /// The time of the last failed call.
    last: Instant,
    cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    /// No answer came. The text is the last call's.
    Silent(String),
    /// The store rejected the call.
    Rejects(String),
    /// The store was too busy to carry out the call.
    Busy(String),
}

impl Cause {
    fn is_silent(&self) -> bool {
        matches!(self, Cause::Silent(_))
    }
}

/// The names of the kinds of calls, in the order of [`State::trouble`].
const KINDS: [&str; 2] = ["read", "write"];

fn kind_of(call: CallKind) -> usize {
    match call {
        CallKind::Get | CallKind::Fetch | CallKind::List | CallKind::Scan | CallKind::GetPart => 0,
        CallKind::Put
        | CallKind::Create
        | CallKind::Commit
        | CallKind::Replace
        | CallKind::Delete
        | CallKind::DeleteIf
        | CallKind::PutPart => 1,
    }
}

impl Health {
    /// Makes the health of a store that has just been opened, and so has answered.
    pub(crate) fn new(node: &str) -> Health {
        let up = KINDS.map(|calls| gauge!("aft_store_up", "node" => node.to_owned(), "calls" => calls));
        up.iter().for_each(|up| up.set(1.0));
        Health {
            start: Instant::now(),
            answered_ms: AtomicU64::new(0),
            in_trouble: AtomicBool::new(false),
            state: Mutex::default(),
            up,
        }
    }

    /// Takes the outcome of a call.
    pub(crate) fn called(&self, call: CallKind, error: Option<&Error>) {
        self.called_at(Instant::now(), call, error);
    }

    fn called_at(&self, now: Instant, call: CallKind, error: Option<&Error>) {
        let silent = matches!(error, Some(Error::NoAnswer(_)));
        if !silent {
            let ms = now.saturating_duration_since(self.start).as_millis();
            self.answered_ms
                .store(u64::try_from(ms).expect("a process does not run for ages"), Ordering::Relaxed);
        }
        let of = kind_of(call);
        match error {
            Some(Error::NoAnswer(why)) => self.failed(now, of, Cause::Silent(why.clone())),
            Some(Error::Refused(why)) => self.failed(now, of, Cause::Rejects(why.clone())),
            Some(Error::Busy(why)) => self.failed(now, of, Cause::Busy(why.clone())),
            // Damage is that of one object.
            None | Some(Error::Damaged(_)) => {
                if self.in_trouble.load(Ordering::Relaxed) {
                    self.worked(now, of);
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the health")
    }

    fn failed(&self, now: Instant, of: usize, cause: Cause) {
        let mut state = self.state();
        let State { trouble, logged, rejection_logged } = &mut *state;
        let trouble = trouble[of].get_or_insert(Trouble { since: now, last: now, cause: cause.clone() });
        trouble.last = now;
        trouble.cause = cause;
        self.in_trouble.store(true, Ordering::Relaxed);
        let (silent, lasts) = (trouble.cause.is_silent(), now.duration_since(trouble.since));
        let begins = match &trouble.cause {
            Cause::Silent(_) => lasts >= SILENT_MIN,
            // Rejections of single calls come and go. One that lasts is another matter.
            Cause::Rejects(_) => {
                lasts >= UNREADY_AFTER
                    || rejection_logged.is_none_or(|logged| now.duration_since(logged) >= LOG_PAUSE)
            }
            // A store that is busy now and then works.
            Cause::Busy(_) => lasts >= UNREADY_AFTER,
        };
        if begins {
            self.up[of].set(0.0);
        }
        // The same trouble of the other kind of calls is logged already.
        if !begins || logged.is_some_and(|logged| logged.silent == silent) {
            return;
        }
        *logged = Some(Logged { silent, since: trouble.since });
        let calls = KINDS[of];
        match &trouble.cause {
            Cause::Silent(why) => {
                warn!(calls, why, "the store does not answer; calls are repeated until it does");
            }
            Cause::Rejects(why) => {
                *rejection_logged = Some(now);
                warn!(calls, why, "the store rejects calls");
            }
            Cause::Busy(why) => warn!(calls, why, "the store has been too busy for every call for seconds"),
        }
    }

    fn worked(&self, now: Instant, of: usize) {
        let mut state = self.state();
        state.trouble[of] = None;
        self.up[of].set(1.0);
        if state.trouble.iter().any(Option::is_some) {
            return;
        }
        self.in_trouble.store(false, Ordering::Relaxed);
        if let Some(Logged { silent, since }) = state.logged.take() {
            let seconds = now.saturating_duration_since(since).as_secs();
            match silent {
                true => info!(seconds, "the store answers again"),
                false => info!(seconds, "the store takes calls again"),
            }
        }
    }

    /// Returns true if the store has answered within the last seconds.
    pub(crate) fn is_fresh(&self) -> bool {
        let answered = self.start + Duration::from_millis(self.answered_ms.load(Ordering::Relaxed));
        answered.elapsed() < FRESH
    }

    /// Returns why the store cannot serve now, if it has been so for a while.
    pub(crate) fn unready(&self) -> Option<String> {
        self.unready_at(Instant::now())
    }

    fn unready_at(&self, now: Instant) -> Option<String> {
        if !self.in_trouble.load(Ordering::Relaxed) {
            return None;
        }
        let state = self.state();
        state.trouble.iter().zip(KINDS).find_map(|(trouble, calls)| {
            let trouble = trouble.as_ref()?;
            let lasts = now.duration_since(trouble.since);
            if lasts < UNREADY_AFTER || now.duration_since(trouble.last) > STALE_AFTER {
                return None;
            }
            let seconds = lasts.as_secs();
            Some(match &trouble.cause {
                Cause::Silent(why) => format!("the store has answered no {calls} for {seconds} s: {why}"),
                Cause::Rejects(why) => format!("the store has rejected every {calls} for {seconds} s: {why}"),
                Cause::Busy(why) => {
                    format!("the store has been too busy for every {calls} for {seconds} s: {why}")
                }
            })
        })
    }

    /// Returns the last reason why calls got no answer, while the store is silent.
    pub(crate) fn why_silent(&self) -> Option<String> {
        if !self.in_trouble.load(Ordering::Relaxed) {
            return None;
        }
        self.state().trouble.iter().find_map(|trouble| match trouble {
            Some(Trouble { cause: Cause::Silent(why), .. }) => Some(why.clone()),
            _ => None,
        })
    }
}

impl NodeHandle {
    /// Returns why the store cannot serve now, if it has been so for some seconds. If no call has
    /// been answered lately, the store is asked for its description first: an idle server must
    /// notice too that its store is gone.
    pub async fn store_trouble(&self) -> Option<String> {
        let shared = self.shared();
        if !shared.health.is_fresh() {
            let name = encode_name(&Name::Format);
            let asked = async { shared.store.get(&name).await.map(|found| found.is_some()) };
            let asked = calls::within(FRESH, &*shared.store, CallKind::Get, asked).await;
            shared.health.called(CallKind::Get, asked.as_ref().err());
            if asked == Ok(false) && !shared.settings.core.exclusive {
                return Some(
                    "the store's description of itself is gone: somebody has emptied the store".into(),
                );
            }
        }
        self.all_health().find_map(Health::unready)
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Health").field(&*self.state()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_answer() -> Error {
        Error::NoAnswer("connection refused".to_owned())
    }

    /// A health, and a time after its start.
    fn health() -> (Health, impl Fn(u64) -> Instant) {
        let health = Health::new("node");
        let start = health.start;
        (health, move |ms| start + Duration::from_millis(ms))
    }

    #[test]
    fn a_silent_store_is_unready_after_five_seconds_until_it_answers() {
        let (health, at) = health();
        for ms in [0, 2_000, 4_900] {
            health.called_at(at(ms), CallKind::Get, Some(&no_answer()));
            assert_eq!(health.unready_at(at(ms)), None, "{ms}");
        }
        health.called_at(at(5_000), CallKind::Get, Some(&no_answer()));
        let why = health.unready_at(at(5_000)).expect("it has been silent for 5 s");
        assert!(why.contains("5 s") && why.contains("connection refused"), "{why}");
        assert_eq!(health.why_silent().as_deref(), Some("connection refused"));
        // An answer to a write says nothing about reads.
        health.called_at(at(6_000), CallKind::Put, None);
        assert!(health.unready_at(at(6_000)).is_some());
        health.called_at(at(6_100), CallKind::Get, None);
        assert_eq!((health.unready_at(at(6_100)), health.why_silent()), (None, None));
    }

    #[test]
    fn a_dead_store_is_logged_once_for_reads_and_writes() {
        let (health, at) = health();
        let mut logged = std::collections::BTreeSet::new();
        for n in 0..100 {
            let call = if n % 2 == 0 { CallKind::Get } else { CallKind::Commit };
            health.called_at(at(n * 100), call, Some(&no_answer()));
            logged.extend(health.state().logged.map(|logged| logged.since));
        }
        assert_eq!(logged.len(), 1);
        // It is over when both kinds of calls are answered.
        health.called_at(at(11_000), CallKind::Get, None);
        assert!(health.state().logged.is_some());
        health.called_at(at(11_100), CallKind::Put, None);
        assert!(health.state().logged.is_none());
    }

    #[test]
    fn a_lost_answer_among_others_is_no_trouble() {
        let (health, at) = health();
        for n in 0..1_000 {
            health.called_at(at(n * 100), CallKind::Get, (n % 10 == 0).then(no_answer).as_ref());
            assert_eq!(health.unready_at(at(n * 100)), None);
        }
        assert!(health.state().logged.is_none());
    }

    #[test]
    fn a_full_store_is_logged_once_and_reads_go_on() {
        let (health, at) = health();
        let full = Error::Refused("disk full: free space".to_owned());
        for n in 0..100 {
            health.called_at(at(n * 100), CallKind::Put, Some(&full));
            health.called_at(at(n * 100), CallKind::Get, None);
        }
        let logged = health.state().rejection_logged;
        assert_eq!(logged, Some(at(0)), "the first failure is logged, and no other");
        assert!(health.unready_at(at(9_900)).is_some_and(|why| why.contains("every write")));
        // Nobody tries any more, so nobody knows.
        assert_eq!(health.unready_at(at(30_000)), None);
        health.called_at(at(31_000), CallKind::Put, None);
        assert!(health.state().trouble[1].is_none() && health.state().logged.is_none());
    }

    #[test]
    fn a_second_trouble_within_a_minute_is_logged_once_it_lasts() {
        let (health, at) = health();
        let refused = Error::Refused("out of memory".to_owned());
        health.called_at(at(0), CallKind::Put, Some(&refused));
        health.called_at(at(1_000), CallKind::Put, None);
        assert!(health.state().logged.is_none(), "it is over");
        for ms in [2_000, 4_000, 6_900] {
            health.called_at(at(ms), CallKind::Put, Some(&refused));
            assert!(health.state().logged.is_none(), "{ms}");
        }
        health.called_at(at(7_000), CallKind::Put, Some(&refused));
        assert_eq!(health.state().logged.map(|logged| logged.since), Some(at(2_000)));
    }

    #[test]
    fn a_store_that_is_busy_for_every_call_is_unready() {
        let (health, at) = health();
        let busy = Error::Busy("slow down".to_owned());
        for n in 0..30 {
            // Every other call is carried out.
            health.called_at(at(n * 500), CallKind::Put, (n % 2 == 0).then_some(&busy));
            assert_eq!(health.unready_at(at(n * 500)), None);
        }
        assert!(health.state().logged.is_none());
        for ms in [20_000, 22_000, 25_000] {
            health.called_at(at(ms), CallKind::Put, Some(&busy));
        }
        assert!(health.unready_at(at(25_000)).is_some_and(|why| why.contains("too busy for every write")));
        assert!(health.state().logged.is_some());
    }

    #[test]
    fn rejections_that_come_and_go_are_logged_once_a_minute() {
        let (health, at) = health();
        let refused = Error::Refused("too large".to_owned());
        let mut lines = std::collections::BTreeSet::new();
        for n in 0..600 {
            health.called_at(at(n * 200), CallKind::Put, (n % 2 == 0).then_some(&refused));
            lines.extend(health.state().rejection_logged);
        }
        assert_eq!(lines.len(), 2, "in two minutes");
    }
}
