//! The store's time, and ages: the only clocks that decisions rest on (`docs/protocol.md`, clocks).
//!
//! Rule. A node's time is the store's. Every answer carries it, so it costs no request. One answer bounds the offset between the store's clock
//! and the node's monotonic clock; bounds of several answers are intersected, and widen as clocks drift. Before the first answer, and after the
//! process did not run for a while, the time is not known and nothing is decided by it.
//!
//! Ages have two forms. What waits (retention, a mark that settles) waits *at least*; what expires (deadlines, listings, repeated calls) expires
//! *at most*: by whichever clock went furthest. So a process that was frozen with one of its clocks does not believe what it knew before.
//!
//! Why an error is on the safe side: every comparison takes the bound that delays what waits and hastens what expires.

use crate::bug::Bug;
use crate::ids::Hlc;

/// The clocks at one step, read once by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Now {
    /// Milliseconds of a clock that never goes back and does not count suspension (`CLOCK_MONOTONIC`). Timers go by it.
    pub mono_ms: u64,
    /// Milliseconds of a clock that never goes back and counts suspension (`CLOCK_BOOTTIME`).
    pub boot_ms: u64,
    /// Milliseconds since the Unix epoch. May jump.
    pub wall_ms: u64,
}

/// The store's time as one answer carried it: at some moment between sending and receiving, the store's clock read a value in
/// `[at_ms, at_ms + span_ms)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreTime {
    /// When the request was sent, at the earliest, by the node's monotonic clock.
    pub sent_mono_ms: u64,
    /// When the answer had come, at the latest, by the node's monotonic clock.
    pub received_mono_ms: u64,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// The resolution of the store's time, in milliseconds; at least 1.
    pub span_ms: u64,
}

/// The clock that is the store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// The store tells its time with its answers.
    Store,
    /// One process holds the store: its wall clock, but never behind its hybrid clock.
    Own,
}

/// The store's time at one step: not before the one, not after the other, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bounds {
    /// The earliest that it can be.
    pub earliest_ms: u64,
    /// The latest that it can be.
    pub latest_ms: u64,
}

impl Bounds {
    /// Returns the width of the bounds: twice the largest error.
    pub fn width_ms(self) -> u64 {
        self.latest_ms - self.earliest_ms
    }
}

/// An instant by every clock, for ages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment {
    now: Now,
    /// The latest that the store's time could be, where it was known.
    store_ms: Option<u64>,
    /// The number of pauses of the process before it.
    thaws: u32,
}

/// Clocks drift apart by at most this, in parts per million: four times what quartz does.
const DRIFT_PPM: u64 = 200;
/// A time that no answer has confirmed for so long is not known any more.
const STALE_AFTER_MS: u64 = 60_000;
/// After answers disagreed, both count for so long.
const DISPUTE_MS: u64 = 10_000;
/// A gap longer than this, which the node's timers or one of its clocks did not foresee, is a pause of the process.
pub const THAW_MS: u64 = 1_000;

/// Bounds of store time minus monotonic time, as of a monotonic instant. Signed: a monotonic clock may be ahead of the store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Offset {
    low: i64,
    high: i64,
    as_of_mono: u64,
}

impl Offset {
    fn of(heard: StoreTime) -> Offset {
        let at = |ms: u64| i64::try_from(ms).expect("times fit into 63 bits");
        Offset {
            low: at(heard.at_ms) - at(heard.received_mono_ms),
            high: at(heard.at_ms) + at(heard.span_ms) - at(heard.sent_mono_ms),
            as_of_mono: heard.received_mono_ms,
        }
    }

    /// Widens the bounds by the drift since they were made.
    fn at(self, mono_ms: u64) -> Offset {
        let elapsed = mono_ms.saturating_sub(self.as_of_mono);
        let drift = (elapsed * DRIFT_PPM).div_ceil(1_000_000) as i64;
        Offset { low: self.low - drift, high: self.high + drift, as_of_mono: self.as_of_mono.max(mono_ms) }
    }

    fn intersection(self, other: Offset) -> Option<Offset> {
        let (low, high) = (self.low.max(other.low), self.high.min(other.high));
        (low <= high).then_some(Offset { low, high, as_of_mono: self.as_of_mono })
    }

    fn hull(self, other: Offset) -> Offset {
        Offset { low: self.low.min(other.low), high: self.high.max(other.high), as_of_mono: self.as_of_mono }
    }
}

/// A node's clock.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Clock {
    reference: Reference,
    now: Now,
    started: bool,
    offset: Option<Offset>,
    /// Covers answers that disagree, until this monotonic instant.
    disputed: Option<(Offset, u64)>,
    /// When the store's time was last heard, by the monotonic clock.
    heard_mono: u64,
    /// When the request was sent whose answer carried it.
    heard_sent_mono: u64,
    /// The number of pauses of the process so far.
    thaws: u32,
    /// The last commit time that was given out, but for those that followed a version of the future.
    hybrid: Hlc,
    /// Where one process holds the store: what its earlier lives gave out was carried over.
    carried: bool,
    bug: Option<Bug>,
}

impl Clock {
    pub(crate) fn new(reference: Reference, bug: Option<Bug>) -> Clock {
        Clock {
            reference,
            now: Now::default(),
            started: false,
            offset: None,
            disputed: None,
            heard_mono: 0,
            heard_sent_mono: 0,
            thaws: 0,
            hybrid: Hlc::default(),
            carried: false,
            bug,
        }
    }

    /// Goes on to the clocks of a step, which was promised for `wake_mono` at the latest. Returns the gap, in milliseconds, if the process had not
    /// run for a while before it: two of its clocks moved apart, or the step comes too late.
    pub(crate) fn step(&mut self, now: Now, wake_mono: Option<u64>) -> Option<u64> {
        assert!(now.mono_ms >= self.now.mono_ms, "the monotonic clock never goes back");
        assert!(now.boot_ms >= self.now.boot_ms, "the clock that counts suspension never goes back");
        let before = std::mem::replace(&mut self.now, now);
        if !std::mem::replace(&mut self.started, true) {
            return None;
        }
        let mono = now.mono_ms - before.mono_ms;
        let suspended = (now.boot_ms - before.boot_ms).saturating_sub(mono);
        // A wall clock that is set back says as much about a pause as one that goes ahead: the clocks moved apart.
        let wall = (i128::from(now.wall_ms) - i128::from(before.wall_ms)).abs_diff(i128::from(mono));
        let late = wake_mono.map_or(0, |wake| now.mono_ms.saturating_sub(wake));
        let gap = suspended.max(u64::try_from(wall).unwrap_or(u64::MAX)).max(late);
        if gap <= THAW_MS {
            return None;
        }
        self.offset = None;
        self.disputed = None;
        self.thaws += 1;
        Some(gap)
    }

    /// Learns the store's time from an answer to a call that was made since the last pause. Returns the distance, in milliseconds, if it disagrees with what was known.
    pub(crate) fn hear(&mut self, heard: StoreTime) -> Option<u64> {
        assert!(heard.sent_mono_ms <= heard.received_mono_ms, "an answer comes after its request");
        assert!(heard.span_ms >= 1, "a time has a resolution");
        if self.reference == Reference::Own {
            return None;
        }
        let new = Offset::of(heard).at(self.now.mono_ms);
        self.heard_mono = self.now.mono_ms;
        self.heard_sent_mono = self.heard_sent_mono.max(heard.sent_mono_ms);
        if self.disputed.is_some_and(|(_, until_mono)| self.now.mono_ms >= until_mono) {
            self.disputed = None;
        }
        let Some(known) = self.offset.map(|known| known.at(self.now.mono_ms)) else {
            self.offset = Some(new);
            return None;
        };
        if let Some((hull, _)) = &mut self.disputed {
            *hull = hull.at(self.now.mono_ms).hull(new);
        }
        match known.intersection(new) {
            Some(both) => {
                self.offset = Some(both);
                None
            }
            None if self.bug == Some(Bug::IntersectOverStep) => None,
            None => {
                let hull = self.disputed.map_or(known, |(hull, _)| hull).hull(known).hull(new);
                self.disputed = Some((hull, self.now.mono_ms + DISPUTE_MS));
                self.offset = Some(new);
                Some((new.low - known.high).max(known.low - new.high).unsigned_abs())
            }
        }
    }

    /// Returns the store's time at this step, if it is known.
    pub(crate) fn bounds(&self) -> Option<Bounds> {
        match self.reference {
            Reference::Own if !self.carried => None,
            Reference::Own => {
                let hybrid_ms = if self.bug == Some(Bug::WallClockAlone) { 0 } else { self.hybrid.ms() };
                let ms = self.now.wall_ms.max(hybrid_ms);
                Some(Bounds { earliest_ms: ms, latest_ms: ms })
            }
            Reference::Store => {
                if self.bug == Some(Bug::TimeBeforeFirstAnswer) && self.offset.is_none() {
                    let ms = self.now.wall_ms;
                    return Some(Bounds { earliest_ms: ms, latest_ms: ms });
                }
                let stale = self.now.mono_ms - self.heard_mono > STALE_AFTER_MS;
                let offset = self.offset.filter(|_| !stale)?;
                let offset = match self.disputed {
                    Some((hull, until_mono)) if self.now.mono_ms < until_mono => hull.hull(offset),
                    Some(_) | None => offset,
                };
                let offset = offset.at(self.now.mono_ms);
                let mono = i64::try_from(self.now.mono_ms).expect("times fit into 63 bits");
                let ms = |offset: i64| u64::try_from(mono + offset).unwrap_or(0);
                Some(Bounds { earliest_ms: ms(offset.low), latest_ms: ms(offset.high) })
            }
        }
    }

    /// Returns true if an answer to a request that was sent since then carried the store's time; always where the clock is the process's own.
    pub(crate) fn was_heard_since(&self, then: &Moment) -> bool {
        self.reference == Reference::Own || self.offset.is_some() && self.heard_sent_mono >= then.now.mono_ms
    }

    /// Returns true if the process stood still since an instant, and the store has not told since how long: no clock of its own need show it.
    pub(crate) fn is_blind_since(&self, then: &Moment) -> bool {
        self.reference == Reference::Store && then.thaws < self.thaws && self.offset.is_none()
    }

    /// Carries the hybrid clock of earlier lives over, where one process holds the store: the mark
    /// is at or above every commit time that they gave out and that may have gone since. A wall
    /// clock may have been set back between, so the time is not known before.
    pub(crate) fn carry_over(&mut self, mark: Hlc) {
        if self.reference == Reference::Own {
            self.hybrid = self.hybrid.max(mark);
            self.carried = true;
        }
    }

    /// Returns true if this fault was put in on purpose.
    pub(crate) fn has_bug(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Returns this step's monotonic time in milliseconds.
    pub(crate) fn mono_ms(&self) -> u64 {
        self.now.mono_ms
    }

    /// Returns the machine's own wall clock, in milliseconds. No decision rests on it; a planted
    /// bug does.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.now.wall_ms
    }

    /// Returns this instant, for [`Clock::age_at_most_ms`] and [`Clock::age_at_least_ms`] later on.
    pub(crate) fn moment(&self) -> Moment {
        let store_ms = match self.reference {
            Reference::Store => self.bounds().map(|bounds| bounds.latest_ms),
            Reference::Own => None,
        };
        Moment { now: self.now, store_ms, thaws: self.thaws }
    }

    /// Returns the age of an instant by whichever clock went furthest since: for what expires.
    pub(crate) fn age_at_most_ms(&self, then: &Moment) -> u64 {
        let mono = self.now.mono_ms.saturating_sub(then.now.mono_ms);
        let boot = self.now.boot_ms.saturating_sub(then.now.boot_ms);
        let wall = self.now.wall_ms.saturating_sub(then.now.wall_ms);
        let store = match (then.store_ms, self.bounds()) {
            // By the latest that it can be: it grows when an answer shows that the process stood still with all its clocks, and not when answers narrow
            // the error down.
            (Some(then_ms), Some(bounds)) => bounds.latest_ms.saturating_sub(then_ms),
            (Some(_) | None, _) => 0,
        };
        mono.max(boot).max(wall).max(store)
    }

    /// Returns the age of an instant by the monotonic clock alone: for what waits.
    pub(crate) fn age_at_least_ms(&self, then: &Moment) -> u64 {
        self.now.mono_ms.saturating_sub(then.now.mono_ms)
    }

    /// Returns how far the hybrid clock is ahead of the store's time, in milliseconds.
    pub(crate) fn ahead_ms(&self) -> u64 {
        self.bounds().map_or(0, |bounds| self.hybrid.ms().saturating_sub(bounds.latest_ms))
    }

    /// Gives out a commit time: greater than `after` and than those given out before, and not before `at_ms`, which lies within the bounds of
    /// the store's time.
    pub(crate) fn tick(&mut self, after: Hlc, at_ms: u64) -> Hlc {
        let bounds = self.bounds().expect("no commit time is taken before the store's time is known");
        assert!(bounds.earliest_ms <= at_ms && at_ms <= bounds.latest_ms, "a commit time is the store's");
        let next = self.hybrid.max(after).0.checked_add(1).expect("commit times do not run out");
        let time = Hlc(next).max(Hlc::from_ms(at_ms));
        assert!(time > after && time >= self.hybrid, "a commit time is greater than all before it");
        // A time that follows a version of the future is that transaction's alone: what the node gives out next is the store's time again.
        if self.reference == Reference::Own || time.ms() <= bounds.latest_ms {
            self.hybrid = time;
        }
        time
    }
}
