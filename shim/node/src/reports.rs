//! Bookkeeping for conditions that are reported again and again, so that each is logged only when
//! it begins.

use std::collections::BTreeSet;

/// The most descriptions of damage that are remembered, of some hundred bytes each. Beyond it all
/// are forgotten, and logged again.
const DESCRIPTIONS_MAX: usize = 1_000;
/// The time without an event after which a state has ended.
const QUIET_MS: u64 = 600_000;

/// The descriptions that were logged; at most [`DESCRIPTIONS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Descriptions {
    logged: BTreeSet<String>,
}

impl Descriptions {
    /// Returns true if `what` is not among the remembered descriptions, and remembers it.
    pub(crate) fn is_news(&mut self, what: &str) -> bool {
        if self.logged.contains(what) {
            return false;
        }
        if self.logged.len() >= DESCRIPTIONS_MAX {
            self.logged.clear();
        }
        self.logged.insert(what.to_owned())
    }
}

/// A state that lasts from a first event until none has come for [`QUIET_MS`].
#[derive(Debug, Default)]
pub(crate) struct Spell {
    last_ms: Option<u64>,
}

impl Spell {
    /// Takes an event at `now_ms`. Returns true if the state begins with it.
    pub(crate) fn begins(&mut self, now_ms: u64) -> bool {
        let last_ms = self.last_ms.replace(now_ms);
        last_ms.is_none_or(|last_ms| now_ms.saturating_sub(last_ms) > QUIET_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_news_once() {
        let mut descriptions = Descriptions::default();
        assert!(descriptions.is_news("a") && !descriptions.is_news("a"));
        assert!((0..2 * DESCRIPTIONS_MAX).all(|number| descriptions.is_news(&number.to_string())));
        assert!(descriptions.logged.len() <= DESCRIPTIONS_MAX);
    }

    #[test]
    fn a_spell_begins_once_and_again_after_quiet() {
        let mut spell = Spell::default();
        assert!(spell.begins(7));
        let mut times = (0..1_000).map(|number| 7 + number * QUIET_MS / 2);
        assert!(times.clone().all(|now_ms| !spell.begins(now_ms)));
        let last_ms = times.next_back().expect("there are some");
        assert!(!spell.begins(last_ms + QUIET_MS) && spell.begins(last_ms + 2 * QUIET_MS + 1));
        // A clock that steps back ends nothing.
        assert!(!spell.begins(0));
    }
}
