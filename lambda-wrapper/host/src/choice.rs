//! The choice of an environment for an invocation.

use crate::machine::Stage;

/// An environment as the choice sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) stage: Stage,
    /// The invocation may have it now.
    pub(crate) is_free: bool,
    /// The number of invocations that may wait for it, since it will take them soon.
    pub(crate) soon: usize,
}

/// The place of an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The environment at this index.
    Take(usize),
    /// One that is about to become free.
    Wait,
    /// A new one.
    Start,
    /// None: the function is at its limit.
    Throttle,
}

/// Chooses among the function's environments. `waiting` other invocations wait for one that is
/// about to become free, and this one `may_wait`.
pub(crate) fn choose(standings: &[Standing], waiting: usize, concurrency: u32, may_wait: bool) -> Choice {
    assert!(concurrency > 0, "the configuration was checked");
    if let Some(at) = standings.iter().position(|one| one.is_free) {
        let stage = standings[at].stage;
        assert!(matches!(stage, Stage::Idle | Stage::Busy | Stage::Settling), "a free environment is up");
        return Choice::Take(at);
    }
    // Most runtimes ask for the next event at once after an answer. A new environment for an
    // invocation that comes in between would surprise everybody.
    let soon: usize = standings.iter().map(|one| one.soon).sum();
    if may_wait && soon > waiting {
        return Choice::Wait;
    }
    // A zombie's invocation is over, and an environment that ends takes none.
    let counts =
        |one: &&Standing| matches!(one.stage, Stage::Init | Stage::Idle | Stage::Busy | Stage::Settling);
    let count = standings.iter().filter(counts).count();
    assert!(count <= standings.len(), "a part of all");
    if count < concurrency as usize { Choice::Start } else { Choice::Throttle }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stages: &[Stage], waiting: usize, concurrency: u32, expect: Choice) {
        let standing = |&stage| Standing {
            stage,
            is_free: stage == Stage::Idle,
            soon: usize::from(stage == Stage::Settling),
        };
        let standings: Vec<_> = stages.iter().map(standing).collect();
        assert_eq!(choose(&standings, waiting, concurrency, true), expect, "{stages:?}");
    }

    #[test]
    fn idle_environments_come_first() {
        check(&[Stage::Busy, Stage::Settling, Stage::Idle], 0, 3, Choice::Take(2));
        check(&[], 0, 1, Choice::Start);
        check(&[Stage::Busy], 0, 2, Choice::Start);
        check(&[Stage::Busy], 0, 1, Choice::Throttle);
        check(&[Stage::Init], 0, 1, Choice::Throttle);
    }

    #[test]
    fn each_settling_environment_has_one_that_waits() {
        check(&[Stage::Settling], 0, 2, Choice::Wait);
        check(&[Stage::Settling], 1, 2, Choice::Start);
        check(&[Stage::Settling], 1, 1, Choice::Throttle);
        let settling = [Standing { stage: Stage::Settling, is_free: false, soon: 1 }];
        assert_eq!(choose(&settling, 0, 2, false), Choice::Start, "its patience is over");
        let held = [Standing { soon: 0, ..settling[0] }];
        assert_eq!(choose(&held, 0, 2, true), Choice::Start, "a held one settles when it is released");
    }

    #[test]
    fn an_environment_of_a_managed_instance_takes_several() {
        let busy = Standing { stage: Stage::Busy, is_free: true, soon: 2 };
        assert_eq!(choose(&[busy], 0, 1, true), Choice::Take(0));
        let between = [Standing { is_free: false, ..busy }];
        assert_eq!(choose(&between, 1, 1, true), Choice::Wait, "it has room for two");
        assert_eq!(choose(&between, 2, 1, true), Choice::Throttle);
        let starting = [Standing { stage: Stage::Init, is_free: false, soon: 1 }];
        assert_eq!(choose(&starting, 0, 2, true), Choice::Wait, "it was started for another one");
    }

    #[test]
    fn zombies_and_ending_environments_do_not_count() {
        check(&[Stage::TimedOut, Stage::Ending, Stage::Gone], 0, 1, Choice::Start);
        check(&[Stage::TimedOut, Stage::Busy], 0, 1, Choice::Throttle);
    }

    #[test]
    fn a_free_flag_decides_and_not_the_stage() {
        let reserved = [Standing { stage: Stage::Idle, is_free: false, soon: 0 }];
        assert_eq!(choose(&reserved, 0, 1, true), Choice::Throttle);
        assert_eq!(choose(&reserved, 0, 2, true), Choice::Start);
    }
}
