//! Goal: planted bugs that break no promise are found, too.
//!
//! Method: a story that holds without the bug is run again with it, and must fail.

use std::panic::catch_unwind;

use aft_core::bug::{Bug, Finder};
use aft_core::settings::Settings;

use crate::freshness::shows_what_was_committed_beside_a_look;
use crate::reading::asks_for_nothing_before_its_cursor;
use crate::session_floor::{
    begins_fresh_where_a_record_was_removed, sees_on_another_node_what_its_token_does_not_name,
};
use crate::shop::Shop;

/// A bug, and a story that panics if the bug is planted.
type Story = (Bug, fn(&Settings));

const STORIES: [Story; 4] = [
    (Bug::ListFromTheStart, asks_for_nothing_before_its_cursor),
    (Bug::BelieveListingsOfTheForgotten, shows_what_was_committed_beside_a_look),
    (Bug::KnowWhatOthersShowed, sees_on_another_node_what_its_token_does_not_name),
    (Bug::SessionLostWhateverTheMark, begins_fresh_where_a_record_was_removed),
];

#[test]
fn every_planted_bug_of_a_story_fails_it() {
    let missed: Vec<Bug> = Bug::found_by(Finder::Story)
        .filter(|bug| {
            let settings = Settings { bug: Some(*bug), ..Shop::settings() };
            let mut stories = STORIES.iter().filter(|(of, _)| of == bug);
            !stories.any(|(_, story)| catch_unwind(|| story(&settings)).is_err())
        })
        .collect();
    assert!(missed.is_empty(), "no story fails with {missed:?}");
}
