//! Maintenance: what nobody waits for (protocol, section 8). One node at a time by lease, but two at once are harmless (`horizon`).
//!
//! ```text
//!   pass:  Enter   every intent: its transaction's version entries are entered by this maintainer itself, whatever it has heard   (`enter`)
//!          Retire  every intent older than the horizon: what its transaction supersedes gets a collect entry; then it goes        (`retire`, `supersede`)
//!          Collect every collect entry that is due                                                                                (`collect`)
//! ```
//!
//! A node that holds its store alone enters only what earlier lives left, at its start; its own commits are entered by their publishers.
//! Scans read pages, so memory is bounded whatever the backlog; items are worked on in batches, so that what they share (a hot key's listing and
//! marker, one collect entry, one deletion) is asked once; a fixed number of batches is under way at once.
//!
//! The horizon (`horizon`) is fixed for a pass: nothing younger is collected, and what a pass has found out of a key's versions below it stays true.

use crate::bug::Bug;
use crate::ids::{AttemptId, Hlc, Key, TxnId};
use crate::message::Note;
use crate::record::Intent;
use crate::store::{Answer, Body, Call, CallError, Group, Groups, Name};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::calls::Owner;
use super::horizon::Standing;
use super::pace::{Pace, WINDOW_MS};
use super::script::{Flow, Pending, Stop};
use super::supersede::Survivor;
use super::tasks::Purpose;
use super::{Node, Remembered, Timer};

/// How many attempts are remembered as entered by this maintainer, between their publishing and their intent's end, where others write too; those
/// forgotten are entered again.
const ENTERED_KEPT_MAX: usize = 500_000;

/// How many keys and transactions a pass remembers to have looked at; those forgotten are looked at again.
const LOOKED_AT_KEPT_MAX: usize = 100_000;

/// Intents in the first batches of a pass: a record has 16 MiB at most, and usually some KiB.
const BATCH_LEN_FIRST: usize = 16;

/// Names asked for in one page of a scan.
pub(super) const SCAN_PAGE_LEN: u32 = 256;

/// The scans of a pass, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Scanning {
    Enter,
    Retire,
    Collect,
}

/// On an exclusive store, what an earlier life need not be asked for again: a durable mark, renewed about once a pass while there is something new.
#[derive(Debug, Clone, Default, Hash)]
struct Mark {
    /// The last mark that was put.
    put: Hlc,
    /// The youngest intent of this life.
    youngest: Hlc,
    /// A timer will renew it.
    due: bool,
}

/// An attempt of this life that may have an intent.
#[derive(Debug, Clone, Hash)]
struct Unentered {
    /// No intent of it is older.
    oldest: Hlc,
    /// No intent of it is younger.
    youngest: Hlc,
    /// When the youngest was put, by the monotonic clock.
    since_mono: u64,
    /// The last pass whose Retire scan met an intent of it.
    met_in: u64,
}

#[derive(Debug, Clone, Hash)]
pub(super) struct Maintenance {
    pub(super) active: bool,
    /// One whole scan of the intents has entered what earlier lives left.
    pub(super) recovered: bool,
    pub(super) pass: Option<Pass>,
    /// Attempts whose version entries this node itself has put, with the pass in whose Retire scan that was, if it was in one. Where others write too.
    entered: Remembered<AttemptId, Option<u64>>,
    /// Attempts of this life that may have an intent, and that are neither published nor known to be over without a commit. On an exclusive
    /// store all others are settled once it has recovered.
    unentered: BTreeMap<AttemptId, Unentered>,
    mark: Mark,
    pace: Pace,
    /// The horizon of the last pass that had one.
    pub(super) horizon: Hlc,
    /// Attempts that must be over before their intents go: when each was first seen, by the monotonic clock, and in which pass last; forgotten
    /// when a whole pass has not seen them.
    pub(super) orphans: BTreeMap<AttemptId, (u64, u64)>,
    pub(super) passes: u64,
    /// The pause before the next pass: longer after each that found nothing to do.
    pause_ms: u64,
    /// Something damaged was met in this pass: the next one works on items one by one, so that it holds up no others.
    damage_met: bool,
}

impl Default for Maintenance {
    fn default() -> Maintenance {
        Maintenance {
            active: false,
            recovered: false,
            pass: None,
            entered: Remembered::new(ENTERED_KEPT_MAX),
            unentered: BTreeMap::new(),
            mark: Mark::default(),
            pace: Pace::default(),
            horizon: Hlc::default(),
            orphans: BTreeMap::new(),
            passes: 0,
            pause_ms: 0,
            damage_met: false,
        }
    }
}

impl Maintenance {
    /// Knowing nothing but what may still happen. Pass numbers go on, so that late answers match no pass.
    pub(super) fn anew(&self) -> Maintenance {
        Maintenance {
            passes: self.passes,
            unentered: self.unentered.clone(),
            horizon: self.horizon,
            ..Maintenance::default()
        }
    }

    /// Whether this pass is the one under way; answers to an earlier one's scans prove nothing.
    pub(super) fn in_pass(&self, number: u64) -> bool {
        self.pass.is_some() && self.passes == number
    }
}

/// A pass under way.
#[derive(Debug, Clone, Hash)]
pub(super) struct Pass {
    scan: Scanning,
    /// When the pass began, by the wall clock.
    began_wall_ms: u64,
    /// Intents up to this time are entered already.
    entered_up_to: Hlc,
    /// Every intent that was met could be entered.
    clean: bool,
    /// An intent's record could not be read: the node serves all the same, but something old may be unpublished.
    unreadable: bool,
    /// Fixed before anything is looked at.
    pub(super) horizon: Hlc,
    /// Whether it is written down, where others maintain too.
    pub(super) standing: Standing,
    /// When the Retire scan began, by the monotonic clock.
    retire_began_mono: u64,
    /// The scan under way could not list everything.
    cut_short: bool,
    minutes: VecDeque<u32>,
    /// Where to ask for more minutes, exclusive; the outer `None`: no more.
    minutes_after: Option<Option<u32>>,
    /// The minute that is being listed, and where to go on.
    listing: Option<(u32, Option<Name>)>,
    items: VecDeque<Name>,
    batch_len: usize,
    /// There was something to do.
    worked: bool,
    /// Batches under way.
    running: usize,
    list_under_way: bool,
    pumping: bool,
    /// Attempts of this life whose publishing ended during this pass's Retire scan, and whose intents are older than its horizon.
    entered_late: BTreeSet<AttemptId>,
    /// The newest versions older than the horizon, of keys that were looked at in this pass.
    pub(super) survivors: Remembered<Key, Survivor>,
    /// Transactions that this pass has found not superseded, or put a collect entry for.
    pub(super) settled: Remembered<TxnId, ()>,
    /// Lone tombstones for which this pass has already put an intent.
    pub(super) revisited: Remembered<TxnId, ()>,
}

impl Pass {
    fn begin_scan(&mut self, scan: Scanning) {
        self.scan = scan;
        self.cut_short = false;
        self.minutes.clear();
        self.minutes_after = Some(None);
        self.listing = None;
    }
}

impl Node {
    pub(super) fn maintain(&mut self, on: bool) {
        if on == self.maintenance.active {
            return;
        }
        if !on {
            let entered = std::mem::replace(&mut self.maintenance.entered, Remembered::new(0));
            self.maintenance = Maintenance { entered, ..self.maintenance.anew() };
            self.tasks.retain(|_, task| {
                !matches!(task.purpose, Purpose::Enter(_) | Purpose::Retire(_) | Purpose::Collect(_))
            });
            return;
        }
        self.maintenance.active = true;
        self.begin_pass();
    }

    pub(super) fn begin_pass(&mut self) {
        if !self.maintenance.active || self.maintenance.pass.is_some() {
            return;
        }
        self.maintenance.passes += 1;
        let batch_len = if std::mem::take(&mut self.maintenance.damage_met) {
            1
        } else {
            self.settings.maintenance_batch_len.min(BATCH_LEN_FIRST)
        };
        let mut pass = Pass {
            scan: Scanning::Enter,
            began_wall_ms: self.now.wall_ms,
            entered_up_to: Hlc::default(),
            clean: true,
            unreadable: false,
            horizon: Hlc::default(),
            standing: Standing::Unasked,
            retire_began_mono: 0,
            cut_short: false,
            minutes: VecDeque::new(),
            minutes_after: None,
            listing: None,
            items: VecDeque::new(),
            batch_len,
            worked: false,
            running: 0,
            list_under_way: false,
            pumping: false,
            entered_late: BTreeSet::new(),
            survivors: Remembered::new(LOOKED_AT_KEPT_MAX),
            settled: Remembered::new(LOOKED_AT_KEPT_MAX),
            revisited: Remembered::new(LOOKED_AT_KEPT_MAX),
        };
        if !self.settings.exclusive {
            pass.begin_scan(Scanning::Enter);
        } else if !self.maintenance.recovered {
            pass.list_under_way = true;
            self.call(Owner::Scan(Scanning::Enter, self.maintenance.passes), Call::Get(Name::Entered), None);
        }
        self.maintenance.pass = Some(pass);
        self.pump();
    }

    /// Starts what can be started: items up to the bound, the next page when they run out, the next scan when all is done.
    pub(super) fn pump(&mut self) {
        loop {
            let Some(pass) = &mut self.maintenance.pass else { return };
            if pass.pumping {
                return;
            }
            if pass.running < self.settings.maintenance_tasks_max && !pass.items.is_empty() {
                if pass.scan != Scanning::Enter && !(self.horizon_stands() && self.is_in_pace()) {
                    return;
                }
                if let Some(purpose) = self.next_batch() {
                    self.start_batch(purpose);
                }
                continue;
            }
            let Some(pass) = &mut self.maintenance.pass else { return };
            if pass.list_under_way || !pass.items.is_empty() {
                return;
            }
            if let Some((minute, after)) = pass.listing.clone() {
                pass.list_under_way = true;
                let scan = pass.scan;
                let group = match scan {
                    Scanning::Enter | Scanning::Retire => Group::Intents(minute),
                    Scanning::Collect => Group::Collects(minute),
                };
                self.call(
                    Owner::Scan(scan, self.maintenance.passes),
                    Call::List { group, after, limit: SCAN_PAGE_LEN },
                    None,
                );
                return;
            }
            if let Some(minute) = pass.minutes.pop_front() {
                pass.listing = Some((minute, None));
                continue;
            }
            if let Some(after) = pass.minutes_after {
                pass.list_under_way = true;
                let scan = pass.scan;
                let groups = match scan {
                    Scanning::Enter | Scanning::Retire => Groups::IntentMinutes { after },
                    Scanning::Collect => Groups::CollectMinutes { after },
                };
                self.call(
                    Owner::Scan(scan, self.maintenance.passes),
                    Call::Groups { groups, limit: SCAN_PAGE_LEN },
                    None,
                );
                return;
            }
            if pass.running > 0 {
                return;
            }
            match pass.scan {
                Scanning::Enter => {
                    if !self.maintenance.recovered && pass.clean {
                        self.maintenance.recovered = true;
                        self.out.push(crate::message::Output::Note(Note::Recovered));
                    }
                    let (horizon, now) = (self.next_horizon(), self.now.mono_ms);
                    let pass = self.maintenance.pass.as_mut().expect("looked up above");
                    if !self.settings.collect {
                        return self.end_pass();
                    }
                    pass.horizon = horizon;
                    pass.retire_began_mono = now;
                    pass.begin_scan(Scanning::Retire);
                }
                Scanning::Retire => {
                    self.forget_never_landed();
                    if self.maintenance.pass.as_ref().is_some_and(|pass| pass.cut_short) {
                        self.keep_orphans();
                    }
                    let pass = self.maintenance.pass.as_mut().expect("looked up above");
                    pass.begin_scan(Scanning::Collect);
                }
                Scanning::Collect => return self.end_pass(),
            }
        }
    }

    /// Whether the collector may go on now; if not, it is woken when it may.
    fn is_in_pace(&mut self) -> bool {
        let (now, percent) = (self.now.mono_ms, self.settings.collect_pace_percent);
        let in_pace = percent == 0 || self.maintenance.pace.allows(now, percent);
        if !in_pace {
            self.timers.insert(((now / WINDOW_MS + 1) * WINDOW_MS, Timer::Pump));
        }
        in_pace
    }

    pub(super) fn pump_again(&mut self) {
        if self.maintenance.active {
            self.pump();
        }
    }

    pub(super) fn pace_commit(&mut self) {
        let (now, percent) = (self.now.mono_ms, self.settings.collect_pace_percent);
        if percent > 0 {
            self.maintenance.pace.committed(now, percent);
        }
    }

    fn start_batch(&mut self, purpose: Purpose) {
        let transactions = match &purpose {
            Purpose::Retire(intents) => intents.len(),
            Purpose::Collect(_) => BATCH_LEN_FIRST,
            _ => 0,
        };
        if self.settings.collect_pace_percent > 0 {
            self.maintenance.pace.taken_up(transactions);
        }
        let until = self.now.mono_ms + self.publish_bound_ms();
        let pass = self.maintenance.pass.as_mut().expect("items belong to a pass");
        pass.worked = true;
        pass.running += 1;
        // A script may be done at once; the loop that started it goes on, not a second one inside it.
        pass.pumping = true;
        self.start_task(purpose, Some(until));
        if let Some(pass) = &mut self.maintenance.pass {
            pass.pumping = false;
        }
    }

    /// Ends a pass whose horizon could not be written down.
    pub(super) fn break_pass_off(&mut self) {
        self.keep_orphans();
        self.end_pass();
    }

    /// Orphans that this pass has not met, for it has not met all intents, are not forgotten.
    fn keep_orphans(&mut self) {
        let passes = self.maintenance.passes;
        self.maintenance.orphans.values_mut().for_each(|(_, seen)| *seen = passes);
    }

    fn end_pass(&mut self) {
        let passes = self.maintenance.passes;
        self.maintenance.orphans.retain(|_, (_, seen)| *seen == passes);
        let worked = self.maintenance.pass.take().is_some_and(|pass| pass.worked);
        let (least, most) = (self.settings.maintenance_interval_ms, self.settings.maintenance_pause_max_ms);
        let pause =
            if worked { least } else { (2 * self.maintenance.pause_ms).clamp(least, most.max(least)) };
        self.maintenance.pause_ms = pause;
        self.timers.insert((self.now.mono_ms + pause, Timer::MaintenancePass));
    }

    /// Takes the next items off the page, and says what is to be done with them; `None`: nothing now.
    fn next_batch(&mut self) -> Option<Purpose> {
        let maintenance = &mut self.maintenance;
        let pass = maintenance.pass.as_mut().expect("items belong to a pass");
        let mut intents = Vec::new();
        while intents.len() < pass.batch_len {
            match (pass.scan, pass.items.pop_front()) {
                (_, None) => break,
                (Scanning::Enter, Some(Name::Intent(intent))) => {
                    let entered = maintenance.entered.get(&intent.attempt).is_some();
                    if intent.time > pass.entered_up_to && !entered {
                        intents.push(intent);
                    }
                }
                (Scanning::Retire, Some(Name::Intent(intent))) => intents.push(intent),
                (Scanning::Collect, Some(Name::Collect(name))) => return Some(Purpose::Collect(name)),
                (_, Some(other)) => unreachable!("a scan lists its own items, not {other:?}"),
            }
        }
        let purpose = match pass.scan {
            Scanning::Enter => Purpose::Enter,
            Scanning::Retire | Scanning::Collect => Purpose::Retire,
        };
        (!intents.is_empty()).then(|| purpose(intents.into()))
    }

    /// Whether an intent that the Retire scan has met is to be looked at in this pass.
    fn is_for_now(&mut self, name: &Name, horizon: Hlc) -> bool {
        let Name::Intent(intent) = name else { return true };
        let (now_ms, orphan_wait_ms) = (self.now.mono_ms, self.orphan_wait_ms());
        let maintenance = &mut self.maintenance;
        if let Some(unentered) = maintenance.unentered.get_mut(&intent.attempt) {
            unentered.met_in = maintenance.passes;
        }
        let waiting = maintenance.orphans.get_mut(&intent.attempt);
        match waiting.filter(|(first_seen, _)| now_ms - *first_seen <= orphan_wait_ms) {
            // Its record need not be read again before.
            Some((_, seen_in)) => {
                *seen_in = maintenance.passes;
                false
            }
            None => intent.time < horizon,
        }
    }

    /// Puts intents of a batch back that turned out to be too large; the next batches are smaller.
    pub(super) fn put_back(&mut self, intents: &[Intent], fits: usize) -> bool {
        let Some(pass) = &mut self.maintenance.pass else { return false };
        pass.items.extend(intents.iter().copied().map(Name::Intent));
        pass.batch_len = pass.batch_len.min(fits).max(1);
        true
    }

    /// A batch of so many intents held so many bytes of records: the next ones are larger or smaller.
    pub(super) fn batch_held(&mut self, intents: usize, bytes: usize) -> bool {
        let (most, wanted) = (self.settings.maintenance_batch_len, self.settings.maintenance_batch_bytes);
        let Some(pass) = &mut self.maintenance.pass else { return false };
        if bytes > wanted {
            pass.batch_len = (pass.batch_len / 2).max(1);
        } else if intents >= pass.batch_len && 2 * bytes <= wanted && pass.batch_len > 1 {
            pass.batch_len = (2 * pass.batch_len).min(most);
        }
        true
    }

    pub(super) fn scan_answered(&mut self, scanning: Scanning, pass: u64, answer: Answer) {
        if !self.maintenance.in_pass(pass) {
            return;
        }
        let now_minute = Hlc::from_ms(self.now.wall_ms).minute();
        let skip = self.planted(Bug::SkipSecondPage);
        let Some(pass) = &mut self.maintenance.pass else { return };
        if pass.scan != scanning || !pass.list_under_way {
            return;
        }
        pass.list_under_way = false;
        let awaits_mark =
            pass.scan == Scanning::Enter && pass.minutes_after.is_none() && pass.listing.is_none();
        let horizon = pass.horizon;
        match answer {
            Answer::Got(mark) => self.mark_found(mark.map(|(body, _)| body)),
            // A damaged mark says nothing: everything is entered again, and the mark put anew.
            Answer::Failed(CallError::Damaged(_)) if awaits_mark => self.mark_found(None),
            Answer::Listed { mut names, more } => {
                let (minute, _) = pass.listing.take().expect("a list under way has its minute");
                // Intents stand in order of time: what follows one that is too young is younger.
                let too_young = match names.last() {
                    Some(Name::Intent(last)) => scanning == Scanning::Retire && last.time >= horizon,
                    _ => false,
                };
                if more && !skip && !too_young {
                    pass.listing = Some((minute, names.last().cloned()));
                }
                if scanning == Scanning::Retire {
                    names.retain(|name| self.is_for_now(name, horizon));
                }
                self.maintenance.pass.as_mut().expect("looked up above").items.extend(names);
            }
            Answer::Minutes { minutes, more } => {
                // Minutes in the future are not scanned, and no younger intents than are retired.
                let last_minute = match scanning {
                    Scanning::Enter | Scanning::Collect => now_minute,
                    Scanning::Retire => horizon.minute(),
                };
                let past = minutes.iter().take_while(|minute| **minute <= last_minute).count();
                pass.minutes_after = (more && past == minutes.len()).then(|| minutes.last().copied());
                pass.minutes.extend(&minutes[..past]);
            }
            answer => {
                // The store fails for good: leave the rest for the next pass.
                if let Answer::Failed(CallError::Damaged(what)) = answer {
                    let recovering = self.is_recovering();
                    let note = if recovering { Note::RecoveryBlocked } else { Note::MaintenanceDamaged };
                    self.note(note(what));
                }
                let pass = self.maintenance.pass.as_mut().expect("looked up above");
                pass.clean = false;
                pass.cut_short = true;
                pass.minutes.clear();
                pass.minutes_after = None;
                pass.listing = None;
            }
        }
        self.pump();
    }

    /// A batch is done, for now. `clean`: nothing of it is left unpublished.
    pub(super) fn batch_done(&mut self, clean: bool) {
        let Some(pass) = &mut self.maintenance.pass else { return };
        pass.running -= 1;
        pass.clean &= clean;
        self.pump();
    }

    /// Ends a batch's script. What could not be finished, the next pass tries again.
    pub(super) fn end_batch(&mut self, flow: Flow<bool>) -> Result<(), Pending> {
        match flow {
            Ok(clean) => self.batch_done(clean),
            Err(Stop::Pending) => return Err(Pending),
            Err(Stop::Failed(error)) => {
                if let CallError::Damaged(what) = error {
                    self.maintenance.damage_met = true;
                    self.note(Note::MaintenanceDamaged(what));
                }
                self.batch_done(false);
            }
        }
        Ok(())
    }

    /// Whether this pass's scan of intents began after an instant and left nothing older unpublished.
    pub(super) fn scan_began_clean_after(&self, instant_ms: u64) -> bool {
        let pass = self.maintenance.pass.as_ref();
        let unpublished = self.publishing.first_key_value().map(|(txn, _)| txn.time.ms());
        pass.is_some_and(|pass| pass.clean && !pass.unreadable && pass.began_wall_ms > instant_ms)
            && unpublished.is_none_or(|oldest| oldest > instant_ms)
            && self.maintenance.unentered.values().all(|unentered| unentered.oldest.ms() > instant_ms)
    }

    /// When a tombstone that is its key's only version may go, by the wall clock.
    pub(super) fn tombstone_due_ms(&self, txn: TxnId) -> u64 {
        if self.planted(Bug::TombstoneAgeZero) {
            return txn.time.ms();
        }
        txn.time.ms() + self.settings.tombstone_age_ms
    }

    /// Whether an attempt has been over for so long, as this maintainer has seen itself, that no call of it can land any more.
    pub(super) fn nothing_can_come(&mut self, attempt: AttemptId) -> bool {
        let wait_ms = self.orphan_wait_ms();
        let (now, pass) = (self.now.mono_ms, self.maintenance.passes);
        let seen = self.maintenance.orphans.entry(attempt).or_insert((now, pass));
        seen.1 = pass;
        now - seen.0 > wait_ms
    }

    /// How long after it was first seen without a record no commit and no part of an attempt can come any more.
    fn orphan_wait_ms(&self) -> u64 {
        self.settings.timeout_max_ms + self.settings.grace_ms
    }

    // Which transactions' version entries are all there.

    /// An attempt of this life puts an intent of this time.
    pub(super) fn intent_is_put(&mut self, attempt: AttemptId, time: Hlc) {
        if self.settings.exclusive {
            self.may_be_unentered(attempt, time);
            self.maintenance.mark.youngest = time;
            self.renew_mark();
        }
    }

    /// An earlier life's intent whose record cannot be read.
    pub(super) fn intent_stands(&mut self, intent: &Intent) {
        if let Some(pass) = &mut self.maintenance.pass {
            pass.unreadable = true;
        }
        if self.settings.exclusive {
            self.may_be_unentered(intent.attempt, intent.time);
        }
    }

    fn may_be_unentered(&mut self, attempt: AttemptId, time: Hlc) {
        let new = Unentered { oldest: time, youngest: time, since_mono: 0, met_in: 0 };
        let unentered = self.maintenance.unentered.entry(attempt).or_insert(new);
        unentered.oldest = unentered.oldest.min(time);
        unentered.youngest = unentered.youngest.max(time);
        unentered.since_mono = self.now.mono_ms;
    }

    /// A whole Retire scan has met no intent of these attempts, and none can land any more: a record of theirs, should there be one, was never told
    /// of, and who finds it puts an intent first.
    fn forget_never_landed(&mut self) {
        let wait_ms = self.orphan_wait_ms();
        let (transactions, publishing) = (&self.transactions, &self.publishing);
        let maintenance = &mut self.maintenance;
        let pass = maintenance.pass.as_ref().expect("the end of a pass's scan");
        if pass.cut_short {
            return;
        }
        let (horizon, began, number) = (pass.horizon, pass.retire_began_mono, maintenance.passes);
        maintenance.unentered.retain(|attempt, unentered| {
            unentered.met_in == number
                || unentered.youngest >= horizon
                || unentered.since_mono + wait_ms >= began
                || transactions.contains_key(attempt)
                || publishing.keys().any(|txn| txn.attempt == *attempt)
        });
    }

    /// This node has entered an attempt's versions, or the attempt can never commit.
    pub(super) fn versions_entered(&mut self, attempt: AttemptId) {
        let retiring = self.maintenance.pass.as_mut().filter(|pass| pass.scan == Scanning::Retire);
        if !self.settings.exclusive {
            let during = retiring.map(|_| self.maintenance.passes);
            self.maintenance.entered.insert(attempt, during);
            return;
        }
        if !self.maintenance.recovered {
            self.maintenance.entered.insert(attempt, None);
        }
        let unentered = self.maintenance.unentered.remove(&attempt);
        if let (Some(Unentered { oldest, .. }), Some(pass)) = (unentered, retiring)
            && oldest < pass.horizon
        {
            pass.entered_late.insert(attempt);
        }
    }

    /// Whether all of a transaction's versions were entered before this pass began to retire: then whatever it lists shows them.
    pub(super) fn entered_before_pass(&self, attempt: AttemptId) -> bool {
        let maintenance = &self.maintenance;
        if !self.settings.exclusive {
            return maintenance
                .entered
                .get(&attempt)
                .is_some_and(|during| *during != Some(maintenance.passes));
        }
        maintenance.recovered
            && !maintenance.unentered.contains_key(&attempt)
            && !maintenance.pass.as_ref().is_some_and(|pass| pass.entered_late.contains(&attempt))
    }

    // The mark up to which intents are entered.

    /// What an earlier life left unpublished may not be entered yet: nobody is served before.
    pub(super) fn is_recovering(&self) -> bool {
        self.settings.exclusive && self.maintenance.active && !self.maintenance.recovered
    }

    /// The earlier life's mark, if there is one: the first scan begins there, and this life's clock after it.
    fn mark_found(&mut self, mark: Option<Body>) {
        let Some(pass) = &mut self.maintenance.pass else { return };
        pass.begin_scan(Scanning::Enter);
        if let Some(Body::Time(time)) = mark {
            pass.entered_up_to = time;
            // An intent stands under the minute of its time or a later one.
            pass.minutes_after = Some(time.minute().checked_sub(1));
            self.clock = self.clock.max(Hlc(time.0 + 1));
        }
    }

    fn renew_mark(&mut self) {
        if !self.maintenance.mark.due {
            self.maintenance.mark.due = true;
            self.timers.insert((self.now.mono_ms + self.settings.maintenance_interval_ms, Timer::Mark));
        }
    }

    /// Puts the mark just before the oldest intent of this life that is not entered. True when it is put, it is true whenever it lands.
    pub(super) fn mark(&mut self) {
        self.maintenance.mark.due = false;
        if self.maintenance.recovered {
            // An intent to come may have this very time.
            let oldest = self.maintenance.unentered.values().map(|unentered| unentered.oldest).min();
            let oldest = oldest.filter(|_| !self.planted(Bug::MarkBeforeEntered)).unwrap_or(self.time());
            let up_to = Hlc(oldest.0.saturating_sub(1));
            // Even if the wall clock goes back.
            self.clock = self.clock.max(oldest);
            if up_to > self.maintenance.mark.put {
                self.maintenance.mark.put = up_to;
                let until = self.now.mono_ms;
                self.call(Owner::Mark, Call::Put(Name::Entered, Body::Time(up_to)), Some(until));
            }
        }
        if self.maintenance.mark.put < self.maintenance.mark.youngest {
            self.renew_mark();
        }
    }
}
