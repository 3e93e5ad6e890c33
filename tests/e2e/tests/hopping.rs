//! Goal: the load generator goes from server to server, and finds out when a session does not see what it has committed or read.
//!
//! Method: two servers of one Redis, whose keys are read atomic: a check at commit would hide what was
//! stale. With their sessions, clients see all of it. Without, they must fall behind, since a server
//! looks at a key again after ten seconds only: a check that found nothing there would be none.

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
fn sessions_go_along_from_server_to_server() {
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
fn a_session_that_stays_behind_is_found() {
    let Some(store) = RealStore::start_read_atomic(Service::Redis) else { return };
    let ran = hop(&store, &["--no-sessions"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let figures: serde_json::Value = serde_json::from_str(&ran.stdout).expect("it prints its figures");
    assert!(figures["sessions_broken"].as_u64().is_some_and(|broken| broken > 0), "{figures:#}");
    assert_eq!(figures["anomalies"], serde_json::json!({"own_write": 0, "fractured": 0}), "{figures:#}");
}
