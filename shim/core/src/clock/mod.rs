//! The store's time, and ages: the only clocks on which decisions rest (protocol, section 9).
//!
//! Rule. A node uses the store's time. Every answer carries it, so it costs no request. One answer
//! bounds the offset between the store's clock and the node's monotonic clock; bounds of several
//! answers are intersected, and widen as the clocks drift. Before the first answer, and after the
//! process did not run for a while, the time is unknown and decides nothing.
//!
//! Ages have two forms. Waits (retention, a mark that settles) use the age *at least*; expiries
//! (deadlines, listings, retried calls) use the age *at most*, by the clock that advanced furthest.
//! So a process that was frozen together with one of its clocks does not trust what it knew before.
//!
//! Errors are on the safe side: every comparison uses the bound that prolongs waits and hastens
//! expiries.

mod offset;
mod reading;
mod slip;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::bug::Bug;
use crate::ids::Hlc;
use offset::Offset;
use reading::At;
pub use reading::{Now, StoreTime};
use slip::Slip;

/// The source of the store's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// The store's own clock, which its answers carry.
    Store,
    /// The wall clock of the one process that holds the store, but never behind its hybrid clock.
    Own,
}

/// The bounds of the store's time at one step, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bounds {
    /// The earliest possible time.
    pub earliest_ms: u64,
    /// The latest possible time.
    pub latest_ms: u64,
}

impl Bounds {
    /// Returns the width of the bounds: twice the largest error.
    pub fn width_ms(self) -> u64 {
        assert!(self.earliest_ms <= self.latest_ms, "bounds are in order");
        self.latest_ms - self.earliest_ms
    }
}

/// An instant by every clock, for ages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment {
    at: At,
    /// The latest that the store's time could be, where it was known.
    store_ms: Option<u64>,
    /// The number of pauses of the process before it.
    thaws: u32,
}

/// The time without an answer after which the store's time is no longer known.
const STALE_AFTER_MS: u64 = 60_000;
/// The time for which the bounds cover both of two contradicting answers.
const DISPUTE_MS: u64 = 10_000;
/// The resolution of the store's time below which no call is timed to narrow the bounds, because
/// any answer gives good ones.
const COARSE_MS: u64 = 10;
/// The longest gap, between the clocks or behind the node's timers, that does not count as a pause
/// of the process.
pub const THAW_MS: u64 = 1_000;

/// The moment at which the store's time became known, after it was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Anchor {
    mono_ms: u64,
    /// The latest that the store's time could be then.
    store_ms: u64,
    /// The number of pauses before it.
    thaws: u32,
}

/// The time between a question and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct RoundTrip {
    ms: u64,
    /// The monotonic instant at which the answer was heard.
    heard_mono: u64,
}

/// The number of anchors that are kept. The age of an instant without one is unknown after the next
/// pause.
const ANCHORS_MAX: usize = 8;

/// A node's clock.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Clock {
    reference: Reference,
    now: Now,
    /// The clocks of the first step.
    start: Option<Now>,
    slip: Slip,
    offset: Option<Offset>,
    /// Covers answers that disagree, until this monotonic instant.
    disputed: Option<(Offset, u64)>,
    /// The last moments at which the time became known, oldest first.
    anchors: VecDeque<Anchor>,
    /// The monotonic instant at which the store's time was last heard.
    heard_mono: u64,
    /// The number of calls made up to and including the latest one whose answer carried the store's
    /// time.
    heard_calls: u64,
    /// The resolution of the store's time, in milliseconds, as last heard.
    span_ms: u64,
    /// The quickest round trip of the last minute or so.
    quickest: Option<RoundTrip>,
    /// The number of pauses of the process so far.
    thaws: u32,
    /// The last commit time that was given out, except for times that followed a version from the
    /// future.
    hybrid: Hlc,
    /// The first commit time that was given out.
    first: Option<Hlc>,
    /// True once the hybrid clock of earlier lives was carried over, where one process holds the
    /// store.
    carried: bool,
    /// The number of reads of the mark that found none.
    markless_reads: u32,
    bug: Option<Bug>,
}

impl Clock {
    pub(crate) fn new(reference: Reference, bug: Option<Bug>) -> Clock {
        Clock {
            reference,
            now: Now::default(),
            start: None,
            slip: Slip::default(),
            offset: None,
            disputed: None,
            anchors: VecDeque::new(),
            heard_mono: 0,
            heard_calls: 0,
            span_ms: 1,
            quickest: None,
            thaws: 0,
            hybrid: Hlc::default(),
            first: None,
            carried: false,
            markless_reads: 0,
            bug,
        }
    }

    /// Advances to the clocks of a step, which was due at `wake_mono` at the latest. Returns the
    /// gap in milliseconds if the process did not run for a while before the step: two of its
    /// clocks moved apart, or the step is late.
    pub(crate) fn step(&mut self, now: Now, wake_mono: Option<u64>) -> Option<u64> {
        assert!(now.mono_ms >= self.now.mono_ms, "the monotonic clock never goes back");
        assert!(now.boot_ms >= self.now.boot_ms, "the clock that counts suspension never goes back");
        let before = std::mem::replace(&mut self.now, now);
        let Some(start) = self.start else {
            self.start = Some(now);
            self.slip = Slip::at_start(now);
            return None;
        };
        self.slip = self.slip.step(start, now);
        let mono = now.mono_ms - before.mono_ms;
        let suspended = (now.boot_ms - before.boot_ms).saturating_sub(mono);
        // A wall clock that is set back may hide a pause, so a difference in either direction
        // counts.
        let wall = (i128::from(now.wall_ms) - i128::from(before.wall_ms)).abs_diff(i128::from(mono));
        let late = wake_mono.map_or(0, |wake| now.mono_ms.saturating_sub(wake));
        let gap = suspended.max(u64::try_from(wall).unwrap_or(u64::MAX)).max(late);
        if gap <= THAW_MS {
            return None;
        }
        // Nothing shows how long the pause was, so the store's time is unknown until it answers.
        self.offset = None;
        self.disputed = None;
        self.thaws += 1;
        let is_unknown = self.reference == Reference::Own || self.offset.is_none();
        assert!(is_unknown, "after a pause the store's time is unknown");
        Some(gap)
    }

    /// Learns the store's time from an answer to call number `asked_call`, which was made at the
    /// moment `asked`, since the last pause. Returns the distance in milliseconds if the answer
    /// contradicts the bounds known so far.
    pub(crate) fn hear(&mut self, heard: StoreTime, asked: &Moment, asked_call: u64) -> Option<u64> {
        assert!(heard.sent_mono_ms <= heard.received_mono_ms, "an answer comes after its request");
        assert!(heard.span_ms >= 1, "a time has a resolution");
        if self.reference == Reference::Own {
            return None;
        }
        assert_eq!(asked.thaws, self.thaws, "an answer from before a pause is not heard");
        let knew = self.bounds().is_some();
        let apart_ms = self.learn(heard, asked, asked_call);
        let store_ms = self.bounds().expect("it was heard").latest_ms;
        // The time is known again: ages of earlier instants can be computed through this anchor.
        if !knew {
            self.anchors.push_back(Anchor { mono_ms: self.now.mono_ms, store_ms, thaws: self.thaws });
            self.anchors.drain(..self.anchors.len().saturating_sub(ANCHORS_MAX));
        }
        apart_ms
    }

    fn learn(&mut self, heard: StoreTime, asked: &Moment, asked_call: u64) -> Option<u64> {
        let now = self.at();
        let new = Offset::of(heard, asked.at.slip_ms, now);
        self.heard_mono = now.mono_ms;
        self.heard_calls = self.heard_calls.max(asked_call + 1);
        self.span_ms = heard.span_ms;
        // A short round trip counts for a minute: the network may have become slower since.
        let ms = heard.received_mono_ms - heard.sent_mono_ms;
        let is_old = |quickest: RoundTrip| now.mono_ms - quickest.heard_mono > STALE_AFTER_MS;
        if self.quickest.is_none_or(|quickest| ms <= quickest.ms || is_old(quickest)) {
            self.quickest = Some(RoundTrip { ms, heard_mono: now.mono_ms });
        }
        if self.disputed.is_some_and(|(_, until_mono)| now.mono_ms >= until_mono) {
            self.disputed = None;
        }
        let Some(known) = self.offset else {
            self.offset = Some(new);
            return None;
        };
        if let Some((hull, _)) = &mut self.disputed {
            *hull = hull.hull(new, now);
        }
        match known.intersection(new, now) {
            Some(both) => {
                self.offset = Some(both);
                None
            }
            None if self.bug == Some(Bug::IntersectOverStep) => None,
            // The store's clock was set, or one of the answers is wrong. Cover both for a while,
            // and continue with the new one.
            None => {
                let hull = self.disputed.map_or(known, |(hull, _)| hull);
                let hull = hull.hull(known, now).hull(new, now);
                self.disputed = Some((hull, now.mono_ms + DISPUTE_MS));
                self.offset = Some(new);
                let ahead = new.low_at(now) - known.high_at(now);
                let behind = known.low_at(now) - new.high_at(now);
                Some(ahead.max(behind).unsigned_abs())
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
                assert!(ms >= self.now.wall_ms, "one process's time is not behind its clock");
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
                    Some((hull, until_mono)) if self.now.mono_ms < until_mono => hull.hull(offset, self.at()),
                    Some(_) | None => offset,
                };
                let mono = i64::try_from(self.now.mono_ms).expect("times fit into 63 bits");
                let ms = |offset: i64| u64::try_from(mono + offset).unwrap_or(0);
                let (low, high) = (offset.low_at(self.at()), offset.high_at(self.at()));
                let (earliest_ms, latest_ms) = (ms(low), ms(high));
                assert!(earliest_ms <= latest_ms, "bounds are in order");
                Some(Bounds { earliest_ms, latest_ms })
            }
        }
    }

    /// Returns the monotonic instant, after this step and not before `from_mono`, at which a call
    /// to the store narrows the bounds most: when a tick of its clock (for a `Date`, the next
    /// second) is as likely past as not. Returns `None` if a call would not help much.
    ///
    /// The answer shows on which side of the call the tick was, which leaves half of the width,
    /// plus half of the round trip. After a few calls the width is about a round trip, and drifts
    /// from there.
    pub(crate) fn best_question_mono(&self, from_mono: u64) -> Option<u64> {
        let bounds = self.bounds().filter(|_| self.disputed.is_none())?;
        let round_trip_ms = self.quickest?.ms;
        let is_coarse = self.span_ms >= COARSE_MS && self.span_ms > round_trip_ms;
        // Below this width a call gains hardly more than a millisecond, and the drift soon takes it
        // back.
        if !is_coarse || bounds.width_ms() <= round_trip_ms + round_trip_ms / 4 + 2 {
            return None;
        }
        let likely_ms = bounds.earliest_ms + bounds.width_ms() / 2;
        // The store reads its clock about half a round trip after the call is sent.
        let idle_ms = from_mono.saturating_sub(self.now.mono_ms);
        let read_ms = likely_ms + round_trip_ms / 2 + idle_ms;
        let wait_ms = self.span_ms - read_ms % self.span_ms;
        assert!((1..=self.span_ms).contains(&wait_ms), "the next tick is at most a tick away");
        Some(self.now.mono_ms + idle_ms + wait_ms)
    }

    /// Returns true if an answer to `call` or a later call carried the store's time. This is always
    /// true where the clock is the process's own.
    ///
    /// It compares calls, not instants, because a process may have been frozen, with all its
    /// clocks, between two events of the same millisecond.
    pub(crate) fn was_heard_since(&self, call: u64) -> bool {
        self.reference == Reference::Own || self.offset.is_some() && self.heard_calls > call
    }

    /// Returns true if the process paused since an instant, and the length of the pause is unknown:
    /// its own clocks need not show it, and the store's time is not known now or was not known
    /// then.
    pub(crate) fn is_blind_since(&self, then: &Moment) -> bool {
        let is_known = self.offset.is_some() && self.store_ms_at(then).is_some();
        self.reference == Reference::Store && then.thaws < self.thaws && !is_known
    }

    /// Returns the latest possible store's time at an instant, as it was known then, or as it
    /// became known later, before the next pause.
    fn store_ms_at(&self, then: &Moment) -> Option<u64> {
        let is_later = |anchor: &&Anchor| anchor.mono_ms >= then.at.mono_ms && anchor.thaws >= then.thaws;
        then.store_ms.or_else(|| {
            let anchor = self.anchors.iter().find(is_later)?;
            let elapsed_ms = anchor.mono_ms - then.at.mono_ms;
            (anchor.thaws == then.thaws).then(|| anchor.store_ms.saturating_sub(elapsed_ms))
        })
    }

    /// Carries the hybrid clock of earlier lives over, where one process holds the store: every
    /// commit time that they gave out and that may have been removed since is at or below the mark.
    /// The wall clock may have been set back in between, so the time is unknown before this.
    pub(crate) fn carry_over(&mut self, mark: Hlc) {
        if self.reference == Reference::Own {
            self.hybrid = self.hybrid.max(mark);
            self.carried = true;
            assert!(self.hybrid >= mark, "commits to come are above the mark");
        }
    }

    /// Falls back to the wall clock once `reads` reads have found no mark: damage of the mark ends
    /// collection, but not service (protocol, section 11).
    pub(crate) fn do_without_mark(&mut self, reads: u32) {
        if self.reference == Reference::Store || self.carried {
            return;
        }
        self.markless_reads += 1;
        if self.markless_reads >= reads {
            self.carry_over(Hlc::default());
        }
    }

    /// Returns true if this bug is planted.
    pub(crate) fn has_bug(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn at(&self) -> At {
        At { mono_ms: self.now.mono_ms, slip_ms: self.slip.total_ms() }
    }

    /// Returns this step's monotonic time in milliseconds.
    pub(crate) fn mono_ms(&self) -> u64 {
        self.now.mono_ms
    }

    /// Returns the machine's own wall clock, in milliseconds. Only a planted bug decides by it.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.now.wall_ms
    }

    /// Returns the current instant, for later calls of [`Clock::age_at_most_ms`] and
    /// [`Clock::age_at_least_ms`].
    pub(crate) fn moment(&self) -> Moment {
        let store_ms = match self.reference {
            Reference::Store => self.bounds().map(|bounds| bounds.latest_ms),
            Reference::Own => None,
        };
        Moment { at: self.at(), store_ms, thaws: self.thaws }
    }

    /// Returns the age of an instant for expiries, by the clock that advanced furthest at each step
    /// since. A wall clock that was set back in between hides no pause.
    pub(crate) fn age_at_most_ms(&self, then: &Moment) -> u64 {
        let counted_ms = self.age_at_least_ms(then) + self.slip.total_ms().saturating_sub(then.at.slip_ms);
        let store = match (self.store_ms_at(then), self.bounds()) {
            // The upper bound grows when an answer shows that the process paused with all its
            // clocks, and not when answers narrow the bounds.
            (Some(then_ms), Some(bounds)) => bounds.latest_ms.saturating_sub(then_ms),
            (Some(_) | None, _) => 0,
        };
        let age_ms = counted_ms.max(store);
        assert!(age_ms >= self.age_at_least_ms(then), "an age at most is not below the age at least");
        age_ms
    }

    /// Returns the age of an instant for waits, by the monotonic clock alone.
    pub(crate) fn age_at_least_ms(&self, then: &Moment) -> u64 {
        self.now.mono_ms.saturating_sub(then.at.mono_ms)
    }

    /// Returns the distance of the hybrid clock ahead of the store's time, in milliseconds.
    pub(crate) fn ahead_ms(&self) -> u64 {
        self.bounds().map_or(0, |bounds| self.hybrid.ms().saturating_sub(bounds.latest_ms))
    }

    /// Returns a commit time that is greater than `after`, greater than those returned before, and
    /// not before `at_ms`, which must lie within the bounds of the store's time.
    pub(crate) fn tick(&mut self, after: Hlc, at_ms: u64) -> Hlc {
        let bounds = self.bounds().expect("no commit time is taken before the store's time is known");
        assert!(bounds.earliest_ms <= at_ms && at_ms <= bounds.latest_ms, "a commit time is the store's");
        let next = self.hybrid.max(after).0.checked_add(1).expect("commit times do not run out");
        let time = Hlc(next).max(Hlc::from_ms(at_ms));
        assert!(time > after && time > self.hybrid, "a commit time is greater than all before it");
        assert!(time >= Hlc::from_ms(at_ms), "a commit time is not before the instant that it is for");
        self.first.get_or_insert(time);
        // A time that follows a version from the future applies only to that transaction: the next
        // commit time is the store's time again.
        if self.reference == Reference::Own || time.ms() <= bounds.latest_ms {
            self.hybrid = time;
        }
        assert!(self.hybrid <= time, "the hybrid clock follows what is given out, and nothing else");
        time
    }

    /// Returns true if this clock may have given out `time`, because it is not before the first
    /// commit time that it gave out.
    pub(crate) fn is_of_this_life(&self, time: Hlc) -> bool {
        self.first.is_some_and(|first| time >= first)
    }

    /// Panics if an invariant is broken.
    pub(crate) fn check_invariants(&self) {
        assert!(self.heard_mono <= self.now.mono_ms, "the last answer is in the past");
        assert!(self.anchors.len() <= ANCHORS_MAX, "anchors are bounded");
        let ordered = |a: &Anchor, b: &Anchor| a.mono_ms <= b.mono_ms && a.thaws <= b.thaws;
        assert!(self.anchors.iter().is_sorted_by(|a, b| ordered(a, b)), "anchors come in order");
        let is_heard = self.offset.is_some() || self.disputed.is_some();
        assert!(!is_heard || self.reference == Reference::Store, "one process hears no other time");
        if let Some(offset) = &self.offset {
            assert!(offset.low_at(self.at()) <= offset.high_at(self.at()), "bounds are in order");
        }
        if let (Some((hull, _)), Some(offset)) = (&self.disputed, &self.offset) {
            let meets = hull.low_at(self.at()) <= offset.high_at(self.at())
                && hull.high_at(self.at()) >= offset.low_at(self.at());
            assert!(meets, "a hull covers what is known");
        }
    }
}
