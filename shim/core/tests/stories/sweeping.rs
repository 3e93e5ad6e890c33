//! Goal: a sweep does not read records that its node knows.
//!
//! Method: a node commits, some versions are superseded, and it or another node sweeps until
//! everything that may be removed is removed; the gets of records are counted.

use aft_core::ids::RequestHash;
use aft_core::settings::Settings;
use aft_core::store::{Call, Name};

use crate::shop::{Shop, hash};

#[test]
fn a_sweep_reads_no_unnamed_record_that_its_node_has_committed() {
    let settings = Settings { sweep_interval_ms: 10_000, ..Shop::settings() };
    let check = |sweeper: usize, kept: usize, unnamed: usize| {
        let settings = Settings { entered_kept_max: kept, ..settings.clone() };
        let mut shop = Shop::new(2, &settings);
        for text in ["one", "two", "three"] {
            shop.write(0, None, &["k", "l"], text);
        }
        shop.write(0, Some(7), &["m", "n"], "named");
        shop.calls.clear();
        shop.switch_sweeps(sweeper, true);
        shop.pass(600_000);
        let gets = |is_it: fn(&RequestHash) -> bool| {
            shop.count(|call| matches!(call, Call::Get(Name::Commit(of)) if is_it(of)))
        };
        let seen = gets(|of| *of != hash(7));
        assert_eq!(seen > 0, unnamed > 0, "node {sweeper}, {kept} kept: {seen} gets: {:?}", shop.calls);
        assert!(seen >= unnamed, "node {sweeper}, {kept} kept: {seen} gets: {:?}", shop.calls);
        assert!(gets(|of| *of == hash(7)) > 0, "a named request is verified: {:?}", shop.calls);
        assert_eq!(shop.store.commits.len(), 2, "superseded records are removed: {:?}", shop.store.commits);
        assert_eq!(shop.read_fresh(1, "k"), Some("three".into()));
        assert_eq!(shop.read_fresh(1, "n"), Some("named".into()));
    };
    check(0, 50_000, 0);
    // Another node does not know them: each is verified, and two are read before their removal.
    check(1, 50_000, 5);
    // This node has forgotten them.
    check(0, 1, 4);
}
