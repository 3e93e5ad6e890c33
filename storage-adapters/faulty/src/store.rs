//! The decorator: the same course for every kind of call.
//!
//! ```text
//! draw ─ wait ─┬─ Busy, never ──────────────────► no effect, error
//!              ├─ late ─► spawned: wait, effect    no answer at once
//!              └─ effect (once or twice) ─ wait ─► answer, or none
//! ```
//!
//! An effect that comes late is a spawned task; [`FaultyStore::quiesce`] waits until none is left.
//! If the future of a call is dropped before the effect, there is none; if it is dropped after it,
//! the effect stays. The contract allows both.

use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aft_store::{
    Capabilities, Committed, Costs, Created, Error, GroupPage, Heads, ItemPage, Name, Position, Replaced,
    Result, ScanPage, Space, Store, Tag, TimeHeard, Writes,
};
use async_trait::async_trait;
use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::Notify;

use crate::commit::CommitPlan;
use crate::{
    Call, Counts, Faults,
    faults::{Fate, Plan},
};

/// A decorator that injects faults into the calls to another store. A clone shares everything.
#[derive(Debug)]
pub struct FaultyStore<S: Store + ?Sized> {
    inner: Arc<S>,
    course: Arc<Course>,
}

impl<S: Store + ?Sized> Clone for FaultyStore<S> {
    fn clone(&self) -> Self {
        FaultyStore { inner: self.inner.clone(), course: self.course.clone() }
    }
}

/// The state that clones share.
#[derive(Debug)]
struct Course {
    state: Mutex<State>,
    /// The longest delay of a call without an answer under any faults set so far, in milliseconds.
    grace_ms: AtomicU64,
    /// The number of effects that are still pending.
    landing: AtomicUsize,
    /// Notified when the last pending effect is done.
    landed: Notify,
}

#[derive(Debug)]
struct State {
    rng: StdRng,
    faults: Faults,
    counts: [Counts; Call::ALL.len()],
}

/// A pending effect, counted until this is dropped. That happens even if its task is cancelled with
/// the runtime.
struct Landing(Arc<Course>);

impl Landing {
    fn new(course: &Arc<Course>) -> Landing {
        course.landing.fetch_add(1, Ordering::AcqRel);
        Landing(course.clone())
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if self.0.landing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.landed.notify_waiters();
        }
    }
}

impl<S: Store + ?Sized> FaultyStore<S> {
    /// Makes a store that injects `faults` into the calls to `inner`. The same seed and the same
    /// order of calls give the same faults.
    ///
    /// # Panics
    /// Panics if a probability is out of range, or the first six sum to more than 1.
    pub fn new(inner: Arc<S>, seed: u64, faults: Faults) -> FaultyStore<S> {
        let state =
            State { rng: StdRng::seed_from_u64(seed), faults: Faults::NONE, counts: Default::default() };
        let course = Course {
            state: Mutex::new(state),
            grace_ms: AtomicU64::new(0),
            landing: AtomicUsize::new(0),
            landed: Notify::new(),
        };
        let store = FaultyStore { inner, course: Arc::new(course) };
        store.set_faults(faults);
        store
    }

    /// Returns the store inside, without faults. For auditors.
    pub fn inner(&self) -> &Arc<S> {
        &self.inner
    }

    /// Changes the faults, from the next call on.
    ///
    /// # Panics
    /// Panics if a probability is out of range, or the first six sum to more than 1.
    pub fn set_faults(&self, faults: Faults) {
        faults.check();
        let grace = faults.latency.max() + faults.late.max();
        let grace_ms = u64::try_from(grace.as_micros().div_ceil(1000)).expect("delays are far below 2^64 ms");
        // Never lowered: calls made under earlier faults may still be pending.
        self.course.grace_ms.fetch_max(grace_ms, Ordering::AcqRel);
        self.state().faults = faults;
    }

    /// Switches every fault and delay off, from the next call on. Effects that are pending still
    /// come: see [`FaultyStore::quiesce`].
    pub fn heal(&self) {
        self.set_faults(Faults::NONE);
    }

    /// Waits until no effect is pending.
    pub async fn quiesce(&self) {
        loop {
            // Registered before the count is read, so that no notification is missed.
            let landed = self.course.landed.notified();
            if self.course.landing.load(Ordering::Acquire) == 0 {
                return;
            }
            landed.await;
        }
    }

    /// Returns the number of calls of one class and of the faults injected into them.
    pub fn counts(&self, call: Call) -> Counts {
        self.state().counts[call as usize]
    }

    /// Returns the number of all calls and of the faults injected into them.
    pub fn counts_total(&self) -> Counts {
        let mut total = Counts::default();
        self.state().counts.iter().for_each(|counts| total.add(counts));
        total
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.course.state.lock().expect("drawing does not panic: faults are checked when they are set")
    }

    /// Draws the course of a call, and counts it.
    fn draw(&self, call: Call, may_be_partial: bool) -> Plan {
        let mut state = self.state();
        let State { rng, faults, counts } = &mut *state;
        let plan = faults.draw(rng);
        counts[call as usize].count(&plan, may_be_partial);
        plan
    }

    /// Draws the course of a commit of `pieces` pieces.
    pub(crate) fn draw_commit(&self, pieces: usize) -> CommitPlan {
        let mut state = self.state();
        let State { rng, faults, counts } = &mut *state;
        let plan = CommitPlan::draw(faults, pieces, rng);
        plan.count(&mut counts[Call::Commit as usize]);
        plan
    }

    pub(crate) fn no_answer(&self, call: Call, what: &str) -> Error {
        Error::NoAnswer(format!("{}: {call:?}: injected, {what}", self.inner.url()))
    }

    pub(crate) fn busy(&self, call: Call) -> Error {
        Error::Busy(format!("{}: {call:?}: injected", self.inner.url()))
    }

    /// Runs `effect`, a read of the store inside that is not part of [`Store`], with the delays and
    /// faults of the store's own reads.
    ///
    /// # Errors
    /// Returns the errors of `effect`, and those of injected faults.
    pub async fn around_read<T>(&self, effect: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.read(Call::OtherRead, effect).await
    }

    /// Runs a write of the store inside that is not part of [`Store`], with the delays and faults
    /// of the store's own writes. Each call of `effect` makes one execution of the write, which
    /// owns its arguments.
    ///
    /// # Errors
    /// Returns the errors of the executions, and those of injected faults.
    pub async fn around_write<T, F>(&self, effect: impl Fn() -> F + Send) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let plan = self.draw(Call::OtherWrite, false);
        self.write(Call::OtherWrite, plan, move |_: Arc<S>| effect()).await
    }

    /// Runs a call that changes nothing. A lost answer is its only fault apart from `Busy`.
    async fn read<T, F: Future<Output = Result<T>> + Send>(&self, call: Call, effect: F) -> Result<T> {
        let plan = self.draw(call, false);
        wait(plan.before).await;
        let result = match plan.fate {
            Fate::Answered | Fate::Twice | Fate::AgainLate => effect.await,
            // A read has no effect, so it does not matter whether the call or its answer is lost.
            Fate::Done | Fate::Late | Fate::Never => Err(self.no_answer(call, "the answer was lost")),
            Fate::Busy => Err(self.busy(call)),
        };
        wait(plan.after).await;
        result
    }

    /// Runs a call that changes something, as `plan` says. `effect` makes one execution of it,
    /// which owns its arguments.
    async fn write<T, F, E>(&self, call: Call, plan: Plan, effect: E) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
        E: Fn(Arc<S>) -> F + Send,
    {
        wait(plan.before).await;
        let result = match plan.fate {
            Fate::Answered => effect(self.inner.clone()).await,
            Fate::Busy => Err(self.busy(call)),
            Fate::Never => Err(self.no_answer(call, "the call was lost")),
            Fate::Done => {
                let done = effect(self.inner.clone()).await;
                // An error of the store inside is passed on.
                done.and_then(|_| Err(self.no_answer(call, "done, the answer was lost")))
            }
            Fate::Late => {
                self.land(plan.late, effect(self.inner.clone()));
                Err(self.no_answer(call, "still under way"))
            }
            Fate::Twice => match effect(self.inner.clone()).await {
                Ok(_) => effect(self.inner.clone()).await,
                Err(error) => Err(error),
            },
            Fate::AgainLate => {
                let first = effect(self.inner.clone()).await;
                self.land(plan.late, effect(self.inner.clone()));
                first
            }
        };
        wait(plan.after).await;
        result
    }

    /// Spawns `effect`, to run after the delay `late` and count as pending until it is done.
    pub(crate) fn land<T: Send>(&self, late: Duration, effect: impl Future<Output = T> + Send + 'static) {
        let landing = Landing::new(&self.course);
        tokio::spawn(async move {
            wait(late).await;
            // An error has no receiver, since the caller has its answer already.
            drop(effect.await);
            drop(landing);
        });
    }
}

/// The end of a delay that is not left to the runtime's timer.
const TIMER_STEP: Duration = Duration::from_millis(2);

/// Waits for `delay`, precisely. The runtime's timer counts whole milliseconds and rounds up, so a
/// store of half a millisecond would seem one of two. So the last [`TIMER_STEP`] is slept on a
/// blocking thread.
pub(crate) async fn wait(delay: Duration) {
    if delay.is_zero() {
        return;
    }
    let until = Instant::now() + delay;
    if let Some(whole) = delay.checked_sub(TIMER_STEP).filter(|whole| !whole.is_zero()) {
        tokio::time::sleep(whole).await;
    }
    let rest = until.saturating_duration_since(Instant::now());
    if !rest.is_zero() {
        let slept = tokio::task::spawn_blocking(move || std::thread::sleep(rest));
        slept.await.expect("sleeping does not panic, and nobody aborts it");
    }
}

#[async_trait]
impl<S: Store + ?Sized> Store for FaultyStore<S> {
    fn url(&self) -> String {
        format!("faulty:{}", self.inner.url())
    }

    /// Returns the capabilities of the store inside, with a grace time that covers the longest
    /// delay configured so far. If that store enforces deadlines, its own grace time holds, however
    /// late a write comes.
    fn capabilities(&self) -> Capabilities {
        let inner = self.inner.capabilities();
        if self.inner.until(Instant::now()).is_some() {
            return inner;
        }
        let grace_ms = inner.grace_ms.max(self.course.grace_ms.load(Ordering::Acquire));
        Capabilities { grace_ms, ..inner }
    }

    fn costs(&self) -> Option<Costs> {
        self.inner.costs()
    }

    fn ended(&self) -> Option<String> {
        self.inner.ended()
    }

    fn blobs_place(&self) -> Option<String> {
        self.inner.blobs_place()
    }

    fn times_heard(&self) -> Vec<TimeHeard> {
        self.inner.times_heard()
    }

    fn until(&self, deadline: Instant) -> Option<Arc<dyn Store>> {
        let inner = self.inner.until(deadline)?;
        Some(Arc::new(FaultyStore { inner, course: self.course.clone() }))
    }

    async fn commit(&self, writes: Writes) -> Committed {
        self.run_commit(writes).await
    }

    async fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<ScanPage> {
        self.read(Call::Scan, self.inner.scan(space, prefix, after, limit)).await
    }

    async fn scan_heads(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        heads: &Heads,
        limit: usize,
    ) -> Result<ScanPage> {
        self.read(Call::Scan, self.inner.scan_heads(space, prefix, after, heads, limit)).await
    }

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        self.read(Call::Get, self.inner.get(name)).await
    }

    async fn put(&self, name: &Name, body: Bytes) -> Result<()> {
        let plan = self.draw(Call::Put, false);
        let name = name.clone();
        let effect = move |inner: Arc<S>| {
            let (name, body) = (name.clone(), body.clone());
            async move { inner.put(&name, body).await }
        };
        self.write(Call::Put, plan, effect).await
    }

    async fn create(&self, name: &Name, body: Bytes) -> Result<Created> {
        let plan = self.draw(Call::Create, false);
        let name = name.clone();
        let effect = move |inner: Arc<S>| {
            let (name, body) = (name.clone(), body.clone());
            async move { inner.create(&name, body).await }
        };
        self.write(Call::Create, plan, effect).await
    }

    async fn replace(&self, name: &Name, tag: &Tag, body: Bytes) -> Result<Replaced> {
        let plan = self.draw(Call::Replace, false);
        let (name, tag) = (name.clone(), tag.clone());
        let effect = move |inner: Arc<S>| {
            let (name, tag, body) = (name.clone(), tag.clone(), body.clone());
            async move { inner.replace(&name, &tag, body).await }
        };
        self.write(Call::Replace, plan, effect).await
    }

    async fn delete(&self, names: &[Name]) -> Result<()> {
        let may_be_partial = names.len() > 1;
        let plan = self.draw(Call::Delete, may_be_partial);
        // A partial delete: the last names, in place of any other fault.
        if let Some(share) = plan.partial.filter(|_| may_be_partial) {
            wait(plan.before).await;
            // At most all but one of the names, since `share` is below 1.
            let part = (names.len() as f64 * share) as usize;
            let part: Vec<Name> = names.iter().skip(names.len() - part).cloned().collect();
            self.inner.delete(&part).await?;
            wait(plan.after).await;
            return Err(self.no_answer(Call::Delete, "a part was deleted"));
        }
        let names: Arc<[Name]> = names.into();
        let effect = move |inner: Arc<S>| {
            let names = names.clone();
            async move { inner.delete(&names).await }
        };
        self.write(Call::Delete, plan, effect).await
    }

    async fn delete_if(&self, name: &Name, tag: &Tag) -> Result<Replaced> {
        let plan = self.draw(Call::DeleteIf, false);
        let (name, tag) = (name.clone(), tag.clone());
        let effect = move |inner: Arc<S>| {
            let (name, tag) = (name.clone(), tag.clone());
            async move { inner.delete_if(&name, &tag).await }
        };
        self.write(Call::DeleteIf, plan, effect).await
    }

    async fn list(&self, space: Space, group: &[u8], after: Option<&[u8]>, limit: usize) -> Result<ItemPage> {
        self.read(Call::List, self.inner.list(space, group, after, limit)).await
    }

    async fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GroupPage> {
        self.read(Call::Groups, self.inner.groups(space, prefix, after, limit)).await
    }
}
