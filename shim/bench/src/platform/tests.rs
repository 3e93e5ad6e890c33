//! Goal: deliveries are retried within their limits, and requests end as their calls say. Method:
//! an executor whose attempts end as a script says, without pauses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fate::{Fate, Fates, Which};
use super::tally::Tally;
use super::{Calls, Ended, Executor, Platform, Policy, Rest};

/// Ends each attempt as `script` says, and logs what happens.
#[derive(Debug)]
struct Script {
    script: fn(Which, u32) -> Ended,
    log: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn log(&self, line: String) {
        self.log.lock().unwrap().push(line);
    }
}

impl Executor for Script {
    type Point = u8;

    async fn attempt(self: &Arc<Self>, which: Which, fate: Fate<u8>, conflicts: u32) -> Ended {
        self.log(format!("{}.{}", which.delivery, which.attempt));
        if let Fate::Late(_) = fate {
            let log = Arc::clone(&self.log);
            return Ended::Late(Rest(Box::pin(async move { log.lock().unwrap().push("rest".to_owned()) })));
        }
        // Both deliveries begin before the first one ends, and the second one takes longer.
        for _ in 0..1 + which.delivery * 100 {
            tokio::task::yield_now().await;
        }
        (self.script)(which, conflicts)
    }

    fn conflict_pause(&self, _: u32) -> Duration {
        Duration::ZERO
    }

    fn over(&self, _: u64) {
        self.log("over".to_owned());
    }
}

const ONCE: Fates = Fates { seed: 1, crashes: 0.0, late: 0.0, duplicates: 0.0 };
const TWICE: Fates = Fates { duplicates: 1.0, ..ONCE };

/// Runs one request, and checks its log: attempts as DELIVERY.ATTEMPT, its end, and late rests.
async fn check(fates: Fates, calls: Calls, script: fn(Which, u32) -> Ended, log: &[&str]) -> Tally {
    let policy = Policy { calls, retries_max: 2, conflict_retries_max: 3, pause: Duration::ZERO };
    let executor = Arc::new(Script { script, log: Arc::default() });
    let platform = Platform::new(Arc::clone(&executor), fates, policy);
    platform.carry_out([[7].into_iter()]).await.wait().await;
    assert_eq!(*executor.log.lock().unwrap(), log);
    let tally = platform.take_tally();
    assert_eq!(tally.acknowledged.len() as u64 + tally.given_up, 1, "{tally:?}");
    let (left, none) = (platform.take_tally(), Tally::default());
    assert_eq!(format!("{left:?}"), format!("{none:?}"), "a tally that is taken leaves zeros");
    tally
}

#[tokio::test]
async fn a_delivery_is_given_up_after_its_last_retry() {
    for calls in [Calls::Synchronous, Calls::Asynchronous] {
        let failed = |_, _| Ended::Failed("busy".to_owned());
        let tally = check(ONCE, calls, failed, &["0.1", "0.2", "0.3", "over"]).await;
        assert_eq!((tally.attempts, tally.given_up), (3, 1));
        assert_eq!(tally.errors, BTreeMap::from([("busy".to_owned(), 3)]));
        let rejected = |_, _| Ended::Rejected("damaged".to_owned());
        assert_eq!(check(ONCE, calls, rejected, &["0.1", "over"]).await.given_up, 1);
    }
}

#[tokio::test]
async fn conflicts_have_retries_of_their_own() {
    for calls in [Calls::Synchronous, Calls::Asynchronous] {
        let dies_then_conflicts =
            |which: Which, _| if which.attempt < 3 { Ended::Died } else { Ended::Conflict };
        let log = ["0.1", "0.2", "0.3", "0.3", "0.3", "0.3", "over"];
        let tally = check(ONCE, calls, dies_then_conflicts, &log).await;
        assert_eq!((tally.died, tally.conflicts, tally.given_up), (2, 4, 1));
        let conflicts_twice = |_, conflicts| if conflicts < 2 { Ended::Conflict } else { Ended::Done };
        let tally = check(ONCE, calls, conflicts_twice, &["0.1", "0.1", "0.1", "over"]).await;
        assert_eq!((tally.conflicts, tally.acknowledged.len()), (2, 1));
    }
}

/// The first delivery is done at once, the second one only with its third attempt.
fn second_takes_three(which: Which, _: u32) -> Ended {
    match (which.delivery, which.attempt) {
        (0, _) | (_, 3) => Ended::Done,
        _ => Ended::Failed("busy".to_owned()),
    }
}

#[tokio::test]
async fn the_first_answer_to_a_synchronous_request_stops_the_retries() {
    let log = ["0.1", "1.1", "over"];
    let tally = check(TWICE, Calls::Synchronous, second_takes_three, &log).await;
    // The failure came after the answer.
    assert_eq!((tally.duplicates, tally.attempts, tally.errors.len()), (1, 2, 0));
}

#[tokio::test]
async fn deliveries_of_an_asynchronous_request_are_independent() {
    let log = ["0.1", "1.1", "1.2", "1.3", "over"];
    let tally = check(TWICE, Calls::Asynchronous, second_takes_three, &log).await;
    assert_eq!((tally.attempts, tally.errors["busy"]), (4, 2));
}

#[tokio::test]
async fn late_attempts_continue_when_their_delivery_is_over() {
    let late = Fates { late: 1.0, ..ONCE };
    let log = ["0.1", "0.2", "0.3", "over", "rest", "rest", "rest"];
    let tally = check(late, Calls::Synchronous, |_, _| Ended::Done, &log).await;
    assert_eq!((tally.late, tally.given_up), (3, 1));
}
