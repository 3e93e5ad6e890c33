//! The figures: their titles, their descriptions and the bounds that they have to keep.

use crate::counts::{FOUR_SERVERS, ONE_SERVER};
use crate::data::{Bound, Cell, Figure, Seen, Speed, Y};
use crate::levels;
use crate::others::{AFT_READ_ATOMIC, AFT_SERIALIZABLE, Other, etcd, minio, powertools, restate};
use crate::plan::{
    AFT, AFT_AT_ONCE, ALONE, COLD, COLLECTING, Kind, NO_CACHE, NOT_COLLECTING, PLAIN, TRANSACTIONS,
};
use crate::{once, published};

/// A figure without its cells.
struct Chapter {
    id: &'static str,
    title: &'static str,
    paper: &'static str,
    about: &'static str,
    x: &'static str,
    y: Y,
}

const CHAPTERS: [Chapter; 23] = [
    Chapter {
        id: "io-latency",
        title: "Latency of writes",
        paper: "figure 2",
        about: "One client writes 1, 5 or 10 values of 4 KiB.\n\
                Plain: straight to the store, one after the other or all at once (in the paper: a batch).\n\
                aft: as one transaction, with a call for each write or one call for all.",
        x: "writes in a transaction",
        y: Y::Latency,
    },
    Chapter {
        id: "end-to-end",
        title: "The standard transaction: latency and anomalies",
        paper: "figure 3 and table 2",
        about: "Two functions of one write and two reads of 4 KiB each, 10 clients, 1,000 keys, zipf 1.0, closed loop.\n\
                Plain functions write and read as they go.\n\
                The store's transactions are run as in the paper: one for the reads of each function, one for all writes.",
        x: "",
        y: Y::Latency,
    },
    Chapter {
        id: "fixed-rate",
        title: "The standard transaction at a fixed rate",
        paper: "",
        about: "The same load, but transactions start at a rate that every way can keep up with, whether earlier ones have ended or\n\
                not: on S3 25, on DynamoDB 50, on Redis 200 and on local 500 a second.\n\
                Latency counts from the moment at which a transaction was due.\n\
                At a low rate most keys were last read more than 10 s ago, and after 10 s a server looks again for what others\n\
                committed.\n\
                The figure shows what that costs, and what a server saves that is configured to be alone on its store.",
        x: "",
        y: Y::Latency,
    },
    Chapter {
        id: "cache",
        title: "Caching and skew",
        paper: "figure 4",
        about: "The standard transaction over 100,000 keys, 10 clients.\n\
                The 10,000 most read keys have a value: they get 81 % of the reads at zipf 1.0, more than 98 % at 1.5 and 2.0.\n\
                The server is configured to be alone on the store.",
        x: "zipf exponent",
        y: Y::Latency,
    },
    Chapter {
        id: "read-share",
        title: "Reads and writes",
        paper: "figure 5",
        about: "Two functions of five reads or writes each, 10 clients, 1,000 keys, zipf 1.0.\n\
                The paper does not compare this with plain access.",
        x: "reads, %",
        y: Y::Latency,
    },
    Chapter {
        id: "length",
        title: "Longer transactions",
        paper: "figure 6",
        about: "1 to 10 functions of one write and two reads each, 10 clients, 1,000 keys, zipf 1.0.\n\
                The paper does not compare this with plain access.",
        x: "functions in a transaction",
        y: Y::Latency,
    },
    Chapter {
        id: "clients",
        title: "One node, more and more clients",
        paper: "figure 7",
        about: "The standard transaction through one server, 1,000 keys, zipf 1.5, closed loop.\n\
                Server, store and load share the two cores; the paper's node had eight virtual cores to itself.",
        x: "clients",
        y: Y::Throughput,
    },
    Chapter {
        id: "collecting",
        title: "Collecting superseded versions",
        paper: "figure 9",
        about: "The standard transaction, 40 clients, 1,000 keys, zipf 1.5, once without collecting and once with.\n\
                With collecting, every version goes some 15 seconds after it was superseded (with default settings: after half an\n\
                hour or more), so that as much is removed as is written.\n\
                One sweep follows the other, in the server that has the load.",
        x: "",
        y: Y::Throughput,
    },
    Chapter {
        id: "requests",
        title: "The price of a transaction, collecting included",
        paper: "",
        about: "Transactions of 1, 2 and 10 blind writes of 100 bytes without a request ID, over 500 keys, through one server or four.\n\
                15 start each second (5 of those with 10 writes), and a job sweeps beside them until one version of each key is left.\n\
                All requests to the store are counted, at list prices of us-east-1.\n\
                The protocol's times and the times between sweeps are divided by 240, so a version meets as many sweeps as it usually\n\
                does.",
        x: "writes in a transaction",
        y: Y::Dollars,
    },
    Chapter {
        id: "cold-listing",
        title: "Listing keys on a cold node",
        paper: "",
        about: "A server that has just started lists 1,000 keys, each of which was written by a transaction of its own.\n\
                Requests and dollars are those of one listing.",
        x: "keys",
        y: Y::Latency,
    },
    Chapter {
        id: "exactly-once",
        title: "Exactly once, with crashes",
        paper: "",
        about: once::ABOUT,
        x: "",
        y: Y::Latency,
    },
    Chapter {
        id: levels::COST,
        title: "The cost of the serializable level",
        paper: "",
        about: levels::COST_ABOUT,
        x: "clients",
        y: Y::Latency,
    },
    Chapter {
        id: levels::HOT,
        title: "Many clients on one key",
        paper: "",
        about: levels::HOT_ABOUT,
        x: "clients",
        y: Y::Throughput,
    },
    Chapter {
        id: levels::MANY,
        title: "Redis with many clients",
        paper: "",
        about: levels::MANY_ABOUT,
        x: "clients",
        y: Y::Throughput,
    },
    Chapter {
        id: etcd::PUTS,
        title: "Beside etcd: two puts on the disk",
        paper: "",
        about: etcd::PUTS_ABOUT,
        x: "clients",
        y: Y::Throughput,
    },
    Chapter {
        id: etcd::GETS,
        title: "Beside etcd: two cached gets",
        paper: "",
        about: etcd::GETS_ABOUT,
        x: "clients",
        y: Y::Throughput,
    },
    Chapter {
        id: minio::PUTS,
        title: "Beside MinIO: small PUTs on the disk",
        paper: "",
        about: minio::PUTS_ABOUT,
        x: "clients",
        y: Y::Throughput,
    },
    Chapter {
        id: minio::GETS,
        title: "Beside MinIO: small GETs",
        paper: "",
        about: minio::GETS_ABOUT,
        x: "clients",
        y: Y::Throughput,
    },
    Chapter {
        id: minio::LARGE,
        title: "Beside MinIO: objects of 64 MiB",
        paper: "",
        about: minio::LARGE_ABOUT,
        x: "",
        y: Y::Throughput,
    },
    Chapter {
        id: minio::LISTINGS,
        title: "Beside MinIO: listings of 100,000 keys",
        paper: "",
        about: minio::LISTINGS_ABOUT,
        x: "",
        y: Y::Throughput,
    },
    Chapter {
        id: minio::OVER,
        title: "On top of MinIO",
        paper: "",
        about: minio::OVER_ABOUT,
        x: "",
        y: Y::Throughput,
    },
    Chapter {
        id: restate::TRANSFERS,
        title: "Beside Restate: a transfer, once",
        paper: "",
        about: restate::ABOUT,
        x: "clients",
        y: Y::Throughput,
    },
    Chapter {
        id: powertools::TRANSFERS,
        title: "Beside Powertools: a transfer, once",
        paper: "",
        about: powertools::ABOUT,
        x: "workers",
        y: Y::Throughput,
    },
];

/// Returns the names of all figures, in their order.
pub(crate) fn ids() -> impl Iterator<Item = &'static str> {
    CHAPTERS.iter().map(|chapter| chapter.id)
}

/// Makes the figures from the measured cells, each with the name of its figure. A figure without
/// cells is left out.
pub(crate) fn figures(cells: &[(&'static str, Cell)]) -> Vec<Figure> {
    let figure = |chapter: &Chapter| {
        let cells: Vec<Cell> =
            cells.iter().filter(|(id, _)| *id == chapter.id).map(|(_, cell)| cell.clone()).collect();
        Figure {
            id: chapter.id.to_owned(),
            title: chapter.title.to_owned(),
            paper: chapter.paper.to_owned(),
            about: chapter.about.to_owned(),
            x: chapter.x.to_owned(),
            y: chapter.y,
            bounds: bounds(chapter.id, &Cells(&cells)),
            published: published::of(chapter.id),
            cells,
            run: None,
        }
    };
    CHAPTERS.iter().map(figure).filter(|figure| !figure.cells.is_empty()).collect()
}

/// The price in dollars of a million transactions of two small writes in the first version of the
/// protocol, collecting included, as counted on commit a09d87a. The price on DynamoDB was counted
/// under the load of this figure, without the requests of an idle server.
const FIRST_S3_DOLLARS: f64 = 32.0;
const FIRST_DYNAMODB_DOLLARS: f64 = 6.8;

/// The cells of one figure.
struct Cells<'a>(&'a [Cell]);

impl Cells<'_> {
    fn seen(&self, store: &str, speed: Speed, way: &str, x: f64) -> Option<&Seen> {
        let mut cells = self.0.iter();
        let found = cells.find(|cell| {
            cell.store == store && cell.speed == speed && cell.way == way && (cell.x - x).abs() < 1e-9
        });
        found.map(|cell| &cell.seen)
    }

    /// Returns `figure` of `way` divided by that of `to` at one point, if both were measured.
    fn ratio(
        &self,
        (store, speed, x): (&str, Speed, f64),
        way: &str,
        to: &str,
        figure: fn(&Seen) -> f64,
    ) -> Option<f64> {
        let (one, other) = (self.seen(store, speed, way, x)?, self.seen(store, speed, to, x)?);
        Some(figure(one) / figure(other))
    }

    /// Returns the least ratio of the throughput of `way` to that of `to`, over all points.
    fn least_throughput(&self, way: &str, to: &str) -> Option<f64> {
        let throughput = |seen: &Seen| seen.transactions_per_s;
        let ratio = |cell: &Cell| self.ratio((&cell.store, cell.speed, cell.x), way, to, throughput);
        self.of(way).filter_map(ratio).reduce(f64::min)
    }

    fn of<'a>(&'a self, way: &'a str) -> impl Iterator<Item = &'a Cell> {
        self.0.iter().filter(move |cell| cell.way == way)
    }
}

fn per_s(seen: &Seen) -> f64 {
    seen.transactions_per_s
}

fn p50(seen: &Seen) -> f64 {
    seen.p50_ms
}

fn p99(seen: &Seen) -> f64 {
    seen.p99_ms
}

/// Returns the bounds of `figure`. A bound whose cells were not measured is left out.
fn bounds(figure: &str, cells: &Cells<'_>) -> Vec<Bound> {
    let mut bounds = Vec::new();
    // The paper's ratios are computed from its figures and tables, as `published` has them.
    let mut bound = |what: String, seen: Option<f64>, aim: f64, at_least: bool, paper: Option<f64>| {
        bounds.extend(seen.map(|seen| Bound { what, seen, aim, at_least, paper }));
    };
    match figure {
        "io-latency" => {
            for store in ["S3", "DynamoDB", "Redis"] {
                let at = |x| cells.seen(store, Speed::Cloud, AFT_AT_ONCE, x).map(p50);
                let seen = at(10.0).zip(at(1.0)).map(|(ten, one)| ten / one);
                let paper = (store == "DynamoDB").then_some(12.3 / 9.9);
                let what = format!(
                    "{store}, cloud speed: median of 10 writes / of 1 write in one call (a commit is one round trip)"
                );
                bound(what, seen, 1.25, false, paper);
            }
        }
        "end-to-end" => {
            for (store, aim, of_p50, of_p99) in [
                ("S3", 0.7, 245.0 / 199.0, 742.0 / 649.0),
                ("DynamoDB", 0.8, 68.8 / 69.1, 141.0 / 137.0),
                ("Redis", 1.0, 39.8 / 33.6, 87.8 / 72.5),
            ] {
                let at = (store, Speed::Cloud, 0.0);
                let of = |which, figure| {
                    (
                        format!("{store}, cloud speed: {which} of aft / plain"),
                        cells.ratio(at, AFT, PLAIN, figure),
                    )
                };
                let (what, seen) = of("median", p50);
                bound(what, seen, aim, false, Some(of_p50));
                let (what, seen) = of("p99", p99);
                bound(what, seen, 1.0, false, Some(of_p99));
            }
            let seen = cells.ratio(("DynamoDB", Speed::Cloud, 0.0), AFT, TRANSACTIONS, p50);
            let what = "DynamoDB, cloud speed: median of aft / of DynamoDB's transactions".to_owned();
            bound(what, seen, 0.6, false, Some(68.8 / 81.1));
            let anomalies = |cell: &Cell| {
                let found = cell.seen.own_write + cell.seen.fractured;
                found as f64 * 10_000.0 / cell.seen.transactions as f64
            };
            // The sum, since the aim is none at all.
            let seen = cells.of(AFT).map(anomalies).reduce(|one, other| one + other);
            bound(
                "anomalies in 10,000 transactions through aft, all stores and speeds".to_owned(),
                seen,
                0.0,
                false,
                Some(0.0),
            );
            // Plain access must show anomalies: a load under which nothing can go wrong proves
            // nothing about aft.
            let plain = cells.of(PLAIN).filter(|cell| cell.speed == Speed::Cloud).map(anomalies);
            let seen = plain.reduce(f64::min);
            bound(
                "anomalies in 10,000 transactions of plain access at cloud speed, the store with the fewest"
                    .to_owned(),
                seen,
                1.0,
                true,
                Some(598.0),
            );
            let seen = cells.ratio(("DynamoDB", Speed::Cloud, 0.0), ALONE, TRANSACTIONS, p50);
            let what =
                "DynamoDB, cloud speed: median of aft, alone on its store / of DynamoDB's transactions"
                    .to_owned();
            bound(what, seen, 0.6, false, Some(68.8 / 81.1));
            // A server that is alone on its store should answer reads from memory.
            let reads = |cell: &Cell| {
                ["get", "list"]
                    .iter()
                    .filter_map(|call| cell.seen.requests.get(*call))
                    .fold(0.0, |all, one| all + one)
            };
            let seen = cells.of(ALONE).map(reads).reduce(f64::max);
            let what = "store requests for the four reads of a transaction through aft, alone on its store, the store with the most";
            bound(what.to_owned(), seen, 0.05, false, None);
        }
        "fixed-rate" => {
            for (store, aim) in [("S3", 0.7), ("DynamoDB", 0.8), ("Redis", 1.0)] {
                for way in [AFT, ALONE] {
                    for (which, figure, aim) in [("median", p50 as fn(&Seen) -> f64, aim), ("p99", p99, 1.0)]
                    {
                        let seen = cells.ratio((store, Speed::Cloud, 0.0), way, PLAIN, figure);
                        bound(
                            format!("{store}, cloud speed, fixed rate: {which} of {way} / plain"),
                            seen,
                            aim,
                            false,
                            None,
                        );
                    }
                }
            }
            for way in [AFT, ALONE] {
                let seen = cells.ratio(("DynamoDB", Speed::Cloud, 0.0), way, TRANSACTIONS, p50);
                bound(
                    format!(
                        "DynamoDB, cloud speed, fixed rate: median of {way} / of DynamoDB's transactions"
                    ),
                    seen,
                    0.6,
                    false,
                    None,
                );
            }
        }
        "cache" => {
            for (store, paper) in [("DynamoDB", 57.8 / 67.6), ("Redis", 44.4 / 45.7)] {
                let seen = cells.ratio((store, Speed::Cloud, 2.0), AFT, NO_CACHE, p50);
                bound(
                    format!("{store}, cloud speed, zipf 2.0: median with the cache / without"),
                    seen,
                    0.9,
                    false,
                    Some(paper),
                );
            }
        }
        "clients" => {
            for (store, aim) in [("memory", 10_000.0), ("local", 5_000.0)] {
                let seen = cells.of(AFT).filter(|cell| cell.store == store);
                let seen = seen.map(|cell| cell.seen.transactions_per_s).reduce(f64::max);
                bound(
                    format!("{store}: transactions/s at the best number of clients"),
                    seen,
                    aim,
                    true,
                    None,
                );
            }
        }
        "requests" => {
            let dollars = |seen: &Seen| seen.dollars_per_million.unwrap_or(f64::NAN);
            for (store, aim, first) in
                [("S3", 0.55, FIRST_S3_DOLLARS), ("DynamoDB", 0.65, FIRST_DYNAMODB_DOLLARS)]
            {
                let at = |way| cells.seen(store, Speed::AsIs, way, 2.0).map(dollars);
                let one = at(ONE_SERVER);
                bound(
                    format!(
                        "{store}: dollars per million transactions of two writes, collecting included / the first version's {first}"
                    ),
                    one.map(|one| one / first),
                    aim,
                    false,
                    None,
                );
                bound(
                    format!("{store}: the same of four servers / of one"),
                    at(FOUR_SERVERS).zip(one).map(|(four, one)| four / one),
                    1.05,
                    false,
                    None,
                );
            }
        }
        "cold-listing" => {
            for (store, aim) in [("S3", 5.0), ("DynamoDB", 40.0)] {
                let seen = cells.of(COLD).find(|cell| cell.store == store);
                let seen = seen.map(|cell| cell.seen.requests.values().sum());
                bound(
                    format!("{store}: requests for listing 1,000 keys on a cold node"),
                    seen,
                    aim,
                    false,
                    None,
                );
            }
        }
        "collecting" => {
            for (store, speed, text) in [
                ("DynamoDB", Speed::Cloud, ", cloud speed"),
                ("Redis", Speed::Cloud, ", cloud speed"),
                ("memory", Speed::AsIs, ""),
                ("local", Speed::AsIs, ""),
            ] {
                let seen = cells
                    .ratio((store, speed, 0.0), COLLECTING, NOT_COLLECTING, |seen| seen.transactions_per_s);
                bound(format!("{store}{text}: throughput with collecting / without"), seen, 0.95, true, None);
                // A transaction writes two keys (the same one twice in one of fifty), so this is
                // the share of the written versions that was removed.
                let removed = cells.seen(store, speed, COLLECTING, 0.0).and_then(|seen| seen.removed);
                let what = format!("{store}{text}: versions removed beside the load / written");
                bound(what, removed.map(|removed| removed / 2.0), 0.95, true, None);
            }
        }
        "exactly-once" => {
            let wrong = |cell: &Cell| {
                (cell.seen.double + cell.seen.half) as f64 * 10_000.0 / cell.seen.transactions as f64
            };
            let seen = cells.of(AFT).map(wrong).reduce(|one, other| one + other);
            bound(
                "double and half effects in 10,000 requests through aft, all stores and speeds".to_owned(),
                seen,
                0.0,
                false,
                None,
            );
            // The usual record must show wrong effects, as a check of the load.
            let seen = cells.of(once::RECORD).map(wrong).reduce(f64::min);
            let what = "double and half effects in 10,000 requests with an idempotency record, the store with the fewest";
            bound(what.to_owned(), seen, 1.0, true, None);
        }
        etcd::PUTS | etcd::GETS => {
            let (what, aim) = match figure {
                etcd::PUTS => ("two puts, fsynced", 1.5),
                _ => ("two cached gets", 1.0),
            };
            for way in [AFT_READ_ATOMIC, AFT_SERIALIZABLE] {
                let what = format!("{what}, {}: throughput of {way} / etcd", points(cells, "clients"));
                bound(what, cells.least_throughput(way, etcd::ETCD), aim, true, None);
            }
        }
        minio::PUTS | minio::GETS => {
            let what = if figure == minio::PUTS { "PUTs" } else { "GETs" };
            for clients in minio::CLIENTS {
                let seen =
                    cells.ratio(("local", Speed::AsIs, clients as f64), minio::AFT, minio::MINIO, per_s);
                let what = format!("{what} of 4 KiB, {clients} clients: throughput of aft / MinIO");
                bound(what, seen, 1.5, true, None);
            }
        }
        minio::LARGE => {
            for kind in minio::LargeKind::ALL {
                let way = |server| format!("{server}, {}", kind.words());
                let (aft, minio) = (way(minio::AFT), way(minio::MINIO));
                let seen = cells.ratio(("local", Speed::AsIs, 0.0), &aft, &minio, per_s);
                let what = format!("64 MiB, {}: bandwidth of aft / MinIO", kind.words());
                bound(what, seen, 0.7, true, None);
            }
        }
        minio::LISTINGS => {
            for kind in minio::ListingKind::ALL {
                let way = |server| format!("{server}, {}", kind.words());
                let (aft, minio) = (way(minio::AFT), way(minio::MINIO));
                let seen = cells.ratio(("local", Speed::AsIs, 0.0), &aft, &minio, per_s);
                let what = format!("listing {}: speed of aft / MinIO", kind.words());
                bound(what, seen, 1.0, true, None);
            }
        }
        minio::OVER => {
            use minio::OverKind::{CachedGets, Gets, Listing, PlainGets, PlainListing};
            let mut over =
                |what: &str, kind: minio::OverKind, plain: minio::OverKind, value, aim, at_least| {
                    let seen = cells.ratio(("S3", Speed::AsIs, 0.0), kind.way(), plain.way(), value);
                    bound(what.to_owned(), seen, aim, at_least, None);
                };
            let what = "MinIO: time of listing 10,000 keys through aft on a fresh node / plain";
            over(what, Listing, PlainListing, p50 as fn(&Seen) -> f64, 3.0, false);
            let what = "MinIO: throughput of cached gets through aft / plain";
            over(what, CachedGets, PlainGets, per_s, 3.0, true);
            let what = "MinIO: median of gets through aft, fresh / plain";
            over(what, Gets, PlainGets, p50, 1.5, false);
        }
        levels::COST => {
            for store in ["memory", "local"] {
                let ratio =
                    cells.ratio((store, Speed::AsIs, 1.0), AFT_SERIALIZABLE, AFT_READ_ATOMIC, |seen| {
                        seen.p50_ms
                    });
                let what =
                    format!("{store}: median of a transfer without contention, serializable / read atomic");
                bound(what, ratio, 1.1, false, None);
            }
        }
        levels::HOT => {
            for kind in Kind::ALL {
                let per_s = |clients: f64| {
                    let seen = cells.seen(kind.name(), Speed::AsIs, AFT_SERIALIZABLE, clients)?;
                    Some(seen.transactions_per_s)
                };
                let ratio = per_s(16.0).zip(per_s(1.0)).map(|(many, one)| many / one);
                let what = format!("{}: commits of 16 clients on one key / of a single one", kind.name());
                bound(what, ratio, 0.5, true, None);
            }
        }
        levels::MANY => {
            for way in [AFT_READ_ATOMIC, AFT_SERIALIZABLE] {
                let per_s =
                    |clients: f64| Some(cells.seen("Redis", Speed::AsIs, way, clients)?.transactions_per_s);
                let ratio = per_s(64.0).zip(per_s(10.0)).map(|(many, few)| many / few);
                bound(
                    format!("Redis with fsync, {way}: two puts, 64 clients / 10 clients"),
                    ratio,
                    1.2,
                    true,
                    None,
                );
            }
        }
        restate::TRANSFERS | powertools::TRANSFERS => {
            let (other, x, aim) = match figure {
                restate::TRANSFERS => (Other::Restate, "clients", 15.0),
                _ => (Other::Powertools, "workers", 2.5),
            };
            let what = format!(
                "a transfer, once, {}: throughput of {AFT_SERIALIZABLE} / {}",
                points(cells, x),
                other.name()
            );
            bound(what, cells.least_throughput(AFT_SERIALIZABLE, other.name()), aim, true, None);
            let wrong = |cell: &Cell| {
                (cell.seen.double + cell.seen.half) as f64 * 10_000.0 / cell.seen.transactions as f64
            };
            let seen = cells.of(AFT_SERIALIZABLE).map(wrong).reduce(|one, other| one + other);
            let what =
                format!("double and half transfers in 10,000 beside {}, {AFT_SERIALIZABLE}", other.name());
            bound(what, seen, 0.0, false, None);
            // Read atomic permits lost updates, which count as half done: only doubles are bounded.
            let twice = |cell: &Cell| cell.seen.double as f64 * 10_000.0 / cell.seen.transactions as f64;
            let seen = cells.of(AFT_READ_ATOMIC).map(twice).reduce(|one, other| one + other);
            let what = format!("double transfers in 10,000 beside {}, {AFT_READ_ATOMIC}", other.name());
            bound(what, seen, 0.0, false, None);
        }
        _ => {}
    }
    bounds
}

/// Returns the range of a figure's points in words, such as `1 to 64 clients, the least`.
fn points(cells: &Cells<'_>, x: &str) -> String {
    let xs = cells.0.iter().map(|cell| cell.x);
    let (least, most) = (xs.clone().fold(f64::INFINITY, f64::min), xs.fold(0.0, f64::max));
    format!("{least} to {most} {x}, the least")
}
