//! AFT compared with other products that do the same, on the same disk or store, in the same run.
//!
//! ```text
//!   Other ─► recipe (tests/services) ─► its server ──┐
//!             `aft serve`, a process of its own ─────┴─► one load for both ─► cells
//! ```
//!
//! * [`etcd`] – two puts, and two cached gets, in a transaction each.
//! * [`minio`] – objects and listings through the S3 endpoint.
//! * [`restate`], [`powertools`] – a transfer under a request ID, done once.
//! * [`transfers`] – the load of transfers and its check.
//! * [`ground`] – `aft serve`, and the disk.
//! * [`load`] – a closed loop.
//! * [`grpc`], [`http`] – minimal clients.
//!
//! The ways of a point run one after the other, and then again in the opposite order, so that no
//! way always has the younger server or the quieter minute. A comparison that this machine cannot
//! run is left out, with a message that says what to install.

pub(crate) mod etcd;
pub(crate) mod ground;
mod grpc;
mod http;
pub(crate) mod load;
pub(crate) mod minio;
pub(crate) mod powertools;
pub(crate) mod restate;
mod transfers;

use std::collections::BTreeMap;

use aft_client::Isolation;
use aft_services::{Home, Service};
use indicatif::ProgressBar;

use crate::data::{Cell, Seen, Speed};
use crate::measure::Choice;
use crate::site::Failed;

/// The products that AFT is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Other {
    Etcd,
    Minio,
    Restate,
    Powertools,
}

pub(crate) const AFT_READ_ATOMIC: &str = "aft, read atomic";
pub(crate) const AFT_SERIALIZABLE: &str = "aft, serializable";

/// The ways of AFT: the name, the isolation level, and the prefix of the keys that have it.
pub(crate) const LEVELS: [(&str, Isolation, &str); 2] =
    [(AFT_READ_ATOMIC, Isolation::ReadAtomic, "ra/"), (AFT_SERIALIZABLE, Isolation::Serializable, "ser/")];

/// The measured cells, and the reasons why others are missing.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) cells: Vec<(&'static str, Cell)>,
    /// The figures that this machine cannot measure, with what to install.
    pub(crate) left_out: Vec<String>,
    /// The figures that failed, with the reason.
    pub(crate) failed: Vec<String>,
}

impl Other {
    pub(crate) const ALL: [Other; 4] = [Other::Etcd, Other::Minio, Other::Restate, Other::Powertools];

    /// Returns the product's name, which is also the name of its way in a figure.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Other::Etcd => etcd::ETCD,
            Other::Minio => minio::MINIO,
            Other::Restate => restate::RESTATE,
            Other::Powertools => powertools::POWERTOOLS,
        }
    }

    /// Returns the figures that compare AFT with it.
    pub(crate) fn figures(self) -> &'static [&'static str] {
        match self {
            Other::Etcd => &[etcd::PUTS, etcd::GETS],
            Other::Minio => &[minio::PUTS, minio::GETS, minio::LARGE, minio::LISTINGS, minio::OVER],
            Other::Restate => &[restate::TRANSFERS],
            Other::Powertools => &[powertools::TRANSFERS],
        }
    }

    fn services(self) -> &'static [Service] {
        match self {
            Other::Etcd => &[Service::Etcd],
            Other::Minio => &[Service::Minio],
            Other::Restate => &[Service::Restate],
            Other::Powertools => &[Service::Powertools, Service::DynamoDb],
        }
    }

    /// Returns the number of its measurements, where each round counts as one.
    pub(crate) fn count(self, choice: &Choice) -> usize {
        let wanted = self.figures().iter().filter(|id| choice.wants(id));
        let measurements = wanted.map(|id| match self {
            Other::Minio => minio::count(id),
            _ => xs(id).len() * (1 + LEVELS.len()),
        });
        measurements.sum::<usize>() * ROUNDS
    }
}

/// The number of times that each way is measured at each point.
pub(crate) const ROUNDS: usize = 2;

/// The points of a figure.
fn xs(figure: &str) -> &'static [usize] {
    match figure {
        etcd::PUTS | etcd::GETS => &etcd::CLIENTS,
        restate::TRANSFERS => &restate::CLIENTS,
        powertools::TRANSFERS => &powertools::WORKERS,
        _ => unreachable!("{figure} is no comparison with another product"),
    }
}

/// Returns true if `figure` compares AFT with another product.
pub(crate) fn compares(figure: &str) -> bool {
    Other::ALL.iter().any(|other| other.figures().contains(&figure))
}

/// Measures the chosen comparisons, and adds the versions of the products to `versions`. A
/// comparison that fails does not stop the others.
pub(crate) async fn run(
    choice: &Choice,
    bar: &ProgressBar,
    versions: &mut BTreeMap<String, String>,
) -> Outcome {
    let mut outcome = Outcome::default();
    for other in choice.others() {
        bar.set_message(format!("{}: starts", other.name()));
        // A product that cannot be installed is left out; that is no failure of the run.
        if let Err(why) = have(other, bar).await {
            let figures = other.figures().join(", ");
            outcome.left_out.push(format!("left out {figures}: {why}"));
            continue;
        }
        let measured = match other {
            Other::Etcd => etcd::run(choice, bar).await,
            Other::Minio => minio::run(choice, bar).await,
            Other::Restate => restate::run(choice, bar).await,
            Other::Powertools => powertools::run(choice, bar).await,
        };
        match measured {
            Ok(cells) => {
                outcome.cells.extend(cells);
                // Versions only of what was measured: they are shown beside the cells.
                let home = Home::from_environment();
                let made = other.services().iter();
                versions.extend(made.map(|service| (service.to_string(), service.version(&home))));
            }
            Err(why) => outcome.failed.push(format!("{}: {why}", other.figures().join(", "))),
        }
    }
    outcome
}

/// Fetches what a comparison needs.
///
/// # Errors
/// Returns what is missing, and what to install or to set.
async fn have(other: Other, bar: &ProgressBar) -> Result<(), Failed> {
    for service in other.services().iter().copied() {
        if !service.wanted().map_err(|why| why.to_string())? {
            return Err(format!("AFT_SKIP_SERVICES names {service}"));
        }
        let bar = bar.clone();
        let fetched = tokio::task::spawn_blocking(move || {
            let home = Home::from_environment();
            service.fetch(&home, &|line| bar.set_message(line.to_owned())).map_err(|why| why.to_string())
        });
        fetched.await.map_err(|why| why.to_string())??;
    }
    if other != Other::Powertools {
        ground::on_a_disk()?;
    }
    ground::binary().map(drop)
}

/// Returns the ways of a point in the order of a round: the other product first in even rounds, and
/// last in odd ones.
fn ways(round: usize, other: &'static str) -> Vec<Side> {
    let mut ways = vec![Side { way: other, level: None }];
    ways.extend(LEVELS.map(|(way, level, prefix)| Side { way, level: Some((level, prefix)) }));
    if round % 2 == 1 {
        ways.reverse();
    }
    ways
}

/// The side that is measured: the other product if `level` is none, or AFT at a level, with the
/// prefix of the keys that have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Side {
    way: &'static str,
    level: Option<(Isolation, &'static str)>,
}

/// Cells that join the results of several rounds.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) cells: Vec<(&'static str, Cell)>,
}

impl Rounds {
    pub(crate) fn add(&mut self, figure: &'static str, store: &str, way: &str, x: usize, seen: Seen) {
        let x = x as f64;
        let same = |(id, cell): &&mut (&str, Cell)| {
            *id == figure && cell.store == store && cell.x == x && cell.way == way
        };
        match self.cells.iter_mut().find(same) {
            Some((_, cell)) => cell.seen.join(seen),
            None => {
                let (store, way) = (store.to_owned(), way.to_owned());
                self.cells.push((figure, Cell { store, speed: Speed::AsIs, way, x, seen }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_has_every_way_once_and_the_next_round_reverses_the_order() {
        let (first, mut second) = (ways(0, "etcd"), ways(1, "etcd"));
        assert_eq!(first.len(), 3);
        assert_eq!((first[0].way, first[0].level), ("etcd", None));
        second.reverse();
        assert_eq!(first, second);
    }

    #[test]
    fn rounds_of_one_point_are_one_cell() {
        let mut rounds = Rounds::default();
        let seen =
            |per_s, half| Seen { transactions: 10, transactions_per_s: per_s, half, ..Seen::default() };
        rounds.add(etcd::PUTS, "local", "etcd", 4, seen(100.0, 1));
        rounds.add(etcd::PUTS, "local", "etcd", 16, seen(7.0, 0));
        rounds.add(etcd::PUTS, "local", "etcd", 4, seen(300.0, 2));
        rounds.add(etcd::GETS, "local", "etcd", 4, seen(9.0, 0));
        let cells: Vec<_> = rounds.cells.iter().map(|(id, cell)| (*id, cell.x, &cell.seen)).collect();
        assert_eq!(cells.len(), 3);
        assert_eq!((cells[0].2.transactions, cells[0].2.half), (20, 3));
        assert_eq!(cells[0].2.transactions_per_s, 200.0);
    }
}
