//! Goal: the load generator moves between servers, and finds out when a session does not see what
//! it has committed or read.
//!
//! Method: two servers on one Redis, whose keys are read atomic: at `serializable`, the check at
//! commit would hide stale reads. With sessions, clients see everything. Without, some reads must
//! be stale, since a server lists a key again after ten seconds only: a check that found none would
//! be useless.

use aft_e2e::binary::{Ran, run};
use aft_e2e::real_store::RealStore;
use aft_services::Service;

fn hop(store: &RealStore, more: &[&str]) -> Ran {
    let servers = [store.serve(&[]), store.serve(&[])];
    let urls = servers.each_ref().map(|server| format!("http://{}", server.address()));
    let [left, right] = urls.each_ref().map(String::as_str);
    let load = ["--transactions", "2000", "--keys", "100", "--value-bytes", "256", "--seed", "7", "--json"];
    run(&[&["bench", "standard", "--store", left, "--store", right], &load[..], more].concat())
}

#[test]
fn sessions_hold_across_servers() {
    let Some(store) = RealStore::start_read_atomic(Service::Redis) else { return };
    let ran = hop(&store, &[]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let figures = ran.json();
    assert_eq!(
        (&figures["transactions"], &figures["sessions_broken"]),
        (&2_000.into(), &0.into()),
        "{figures:#}"
    );
}

#[test]
fn stale_reads_without_sessions_are_found() {
    let Some(store) = RealStore::start_read_atomic(Service::Redis) else { return };
    let ran = hop(&store, &["--no-sessions"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let figures: serde_json::Value = serde_json::from_str(&ran.stdout).expect("it prints its figures");
    assert!(figures["sessions_broken"].as_u64().is_some_and(|broken| broken > 0), "{figures:#}");
    assert_eq!(figures["anomalies"], serde_json::json!({"own_write": 0, "fractured": 0}), "{figures:#}");
}
