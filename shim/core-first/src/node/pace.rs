//! How fast the collector may work beside commits: a little faster than they come, so that what is left grows no further, and no faster, so that what
//! an hour has left does not stand in the way of the next request. A node without commits collects as fast as it can.

/// Commits are counted over so long: short enough for an even share, long enough to hold a batch.
pub(super) const WINDOW_MS: u64 = 100;

#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Pace {
    window: u64,
    /// Commits in this window and in the one before.
    commits: u64,
    commits_before: u64,
    /// Transactions taken up beyond what earlier windows allowed.
    ahead: u64,
}

impl Pace {
    fn roll(&mut self, now_ms: u64, percent: u64) {
        let window = now_ms / WINDOW_MS;
        match window - self.window {
            0 => return,
            1 => {
                self.ahead = self.ahead.saturating_sub(self.commits * percent / 100);
                self.commits_before = std::mem::take(&mut self.commits);
            }
            _ => *self = Pace::default(),
        }
        self.window = window;
    }

    pub(super) fn committed(&mut self, now_ms: u64, percent: u64) {
        self.roll(now_ms, percent);
        self.commits += 1;
    }

    /// Whether more transactions may be taken up now. If not, ask again in the next window.
    pub(super) fn allows(&mut self, now_ms: u64, percent: u64) -> bool {
        self.roll(now_ms, percent);
        let commits = self.commits.max(self.commits_before);
        commits == 0 || self.ahead <= commits * percent / 100
    }

    pub(super) fn taken_up(&mut self, transactions: usize) {
        self.ahead += transactions as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes up batches of ten for so many windows of this many commits; how many transactions.
    fn taken_up(windows: u64, commits: u64) -> u64 {
        let mut pace = Pace::default();
        let mut taken = 0;
        for window in 1..=windows {
            for step in 0..100 {
                let now_ms = window * WINDOW_MS + step;
                if step < commits {
                    pace.committed(now_ms, 125);
                }
                if pace.allows(now_ms, 125) {
                    pace.taken_up(10);
                    taken += 10;
                }
            }
        }
        taken
    }

    #[test]
    fn a_little_more_than_comes_is_taken_up() {
        let (came, taken) = (50 * 1_000, taken_up(1_000, 50));
        assert!(taken > came * 120 / 100 && taken < came * 130 / 100, "{came} came, {taken} were taken up");
    }

    #[test]
    fn without_commits_nothing_holds_it() {
        assert_eq!(taken_up(10, 0), 10 * 10 * 100);
    }
}
