//! Worlds of readers beside writers.

use aft_core::bug::Bug;

use super::requests::{fresh, plain, reads, writes};
use super::stage::{MEMBERS, Stage};
use crate::draw::small_settings;
use crate::explore::{Budget, Scenario};

/// Returns worlds of readers beside writers.
pub(super) fn reading(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();

    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL"]);
    stage.add(writes(1, "KL"), 0);
    let stage = stage.readers(fresh);
    let budget = Budget { splits: 3, ..Budget::default() };
    all.push(stage.scenario("KL, KL with real commit steps and 2 fresh readers", budget));

    let mut stage = Stage::new(bug, &MEMBERS);
    let first = stage.add(writes(0, "KL"), 0);
    let second = stage.add(writes(1, "KL"), 0);
    let third = stage.add(writes(2, "L"), 1);
    stage.add(reads("kl"), 1);
    stage.after = vec![(second, first, false), (third, second, false)];
    all.push(
        stage.scenario("KL, KL, L with a reader and a crash", Budget { crashes: 1, ..Budget::default() }),
    );

    let mut stage = Stage::new(bug, &MEMBERS).done(&["K"]).passed(1_500);
    stage.add(writes(1, "KL"), 0);
    stage.add(reads("lk"), 1);
    let budget = Budget { splits: 2, ..Budget::default() };
    all.push(stage.scenario("K then KL with a reader that read l first", budget));

    let mut stage = Stage::new(bug, &MEMBERS);
    stage.add(writes(0, "KL"), 0);
    let first = stage.add(reads("k"), 1);
    let second = stage.add(reads("lk"), 1);
    stage.after.push((second, first, false));
    let budget = Budget { crashes: 1, splits: 2, ..Budget::default() };
    all.push(stage.scenario("a sibling key on the node that read a half-entered transaction", budget));

    // Both nodes commit at the same instant, with equal commit times: only the attempts order them.
    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL"]);
    stage.add(writes(1, "KL"), 0);
    stage.add(writes(2, "KL"), 1);
    let stage = stage.readers(reads);
    all.push(stage.scenario("KL and KL at the same instant, 2 readers", Budget::default()));

    let mut stage = Stage::new(bug, &MEMBERS);
    stage.run(plain(0, "K"), 0);
    stage.add(plain(1, "K"), 0);
    stage.add(plain(2, "k"), 1);
    stage.add(writes(3, "KL"), 1);
    stage.add(fresh("kl"), 0);
    let budget = Budget { no_answers: 1, late: 1, crashes: 1, ..Budget::default() };
    all.push(stage.scenario("whole entries", budget));

    let mut settings = small_settings(false);
    settings.bug = bug;
    (settings.index_bytes_max, settings.versions_kept_max, settings.version_page_len) = (1, 1, 1);
    let mut stage = Stage::with(settings, &MEMBERS).done(&["KL", "K", "KL"]).passed(1_500);
    stage.add(writes(3, "KL"), 0);
    stage.add(reads("klk"), 1);
    stage.add(reads("lkl"), 1);
    all.push(stage.scenario("a reader whose node forgets", Budget { splits: 1, ..Budget::default() }));

    // The reader's node has listings from before the writes, and gets tells of them.
    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL"]);
    stage.run(reads("kl"), 1);
    let writer = stage.add(writes(1, "KL"), 0);
    let second = stage.add(writes(2, "L"), 0);
    stage.after.push((second, writer, false));
    stage.add(reads("kl"), 1);
    stage.add(reads("lk"), 1);
    stage.jumps = vec![stage.settings().recheck_after_ms + 1];
    all.push(stage.scenario("a reader by old listings, tells", Budget { crashes: 1, ..Budget::default() }));

    let mut stage = Stage::new(bug, &MEMBERS).three().done(&["K", "L"]).passed(1_500);
    stage.add(writes(2, "M"), 0);
    stage.add(writes(3, "KM"), 1);
    stage.add(reads("/mk"), 0);
    all.push(stage.scenario("a listing page by page, beside M and KM", Budget::default()));

    // The keys k and m have a common prefix, which k settles.
    let mut stage = Stage::new(bug, &MEMBERS).three().done(&["KM"]).passed(1_500);
    stage.add(writes(1, "KM"), 0);
    stage.add(writes(2, "L"), 1);
    stage.add(reads("~mkl"), 0);
    stage.add(reads("l~km"), 1);
    all.push(stage.scenario("a listing of common prefixes, beside KM and L", Budget::default()));

    let mut stage = Stage::new(bug, &MEMBERS).three().done(&["KM", "k"]).passed(1_500);
    stage.add(writes(2, "Km"), 0);
    stage.add(writes(3, "km"), 1);
    stage.add(reads("~km"), 0);
    stage.add(reads("~mk"), 1);
    all.push(stage.scenario("a listing of a common prefix whose keys are deleted", Budget::default()));

    let mut stage = Stage::new(bug, &MEMBERS);
    stage.add(writes(0, "KL"), 0);
    stage.add(reads("*kl"), 1);
    let second = stage.add(reads("k*l"), 1);
    stage.after.push((second, 1, false));
    let budget = Budget { crashes: 1, splits: 1, ..Budget::default() };
    all.push(stage.scenario("list then get of a half-entered transaction", budget));
    all
}
