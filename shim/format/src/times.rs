//! The times that all nodes on a store share: what one node waits for is what the others may do
//! (protocol, section 9, relations (a) to (d)).

use aft_core::settings::Settings;

use crate::messages;

/// The remedy for settings that differ.
const REMEDY: &str = "give every node on a store the same settings; to change them, stop all nodes, wait for the longer \
                      of both deadlines and the grace, run aft store init URL --change-times with the new settings, and \
                      start the nodes";

/// A store's times, or a node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The longest deadline of a transaction.
    pub timeout_max_ms: u64,
    /// The age from which a listing is made again.
    pub recheck_after_ms: u64,
    /// The age of a mark on which a put of another attempt's entries may rest.
    pub put_limit_ms: u64,
    /// The largest error of a node's time with which it commits and sweeps.
    pub skew_max_ms: u64,
    /// A call without an answer takes effect within this time or never.
    pub grace_ms: u64,
}

impl Times {
    /// Returns the times of a node with these settings.
    pub fn of(settings: &Settings) -> Times {
        Times {
            timeout_max_ms: settings.timeout_max_ms,
            recheck_after_ms: settings.recheck_after_ms,
            put_limit_ms: settings.put_limit_ms,
            skew_max_ms: settings.skew_max_ms,
            grace_ms: settings.grace_ms,
        }
    }

    /// Gives these times to a node, for instance one whose user knows nothing of them.
    pub fn apply(&self, settings: &mut Settings) {
        let Times { timeout_max_ms, recheck_after_ms, put_limit_ms, skew_max_ms, grace_ms } = *self;
        *settings = Settings {
            timeout_default_ms: settings.timeout_default_ms.min(timeout_max_ms),
            commit_patience_ms: settings.commit_patience_ms.min(timeout_max_ms),
            timeout_max_ms,
            recheck_after_ms,
            put_limit_ms,
            skew_max_ms,
            grace_ms,
            ..settings.clone()
        };
    }

    /// Returns the reason why a node with the times `own` must not work on a store with these
    /// times, with both values and the remedy; `None` if it may. A node that `sweeps` has to wait
    /// for what the others may do, so its times may not be shorter either.
    ///
    /// A greater grace is longer waiting and nothing else. The longest deadline and the error of
    /// clocks are in the least retention of every node, so there are no shorter ones.
    pub fn refusal(&self, own: &Times, sweeps: bool) -> Option<String> {
        let outlasts = "what it does would outlast the time for which other nodes wait for it";
        let hurries = "it would not wait long enough for what other nodes may still do";
        // Name, the store's, the node's; is longer harmful, is shorter?
        let compared = [
            (
                "the longest deadline (node.timeout_max_ms)",
                self.timeout_max_ms,
                own.timeout_max_ms,
                true,
                true,
            ),
            (
                "the age of listings (node.recheck_after_ms)",
                self.recheck_after_ms,
                own.recheck_after_ms,
                true,
                sweeps,
            ),
            ("the age of marks under a put", self.put_limit_ms, own.put_limit_ms, true, sweeps),
            ("the error of clocks (node.skew_max_ms)", self.skew_max_ms, own.skew_max_ms, true, true),
            ("the grace of late calls", self.grace_ms, own.grace_ms, false, true),
        ];
        let mut found = Vec::new();
        for (name, of_store, of_node, longer_harms, shorter_harms) in compared {
            let why = match of_node.cmp(&of_store) {
                std::cmp::Ordering::Greater if longer_harms => outlasts,
                std::cmp::Ordering::Less if shorter_harms => hurries,
                _ => continue,
            };
            found.push(format!("{name} is {of_node} ms on this node and {of_store} ms on the store: {why}"));
        }
        (!found.is_empty()).then(|| format!("{}; {REMEDY}", found.join("; ")))
    }

    pub(crate) fn to_message(self) -> messages::Times {
        let Times { timeout_max_ms, recheck_after_ms, put_limit_ms, skew_max_ms, grace_ms } = self;
        messages::Times { timeout_max_ms, recheck_after_ms, put_limit_ms, skew_max_ms, grace_ms }
    }

    pub(crate) fn of_message(from: &messages::Times) -> Times {
        let messages::Times { timeout_max_ms, recheck_after_ms, put_limit_ms, skew_max_ms, grace_ms } = *from;
        Times { timeout_max_ms, recheck_after_ms, put_limit_ms, skew_max_ms, grace_ms }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Times { timeout_max_ms, recheck_after_ms, put_limit_ms, skew_max_ms, grace_ms } = self;
        write!(
            f,
            "deadlines to {timeout_max_ms} ms, listings to {recheck_after_ms} ms, puts on marks to {put_limit_ms} ms, \
             clocks to {skew_max_ms} ms, late calls to {grace_ms} ms"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: Times = Times {
        timeout_max_ms: 900_000,
        recheck_after_ms: 10_000,
        put_limit_ms: 30_000,
        skew_max_ms: 2_000,
        grace_ms: 3_600_000,
    };

    fn check(own: Times, expect: (bool, bool), words: &[&str]) {
        let refused = [false, true].map(|sweeps| STORE.refusal(&own, sweeps));
        assert_eq!((refused[0].is_some(), refused[1].is_some()), expect, "{own:?}: {refused:?}");
        let text = refused[1].clone().unwrap_or_default();
        for word in words {
            assert!(text.contains(word), "{word} is missing in {text}");
        }
    }

    #[test]
    fn differences_are_refused_where_they_harm() {
        check(STORE, (false, false), &[]);
        let both = ["900000 ms on the store", "--change-times", "stop all nodes"];
        check(Times { timeout_max_ms: 900_001, ..STORE }, (true, true), &both);
        check(Times { timeout_max_ms: 60_000, ..STORE }, (true, true), &["60000 ms on this node"]);
        check(Times { recheck_after_ms: 60_000, ..STORE }, (true, true), &["node.recheck_after_ms"]);
        check(Times { recheck_after_ms: 1, ..STORE }, (false, true), &["1 ms on this node", "not wait"]);
        check(Times { put_limit_ms: 30_001, ..STORE }, (true, true), &["outlast"]);
        check(Times { put_limit_ms: 29_999, ..STORE }, (false, true), &["marks"]);
        check(Times { skew_max_ms: 2_001, ..STORE }, (true, true), &["node.skew_max_ms"]);
        check(Times { skew_max_ms: 1_999, ..STORE }, (true, true), &["node.skew_max_ms"]);
        check(Times { grace_ms: 0, ..STORE }, (true, true), &["grace"]);
        check(Times { grace_ms: 7_200_000, ..STORE }, (false, false), &[]);
        let two = Times { timeout_max_ms: 1, skew_max_ms: 1, ..STORE };
        check(two, (true, true), &["node.timeout_max_ms", "node.skew_max_ms"]);
    }
}
