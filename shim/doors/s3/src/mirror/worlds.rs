//! Goal: whatever the order of all steps, the mirror ends with the newest version of a key, older
//! ones never replace newer ones, and no reader takes a mirrored object for version 0 or misses it.
//! Method: every interleaving of a writer, two mirrors of which one may end at any step, somebody
//! else, and a reader of version 0, on one key. The mirrors decide by the real rules. Mistakes that
//! are planted have to be found.

use std::collections::{BTreeSet, HashSet};

use aft_core::ids::{Hlc, TxnId};

use super::rules::{Latest, Step, There, step};

/// An entity tag: equal bytes have equal ones.
type Tag = u8;
/// The tag of version 0, and that of somebody else's object.
const ZERO: Tag = 100;
const FOREIGN: Tag = 101;
/// The record of a deletion by the mirror.
const NONE: Tag = 0;

/// A commit that changes the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Commit {
    Put(Tag),
    Delete,
}

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    /// The entries go right after the request to the origin.
    EndWithoutAnotherLook,
    /// The entries go before the request to the origin.
    EndFirst,
    /// A write replaces whatever is there.
    WriteWithoutCondition,
    /// The mirror's record is read before the origin is asked.
    RecordBeforeOrigin,
    /// The bucket's deletions are read before the origin is asked.
    DeletedBeforeOrigin,
    /// A longer transaction believes an origin that has nothing.
    BelieveAbsence,
    /// Marks are not looked at by readers.
    ReadMarked,
    /// An unmarked object is always version 0.
    TakeForeignForZero,
}

/// A setting, in which every order of steps is tried.
#[derive(Debug, Clone)]
struct Scene {
    commits: Vec<Commit>,
    has_zero: bool,
    /// The origin compares the tag of a deletion, as S3 does and MinIO does not.
    deletes_conditionally: bool,
    crashes: u8,
    foreign: u8,
    /// Two readers beside one mirror; otherwise two mirrors.
    has_readers: bool,
    bug: Bug,
}

/// An object at the origin; the mark is the number of its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Stored {
    tag: Tag,
    mark: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Worker {
    Idle,
    /// About to ask the origin; what the mirror has recorded was read before, if that is the
    /// mistake.
    Ask {
        entries: BTreeSet<u8>,
        left: Option<Option<Tag>>,
    },
    /// About to read the newest version.
    Look {
        entries: BTreeSet<u8>,
        left: Option<Option<Tag>>,
        there: Option<Stored>,
    },
    /// About to act.
    Act {
        entries: BTreeSet<u8>,
        newest: u8,
        left: Option<Tag>,
        there: Option<Stored>,
    },
    /// About to look again, after an act.
    Again {
        entries: BTreeSet<u8>,
        newest: u8,
        tag: Tag,
    },
    /// About to remove the entries, and to record a tag.
    End {
        entries: BTreeSet<u8>,
        left: Option<Tag>,
    },
}

/// A reader of version 0. It has found no version in the store, at its first step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Reader {
    Start,
    /// It knows whether the key was deleted, and asks the origin next: that is the mistake.
    Told {
        hidden: bool,
    },
    /// It knows what the origin has, and maybe whether the key was deleted.
    Asked {
        there: Option<Stored>,
        hidden: Option<bool>,
    },
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// The number of commits so far; they are numbered from 1.
    newest: u8,
    due: BTreeSet<u8>,
    left: Option<Tag>,
    there: Option<Stored>,
    workers: [Worker; 2],
    /// The reader in a transaction of its own, and one in a longer transaction.
    readers: [Reader; 2],
    crashes: u8,
    foreign: u8,
    /// Somebody else has overwritten an object that the mirror had left.
    was_overwritten: bool,
    /// A mirror ended in the middle of its work.
    has_crashed: bool,
    /// The check has run after everything else.
    is_checked: bool,
}

fn version(number: u8) -> TxnId {
    TxnId::at(Hlc(u64::from(number) << 16))
}

impl Scene {
    fn start(&self) -> World {
        World {
            newest: 0,
            due: BTreeSet::new(),
            left: None,
            there: self.has_zero.then_some(Stored { tag: ZERO, mark: None }),
            workers: [Worker::Idle, Worker::Idle],
            readers: [Reader::Start, Reader::Start],
            crashes: self.crashes,
            foreign: self.foreign,
            was_overwritten: false,
            has_crashed: false,
            is_checked: false,
        }
    }

    fn commit(&self, number: u8) -> Commit {
        self.commits[usize::from(number) - 1]
    }

    fn latest(&self, newest: u8) -> Latest {
        match newest {
            0 => Latest::Unwritten,
            _ => match self.commit(newest) {
                Commit::Put(_) => Latest::Object(version(newest)),
                Commit::Delete => Latest::Deleted(version(newest)),
            },
        }
    }

    fn is_deleted_by(&self, newest: u8) -> bool {
        self.commits[..usize::from(newest)].contains(&Commit::Delete)
    }

    /// Tries all orders. Returns a story that ends badly.
    fn explore(&self) -> Result<usize, String> {
        // Each world with the step that led to it first, and the world before.
        let start = self.start();
        let mut seen = HashSet::from([start.clone()]);
        let mut all = vec![(start, String::new(), 0)];
        let mut at = 0;
        while at < all.len() {
            let next = self.next(&all[at].0).map_err(|why| {
                let (mut story, mut back) = (vec![format!("{why}\n{self:?}")], at);
                while back > 0 {
                    story.insert(1, all[back].1.clone());
                    back = all[back].2;
                }
                story.join("\n")
            })?;
            for (what, world) in next {
                if seen.insert(world.clone()) {
                    all.push((world, what, at));
                }
            }
            at += 1;
        }
        Ok(all.len())
    }

    /// Returns all worlds after one step.
    fn next(&self, world: &World) -> Result<Vec<(String, World)>, String> {
        let mut all = Vec::new();
        let mut add = |what: String, world: World| all.push((what, world));
        if usize::from(world.newest) < self.commits.len() {
            let mut next = world.clone();
            next.newest += 1;
            next.due.insert(next.newest);
            add(format!("commit {}: {:?}", next.newest, self.commit(next.newest)), next);
        }
        if world.foreign > 0 {
            let mut next = world.clone();
            next.foreign -= 1;
            next.was_overwritten = world.left.is_some();
            next.there = Some(Stored { tag: FOREIGN, mark: None });
            add("somebody else writes".into(), next);
        }
        for number in 0..2 {
            if (number == 0 || !self.has_readers)
                && let Some((what, next)) = self.mirror(world, number)?
            {
                add(format!("mirror {number} {what}"), next);
            }
            if world.crashes > 0 && number == 0 && world.workers[0] != Worker::Idle {
                let mut next = world.clone();
                next.crashes -= 1;
                next.has_crashed = true;
                next.workers[0] = Worker::Idle;
                add("mirror 0 ends".into(), next);
            }
            if self.has_readers
                && let Some((what, next)) = self.read(world, number)?
            {
                add(format!("reader {number} {what}"), next);
            }
        }
        let is_idle = world.workers.iter().all(|worker| *worker == Worker::Idle);
        let is_over = usize::from(world.newest) == self.commits.len() && world.due.is_empty() && is_idle;
        if is_over {
            let differs = world.left.is_some_and(|left| left != world.there.map_or(NONE, |there| there.tag));
            if differs && !world.is_checked {
                // The check makes the key due.
                let mut next = world.clone();
                next.is_checked = true;
                next.due.insert(u8::MAX);
                add("the check finds a difference".into(), next);
            }
            self.judge(world, differs)?;
        }
        Ok(all)
    }

    /// Judges a world in which nothing is left to do, but maybe the check.
    fn judge(&self, world: &World, differs: bool) -> Result<(), String> {
        if self.foreign > 0 {
            return Ok(());
        }
        let expected = match world.newest {
            0 => return Ok(()),
            newest => match self.commit(newest) {
                Commit::Put(tag) => Some(tag),
                Commit::Delete => None,
            },
        };
        // The check is for processes that have ended.
        let may_wait = world.has_crashed && differs && !world.is_checked;
        match world.there.map(|there| there.tag) == expected || may_wait {
            true => Ok(()),
            false => Err(format!("the origin has {:?}, and the newest is {expected:?}", world.there)),
        }
    }

    fn mirror(&self, world: &World, number: usize) -> Result<Option<(String, World)>, String> {
        let mut next = world.clone();
        let what = match world.workers[number].clone() {
            Worker::Idle if world.due.is_empty() => return Ok(None),
            Worker::Idle => {
                let entries = world.due.clone();
                if self.bug == Bug::EndFirst {
                    next.due.clear();
                }
                let left = (self.bug == Bug::RecordBeforeOrigin).then_some(world.left);
                next.workers[number] = Worker::Ask { entries, left };
                "takes the list".into()
            }
            Worker::Ask { entries, left } => {
                next.workers[number] = Worker::Look { entries, left, there: world.there };
                format!("sees {:?}", world.there)
            }
            Worker::Look { entries, left, there } => {
                let left = left.unwrap_or(world.left);
                next.workers[number] = Worker::Act { entries, newest: world.newest, left, there };
                format!("reads version {}", world.newest)
            }
            Worker::Again { entries, newest, tag } => {
                next.workers[number] = match newest == world.newest {
                    true => Worker::End { entries, left: Some(tag) },
                    false => Worker::Ask { entries, left: None },
                };
                format!("reads version {} again", world.newest)
            }
            Worker::Act { entries, newest, left, there } => {
                let is_recorded = left.is_some() && self.bug != Bug::TakeForeignForZero;
                let state = match there {
                    None => There::Nothing,
                    Some(Stored { mark: Some(mark), .. }) => There::Marked(version(mark)),
                    Some(Stored { mark: None, .. }) if is_recorded => There::Foreign,
                    Some(Stored { mark: None, .. }) => There::Zero,
                };
                let tag = there.map_or(NONE, |there| there.tag);
                let decided = step(self.latest(newest), state);
                let now = world.there.map_or(NONE, |there| there.tag);
                let acted = match decided {
                    Step::Done => Err(Some(tag)),
                    Step::Report => Err(Some(NONE)),
                    Step::Write => {
                        let Commit::Put(of_newest) = self.commit(newest) else { unreachable!("an object") };
                        if now == tag || self.bug == Bug::WriteWithoutCondition {
                            self.check_write(world, newest)?;
                            next.there = Some(Stored { tag: of_newest, mark: Some(newest) });
                            Ok(Some(of_newest))
                        } else {
                            Ok(None)
                        }
                    }
                    Step::Delete if now == tag || now == NONE || !self.deletes_conditionally => {
                        if self.deletes_conditionally && now != NONE {
                            self.check_write(world, newest)?;
                        }
                        next.there = None;
                        Ok(Some(NONE))
                    }
                    Step::Delete => Ok(None),
                };
                next.workers[number] = match acted {
                    Err(left) => Worker::End { entries, left },
                    Ok(Some(tag)) if self.bug == Bug::EndWithoutAnotherLook => {
                        Worker::End { entries, left: Some(tag) }
                    }
                    Ok(Some(tag)) => Worker::Again { entries, newest, tag },
                    Ok(None) => Worker::Ask { entries, left: None },
                };
                format!("decides {decided:?} for version {newest}, and leaves {:?}", next.there)
            }
            Worker::End { entries, left } => {
                next.due.retain(|entry| !entries.contains(entry));
                next.left = left.or(world.left);
                next.workers[number] = Worker::Idle;
                "removes the entries".into()
            }
        };
        Ok(Some((what, next)))
    }

    /// Checks that a change at the origin replaces something older, which is not somebody else's.
    fn check_write(&self, world: &World, newest: u8) -> Result<(), String> {
        let Some(Stored { tag, mark }) = world.there else { return Ok(()) };
        if world.was_overwritten && tag == FOREIGN {
            return Err("the mirror changes an object that somebody else has written over its own".into());
        }
        // Another version with the same bytes cannot be told from it.
        let has_twins = self.commits.iter().filter(|commit| **commit == Commit::Put(tag)).count() > 1;
        match mark.is_some_and(|mark| mark > newest) && !has_twins {
            true => Err(format!("version {newest} replaces {mark:?}")),
            false => Ok(()),
        }
    }

    fn read(&self, world: &World, number: usize) -> Result<Option<(String, World)>, String> {
        let mut next = world.clone();
        let is_alone = number == 0;
        let what = match world.readers[number].clone() {
            // A key with a version is not read through. A longer transaction has read it before the
            // first commit.
            Reader::Start if world.newest > 0 && is_alone => return Ok(None),
            Reader::Start if self.bug == Bug::DeletedBeforeOrigin => {
                next.readers[number] = Reader::Told { hidden: is_alone && self.is_deleted_by(world.newest) };
                "reads what was deleted".into()
            }
            Reader::Start => {
                next.readers[number] = Reader::Asked { there: world.there, hidden: None };
                format!("sees {:?}", world.there)
            }
            Reader::Told { hidden } => {
                next.readers[number] = Reader::Asked { there: world.there, hidden: Some(hidden) };
                format!("sees {:?}", world.there)
            }
            Reader::Asked { there, hidden } => {
                // A longer transaction reads the state from before all commits.
                let hidden = hidden.unwrap_or(is_alone && self.is_deleted_by(world.newest));
                let is_unwritten = world.newest == 0;
                let marks = self.bug != Bug::ReadMarked;
                next.readers[number] = Reader::Done;
                match there {
                    _ if hidden => "finds it deleted".into(),
                    Some(Stored { mark: Some(_), .. }) if marks && !is_unwritten => {
                        "has to begin again".into()
                    }
                    Some(stored) if stored.mark.is_none() && stored.tag != FOREIGN && stored.tag != ZERO => {
                        return Err(format!("a reader gets {stored:?} as version 0"));
                    }
                    Some(stored @ Stored { mark: Some(_), .. }) => {
                        return Err(format!("a reader gets {stored:?} as version 0"));
                    }
                    Some(_) => "gets version 0".into(),
                    None if !is_alone && !is_unwritten && self.bug != Bug::BelieveAbsence => {
                        "has to begin again".into()
                    }
                    None if self.has_zero => return Err("a reader misses version 0".into()),
                    None => "gets nothing".into(),
                }
            }
            Reader::Done => return Ok(None),
        };
        Ok(Some((what, next)))
    }
}

/// Returns all scenes.
fn scenes(bug: Bug) -> Vec<Scene> {
    use Commit::{Delete, Put};
    let mut all = Vec::new();
    let commits = [
        vec![Put(1)],
        vec![Delete],
        vec![Put(1), Put(2)],
        vec![Put(1), Delete],
        vec![Delete, Put(1)],
        vec![Put(1), Put(2), Put(1)],
        vec![Put(1), Delete, Put(2)],
    ];
    for commits in commits {
        for (has_zero, deletes_conditionally) in [(true, true), (true, false), (false, true), (false, false)]
        {
            for (crashes, foreign) in [(0, 0), (1, 0), (0, 1)] {
                // Without conditions somebody else's object can be deleted unseen.
                if foreign > 0 && !deletes_conditionally {
                    continue;
                }
                // Two changes show what a third one would.
                if commits.len() > 2 && crashes + foreign > 0 {
                    continue;
                }
                for has_readers in [true, false] {
                    let commits = commits.clone();
                    let scene = Scene {
                        commits,
                        has_zero,
                        deletes_conditionally,
                        crashes,
                        foreign,
                        has_readers,
                        bug,
                    };
                    all.push(scene);
                }
            }
        }
    }
    all
}

#[test]
fn the_newest_version_is_mirrored_in_every_order() {
    let mut worlds = 0;
    for scene in scenes(Bug::None) {
        worlds += scene.explore().unwrap_or_else(|story| panic!("{story}"));
    }
    assert!(worlds > 10_000, "{worlds} worlds are few");
}

#[test]
fn planted_mistakes_are_found() {
    for bug in [
        Bug::EndWithoutAnotherLook,
        Bug::EndFirst,
        Bug::WriteWithoutCondition,
        Bug::RecordBeforeOrigin,
        Bug::DeletedBeforeOrigin,
        Bug::BelieveAbsence,
        Bug::ReadMarked,
        Bug::TakeForeignForZero,
    ] {
        let found = scenes(bug).iter().any(|scene| scene.explore().is_err());
        assert!(found, "{bug:?} is not found");
    }
}
