//! The state machine: it routes between the owners of state (`base`), verbs (`serve`) and
//! background work (`upkeep`).
//!
//! ```text
//!   step:  clocks ─► a pause? ─► deadlines, timers ─► the input
//!          ─► work that verbs left for those above them ─► outputs
//! ```
//!
//! Deadlines come before the input: an answer that arrives after its transaction's deadline changes
//! nothing. Every store call has an owner, is retried with growing pauses while its owner lives and
//! its limit has not passed, and its final answer goes to that owner. Answers to calls whose owners
//! have ended are dropped.

mod base;
mod serve;
mod upkeep;

use std::collections::VecDeque;
use std::fmt::Debug;

use crate::bug::Bug;
use crate::clock::{Clock, Now, StoreTime};
use crate::ids::{AttemptId, NodeId};
use crate::message::{CommitArgs, Input, Note, Output, Tell, Ticket, Verb};
use crate::settings::Settings;
use crate::store::{Answer, Body, CallError, CallId, Name};
use base::calls::{Calls, Next, Owner, Waiting};
use base::checks::Checks;
use base::ids::{OperationId, TaskId};
use base::index::Index;
use base::line::Line;
use base::mark::MarkView;
use base::read::{Operations, Purpose as ReadPurpose};
use base::remembered::Remembered;
use base::requests::Requests;
use base::script::{Issued, Memory, Pending, Run, Tasks};
use base::state::{Purpose, State, TIME_TRIES_MAX, Task, Work, bug_of};
use base::timers::{Timer, Timers};
use base::transaction::{CommitForm, CommitWaiter, Phase, Transaction};
use base::transactions::Transactions;
use serve::{batch, begin, commit, end, failed, list, lock, look_up, read, reserve, resolve};
use upkeep::Upkeep;

/// A node of the shim.
#[derive(Debug, Clone, Hash)]
pub struct Node {
    state: State,
    upkeep: Upkeep,
}

impl Node {
    /// Creates a node with an empty index. `id` must be fresh at every start of a process.
    ///
    /// # Panics
    /// Panics if the settings break a relation on which safety rests ([`Settings::check`]).
    pub fn new(id: NodeId, settings: Settings) -> Node {
        if let Err(why) = settings.check() {
            panic!("{why}");
        }
        let state = State {
            id,
            clock: Clock::new(settings.reference(), bug_of(&settings)),
            calls: Calls::default(),
            timers: Timers::default(),
            tasks: Tasks::default(),
            index: Index::new(settings.versions_kept_max),
            mark: MarkView::default(),
            operations: Operations::default(),
            transactions: Transactions::default(),
            requests: Requests::default(),
            checks: Checks::new(settings.checked_keys_max),
            line: Line::default(),
            ended: Remembered::new(settings.ended_kept_max),
            entered: Remembered::new(settings.entered_kept_max),
            draining: false,
            sharpens_time: false,
            sharpens_from_mono: 0,
            tells: 0,
            work: VecDeque::new(),
            out: Vec::new(),
            settings,
        };
        Node { state, upkeep: Upkeep::default() }
    }

    /// Returns the node's identity.
    pub fn id(&self) -> NodeId {
        self.state.id
    }

    /// Processes one input, and appends the outputs that follow from it.
    ///
    /// The monotonic parts of `now` must never go back.
    pub fn step(&mut self, now: Now, input: Input, outputs: &mut Vec<Output>) {
        let wake = self.next_wake();
        assert!(self.state.out.is_empty() && self.state.work.is_empty(), "a step starts with nothing left");
        let after_input = self.state.planted(Bug::DeadlineAfterInput);
        if let Some(gap_ms) = self.state.clock.step(now, wake) {
            self.thaw(gap_ms);
            if !after_input {
                // Timers use the monotonic clock; another clock may show that more time has passed.
                end::deadlines(&mut self.state);
            }
        }
        if !after_input {
            // Before the input, because what arrives after a transaction's deadline must not change
            // it.
            self.settle();
        }
        self.input(input);
        self.settle();
        if self.state.index.bytes() > self.state.settings.index_bytes_max {
            let believes = self.state.planted(Bug::BelieveListingsOfTheForgotten);
            let State { settings, calls, index, .. } = &mut self.state;
            // A listing that is made before a commit pins no key. If another commit were
            // acknowledged and forgotten before the listing is answered, the answer would hide that
            // commit. Where one process holds the store, listings do not expire, so it would do so
            // for ever.
            let is_counted = settings.exclusive && !believes;
            index.shrink(settings.index_bytes_max, is_counted.then(|| calls.next_number()));
        }
        assert!(self.state.work.is_empty(), "work is taken up within its step");
        outputs.append(&mut self.state.out);
        let calls = self.state.calls.take_out();
        assert!(calls.is_sorted_by(|(a, _), (b, _)| a < b), "calls leave in the order of their numbers");
        outputs.extend(calls.into_iter().map(|(id, call)| Output::Call(id, call)));
    }

    /// Returns true if a call that waited in the driver may still be sent. If not, the driver
    /// answers it with [`CallError::Expired`].
    ///
    /// `now` is at most a moment after the last step's.
    pub fn may_send(&self, now: Now, call: CallId) -> bool {
        let mut clock = self.state.clock.clone();
        // This call comes between two steps, so the new clock is used only for it.
        clock.step(now, None);
        self.state.calls.may_send(&clock, call)
    }

    /// Returns the milliseconds for which a call may still take effect, if it has a limit. A store
    /// that can enforce a deadline on a write gets it.
    pub fn may_land_for_ms(&self, call: CallId) -> Option<u64> {
        self.state.calls.limit(call).map(|limit| limit.remaining_ms(&self.state.clock))
    }

    /// Returns the monotonic instant, in milliseconds, by which the node needs an
    /// [`Input::Wake`].
    pub fn next_wake(&self) -> Option<u64> {
        self.state.timers.next()
    }

    /// Returns the number of open transactions.
    pub fn open_transactions(&self) -> usize {
        self.state.transactions.len()
    }

    /// Returns the number of store calls in flight.
    pub fn calls_under_way(&self) -> usize {
        self.state.calls.len()
    }

    /// Returns the estimated size of the index in bytes; at most `index_bytes_max` plus what
    /// operations in flight hold.
    pub fn index_bytes(&self) -> usize {
        self.state.index.bytes()
    }

    /// Returns the estimated size of the open transactions in bytes; at most
    /// `transactions_bytes_max` plus what operations in flight add.
    pub fn transactions_bytes(&self) -> usize {
        self.state.transactions.bytes()
    }

    /// Returns the width of the node's bounds of the store's time, in milliseconds; `None` while
    /// the time is not known.
    pub fn time_error_ms(&self) -> Option<u64> {
        self.state.clock.bounds().map(|bounds| bounds.width_ms())
    }

    /// Returns the distance of the node's commit times ahead of the store's time, in milliseconds.
    pub fn time_ahead_ms(&self) -> u64 {
        self.state.clock.ahead_ms()
    }

    /// Returns the mark as the node last read it: every transaction at or below it is over.
    pub fn mark(&self) -> crate::ids::TxnId {
        self.state.mark.known()
    }

    /// Panics if an invariant of the state is broken. It takes time in proportion to the state, and
    /// is meant for tests.
    pub fn check_invariants(&self) {
        let state = &self.state;
        let next_call = state.calls.next_number();
        let pins = state.operations.iter().map(|(_, operation)| operation.wanted.len()).sum();
        state.index.check_invariants(next_call, pins);
        state.calls.check_invariants();
        state.operations.check_invariants(next_call);
        state.tasks.check_invariants();
        state.mark.check_invariants(next_call, state.settings.moves_mark_alone());
        state.timers.check_invariants(state.clock.mono_ms());
        state.checks.check_invariants(|attempt| state.transactions.contains_key(&attempt));
        state.line.check_invariants(
            |attempt, key| commit::busy_until(state, attempt, key).is_some(),
            |attempt, at_mono| state.timers.contains(at_mono, &Timer::Turn(attempt)),
        );
        state.ended.check_invariants();
        state.entered.check_invariants();
        state.clock.check_invariants();
        self.upkeep.check_invariants(state);
        state.transactions.check_invariants();
        for (attempt, transaction) in state.transactions.iter() {
            assert!(
                state.requests.attempts(transaction.hash).contains(attempt),
                "an open attempt's request is known"
            );
            let is_verb = |task: &&Task| match &task.purpose {
                Purpose::Reserve(_, of) | Purpose::Failed { attempt: of, .. } => of == attempt,
                _ => false,
            };
            let operations =
                state.operations.of(*attempt).len() + state.tasks.purposes().filter(is_verb).count();
            assert_eq!(operations, transaction.operations, "operations under way are counted");
            assert!(transaction.began_call <= next_call, "a transaction began before the next call");
            assert!(!state.ended.contains(attempt), "an open attempt has not ended");
            let deadline = Timer::Deadline(*attempt);
            assert!(state.timers.contains(transaction.deadline_mono, &deadline), "its time ends");
            assert!(transaction.deadline.ms <= state.settings.timeout_max_ms, "a deadline is bounded");
            self.check_commit_under_way(transaction);
        }
        for (id, operation) in state.operations.iter() {
            assert!(state.transactions.contains_key(&operation.attempt), "{id:?} ends with its transaction");
        }
        let open = state.requests.check_invariants(state.settings.waiters_max, &state.timers);
        assert_eq!(open.len(), state.transactions.len(), "every open attempt is its request's");
        for (hash, attempt) in open {
            assert_eq!(state.transactions[&attempt].hash, hash, "a request's attempts are its own");
        }
        let is_planned = state.timers.has(&Timer::SharpenTime);
        assert_eq!(is_planned, state.sharpens_time, "a question that is planned is asked");
        assert!(state.out.is_empty() && state.work.is_empty(), "outputs and work leave with their step");
    }

    /// Panics if a commit is in flight and nothing continues it.
    fn check_commit_under_way(&self, transaction: &Transaction) {
        let attempt = transaction.attempt;
        let tasks = |is_it: fn(&Purpose) -> Option<AttemptId>| {
            let purposes = self.state.tasks.purposes().filter_map(move |task| is_it(&task.purpose));
            purposes.filter(|of| *of == attempt).count()
        };
        let preparing = tasks(|purpose| match purpose {
            Purpose::Prepare(of) => Some(*of),
            _ => None,
        });
        let committing = tasks(|purpose| match purpose {
            Purpose::Commit(of) => Some(*of),
            _ => None,
        });
        let passing = self.state.timers.has(&Timer::CommitWait(attempt));
        match &transaction.phase {
            Phase::Open | Phase::Closing(..) => assert_eq!((preparing, committing), (0, 0), "none is sent"),
            Phase::Preparing(..) if self.state.line.contains(attempt) => {
                assert_eq!((preparing, committing), (0, 0), "it waits for its turn");
            }
            Phase::Preparing(..) => assert_eq!((preparing, committing), (1, 0), "its time is to be taken"),
            Phase::Committing(..) => assert_eq!((preparing, committing), (0, 1), "it is being written"),
            Phase::Passing(..) => assert!(passing, "a durable commit waits for the store's time"),
        }
    }

    /// Discards what the node knew of time, after the process had not run for a while.
    fn thaw(&mut self, gap_ms: u64) {
        self.state.note(Note::Thawed { gap_ms });
        let next_call = self.state.calls.next_number();
        self.state.index.distrust_before(next_call);
        // Calls in flight must not be retried before the length of the pause is known.
        if !self.state.transactions.is_empty() || self.state.calls.len() > 0 {
            self.state.ask_time();
        }
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Verb(ticket, verb) => self.verb(ticket, verb),
            Input::Answer(id, answer, time) => self.answered(id, answer, time),
            Input::Heard(from, tell) => self.heard(from, &tell),
            Input::Wake => {}
            Input::Upkeep(on) => self.upkeep.switch(&mut self.state, on),
            Input::Drain => {
                self.state.draining = true;
                self.upkeep.switch(&mut self.state, false);
            }
        }
    }

    fn verb(&mut self, ticket: Ticket, verb: Verb) {
        let state = &mut self.state;
        match verb {
            Verb::Begin(begin) => begin::begin(state, ticket, begin),
            Verb::Run(attempt, batch) => batch::run(state, ticket, attempt, batch),
            Verb::List(attempt, list) => list::list(state, ticket, attempt, list),
            Verb::ReserveBlob(attempt) => reserve::reserve(state, ticket, attempt),
            Verb::Commit(attempt, args) => match batch::fit_result(state, attempt, &args) {
                Ok(()) => {
                    let CommitArgs { result, request } = args;
                    let waiter = CommitWaiter::new(ticket, CommitForm::Alone);
                    commit::commit(state, attempt, result, waiter, request);
                }
                Err(refusal) => state.refuse(ticket, refusal),
            },
            Verb::Abort(attempt) => end::abort(state, ticket, attempt),
            Verb::LookUp(hash) => {
                let patience = state.patience();
                state.start_task(Purpose::LookUp(ticket, Name::Commit(hash), hash), patience);
            }
            Verb::LookUpOf(attempt, otherwise) => {
                let open = state.transactions.get(&attempt);
                let open = open.map(|open| (Name::Commit(open.hash), open.hash));
                // A commit of one key may have no record, because its entry is the commit.
                let of_ended = |ended: &base::state::Ended| {
                    (ended.commit.clone().unwrap_or(Name::Commit(ended.hash)), ended.hash)
                };
                let found = open.or_else(|| state.ended.get(&attempt).map(of_ended));
                let (name, hash) = found.unwrap_or((Name::Commit(otherwise), otherwise));
                let patience = state.patience();
                state.start_task(Purpose::LookUp(ticket, name, hash), patience);
            }
        }
    }

    /// Learns commits of a peer.
    fn heard(&mut self, _from: NodeId, tell: &Tell) {
        tell.commits.iter().for_each(|header| self.state.learn(header, false, None));
    }

    /// Processes timers, unsent calls and work until none is left.
    fn settle(&mut self) {
        loop {
            while let Some(work) = self.state.work.pop_front() {
                self.work(work);
            }
            // Calls whose limit had passed are answered like calls that took no effect. That may
            // create work, so it is processed before the next timer.
            let unsent = self.state.calls.take_unsent();
            if !unsent.is_empty() {
                unsent.into_iter().for_each(|id| self.answered(id, Answer::Failed(CallError::Expired), None));
                continue;
            }
            let Some(timer) = self.state.timers.pop_due(self.state.clock.mono_ms()) else { return };
            self.fire(timer);
        }
    }

    fn fire(&mut self, timer: Timer) {
        let state = &mut self.state;
        match timer {
            Timer::Deadline(attempt) => end::deadline(state, attempt),
            Timer::WaiterGivesUp(hash, ticket) => begin::waiter_gives_up(state, hash, ticket),
            Timer::Repeat(call) => state.calls.repeat(&state.clock, call),
            Timer::CommitPatience(attempt) => commit::patience_ends(state, attempt),
            Timer::CommitWait(attempt) => commit::pass(state, attempt),
            Timer::Turn(attempt) => commit::take_turn(state, attempt),
            Timer::SharpenTime => state.sharpen_time_now(),
            Timer::ScriptPause(task, place) => {
                if state.tasks.answer(task, place, Answer::Done) {
                    state.defer(Work::Task(task));
                }
            }
            Timer::Sweep => self.upkeep.wake(state),
        }
    }

    fn work(&mut self, work: Work) {
        let state = &mut self.state;
        match work {
            Work::Task(id) => run_task(state, id),
            Work::Operation(id) => advance(state, id),
            Work::Begin(ticket, begin) => begin::begin(state, ticket, begin),
            Work::OperationDone(attempt) => commit::operation_done(state, attempt),
            Work::Commit(attempt, result, waiter) => commit::commit(state, attempt, result, waiter, None),
            Work::Turn(attempt) => commit::take_turn(state, attempt),
            Work::RequestEnded(hash, attempt, record) => begin::request_ended(state, hash, attempt, record),
        }
    }

    fn answered(&mut self, id: CallId, answer: Answer, time: Option<StoreTime>) {
        let state = &mut self.state;
        // An answer to a call from before a pause may have been in flight for as long as the pause,
        // so its time is not used.
        let time = time.filter(|_| id.0 >= state.index.stale_before_call());
        if let Some((time, (asked, asked_call))) = time.zip(state.calls.sent(id)) {
            let knew = state.clock.bounds().is_some();
            let apart_ms = state.clock.hear(time, &asked, asked_call);
            apart_ms.into_iter().for_each(|apart_ms| state.note(Note::ClocksDisagree { apart_ms }));
            // The first time after a pause, or one that contradicts the bounds, may show that more
            // time has passed than any clock showed.
            if apart_ms.is_some() || !knew {
                end::deadlines(state);
            }
        }
        let (waiting, answer) = match state.calls.answered(&state.clock, &state.settings, id, answer) {
            Next::Final(waiting, answer) => (waiting, answer),
            Next::Repeat(at_mono) if self.lives(id) => {
                return self.state.timers.set(at_mono, Timer::Repeat(id));
            }
            Next::Repeat(_) => return self.state.calls.forget(id),
            Next::Forgotten => return,
        };
        let state = &mut self.state;
        // Every read of the mark updates the node's view, independently of its owner.
        if let Answer::Got(Some((Body::Format(format), tag))) = &answer {
            let asked = (waiting.asked_call, waiting.asked);
            state.clock.carry_over(format.mark.time);
            let now = state.clock.bounds();
            state.mark.learn((format.clone(), tag.clone()), asked, now, &state.settings);
        }
        // Without a mark there is no time in an exclusive store; after a few tries the node serves
        // without it.
        let shows_no_mark = matches!(&answer, Answer::Got(None) | Answer::Failed(CallError::Damaged(_)));
        if shows_no_mark && waiting.reads_mark() {
            state.clock.do_without_mark(TIME_TRIES_MAX as u32 - 1);
        }
        self.hand(&waiting, answer);
    }

    /// Returns true if the owner of a call still waits for it.
    fn lives(&self, id: CallId) -> bool {
        let state = &self.state;
        let Some((owner, waiters)) = state.calls.owner(id) else { return false };
        match owner {
            Owner::Task(task, _) => state.tasks.contains(*task),
            Owner::Fetch(operation, _) | Owner::Scan(operation) => state.operations.contains(*operation),
            // The node may have asked for the mark without a waiter.
            Owner::Mark | Owner::FirstMark => true,
            Owner::Listing(..) | Owner::Record(..) => {
                waiters.iter().any(|operation| state.operations.contains(*operation))
            }
            Owner::Sweep(place) => self.upkeep.waits_for(*place),
            Owner::Nobody => true,
        }
    }

    /// Gives the final answer of a call to its owner.
    fn hand(&mut self, waiting: &Waiting, answer: Answer) {
        let state = &mut self.state;
        match &waiting.owner {
            Owner::Task(task, place) => {
                if state.tasks.answer(*task, *place, answer) {
                    state.defer(Work::Task(*task));
                }
            }
            Owner::Listing(key, after) => {
                read::listing_answered(state, waiting, key, after.as_ref(), answer);
            }
            Owner::Record(_, txn) => read::record_answered(state, waiting, *txn, answer),
            Owner::Mark => read::mark_answered(state, waiting, &answer),
            Owner::FirstMark => read::first_mark_answered(state, waiting),
            Owner::Fetch(operation, key) => read::fetch_answered(state, *operation, key.clone(), answer),
            Owner::Scan(operation) => list::page_answered(state, *operation, waiting, answer),
            Owner::Sweep(place) => self.upkeep.answered(state, *place, answer),
            Owner::Nobody => {}
        }
    }
}

/// Runs an operation until it waits or ends, and does what follows from its end.
fn advance(state: &mut State, id: OperationId) {
    match read::advance(state, id) {
        read::Advance::Waiting | read::Advance::Failed => {}
        read::Advance::Done(operation) => match &operation.purpose {
            ReadPurpose::Batch { .. } => batch::reads_done(state, *operation),
            ReadPurpose::List(..) => list::page_read(state, *operation),
        },
    }
}

/// Runs a script from its start, and carries its ending out.
fn run_task(state: &mut State, id: TaskId) {
    let Some((task, mut memory)) = state.tasks.take(id) else { return };
    let memory = &mut memory;
    // `ended` is an error while the script waits for answers, and else the result of carrying its
    // ending out, which is the only part that changes the state.
    let ((issued, pauses), ended) = match &task.purpose {
        Purpose::Begin(ticket, begin, began) => {
            let (ticket, begin, began) = (*ticket, begin.clone(), *began);
            let (asked, ending) = run(state, memory, |run, state| begin::script(run, state, &begin));
            (asked, ending.map(|ending| begin::carry_out(state, ticket, (begin, began), ending)))
        }
        Purpose::Prepare(attempt) => {
            let (asked, ending) =
                run(state, memory, |run, state| commit::prepare_script(run, state, *attempt));
            (asked, ending.map(|ending| commit::prepared(state, *attempt, ending)))
        }
        Purpose::Commit(attempt) => {
            let record = commit::record_under_way(state, *attempt);
            let (asked, ending) = run(state, memory, |run, state| commit::script(run, state, &record));
            (asked, ending.map(|ending| commit::carry_out(state, *attempt, ending)))
        }
        Purpose::Reserve(ticket, attempt) => {
            let (asked, ending) = run(state, memory, |run, state| reserve::script(run, state, *attempt));
            (asked, ending.map(|refusal| reserve::carry_out(state, *ticket, *attempt, refusal)))
        }
        Purpose::Failed { ticket, attempt, failed, replays } => {
            let hash = state.transactions[attempt].hash;
            let (asked, ending) = run(state, memory, |run, state| failed::script(run, state, hash));
            let carry_out = |found| failed::carry_out(state, (*ticket, *attempt), failed, *replays, found);
            (asked, ending.map(carry_out))
        }
        Purpose::Resolve(ticket, attempt, hash) => {
            let (asked, ending) =
                run(state, memory, |run, state| resolve::script(run, state, *attempt, *hash));
            (asked, ending.map(|ending| resolve::carry_out(state, *ticket, *attempt, ending)))
        }
        Purpose::LookUp(ticket, name, hash) => {
            let look = |run: &mut Run<'_>, state: &State| look_up::script(run, state, (name, *hash));
            let (asked, ending) = run(state, memory, look);
            (asked, ending.map(|found| look_up::carry_out(state, *ticket, found)))
        }
        Purpose::Release(record) => run(state, memory, |run, state| lock::release(run, state, record)),
    };
    let limit = task.limit;
    let pending = ended.is_err();
    if pending {
        state.tasks.put_back(id, task, std::mem::take(memory));
    }
    let now_mono = state.clock.mono_ms();
    for (place, ms) in pauses {
        assert!(pending, "a script that pauses goes on");
        state.timers.set(now_mono + ms, Timer::ScriptPause(id, place));
    }
    for Issued { place, call, limit: own } in issued {
        // A script that ends early leaves calls without a reader, which are still made.
        let owner = if pending { Owner::Task(id, place) } else { Owner::Nobody };
        state.call(owner, call, Some(own.unwrap_or(limit)));
    }
}

/// The calls of a script's run, and its pauses.
type Asked = (Vec<Issued>, Vec<(usize, u64)>);

/// Runs a script, and in a debug mode runs it again: both runs must give the same result.
fn run<E: Debug + PartialEq>(
    state: &State,
    memory: &mut Memory,
    script: impl Fn(&mut Run<'_>, &State) -> Result<E, Pending>,
) -> (Asked, Result<E, Pending>) {
    let mut first = Run::new(memory);
    let ending = script(&mut first, state);
    let asked = (std::mem::take(&mut first.issued), std::mem::take(&mut first.pauses));
    if state.settings.run_scripts_twice {
        let mut second = Run::new(memory);
        let again = script(&mut second, state);
        assert!(second.issued.is_empty(), "a script that runs again asks nothing new: {:?}", second.issued);
        assert!(second.pauses.is_empty(), "a script that runs again pauses no second time");
        assert_eq!(ending, again, "a script that runs again comes to the same");
    }
    (asked, ending)
}
