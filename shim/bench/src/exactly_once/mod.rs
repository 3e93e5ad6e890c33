//! Exactly-once execution under crashes: plain functions, functions with an idempotency record, and
//! functions through the shim, side by side.
//!
//! A request has an ID and two functions. Each function has one effect that is not idempotent by
//! itself: it reads a counter that belongs to this request only, and writes it incremented by one.
//! At the end, the counters of a request show how often it took effect: `(1, 1)` is right.
//! Functions die at points that are drawn from a seed, the same for all three ways, before and
//! after each call. The store and the node do not die here (other tests kill those).
//!
//! * [`Options`] – the settings of a run; [`Report`], [`Figures`] – its results.
//! * `step` – the points at which an attempt can die. `counter` – the effects.
//! * `way` – the trait; `plain`, `record`, `aft` – its three implementations.
//! * `attempt`, `load` – the steps of an attempt; a run of all requests, and readers beside it.
//! * `audit` – the effects that are left after the run.

mod aft;
mod attempt;
mod audit;
mod counter;
mod load;
mod options;
mod plain;
mod record;
mod report;
mod step;
mod way;

pub use options::Options;
pub use report::{Figures, Load, Report, Runs};

use std::sync::Arc;

use aft_store::Store;

use crate::counting::{Asked, CountingStore};
use crate::error::Result;
use crate::platform::fate::Fates;
use crate::standard::target;
use aft::Shim;
use counter::{Counter, Values};
use load::{Loaded, load};
use plain::Plain;
use record::Recorded;
use way::Way;

/// The prefix of all names and keys.
const PREFIX: &str = "bench-exactly-once";

/// Runs the requests in all three ways, one after the other on the same store and with the same
/// fates. Prints nothing but progress, if the options ask for it.
///
/// The objects of the first two ways are deleted afterwards; those of the shim remain, as after any
/// request.
///
/// # Errors
/// Returns an error if the options are invalid or do not fit the store, if the node does not start,
/// or if the counters cannot be read after a run; as
/// [`Error::Unfinished`](crate::Error::Unfinished) if a way has its figures by then. Attempts that
/// fail are counted in the report.
pub async fn run(store: Arc<dyn Store>, options: Options) -> Result<Report> {
    options.check(&*store)?;
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let run = Run {
        store: Arc::clone(&store),
        fates: Fates { seed, crashes: options.crashes, late: 0.0, duplicates: options.duplicates },
        values: Values::new(options.value_bytes, seed),
        // A random prefix keeps runs on one store apart, even with the same seed.
        prefix: format!("{PREFIX}/{:016x}", rand::random::<u64>()),
        options,
    };
    // Figures took their time: what fails after them must not lose them.
    let mut ended = Vec::new();
    if let Err(why) = run.all(&mut ended).await {
        return Err(report::unfinished(&ended, why));
    }
    let [plain, record, aft] = <[_; 3]>::try_from(ended).expect("all three ways have ended");
    let runs = Runs { plain: plain.1, record: record.1, aft: aft.1 };
    Ok(Report::new(runs, &run.options, seed, store.url()))
}

/// The settings that the three ways share.
struct Run {
    store: Arc<dyn Store>,
    options: Options,
    fates: Fates,
    values: Values,
    prefix: String,
}

/// The figures of the ways that have ended, in their order.
type Columns = Vec<(&'static str, Figures)>;

impl Run {
    /// Runs all three ways, and adds the figures of each to `ended` as soon as it has them.
    async fn all(&self, ended: &mut Columns) -> Result<()> {
        self.plain(ended).await?;
        self.record(ended).await?;
        ended.push(("aft", self.aft().await?));
        Ok(())
    }

    async fn plain(&self, ended: &mut Columns) -> Result<()> {
        let counting = Arc::new(CountingStore::new(Arc::clone(&self.store)));
        let store = Arc::clone(&counting) as _;
        let way = Arc::new(Plain::new(store, format!("{}/plain", self.prefix), self.values.clone()));
        ended.push(("plain", self.straight("plain", &counting, Arc::clone(&way) as _).await?));
        way.clean_up(self.options.requests, &Counter::ALL.map(Counter::as_str)).await?;
        Ok(())
    }

    async fn record(&self, ended: &mut Columns) -> Result<()> {
        let counting = Arc::new(CountingStore::new(Arc::clone(&self.store)));
        let store = Arc::clone(&counting) as _;
        let way = Arc::new(Recorded::new(store, format!("{}/record", self.prefix), self.values.clone()));
        ended.push(("record", self.straight("record", &counting, Arc::clone(&way) as _).await?));
        way.clean_up(self.options.requests).await?;
        Ok(())
    }

    /// Measures a way that accesses the store directly.
    async fn straight(&self, name: &str, store: &CountingStore, way: Arc<dyn Way>) -> Result<Figures> {
        let before = store.asked();
        let loaded = self.load(name, Arc::clone(&way)).await;
        let ended = store.asked();
        let counts = audit::count(&*way, self.options.requests).await?;
        let audit = store.asked().since(&ended);
        // The readers' calls are not the requests' own. An audit is one look at each request, so
        // its calls give the cost of a look.
        let asked = without_looks(ended.since(&before), &audit, loaded.looks.count, self.options.requests);
        let end = audit::judge(&counts, &loaded.tally.acknowledged);
        Ok(Figures::new(self.options.requests, &loaded, end, &asked))
    }

    async fn aft(&self) -> Result<Figures> {
        let counting = Arc::new(CountingStore::new(Arc::clone(&self.store)));
        let before = counting.asked();
        let node = target::start(Arc::clone(&counting) as _).await?;
        let way = |node| Shim::new(node, format!("{}/aft", self.prefix), self.values.clone());
        let loaded = self.load("aft", Arc::new(way(node.clone()))).await;
        // Transactions of dead attempts stay open until their timeout.
        node.drain(self.options.function_timeout + target::DRAIN_MAX).await;
        // These requests include what was published after the commits. They also include the looks,
        // which the node mostly answers from its cache.
        let asked = counting.asked().since(&before);
        // Audit through another node, which reads everything from the store.
        let auditor = target::start(Arc::clone(&self.store)).await?;
        let counts = audit::count(&way(auditor.clone()), self.options.requests).await;
        auditor.drain(target::DRAIN_MAX).await;
        let end = audit::judge(&counts?, &loaded.tally.acknowledged);
        Ok(Figures::new(self.options.requests, &loaded, end, &asked))
    }

    async fn load(&self, name: &str, way: Arc<dyn Way>) -> Loaded {
        load(name, way, &self.options, self.fates).await
    }
}

/// Subtracts the readers' calls from `asked`. The audit is exactly one look at each request, so it
/// gives the cost of a look.
fn without_looks(mut asked: Asked, audit: &Asked, looks: u64, requests: u64) -> Asked {
    for (call, count) in &mut asked.calls {
        let of_audit = audit.calls.get(call).copied().unwrap_or_default();
        *count = count.saturating_sub(of_audit * looks / requests);
    }
    asked.calls.retain(|_, count| *count > 0);
    let of_look = audit.dollars.unwrap_or_default() / requests as f64;
    asked.dollars = asked.dollars.map(|dollars| dollars - of_look * looks as f64);
    asked
}

#[cfg(test)]
mod tests;
