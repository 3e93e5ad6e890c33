//! Runs the measurements of the plan, one at a time, and keeps their results.

use std::collections::BTreeMap;

use aft_bench::standard::{Length, Options, Pace, StoreTarget, Target, Way};
use aft_door_native::Meters;
use indicatif::ProgressBar;

use crate::counts;
use crate::data::{Cell, Seen, Speed};
use crate::levels;
use crate::once;
use crate::others::Other;
use crate::plan::{How, Kind, Serve, Task, tasks};
use crate::site::{Failed, Served, Site};

/// The part of the plan that was chosen on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) kinds: Vec<Kind>,
    /// True if stores were named. Comparisons with other products then run only if their figures
    /// are named as well.
    pub(crate) named_kinds: bool,
    /// The names of the figures; empty for all.
    pub(crate) figures: Vec<String>,
    pub(crate) seed: u64,
    pub(crate) scale: f64,
}

impl Choice {
    /// Returns true if `figure` was chosen.
    pub(crate) fn wants(&self, figure: &str) -> bool {
        self.figures.is_empty() || self.figures.iter().any(|wanted| wanted == figure)
    }

    /// Returns the products that AFT is compared with.
    pub(crate) fn others(&self) -> Vec<Other> {
        let whole = !self.named_kinds || !self.figures.is_empty();
        let wanted = |other: &Other| other.figures().iter().any(|figure| self.wants(figure));
        Other::ALL.into_iter().filter(|other| whole && wanted(other)).collect()
    }

    pub(crate) fn tasks(&self, kind: Kind, speed: Speed) -> Vec<Task> {
        tasks(kind, speed, self.scale).into_iter().filter(|task| self.wants(task.figure)).collect()
    }

    /// Returns true if the plan has a chosen measurement on `kind`.
    pub(crate) fn needs(&self, kind: Kind) -> bool {
        kind.speeds().into_iter().any(|speed| !self.tasks(kind, speed).is_empty())
    }

    /// Returns the number of measurements.
    pub(crate) fn count(&self) -> usize {
        let speeds = |kind: &Kind| kind.speeds().into_iter().map(|speed| (*kind, speed)).collect::<Vec<_>>();
        let stores = self.kinds.iter().flat_map(speeds).map(|(kind, speed)| self.tasks(kind, speed).len());
        let others = self.others().into_iter().map(|other| other.count(self));
        stores.sum::<usize>() + others.sum::<usize>() + levels::count(self)
    }
}

/// Measures one kind of store at all of its speeds, and returns each cell with the name of its
/// figure. Adds the version of the store's server to `versions`.
///
/// # Errors
/// Returns the first measurement that failed, and why.
pub(crate) async fn kind(
    kind: Kind,
    choice: &Choice,
    meters: &Meters,
    bar: &ProgressBar,
    versions: &mut BTreeMap<String, String>,
) -> Result<Vec<(&'static str, Cell)>, Failed> {
    let tell = |what: &str| bar.set_message(format!("{}: {what}", kind.name()));
    tell("starts");
    let mut site = Site::start(kind, choice.seed, meters.clone()).await?;
    versions.extend(site.service.as_ref().map(|server| (server.service().to_string(), server.version())));
    let mut cells: Vec<(&'static str, Cell)> = Vec::new();
    for speed in kind.speeds() {
        let tasks = choice.tasks(kind, speed);
        if tasks.is_empty() {
            continue;
        }
        tell("keys are written");
        let mut place = Place::open(&mut site, speed).await?;
        for task in tasks {
            tell(&format!("{} {} {}", task.figure, task.way, task.x));
            let seen = place.run(&mut site, speed, &task, choice.scale).await;
            let seen =
                seen.map_err(|why| format!("{}, {}, {}: {why}", task.figure, kind.name(), task.way))?;
            let store = kind.name().to_owned();
            for (way, x, seen) in seen {
                // A way that the plan measures several times is one cell.
                let same = |(figure, cell): &&mut (&str, Cell)| {
                    (*figure, cell.speed, cell.x) == (task.figure, speed, x) && cell.way == way
                };
                match cells.iter_mut().find(same) {
                    Some((_, cell)) => cell.seen.join(seen),
                    None => cells.push((task.figure, Cell { store: store.clone(), speed, way, x, seen })),
                }
            }
            bar.inc(1);
        }
        place.end().await;
    }
    Ok(cells)
}

/// The stores and servers that are open at one speed.
struct Place {
    plain: StoreTarget,
    usual: Served,
    /// The servers that are alone on their stores, started when they are first needed.
    alone: Vec<(Serve, Served)>,
}

impl Place {
    /// Opens the plain store and the usual server. At the first speed it also writes the keys.
    async fn open(site: &mut Site, speed: Speed) -> Result<Place, Failed> {
        let plain = site.open_target("plain", speed).await?;
        let shim = site.open("shim", speed).await?;
        let usual = site.serve(shim, Serve::Usual).await?;
        if site.first_time("shim") {
            site.write_keys(Target::Store(plain.clone()), Way::Direct).await?;
            site.write_keys(Target::Server { url: usual.url.clone() }, Way::Shim).await?;
        }
        site.read_keys(&usual).await?;
        Ok(Place { plain, usual, alone: Vec::new() })
    }

    /// Returns a server that is alone on its store, and starts it if it is not running. Its keys
    /// are written when it is first needed; at the second speed they are there already.
    async fn alone(&mut self, site: &mut Site, speed: Speed, how: Serve) -> Result<&Served, Failed> {
        if let Some(nth) = self.alone.iter().position(|(other, _)| *other == how) {
            return Ok(&self.alone[nth].1);
        }
        let purpose = if how == Serve::NoCache { "no-cache" } else { "alone" };
        let served = site.serve(site.open(purpose, speed).await?, how).await?;
        if site.first_time(purpose) {
            site.write_keys(Target::Server { url: served.url.clone() }, Way::Shim).await?;
        }
        site.read_keys(&served).await?;
        self.alone.push((how, served));
        Ok(&self.alone.last().expect("pushed above").1)
    }

    /// Runs one measurement. Most return one result; some return several ways or points.
    async fn run(
        &mut self,
        site: &mut Site,
        speed: Speed,
        task: &Task,
        scale: f64,
    ) -> Result<Vec<(String, f64, Seen)>, Failed> {
        let (name, seed) = (task.way.to_owned(), site.seed);
        let run = |target, way, dataset| Options {
            target,
            way,
            workload: task.workload.clone(),
            length: Length::For(task.time),
            warm_up: Some(task.warm_up),
            pace: task.rate.map_or(Pace::Closed, |per_s| Pace::Open { per_s }),
            clients: task.clients,
            seed: Some(seed),
            dataset: Some(dataset),
            ..Options::default()
        };
        let seen = match task.how {
            How::Without(way) => {
                let dataset = site.dataset();
                standard(run(Target::Store(self.plain.clone()), way, dataset)).await?
            }
            How::Aft(Serve::Usual) => {
                let dataset = site.dataset();
                standard(run(server(&self.usual), Way::Shim, dataset)).await?
            }
            How::Aft(how @ (Serve::Alone | Serve::NoCache)) => {
                let served = self.alone(site, speed, how).await?;
                let dataset = site.dataset();
                standard(run(server(served), Way::Shim, dataset)).await?
            }
            How::Aft(Serve::Counted | Serve::CountedSweeper) => {
                unreachable!("what is counted has servers of its own")
            }
            How::Aft(how @ (Serve::Collecting | Serve::NotCollecting)) => {
                let purpose = if how == Serve::Collecting { "collecting" } else { "not-collecting" };
                let dataset = site.dataset();
                // A store of its own for each run: what an earlier run left must not be collected.
                let purpose = format!("{purpose}-{}", dataset.nth);
                let served = site.serve(site.open(&purpose, speed).await?, how).await?;
                // Count removals from the end of the warm-up, when they have become steady.
                let removed = async {
                    tokio::time::sleep(task.warm_up).await;
                    served.node().stats().entries_removed
                };
                let load = standard(run(server(&served), Way::Shim, dataset));
                let (before, seen) = tokio::join!(removed, load);
                let removed = served.node().stats().entries_removed - before;
                served.end().await;
                let seen = seen?;
                let removed = removed as f64 / seen.transactions as f64;
                Seen { removed: Some(removed), ..seen }
            }
            How::ExactlyOnce { requests } => {
                let seen = once::run(site, speed, requests, task.clients).await?;
                return Ok(seen.into_iter().map(|(way, seen)| (way, task.x, seen)).collect());
            }
            How::Requests => return counts::requests(site, scale).await,
            How::ColdListing => return counts::cold_listing(site).await,
        };
        Ok(vec![(name, task.x, seen)])
    }

    async fn end(self) {
        self.usual.end().await;
        for (_, served) in self.alone {
            served.end().await;
        }
    }
}

fn server(served: &Served) -> Target {
    Target::Server { url: served.url.clone() }
}

/// Runs the standard workload.
///
/// # Errors
/// Returns an error if the workload cannot be run, or if no transaction ended well.
async fn standard(options: Options) -> Result<Seen, Failed> {
    let report = aft_bench::standard::run(options).await.map_err(|why| why.to_string())?;
    let figures = report.figures;
    if figures.transactions == 0 {
        return Err(format!("no transaction ended well: {:?}", figures.errors));
    }
    Ok(Seen {
        transactions: figures.transactions,
        attempts: figures.attempts,
        transactions_per_s: figures.transactions_per_s,
        p50_ms: figures.latency_ms.p50,
        p99_ms: figures.latency_ms.p99,
        own_write: figures.anomalies.own_write,
        fractured: figures.anomalies.fractured,
        double: 0,
        half: 0,
        removed: None,
        requests: figures.requests_per_transaction,
        dollars_per_million: figures.cost_per_million_transactions,
        errors: figures.errors,
    })
}
