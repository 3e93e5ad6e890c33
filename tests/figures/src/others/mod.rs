//! AFT beside what others offer for the same, on the same disk or store, in the same run.
//!
//! ```text
//!   Other ─► recipe (tests/services) ─► its server ──┐
//!             `aft serve`, a process of its own ─────┴─► one load for both ─► cells
//! ```
//!
//! * [`etcd`] – two puts, and two cached gets, in a transaction each.
//! * [`restate`], [`powertools`] – a transfer under a request ID, done once; [`transfers`] – how
//!   it is checked.
//! * [`ground`] – `aft serve`, and the disk. [`load`] – a closed loop. [`grpc`], [`http`] – the
//!   least of a client.
//!
//! The ways of a point follow each other and come again in the opposite order, so that neither has
//! the younger server or the quieter minute. What cannot be had here is left out with what to
//! install.

pub(crate) mod etcd;
pub(crate) mod ground;
mod grpc;
mod http;
pub(crate) mod load;
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
    Restate,
    Powertools,
}

pub(crate) const AFT_READ_ATOMIC: &str = "aft, read atomic";
pub(crate) const AFT_SERIALIZABLE: &str = "aft, serializable";

/// The ways in which AFT takes part: the name, the level, and the prefix of its keys.
pub(crate) const LEVELS: [(&str, Isolation, &str); 2] =
    [(AFT_READ_ATOMIC, Isolation::ReadAtomic, "ra/"), (AFT_SERIALIZABLE, Isolation::Serializable, "ser/")];

/// The cells that were measured, and the figures that were left out, with the reason.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) cells: Vec<(&'static str, Cell)>,
    /// The things that this machine lacks, with what to install.
    pub(crate) left_out: Vec<String>,
    /// The comparisons that were there and failed.
    pub(crate) failed: Vec<String>,
}

impl Other {
    pub(crate) const ALL: [Other; 3] = [Other::Etcd, Other::Restate, Other::Powertools];

    /// Returns its name: of its way in a figure, too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Other::Etcd => etcd::ETCD,
            Other::Restate => restate::RESTATE,
            Other::Powertools => powertools::POWERTOOLS,
        }
    }

    /// The figures that compare with it.
    pub(crate) fn figures(self) -> &'static [&'static str] {
        match self {
            Other::Etcd => &[etcd::PUTS, etcd::GETS],
            Other::Restate => &[restate::TRANSFERS],
            Other::Powertools => &[powertools::TRANSFERS],
        }
    }

    fn services(self) -> &'static [Service] {
        match self {
            Other::Etcd => &[Service::Etcd],
            Other::Restate => &[Service::Restate],
            Other::Powertools => &[Service::Powertools, Service::DynamoDb],
        }
    }

    /// Counts the cells that it measures, each round of one.
    pub(crate) fn count(self, choice: &Choice) -> usize {
        let points = self.figures().iter().filter(|id| choice.wants(id)).map(|id| xs(id).len());
        points.sum::<usize>() * ROUNDS * (1 + LEVELS.len())
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
        _ => unreachable!("{figure} compares with nobody"),
    }
}

/// Returns true if a figure is one of these.
pub(crate) fn compares(figure: &str) -> bool {
    Other::ALL.iter().any(|other| other.figures().contains(&figure))
}

/// Measures all that was chosen.
pub(crate) async fn run(
    choice: &Choice,
    bar: &ProgressBar,
    versions: &mut BTreeMap<String, String>,
) -> Outcome {
    let mut outcome = Outcome::default();
    for other in choice.others() {
        bar.set_message(format!("{}: starts", other.name()));
        if let Err(why) = have(other, bar).await {
            let figures = other.figures().join(", ");
            outcome.left_out.push(format!("left out {figures}: {why}"));
            continue;
        }
        let measured = match other {
            Other::Etcd => etcd::run(choice, bar).await,
            Other::Restate => restate::run(choice, bar).await,
            Other::Powertools => powertools::run(choice, bar).await,
        };
        match measured {
            Ok(cells) => {
                outcome.cells.extend(cells);
                let home = Home::from_environment();
                let made = other.services().iter();
                versions.extend(made.map(|service| (service.to_string(), service.version(&home))));
            }
            Err(why) => outcome.failed.push(format!("{}: {why}", other.figures().join(", "))),
        }
    }
    outcome
}

/// Brings what a comparison needs, and says what is missing.
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

/// The ways of a point in the order of a round: theirs first, or last.
fn ways(round: usize, other: &'static str) -> Vec<Side> {
    let mut ways = vec![Side { way: other, level: None }];
    ways.extend(LEVELS.map(|(way, level, prefix)| Side { way, level: Some((level, prefix)) }));
    if round % 2 == 1 {
        ways.reverse();
    }
    ways
}

/// The side that is measured: the other one, or AFT at a level with the prefix of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Side {
    way: &'static str,
    level: Option<(Isolation, &'static str)>,
}

/// Cells of several rounds, joined.
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
    fn a_round_has_every_way_once_and_the_next_one_the_other_way_round() {
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
