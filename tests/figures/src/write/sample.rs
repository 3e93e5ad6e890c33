//! An invented run, for the tests of the files that are made from one.

use std::collections::BTreeMap;

use crate::data::{Bound, Cell, Data, Figure, Published, Run, Seen, Speed, Y};

/// Returns a run with figures of all shapes and plausible numbers.
pub(super) fn data() -> Data {
    let run = Run {
        machine: "2 cores (\"EPYC\" & virtual), 23.5 GiB, Linux 6.18".to_owned(),
        versions: [("aft", "0.1.0"), ("MinIO", "2025-09-07"), ("Valkey", "9.0.1")]
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .into(),
        day: "2026-11-30".to_owned(),
        seed: 7,
        command: "cargo xtask figures --seed 7".to_owned(),
        took_s: 2712.25,
        load_before: Some(0.25),
    };
    Data { run, figures: figures() }
}

/// Returns the figure named `id`.
pub(super) fn figure<'a>(data: &'a Data, id: &str) -> &'a Figure {
    data.figures.iter().find(|figure| figure.id == id).expect("it is one of the figures")
}

/// Returns the figure named `id`, to change it.
pub(super) fn figure_mut<'a>(data: &'a mut Data, id: &str) -> &'a mut Figure {
    data.figures.iter_mut().find(|figure| figure.id == id).expect("it is one of the figures")
}

/// Fails unless every element is closed in the right place and every special character of the
/// markup is escaped. Accepts a document type declaration, and the elements of HTML that have no
/// end tag.
pub(super) fn assert_well_formed(markup: &str) {
    let mut open = Vec::new();
    let mut rest = markup.trim_start_matches("<!doctype html>");
    while let Some(at) = rest.find('<') {
        let (text, tag) = rest.split_at(at);
        let is_style = open.last() == Some(&"style");
        assert!(is_style || !text.contains('>'), "{text}");
        for reference in text.split('&').skip(1) {
            let name = reference.split(';').next().unwrap_or_default();
            assert!(["amp", "lt", "gt", "quot", "nbsp"].contains(&name), "{reference}");
        }
        let end = tag.find('>').expect("a tag ends");
        let inside = &tag[1..end];
        let name = inside.trim_matches('/').split([' ', '\n']).next().unwrap_or_default();
        assert!(!inside.contains('<') && inside.matches('"').count() % 2 == 0, "{inside}");
        if inside.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{inside}");
        } else if !inside.ends_with('/') && !["meta", "br"].contains(&name) {
            open.push(name);
        }
        rest = &tag[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
}

const CLOUD_STORES: [&str; 3] = ["S3", "DynamoDB", "Redis"];
const ALL_STORES: [&str; 5] = ["memory", "local", "S3", "DynamoDB", "Redis"];

fn figures() -> Vec<Figure> {
    let io = ["plain, one after the other", "plain, all at once", "aft, a call a write", "aft, one call"];
    let transactions = "store's transactions";
    let mut figures = vec![
        figure_of(
            "io-latency",
            "Writing through the shim and past it",
            "figure 2",
            "writes in a transaction",
            &CLOUD_STORES,
            &io,
            &[1.0, 5.0, 10.0],
        ),
        figure_of(
            "end-to-end",
            "A transaction from end to end",
            "figure 3 and table 2",
            "",
            &CLOUD_STORES,
            &["plain", "aft", transactions],
            &[0.0],
        ),
        figure_of(
            "cache",
            "Reading from the cache",
            "figure 4",
            "zipf exponent",
            &CLOUD_STORES,
            &["aft", "aft without cache", transactions],
            &[1.0, 1.5, 2.0],
        ),
        figure_of(
            "read-share",
            "More reads, fewer writes",
            "figure 5",
            "% reads",
            &CLOUD_STORES,
            &["plain", "aft"],
            &[0.0, 20.0, 40.0, 60.0, 80.0, 100.0],
        ),
        figure_of(
            "length",
            "Longer transactions",
            "figure 6",
            "functions in a transaction",
            &CLOUD_STORES,
            &["plain", "aft"],
            &[1.0, 2.0, 4.0, 6.0, 8.0, 10.0],
        ),
        figure_of(
            "clients",
            "More clients",
            "figure 7",
            "clients",
            &ALL_STORES,
            &["aft"],
            &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
        ),
        figure_of(
            "collecting",
            "While the collector works",
            "figure 9",
            "",
            &["memory", "local"],
            &["aft, not collecting", "aft, collecting"],
            &[0.0],
        ),
        figure_of(
            "exactly-once",
            "Requests that come twice & stop half-way",
            "",
            "",
            &CLOUD_STORES,
            &["plain", "idempotency record", "aft"],
            &[0.0],
        ),
        figure_of(
            "etcd-puts",
            "Two puts beside etcd",
            "",
            "clients",
            &["local"],
            &["etcd", "aft, read atomic", "aft, serializable"],
            &[1.0, 64.0],
        ),
    ];
    for figure in &mut figures {
        if ["clients", "collecting", "etcd-puts"].contains(&figure.id.as_str()) {
            figure.y = Y::Throughput;
        }
        let bound = |what: &str, seen, aim, at_least, paper| Bound {
            what: format!("{}: {what}", figure.title),
            seen,
            aim,
            at_least,
            paper,
        };
        figure.bounds = vec![
            bound("S3 at cloud speed: median of aft / plain", 0.27, 0.7, false, Some(1.15)),
            bound("throughput | at least", 0.65, 0.8, true, None),
        ];
    }
    figures[1].published = [("plain", 60.1, 124.0, 115, 68), ("aft", 69.1, 145.0, 0, 0)]
        .map(|(way, p50, p99, own_write, fractured)| Published {
            store: "DynamoDB".to_owned(),
            way: way.to_owned(),
            x: 0.0,
            p50_ms: Some(p50),
            p99_ms: Some(p99),
            transactions_per_s: None,
            own_write: Some(own_write),
            fractured: Some(fractured),
        })
        .into();
    figures
}

fn figure_of(
    id: &str,
    title: &str,
    paper: &str,
    x: &str,
    stores: &[&str],
    ways: &[&str],
    xs: &[f64],
) -> Figure {
    let mut cells = Vec::new();
    for store in stores {
        for speed in [Speed::AsIs, Speed::Cloud] {
            let here = ["memory", "local"].contains(store);
            for way in ways.iter().filter(|way| !way.starts_with("store") || *store == "DynamoDB") {
                for x in xs.iter().filter(|_| !here || speed == Speed::AsIs) {
                    let seen = seen(store, speed, way, *x, cells.len());
                    cells.push(Cell {
                        store: (*store).to_owned(),
                        speed,
                        way: (*way).to_owned(),
                        x: *x,
                        seen,
                    });
                }
            }
        }
    }
    Figure {
        id: id.to_owned(),
        title: title.to_owned(),
        paper: paper.to_owned(),
        about: "Two functions of one write and two reads of 4 KiB over 1,000 keys, zipf 1.0; 10 clients."
            .to_owned(),
        x: x.to_owned(),
        y: Y::Latency,
        cells,
        published: Vec::new(),
        bounds: Vec::new(),
        run: None,
    }
}

/// Returns results of a plausible size; no two cells have the same.
fn seen(store: &str, speed: Speed, way: &str, x: f64, nth: usize) -> Seen {
    let call_ms = match (store, speed) {
        ("S3", Speed::Cloud) => 20.0,
        ("DynamoDB", Speed::Cloud) => 5.0,
        ("memory", _) => 0.1,
        ("Redis", _) => 0.5,
        _ => 1.5,
    };
    let is_ours = way.starts_with("aft");
    let slower = if way.ends_with("once") || way.ends_with("one call") { 0.6 } else { 1.0 };
    let p50_ms = call_ms * slower * if is_ours { 2.3 + 0.05 * x } else { 4.0 + x * 0.8 } + 0.001 * nth as f64;
    let transactions_per_s = 1000.0 / p50_ms * 10.0_f64.min(x.max(1.0));
    let none = |count: u64| if is_ours { 0 } else { count };
    let requests: [(&str, f64); 3] = if is_ours {
        [("create", 1.0), ("list", 0.41), ("put", 2.97)]
    } else {
        [("get", 4.0), ("list", 0.0), ("put", 2.0)]
    };
    // Rounded like data.json, so that they read back the same.
    let round = |value: f64| format!("{value:.5e}").parse().expect("it is a number");
    Seen {
        transactions: 3000,
        attempts: 3000 + nth as u64,
        transactions_per_s: round(transactions_per_s),
        p50_ms: round(p50_ms),
        p99_ms: round(p50_ms * 3.1),
        own_write: none(40 + nth as u64),
        fractured: none(23),
        double: none(if way == "plain" { 12 } else { 0 }),
        half: none(9),
        removed: None,
        requests: requests.map(|(call, count)| (call.to_owned(), count)).into(),
        dollars_per_million: (store != "Redis").then_some(if is_ours { 21.93 } else { 11.6 }),
        errors: if nth == 3 { [("conflict".to_owned(), 3)].into() } else { BTreeMap::new() },
    }
}
