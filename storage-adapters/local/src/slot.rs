//! The place of the tree that is in use, which changes when the tree is reopened.
//!
//! A tree can only be opened when the one before it is closed: both would write to one journal. So
//! the old one is taken out, which waits for the reads that use it; reads that come meanwhile wait
//! for the new one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_store::{Error, Result};
use tokio::sync::watch;

use crate::tree::Tree;

/// The time for which a read waits for the tree. Reopening reads the journals, which takes a
/// fraction of a second usually; callers do not wait for a disk that does not respond.
const READ_WAIT: Duration = Duration::from_secs(5);
/// The time for which [`Slot::take`] waits for reads that use the tree. They take milliseconds,
/// unless the disk does not respond.
const READS_END: Duration = Duration::from_secs(10);
/// The pause between looks at whether reads have ended.
const READS_PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug)]
enum Held {
    Tree(Arc<Tree>),
    /// The tree is being reopened.
    Nothing,
    /// The tree could not be reopened, for this reason.
    Ended(String),
}

/// The tree in use, or the reason for which there is none.
#[derive(Debug)]
pub(crate) struct Slot {
    dir: PathBuf,
    held: watch::Sender<Held>,
}

impl Slot {
    pub(crate) fn new(tree: Tree) -> Slot {
        Slot { dir: tree.dir().to_owned(), held: watch::Sender::new(Held::Tree(Arc::new(tree))) }
    }

    /// Returns the store's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the tree, for a read. Waits while it is being reopened.
    ///
    /// # Errors
    /// Returns [`Error::NoAnswer`] if that takes longer than [`READ_WAIT`], and [`Error::Refused`]
    /// if the tree could not be reopened.
    pub(crate) async fn tree(&self) -> Result<Arc<Tree>> {
        if let Some(tree) = self.now() {
            return Ok(tree);
        }
        let mut changes = self.held.subscribe();
        let changed = changes.wait_for(|held| !matches!(held, Held::Nothing));
        match tokio::time::timeout(READ_WAIT, changed).await {
            Ok(held) => match &*held.expect("the sender is in this slot") {
                Held::Tree(tree) => Ok(tree.clone()),
                Held::Ended(why) => Err(Error::Refused(why.clone())),
                Held::Nothing => unreachable!("this is what was waited for"),
            },
            Err(_) => Err(Error::NoAnswer(format!(
                "local:{}: the tree is being reopened, and was not open within {} s; retry later",
                self.dir.display(),
                READ_WAIT.as_secs()
            ))),
        }
    }

    /// Returns the tree, or `None` if it is not open.
    pub(crate) fn now(&self) -> Option<Arc<Tree>> {
        match &*self.held.borrow() {
            Held::Tree(tree) => Some(tree.clone()),
            Held::Nothing | Held::Ended(_) => None,
        }
    }

    /// Takes the tree out as soon as no read uses it. Returns `None` if reads do not end: then it
    /// is in use again.
    ///
    /// # Panics
    /// Panics if the tree is not open. Never returns the tree to a caller that holds it itself.
    pub(crate) fn take(&self) -> Option<Tree> {
        let Held::Tree(mut tree) = self.held.send_replace(Held::Nothing) else {
            panic!("the tree is taken out twice");
        };
        let since = Instant::now();
        loop {
            match Arc::try_unwrap(tree) {
                Ok(tree) => return Some(tree),
                Err(in_use) if since.elapsed() > READS_END => {
                    self.held.send_replace(Held::Tree(in_use));
                    return None;
                }
                Err(in_use) => tree = in_use,
            }
            std::thread::sleep(READS_PAUSE);
        }
    }

    /// Puts a new tree into use.
    ///
    /// # Panics
    /// Panics if another one is in use.
    pub(crate) fn put(&self, tree: Tree) {
        let before = self.held.send_replace(Held::Tree(Arc::new(tree)));
        assert!(matches!(before, Held::Nothing), "two trees over one directory: {before:?}");
    }

    /// Makes reads end with `why` if there is no tree.
    pub(crate) fn end(&self, why: &str) {
        self.held.send_if_modified(|held| {
            let ends = matches!(held, Held::Nothing);
            if ends {
                *held = Held::Ended(why.to_owned());
            }
            ends
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, home};

    fn tree(home: &Arc<aft_disk::Home>) -> Tree {
        Tree::open(home, &Options::default()).expect("nothing is damaged").0
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn reads_that_come_between_two_trees_wait() {
        let dir = tempfile::tempdir().expect("there is room");
        let home = Arc::new(home::take(dir.path()).expect("a fresh directory"));
        let slot = Arc::new(Slot::new(tree(&home)));
        // The tree is taken out only when the read before has ended.
        let reading = slot.tree().await.expect("it is open");
        let taking = std::thread::spawn({
            let slot = slot.clone();
            move || slot.take().expect("the read ends")
        });
        while slot.now().is_some() {
            tokio::time::sleep(READS_PAUSE).await;
        }
        let waiting = tokio::spawn({
            let slot = slot.clone();
            async move { slot.tree().await.map(drop) }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!taking.is_finished() && !waiting.is_finished(), "a read uses the old tree");
        drop(reading);
        taking.join().expect("it does not panic").close().expect("nobody uses it");
        assert!(!waiting.is_finished(), "there is no tree");
        slot.put(tree(&home));
        assert_eq!(waiting.await.expect("it does not panic"), Ok(()));
        slot.end("a slot with a tree goes on");
        assert!(slot.tree().await.is_ok());
    }
}
