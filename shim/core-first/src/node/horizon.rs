//! The horizon: nothing younger is collected in a pass (protocol, section 8). It does not go back from one maintainer to the next.
//!
//! That collecting misses nothing (`supersede`) rests on this: of the looks at a version and at those that supersede it, one with the youngest horizon sees
//! all of them. One life's horizons only grow (`Maintenance::horizon`), unless its wall clock goes back further than it is believed to. Where several nodes may maintain, one with an older horizon might enter a commit that came
//! late, after another had looked at what supersedes it; it would find nothing above it, and nobody would come back. So a maintainer writes its horizon
//! down, after it has entered what it will look at and before it looks at anything, and takes a younger one that it finds there for its own: what is older
//! than that is being collected anyway. If it reads before the other writes, then the other looks later, and sees what it has entered.

use crate::ids::Hlc;
use crate::message::Note;
use crate::store::{Answer, Body, Call, CallError, Name};

use super::Node;
use super::calls::Owner;

/// How far a pass has come with writing its horizon down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    /// Nothing was found that is to be looked at.
    Unasked,
    /// The store is asked.
    Asked,
    /// It is written down.
    Stands,
}

impl Node {
    /// The oldest open transaction may still need what is younger, and publishers may still be at work on it. Not older than the last one that can be believed.
    pub(super) fn next_horizon(&mut self) -> Hlc {
        let slack = Hlc::from_ms(self.now.wall_ms.saturating_sub(self.settings.slack_ms));
        let oldest = self.transactions.values().map(|transaction| transaction.began).min();
        let horizon = oldest.map_or(slack, |oldest| oldest.min(slack));
        let last = self.maintenance.horizon;
        self.maintenance.horizon = if last <= self.latest_horizon() { horizon.max(last) } else { horizon };
        self.maintenance.horizon
    }

    /// A clock that was further ahead than clocks may be apart is not believed.
    fn latest_horizon(&self) -> Hlc {
        Hlc::from_ms(self.now.wall_ms + self.settings.skew_max_ms)
    }

    /// The horizon of the pass under way.
    pub(super) fn pass_horizon(&self) -> Hlc {
        self.maintenance.pass.as_ref().map_or(Hlc::default(), |pass| pass.horizon)
    }

    /// Whether the pass may look at things by its horizon; if not yet, the pass goes on when the store has answered.
    pub(super) fn horizon_stands(&mut self) -> bool {
        let number = self.maintenance.passes;
        let Some(pass) = &mut self.maintenance.pass else { return false };
        if self.settings.exclusive || pass.standing == Standing::Stands {
            return true;
        }
        if pass.standing == Standing::Unasked {
            pass.standing = Standing::Asked;
            self.call(Owner::Horizon(number), Call::Get(Name::Horizon), None);
        }
        false
    }

    pub(super) fn horizon_answered(&mut self, number: u64, answer: Answer) {
        if !self.maintenance.in_pass(number) {
            return;
        }
        let own = self.pass_horizon();
        let latest = self.latest_horizon();
        let next = match answer {
            Answer::Got(None) => Call::Create(Name::Horizon, Body::Time(own)),
            Answer::Got(Some((Body::Time(held), _))) if (own..=latest).contains(&held) => {
                return self.look(held);
            }
            Answer::Got(Some((_, tag))) => Call::Replace(Name::Horizon, tag, Body::Time(own)),
            Answer::Created | Answer::Replaced => return self.look(own),
            Answer::Exists | Answer::Changed => Call::Get(Name::Horizon),
            // The next pass tries again. What is damaged may have been written by a newer version, or be damaged on the way only: it is not overwritten.
            answer => {
                if let Answer::Failed(CallError::Damaged(what)) = answer {
                    self.note(Note::MaintenanceDamaged(what));
                }
                return self.break_pass_off();
            }
        };
        self.call(Owner::Horizon(number), next, None);
    }

    fn look(&mut self, horizon: Hlc) {
        self.maintenance.horizon = horizon;
        if let Some(pass) = &mut self.maintenance.pass {
            pass.horizon = horizon;
            pass.standing = Standing::Stands;
        }
        self.pump();
    }
}
