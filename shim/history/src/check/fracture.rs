//! The check of constraints against the known order of versions: P2 with stamps, and with absent
//! keys even without stamps.
//!
//! Version 0 is older than everything, so a constraint that requires it to be newer is broken in
//! any order. Two stamps show which version is newer; where one is missing, only the check in
//! [`order`](super::order) can find a violation.

use super::constraints::Constraints;
use super::index::Index;
use super::order::Order;
use crate::{Direction, Version, Violation};

/// Reports constraints that version 0 or the stamps break, only the first one for each reader, pair
/// of writers and direction.
pub(crate) fn check(index: &Index<'_>, constraints: &Constraints, violations: &mut Vec<Violation>) {
    let mut told: Vec<(u32, Option<u32>, Direction)> = Vec::new();
    for of_reader in constraints.all().chunk_by(|a, b| a.reader == b.reader) {
        told.clear();
        for constraint in of_reader {
            if !is_broken(index, constraint.newer, constraint.read.writer, constraint.direction()) {
                continue;
            }
            let story = (constraint.newer, constraint.read.writer, constraint.direction());
            // A reader has few broken pairs unless everything is broken, and then the bound keeps
            // the linear search of `told` short. Each direction has its own bound, because the two
            // break different levels.
            let of_direction = told.iter().filter(|told| told.2 == story.2).count();
            if of_direction >= TOLD_MAX || told.contains(&story) {
                continue;
            }
            told.push(story);
            violations.push(Violation::FracturedRead {
                reader: index.id(constraint.reader as usize),
                seen: constraint.seen.version(index),
                sibling: Version {
                    key: constraint.read.key,
                    value: constraint.sibling,
                    writer: Some(index.id(constraint.newer as usize)),
                },
                read: constraint.read.version(index),
                direction: constraint.direction(),
            });
        }
    }
}

/// The number of fractures that are reported for one reader and direction. More give no new
/// information.
const TOLD_MAX: usize = 16;

/// Returns true if `read` is known to be older than `newer`.
fn is_broken(index: &Index<'_>, newer: u32, read: Option<u32>, direction: Direction) -> bool {
    let Some(read) = read else { return !planted!(AbsentIsNewer) };
    if planted!(StampsOneWay) && direction == Direction::OlderFirst {
        return false;
    }
    let stamps = (index.transaction(read as usize).stamp, index.transaction(newer as usize).stamp);
    matches!(stamps, (Some(read), Some(newer)) if read < newer)
}

/// Reports reads of versions that are stamped later than their reader.
pub(crate) fn check_later_stamps(index: &Index<'_>, order: &Order, violations: &mut Vec<Violation>) {
    if planted!(LaterStampsFine) {
        return;
    }
    // The stamp of a reader that did not commit has no meaning.
    for read in order.reads().iter().filter(|read| index.is_committed(read.reader as usize)) {
        let stamps =
            (index.transaction(read.writer as usize).stamp, index.transaction(read.reader as usize).stamp);
        let (Some(read_stamp), Some(stamp)) = stamps else { continue };
        if read_stamp > stamp {
            let version = index.version(read.key, read.value, Some(read.writer));
            let reader = index.id(read.reader as usize);
            violations.push(Violation::LaterStampRead { reader, stamp, read: version, read_stamp });
        }
    }
}
