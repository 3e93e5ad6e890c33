//! The way back after the tree has failed.
//!
//! The tree fails as a whole: after an error of a commit, a flush or a merge it takes no more
//! writes, for as long as it is open. The cause often passes: a full disk, descriptors that other
//! parts of the process use. So the store opens the tree again, over the lock on the directory that
//! it holds:
//!
//! ```text
//! the tree fails ─► room and descriptors are back? ─► reads end ─► close
//!        ▲                      │ no: a pause                       │
//!        │                      └── reads use the old tree          ▼
//!        │                                            cut off the failed batch
//!        │                                                          ▼
//!  a commit fails ◄── writes go on ◄── reads use it ◄── check and open, as at any start
//! ```
//!
//! A batch whose commit failed was never shown to a read, and is cut off. So what a caller has read
//! after it heard "no answer" stays true. A batch that was shown is durable, and stays.
//!
//! The process may die at any of these steps: the directory is then as after any crash.
//!
//! Not everything passes. If a new tree fails at its first commit, again and again, or cannot be
//! opened, the store has ended and says why ([`Ended`](Outcome::Ended)).

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_disk::{Acked, Home, Link, OpenError, descriptors_left, passes, write_private};
use aft_store::Error;

use crate::Options;
use crate::reserve::{Reserve, says_enough};
use crate::slot::Slot;
use crate::tree::Tree;

/// The pause after the first look, and the longest one; each is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The time within which a tree that fails again counts as not healed: the next pause is longer,
/// and twice as much room must be free if that may be the cause, up to [`TIMES_MAX`] reserves. A
/// merge gives back what it has written when it fails, so the room shows nothing afterwards.
const RELAPSE: Duration = Duration::from_secs(60);
const TIMES_MAX: u64 = 8;
/// The most failures in a row without a commit between them. Such a cause does not pass.
const FRUITLESS_MAX: u32 = 5;
/// The time for which opening the tree is tried while it fails for a reason that is not known to
/// pass.
const OPENING_TIME_MAX: Duration = Duration::from_secs(60);
/// The time within which a failed tree is usually open again. Until then writes are told to come
/// again, afterwards the cause.
const BUSY_TIME: Duration = Duration::from_secs(5);
/// The descriptors that must be free: those of the journals, of a table that is written, and of
/// the lists of tables.
const DESCRIPTORS: usize = 16;
/// The bytes that are written for a try. Only that shows a quota.
const PROBE_BYTES: usize = 1 << 20;
const PROBE: &str = "PROBE";

/// The result of one try to open the tree again.
pub(crate) enum Outcome {
    /// The new tree is in use, with its file `ACKED`.
    Healed(Acked),
    /// The cause has not passed. Try again at [`Healer::is_due`].
    NotYet,
    /// The tree will not take writes in this process, for this reason.
    Ended(String),
}

/// A failure of the tree that has not been healed.
#[derive(Debug)]
struct Trouble {
    cause: String,
    since: Instant,
    next: Instant,
    /// The reason for which the last look said that the cause has not passed.
    waits_for: Option<String>,
    /// The end of the tries to open, once one has failed for a reason that is not known to pass.
    give_up: Option<Instant>,
}

/// The state of the tree's health.
#[derive(Debug)]
pub(crate) struct Healer {
    home: Arc<Home>,
    options: Options,
    slot: Arc<Slot>,
    reserve: Arc<Reserve>,
    trouble: Option<Trouble>,
    healed: Option<Instant>,
    pause: Duration,
    /// The room that must be free, in reserves.
    times: u64,
    /// The number of failures since the last commit.
    fruitless: u32,
}

impl Healer {
    pub(crate) fn new(home: Arc<Home>, options: Options, slot: Arc<Slot>, reserve: Arc<Reserve>) -> Healer {
        let (pause, times) = (PAUSE_MIN, 1);
        Healer { home, options, slot, reserve, trouble: None, healed: None, pause, times, fruitless: 0 }
    }

    /// Returns the directory.
    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// Returns true from a failure until the tree is open again.
    pub(crate) fn in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// Returns true if it is time for a try.
    pub(crate) fn is_due(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.next <= Instant::now())
    }

    /// Records that a commit succeeded.
    pub(crate) fn committed(&mut self) {
        assert!(self.trouble.is_none(), "a failed tree took a commit");
        self.fruitless = 0;
    }

    /// Records that a flush or a merge has failed. Otherwise like [`Healer::failed`].
    pub(crate) fn failed_by_itself(&mut self) -> Result<(), String> {
        // The tree tells its cause to the log only.
        let starved = descriptors_left(DESCRIPTORS).err();
        let full = self.reserve.look().filter(|look| !look.suffices(1));
        let why = match (&starved, full) {
            (Some(error), _) => format!("a flush or a merge failed: {error}"),
            (None, Some(look)) => format!("a flush or a merge failed: {}", self.reserve.says(&look)),
            (None, None) => "a flush or a merge failed, see the log lines of the tree".to_owned(),
        };
        self.failed(why, starved.is_none())
    }

    /// Records that the tree has failed, and logs the cause. `is_room` says that the cause may be
    /// the room on the disk.
    ///
    /// # Errors
    /// Returns the reason for which no try is worth it, if there is one.
    ///
    /// # Panics
    /// Panics if the tree had failed already.
    pub(crate) fn failed(&mut self, cause: String, is_room: bool) -> Result<(), String> {
        assert!(self.trouble.is_none(), "the tree fails twice: {:?}, {cause}", self.trouble);
        let now = Instant::now();
        let relapse = self.healed.is_some_and(|healed| now - healed < RELAPSE);
        if !relapse {
            (self.pause, self.times) = (PAUSE_MIN, 1);
        }
        self.fruitless += 1;
        if self.fruitless > FRUITLESS_MAX {
            return Err(format!(
                "the tree was opened again {FRUITLESS_MAX} times, and failed each time: {cause}; mend the cause and restart the process"
            ));
        }
        tracing::warn!(dir = %self.home.dir().display(), cause, "the tree has failed; it is opened again as soon as possible, until then writes are rejected and reads go on");
        let next = if relapse { now + self.pause } else { now };
        if relapse {
            self.lengthen();
        }
        if relapse && is_room {
            self.times = TIMES_MAX.min(self.times * 2);
        }
        self.trouble = Some(Trouble { cause, since: now, next, waits_for: None, give_up: None });
        Ok(())
    }

    /// Returns the error for writes that come before the tree is open again. They have no effect.
    pub(crate) fn rejection(&self) -> Option<Error> {
        let Trouble { cause, since, waits_for, .. } = self.trouble.as_ref()?;
        let dir = self.home.dir().display();
        Some(match waits_for {
            Some(why) => Error::Refused(format!("local:{dir}: the tree failed ({cause}) and waits: {why}")),
            None if since.elapsed() < BUSY_TIME => Error::Busy(format!(
                "local:{dir}: the tree failed ({cause}) and is being opened again; retry later"
            )),
            None => Error::Refused(format!(
                "local:{dir}: the tree failed and could not be opened again yet: {cause}"
            )),
        })
    }

    /// Tries to open the tree again. `last` is its newest batch. Blocks for as long as opening
    /// takes.
    ///
    /// # Panics
    /// Panics if the tree has not failed.
    pub(crate) fn try_now(&mut self, last: Link) -> Outcome {
        let is_open = self.slot.now().is_some();
        if let Err(why) = self.look() {
            return self.not_yet(Some(why));
        }
        if is_open {
            let Some(tree) = self.slot.take() else {
                return self.not_yet(Some("reads of the tree do not end".to_owned()));
            };
            if let Err(what) = tree.close() {
                return self.end(&what);
            }
        }
        match Tree::reopen(&self.home, &self.options, last) {
            Ok((tree, acked)) => {
                self.slot.put(tree);
                let trouble = self.trouble.take().expect("the tree has failed");
                self.healed = Some(Instant::now());
                tracing::info!(dir = %self.home.dir().display(), after_ms = trouble.since.elapsed().as_millis() as u64, "the tree is reopened; writes go on");
                Outcome::Healed(acked)
            }
            Err(OpenError::Io { what, source }) => {
                let trouble = self.trouble.as_mut().expect("the tree has failed");
                let why = format!("{what}: {source}");
                if !passes(&source) {
                    let give_up = *trouble.give_up.get_or_insert_with(|| Instant::now() + OPENING_TIME_MAX);
                    if give_up <= Instant::now() {
                        return self.end(&why);
                    }
                }
                self.not_yet(Some(why))
            }
            Err(error) => self.end(&error.to_string()),
        }
    }

    /// Looks whether there are room and descriptors for a tree.
    ///
    /// # Errors
    /// Returns what is missing, and what to do about it.
    fn look(&self) -> Result<(), String> {
        if let Some(look) = self.reserve.look()
            && !look.suffices(self.times)
        {
            return Err(format!("{}; {}", self.reserve.says(&look), says_enough(&look, self.times)));
        }
        descriptors_left(DESCRIPTORS).map_err(|error| {
            format!(
                "fewer than {DESCRIPTORS} more files can be opened: {error}; raise the limit on open files"
            )
        })?;
        let probe = self.home.dir().join(PROBE);
        let written = write_private(&probe, &vec![0; PROBE_BYTES]);
        // Removed after an error as well, when a part of it may be there.
        let removed = std::fs::remove_file(&probe);
        written.and(removed).map_err(|error| format!("cannot write {}: {error}; free space", probe.display()))
    }

    fn not_yet(&mut self, why: Option<String>) -> Outcome {
        let next = Instant::now() + self.pause;
        self.lengthen();
        let trouble = self.trouble.as_mut().expect("the tree has failed");
        tracing::trace!(dir = %self.home.dir().display(), why, "the tree is not opened again yet");
        (trouble.next, trouble.waits_for) = (next, why);
        Outcome::NotYet
    }

    fn lengthen(&mut self) {
        self.pause = PAUSE_MAX.min(self.pause * 2);
    }

    fn end(&mut self, why: &str) -> Outcome {
        let trouble = self.trouble.take().expect("the tree has failed");
        Outcome::Ended(format!(
            "local:{}: the tree failed ({}), and cannot be opened again: {why}; mend the cause and restart the process",
            self.home.dir().display(),
            trouble.cause
        ))
    }
}
