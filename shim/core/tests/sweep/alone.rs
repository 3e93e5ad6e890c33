//! Stories of a store that one process holds: the mark follows that process's own attempts, not a
//! clock.

use aft_core::ids::AttemptId;
use aft_core::message::{Batch, Found, Input, Refusal, Reply, Verb};
use aft_core::store::{Answer, Call, CallError, Name};

use crate::world::{START_MS, World, at, begin, demand, op};
use crate::{Ground, Story, Verdict};

pub(crate) const STORIES: &[Story] = &[
    ("the mark follows its own attempts at once", follows_at_once),
    ("the mark settles when the transactions that were open have ended", settles_with_the_open),
    ("a mark settles that was moved and not seen in its place", settles_unseen),
    ("the mark stays below a commit in flight", stays_below_commits),
    ("after a start the mark has settled", settled_after_a_start),
    ("a wall clock that is set back", clock_set_back),
    ("a wall clock that is set back between two lives", clock_set_back_over_a_restart),
    ("a deleted key stays deleted for readers", readers_follow),
    ("notes of an earlier process are not used", notes_of_another),
];

fn world(ground: Ground) -> (World, usize) {
    let mut world = World::new(ground.settings(true), (0, 0), &[]);
    let side = world.start();
    (world, side)
}

fn commit(world: &mut World, side: usize, name: char, ops: &str) -> Verdict {
    world.pass(1);
    match world.verb(side, begin(name, ops, true)) {
        Ok(Reply::Begun { committed: Some(_), .. }) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Lets the sweep interval pass, and runs one sweep of the node.
fn sweep(world: &mut World, side: usize) {
    world.pass(world.settings.sweep_interval_ms);
    world.run_one_sweep(side);
}

/// Returns the entries of a store without their times.
fn entries(world: &World) -> String {
    let names = world.store.names().into_iter();
    let entry = |name: &Name| match name {
        Name::Version(key, entry) => Some(format!("{key}@{}", char::from(entry.txn.attempt.0[0]))),
        _ => None,
    };
    names.filter_map(entry).collect::<Vec<String>>().join(" ")
}

fn expect(world: &World, text: &str) -> Verdict {
    let found = entries(world);
    if found == text { Ok(()) } else { Err(format!("found {found}, expected {text}")) }
}

fn follows_at_once(ground: Ground) -> Verdict {
    let (mut world, side) = world(ground);
    commit(&mut world, side, 'x', "a b")?;
    commit(&mut world, side, 'y', "a")?;
    sweep(&mut world, side);
    expect(&world, "a@y a@x b@x")?;
    sweep(&mut world, side);
    expect(&world, "a@y b@x")
}

fn settles_with_the_open(ground: Ground) -> Verdict {
    let (mut world, side) = world(ground);
    commit(&mut world, side, 'x', "a")?;
    // Use short intervals and long timeouts: sweeps follow each other while transactions are open.
    world.settings.sweep_interval_ms = 10;
    world.settings.timeout_default_ms = 60_000;
    world.settings.timeout_max_ms = 60_000;
    let side = world.start();
    world.verb(side, begin('r', "?a", false)).map_err(|refusal| format!("{refusal:?}"))?;
    commit(&mut world, side, 'y', "a")?;
    sweep(&mut world, side);
    let mark = world.store.format().mark;
    demand(mark > at(START_MS), "the mark moves while a transaction is open")?;
    for _ in 0..3 {
        sweep(&mut world, side);
        expect(&world, "a@y a@x")?;
        demand(world.store.format().mark == mark, "a mark that has not settled is not moved")?;
    }
    world.verb(side, Verb::Abort(AttemptId([b'r'; 16]))).map_err(|refusal| format!("{refusal:?}"))?;
    sweep(&mut world, side);
    expect(&world, "a@y")
}

fn settles_unseen(ground: Ground) -> Verdict {
    let (mut world, side) = world(ground);
    commit(&mut world, side, 'x', "a b")?;
    commit(&mut world, side, 'y', "a")?;
    world.step(side, Input::Upkeep(true));
    while !matches!(world.next_call(side), Some(Call::Replace(Name::Format, ..))) {
        demand(world.answer(side), "the mark is moved")?;
    }
    world.answer(side);
    // The mark has moved, and the read that should see it fails.
    demand(matches!(world.next_call(side), Some(Call::Get(Name::Format))), "the mark is read")?;
    world.give(side, Answer::Failed(CallError::Refused("not now".into())));
    world.stop(side);
    let mark = world.store.format().mark;
    demand(mark > at(START_MS), "the mark has moved")?;
    sweep(&mut world, side);
    sweep(&mut world, side);
    expect(&world, "a@y b@x")?;
    demand(world.store.format().mark > mark, "the mark goes on")
}

fn stays_below_commits(ground: Ground) -> Verdict {
    let (mut world, side) = world(ground);
    commit(&mut world, side, 'x', "a")?;
    // The commit is in flight during a sweep, and lands after its transaction has ended with an
    // unknown outcome.
    world.pass(1);
    world.step(side, Input::Verb(aft_core::message::Ticket(900), begin('y', "a b", true)));
    while !matches!(world.next_call(side), Some(Call::Commit(_))) {
        demand(world.answer(side), "it is sent")?;
    }
    let landing = world.take_call(side).ok_or("it is in flight")?;
    world.pass(2_000);
    world.step(side, Input::Wake);
    world.step(side, Input::Upkeep(true));
    world.run(side);
    world.give_to(side, landing)?;
    world.stop(side);
    let mark = world.store.format().mark;
    let newest = world.store.names().into_iter().filter_map(|name| match name {
        Name::Version(_, entry) => Some(entry.txn),
        _ => None,
    });
    demand(newest.max() > Some(mark), "the mark stays below the commit in flight")?;
    sweep(&mut world, side);
    sweep(&mut world, side);
    expect(&world, "a@y b@y")
}

fn settled_after_a_start(ground: Ground) -> Verdict {
    let (mut world, side) = world(ground);
    commit(&mut world, side, 'x', "a")?;
    commit(&mut world, side, 'y', "a")?;
    sweep(&mut world, side);
    expect(&world, "a@y a@x")?;
    let restarted = world.start();
    world.step(restarted, Input::Upkeep(true));
    world.run(restarted);
    expect(&world, "a@y")
}

fn clock_set_back(ground: Ground) -> Verdict {
    let (mut world, side) = world(ground);
    commit(&mut world, side, 'x', "a")?;
    world.wall_ahead_ms = 1_000_000;
    sweep(&mut world, side);
    // Later commits are nevertheless above the mark.
    world.wall_ahead_ms = 0;
    commits_above_the_mark(&mut world, side, 'y')
}

fn clock_set_back_over_a_restart(ground: Ground) -> Verdict {
    let (mut world, side) = world(ground);
    world.wall_ahead_ms = 1_000_000;
    commit(&mut world, side, 'x', "a-")?;
    // Remove everything but the mark.
    (0..3).for_each(|_| sweep(&mut world, side));
    expect(&world, "")?;
    world.wall_ahead_ms = 0;
    let restarted = world.start();
    world.pass(1);
    world.step(restarted, Input::Verb(aft_core::message::Ticket(900), begin('y', "b c", true)));
    // Answer the read of the mark last.
    demand(matches!(world.next_call(restarted), Some(Call::Get(Name::Format))), "the mark is read")?;
    let mark = world.take_call(restarted).ok_or("it is in flight")?;
    while world.next_call(restarted).is_some() {
        let commits = matches!(world.next_call(restarted), Some(Call::Commit(_)));
        demand(!commits, "nothing is committed before the mark is known")?;
        let reads_mark = matches!(world.next_call(restarted), Some(Call::Get(Name::Format)));
        if reads_mark {
            break;
        }
        world.answer(restarted);
    }
    world.give_to(restarted, mark)?;
    world.run(restarted);
    expect(&world, "b@y c@y")?;
    commits_above_the_mark(&mut world, restarted, 'z')
}

fn commits_above_the_mark(world: &mut World, side: usize, name: char) -> Verdict {
    let mark = world.store.format().mark;
    commit(world, side, name, "b c")?;
    let is_low = |entry: &Name| match entry {
        Name::Version(_, entry) => entry.txn.attempt.0[0] == name as u8 && entry.txn <= mark,
        _ => false,
    };
    demand(!world.store.names().into_iter().any(is_low), "nothing is committed below the mark")
}

fn read(world: &mut World, side: usize, name: char, ops: &str) -> Result<Vec<Found>, String> {
    match world.verb(side, begin(name, ops, true)) {
        Ok(Reply::Begun { reads, .. }) => Ok(reads.into_iter().map(|read| read.found).collect()),
        Err(Refusal::SnapshotGone(key)) => Err(format!("the snapshot of {key} is gone")),
        other => Err(format!("{other:?}")),
    }
}

fn readers_follow(ground: Ground) -> Verdict {
    let (mut world, _) = world(ground);
    // Run the story once while everything is young, and once when everything is old.
    for (interval_ms, pass_ms) in [(10, 0), (10, 100_000)] {
        world.settings.sweep_interval_ms = interval_ms;
        world.settings.timeout_max_ms = 60_000;
        world.settings.retention_max_ms = 10_000_000;
        let side = world.start();
        let names: Vec<char> = if pass_ms == 0 { "abcdef".chars() } else { "ghijkl".chars() }.collect();
        read(&mut world, side, names[0], "?k ?l")?;
        commit(&mut world, side, names[1], "k l")?;
        commit(&mut world, side, names[2], "k-")?;
        (0..5).for_each(|_| sweep(&mut world, side));
        expect(&world, &format!("l@{}", names[1]))?;
        world.pass(pass_ms);
        // Read the keys one after the other, so that the first read constrains the second.
        let first = Batch { ops: vec![op("?l")], commit: None };
        let reader = AttemptId([names[3] as u8; 16]);
        world.verb(side, begin(names[3], "", false)).map_err(|refusal| format!("{refusal:?}"))?;
        let read_l = world.verb(side, Verb::Run(reader, first)).map_err(|refusal| format!("{refusal:?}"))?;
        let Reply::Ran { reads, .. } = read_l else { return Err(format!("{read_l:?}")) };
        demand(matches!(reads[0].found, Found::Version(..)), "l is there")?;
        let then = Batch { ops: vec![op("?k")], commit: None };
        let read_k = world.verb(side, Verb::Run(reader, then)).map_err(|refusal| format!("{refusal:?}"))?;
        let Reply::Ran { reads, .. } = read_k else { return Err(format!("{read_k:?}")) };
        demand(
            reads[0].found == Found::Absent,
            &format!("k was deleted, and reads as {:?}", reads[0].found),
        )?;
        world.verb(side, Verb::Abort(reader)).map_err(|refusal| format!("{refusal:?}"))?;
        commit(&mut world, side, names[4], "l-")?;
        (0..5).for_each(|_| sweep(&mut world, side));
        expect(&world, "")?;
    }
    Ok(())
}

fn notes_of_another(ground: Ground) -> Verdict {
    let (mut world, side) = world(ground);
    commit(&mut world, side, 'x', "a")?;
    commit(&mut world, side, 'y', "b c")?;
    world.settings.scan_page_len = 1;
    world.wall_ahead_ms = 1_000_000;
    let second = world.start();
    world.step(second, Input::Upkeep(true));
    let _ = (0..5).all(|_| world.answer(second));
    world.stop(second);
    demand(world.store.body(&Name::Notes).is_some(), "it leaves notes")?;
    // The clock is set back, and the next process commits far below the target of the notes, at
    // keys that the sweep has already passed.
    world.wall_ahead_ms = 0;
    let third = world.start();
    commit(&mut world, third, 'z', "a d")?;
    sweep(&mut world, third);
    let mark = world.store.format().mark;
    demand(world.store.body(&Name::Notes).is_none(), "useless notes are deleted")?;
    demand(mark < at(START_MS + 500_000), "the mark is below the target of the notes")
}
