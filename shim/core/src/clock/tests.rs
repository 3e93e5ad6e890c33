//! Goal: the rules of the store's time and of ages hold, each shown by examples with figures.
//!
//! Method: a clock is stepped and given answers by hand; one `check` per rule compares the clock's
//! results with what follows from the answers.

use super::{Bounds, Clock, DISPUTE_MS, Moment, Now, Reference, STALE_AFTER_MS, StoreTime, THAW_MS};
use crate::ids::Hlc;

/// True time at the monotonic instant 0, in milliseconds.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// Returns clocks that agree, at a monotonic instant.
fn at(mono_ms: u64) -> Now {
    Now { mono_ms, boot_ms: mono_ms, wall_ms: EPOCH_MS + mono_ms }
}

/// Returns an answer of a store whose clock shows `store_ms` beyond the epoch.
fn answer(sent: u64, received: u64, store_ms: u64, span_ms: u64) -> StoreTime {
    let at_ms = EPOCH_MS + store_ms;
    StoreTime { sent_mono_ms: sent, received_mono_ms: received, at_ms, span_ms }
}

fn clock(reference: Reference, mono_ms: u64) -> Clock {
    let mut clock = Clock::new(reference, None);
    assert_eq!(clock.step(at(mono_ms), None), None, "a first step follows no other");
    clock
}

/// Gives the clock an answer, as if to a call that was made at this step.
fn hear(clock: &mut Clock, answer: StoreTime) -> Option<u64> {
    let asked = clock.moment();
    clock.hear(answer, &asked, 0)
}

/// Returns a clock that has heard at `mono_ms` that the store shows the true time.
fn heard(mono_ms: u64) -> Clock {
    let mut clock = clock(Reference::Store, mono_ms);
    assert_eq!(hear(&mut clock, answer(mono_ms, mono_ms, mono_ms, 1)), None);
    clock
}

/// Returns the bounds beyond the epoch.
fn bounds(clock: &Clock) -> Option<(u64, u64)> {
    clock.check_invariants();
    let beyond = |Bounds { earliest_ms, latest_ms }| (earliest_ms - EPOCH_MS, latest_ms - EPOCH_MS);
    clock.bounds().map(beyond)
}

#[test]
fn one_answer_bounds_the_time_by_its_round_trip_and_the_clocks_resolution() {
    let check = |span_ms: u64, round_trip_ms: u64, expected: (u64, u64)| {
        let mut clock = clock(Reference::Store, 5_000);
        assert_eq!(bounds(&clock), None, "no time before the first answer");
        clock.step(at(5_000 + round_trip_ms), None);
        hear(&mut clock, answer(5_000, 5_000 + round_trip_ms, 7_000, span_ms));
        assert_eq!(bounds(&clock), Some(expected), "{span_ms} ms, {round_trip_ms} ms");
    };
    check(1, 0, (7_000, 7_001));
    // The store may have read its clock at once, so the upper bound drifts from the sending.
    check(1, 10, (7_000, 7_012));
    check(1_000, 0, (7_000, 8_000));
    check(1_000, 10, (7_000, 8_011));
    check(1_000, 20_000, (7_000, 28_004));
}

#[test]
fn answers_on_both_sides_of_second_boundaries_narrow_the_bounds_to_about_a_round_trip() {
    let check = |answers: u64, every_ms: u64, round_trip_ms: u64, width_max_ms: u64| {
        let mut clock = clock(Reference::Store, 0);
        for number in 0..answers {
            let sent = number * every_ms;
            let received = sent + round_trip_ms;
            clock.step(at(received), None);
            let true_ms = sent + round_trip_ms / 2;
            assert_eq!(hear(&mut clock, answer(sent, received, true_ms / 1_000 * 1_000, 1_000)), None);
            let (earliest, latest) = bounds(&clock).expect("it was heard");
            assert!(earliest <= received && received <= latest, "the true time is within the bounds");
        }
        let width_ms = clock.bounds().expect("it was heard").width_ms();
        assert!(width_ms <= width_max_ms, "{answers} answers leave {width_ms} ms");
    };
    check(1, 137, 8, 1_009);
    check(8, 137, 8, 1_009);
    check(40, 137, 8, 80);
    check(200, 137, 8, 64);
    // Thousands of answers a second, each of which may round the drift, still leave only a round
    // trip and the drift of a second.
    check(4_500, 1, 8, 12);
}

#[test]
fn questions_at_the_end_of_a_second_narrow_the_bounds_to_about_a_round_trip() {
    let check = |phase_ms: u64, round_trip_ms: u64, questions_max: u64| {
        let mut clock = clock(Reference::Store, 0);
        let ask = |clock: &mut Clock, sent: u64| {
            let received = sent + round_trip_ms;
            clock.step(at(received), None);
            // The store may read its clock at any moment of the round trip: here it does so at
            // once.
            let store_ms = (sent + phase_ms) / 1_000 * 1_000;
            assert_eq!(hear(clock, answer(sent, received, store_ms, 1_000)), None);
            let (earliest, latest) = bounds(clock).expect("it was heard");
            let true_ms = received + phase_ms;
            assert!(earliest <= true_ms && true_ms <= latest, "the true time is within the bounds");
        };
        ask(&mut clock, 0);
        let mut questions = 0;
        while let Some(at_mono) = clock.best_question_mono(clock.mono_ms() + 300) {
            let wait_ms = at_mono - clock.mono_ms();
            assert!((301..=1_300).contains(&wait_ms), "{wait_ms}");
            questions += 1;
            assert!(questions <= questions_max, "{phase_ms}, {round_trip_ms}: {:?}", clock.bounds());
            clock.step(at(at_mono), None);
            ask(&mut clock, at_mono);
        }
        let width_ms = clock.bounds().expect("it was heard").width_ms();
        assert!(width_ms <= round_trip_ms * 5 / 4 + 2, "{phase_ms}, {round_trip_ms}: {width_ms} ms");
        // The bounds drift apart again, by 12 ms in half a minute.
        clock.step(at(clock.mono_ms() + 30_000), None);
        let is_due = clock.best_question_mono(0).is_some();
        assert!(is_due || round_trip_ms > 10, "{phase_ms}, {round_trip_ms}");
    };
    for phase_ms in [0, 1, 250, 499, 500, 501, 998, 999] {
        check(phase_ms, 0, 12);
        check(phase_ms, 3, 12);
        check(phase_ms, 40, 8);
        check(phase_ms, 150, 6);
    }
    assert_eq!(clock(Reference::Store, 0).best_question_mono(0), None, "no answer has carried the time");
    let mut fine = heard(10_000);
    fine.step(at(40_000), None);
    assert_eq!(fine.best_question_mono(0), None, "a store with a resolution of a millisecond");
}

#[test]
fn bounds_widen_by_two_parts_in_ten_thousand_on_each_side() {
    let check = |elapsed_ms: u64, expected: (u64, u64)| {
        let mut clock = heard(0);
        clock.step(at(elapsed_ms), None);
        assert_eq!(bounds(&clock), Some(expected), "after {elapsed_ms} ms");
    };
    check(0, (0, 1));
    check(1, (0, 3));
    check(5_000, (4_999, 5_002));
    check(50_000, (49_990, 50_011));
}

#[test]
fn a_time_that_was_not_confirmed_for_a_minute_is_not_known() {
    let check = |elapsed_ms: u64, is_known: bool| {
        let mut clock = heard(0);
        clock.step(at(elapsed_ms), None);
        assert_eq!(clock.bounds().is_some(), is_known, "after {elapsed_ms} ms");
        hear(&mut clock, answer(elapsed_ms, elapsed_ms, elapsed_ms, 1));
        assert!(clock.bounds().is_some(), "an answer makes it known");
    };
    check(STALE_AFTER_MS, true);
    check(STALE_AFTER_MS + 1, false);
    check(10 * STALE_AFTER_MS, false);
}

#[test]
fn answers_that_disagree_both_count_for_a_while_and_the_new_one_from_then_on() {
    let check = |store_ms: u64, apart_ms: u64| {
        let mut clock = heard(20_000);
        let said = hear(&mut clock, answer(20_000, 20_000, store_ms, 1));
        assert_eq!(said, Some(apart_ms), "the distance between the nearest bounds");
        let (low, high) = (store_ms.min(20_000), store_ms.max(20_000));
        assert_eq!(bounds(&clock), Some((low, high + 1)), "both are covered");
        clock.step(at(20_000 + DISPUTE_MS - 1), None);
        let (earliest, latest) = bounds(&clock).expect("it is known");
        assert!(latest - earliest > high - low, "both are covered to the end");
        clock.step(at(20_000 + DISPUTE_MS), None);
        let drift_ms = DISPUTE_MS / 5_000;
        let now_ms = store_ms + DISPUTE_MS;
        assert_eq!(bounds(&clock), Some((now_ms - drift_ms, now_ms + 1 + drift_ms)), "the new one");
    };
    check(25_000, 4_999);
    check(15_000, 4_999);
    check(20_002, 1);
}

#[test]
fn a_pause_shows_by_any_two_clocks_that_moved_apart_and_by_a_late_step() {
    let check = |now: Now, wake: Option<u64>, gap_ms: Option<u64>| {
        let mut clock = heard(10_000);
        assert_eq!(clock.step(now, wake), gap_ms, "{now:?}, promised for {wake:?}");
        assert_eq!(clock.bounds().is_none(), gap_ms.is_some(), "after a pause no time is known");
    };
    let after = |mono: u64, boot: u64, wall: i64| Now {
        mono_ms: 10_000 + mono,
        boot_ms: 10_000 + boot,
        wall_ms: (EPOCH_MS + 10_000).saturating_add_signed(wall),
    };
    check(after(5_000, 5_000, 5_000), None, None);
    // The process was suspended: the monotonic clock paused.
    check(after(1, 1 + THAW_MS, 1), None, None);
    check(after(1, 2 + THAW_MS, 1), None, Some(THAW_MS + 1));
    check(after(0, 60_000, 60_000), None, Some(60_000));
    // The wall clock was set, or advanced alone.
    check(after(10, 10, 1_010), None, None);
    check(after(10, 10, 1_011), None, Some(1_001));
    check(after(10, 10, -991), None, Some(1_001));
    // All clocks agree, but the step comes later than the node wanted to be woken.
    check(after(6_000, 6_000, 6_000), Some(15_000), None);
    check(after(6_001, 6_001, 6_001), Some(15_000), Some(1_001));
    check(after(6_001, 6_001, 6_001), Some(20_000), None);
}

#[test]
fn a_pause_too_short_to_notice_widens_the_upper_bound_by_what_any_clock_has_counted() {
    let after = |mono: u64, boot: u64, wall: i64| Now {
        mono_ms: 10_000 + mono,
        boot_ms: 10_000 + boot,
        wall_ms: (EPOCH_MS + 10_000).saturating_add_signed(wall),
    };
    let check = |steps: &[Now], expected: (u64, u64)| {
        let mut clock = heard(10_000);
        for now in steps {
            assert_eq!(clock.step(*now, None), None, "{now:?}");
        }
        assert_eq!(bounds(&clock), Some(expected), "{steps:?}");
    };
    check(&[after(0, 400, 400)], (10_000, 10_401));
    check(&[after(0, 0, 400)], (10_000, 10_401));
    check(&[after(0, 400, 0)], (10_000, 10_401));
    // Several pauses add up; jitter does not.
    check(&[after(0, 400, 400), after(0, 900, 900)], (10_000, 10_901));
    check(&[after(0, 0, 20), after(0, 0, 0), after(0, 0, 20)], (10_000, 10_021));
    // A wall clock that was set back still shows a later pause.
    check(&[after(0, 0, -500), after(0, 0, -200)], (10_000, 10_301));
    check(&[after(0, 0, 400), after(0, 0, -500), after(0, 0, -200)], (10_000, 10_701));
    check(&[after(0, 0, 400), after(0, 0, 100), after(0, 0, 300)], (10_000, 10_601));
    // A call was in flight: its answer may be from before the pause.
    let mut clock = heard(10_000);
    let asked = clock.moment();
    clock.step(after(1, 401, 401), None);
    clock.hear(answer(10_000, 10_001, 10_000, 1), &asked, 1);
    assert_eq!(bounds(&clock), Some((10_000, 10_403)));
}

#[test]
fn a_time_was_heard_since_a_call_if_that_call_or_a_later_one_was_answered() {
    let mut clock = clock(Reference::Store, 10_000);
    assert!(!clock.was_heard_since(0), "no answer");
    let asked = clock.moment();
    clock.hear(answer(10_000, 10_000, 10_000, 1), &asked, 7);
    assert!(clock.was_heard_since(7));
    assert!(!clock.was_heard_since(8), "the same instant is no proof");
}

#[test]
fn after_a_pause_the_age_of_earlier_instants_is_unknown_until_the_store_answers() {
    let check = |pauses: bool, answers: bool, is_blind: bool| {
        let mut clock = heard(10_000);
        let before = clock.moment();
        let boot_ms = if pauses { 15_100 } else { 10_100 };
        clock.step(Now { mono_ms: 10_100, boot_ms, wall_ms: EPOCH_MS + boot_ms }, None);
        if answers {
            hear(&mut clock, answer(10_100, 10_100, boot_ms, 1));
        }
        assert_eq!(clock.is_blind_since(&before), is_blind, "{pauses}, {answers}");
        assert!(!clock.is_blind_since(&clock.moment()), "{pauses}, {answers}");
    };
    check(false, false, false);
    check(false, true, false);
    check(true, false, true);
    check(true, true, false);
}

#[test]
fn a_time_that_becomes_known_later_still_shows_a_pause_since_an_instant() {
    let check = |pauses_between: bool, is_blind: bool, at_most_ms: u64| {
        let mut clock = clock(Reference::Store, 10_000);
        let before = clock.moment();
        let mut ahead_ms = if pauses_between { 5_000 } else { 0 };
        clock.step(Now { mono_ms: 10_100, boot_ms: 10_100 + ahead_ms, wall_ms: EPOCH_MS + 10_100 }, None);
        hear(&mut clock, answer(10_100, 10_100, 10_100, 1));
        // Another pause, seen by one clock alone; the store shows its length.
        ahead_ms += 2_000;
        clock.step(Now { mono_ms: 10_200, boot_ms: 10_200 + ahead_ms, wall_ms: EPOCH_MS + 10_200 }, None);
        hear(&mut clock, answer(10_200, 10_200, 70_000, 1));
        assert_eq!(clock.is_blind_since(&before), is_blind);
        assert_eq!(clock.age_at_most_ms(&before), at_most_ms);
    };
    check(false, false, 60_000);
    // Only the clock that noticed the first pause shows how long it was.
    check(true, true, 7_200);
}

#[test]
fn the_time_of_one_process_continues_above_the_mark_of_an_earlier_life() {
    let check = |mark_ms: u64, expected_ms: u64| {
        let mut clock = clock(Reference::Own, 10_000);
        let mark = Hlc::from_ms(EPOCH_MS + mark_ms);
        clock.carry_over(mark);
        assert_eq!(bounds(&clock), Some((expected_ms, expected_ms)), "the mark at {mark_ms}");
        assert!(clock.tick(Hlc::default(), EPOCH_MS + expected_ms) > mark, "the mark at {mark_ms}");
    };
    check(0, 10_000);
    check(10_000, 10_000);
    check(70_000, 70_000);
}

#[test]
fn an_age_at_most_goes_by_the_clock_that_went_furthest_and_an_age_at_least_by_one() {
    let ages = |clock: &Clock, then: &Moment| (clock.age_at_most_ms(then), clock.age_at_least_ms(then));
    let check = |mono: u64, boot: u64, wall: i64, expected: (u64, u64)| {
        let mut clock = heard(10_000);
        let then = clock.moment();
        let wall_ms = (EPOCH_MS + 10_000).saturating_add_signed(wall);
        clock.step(Now { mono_ms: 10_000 + mono, boot_ms: 10_000 + boot, wall_ms }, None);
        assert_eq!(ages(&clock, &then), expected, "{mono}, {boot}, {wall}");
    };
    check(0, 0, 0, (0, 0));
    // Known bounds have widened by the drift: the store's time may have gone further.
    check(500, 500, 500, (501, 500));
    check(500, 900, 500, (901, 500));
    check(500, 500, 900, (901, 500));
    check(500, 500, -400, (501, 500));
    check(1, 50_000, 1, (50_000, 1));
    check(1, 1, -50_000, (1, 1));
    // All three clocks paused, and only the store's time shows it.
    let mut clock = heard(10_000);
    let then = clock.moment();
    hear(&mut clock, answer(10_000, 10_000, 70_000, 1));
    assert_eq!(ages(&clock, &then), (60_000, 0));
}

#[test]
fn commit_times_grow_strictly_and_keep_within_the_bounds() {
    let mut clock = heard(10_000);
    let Bounds { earliest_ms, latest_ms } = clock.bounds().expect("it was heard");
    let mut last = Hlc::default();
    let mut check = |after: Hlc, at_ms: u64, expected: Hlc| {
        let time = clock.tick(after, at_ms);
        assert_eq!(time, expected, "after {after}, at {at_ms}");
        assert!(time > after && time > last && time.ms() >= earliest_ms, "{time}");
        last = time;
    };
    let first = Hlc::from_ms(earliest_ms);
    check(Hlc::default(), earliest_ms, first);
    check(Hlc::default(), earliest_ms, Hlc(first.0 + 1));
    check(Hlc(first.0 + 7), earliest_ms, Hlc(first.0 + 8));
    check(Hlc::default(), latest_ms, Hlc::from_ms(latest_ms));
    check(Hlc::default(), earliest_ms, Hlc(Hlc::from_ms(latest_ms).0 + 1));
}

#[test]
fn a_version_of_the_future_does_not_move_the_hybrid_clock() {
    let check = |ahead_ms: u64, is_followed: bool| {
        let mut clock = heard(10_000);
        let Bounds { latest_ms, .. } = clock.bounds().expect("it was heard");
        let future = Hlc::from_ms(latest_ms + ahead_ms);
        assert_eq!(clock.tick(future, latest_ms), Hlc(future.0 + 1), "its reader comes after it");
        let next = clock.tick(Hlc::default(), latest_ms);
        assert_eq!(next > future, is_followed, "{ahead_ms} ms ahead");
        assert_eq!(clock.ahead_ms(), 0, "{ahead_ms} ms ahead");
    };
    check(0, true);
    check(1, false);
    check(20 * 60_000, false);
}

#[test]
fn an_answer_may_be_stamped_after_its_step() {
    let mut clock = heard(10_000);
    let known = bounds(&clock);
    assert_eq!(hear(&mut clock, answer(10_000, 10_001, 10_000, 2)), None);
    assert_eq!(hear(&mut clock, answer(10_000, 10_000, 10_000, 2)), None, "and the next one before it");
    assert_eq!(bounds(&clock).is_some(), known.is_some());
    // An answer that came earlier may be processed later, in the same step.
    assert_eq!(hear(&mut clock, answer(9_999, 10_000, 10_000, 2)), None);
    assert_eq!(bounds(&clock), known);
}

#[test]
fn the_time_of_one_process_is_its_wall_clock_and_never_behind_its_commits() {
    let mut clock = clock(Reference::Own, 10_000);
    assert_eq!(hear(&mut clock, answer(10_000, 10_000, 90_000, 1)), None, "it hears no other time");
    assert_eq!(bounds(&clock), None, "earlier lives may have been ahead");
    clock.carry_over(Hlc::from_ms(EPOCH_MS + 9_000));
    assert_eq!(bounds(&clock), Some((10_000, 10_000)));
    assert!(clock.was_heard_since(u64::MAX - 1), "its own time is always at hand");
    let mut last = clock.tick(Hlc::default(), EPOCH_MS + 10_000);
    let mut check = |mono_ms: u64, wall_ms: u64, expected_ms: u64| {
        clock.step(Now { mono_ms, boot_ms: mono_ms, wall_ms: EPOCH_MS + wall_ms }, None);
        assert_eq!(bounds(&clock), Some((expected_ms, expected_ms)), "at {mono_ms}, {wall_ms}");
        let time = clock.tick(Hlc::default(), EPOCH_MS + expected_ms);
        assert!(time > last, "commit times grow while the wall clock is set back");
        last = time;
    };
    check(10_500, 10_500, 10_500);
    // The wall clock is set back, and goes on from there.
    check(10_600, 0, 10_500);
    check(11_600, 1_000, 10_500);
    check(22_000, 11_400, 11_400);
    clock.carry_over(Hlc::from_ms(EPOCH_MS + 20_000));
    assert_eq!(bounds(&clock), Some((20_000, 20_000)), "a clock that was set back, and a restart");
}
