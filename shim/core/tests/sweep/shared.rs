//! Stories of stores that several processes use, where targets rest on the store's time.

use std::sync::Arc;

use aft_core::message::{Found, Input, Note, Reply};
use aft_core::record::{ENTRY_BYTES_BASE, Format, Write};
use aft_core::settings::Settings;
use aft_core::store::{Answer, Body, Call, CallError, Name};

use crate::store::Store;
use crate::words::{Line, hash};
use crate::world::{START_MS, World, at, begin, demand};
use crate::{Ground, Story, Verdict};

pub(crate) const STORIES: &[Story] = &[
    ("superseded entries are removed, at each key independently", superseded_entries_go),
    ("entries above the settled mark are not removed", unsettled_entries_stay),
    ("an undecided entry supersedes nothing and stays", undecided_entries_stay),
    ("the missing entries of a commit are put", half_entered_is_completed),
    ("a commit that was never reported is entered", untold_commit_is_entered),
    ("a loser's dead entries do not count for the winner", loser_hides_no_winner),
    ("dead entries are removed before the mark passes them", dead_entries_go),
    ("an attempt that committed with a later time leaves dead entries", earlier_time_is_dead),
    ("whole entries are commits", whole_entries),
    ("the mark stays below attempts that are not over", mark_follows_the_time),
    ("a mark that has not settled is not moved", unsettled_mark_stays),
    ("a member's next sweep waits until the mark has settled", member_waits_for_the_mark),
    ("records are removed when their retention has passed", retention),
    ("retention is judged by the store's time", retention_by_the_stores_time),
    ("a record is removed only if it has not changed since it was read", record_used_again),
    ("stubs remain where nothing is deleted by tag", stubs),
    ("a tombstone is removed only if it is alone", tombstones),
    ("blobs of losers and of dead attempts are removed", blobs),
    ("all objects of a superseded large value are removed", large_value_goes),
    ("a sweep that is stopped at any point can be resumed", stopped_anywhere),
    ("a job in small slices comes to an end", slices),
    ("attempts that do not fit into the window wait for the next sweep", window_overflows),
    ("a sweep with more attempts to verify than fit can be stopped", stopped_with_a_full_window),
    ("more hashes than fit take several passes", hash_ranges),
    ("another sweeper moves the mark", overtaken),
    ("puts do not rest on an old mark", puts_rest_on_the_mark),
    ("two sweeps at once", two_at_once),
    ("two sweeps over a store that does not always answer", two_without_answers),
    ("a damaged record blocks nothing but itself", damaged_record),
    ("a record counts as damaged only after a second read", damaged_on_its_way),
    ("a key stays deleted on the node that removed its tombstone", tombstone_on_its_remover),
    ("a damaged mark stops the sweep", missing_mark),
    ("a rejected note holds the mark", refused_note),
    ("a rejected put holds the mark", refused_put),
    ("a rejected deletion holds the mark", refused_deletion),
    ("the mark lands long after it was sent", mark_lands_late),
    ("the node that moved the mark vanishes", mover_vanishes),
    ("records that earlier sweeps saw are read once a day", old_records_are_looked_at_daily),
    ("listings include the records", records_in_listings),
    ("a guest sweeps on request", guest),
];

fn settings(ground: Ground) -> Settings {
    ground.settings(false)
}

/// A mark far above old commits, and settled.
const OLD: (u64, u64) = (90_000, 90_000);

/// Runs one sweep.
fn once(ground: Ground, marks: (u64, u64), lines: &[&str], expect: &str) -> Verdict {
    let mut world = World::new(settings(ground), marks, lines);
    world.sweep();
    world.expect(expect)
}

fn superseded_entries_go(ground: Ground) -> Verdict {
    let lines = ["100x a b: all", "200y a: all", "300z c: all", "400w c: all", "500v c: all"];
    once(ground, OLD, &lines, "record v, record w, record x, record y, record z, a@200y, b@100x, c@500v")
}

fn unsettled_entries_stay(ground: Ground) -> Verdict {
    let lines = ["50v a: all", "100x a: all", "200y a: all", "300z a: all"];
    let expect = "record v, record x, record y, record z, a@300z, a@200y, a@100x";
    once(ground, (150, 90_000), &lines, expect)
}

fn undecided_entries_stay(ground: Ground) -> Verdict {
    let lines = ["100x a: all", "99500y a b: a", "99600z a: all"];
    once(ground, OLD, &lines, "record x, record z, a@99600z, a@99500y, a@100x")
}

fn half_entered_is_completed(ground: Ground) -> Verdict {
    let lines = ["100v a: all", "95000x a b c-: record b", "95500y b: all"];
    let mut world = World::new(settings(ground), OLD, &lines);
    world.sweep();
    world.expect("record v, record x, record y, a@95000x, a@100v, b@95500y, b@95000x, c@95000x-")?;
    world.expect_mark(98_400, 98_490)?;
    demand(world.notes.contains(&Note::EntriesRepaired(2)), "repairs are reported")
}

fn untold_commit_is_entered(ground: Ground) -> Verdict {
    // The retention of the record has passed, but it was never verified.
    let lines = ["95000x a b: record kept=3011 named"];
    once(ground, OLD, &lines, "record x, a@95000x, b@95000x")
}

fn loser_hides_no_winner(ground: Ground) -> Verdict {
    let lines = ["95000x a b: record named", "95100y a b: of=x a b"];
    once(ground, OLD, &lines, "record x, a@95000x, b@95000x")
}

fn dead_entries_go(ground: Ground) -> Verdict {
    let lines = ["100v a: all", "95000x a b: a b", "95100y a b: b"];
    let mut world = World::new(settings(ground), OLD, &lines);
    world.sweep();
    world.expect("record v, a@100v")?;
    world.expect_mark(98_400, 98_490)?;
    let removed =
        world.notes.iter().map(|note| if let Note::EntriesRemoved(some) = note { *some } else { 0 });
    demand(removed.sum::<u64>() == 3, "removals are reported")?;
    // Three names, each of a key of one letter and the overhead of the format.
    demand(world.reclaimed() == 3 * (ENTRY_BYTES_BASE as u64 + 1), "and the bytes of their names")
}

fn earlier_time_is_dead(ground: Ground) -> Verdict {
    once(ground, OLD, &["95000x a b: a", "95500x a b: all"], "record x, a@95500x, b@95500x")
}

fn whole_entries(ground: Ground) -> Verdict {
    let lines = ["100x a: whole", "200y a: whole", "95000z a: whole", "99500w a: whole"];
    let mut world = World::new(settings(ground), OLD, &lines);
    world.sweep();
    world.expect("a@99500w, a@95000z, a@200y")?;
    world.pass(10_000);
    world.sweeps(3);
    world.expect("a@99500w")?;
    demand(world.store.gets.is_empty(), "whole entries lead to no record")
}

fn mark_follows_the_time(ground: Ground) -> Verdict {
    // The attempt at 99 s commits after the sweep has passed its key.
    let mut world = World::new(settings(ground), OLD, &["100x a: all"]);
    world.sweep();
    world.expect_mark(98_400, 98_490)?;
    world.pass(1_000);
    Line::parse("99000y a b: all", 3_011).put(&mut world.store);
    world.sweep();
    world.pass(2_000);
    world.sweep();
    world.expect_mark(101_000, 102_490)?;
    world.expect("record x, record y, a@99000y, a@100x, b@99000y")
}

fn unsettled_mark_stays(ground: Ground) -> Verdict {
    let mut world = World::new(settings(ground), (150, 90_000), &["100x a: all", "95000y a b: record a"]);
    // Frequent sweeps do not keep the mark from settling.
    for _ in 0..11 {
        world.sweep();
        world.expect_mark(90_000, 90_000)?;
        world.pass(100);
    }
    world.expect("record x, record y, a@95000y, a@100x")?;
    world.pass(50);
    world.sweep();
    world.expect("record x, record y, a@95000y, a@100x, b@95000y")?;
    world.expect_mark(99_500, 99_700)?;
    demand(world.store.format().settled == at(90_000), "the mark before had settled")
}

fn member_waits_for_the_mark(ground: Ground) -> Verdict {
    let settings = settings(ground);
    let quick = Settings { sweep_interval_ms: settings.settle_after_ms() / 2, ..settings };
    let mut world = World::new(quick, OLD, &["100x a: whole"]);
    let side = world.start();
    world.step(side, Input::Upkeep(true));
    for sweeps in 1..=4 {
        world.run_until_swept(side, sweeps);
        // A sweep that found an unsettled mark would not have moved it.
        let moves = world.notes.iter().filter(|note| matches!(note, Note::MarkMoved(_))).count();
        demand(moves == sweeps, &format!("{moves} moves in {sweeps} sweeps"))?;
    }
    Ok(())
}

fn retention(ground: Ground) -> Verdict {
    let lines = ["100x a: record", "200y b: record kept=99900 named", "300z: record kept=3011 named"];
    let mut world = World::new(settings(ground), OLD, &lines);
    world.sweep();
    world.expect("record y")?;
    world.pass(200);
    world.sweep();
    world.expect("")
}

fn retention_by_the_stores_time(ground: Ground) -> Verdict {
    let lines = ["200y b: record kept=99900 named"];
    let mut world = World::new(settings(ground), OLD, &lines);
    world.wall_ahead_ms = 1_000_000;
    world.sweep();
    world.expect("record y")
}

fn record_used_again(ground: Ground) -> Verdict {
    let mut world = World::new(settings(ground), OLD, &["100x a: record named"]);
    let side = world.start();
    world.step(side, Input::Upkeep(true));
    while !matches!(world.next_call(side), Some(Call::DeleteIf(..) | Call::Delete(_)) | None) {
        world.answer(side);
    }
    // Another sweeper was faster, and the request has run again.
    Line::parse("99900y a: of=x all", 3_011).put(&mut world.store);
    world.run(side);
    world.expect("record y, a@99900y")
}

fn stubs(ground: Ground) -> Verdict {
    let settings = Settings { delete_if: false, ..settings(ground) };
    let lines = ["100x a: record named", "200y b: record"];
    let mut world = World::new(settings, OLD, &lines);
    world.sweeps(2);
    world.expect("stub x")?;
    let removed = world.notes.iter().filter(|note| matches!(note, Note::RecordsRemoved(_))).count();
    demand(removed == 2, "a record is removed once")
}

fn tombstones(ground: Ground) -> Verdict {
    let lines = ["100x a: whole", "200y a-: whole", "300z b-: whole", "99500w b: whole", "400v c-: whole"];
    let mut world = World::new(settings(ground), OLD, &lines);
    world.sweep();
    world.expect("a@200y-, b@99500w, b@300z-")?;
    world.sweep();
    world.expect("b@99500w, b@300z-")?;
    world.pass(10_000);
    world.sweeps(3);
    world.expect("b@99500w")
}

fn blobs(ground: Ground) -> Verdict {
    let lines = [
        "100x a*: all parts named",
        "100y a*: of=x parts",
        "95000z b*: b parts",
        "99500w c*: parts",
        "200v d*: record parts kept=99900",
    ];
    let mut world = World::new(settings(ground), OLD, &lines);
    world.sweep();
    world.expect("record v, record x, v/0, w/0, x/0, a@100x")?;
    demand(world.notes.contains(&Note::PartsRemoved(1)), "removals are reported")?;
    // Only the dead entry counts, because listings do not give the length of a part.
    demand(world.reclaimed() == ENTRY_BYTES_BASE as u64 + 1, "parts of losers are not in the bytes")?;
    demand(
        !world.store.gets.contains_key(&hash('w')),
        "the record of an attempt that is not over is not read",
    )
}

fn large_value_goes(ground: Ground) -> Verdict {
    let lines = ["100x a*: all parts", "200y a: whole"];
    let mut world = World::new(settings(ground), OLD, &lines);
    let Some(Body::Record(record)) = world.store.body(&Name::Commit(hash('x'))).cloned() else {
        return Err("the line has a record".into());
    };
    world.sweeps(1);
    world.expect("record x, x/0, a@200y")?;
    let names = world.reclaimed();
    demand(names == ENTRY_BYTES_BASE as u64 + 1, "an entry's name is counted, not the value it leads to")?;
    world.sweeps(1);
    world.expect("a@200y")?;
    let large = record.writes[0].1.meta().size;
    demand(large > 0 && record.stored_bytes() > record.bytes_max() as u64 + large, "with name and value")?;
    demand(world.reclaimed() - names == record.stored_bytes(), "the value is counted with its record")
}

/// Transactions of every kind.
const ALL_KINDS: [&str; 12] = [
    "100a k l m: all",
    "200b k: all",
    "300c l-: all",
    "400d n: record",
    "500e o*: all parts",
    "500f o*: of=e parts",
    "95000g k l: record l",
    "95100h k p: k",
    "95200i q: record named",
    "95300j q r: of=i q r",
    "96000k s: whole",
    "99500l k l: k l",
];
const ALL_KINDS_SWEPT: &str = "record a, record b, record c, record e, record g, record i, e/0, \
     k@99500l, k@95000g, k@200b, l@99500l, l@95000g, l@300c-, m@100a, o@500e, q@95200i, s@96000k";

fn stopped_anywhere(ground: Ground) -> Verdict {
    let small = Settings { scan_page_len: 2, sweep_calls_max: 3, delete_batch_len: 2, ..settings(ground) };
    let mut resumed = 0;
    for answers in 0.. {
        let mut world = World::new(small.clone(), OLD, &ALL_KINDS);
        let side = world.start();
        world.step(side, Input::Upkeep(true));
        if !(0..answers).all(|_| world.answer(side)) {
            // The sweep has ended.
            world.expect(ALL_KINDS_SWEPT)?;
            return demand(
                answers > 30 && resumed > 20,
                &format!("there are {answers} places to stop at, {resumed} leave notes"),
            );
        }
        world.stop(side);
        resumed += u32::from(world.store.body(&Name::Notes).is_some());
        world.sweep();
        world.expect(ALL_KINDS_SWEPT).map_err(|why| format!("stopped after {answers}: {why}"))?;
        world.expect_mark(98_400, 98_490)?;
    }
    unreachable!("it returns when a sweep ends")
}

fn slices(ground: Ground) -> Verdict {
    let small = Settings { scan_page_len: 1, sweep_calls_max: 1, ..settings(ground) };
    let mut world = World::new(small, OLD, &ALL_KINDS);
    for _ in 0..100 {
        let side = world.start();
        world.step(side, Input::Upkeep(true));
        // Three answers to begin, and three for progress.
        let _ = (0..6).all(|_| world.answer(side));
        world.stop(side);
        if world.store.format().mark > at(90_000) {
            // Notes do not cover blobs, so a whole sweep removes them.
            world.sweep();
            world.expect(ALL_KINDS_SWEPT)?;
            return demand(world.store.gets[&hash('g')] == 1, "a record is verified once");
        }
    }
    Err("a hundred slices are not enough".into())
}

fn window_overflows(ground: Ground) -> Verdict {
    let settings = Settings { sweep_window_max: 2, ..settings(ground) };
    let lines =
        ["95000a k l: record l", "95100b k l: record k", "95200c k l: l", "95300d k l: all", "95400e l m: l"];
    let mut world = World::new(settings, OLD, &lines);
    world.sweep();
    world.expect_mark(95_199, 95_200)?;
    world.pass(2_000);
    world.sweeps(1);
    world.expect("record a, record b, record d, k@95300d, k@95100b, l@95300d, l@95100b")?;
    world.expect_mark(99_000, 101_000)
}

fn stopped_with_a_full_window(ground: Ground) -> Verdict {
    let small = Settings { sweep_window_max: 1, sweep_calls_max: 1, ..settings(ground) };
    let lines = ["95000a k: all", "95100b l: all", "95200c m: all"];
    let mut world = World::new(small, OLD, &lines);
    let side = world.start();
    world.step(side, Input::Upkeep(true));
    while !matches!(world.next_call(side), Some(Call::Get(Name::Commit(_)))) {
        demand(world.answer(side), "the first of them is verified")?;
    }
    // Of the other two, only one fits into the window.
    world.stop(side);
    world.sweep();
    world.expect_mark(95_199, 95_200)?;
    world.pass(world.settings.settle_after_ms() + 20);
    world.sweep();
    world.expect_mark(98_400, 101_000)?;
    world.expect("record a, record b, record c, k@95000a, l@95100b, m@95200c")
}

fn hash_ranges(ground: Ground) -> Verdict {
    let settings = Settings { sweep_hashes_max: 2, ..settings(ground) };
    let lines = [
        "100a k: all",
        "200b l: all",
        "300c m: all",
        "400d n: all",
        "500e o: all",
        "600f o: record",
        "700g p: all",
        "95000h q r: record",
        "95100i q r: q",
        "95200j q r: all",
        "95300k q r: record r",
        "98000l s: of=k s",
    ];
    let mut world = World::new(settings, OLD, &lines);
    world.sweep();
    world.expect(
        "record a, record b, record c, record d, record e, record g, record h, record j, record k, k@100a, l@200b, \
         m@300c, n@400d, o@500e, p@700g, q@95300k, q@95200j, q@95000h, r@95300k, r@95200j, r@95000h",
    )?;
    world.expect_mark(98_400, 98_490)?;
    demand(world.swept_whole() == 1, "it covered the store")?;
    let met =
        ['a', 'b', 'c', 'd', 'e', 'g'].iter().filter(|name| world.store.gets.contains_key(&hash(**name)));
    demand(met.count() == 0, "no record is read to which an entry leads")
}

/// Moves the mark like another sweeper.
fn move_mark(store: &mut Store, ms: u64) {
    let before = store.format();
    let format =
        Format { mark: at(ms), moved_ms: Some(store.now_ms), settled: before.mark, ..(*before).clone() };
    store.put(Name::Format, Body::Format(Arc::new(format)));
}

fn overtaken(ground: Ground) -> Verdict {
    for answers in 1..12 {
        let mut world = World::new(settings(ground), OLD, &["95000x a b: all"]);
        let side = world.start();
        world.step(side, Input::Upkeep(true));
        let _ = (0..answers).all(|_| world.answer(side));
        if world.store.format().mark > at(90_000) {
            return demand(answers > 5, "there are places to be overtaken at");
        }
        move_mark(&mut world.store, 99_000);
        world.run(side);
        world.expect("record x, a@95000x, b@95000x")?;
        world.expect_mark(99_000, 99_000)?;
        let format = world.store.format();
        demand(&format.about[..] == b"about", "the rest of the object is kept")?;
    }
    Err("the mark never moved".into())
}

fn puts_rest_on_the_mark(ground: Ground) -> Verdict {
    let mut world = World::new(settings(ground), OLD, &["95000x a b: record b", "95500y b: all"]);
    let side = world.start();
    world.step(side, Input::Upkeep(true));
    while !matches!(world.next_call(side), Some(Call::Get(Name::Commit(of))) if *of == hash('x')) {
        demand(world.answer(side), "the record is asked for")?;
    }
    // The node is slow. Meanwhile another sweeper completes the commit, moves the mark, and removes
    // what is superseded.
    world.pass(900);
    move_mark(&mut world.store, 98_000);
    world.pass(1_300);
    let x = Line::parse("95000x a b: record", 3_011);
    Line::parse("96000z a: all", 3_011).put(&mut world.store);
    world.store.apply(&Call::Delete(vec![x.entry("b")]));
    world.run(side);
    world.expect("record x, record y, record z, a@96000z, b@95500y")
}

fn two_at_once(ground: Ground) -> Verdict {
    for seed in 0..200_u64 {
        let small = Settings { scan_page_len: 3, ..settings(ground) };
        let mut world = World::new(small, OLD, &ALL_KINDS);
        let sides = [world.start(), world.start()];
        sides.iter().for_each(|side| world.step(*side, Input::Upkeep(true)));
        let mut random = seed;
        for _ in 0..400 {
            let side = sides[next(&mut random) as usize % 2];
            if next(&mut random).is_multiple_of(4) {
                world.pass(1);
            }
            world.answer(side);
        }
        sides.iter().for_each(|side| world.run(*side));
        world.expect(ALL_KINDS_SWEPT).map_err(|why| format!("seed {seed}: {why}"))?;
        world.expect_mark(98_400, 99_490)?;
    }
    Ok(())
}

/// Returns a small pseudo-random number, and advances the generator.
fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 40
}

fn two_without_answers(ground: Ground) -> Verdict {
    for seed in 0..300_u64 {
        let small = Settings { scan_page_len: 3, retry_max_ms: 50, ..settings(ground) };
        let mut world = World::new(small, OLD, &ALL_KINDS);
        let sides = [world.start(), world.start()];
        sides.iter().for_each(|side| world.step(*side, Input::Upkeep(true)));
        let mut random = seed;
        let mut on_the_way: Vec<(u64, Call)> = Vec::new();
        for _ in 0..600 {
            let side = sides[next(&mut random) as usize % 2];
            match (next(&mut random) % 8, world.next_call(side).cloned()) {
                // The call took effect, or will within the grace, without an answer.
                (0, Some(call)) => {
                    world.store.apply(&call);
                    world.give(side, Answer::Failed(CallError::NoAnswer));
                }
                (1, Some(call)) => {
                    let lands_ms = world.store.now_ms + next(&mut random) % 490;
                    on_the_way.push((lands_ms, call));
                    world.give(side, Answer::Failed(CallError::NoAnswer));
                }
                (2, Some(_)) => {
                    world.give(side, Answer::Failed(CallError::Busy));
                }
                (3, _) => world.pass(next(&mut random) % 8),
                (_, Some(_)) => {
                    world.answer(side);
                }
                (_, None) => world.step(side, Input::Wake),
            }
            let now_ms = world.store.now_ms;
            let landed: Vec<(u64, Call)> = on_the_way.extract_if(.., |(at_ms, _)| *at_ms <= now_ms).collect();
            landed.iter().for_each(|(_, call)| drop(world.store.apply(call)));
        }
        sides.iter().for_each(|side| world.stop(*side));
        on_the_way.iter().for_each(|(_, call)| drop(world.store.apply(call)));
        world.sweep();
        world.expect(ALL_KINDS_SWEPT).map_err(|why| format!("seed {seed}: {why}"))?;
        world.expect_mark(98_400, 110_000)?;
    }
    Ok(())
}

fn damaged_record(ground: Ground) -> Verdict {
    let lines = ["100v a: all", "200w a: all", "95000x a b*: all parts", "95500y c d: c", "96000z c: all"];
    let mut world = World::new(settings(ground), OLD, &lines);
    world.store.damaged.push(Name::Commit(hash('x')));
    world.sweep();
    world.expect_mark(98_400, 98_490)?;
    let noted = world.notes.iter().any(|note| matches!(note, Note::Damaged(_)));
    demand(noted, "the damage is reported")?;
    world.pass(10_000);
    world.sweeps(3);
    let left = "record w, record x, record z, x/0, damaged x, a@95000x, a@200w, b@95000x, c@96000z";
    world.expect(left)?;
    // Its entries supersede nothing, and are never superseded.
    Line::parse("99000u a: all", 3_011).put(&mut world.store);
    world.sweeps(3);
    world.expect("record u, record x, record z, x/0, damaged x, a@99000u, a@95000x, b@95000x, c@96000z")
}

fn damaged_on_its_way(ground: Ground) -> Verdict {
    // An entry is missing: if the mark passed the commit, that entry would count as collected.
    let lines = ["100v a: all", "95000x a b: record a"];
    let mut world = World::new(settings(ground), OLD, &lines);
    let side = world.start();
    world.step(side, Input::Upkeep(true));
    let of_record = |call: &Call| matches!(call, Call::Get(Name::Commit(of)) if *of == hash('x'));
    while !world.next_call(side).is_some_and(of_record) {
        demand(world.answer(side), "the sweep reads the record")?;
    }
    world.give(side, Answer::Failed(CallError::Damaged("a bad read".into())));
    world.run(side);
    world.stop(side);
    world.expect("record v, record x, a@95000x, a@100v, b@95000x")?;
    world.expect_mark(98_400, 98_490)
}

fn tombstone_on_its_remover(ground: Ground) -> Verdict {
    // The record of the older version stays, because it also wrote another key.
    let patient = Settings { recheck_after_ms: 60_000, ..settings(ground) };
    let mut world = World::new(patient, OLD, &["100x a b: all", "200y a-: whole"]);
    let side = world.start();
    // The node reads the key, and knows both entries.
    let read = |world: &mut World, name: char| match world.verb(side, begin(name, "?a", false)) {
        Ok(Reply::Begun { reads, .. }) => Ok(reads[0].found.clone()),
        other => Err(format!("{other:?}")),
    };
    let is_deleted = |found: &Found| matches!(found, Found::Absent | Found::Version(_, Write::Tombstone));
    demand(is_deleted(&read(&mut world, 'r')?), "it was deleted")?;
    // Another sweep removes the older entry; the node's own sweep then removes the tombstone.
    world.sweep();
    world.expect("record x, a@200y-, b@100x")?;
    world.step(side, Input::Upkeep(true));
    world.run(side);
    world.stop(side);
    world.expect("record x, b@100x")?;
    demand(is_deleted(&read(&mut world, 's')?), "and stays so")
}

fn missing_mark(ground: Ground) -> Verdict {
    let mut world = World::new(settings(ground), OLD, &["100x a: all", "200y a: all"]);
    world.store.damaged.push(Name::Format);
    world.sweep();
    world.expect("record x, record y, a@200y, a@100x")?;
    demand(world.notes.iter().any(|note| matches!(note, Note::Damaged(_))), "the damage is reported")
}

fn refused_note(ground: Ground) -> Verdict {
    // The note fails while a commit still needs an entry at its other key.
    let lines = ["95000x a: all", "95500y b d: b record", "96000z c: all"];
    let mut world = World::new(Settings { scan_page_len: 2, ..settings(ground) }, OLD, &lines);
    world.store.damaged.push(Name::Commit(hash('x')));
    world.store.refuses.push(Name::Damaged(hash('x')));
    world.sweep();
    world.expect("record x, record y, record z, a@95000x, b@95500y, c@96000z")?;
    world.expect_mark(90_000, 90_000)?;
    world.store.refuses.clear();
    world.sweep();
    world.expect("record x, record y, record z, damaged x, a@95000x, b@95500y, c@96000z, d@95500y")?;
    world.expect_mark(98_400, 98_490)
}

fn refused_put(ground: Ground) -> Verdict {
    let lines = ["95000x a b: record b", "95100y a: record", "96000z c: all"];
    let mut world = World::new(settings(ground), OLD, &lines);
    world.store.refuses.push(Line::parse(lines[1], 3_011).entry("a"));
    world.sweep();
    world.expect("record x, record y, record z, a@95000x, b@95000x, c@96000z")?;
    world.expect_mark(95_099, 95_100)?;
    demand(world.store.format().mark < Line::parse(lines[1], 0).record.txn, "the mark stays below")
}

fn refused_deletion(ground: Ground) -> Verdict {
    let lines = ["95000x a b: b", "96000z c: all"];
    let mut world = World::new(settings(ground), OLD, &lines);
    world.store.refuses.push(Line::parse(lines[0], 3_011).entry("b"));
    world.sweep();
    world.expect("record z, b@95000x, c@96000z")?;
    world.expect_mark(94_999, 95_000)?;
    demand(world.store.format().mark < Line::parse(lines[0], 0).record.txn, "the mark stays below")
}

fn mark_lands_late(ground: Ground) -> Verdict {
    let mut world = World::new(settings(ground), OLD, &["95000x a: all"]);
    let side = world.start();
    world.step(side, Input::Upkeep(true));
    while !matches!(world.next_call(side), Some(Call::Replace(Name::Format, ..)) | None) {
        world.answer(side);
    }
    let late = world.next_call(side).cloned().ok_or("the mark is moved")?;
    world.give(side, Answer::Failed(CallError::NoAnswer));
    // The first try lands within the grace, and the next one finds it there.
    world.pass(450);
    world.store.apply(&late);
    world.pass(50);
    world.step(side, Input::Wake);
    world.run(side);
    world.expect_mark(98_400, 98_490)?;
    let format = world.store.format();
    demand(format.moved_ms.is_some(), "it was seen in its place")?;
    demand(world.swept_whole() == 1, "its own try is not taken for another sweeper")
}

fn mover_vanishes(ground: Ground) -> Verdict {
    let lines = ["100w a: all", "95000x a: all", "95100y a: all"];
    let mut world = World::new(settings(ground), OLD, &lines);
    let side = world.start();
    world.step(side, Input::Upkeep(true));
    while world.store.format().mark == at(90_000) {
        demand(world.answer(side), "the mark moves")?;
    }
    // No sweep has seen it in its place, so it does not settle, at any age.
    world.pass(50_000);
    let moved = world.store.format();
    world.sweep();
    demand(world.store.format().mark == moved.mark, "it is not moved")?;
    demand(world.store.format().moved_ms >= Some(START_MS + 50_000), "the next sweep noted a time")?;
    world.expect("record w, record x, record y, a@95100y, a@95000x, a@100w")?;
    world.pass(world.settings.settle_after_ms() + 20);
    world.sweep();
    world.expect("record w, record x, record y, a@95100y")
}

fn old_records_are_looked_at_daily(ground: Ground) -> Verdict {
    let lines = ["100x a: record named kept=200000000", "95000y a: record named kept=200000000"];
    let mut world = World::new(settings(ground), OLD, &lines);
    world.store.says_written = true;
    let side = world.start();
    let mut gets = Vec::new();
    // Sweeps of one process over more than a day.
    for pass_ms in [5_000, 5_000, 86_400_000, 5_000] {
        world.step(side, Input::Upkeep(true));
        world.run(side);
        world.stop(side);
        gets.push((world.store.gets[&hash('x')], world.store.gets[&hash('y')]));
        world.pass(pass_ms);
    }
    // The second record is entered by the first sweep, and found by its entry from then on.
    demand(gets == [(1, 1), (1, 1), (1, 1), (2, 1)], &format!("{gets:?}"))
}

fn records_in_listings(ground: Ground) -> Verdict {
    let mut world = World::new(settings(ground), OLD, &ALL_KINDS);
    world.store.brings_records = true;
    world.sweep();
    world.expect(ALL_KINDS_SWEPT)?;
    demand(!world.store.gets.contains_key(&hash('b')), "a record that an entry leads to is not read")
}

fn guest(ground: Ground) -> Verdict {
    let settings = Settings { guest: true, ..settings(ground) };
    let mut world = World::new(settings, OLD, &["100x a: all", "200y a: all"]);
    let side = world.start();
    world.step(side, Input::Upkeep(true));
    world.run(side);
    world.expect("record x, record y, a@200y")?;
    demand(world.next_wake(side).is_none(), "it does not sweep again by itself")?;
    world.pass(10_000);
    world.step(side, Input::Upkeep(true));
    world.run(side);
    demand(world.swept_whole() == 2, "it sweeps on each request")?;
    world.expect("record y, a@200y")
}
