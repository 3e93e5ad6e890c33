//! Goal: the benchmark distinguishes protected requests from unprotected ones, and reports no
//! faults that did not happen. Method: small runs over `memory:` with a fixed seed, and checks of
//! the faults that each way must and must not show.

use std::sync::Arc;
use std::time::Duration;

use aft_store::{Name, Space};
use aft_store_memory::MemoryStore;

use super::{Options, Report, run, without_looks};
use crate::counting::Asked;
use crate::error::Error;

/// A timeout that no pause of the machine exceeds, for runs in which no retry is waited for.
const LONG: Duration = Duration::from_secs(60);

fn options() -> Options {
    Options {
        requests: 300,
        clients: 4,
        function_timeout: Duration::from_millis(300),
        retry_delay: Duration::from_millis(400),
        value_bytes: 64,
        seed: Some(7),
        ..Options::default()
    }
}

async fn report(options: Options) -> (MemoryStore, Report) {
    let store = MemoryStore::new();
    let report = run(Arc::new(store.clone()), options).await.unwrap();
    println!("{report}");
    (store, report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_leave_double_and_half_effects_unless_through_the_shim() {
    let (_, report) = report(Options { crashes: 0.4, duplicates: 0.1, ..options() }).await;
    for without in [&report.runs.plain, &report.runs.record] {
        assert!(without.double_effects > 0, "{without:?}");
        assert!(without.half_effects > 0, "{without:?}");
        assert!(without.halves_seen > 0, "{without:?}");
        assert_eq!(without.lost_effects, 0, "{without:?}");
    }
    let aft = &report.runs.aft;
    assert!(report.is_clean(), "{aft:?}");
    assert!(aft.crashes > 50 && aft.acknowledged > 200 && aft.looks > 0, "{aft:?}");
    // The fates are the same, but attempts that are answered from a record do not reach later
    // steps.
    for run in [&report.runs.plain, &report.runs.record, aft] {
        assert_eq!(run.duplicates, report.runs.plain.duplicates);
        assert_eq!(run.acknowledged + run.given_up, 300, "{run:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_crashes_and_duplicates_all_three_are_clean() {
    let quiet = Options { crashes: 0.0, duplicates: 0.0, function_timeout: LONG, readers: 0, ..options() };
    let (store, report) = report(quiet).await;
    for run in [&report.runs.plain, &report.runs.record, &report.runs.aft] {
        assert!(run.is_clean(), "{run:?}");
        assert_eq!((run.attempts, run.acknowledged, run.given_up), (300, 300, 0), "{run:?}");
        assert_eq!((run.crashes, run.duplicates, run.refused), (0, 0, 0), "{run:?}");
        assert!(run.errors.is_empty(), "{run:?}");
    }
    let of = |run: &super::Figures, call: &str| run.store_requests_per_request.get(call).copied();
    let (plain, record) = (&report.runs.plain, &report.runs.record);
    assert_eq!((of(plain, "get"), of(plain, "put"), of(plain, "create")), (Some(2.0), Some(2.0), None));
    assert_eq!(
        (of(record, "get"), of(record, "put"), of(record, "create")),
        (Some(2.0), Some(3.0), Some(1.0))
    );
    assert_eq!((of(&report.runs.aft, "commit"), of(&report.runs.aft, "put")), (Some(1.0), None));
    // The objects of the ways without the shim are deleted.
    let straight = |name: &Name| name.space == Space::Node && name.group.starts_with(b"bench-exactly-once");
    assert!(!store.objects().iter().any(|(name, _)| straight(name)));
}

/// A record keeps two deliveries apart as long as no attempt dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_enough_against_duplicates_alone() {
    let twice = Options { crashes: 0.0, duplicates: 1.0, requests: 100, readers: 0, ..options() };
    let (_, report) = report(Options { function_timeout: LONG, ..twice }).await;
    assert!(report.runs.plain.double_effects > 0, "{:?}", report.runs.plain);
    for run in [&report.runs.record, &report.runs.aft] {
        assert!(run.is_clean(), "{run:?}");
        assert_eq!((run.duplicates, run.acknowledged), (100, 100), "{run:?}");
    }
}

#[test]
fn looks_are_subtracted_at_the_cost_that_the_audit_shows() {
    let asked = |calls: &[(&str, u64)], dollars| Asked {
        calls: calls.iter().map(|(call, count)| ((*call).to_owned(), *count)).collect(),
        dollars,
        ..Asked::default()
    };
    let run = || asked(&[("get", 1_000), ("put", 300)], Some(5.0));
    // The audit of 100 requests took 200 gets and one dollar: a look is two gets and costs a cent.
    let audit = asked(&[("get", 200)], Some(1.0));
    let rest = without_looks(run(), &audit, 150, 100);
    assert_eq!(rest.calls, asked(&[("get", 700), ("put", 300)], None).calls);
    assert!((rest.dollars.unwrap() - 3.5).abs() < 1e-9, "{rest:?}");
    assert_eq!(without_looks(run(), &audit, 0, 100), run());
    // A call that only readers made disappears.
    let gets = asked(&[("get", 300)], None);
    assert_eq!(without_looks(gets, &asked(&[("get", 200)], None), 150, 100), asked(&[], None));
}

/// Looks need calls as well, but these are not the requests' own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looks_are_not_counted_as_requests_to_the_store() {
    let dying = |readers| Options { crashes: 1.0, attempts: 2, duplicates: 0.0, readers, ..options() };
    let (_, seen) = report(dying(2)).await;
    let (_, unseen) = report(dying(0)).await;
    assert!(seen.runs.plain.looks > 100 && seen.runs.record.looks > 100, "{seen:?}");
    let of = |report: &Report| {
        let runs = [&report.runs.plain, &report.runs.record];
        runs.map(|run| run.store_requests_per_request.clone())
    };
    assert_eq!(of(&seen), of(&unseen));
}

/// Attempts that all die leave every request abandoned, and through the shim no other fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_always_die_are_given_up() {
    let (_, report) = report(Options { crashes: 1.0, duplicates: 0.0, requests: 100, ..options() }).await;
    let (plain, aft) = (&report.runs.plain, &report.runs.aft);
    assert_eq!((plain.acknowledged, plain.given_up, plain.attempts), (0, 100, 300), "{plain:?}");
    assert!(plain.half_effects > 0, "{plain:?}");
    assert!(report.is_clean(), "{aft:?}");
    // A later attempt gets the answer to a commit whose own answer was not seen, and it dies only
    // after that.
    assert!(aft.crashes > 200 && (1..50).contains(&aft.acknowledged), "{aft:?}");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let sequential = || Options {
        clients: 1,
        duplicates: 0.0,
        crashes: 0.4,
        readers: 0,
        function_timeout: Duration::from_secs(1),
        ..options()
    };
    let (_, one) = report(sequential()).await;
    let (_, other) = report(sequential()).await;
    let figures = |report: &Report| {
        let plain = &report.runs.plain;
        (plain.attempts, plain.crashes, plain.given_up, plain.double_effects, plain.half_effects)
    };
    assert_eq!(figures(&one), figures(&other));
    assert!(one.runs.plain.crashes > 50, "{:?}", one.runs.plain);
}

/// A store that goes away in the second way leaves the figures of the first one.
#[tokio::test]
async fn the_ways_that_ended_keep_their_figures() {
    let figures = report(Options { crashes: 0.0, requests: 5, readers: 0, ..options() }).await.1.runs.plain;
    let why = super::report::unfinished(&[("plain", figures)], Error::Audit("the store is gone".into()));
    assert!(why.to_string().contains("the store is gone"), "{why}");
    let Error::Unfinished { ended, .. } = why else { panic!("{why}") };
    assert!(ended.text.contains("plain") && !ended.text.contains("record"), "{}", ended.text);
    assert!(ended.json.starts_with("{\"runs\":{\"plain\":{\"requests\":5,"), "{}", ended.json);
    let why = super::report::unfinished(&[], Error::Audit("the store is gone".into()));
    assert!(matches!(why, Error::Audit(_)), "{why}");
}

/// A run whose retries take far longer than its first attempts: they count, with their time.
#[tokio::test]
async fn the_rate_of_acknowledgements_includes_retries_and_their_time() {
    let retry_delay = Duration::from_millis(200);
    let options =
        Options { requests: 40, crashes: 0.5, duplicates: 0.0, readers: 0, retry_delay, ..options() };
    let (_, report) = report(options).await;
    let plain = &report.runs.plain;
    assert!(plain.crashes > 5 && plain.acknowledged > 20, "{plain:?}");
    // The slowest request was acknowledged no earlier than its own latency after the start.
    assert!(plain.latency_ms.max >= 200.0, "{plain:?}");
    let most = plain.acknowledged as f64 / (plain.latency_ms.max / 1e3) * 1.001;
    assert!(plain.acknowledged_per_s > 0.0 && plain.acknowledged_per_s <= most, "{plain:?}");
}
