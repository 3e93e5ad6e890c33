//! Comparisons of the checker with the brute force, also with planted bugs.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::recipe::{Recipe, recipes};
use super::{brute, runner, witness};
use crate::check::planted::{self, Plant};
use crate::{History, Level, Options, Readers, Serializability, Stamps, Violation, check, text};

/// Every combination of options.
const OPTIONS: [Options; 8] = [
    Options { readers: Readers::Committed, sessions: false, serializable: false },
    Options { readers: Readers::All, sessions: false, serializable: false },
    Options { readers: Readers::Committed, sessions: true, serializable: false },
    Options { readers: Readers::All, sessions: true, serializable: false },
    Options { readers: Readers::Committed, sessions: false, serializable: true },
    Options { readers: Readers::All, sessions: false, serializable: true },
    Options { readers: Readers::Committed, sessions: true, serializable: true },
    Options { readers: Readers::All, sessions: true, serializable: true },
];

/// Asserts that the checker and the brute force find the same level, and that each witness is true.
/// Returns the level, or `None` if the checker could not decide whether the history is
/// serializable.
fn agree(history: &History, options: &Options) -> Option<Level> {
    let report = check(history, options).expect("recipes give every value once");
    report.violations().iter().for_each(|violation| witness::verify(history, violation));
    let level = brute::level(history, options);
    if report.serializability() == Serializability::Unknown {
        assert!(level >= Level::ReadAtomic && report.is_read_atomic(), "{options:?}\n{report}");
        assert_ne!(report.stamps(), Stamps::All, "stamps leave nothing open");
        return None;
    }
    assert_eq!(report.level(), level, "{options:?}\n{report}");
    Some(level)
}

/// Compares histories that `cook` makes from recipes under all options, and asserts that each level
/// occurs often enough.
fn agree_on(cases: u32, levels_min: &[(Level, u32)], cook: impl Fn(&Recipe) -> History) {
    let mut met: BTreeMap<Option<Level>, u32> = BTreeMap::new();
    let met_by = std::cell::RefCell::new(&mut met);
    let result = runner(cases).run(&recipes(), |recipe| {
        let history = cook(&recipe);
        for options in &OPTIONS {
            let level = agree(&history, options);
            *met_by.borrow_mut().entry(level).or_default() += 1;
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    println!("levels: {met:?}");
    for (level, min) in levels_min {
        let level_met = met.get(&Some(*level));
        assert!(level_met.is_some_and(|met| met >= min), "too few histories of level {level}: {met:?}");
    }
    let unknown = met.get(&None).copied().unwrap_or_default();
    assert!(unknown * 100 < met.values().sum(), "{unknown} verdicts are left open: {met:?}");
}

#[test]
fn agrees_on_wild_histories() {
    let levels = [
        (Level::None, 1000),
        (Level::ReadCommitted, 100),
        (Level::ReadAtomic, 1000),
        (Level::Serializable, 1000),
    ];
    agree_on(20_000, &levels, Recipe::wild);
}

#[test]
fn agrees_on_spoilt_histories() {
    let levels = [
        (Level::None, 1000),
        (Level::ReadCommitted, 100),
        (Level::ReadAtomic, 1000),
        (Level::Serializable, 1000),
    ];
    agree_on(20_000, &levels, Recipe::spoilt);
}

#[test]
fn histories_that_are_read_atomic_by_construction_pass() {
    let result = runner(10_000).run(&recipes(), |recipe| {
        let history = recipe.atomic();
        for readers in [Readers::Committed, Readers::All] {
            let options = Options { readers, ..Options::default() };
            prop_assert_eq!(agree(&history, &options), Some(Level::ReadAtomic));
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// The corpus is small enough for the brute force, too. `tests/corpus.rs` checks it by its folders.
#[test]
fn agrees_on_the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut count = 0;
    for folder in ["none", "read-committed", "read-atomic", "serializable"] {
        for entry in fs::read_dir(corpus.join(folder)).unwrap() {
            let history = text::parse(fs::read(entry.unwrap().path()).unwrap().as_slice()).unwrap();
            for options in &OPTIONS {
                // The checker ignores the reads of nameless aborted transactions, the brute force
                // does not.
                if options.readers == Readers::Committed {
                    agree(&history, options);
                    count += 1;
                }
            }
        }
    }
    assert!(count >= 60, "only {count} agreements");
}

/// A violation that is found without stamps is also found with any stamps.
#[test]
fn stamps_never_excuse_a_cycle() {
    let result = runner(10_000).run(&recipes(), |recipe| {
        let stamped = recipe.wild();
        let bare = stamped.transactions().iter().cloned().map(|mut transaction| {
            transaction.stamp = None;
            transaction
        });
        let bare: History = bare.collect();
        let (stamped, bare) = (check(&stamped, &Options::default()), check(&bare, &Options::default()));
        prop_assert!(stamped.unwrap().level() <= bare.unwrap().level());
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// Removing some of the stamps never adds a violation.
#[test]
fn missing_stamps_add_no_violation() {
    let result = runner(10_000).run(&recipes(), |recipe| {
        let stamped = recipe.spoilt();
        let some = stamped.transactions().iter().cloned().map(|mut transaction| {
            transaction.stamp = transaction.stamp.filter(|_| transaction.session.number() > 0);
            transaction
        });
        let some: History = some.collect();
        let (stamped, some) = (check(&stamped, &Options::default()), check(&some, &Options::default()));
        prop_assert!(stamped.unwrap().level() <= some.unwrap().level());
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// The number of histories within which a planted bug must be found.
const CASES_MAX: u32 = 100_000;

#[test]
fn planted_bugs_are_found() {
    // The comparison is expected to panic: silence the panics of this thread, but of no other test.
    let (hook, quiet) = (std::panic::take_hook(), std::thread::current().id());
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != quiet {
            hook(info);
        }
    }));
    let found: Vec<_> = Plant::ALL.into_iter().map(|plant| (plant, find(plant))).collect();
    for (plant, cases) in &found {
        println!("{plant:?}: found after {cases:?} histories");
    }
    let missed: Vec<_> = found.iter().filter(|(_, cases)| cases.is_none()).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Returns the number of histories until the checker and the brute force disagree.
fn find(plant: Plant) -> Option<u32> {
    let mut runner = runner(CASES_MAX);
    let recipes = recipes();
    (1..=CASES_MAX).find(|case| {
        let recipe = recipes.new_tree(&mut runner).expect("recipes reject nothing").current();
        let history = if case % 2 == 0 { recipe.wild() } else { recipe.spoilt() };
        let options = &OPTIONS[(case / 2) as usize % OPTIONS.len()];
        planted::with(plant, || catch_unwind(AssertUnwindSafe(|| agree(&history, options)))).is_err()
    })
}

/// The random histories are rich enough to contain every kind of violation of reads.
#[test]
fn every_kind_of_violation_occurs() {
    let mut runner = runner(0);
    let recipes = recipes();
    let mut kinds: BTreeMap<u8, u32> = BTreeMap::new();
    for _ in 0..20_000 {
        let recipe = recipes.new_tree(&mut runner).expect("recipes reject nothing").current();
        let report = check(&recipe.wild(), &OPTIONS[2]).unwrap();
        for violation in report.violations() {
            *kinds.entry(crate::check::kind(violation)).or_default() += 1;
            if let Violation::Cycle(cycle) = violation
                && cycle.edges.len() > 2
            {
                *kinds.entry(100).or_default() += 1;
            }
        }
    }
    println!("violations by kind (100: long cycles): {kinds:?}");
    // Shared stamps and double effects do not occur in recipes: they have their own tests.
    assert!([0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 100].iter().all(|kind| kinds.contains_key(kind)), "{kinds:?}");
}
