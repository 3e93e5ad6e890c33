//! Goal: in the small worlds of the protocol's section 16, no order of events and no crash between
//! two outputs breaks a promise.
//!
//! Method: search each world exhaustively within its budget of faults (`explore`), up to a bound on
//! states. Every end state is healed in a copy, and the demands are made on it. `AFT_SIM_DEEP=1`
//! raises the bound.

use aft_sim::search::Found;
use aft_simulation::explore::explore;
use aft_simulation::scenario;

#[test]
fn no_order_of_events_breaks_a_promise() {
    let mut broken = Vec::new();
    for scenario in scenario::all(None) {
        let started = std::time::Instant::now();
        let explored = explore(&scenario);
        println!(
            "{:<62} {:>8} states {:>6} ends {:>3} deviations{} {:>6} ms",
            scenario.name,
            explored.states,
            explored.ends,
            explored.deviations,
            if explored.whole { ", whole" } else { "" },
            started.elapsed().as_millis()
        );
        if let Some(Found { violation, story, .. }) = explored.found {
            println!("{violation}");
            story.iter().for_each(|line| println!("    {line}"));
            broken.push(format!("{}: {violation}", scenario.name));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
