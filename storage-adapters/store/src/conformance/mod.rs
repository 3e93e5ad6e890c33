//! The conformance suite, which every adapter passes, and which checks a user's store before it is
//! trusted.
//!
//! * [`run`] – every check, each on a fresh store: for adapters' tests.
//! * [`run_without_races`] – the same for a server that is known to lose races.
//! * [`probe`] – the same checks on a store in use, under names of its own, which it removes: for
//!   `aft store probe`.
//! * [`race_probe`] – the races alone (does `create` have exactly one winner?), before a node
//!   serves.
//! * [`Report`] – named checks with their verdicts.
//!
//! The checks rest on the contract of [`Store`] and on nothing else. They are tested themselves,
//! with stores that break the contract (`storage-adapters/memory/tests/planted_bugs.rs`): each
//! planted bug is found.
//!
//! The suite is not a proof: a store that loses a race once in a million tries will pass. It says
//! nothing about durability, which each adapter tests in its own way.

mod commits;
mod contract;
mod listing;
mod races;
mod report;
mod scans;
mod scratch;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use crate::Store;
use scratch::Scratch;

pub use report::{Check, Report, Verdict};

/// The number of writers that race for one name in [`run`] and [`probe`].
pub const RACE_WRITERS: usize = 32;
/// The number of rounds of each race in [`run`] and [`probe`].
pub const RACE_ROUNDS: usize = 8;

/// A value, or the reason for which a check fails.
type Outcome<T = ()> = std::result::Result<T, String>;
type Checking<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;
type CheckFn = for<'a> fn(&'a Scratch) -> Checking<'a>;

macro_rules! checks {
    ($($module:ident :: $check:ident),* $(,)?) => {
        [$((stringify!($check), (|scratch| Box::pin($module::$check(scratch))) as CheckFn)),*]
    };
}

const CONTRACT: [(&str, CheckFn); 35] = checks![
    contract::missing_names_read_as_none,
    contract::put_is_read_back_and_overwrites,
    contract::create_writes_only_once,
    contract::replace_needs_the_tag,
    contract::tags_tell_contents_apart,
    contract::delete_deletes,
    contract::delete_takes_many_names,
    contract::delete_if_needs_the_tag,
    contract::empty_bodies_and_items,
    contract::names_are_arbitrary_bytes,
    contract::names_reach_their_bounds,
    contract::bodies_reach_their_bound,
    contract::bodies_beyond_the_bound_are_refused,
    contract::spaces_do_not_mix,
    listing::items_come_in_byte_order,
    listing::items_are_paged,
    listing::groups_come_in_byte_order_and_are_paged,
    listing::groups_are_chosen_by_prefix,
    listing::groups_come_and_go_with_their_items,
    commits::commit_writes_every_piece,
    commits::commit_of_a_taken_name_overwrites_nothing,
    commits::commit_of_entries_alone,
    commits::commit_takes_many_entries,
    commits::commit_bodies_reach_their_bound,
    commits::commit_answers_for_each_piece,
    scans::scans_come_in_byte_order,
    scans::scans_are_paged,
    scans::scans_resume_anywhere,
    scans::scans_resume_after_what_is_gone,
    scans::scans_are_chosen_by_prefix,
    scans::scans_of_heads_leave_others_out,
    scans::scans_keep_spaces_apart,
    scans::scans_bring_the_right_bodies,
    scans::scans_show_what_was_written,
    contract::times_heard_are_sound,
];

const RACES: [(&str, CheckFn); 7] = checks![
    races::one_create_wins,
    races::one_commit_wins,
    races::create_never_overwrites_a_put,
    races::create_and_delete_take_turns,
    races::one_replace_wins_per_tag,
    races::replace_never_overwrites_a_put,
    races::no_update_is_lost,
];

/// Runs every check, each on a fresh, empty store that `make` returns.
pub async fn run<F, M>(make: F) -> Report
where
    F: Fn() -> M,
    M: Future<Output = Arc<dyn Store>>,
{
    on_fresh(make, CONTRACT.into_iter().chain(RACES)).await
}

/// Runs every check but the races, each on a fresh, empty store that `make` returns: for a server
/// that is known to lose races.
pub async fn run_without_races<F, M>(make: F) -> Report
where
    F: Fn() -> M,
    M: Future<Output = Arc<dyn Store>>,
{
    on_fresh(make, CONTRACT.into_iter()).await
}

async fn on_fresh<F, M>(make: F, checks: impl Iterator<Item = (&'static str, CheckFn)>) -> Report
where
    F: Fn() -> M,
    M: Future<Output = Arc<dyn Store>>,
{
    let mut report = Report::default();
    for (name, check) in checks {
        let scratch = Scratch::fresh(make().await, RACE_WRITERS, RACE_ROUNDS);
        report.url = scratch.url();
        let since = Instant::now();
        let outcome = check(&scratch).await;
        report.add(name, outcome, &scratch, since);
    }
    report
}

/// Runs every check on a store that may be in use, under names of its own in spaces that no node
/// lists or scans. Removes all of them at the end.
pub async fn probe(store: Arc<dyn Store>) -> Report {
    let scratch = Scratch::guest(store, RACE_WRITERS, RACE_ROUNDS);
    on_one(&scratch, CONTRACT.into_iter().chain(RACES)).await
}

/// Races `writers` writers for one name, `rounds` times: exactly one create may win, exactly one
/// replace per tag, and neither may overwrite a put. Uses names of its own, as [`probe`] does.
///
/// # Panics
/// Panics if `writers` is less than 2 or `rounds` is 0.
pub async fn race_probe(store: Arc<dyn Store>, writers: usize, rounds: usize) -> Report {
    let scratch = Scratch::guest(store, writers, rounds);
    on_one(&scratch, RACES.into_iter()).await
}

async fn on_one(scratch: &Scratch, checks: impl Iterator<Item = (&'static str, CheckFn)>) -> Report {
    let mut report = Report { url: scratch.url(), ..Report::default() };
    for (name, check) in checks {
        let since = Instant::now();
        let outcome = check(scratch).await;
        report.add(name, outcome, scratch, since);
        // After each check, so that a probe that is stopped leaves little behind.
        let since = Instant::now();
        let cleaned = scratch.clean_up().await;
        if cleaned.is_err() {
            report.add("names_of_the_probe_are_removed", cleaned, scratch, since);
        }
    }
    report
}
