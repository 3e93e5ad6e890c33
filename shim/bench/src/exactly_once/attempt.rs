//! One attempt: the two functions of a request, which die at the point that their fate names.
//!
//! An attempt that dies *before* a call does not make it. An attempt that dies *after* a call makes
//! it, but does not see the answer. Either way nothing is cleaned up, as in a real crash.

use std::time::Instant;

use tokio::time::timeout_at;

use crate::exactly_once::counter::Counter;
use crate::exactly_once::step::{Side, Step};
use crate::exactly_once::way::{Answer, Attempt, Claim, Failed, Way};
use crate::platform::Ended;
use crate::platform::fate::Fate;

/// Runs one attempt to its end.
pub(crate) async fn run(way: &dyn Way, attempt: &Attempt, fate: Fate<(Step, Side)>) -> Ended {
    match carry_out(way, attempt, fate).await {
        Ok(ended) | Err(ended) => ended,
    }
}

async fn carry_out(way: &dyn Way, attempt: &Attempt, fate: Fate<(Step, Side)>) -> Result<Ended, Ended> {
    let life = Life { fate, deadline: attempt.deadline };
    match life.step(Step::Claim, way.claim(attempt)).await? {
        Claim::Work => {}
        Claim::Answered => return Ok(Ended::Done),
        Claim::InProgress => return Ok(Ended::Conflict),
    }
    for counter in Counter::ALL {
        let count = life.step(Step::Read(counter), way.read(attempt, counter)).await?;
        life.step(Step::Write(counter), way.write(attempt, counter, count + 1)).await?;
    }
    life.step(Step::Finish, way.finish(attempt)).await?;
    Ok(Ended::Done)
}

struct Life {
    fate: Fate<(Step, Side)>,
    deadline: Instant,
}

impl Life {
    async fn step<T>(&self, step: Step, call: impl Future<Output = Answer<T>>) -> Result<T, Ended> {
        // Give other attempts a turn, as a function's own work would: on a store that answers at
        // once, attempts would not overlap otherwise.
        tokio::task::yield_now().await;
        if self.fate == Fate::Dies((step, Side::Before)) {
            return Err(Ended::Died);
        }
        if Instant::now() >= self.deadline {
            return Err(timed_out());
        }
        let answer = timeout_at(self.deadline.into(), call).await;
        if self.fate == Fate::Dies((step, Side::After)) {
            return Err(Ended::Died);
        }
        match answer {
            Ok(answer) => answer.map_err(|Failed(code)| Ended::Failed(code.into())),
            Err(_) => Err(timed_out()),
        }
    }
}

fn timed_out() -> Ended {
    Ended::Failed("timed_out".into())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use aft_node::fresh_attempt;
    use async_trait::async_trait;

    use super::run;
    use crate::exactly_once::counter::{Counter, Counts};
    use crate::exactly_once::step::{Side, Step};
    use crate::exactly_once::way::{Answer, Attempt, Claim, Failed, Way};
    use crate::platform::Ended;
    use crate::platform::fate::Fate;

    /// Records which calls are made.
    #[derive(Debug)]
    struct Recorder {
        made: Mutex<Vec<Step>>,
        claim: Claim,
        fails: Option<Step>,
    }

    impl Recorder {
        fn made<T>(&self, step: Step, answer: T) -> Answer<T> {
            self.made.lock().unwrap().push(step);
            if self.fails == Some(step) { Err(Failed("busy")) } else { Ok(answer) }
        }
    }

    #[async_trait]
    impl Way for Recorder {
        async fn claim(&self, _: &Attempt) -> Answer<Claim> {
            self.made(Step::Claim, self.claim)
        }

        async fn read(&self, _: &Attempt, counter: Counter) -> Answer<u64> {
            self.made(Step::Read(counter), 4)
        }

        async fn write(&self, _: &Attempt, counter: Counter, count: u64) -> Answer<()> {
            assert_eq!(count, 5, "one higher than what was read");
            self.made(Step::Write(counter), ())
        }

        async fn finish(&self, _: &Attempt) -> Answer<()> {
            self.made(Step::Finish, ())
        }

        async fn look(&self, _: u64) -> Answer<Counts> {
            unreachable!("attempts do not look")
        }
    }

    /// All steps, in order.
    const ALL: [Step; 6] = [
        Step::Claim,
        Step::Read(Counter::A),
        Step::Write(Counter::A),
        Step::Read(Counter::B),
        Step::Write(Counter::B),
        Step::Finish,
    ];

    async fn check(claim: Claim, fails: Option<Step>, fate: Fate<(Step, Side)>, made: &[Step], ended: Ended) {
        let way = Recorder { made: Mutex::default(), claim, fails };
        let deadline = Instant::now() + Duration::from_secs(3_600);
        let attempt = Attempt { request: 1, id: fresh_attempt(), deadline };
        let ran = run(&way, &attempt, fate).await;
        assert_eq!(format!("{ran:?}"), format!("{ended:?}"), "{fate:?}");
        assert_eq!(*way.made.lock().unwrap(), made, "{fate:?}");
    }

    #[tokio::test]
    async fn an_attempt_dies_at_its_point_and_makes_the_calls_up_to_there() {
        for (nth, step) in ALL.into_iter().enumerate() {
            let dies = |side| Fate::Dies((step, side));
            check(Claim::Work, None, dies(Side::Before), &ALL[..nth], Ended::Died).await;
            check(Claim::Work, None, dies(Side::After), &ALL[..=nth], Ended::Died).await;
        }
        check(Claim::Work, None, Fate::Survives, &ALL, Ended::Done).await;
    }

    #[tokio::test]
    async fn a_request_that_another_attempt_claimed_is_not_executed() {
        let late = Fate::Dies((Step::Finish, Side::Before));
        check(Claim::Answered, None, late, &ALL[..1], Ended::Done).await;
        check(Claim::InProgress, None, late, &ALL[..1], Ended::Conflict).await;
    }

    #[tokio::test]
    async fn an_attempt_ends_with_a_call_that_fails() {
        let fails = Some(Step::Write(Counter::A));
        check(Claim::Work, fails, Fate::Survives, &ALL[..3], Ended::Failed("busy".into())).await;
        // A function that dies after the call does not see that it failed.
        check(Claim::Work, fails, Fate::Dies((ALL[2], Side::After)), &ALL[..3], Ended::Died).await;
    }

    #[tokio::test]
    async fn nothing_begins_after_the_deadline() {
        let way = Recorder { made: Mutex::default(), claim: Claim::Work, fails: None };
        let attempt = Attempt { request: 1, id: fresh_attempt(), deadline: Instant::now() };
        let ran = run(&way, &attempt, Fate::Survives).await;
        assert!(matches!(&ran, Ended::Failed(code) if code == "timed_out"), "{ran:?}");
        assert!(way.made.lock().unwrap().is_empty());
    }
}
