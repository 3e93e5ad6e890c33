//! All batches in progress. Each is at one place: with the poller that looks for its next record,
//! with the runtime that runs one, or waiting for a poller.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use super::progress::Progress;

/// The batches whose answers are not posted yet.
#[derive(Debug, Default)]
pub struct Batches(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    /// Those between two records, the oldest first. Any poller may go on with one.
    waiting: Vec<Progress>,
    /// Those of which a record runs, by the nonce of its invocation.
    running: BTreeMap<u64, Progress>,
    /// Lambda's IDs of these, and of those that are with a poller. Two batches may have one ID: one
    /// that has timed out and still runs, and its retry.
    open: Vec<String>,
}

impl Batches {
    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().expect("nothing panics while it holds the batches")
    }

    /// Adds a batch, which waits.
    pub(super) fn open(&self, progress: Progress) {
        assert!(!progress.is_over(), "a new batch has a record to run");
        let id = progress.lambda().request_id().to_owned();
        self.all().open.push(id);
        self.wait(progress);
    }

    /// Takes the batch that has waited longest.
    pub(super) fn go_on(&self) -> Option<Progress> {
        let mut all = self.all();
        let is_there = !all.waiting.is_empty();
        is_there.then(|| all.waiting.remove(0))
    }

    /// Puts a batch where it waits for a poller.
    pub(super) fn wait(&self, progress: Progress) {
        let mut all = self.all();
        let is_fit = !progress.is_running() && all.has_open(&progress);
        all.waiting.push(progress);
        let is_counted = all.is_counted();
        drop(all);
        assert!(is_fit && is_counted, "an open batch waits between two records");
    }

    /// Puts a batch where the answer to its record, of the invocation `nonce`, finds it.
    pub(super) fn run(&self, nonce: u64, progress: Progress) {
        let mut all = self.all();
        let is_fit = progress.is_running() && all.has_open(&progress);
        let before = all.running.insert(nonce, progress);
        let is_counted = all.is_counted();
        drop(all);
        assert!(before.is_none(), "a nonce is drawn for one record");
        assert!(is_fit && is_counted, "an open batch runs a record");
    }

    /// Returns true if `nonce` is the invocation of a record.
    pub(crate) fn has(&self, nonce: u64) -> bool {
        self.all().running.contains_key(&nonce)
    }

    /// Takes the batch whose record is the invocation `nonce`.
    pub(super) fn take(&self, nonce: u64) -> Option<Progress> {
        self.all().running.remove(&nonce)
    }

    /// Returns the nonces of all records that run.
    pub(super) fn nonces(&self) -> Vec<u64> {
        self.all().running.keys().copied().collect()
    }

    /// Returns true if Lambda's invocation of this ID is a batch in progress: only its own answer
    /// may be posted for it.
    pub(crate) fn is_open(&self, aws_request_id: &str) -> bool {
        self.all().open.iter().any(|open| open == aws_request_id)
    }

    /// Forgets a batch whose answer was posted.
    pub(super) fn close(&self, progress: &Progress) {
        assert!(progress.is_over(), "a batch that is not over has no answer");
        let mut all = self.all();
        let id = progress.lambda().request_id();
        let at = all.open.iter().position(|open| open == id);
        if let Some(at) = at {
            all.open.remove(at);
        }
        let is_counted = all.is_counted();
        drop(all);
        assert!(at.is_some() && is_counted, "a batch is closed once");
    }
}

impl All {
    fn has_open(&self, progress: &Progress) -> bool {
        self.open.iter().any(|open| open == progress.lambda().request_id())
    }

    /// Returns true if there are as many IDs as batches; the pollers have the difference.
    fn is_counted(&self) -> bool {
        self.waiting.len() + self.running.len() <= self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use aft_lambda_events::Outcome;

    use super::super::progress::tests::batch;
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn id(progress: &Progress) -> String {
        progress.lambda().request_id().to_owned()
    }

    #[test]
    fn two_batches_do_not_mix() {
        let batches = Batches::default();
        for (nonce, name) in [(1, "a"), (2, "b")] {
            batches.open(batch(name, &["", ""]));
            let mut progress = batches.go_on().unwrap();
            assert_eq!(id(&progress), name);
            progress.next(LONG, Instant::now()).unwrap();
            batches.run(nonce, progress);
        }
        assert!(batches.go_on().is_none() && batches.nonces() == [1, 2]);
        // Their records end in the other order.
        for (nonce, name) in [(2, "b"), (1, "a")] {
            assert!(batches.has(nonce));
            let mut progress = batches.take(nonce).unwrap();
            assert_eq!(id(&progress), name);
            assert!(!batches.has(nonce) && batches.is_open(name));
            progress.note(Outcome::Committed, Instant::now());
            batches.wait(progress);
        }
        for name in ["b", "a"] {
            let mut progress = batches.go_on().unwrap();
            assert_eq!(id(&progress), name, "the one that has waited longest goes on");
            progress.next(LONG, Instant::now()).unwrap();
            progress.note(Outcome::Committed, Instant::now());
            batches.close(&progress);
            assert!(!batches.is_open(name));
        }
    }

    #[test]
    fn a_batch_and_its_retry_have_one_id() {
        let batches = Batches::default();
        batches.open(batch("a", &[""]));
        batches.open(batch("a", &[""]));
        for still_open in [true, false] {
            let mut progress = batches.go_on().unwrap();
            progress.next(LONG, Instant::now()).unwrap();
            progress.note(Outcome::Committed, Instant::now());
            batches.close(&progress);
            assert_eq!(batches.is_open("a"), still_open);
        }
    }
}
