//! The checks of whole transactions: at most one commit per request (P5), and unique stamps.

use super::index::Index;
use crate::{Stamps, Violation};

/// Reports requests that committed more than once and stamps that commits share. Each repetition is
/// reported together with the first occurrence.
pub(crate) fn check(index: &Index<'_>, violations: &mut Vec<Violation>) {
    let committed = || (0..index.len()).filter(|at| index.is_committed(*at));
    let requests = committed().filter_map(|at| Some((index.transaction(at).request?, at)));
    for (request, first, second) in repeated(requests.collect()) {
        let (first, second) = (index.id(first), index.id(second));
        violations.push(Violation::DoubleEffect { request, first, second });
    }
    let stamps = committed().filter_map(|at| Some((index.transaction(at).stamp?, at)));
    for (stamp, first, second) in repeated(stamps.collect()) {
        let (first, second) = (index.id(first), index.id(second));
        violations.push(Violation::SharedStamp { first, second, stamp });
    }
}

/// Returns the share of the writing transactions that have a stamp.
pub(crate) fn stamps(index: &Index<'_>) -> Stamps {
    let writers =
        || (0..index.len()).filter(|at| index.is_committed(*at) && !index.write_set(*at).is_empty());
    let stamped = writers().filter(|at| index.transaction(*at).stamp.is_some()).count();
    if stamped == 0 {
        Stamps::None
    } else if stamped == writers().count() {
        Stamps::All
    } else {
        Stamps::Some
    }
}

/// Returns every repetition of an item: the item, the place of its first carrier, and the place of
/// the repetition.
fn repeated<T: Copy + Ord>(mut carried: Vec<(T, usize)>) -> Vec<(T, usize, usize)> {
    carried.sort_unstable();
    let mut repeated = Vec::new();
    for same in carried.chunk_by(|a, b| a.0 == b.0) {
        let (what, first) = same[0];
        repeated.extend(same[1..].iter().map(|(_, again)| (what, first, *again)));
    }
    repeated
}
