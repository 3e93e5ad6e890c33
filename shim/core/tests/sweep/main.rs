//! Stories of sweeps: a store as text, one or more sweeps, and the expected store.
//!
//! Goal: every rule of section 8 has a story that fails without it, and every planted bug of
//! collecting is found by one. Method: the stories run against a small typed store (`store`) with a
//! clock that is advanced by hand (`world`), and return a verdict instead of panicking, so that the
//! same table of stories serves both. Unforeseen races are tested by the simulator.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in helpers too")]

mod alone;
mod shared;
mod store;
mod words;
mod world;

use aft_core::bug::Bug;
use aft_core::settings::Settings;

/// A story's verdict.
type Verdict = Result<(), String>;

/// The conditions of a story.
#[derive(Debug, Clone, Copy)]
struct Ground {
    bug: Option<Bug>,
}

impl Ground {
    fn settings(self, exclusive: bool) -> Settings {
        let settings = world::settings(exclusive);
        #[cfg(feature = "planted-bugs")]
        let settings = Settings { bug: self.bug, ..settings };
        assert!(cfg!(feature = "planted-bugs") || self.bug.is_none());
        settings
    }
}

type Story = (&'static str, fn(Ground) -> Verdict);

fn stories() -> impl Iterator<Item = &'static Story> {
    shared::STORIES.iter().chain(alone::STORIES)
}

#[test]
fn every_story_holds() {
    let failed: Vec<String> = stories()
        .filter_map(|(name, story)| {
            println!("{name}");
            story(Ground { bug: None }).err().map(|why| format!("{name}: {why}"))
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[cfg(feature = "planted-bugs")]
#[test]
fn every_planted_bug_of_collecting_fails_a_story() {
    use aft_core::bug::Finder;

    let missed: Vec<Bug> = Bug::found_by(Finder::Sweep)
        .filter(|bug| {
            let found: Vec<&str> = stories()
                .filter(|(_, story)| {
                    // A failed assertion of the core also counts.
                    let verdict = std::panic::catch_unwind(|| story(Ground { bug: Some(*bug) }));
                    verdict.map_or(true, |verdict| verdict.is_err())
                })
                .map(|(name, _)| *name)
                .collect();
            println!("{bug:?}: {found:?}");
            found.is_empty()
        })
        .collect();
    assert!(missed.is_empty(), "no story fails with {missed:?}");
}
