//! The check of P8, on request: a session sees its earlier commits as a whole, or newer versions.
//!
//! Only acknowledged commits count, because a client has no token of a commit that it does not know
//! about. The order of a session is the order of the history.

use std::collections::BTreeMap;

use super::index::Index;
use super::order::{Order, SessionSibling};
use super::reads::Seen;
use crate::{Key, Outcome, SessionId, Value, Violation};

/// The commits of each session so far, while the check goes through the history from its beginning.
pub(crate) struct OwnCommits {
    /// The last acknowledged transaction of a session.
    last: BTreeMap<SessionId, u32>,
    /// The last acknowledged write of a session to a key.
    wrote: BTreeMap<(SessionId, Key), (u32, Value)>,
}

impl OwnCommits {
    pub(crate) const fn new() -> Self {
        Self { last: BTreeMap::new(), wrote: BTreeMap::new() }
    }

    /// Checks a reader's good reads against the earlier commits of its session.
    pub(crate) fn check(
        &self,
        index: &Index<'_>,
        reader: usize,
        seen: &[Seen],
        order: &mut Order,
        violations: &mut Vec<Violation>,
    ) {
        let session = index.transaction(reader).session;
        for read in seen.iter().filter(|seen| seen.is_first) {
            let Some((own, own_value)) = self.wrote.get(&(session, read.key)).copied() else { continue };
            if read.writer == Some(own) || planted!(OwnCommitsForgotten) {
                continue;
            }
            // Version 0 is older than any commit; otherwise the stamps decide, if both are known.
            let is_older = read.writer.is_none_or(|writer| {
                let stamps =
                    (index.transaction(writer as usize).stamp, index.transaction(own as usize).stamp);
                matches!(stamps, (Some(read), Some(own)) if read < own)
            });
            if is_older {
                violations.push(Violation::OwnCommitLost {
                    reader: index.id(reader),
                    own: index.version(read.key, own_value, Some(own)),
                    read: read.version(index),
                });
            }
            // In any case the own commit comes before the version read. Without stamps, only a
            // cycle can disprove that.
            if read.writer.is_some() {
                let reader = u32::try_from(reader).expect("the number of transactions was checked");
                order.add_session_sibling(SessionSibling { reader, own, own_value, read: *read });
            }
        }
    }

    /// Passes a transaction: if it committed, the later transactions of its session must see that.
    pub(crate) fn pass(&mut self, index: &Index<'_>, at: usize, order: &mut Order) {
        let transaction = index.transaction(at);
        if transaction.outcome != Outcome::Committed {
            return;
        }
        let place = u32::try_from(at).expect("the number of transactions was checked");
        if let Some(before) = self.last.insert(transaction.session, place)
            && !planted!(SessionOrderLost)
        {
            order.add_session(before, place);
        }
        for (key, value) in index.write_set(at) {
            self.wrote.insert((transaction.session, *key), (place, *value));
        }
    }
}
