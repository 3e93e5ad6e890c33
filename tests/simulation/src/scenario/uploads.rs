//! Worlds of uploads in parts (protocol, section 17). K is the object, L the upload's state, and M
//! a part. Each transaction of an upload demands the version of the state that it has seen.

use aft_core::bug::Bug;
use aft_core::message::Isolation;
use aft_core::settings::Levels;

use super::requests::{conditional, k, l, m};
use super::stage::{MEMBER, MEMBERS, Stage};
use crate::draw::small_settings;
use crate::explore::{Budget, Scenario};
use crate::script::{Action, Guard, Request};

/// Returns the worlds on an exclusive store, and with locks on a shared one.
pub(super) fn uploading(bug: Option<Bug>) -> Vec<Scenario> {
    let is_open = || Action::Check(l(), Guard::Version);
    let complete = |id| conditional(id, vec![is_open(), Action::Put(k()), Action::Put(l())]);
    let abort = |id| conditional(id, vec![is_open(), Action::Delete(l()), Action::Delete(m())]);
    let part = |id| conditional(id, vec![is_open(), Action::Put(m())]);
    let mut all = Vec::new();
    for exclusive in [true, false] {
        let stage = || {
            let mut settings = small_settings(exclusive);
            settings.bug = bug;
            if !exclusive {
                settings.levels = Levels::everywhere(Isolation::Serializable);
                settings.break_after_ms = 100;
            }
            Stage::with(settings, if exclusive { &MEMBER[..] } else { &MEMBERS[..] }).done(&["L", "M"])
        };
        let crash = Budget { crashes: 1, ..Budget::default() };
        let split = Budget { splits: 1, no_answers: 1, ..Budget::default() };
        let budget = if exclusive { crash } else { split };
        let mut add = |names: [&'static str; 2], requests: Vec<Request>| {
            let mut stage = stage();
            for (number, request) in requests.into_iter().enumerate() {
                stage.add(request, if exclusive { 0 } else { number % 2 });
            }
            all.push(stage.scenario(names[usize::from(!exclusive)], budget));
        };
        add(
            ["uploads: two completes of one upload", "locks: two completes of one upload"],
            vec![complete(20), complete(21)],
        );
        add(
            ["uploads: a complete and an abort", "locks: a complete and an abort of one upload"],
            vec![complete(20), abort(21)],
        );
        add(
            ["uploads: a part and an abort", "locks: a part and an abort of one upload"],
            vec![part(20), abort(21)],
        );
    }
    all
}
