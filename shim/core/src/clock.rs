//! The store's time, and ages: the only clocks that decisions rest on (`docs/protocol.md`, clocks).
//!
//! Rule. A node's time is the store's. Every answer carries it, so it costs no request. One answer
//! bounds the offset between the store's clock and the node's monotonic clock; bounds of several
//! answers are intersected, and widen as clocks drift. Before the first answer, and after the
//! process did not run for a while, the time is not known and nothing is decided by it.
//!
//! Ages have two forms. What waits (retention, a mark that settles) waits *at least*; what expires
//! (deadlines, listings, repeated calls) expires *at most*: by whichever clock went furthest. So a
//! process that was frozen with one of its clocks does not believe what it knew before.
//!
//! Why an error is on the safe side: every comparison takes the bound that delays what waits and
//! hastens what expires.

use std::collections::VecDeque;

use crate::bug::Bug;
use crate::ids::Hlc;

/// The clocks at one step, read once by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Now {
    /// Milliseconds of a clock that never goes back and does not count suspension
    /// (`CLOCK_MONOTONIC`). Timers go by it.
    pub mono_ms: u64,
    /// Milliseconds of a clock that never goes back and counts suspension (`CLOCK_BOOTTIME`).
    pub boot_ms: u64,
    /// Milliseconds since the Unix epoch. May jump.
    pub wall_ms: u64,
}

/// The store's time as one answer carried it: at some moment between sending and receiving, the
/// store's clock read a value in `[at_ms, at_ms + span_ms)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreTime {
    /// The earliest instant at which the request was sent, by the node's monotonic clock.
    pub sent_mono_ms: u64,
    /// The latest instant at which the answer had come, by the node's monotonic clock.
    pub received_mono_ms: u64,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// The resolution of the store's time, in milliseconds; at least 1.
    pub span_ms: u64,
}

/// The clock that is the store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// The store's own, which its answers carry.
    Store,
    /// One process holds the store: its wall clock, but never behind its hybrid clock.
    Own,
}

/// The store's time at one step: not before the one, not after the other, in milliseconds since the
/// epoch.
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

/// Clocks drift apart by at most this, in parts per million: four times what quartz does.
const DRIFT_PPM: u64 = 200;
/// A time that no answer has confirmed for so long is not known any more.
const STALE_AFTER_MS: u64 = 60_000;
/// After answers disagreed, both count for so long.
const DISPUTE_MS: u64 = 10_000;
/// A store whose time ticks more often is asked for no better one: any answer tells it.
const COARSE_MS: u64 = 10;
/// A gap longer than this, which the node's timers or one of its clocks did not foresee, is a pause
/// of the process.
pub const THAW_MS: u64 = 1_000;

/// A wall clock wavers by at most this: it goes on in steps, and is read a moment after the others.
const WALL_GRAIN_MS: i64 = 20;

/// The time that the monotonic clock has not counted, and another clock has, since the process
/// began: it never goes back. The clock that counts suspension is held against the monotonic one,
/// the wall clock against that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Slip {
    suspended_ms: u64,
    /// The distance of the wall clock when the process began, or when it was last set back.
    wall_base_ms: i64,
    /// The furthest that it has gone beyond that: a clock that only wavers does not add up.
    wall_ms: u64,
    /// The distance that it had shown each time when it was set back, in all.
    carried_ms: u64,
}

impl Slip {
    /// Returns the slip at the first step of a process.
    fn at_start(now: Now) -> Slip {
        Slip { wall_base_ms: Slip::wall_ahead_ms(now), ..Slip::default() }.step(now, now)
    }

    fn wall_ahead_ms(now: Now) -> i64 {
        let ahead_ms = i128::from(now.wall_ms) - i128::from(now.boot_ms);
        i64::try_from(ahead_ms).expect("times fit into 63 bits")
    }

    /// Goes on to the clocks of a step.
    fn step(self, start: Now, now: Now) -> Slip {
        let boot_ms = now.boot_ms - start.boot_ms;
        let suspended_ms = self.suspended_ms.max(boot_ms.saturating_sub(now.mono_ms - start.mono_ms));
        let ahead_ms = Slip::wall_ahead_ms(now);
        let mut slip = Slip { suspended_ms, ..self };
        let beyond_ms = ahead_ms - self.wall_base_ms;
        let furthest_ms = i64::try_from(self.wall_ms).expect("times fit into 63 bits");
        if beyond_ms < furthest_ms - WALL_GRAIN_MS {
            // It was set back: what it showed before stays, and what it shows from now on comes on
            // top.
            slip.carried_ms += self.wall_ms;
            (slip.wall_base_ms, slip.wall_ms) = (ahead_ms, 0);
        } else {
            slip.wall_ms = self.wall_ms.max(u64::try_from(beyond_ms).unwrap_or(0));
        }
        assert!(slip.total_ms() >= self.total_ms(), "what has slipped has slipped");
        slip
    }

    fn total_ms(self) -> u64 {
        self.suspended_ms + self.wall_ms + self.carried_ms
    }
}

/// One bound of store time minus monotonic time, as of the monotonic instant from which it drifts.
/// Signed: a monotonic clock may be ahead of the store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Edge {
    ms: i64,
    as_of_mono: u64,
}

impl Edge {
    /// Returns the drift since then, rounded up.
    fn drift_ms(self, mono_ms: u64) -> i64 {
        let elapsed = mono_ms.checked_sub(self.as_of_mono).expect("a bound is as of an earlier step");
        let drift = (elapsed * DRIFT_PPM).div_ceil(1_000_000) as i64;
        assert!(drift >= 0, "bounds widen with time, and never narrow");
        drift
    }
}

/// The upper of the bounds. A pause that the monotonic clock did not count moves the store's time
/// ahead of it, so it widens by whatever has slipped since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct UpperEdge {
    edge: Edge,
    slip_ms: u64,
}

/// The monotonic clock, and what has slipped by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
struct At {
    mono_ms: u64,
    slip_ms: u64,
}

/// Bounds of store time minus monotonic time. Each keeps the instant that it is as of: were both
/// restamped with every answer, the rounding of the drift would add up to a millisecond an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Offset {
    low: Edge,
    high: UpperEdge,
}

impl Offset {
    /// Returns the bounds by an answer that is heard at `now`, to a call that was sent when so much
    /// had slipped, or later.
    fn of(heard: StoreTime, slip_ms: u64, now: At) -> Offset {
        assert!(slip_ms <= now.slip_ms, "a call is answered after it was sent");
        let at = |ms: u64| i64::try_from(ms).expect("times fit into 63 bits");
        // The driver may have read the clock for the answer after it read those of the step, and
        // rounds it up: to drift from the step on errs on the safe side.
        let edge = |ms: i64, as_of_mono: u64| Edge { ms, as_of_mono: as_of_mono.min(now.mono_ms) };
        // The store read its clock while the request was under way. Were that at the end, nothing
        // has drifted since; if it was earlier, the lower bound has more room than drift can take.
        let low = edge(at(heard.at_ms) - at(heard.received_mono_ms), heard.received_mono_ms);
        // The upper bound has no room if it was at the beginning, so it drifts from there, and a
        // pause since then counts.
        let high = edge(at(heard.at_ms) + at(heard.span_ms) - at(heard.sent_mono_ms), heard.sent_mono_ms);
        assert!(low.ms < high.ms, "an answer bounds the offset from both sides");
        Offset { low, high: UpperEdge { edge: high, slip_ms } }
    }

    /// Returns the lower bound at an instant.
    fn low_at(self, now: At) -> i64 {
        self.low.ms - self.low.drift_ms(now.mono_ms)
    }

    /// Returns the upper bound at an instant.
    fn high_at(self, now: At) -> i64 {
        let UpperEdge { edge, slip_ms } = self.high;
        let slipped_ms = i64::try_from(now.slip_ms - slip_ms).expect("times fit into 63 bits");
        edge.ms + edge.drift_ms(now.mono_ms) + slipped_ms
    }

    /// Returns the bounds that hold if both hold at an instant; of equal ones the older, which only
    /// rounding has brought so far out. `None` if they disagree.
    fn intersection(self, newer: Offset, now: At) -> Option<Offset> {
        let low = if self.low_at(now) >= newer.low_at(now) { self.low } else { newer.low };
        let high = if self.high_at(now) <= newer.high_at(now) { self.high } else { newer.high };
        let both = Offset { low, high };
        (both.low_at(now) <= both.high_at(now)).then_some(both)
    }

    /// Returns the bounds that hold if one of the two holds at an instant, and go on to.
    fn hull(self, other: Offset, now: At) -> Offset {
        let (low, other_low) = (self.low_at(now), other.low_at(now));
        let (high, other_high) = (self.high_at(now), other.high_at(now));
        assert!(low.min(other_low) <= high.max(other_high), "a hull is not empty");
        // An edge that is further out by a millisecond stays so, however drift is rounded.
        let stamped = |ms: i64| Edge { ms, as_of_mono: now.mono_ms };
        let low = if low < other_low { self.low } else { stamped(other_low) };
        let stamped_high = UpperEdge { edge: stamped(other_high), slip_ms: now.slip_ms };
        let high = if high > other_high { self.high } else { stamped_high };
        Offset { low, high }
    }
}

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

/// Anchors that are kept. An instant without one counts as out of sight after the next pause.
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
    /// The number of calls made before the latest one whose answer carried it, and that one.
    heard_calls: u64,
    /// The resolution of the store's time, in milliseconds, as last heard.
    span_ms: u64,
    /// The quickest round trip of the last minute or so.
    quickest: Option<RoundTrip>,
    /// The number of pauses of the process so far.
    thaws: u32,
    /// The last commit time that was given out, but for those that followed a version of the
    /// future.
    hybrid: Hlc,
    /// The first commit time that was given out.
    first: Option<Hlc>,
    /// Set where one process holds the store, once what its earlier lives gave out was carried over.
    carried: bool,
    /// Reads that have shown no mark.
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

    /// Goes on to the clocks of a step, which was promised for `wake_mono` at the latest. Returns
    /// the gap, in milliseconds, if the process had not run for a while before it: two of its
    /// clocks moved apart, or the step comes too late.
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
        // A wall clock that is set back says as much about a pause as one that goes ahead: the
        // clocks moved apart.
        let wall = (i128::from(now.wall_ms) - i128::from(before.wall_ms)).abs_diff(i128::from(mono));
        let late = wake_mono.map_or(0, |wake| now.mono_ms.saturating_sub(wake));
        let gap = suspended.max(u64::try_from(wall).unwrap_or(u64::MAX)).max(late);
        if gap <= THAW_MS {
            return None;
        }
        self.offset = None;
        self.disputed = None;
        self.thaws += 1;
        let is_unknown = self.reference == Reference::Own || self.offset.is_none();
        assert!(is_unknown, "nothing that was known of time before a pause is believed after it");
        Some(gap)
    }

    /// Learns the store's time from an answer to a call that was made since the last pause, the
    /// number `asked_call`, at the moment `asked`. Returns the distance, in milliseconds, if it
    /// disagrees with what was known.
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

    /// Returns the monotonic instant, after this step and not before `from_mono`, at which a question
    /// to the store narrows the bounds most: when a tick of its clock (of a `Date`, the next second)
    /// is as likely over as not. `None` if a question would not help much.
    ///
    /// Its answer tells on which side the tick fell. So it leaves half of the width, and half of its
    /// round trip; after some of them the width is about a round trip, and drifts from there.
    pub(crate) fn best_question_mono(&self, from_mono: u64) -> Option<u64> {
        let bounds = self.bounds().filter(|_| self.disputed.is_none())?;
        let round_trip_ms = self.quickest?.ms;
        let is_coarse = self.span_ms >= COARSE_MS && self.span_ms > round_trip_ms;
        // Below that hardly more than a millisecond would go, and the drift soon brings it back.
        if !is_coarse || bounds.width_ms() <= round_trip_ms + round_trip_ms / 4 + 2 {
            return None;
        }
        let likely_ms = bounds.earliest_ms + bounds.width_ms() / 2;
        // The store reads its clock half a round trip after the question leaves.
        let idle_ms = from_mono.saturating_sub(self.now.mono_ms);
        let read_ms = likely_ms + round_trip_ms / 2 + idle_ms;
        let wait_ms = self.span_ms - read_ms % self.span_ms;
        assert!((1..=self.span_ms).contains(&wait_ms), "the next tick is at most a tick away");
        Some(self.now.mono_ms + idle_ms + wait_ms)
    }

    /// Returns true if an answer to this call or a later one carried the store's time; always where
    /// the clock is the process's own. Instants would not do: a process may have been frozen, with
    /// all its clocks, between two events of the same millisecond.
    pub(crate) fn was_heard_since(&self, call: u64) -> bool {
        self.reference == Reference::Own || self.offset.is_some() && self.heard_calls > call
    }

    /// Returns true if the process stood still since an instant, and nothing shows how long: no
    /// clock of its own need do so, and the store's time is not known now or was not known then.
    pub(crate) fn is_blind_since(&self, then: &Moment) -> bool {
        let is_known = self.offset.is_some() && self.store_ms_at(then).is_some();
        self.reference == Reference::Store && then.thaws < self.thaws && !is_known
    }

    /// Returns the latest that the store's time could be at an instant: as it was known then, or as
    /// it became known later, before the next pause.
    fn store_ms_at(&self, then: &Moment) -> Option<u64> {
        let is_later = |anchor: &&Anchor| anchor.mono_ms >= then.at.mono_ms && anchor.thaws >= then.thaws;
        then.store_ms.or_else(|| {
            let anchor = self.anchors.iter().find(is_later)?;
            let elapsed_ms = anchor.mono_ms - then.at.mono_ms;
            (anchor.thaws == then.thaws).then(|| anchor.store_ms.saturating_sub(elapsed_ms))
        })
    }

    /// Carries the hybrid clock of earlier lives over, where one process holds the store: the mark
    /// is at or above every commit time that they gave out and that may have gone since. A wall
    /// clock may have been set back between, so the time is not known before.
    pub(crate) fn carry_over(&mut self, mark: Hlc) {
        if self.reference == Reference::Own {
            self.hybrid = self.hybrid.max(mark);
            self.carried = true;
            assert!(self.hybrid >= mark, "commits to come are above the mark");
        }
    }

    /// Begins at the wall clock after all, once this many reads have shown that there is no mark:
    /// damage of it ends collecting, not service (protocol, section 11).
    pub(crate) fn do_without_mark(&mut self, reads: u32) {
        if self.reference == Reference::Store || self.carried {
            return;
        }
        self.markless_reads += 1;
        if self.markless_reads >= reads {
            self.carry_over(Hlc::default());
        }
    }

    /// Returns true if this fault was put in on purpose.
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
        Moment { at: self.at(), store_ms, thaws: self.thaws }
    }

    /// Returns the age of an instant by whichever clock went furthest since, at every step: for what
    /// expires. A wall clock that was set back in between hides no pause.
    pub(crate) fn age_at_most_ms(&self, then: &Moment) -> u64 {
        let counted_ms = self.age_at_least_ms(then) + self.slip.total_ms().saturating_sub(then.at.slip_ms);
        let store = match (self.store_ms_at(then), self.bounds()) {
            // By the latest that it can be: it grows when an answer shows that the process stood
            // still with all its clocks, and not when answers narrow the error down.
            (Some(then_ms), Some(bounds)) => bounds.latest_ms.saturating_sub(then_ms),
            (Some(_) | None, _) => 0,
        };
        let age_ms = counted_ms.max(store);
        assert!(age_ms >= self.age_at_least_ms(then), "an age at most is not below the age at least");
        age_ms
    }

    /// Returns the age of an instant by the monotonic clock alone: for what waits.
    pub(crate) fn age_at_least_ms(&self, then: &Moment) -> u64 {
        self.now.mono_ms.saturating_sub(then.at.mono_ms)
    }

    /// Returns how far the hybrid clock is ahead of the store's time, in milliseconds.
    pub(crate) fn ahead_ms(&self) -> u64 {
        self.bounds().map_or(0, |bounds| self.hybrid.ms().saturating_sub(bounds.latest_ms))
    }

    /// Gives out a commit time: greater than `after` and than those given out before, and not
    /// before `at_ms`, which lies within the bounds of the store's time.
    pub(crate) fn tick(&mut self, after: Hlc, at_ms: u64) -> Hlc {
        let bounds = self.bounds().expect("no commit time is taken before the store's time is known");
        assert!(bounds.earliest_ms <= at_ms && at_ms <= bounds.latest_ms, "a commit time is the store's");
        let next = self.hybrid.max(after).0.checked_add(1).expect("commit times do not run out");
        let time = Hlc(next).max(Hlc::from_ms(at_ms));
        assert!(time > after && time > self.hybrid, "a commit time is greater than all before it");
        assert!(time >= Hlc::from_ms(at_ms), "a commit time is not before the instant that it is for");
        self.first.get_or_insert(time);
        // A time that follows a version of the future is that transaction's alone: what the node
        // gives out next is the store's time again.
        if self.reference == Reference::Own || time.ms() <= bounds.latest_ms {
            self.hybrid = time;
        }
        assert!(self.hybrid <= time, "the hybrid clock follows what is given out, and nothing else");
        time
    }

    /// Returns true if a commit time may have been given out by this clock: it is not before the first
    /// one.
    pub(crate) fn is_of_this_life(&self, time: Hlc) -> bool {
        self.first.is_some_and(|first| time >= first)
    }

    /// Panics if an invariant is broken.
    pub(crate) fn check_invariants(&self) {
        assert!(self.heard_mono <= self.now.mono_ms, "what was heard is in the past");
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

#[cfg(test)]
mod tests {
    //! Goal: the rules of the store's time and of ages, each by examples with figures.
    //!
    //! Method: a clock is stepped and fed with answers by hand; one `check` per rule compares what
    //! it says with what follows from the answers.

    use super::{Bounds, Clock, DISPUTE_MS, Moment, Now, Reference, STALE_AFTER_MS, StoreTime, THAW_MS};
    use crate::ids::Hlc;

    /// True time at the monotonic instant 0, in milliseconds.
    const EPOCH_MS: u64 = 1_700_000_000_000;

    /// Returns clocks that agree, at a monotonic instant.
    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, boot_ms: mono_ms, wall_ms: EPOCH_MS + mono_ms }
    }

    /// Returns an answer of a store whose clock shows `store_ms` beyond the epoch.
    fn answer(sent: u64, received: u64, store_ms: u64, span_ms: u64) -> StoreTime {
        let at_ms = EPOCH_MS + store_ms;
        StoreTime { sent_mono_ms: sent, received_mono_ms: received, at_ms, span_ms }
    }

    fn clock(reference: Reference, mono_ms: u64) -> Clock {
        let mut clock = Clock::new(reference, None);
        assert_eq!(clock.step(at(mono_ms), None), None, "a first step follows no other");
        clock
    }

    /// Lets the clock hear an answer to a call that was asked at this step, or so late.
    fn hear(clock: &mut Clock, answer: StoreTime) -> Option<u64> {
        let asked = clock.moment();
        clock.hear(answer, &asked, 0)
    }

    /// Returns a clock that has heard at `mono_ms` that the store's time is the true one.
    fn heard(mono_ms: u64) -> Clock {
        let mut clock = clock(Reference::Store, mono_ms);
        assert_eq!(hear(&mut clock, answer(mono_ms, mono_ms, mono_ms, 1)), None);
        clock
    }

    /// Returns the bounds beyond the epoch.
    fn bounds(clock: &Clock) -> Option<(u64, u64)> {
        clock.check_invariants();
        let beyond = |Bounds { earliest_ms, latest_ms }| (earliest_ms - EPOCH_MS, latest_ms - EPOCH_MS);
        clock.bounds().map(beyond)
    }

    #[test]
    fn one_answer_bounds_the_time_by_its_round_trip_and_the_clocks_resolution() {
        let check = |span_ms: u64, round_trip_ms: u64, expected: (u64, u64)| {
            let mut clock = clock(Reference::Store, 5_000);
            assert_eq!(bounds(&clock), None, "no time before the first answer");
            clock.step(at(5_000 + round_trip_ms), None);
            hear(&mut clock, answer(5_000, 5_000 + round_trip_ms, 7_000, span_ms));
            assert_eq!(bounds(&clock), Some(expected), "{span_ms} ms, {round_trip_ms} ms");
        };
        check(1, 0, (7_000, 7_001));
        // The store may have read its clock first of all: the upper bound drifts from the sending.
        check(1, 10, (7_000, 7_012));
        check(1_000, 0, (7_000, 8_000));
        check(1_000, 10, (7_000, 8_011));
        check(1_000, 20_000, (7_000, 28_004));
    }

    #[test]
    fn answers_on_both_sides_of_second_boundaries_narrow_the_bounds_to_about_a_round_trip() {
        let check = |answers: u64, every_ms: u64, round_trip_ms: u64, width_max_ms: u64| {
            let mut clock = clock(Reference::Store, 0);
            for number in 0..answers {
                let sent = number * every_ms;
                let received = sent + round_trip_ms;
                clock.step(at(received), None);
                let true_ms = sent + round_trip_ms / 2;
                assert_eq!(hear(&mut clock, answer(sent, received, true_ms / 1_000 * 1_000, 1_000)), None);
                let (earliest, latest) = bounds(&clock).expect("it was heard");
                assert!(earliest <= received && received <= latest, "the true time is within the bounds");
            }
            let width_ms = clock.bounds().expect("it was heard").width_ms();
            assert!(width_ms <= width_max_ms, "{answers} answers leave {width_ms} ms");
        };
        check(1, 137, 8, 1_009);
        check(8, 137, 8, 1_009);
        check(40, 137, 8, 80);
        check(200, 137, 8, 64);
        // Thousands of answers a second, each a chance to round: they leave a round trip and the drift
        // of a second.
        check(4_500, 1, 8, 12);
    }

    #[test]
    fn questions_at_the_end_of_a_second_narrow_the_bounds_to_about_a_round_trip() {
        let check = |phase_ms: u64, round_trip_ms: u64, questions_max: u64| {
            let mut clock = clock(Reference::Store, 0);
            let ask = |clock: &mut Clock, sent: u64| {
                let received = sent + round_trip_ms;
                clock.step(at(received), None);
                // The store may read its clock at any moment of the round trip: here at once.
                let store_ms = (sent + phase_ms) / 1_000 * 1_000;
                assert_eq!(hear(clock, answer(sent, received, store_ms, 1_000)), None);
                let (earliest, latest) = bounds(clock).expect("it was heard");
                let true_ms = received + phase_ms;
                assert!(earliest <= true_ms && true_ms <= latest, "the true time is within the bounds");
            };
            ask(&mut clock, 0);
            let mut questions = 0;
            while let Some(at_mono) = clock.best_question_mono(clock.mono_ms() + 300) {
                let wait_ms = at_mono - clock.mono_ms();
                assert!((301..=1_300).contains(&wait_ms), "{wait_ms}");
                questions += 1;
                assert!(questions <= questions_max, "{phase_ms}, {round_trip_ms}: {:?}", clock.bounds());
                clock.step(at(at_mono), None);
                ask(&mut clock, at_mono);
            }
            let width_ms = clock.bounds().expect("it was heard").width_ms();
            assert!(width_ms <= round_trip_ms * 5 / 4 + 2, "{phase_ms}, {round_trip_ms}: {width_ms} ms");
            // They drift apart again, by 12 ms in half a minute.
            clock.step(at(clock.mono_ms() + 30_000), None);
            let is_due = clock.best_question_mono(0).is_some();
            assert!(is_due || round_trip_ms > 10, "{phase_ms}, {round_trip_ms}");
        };
        for phase_ms in [0, 1, 250, 499, 500, 501, 998, 999] {
            check(phase_ms, 0, 12);
            check(phase_ms, 3, 12);
            check(phase_ms, 40, 8);
            check(phase_ms, 150, 6);
        }
        assert_eq!(clock(Reference::Store, 0).best_question_mono(0), None, "no answer has told the time");
        let mut fine = heard(10_000);
        fine.step(at(40_000), None);
        assert_eq!(fine.best_question_mono(0), None, "a store that tells milliseconds");
    }

    #[test]
    fn bounds_widen_by_two_parts_in_ten_thousand_on_each_side() {
        let check = |elapsed_ms: u64, expected: (u64, u64)| {
            let mut clock = heard(0);
            clock.step(at(elapsed_ms), None);
            assert_eq!(bounds(&clock), Some(expected), "after {elapsed_ms} ms");
        };
        check(0, (0, 1));
        check(1, (0, 3));
        check(5_000, (4_999, 5_002));
        check(50_000, (49_990, 50_011));
    }

    #[test]
    fn a_time_that_was_not_confirmed_for_a_minute_is_not_known() {
        let check = |elapsed_ms: u64, is_known: bool| {
            let mut clock = heard(0);
            clock.step(at(elapsed_ms), None);
            assert_eq!(clock.bounds().is_some(), is_known, "after {elapsed_ms} ms");
            hear(&mut clock, answer(elapsed_ms, elapsed_ms, elapsed_ms, 1));
            assert!(clock.bounds().is_some(), "an answer makes it known");
        };
        check(STALE_AFTER_MS, true);
        check(STALE_AFTER_MS + 1, false);
        check(10 * STALE_AFTER_MS, false);
    }

    #[test]
    fn answers_that_disagree_both_count_for_a_while_and_the_new_one_from_then_on() {
        let check = |store_ms: u64, apart_ms: u64| {
            let mut clock = heard(20_000);
            let said = hear(&mut clock, answer(20_000, 20_000, store_ms, 1));
            assert_eq!(said, Some(apart_ms), "the distance between the nearest bounds");
            let (low, high) = (store_ms.min(20_000), store_ms.max(20_000));
            assert_eq!(bounds(&clock), Some((low, high + 1)), "both are covered");
            clock.step(at(20_000 + DISPUTE_MS - 1), None);
            let (earliest, latest) = bounds(&clock).expect("it is known");
            assert!(latest - earliest > high - low, "both are covered to the end");
            clock.step(at(20_000 + DISPUTE_MS), None);
            let drift_ms = DISPUTE_MS / 5_000;
            let now_ms = store_ms + DISPUTE_MS;
            assert_eq!(bounds(&clock), Some((now_ms - drift_ms, now_ms + 1 + drift_ms)), "the new one");
        };
        check(25_000, 4_999);
        check(15_000, 4_999);
        check(20_002, 1);
    }

    #[test]
    fn a_pause_shows_by_any_two_clocks_that_moved_apart_and_by_a_late_step() {
        let check = |now: Now, wake: Option<u64>, gap_ms: Option<u64>| {
            let mut clock = heard(10_000);
            assert_eq!(clock.step(now, wake), gap_ms, "{now:?}, promised for {wake:?}");
            assert_eq!(clock.bounds().is_none(), gap_ms.is_some(), "after a pause no time is known");
        };
        let after = |mono: u64, boot: u64, wall: i64| Now {
            mono_ms: 10_000 + mono,
            boot_ms: 10_000 + boot,
            wall_ms: (EPOCH_MS + 10_000).saturating_add_signed(wall),
        };
        check(after(5_000, 5_000, 5_000), None, None);
        // Suspended: the monotonic clock stood still.
        check(after(1, 1 + THAW_MS, 1), None, None);
        check(after(1, 2 + THAW_MS, 1), None, Some(THAW_MS + 1));
        check(after(0, 60_000, 60_000), None, Some(60_000));
        // The wall clock was set, or went on alone.
        check(after(10, 10, 1_010), None, None);
        check(after(10, 10, 1_011), None, Some(1_001));
        check(after(10, 10, -991), None, Some(1_001));
        // All clocks agree, but the step comes later than the node wanted to be woken.
        check(after(6_000, 6_000, 6_000), Some(15_000), None);
        check(after(6_001, 6_001, 6_001), Some(15_000), Some(1_001));
        check(after(6_001, 6_001, 6_001), Some(20_000), None);
    }

    #[test]
    fn a_pause_too_short_to_notice_widens_the_upper_bound_by_what_any_clock_has_counted() {
        let after = |mono: u64, boot: u64, wall: i64| Now {
            mono_ms: 10_000 + mono,
            boot_ms: 10_000 + boot,
            wall_ms: (EPOCH_MS + 10_000).saturating_add_signed(wall),
        };
        let check = |steps: &[Now], expected: (u64, u64)| {
            let mut clock = heard(10_000);
            for now in steps {
                assert_eq!(clock.step(*now, None), None, "{now:?}");
            }
            assert_eq!(bounds(&clock), Some(expected), "{steps:?}");
        };
        check(&[after(0, 400, 400)], (10_000, 10_401));
        check(&[after(0, 0, 400)], (10_000, 10_401));
        check(&[after(0, 400, 0)], (10_000, 10_401));
        // Several add up, and a clock that wavers does not.
        check(&[after(0, 400, 400), after(0, 900, 900)], (10_000, 10_901));
        check(&[after(0, 0, 20), after(0, 0, 0), after(0, 0, 20)], (10_000, 10_021));
        // A wall clock that is set back shows a later pause all the same.
        check(&[after(0, 0, -500), after(0, 0, -200)], (10_000, 10_301));
        check(&[after(0, 0, 400), after(0, 0, -500), after(0, 0, -200)], (10_000, 10_701));
        check(&[after(0, 0, 400), after(0, 0, 100), after(0, 0, 300)], (10_000, 10_601));
        // A call was under way: its answer may be from before the pause.
        let mut clock = heard(10_000);
        let asked = clock.moment();
        clock.step(after(1, 401, 401), None);
        clock.hear(answer(10_000, 10_001, 10_000, 1), &asked, 1);
        assert_eq!(bounds(&clock), Some((10_000, 10_403)));
    }

    #[test]
    fn a_time_was_heard_since_a_call_by_the_answer_to_that_one_or_a_later_one() {
        let mut clock = clock(Reference::Store, 10_000);
        assert!(!clock.was_heard_since(0), "no answer");
        let asked = clock.moment();
        clock.hear(answer(10_000, 10_000, 10_000, 1), &asked, 7);
        assert!(clock.was_heard_since(7));
        assert!(!clock.was_heard_since(8), "the same instant is no proof");
    }

    #[test]
    fn after_a_pause_earlier_instants_are_out_of_sight_until_the_store_has_answered() {
        let check = |pauses: bool, answers: bool, is_blind: bool| {
            let mut clock = heard(10_000);
            let before = clock.moment();
            let boot_ms = if pauses { 15_100 } else { 10_100 };
            clock.step(Now { mono_ms: 10_100, boot_ms, wall_ms: EPOCH_MS + boot_ms }, None);
            if answers {
                hear(&mut clock, answer(10_100, 10_100, boot_ms, 1));
            }
            assert_eq!(clock.is_blind_since(&before), is_blind, "{pauses}, {answers}");
            assert!(!clock.is_blind_since(&clock.moment()), "{pauses}, {answers}");
        };
        check(false, false, false);
        check(false, true, false);
        check(true, false, true);
        check(true, true, false);
    }

    #[test]
    fn a_time_that_becomes_known_later_shows_a_pause_since_an_instant_all_the_same() {
        let check = |pauses_between: bool, is_blind: bool, at_most_ms: u64| {
            let mut clock = clock(Reference::Store, 10_000);
            let before = clock.moment();
            let mut ahead_ms = if pauses_between { 5_000 } else { 0 };
            clock.step(Now { mono_ms: 10_100, boot_ms: 10_100 + ahead_ms, wall_ms: EPOCH_MS + 10_100 }, None);
            hear(&mut clock, answer(10_100, 10_100, 10_100, 1));
            // Another pause, seen by one clock alone; the store shows its length.
            ahead_ms += 2_000;
            clock.step(Now { mono_ms: 10_200, boot_ms: 10_200 + ahead_ms, wall_ms: EPOCH_MS + 10_200 }, None);
            hear(&mut clock, answer(10_200, 10_200, 70_000, 1));
            assert_eq!(clock.is_blind_since(&before), is_blind);
            assert_eq!(clock.age_at_most_ms(&before), at_most_ms);
        };
        check(false, false, 60_000);
        // Nothing shows how long the first pause was but the clock that noticed it.
        check(true, true, 7_200);
    }

    #[test]
    fn one_process_goes_on_above_the_mark_that_an_earlier_life_has_moved() {
        let check = |mark_ms: u64, expected_ms: u64| {
            let mut clock = clock(Reference::Own, 10_000);
            let mark = Hlc::from_ms(EPOCH_MS + mark_ms);
            clock.carry_over(mark);
            assert_eq!(bounds(&clock), Some((expected_ms, expected_ms)), "the mark at {mark_ms}");
            assert!(clock.tick(Hlc::default(), EPOCH_MS + expected_ms) > mark, "the mark at {mark_ms}");
        };
        check(0, 10_000);
        check(10_000, 10_000);
        check(70_000, 70_000);
    }

    #[test]
    fn an_age_at_most_goes_by_the_clock_that_went_furthest_and_an_age_at_least_by_one() {
        let ages = |clock: &Clock, then: &Moment| (clock.age_at_most_ms(then), clock.age_at_least_ms(then));
        let check = |mono: u64, boot: u64, wall: i64, expected: (u64, u64)| {
            let mut clock = heard(10_000);
            let then = clock.moment();
            let wall_ms = (EPOCH_MS + 10_000).saturating_add_signed(wall);
            clock.step(Now { mono_ms: 10_000 + mono, boot_ms: 10_000 + boot, wall_ms }, None);
            assert_eq!(ages(&clock, &then), expected, "{mono}, {boot}, {wall}");
        };
        check(0, 0, 0, (0, 0));
        // Known bounds have widened by the drift: the store's time may have gone further.
        check(500, 500, 500, (501, 500));
        check(500, 900, 500, (901, 500));
        check(500, 500, 900, (901, 500));
        check(500, 500, -400, (501, 500));
        check(1, 50_000, 1, (50_000, 1));
        check(1, 1, -50_000, (1, 1));
        // All three stood still, and only the store's time shows it.
        let mut clock = heard(10_000);
        let then = clock.moment();
        hear(&mut clock, answer(10_000, 10_000, 70_000, 1));
        assert_eq!(ages(&clock, &then), (60_000, 0));
    }

    #[test]
    fn commit_times_grow_strictly_and_keep_within_the_bounds() {
        let mut clock = heard(10_000);
        let Bounds { earliest_ms, latest_ms } = clock.bounds().expect("it was heard");
        let mut last = Hlc::default();
        let mut check = |after: Hlc, at_ms: u64, expected: Hlc| {
            let time = clock.tick(after, at_ms);
            assert_eq!(time, expected, "after {after}, at {at_ms}");
            assert!(time > after && time > last && time.ms() >= earliest_ms, "{time}");
            last = time;
        };
        let first = Hlc::from_ms(earliest_ms);
        check(Hlc::default(), earliest_ms, first);
        check(Hlc::default(), earliest_ms, Hlc(first.0 + 1));
        check(Hlc(first.0 + 7), earliest_ms, Hlc(first.0 + 8));
        check(Hlc::default(), latest_ms, Hlc::from_ms(latest_ms));
        check(Hlc::default(), earliest_ms, Hlc(Hlc::from_ms(latest_ms).0 + 1));
    }

    #[test]
    fn a_version_of_the_future_does_not_move_the_hybrid_clock() {
        let check = |ahead_ms: u64, is_followed: bool| {
            let mut clock = heard(10_000);
            let Bounds { latest_ms, .. } = clock.bounds().expect("it was heard");
            let future = Hlc::from_ms(latest_ms + ahead_ms);
            assert_eq!(clock.tick(future, latest_ms), Hlc(future.0 + 1), "its reader comes after it");
            let next = clock.tick(Hlc::default(), latest_ms);
            assert_eq!(next > future, is_followed, "{ahead_ms} ms ahead");
            assert_eq!(clock.ahead_ms(), 0, "{ahead_ms} ms ahead");
        };
        check(0, true);
        check(1, false);
        check(20 * 60_000, false);
    }

    #[test]
    fn an_answer_may_be_stamped_after_its_step() {
        let mut clock = heard(10_000);
        let known = bounds(&clock);
        assert_eq!(hear(&mut clock, answer(10_000, 10_001, 10_000, 2)), None);
        assert_eq!(hear(&mut clock, answer(10_000, 10_000, 10_000, 2)), None, "and the next one before it");
        assert_eq!(bounds(&clock).is_some(), known.is_some());
        // One that came before it may be taken after it, in the same step.
        assert_eq!(hear(&mut clock, answer(9_999, 10_000, 10_000, 2)), None);
        assert_eq!(bounds(&clock), known);
    }

    #[test]
    fn the_time_of_one_process_is_its_wall_clock_and_never_behind_its_commits() {
        let mut clock = clock(Reference::Own, 10_000);
        assert_eq!(hear(&mut clock, answer(10_000, 10_000, 90_000, 1)), None, "it hears no other time");
        assert_eq!(bounds(&clock), None, "earlier lives may have been ahead");
        clock.carry_over(Hlc::from_ms(EPOCH_MS + 9_000));
        assert_eq!(bounds(&clock), Some((10_000, 10_000)));
        assert!(clock.was_heard_since(u64::MAX - 1), "its own time is always at hand");
        let mut last = clock.tick(Hlc::default(), EPOCH_MS + 10_000);
        let mut check = |mono_ms: u64, wall_ms: u64, expected_ms: u64| {
            clock.step(Now { mono_ms, boot_ms: mono_ms, wall_ms: EPOCH_MS + wall_ms }, None);
            assert_eq!(bounds(&clock), Some((expected_ms, expected_ms)), "at {mono_ms}, {wall_ms}");
            let time = clock.tick(Hlc::default(), EPOCH_MS + expected_ms);
            assert!(time > last, "commit times grow while the wall clock is set back");
            last = time;
        };
        check(10_500, 10_500, 10_500);
        // Set back by an hour's tenth, and on from there.
        check(10_600, 0, 10_500);
        check(11_600, 1_000, 10_500);
        check(22_000, 11_400, 11_400);
        clock.carry_over(Hlc::from_ms(EPOCH_MS + 20_000));
        assert_eq!(bounds(&clock), Some((20_000, 20_000)), "a clock that was set back, and a restart");
    }
}
