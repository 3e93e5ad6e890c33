//! Maintenance: what nobody waits for (protocol, section 8). One node at a time by lease, but two at once are harmless.
//!
//! ```text
//!   pass:  Enter   every intent: its transaction's version entries are entered by this maintainer itself, whatever it has heard
//!          Retire  every intent older than the horizon: what its keys' newer versions supersede gets a collect entry; then it goes
//!          Collect every collect entry that is due (`collect`)
//! ```
//!
//! A node that holds its store alone enters only what earlier lives left, at its start; its own commits are entered by their publishers.
//! Scans read pages, so memory is bounded whatever the backlog; a fixed number of items is worked on at once.
//!
//! Superseded (the paper's Algorithm 2): every key of T has a committed version that is newer than T and older than the horizon. Listing a key's entries
//! from the horizon down gives just that: all but the first are superseded on this key. The horizon is fixed for a scan, and so each key is
//! listed once a scan, however many of its versions pass by.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::bug::Bug;
use crate::ids::{AttemptId, Hlc, Key, TxnId};
use crate::message::{Header, Note};
use crate::record::{CollectEntry, CollectName, Intent, Kind, Meta, Record, Stage, VersionEntry, Write};
use crate::store::{Answer, Body, Call, CallError, Group, Groups, Name};

use super::reading::NO_HASH;
use super::script::{Pending, Run};
use super::tasks::Purpose;
use super::{Node, Remembered, Timer, publish};

/// How many attempts are remembered as entered by this node, between their publishing and their intent's end; those forgotten are entered again.
const ENTERED_KEPT_MAX: usize = 500_000;

/// Names asked for in one page of a scan.
const SCAN_PAGE_LEN: u32 = 256;

/// The scans of a pass, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Scanning {
    Enter,
    Retire,
    Collect,
}

#[derive(Debug, Clone, Hash)]
pub(super) struct Maintenance {
    pub(super) active: bool,
    /// One whole scan of the intents has entered what earlier lives left.
    recovered: bool,
    pass: Option<Pass>,
    /// Attempts whose version entries this node itself has put.
    entered: Remembered<AttemptId, ()>,
    /// When attempts that must be over before their intents go were first seen, by the monotonic clock, and in which pass they were last seen; forgotten
    /// when a whole pass has not seen them.
    orphans: BTreeMap<AttemptId, (u64, u64)>,
    passes: u64,
}

impl Default for Maintenance {
    fn default() -> Maintenance {
        Maintenance {
            active: false,
            recovered: false,
            pass: None,
            entered: Remembered::new(ENTERED_KEPT_MAX),
            orphans: BTreeMap::new(),
            passes: 0,
        }
    }
}

impl Maintenance {
    /// Knowing nothing. Pass numbers go on, so that late answers match no pass.
    pub(super) fn anew(&self) -> Maintenance {
        Maintenance { passes: self.passes, ..Maintenance::default() }
    }

    /// Whether this pass is the one under way; answers to an earlier one's scans prove nothing.
    pub(super) fn in_pass(&self, number: u64) -> bool {
        self.pass.is_some() && self.passes == number
    }

    pub(super) fn entered(&mut self, attempt: AttemptId) {
        self.entered.insert(attempt, ());
    }
}

/// A pass under way.
#[derive(Debug, Clone, Hash)]
struct Pass {
    scan: Scanning,
    /// When the pass began, by the wall clock.
    began_wall_ms: u64,
    /// Every intent that was met could be entered.
    clean: bool,
    /// Fixed when the Retire scan begins.
    horizon: Hlc,
    minutes: VecDeque<u32>,
    /// Where to ask for more minutes, exclusive; the outer `None`: no more.
    minutes_after: Option<Option<u32>>,
    /// The minute that is being listed, and where to go on.
    listing: Option<(u32, Option<Name>)>,
    items: VecDeque<Name>,
    /// Tasks and lists under way.
    running: usize,
    list_under_way: bool,
    pumping: bool,
    /// The newest version older than the horizon of every key that was listed in this scan.
    survivors: BTreeMap<Key, Option<TxnId>>,
    /// Transactions that this scan has already looked at.
    considered: BTreeSet<TxnId>,
}

impl Pass {
    fn begin_scan(&mut self, scan: Scanning) {
        self.scan = scan;
        self.minutes.clear();
        self.minutes_after = Some(None);
        self.listing = None;
        self.survivors.clear();
        self.considered.clear();
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
        let mut pass = Pass {
            scan: Scanning::Enter,
            began_wall_ms: self.now.wall_ms,
            clean: true,
            horizon: Hlc::default(),
            minutes: VecDeque::new(),
            minutes_after: None,
            listing: None,
            items: VecDeque::new(),
            running: 0,
            list_under_way: false,
            pumping: false,
            survivors: BTreeMap::new(),
            considered: BTreeSet::new(),
        };
        if !(self.settings.exclusive && self.maintenance.recovered) {
            pass.begin_scan(Scanning::Enter);
        }
        self.maintenance.pass = Some(pass);
        self.pump();
    }

    /// Starts what can be started: items up to the bound, the next page when they run out, the next scan when all is done.
    fn pump(&mut self) {
        loop {
            let Some(pass) = &mut self.maintenance.pass else { return };
            if pass.pumping {
                return;
            }
            let free = pass.running < self.settings.maintenance_tasks_max;
            if let Some(item) = free.then(|| pass.items.pop_front()).flatten() {
                if let Some(purpose) = self.purpose_of(item) {
                    self.start_item(purpose);
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
                    super::calls::Owner::Scan(scan, self.maintenance.passes),
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
                    super::calls::Owner::Scan(scan, self.maintenance.passes),
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
                    let horizon = self.horizon();
                    let pass = self.maintenance.pass.as_mut().expect("looked up above");
                    if !self.settings.collect {
                        return self.end_pass();
                    }
                    pass.horizon = horizon;
                    pass.begin_scan(Scanning::Retire);
                }
                Scanning::Retire => pass.begin_scan(Scanning::Collect),
                Scanning::Collect => return self.end_pass(),
            }
        }
    }

    fn start_item(&mut self, purpose: Purpose) {
        let until = self.now.mono_ms + self.publish_bound_ms();
        let pass = self.maintenance.pass.as_mut().expect("items belong to a pass");
        pass.running += 1;
        // A script may be done at once; the loop that started it goes on, not a second one inside it.
        pass.pumping = true;
        self.start_task(purpose, Some(until));
        if let Some(pass) = &mut self.maintenance.pass {
            pass.pumping = false;
        }
    }

    fn end_pass(&mut self) {
        let passes = self.maintenance.passes;
        self.maintenance.orphans.retain(|_, (_, seen)| *seen == passes);
        self.maintenance.pass = None;
        self.timers
            .insert((self.now.mono_ms + self.settings.maintenance_interval_ms, Timer::MaintenancePass));
    }

    /// Nothing younger is collected: the oldest open transaction may still need it, and publishers may still be at work.
    fn horizon(&self) -> Hlc {
        let slack = Hlc::from_ms(self.now.wall_ms.saturating_sub(self.settings.slack_ms));
        let oldest = self.transactions.values().map(|transaction| transaction.began).min();
        oldest.map_or(slack, |oldest| oldest.min(slack))
    }

    /// What is to be done with an item of the scan; `None`: nothing now.
    fn purpose_of(&self, item: Name) -> Option<Purpose> {
        let pass = self.maintenance.pass.as_ref().expect("items belong to a pass");
        match (pass.scan, item) {
            (Scanning::Enter, Name::Intent(intent)) => {
                self.maintenance.entered.get(&intent.attempt).is_none().then_some(Purpose::Enter(intent))
            }
            (Scanning::Retire, Name::Intent(intent)) => {
                (intent.time < pass.horizon).then_some(Purpose::Retire(intent))
            }
            (Scanning::Collect, Name::Collect(name)) => Some(Purpose::Collect(name)),
            (_, other) => unreachable!("a scan lists its own items, not {other:?}"),
        }
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
        match answer {
            Answer::Listed { names, more } => {
                let (minute, _) = pass.listing.take().expect("a list under way has its minute");
                if more && !skip {
                    pass.listing = Some((minute, names.last().cloned()));
                }
                pass.items.extend(names);
            }
            Answer::Minutes { minutes, more } => {
                // Minutes in the future are not scanned.
                let past = minutes.iter().take_while(|minute| **minute <= now_minute).count();
                pass.minutes_after = (more && past == minutes.len()).then(|| minutes.last().copied());
                pass.minutes.extend(&minutes[..past]);
            }
            answer => {
                // The store fails for good: leave the rest for the next pass.
                if let Answer::Failed(CallError::Damaged(what)) = answer {
                    self.out.push(crate::message::Output::Note(Note::MaintenanceDamaged(what)));
                }
                let pass = self.maintenance.pass.as_mut().expect("looked up above");
                pass.clean = false;
                pass.minutes.clear();
                pass.minutes_after = None;
                pass.listing = None;
            }
        }
        self.pump();
    }

    /// An item is done, for now. `clean`: nothing of it is left unpublished.
    pub(super) fn item_done(&mut self, clean: bool) {
        let Some(pass) = &mut self.maintenance.pass else { return };
        pass.running -= 1;
        pass.clean &= clean;
        self.pump();
    }

    /// An item could not be finished; the next pass tries again.
    pub(super) fn item_failed(&mut self, error: CallError) {
        if let CallError::Damaged(what) = error {
            self.note(Note::MaintenanceDamaged(what));
        }
        self.item_done(false);
    }

    pub(super) fn enter_script(&mut self, run: &mut Run<'_>, intent: Intent) -> Result<(), Pending> {
        if run.note_if(|| self.planted(Bug::DeleteIntentBeforePublished)) {
            run.ask(|| Call::Delete(vec![Name::Intent(intent)]))?;
        }
        let record = match run.ask(|| Call::Get(Name::Commit(intent.hash)))? {
            Answer::Got(Some((Body::Record(record), _))) if record.txn.attempt == intent.attempt => record,
            // Nothing of this attempt to publish. Whether it is an orphan is Retire's matter.
            Answer::Got(_) => {
                self.item_done(true);
                return Ok(());
            }
            answer => {
                self.item_failed(error_of(answer));
                return Ok(());
            }
        };
        let Some(header) = Header::of(&record).map(Arc::new) else {
            self.item_done(true);
            return Ok(());
        };
        let heard = self.planted(Bug::SkipPublishingBecauseHeard)
            && run.note_if(|| self.index.header(header.txn).is_some());
        if !heard {
            let answers = run.ask_all(publish::entries(&header))?;
            if let Some(error) = super::script::failure(&answers) {
                self.item_failed(error);
                return Ok(());
            }
        }
        self.settled.insert(intent.attempt, ());
        self.maintenance.entered(intent.attempt);
        self.learn(&header, false, None);
        if !header.writes.is_empty() {
            self.tell(vec![header]);
        }
        self.item_done(true);
        Ok(())
    }

    pub(super) fn retire_script(&mut self, run: &mut Run<'_>, intent: Intent) -> Result<(), Pending> {
        match self.retire(run, intent)? {
            Ok(clean) => self.item_done(clean),
            Err(error) => self.item_failed(error),
        }
        Ok(())
    }

    /// Whether nothing of the intent's transaction is left unpublished, or why the store failed.
    fn retire(&mut self, run: &mut Run<'_>, intent: Intent) -> Result<Result<bool, CallError>, Pending> {
        let record = match run.ask(|| Call::Get(Name::Commit(intent.hash)))? {
            Answer::Got(Some((Body::Record(record), _))) if record.txn.attempt == intent.attempt => record,
            Answer::Got(_) => return self.orphan(run, intent),
            answer => return Ok(Err(error_of(answer))),
        };
        let Some(writes) = record.full() else {
            // It is being collected already: the intent goes, and with it what only the intent leads to.
            return match self.drop_unnamed_blobs(run, &record)? {
                Ok(true) => self.drop_intent(run, intent),
                Ok(false) => Ok(Ok(true)),
                Err(error) => Ok(Err(error)),
            };
        };
        let horizon = Hlc(run.note(|| self.pass_horizon().0));
        if record.txn.time >= horizon {
            return Ok(Ok(true));
        }
        if !writes.is_empty() && !run.note_if(|| self.maintenance.entered.get(&intent.attempt).is_some()) {
            if self.settings.exclusive {
                // A commit of this life whose outcome was unknown: nobody else enters it.
                let header = Arc::new(Header::of(&record).expect("its writes are at hand"));
                if let Some(error) = super::script::failure(&run.ask_all(publish::entries(&header))?) {
                    return Ok(Err(error));
                }
                self.maintenance.entered(intent.attempt);
                self.learn(&header, false, None);
            }
            // This scan may have listed its keys without it already: the next pass enters it if need be, and retires it.
            return Ok(Ok(false));
        }
        match self.drop_unnamed_blobs(run, &record)? {
            Ok(true) => {}
            // Parts may still land.
            Ok(false) => return Ok(Ok(true)),
            Err(error) => return Ok(Err(error)),
        }
        let keys = record.keys();
        let mut collects = match self.superseded_on(run, &keys, horizon)? {
            Ok(collects) => collects,
            Err(error) => return Ok(Err(error)),
        };
        if writes.is_empty() {
            collects.push(collect_entry(&record, writes));
        }
        for (key, write) in writes.iter().filter(|(_, write)| matches!(write, Write::Tombstone)) {
            let newest = run.note_txn(|| self.survivor(key)) == Some(record.txn);
            let due_ms = self.tombstone_due_ms(record.txn);
            if newest && *write == Write::Tombstone && !run.note_if(|| self.scan_began_clean_after(due_ms)) {
                match run.ask(|| self.put_intent_at(due_ms, &record))? {
                    Answer::Done => break,
                    answer => return Ok(Err(error_of(answer))),
                }
            }
        }
        // Its own entry last: once it is collected this intent goes as a slim record's, and nothing would lead to the others any more.
        let (own, others): (Vec<_>, Vec<_>) =
            collects.into_iter().partition(|collect| collect.txn == record.txn);
        for collects in [others, own] {
            if let Err(error) = self.put_collects(run, collects)? {
                return Ok(Err(error));
            }
        }
        self.drop_intent(run, intent)
    }

    fn drop_intent(&mut self, run: &mut Run<'_>, intent: Intent) -> Result<Result<bool, CallError>, Pending> {
        Ok(match run.ask(|| Call::Delete(vec![Name::Intent(intent)]))? {
            Answer::Done => Ok(true),
            answer => Err(error_of(answer)),
        })
    }

    /// An intent without a record of its own: once no commit of it can come any more, the attempt's blobs and the intent go.
    fn orphan(&mut self, run: &mut Run<'_>, intent: Intent) -> Result<Result<bool, CallError>, Pending> {
        let attempt = intent.attempt;
        if !self.nothing_can_come(run, attempt) {
            return Ok(Ok(true));
        }
        if let Err(error) = self.drop_blobs(run, attempt, &[])? {
            return Ok(Err(error));
        }
        let done = self.drop_intent(run, intent)?;
        if done.is_ok() {
            self.note(Note::OrphanRemoved(attempt));
        }
        Ok(done)
    }

    /// Whether an attempt has been over for so long, as this maintainer has seen itself, that no call of it can land any more.
    fn nothing_can_come(&mut self, run: &mut Run<'_>, attempt: AttemptId) -> bool {
        let wait_ms = self.settings.timeout_max_ms + self.settings.grace_ms;
        run.note_if(|| {
            let (now, pass) = (self.now.mono_ms, self.maintenance.passes);
            let seen = self.maintenance.orphans.entry(attempt).or_insert((now, pass));
            seen.1 = pass;
            now - seen.0 > wait_ms
        })
    }

    /// Removes blobs that a committed attempt reserved and its record does not name: overwritten before the commit, or never put. Of a
    /// slim record none is named any more. `false`: not yet.
    fn drop_unnamed_blobs(
        &mut self,
        run: &mut Run<'_>,
        record: &Record,
    ) -> Result<Result<bool, CallError>, Pending> {
        let named = record.named_blobs();
        if named.len() >= record.blobs as usize {
            return Ok(Ok(true));
        }
        let attempt = record.txn.attempt;
        if !self.nothing_can_come(run, attempt) {
            return Ok(Ok(false));
        }
        let kept: Vec<u32> = named.iter().map(|(number, _)| *number).collect();
        Ok(self.drop_blobs(run, attempt, &kept)?.map(|()| true))
    }

    /// Deletes an attempt's blob parts, but for these blobs.
    fn drop_blobs(
        &mut self,
        run: &mut Run<'_>,
        attempt: AttemptId,
        kept: &[u32],
    ) -> Result<Result<(), CallError>, Pending> {
        let mut after = None;
        loop {
            let from = after.take();
            match run.ask(|| Call::List {
                group: Group::Blobs(attempt),
                after: from,
                limit: SCAN_PAGE_LEN,
            })? {
                Answer::Listed { names, more } => {
                    after = names.last().cloned();
                    let kept =
                        |name: &Name| matches!(name, Name::Blob { number, .. } if kept.contains(number));
                    let gone: Vec<Name> = names.into_iter().filter(|name| !kept(name)).collect();
                    if !gone.is_empty() {
                        match run.ask(|| Call::Delete(gone))? {
                            Answer::Done => {}
                            answer => return Ok(Err(error_of(answer))),
                        }
                    }
                    if !more {
                        return Ok(Ok(()));
                    }
                }
                answer => return Ok(Err(error_of(answer))),
            }
        }
    }

    fn pass_horizon(&self) -> Hlc {
        self.maintenance.pass.as_ref().map_or(Hlc::default(), |pass| pass.horizon)
    }

    fn survivor(&self, key: &Key) -> Option<TxnId> {
        self.maintenance.pass.as_ref().and_then(|pass| pass.survivors.get(key).copied().flatten())
    }

    /// When a tombstone that is its key's only version may go, by the wall clock.
    fn tombstone_due_ms(&self, txn: TxnId) -> u64 {
        if self.planted(Bug::TombstoneAgeZero) {
            return txn.time.ms();
        }
        txn.time.ms() + self.settings.tombstone_age_ms
    }

    /// Whether this pass's scan of intents began after an instant and left nothing older unpublished.
    fn scan_began_clean_after(&self, instant_ms: u64) -> bool {
        let pass = self.maintenance.pass.as_ref();
        let unpublished = self.publishing.first_key_value().map(|(txn, _)| txn.time.ms());
        pass.is_some_and(|pass| pass.clean && pass.began_wall_ms > instant_ms)
            && unpublished.is_none_or(|oldest| oldest > instant_ms)
    }

    /// An intent under the minute at which a tombstone may go, even if that minute is past.
    fn put_intent_at(&mut self, due_ms: u64, record: &Record) -> Call {
        let (time, nonce) = (self.time(), self.nonce());
        let minute = Hlc::from_ms(due_ms).minute() + 1;
        let intent = Intent { minute, time, attempt: record.txn.attempt, nonce, hash: record.hash };
        Call::Put(Name::Intent(intent), Body::Empty)
    }

    pub(super) fn put_collects(
        &mut self,
        run: &mut Run<'_>,
        collects: Vec<CollectEntry>,
    ) -> Result<Result<(), CallError>, Pending> {
        let places: Vec<usize> = collects
            .into_iter()
            .map(|entry| {
                run.start(|| {
                    let name = self.collect_name(entry.txn.attempt, Hlc::from_ms(self.now.wall_ms).minute());
                    Call::Put(Name::Collect(name), Body::Collect(Arc::new(entry)))
                })
            })
            .collect();
        for place in places {
            match run.wait(place)? {
                Answer::Done => {}
                answer => return Ok(Err(error_of(answer))),
            }
        }
        Ok(Ok(()))
    }

    /// A fresh name for a collect entry under a minute.
    pub(super) fn collect_name(&mut self, attempt: AttemptId, minute: u32) -> CollectName {
        CollectName { minute, time: self.time(), attempt, nonce: self.nonce() }
    }

    /// Transactions among the versions of these keys that are superseded by versions older than the horizon.
    fn superseded_on(
        &mut self,
        run: &mut Run<'_>,
        keys: &[Key],
        horizon: Hlc,
    ) -> Result<Result<Vec<CollectEntry>, CallError>, Pending> {
        let mut collects = Vec::new();
        for key in keys {
            // What another item of this scan has listed is not listed again: the horizon is the same.
            if run.note_if(|| {
                self.maintenance.pass.as_ref().is_some_and(|pass| pass.survivors.contains_key(key))
            }) {
                continue;
            }
            let entries = match self.list_below(run, key, horizon)? {
                Ok(entries) => entries,
                Err(error) => return Ok(Err(error)),
            };
            if let Some(pass) = &mut self.maintenance.pass {
                pass.survivors.insert(key.clone(), entries.first().map(|entry| entry.txn));
            }
            for (at, entry) in entries.iter().enumerate() {
                let superseded_here = at > 0 || (entry.meta.kind == Kind::Tombstone && entries.len() == 1);
                if !superseded_here || !run.note_if(|| self.first_look(entry.txn)) {
                    continue;
                }
                match self.consider(run, entry, horizon)? {
                    Ok(collect) => collects.extend(collect),
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        Ok(Ok(collects))
    }

    /// Whether this scan has not looked at a transaction yet: with one horizon, a second look finds the same.
    fn first_look(&mut self, txn: TxnId) -> bool {
        self.maintenance.pass.as_mut().is_some_and(|pass| pass.considered.insert(txn))
    }

    /// A collect entry for a listed transaction if it is superseded on all its keys.
    pub(super) fn consider(
        &mut self,
        run: &mut Run<'_>,
        entry: &VersionEntry,
        horizon: Hlc,
    ) -> Result<Result<Option<CollectEntry>, CallError>, Pending> {
        let record = match run.ask(|| Call::Get(Name::Commit(entry.hash)))? {
            Answer::Got(Some((Body::Record(record), _))) if record.txn == entry.txn => record,
            Answer::Got(_) => return Ok(Ok(None)),
            answer => return Ok(Err(error_of(answer))),
        };
        let Some(writes) = record.full() else { return Ok(Ok(None)) };
        let mut missing = 0;
        for (key, write) in writes.iter() {
            let superseded = match self.superseded_by_newer(run, key, record.txn, horizon)? {
                Ok(true) => true,
                Ok(false) if *write == Write::Tombstone => {
                    match self.only_old_tombstone(run, key, record.txn)? {
                        Ok(alone) => alone,
                        Err(error) => return Ok(Err(error)),
                    }
                }
                Ok(false) => false,
                Err(error) => return Ok(Err(error)),
            };
            missing += usize::from(!superseded);
        }
        let allowed = usize::from(self.planted(Bug::CollectSupersededOnAllButOne) && writes.len() > 1);
        if missing > allowed {
            return Ok(Ok(None));
        }
        Ok(Ok(Some(collect_entry(&record, writes))))
    }

    fn superseded_by_newer(
        &mut self,
        run: &mut Run<'_>,
        key: &Key,
        txn: TxnId,
        horizon: Hlc,
    ) -> Result<Result<bool, CallError>, Pending> {
        let known = run.note_txn(|| self.survivor(key));
        if known.is_some_and(|survivor| survivor > txn) {
            return Ok(Ok(true));
        }
        Ok(match self.list_page(run, key, Some(horizon), 1)? {
            Ok((entries, _)) => Ok(entries.first().is_some_and(|newest| newest.txn > txn)),
            Err(error) => Err(error),
        })
    }

    /// Whether a tombstone is its key's only remaining version, listed after a clean scan that began when the tombstone was old enough.
    pub(super) fn only_old_tombstone(
        &mut self,
        run: &mut Run<'_>,
        key: &Key,
        txn: TxnId,
    ) -> Result<Result<bool, CallError>, Pending> {
        let due_ms = self.tombstone_due_ms(txn);
        if !run.note_if(|| self.scan_began_clean_after(due_ms)) {
            return Ok(Ok(false));
        }
        Ok(match self.list_page(run, key, None, 2)? {
            Ok((entries, more)) => Ok(!more && entries.len() == 1 && entries[0].txn == txn),
            Err(error) => Err(error),
        })
    }

    /// All version entries of a key that are older than the horizon, newest first.
    fn list_below(
        &mut self,
        run: &mut Run<'_>,
        key: &Key,
        horizon: Hlc,
    ) -> Result<Result<Vec<VersionEntry>, CallError>, Pending> {
        let mut after = Some(cursor(horizon));
        let mut all = Vec::new();
        loop {
            let from = after.take().map(|after| Name::Version(key.clone(), after));
            match run.ask(|| Call::List {
                group: Group::Versions(key.clone()),
                after: from,
                limit: SCAN_PAGE_LEN,
            })? {
                Answer::Listed { names, more } => {
                    all.extend(names.into_iter().filter_map(version_of));
                    if !more || self.planted(Bug::SkipSecondPage) {
                        return Ok(Ok(all));
                    }
                    after = all.last().cloned();
                }
                answer => return Ok(Err(error_of(answer))),
            }
        }
    }

    pub(super) fn list_page(
        &mut self,
        run: &mut Run<'_>,
        key: &Key,
        below: Option<Hlc>,
        limit: u32,
    ) -> Result<Result<(Vec<VersionEntry>, bool), CallError>, Pending> {
        let after = below.map(|below| Name::Version(key.clone(), cursor(below)));
        Ok(match run.ask(|| Call::List { group: Group::Versions(key.clone()), after, limit })? {
            Answer::Listed { names, more } => Ok((names.into_iter().filter_map(version_of).collect(), more)),
            answer => Err(error_of(answer)),
        })
    }

    /// The cascade: a transaction of this key was collected, and a tombstone may now be its only version. Either it can go, or an intent brings somebody
    /// back when it can. With it comes whether the key has no version left.
    pub(super) fn cascade(
        &mut self,
        run: &mut Run<'_>,
        key: &Key,
    ) -> Result<Result<(bool, Option<CollectEntry>), CallError>, Pending> {
        let (entries, more) = match self.list_page(run, key, None, 2)? {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        let [entry] = entries.as_slice() else { return Ok(Ok((entries.is_empty(), None))) };
        if more || entry.meta.kind != Kind::Tombstone {
            return Ok(Ok((false, None)));
        }
        let horizon = Hlc(run.note(|| self.pass_horizon().0));
        let due_ms = self.tombstone_due_ms(entry.txn);
        if run.note_if(|| self.scan_began_clean_after(due_ms)) {
            return Ok(self.consider(run, entry, horizon)?.map(|collect| (false, collect)));
        }
        // One intent a scan is enough, however many of the key's versions are collected in it.
        if !run.note_if(|| self.first_look(entry.txn)) {
            return Ok(Ok((false, None)));
        }
        let (hash, attempt) = (entry.hash, entry.txn.attempt);
        let put = run.ask(|| {
            let (time, nonce) = (self.time(), self.nonce());
            let minute = Hlc::from_ms(due_ms).minute() + 1;
            Call::Put(Name::Intent(Intent { minute, time, attempt, nonce, hash }), Body::Empty)
        })?;
        Ok(match put {
            Answer::Done => Ok((false, None)),
            answer => Err(error_of(answer)),
        })
    }
}

/// The place in a key's listing below which all versions are older than an instant.
fn cursor(below: Hlc) -> VersionEntry {
    VersionEntry {
        txn: TxnId { time: below, attempt: AttemptId([0; 16]) },
        hash: NO_HASH,
        meta: Meta { kind: Kind::Tombstone, size: 0, etag: bytes::Bytes::new() },
        cowritten: 1,
    }
}

fn version_of(name: Name) -> Option<VersionEntry> {
    match name {
        Name::Version(_, entry) => Some(entry),
        Name::Commit(_) | Name::Intent(_) | Name::Blob { .. } | Name::Collect(_) | Name::Marker(_) => None,
    }
}

fn collect_entry(record: &Record, writes: &Arc<[(Key, Write)]>) -> CollectEntry {
    CollectEntry {
        txn: record.txn,
        hash: record.hash,
        writes: writes.iter().map(|(key, write)| (key.clone(), write.meta())).collect(),
        blobs: record.named_blobs(),
        retention_ms: record.retention_ms,
        stage: Stage::Pieces,
    }
}

/// What a maintenance script makes of an answer that is no success.
pub(super) fn error_of(answer: Answer) -> CallError {
    match answer {
        Answer::Failed(error) => error,
        other => CallError::Damaged(format!("the store answered a maintenance call with {other:?}")),
    }
}
