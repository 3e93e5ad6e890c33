//! The common parts of the tests of stores against real servers.
//!
//! * [`Bucket`] – a running server with an empty bucket, and stores on it.
//! * [`Table`] – a running server with a table of DynamoDB, and stores on it.
//! * [`Front`] – an HTTP proxy in front of a server, which counts requests and breaks answers.
//! * [`Behind`] – a store behind such a front, whose calls must all fail in the same way.
//! * [`node`], [`run`], [`run_named`], [`read`], [`read_fresh`], [`when_time_is_known`],
//!   [`take_settled`], [`expect`] – transactions over a store, and the requests that they took.
//! * [`check_scans`], [`scan_all`], [`both_ways`] – scans, compared with groups and their items;
//!   [`check_times`] – the store's time.
//! * [`aft`] – the binary, with the credentials of a server.
//! * [`moto_stands_in_for`] – the tests that moto runs in place of a real server.

mod binary;
mod bucket;
mod front;
mod scans;
mod table;
mod times;
mod transactions;
mod trouble;

use aft_services::Service;

pub use binary::{Ran, Serving, aft, aft_in, curl, serve, serve_s3};
pub use bucket::Bucket;
pub use front::{Act, Front, Rewrite, RewriteAnswer, Seen};
pub use scans::{Way, both_ways, check_crowded_scans, check_scans, put_all, scan_all};
pub use table::Table;
pub use times::check_times;
pub use transactions::{
    at_once, counted, expect, key, node, put, put_small, read, read_fresh, run, run_named, take_settled,
    when_time_is_known, writes,
};
pub use trouble::{Behind, busy, name, no_answer, redis_speaker, refused};

/// Returns true if moto has to stand in for `real`, which runs the same tests and is left out here.
/// moto takes minutes of processor time for the thousands of requests of a contract, and the real
/// server knows the protocol better.
pub fn moto_stands_in_for(real: Service) -> bool {
    let stands_in = !real.wanted().unwrap_or_else(|why| panic!("AFT_SKIP_SERVICES: {why}"));
    if !stands_in {
        println!("left to {}", real.name());
    }
    stands_in
}
