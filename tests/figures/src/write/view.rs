//! A figure's stores, ways and points in the order in which they were measured, and the ratios
//! between ways.

use crate::data::{Cell, Figure, Published, Seen, Speed, Y};
use crate::levels;
use crate::others::{self, etcd, powertools, restate};

/// The things that a figure counts in addition to times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// Anomalies of reads.
    Anomalies,
    /// Effects that happened twice or in part.
    Effects,
    /// Nothing: a wrong result ends the measurement with an error.
    Nothing,
}

impl Speed {
    /// Returns its name in file names and CSV.
    pub(super) fn slug(self) -> &'static str {
        match self {
            Speed::AsIs => "as-is",
            Speed::Cloud => "cloud",
        }
    }

    /// Returns its name in a sentence.
    pub(super) fn words(self) -> &'static str {
        match self {
            Speed::AsIs => "as is",
            Speed::Cloud => "cloud speed",
        }
    }
}

/// Returns each name once, in the order of first appearance.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

impl Figure {
    pub(super) fn stores(&self) -> Vec<&str> {
        distinct(self.cells.iter().map(|cell| cell.store.as_str()))
    }

    pub(super) fn ways(&self) -> Vec<&str> {
        distinct(self.cells.iter().map(|cell| cell.way.as_str()))
    }

    /// Returns the points on the axis, from left to right.
    pub(super) fn xs(&self) -> Vec<f64> {
        let mut xs: Vec<f64> = self.cells.iter().map(|cell| cell.x).filter(|x| x.is_finite()).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        xs
    }

    /// Returns true if the figure has an axis.
    pub(super) fn has_x(&self) -> bool {
        !self.x.is_empty()
    }

    /// Returns the things that were counted in addition to times.
    pub(super) fn counts(&self) -> Counts {
        match self.id.as_str() {
            "exactly-once" | restate::TRANSFERS | powertools::TRANSFERS => Counts::Effects,
            etcd::PUTS | etcd::GETS | levels::COST | levels::HOT | levels::MANY => Counts::Nothing,
            _ => Counts::Anomalies,
        }
    }

    /// Returns true if the store's calls were counted.
    pub(super) fn counts_requests(&self) -> bool {
        !others::compares(&self.id) && !levels::shows(&self.id)
    }

    pub(super) fn cell(&self, store: &str, speed: Speed, way: &str, x: f64) -> Option<&Cell> {
        let is_it =
            |cell: &&Cell| cell.store == store && cell.speed == speed && cell.way == way && cell.x == x;
        self.cells.iter().find(is_it)
    }

    /// Returns the cells of a panel or of a part of a table, by `x`, then in the order of
    /// measurement.
    pub(super) fn part(&self, store: &str, speed: Speed) -> Vec<&Cell> {
        let is_of = |cell: &&Cell| cell.store == store && cell.speed == speed;
        let mut cells: Vec<&Cell> = self.cells.iter().filter(is_of).collect();
        cells.sort_by(|one, other| one.x.total_cmp(&other.x));
        cells
    }

    /// Returns the paper's numbers for the same point.
    pub(super) fn published(&self, store: &str, way: &str, x: f64) -> Option<&Published> {
        self.published.iter().find(|of| of.store == store && of.way == way && of.x == x)
    }

    /// Returns the ways that AFT is compared with: every other way, and AFT with a part left out.
    pub(super) fn baselines(&self) -> Vec<&str> {
        self.ways().into_iter().filter(|way| !is_ours(way) || leaves_out(way)).collect()
    }

    /// Returns the name of the quantities whose ratios are shown.
    pub(super) fn compares(&self) -> &'static str {
        match self.y {
            Y::Latency => "p50 · p99",
            Y::Throughput => "txn/s",
            Y::Dollars => "$",
        }
    }

    /// Returns the ratios of AFT's cell to a baseline at the same point: median and 99th
    /// percentile, or throughput, or dollars. None if `cell` is not AFT's or is the baseline
    /// itself.
    pub(super) fn ratios(&self, cell: &Cell, baseline: &str) -> Option<Vec<Option<f64>>> {
        let compared = is_ours(&cell.way) && cell.way != baseline;
        let other = self.cell(&cell.store, cell.speed, baseline, cell.x).filter(|_| compared)?;
        Some(quotients(seen(&cell.seen, self.y), seen(&other.seen, self.y)))
    }

    /// Returns the same ratios of the paper's numbers.
    pub(super) fn published_ratios(&self, cell: &Cell, baseline: &str) -> Option<Vec<Option<f64>>> {
        let of = |way: &str| {
            let of = self.published(&cell.store, way, cell.x)?;
            Some(match self.y {
                Y::Latency => vec![of.p50_ms, of.p99_ms],
                Y::Throughput => vec![of.transactions_per_s],
                Y::Dollars => vec![None],
            })
        };
        let compared = is_ours(&cell.way) && cell.way != baseline;
        let ratios = quotients(of(&cell.way).filter(|_| compared)?, of(baseline)?);
        ratios.iter().any(Option::is_some).then_some(ratios)
    }
}

/// Returns true if a way goes through AFT.
fn is_ours(way: &str) -> bool {
    way.starts_with("aft")
}

/// Returns true if a way leaves out a part of AFT, such as its cache or collecting.
fn leaves_out(way: &str) -> bool {
    way.split(' ').any(|word| word == "without" || word == "not")
}

/// Returns a latency, or none if there was no transaction.
pub(super) fn latency(seen: &Seen, value: f64) -> Option<f64> {
    (value.is_finite() && seen.transactions > 0).then_some(value)
}

fn seen(seen: &Seen, y: Y) -> Vec<Option<f64>> {
    match y {
        Y::Latency => vec![latency(seen, seen.p50_ms), latency(seen, seen.p99_ms)],
        Y::Throughput => vec![Some(seen.transactions_per_s)],
        Y::Dollars => vec![seen.dollars_per_million],
    }
}

fn quotients(ours: Vec<Option<f64>>, others: Vec<Option<f64>>) -> Vec<Option<f64>> {
    let pairs = ours.into_iter().zip(others);
    pairs.map(|(ours, other)| Some(ours? / other?).filter(|ratio| ratio.is_finite())).collect()
}

#[cfg(test)]
mod tests {
    use crate::data::Speed;
    use crate::write::sample;

    #[test]
    fn baselines_are_every_other_way_and_aft_with_a_part_left_out() {
        let data = sample::data();
        let baselines = |id: &str| sample::figure(&data, id).baselines();
        assert_eq!(baselines("end-to-end"), ["plain", "store's transactions"]);
        assert_eq!(baselines("cache"), ["aft without cache", "store's transactions"]);
        assert_eq!(baselines("collecting"), ["aft, not collecting"]);
        assert!(baselines("clients").is_empty());
        assert_eq!(baselines("etcd-puts"), ["etcd"]);
    }

    #[test]
    fn ratios_compare_one_point_and_need_both_numbers() {
        let mut data = sample::data();
        let figure = sample::figure_mut(&mut data, "end-to-end");
        let of = |figure: &crate::data::Figure, way: &str| {
            let cell = figure.cell("DynamoDB", Speed::Cloud, way, 0.0).expect("it was measured");
            (figure.ratios(cell, "plain"), figure.published_ratios(cell, "plain"))
        };
        let cell = figure
            .cells
            .iter()
            .position(|cell| cell.store == "DynamoDB" && cell.speed == Speed::Cloud && cell.way == "plain");
        let plain = &mut figure.cells[cell.expect("it was measured")].seen;
        (plain.p50_ms, plain.p99_ms) = (100.0, 0.0);
        let ours = figure.cell("DynamoDB", Speed::Cloud, "aft", 0.0).expect("it was measured").seen.p50_ms;
        // The paper's: 69.1 / 60.1 and 145 / 124.
        let (seen, published) = of(figure, "aft");
        assert_eq!(seen, Some(vec![Some(ours / 100.0), None]));
        assert_eq!(published, Some(vec![Some(69.1 / 60.1), Some(145.0 / 124.0)]));
        assert_eq!(of(figure, "plain"), (None, None), "a baseline has no ratios");
        assert_eq!(of(figure, "store's transactions"), (None, None));
    }
}
