//! The course of a commit: its pieces go apart, or all of them meet one fate.
//!
//! ```text
//! draw ─ wait ─┬─ busy or never: no effect ─────────────────► error
//!              ├─ late ─► spawned: wait, effect                no answer at once
//!              └─ the others together, in one commit ─┬─ once or twice ─► answer, or none
//!                                                     └─ again late ─► answer; spawned
//! ```
//!
//! So a record may be there without its entries, and entries without their record, for a while or
//! for good; and an answer says of each piece no more than is true of it.

use std::ops::Range;
use std::time::Duration;

use aft_store::{Committed, Created, Name, Result, Store, Writes};
use bytes::Bytes;
use rand::{Rng, RngExt};

use crate::faults::{Fate, Plan};
use crate::store::{FaultyStore, wait};
use crate::{Call, Counts, Faults};

/// One piece of a commit. Of several, the create comes first.
#[derive(Debug, Clone)]
enum Piece {
    Create(Name, Bytes),
    Put(Name, Bytes),
}

/// The outcome of one piece: of a create with its answer.
type Answer = Result<Option<Created>>;

/// Neighbouring pieces that meet one fate.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) fate: Fate,
    pub(crate) late: Duration,
    pub(crate) pieces: Range<usize>,
}

/// The drawn course of one commit.
#[derive(Debug)]
pub(crate) struct CommitPlan {
    before: Duration,
    after: Duration,
    parts: Vec<Part>,
}

impl CommitPlan {
    /// Draws the course of a commit of this many pieces. What is drawn depends on their number and
    /// on nothing else.
    pub(crate) fn draw(faults: &Faults, pieces: usize, rng: &mut impl Rng) -> CommitPlan {
        let whole = faults.draw(rng);
        let is_whole = rng.random::<f64>() < faults.commit_whole;
        let apart: Vec<_> = (0..pieces).map(|_| faults.draw(rng)).collect();
        let parts = match is_whole {
            true => vec![Part { fate: whole.fate, late: whole.late, pieces: 0..pieces }],
            false => {
                let part =
                    |(i, plan): (usize, &Plan)| Part { fate: plan.fate, late: plan.late, pieces: i..i + 1 };
                apart.iter().enumerate().map(part).collect()
            }
        };
        CommitPlan { before: whole.before, after: whole.after, parts }
    }

    /// Counts one call, and each fault that its parts meet.
    pub(crate) fn count(&self, counts: &mut Counts) {
        counts.calls += 1;
        self.parts.iter().for_each(|part| counts.count_fate(part.fate));
    }
}

fn pieces_of(writes: Writes) -> Vec<Piece> {
    let create = writes.create.map(|(name, body)| Piece::Create(name, body));
    let puts = writes.puts.into_iter().map(|(name, body)| Piece::Put(name, body));
    create.into_iter().chain(puts).collect()
}

fn writes_of(pieces: &[Piece]) -> Writes {
    let mut writes = Writes::default();
    for piece in pieces.iter().cloned() {
        match piece {
            Piece::Create(name, body) => {
                let other = writes.create.replace((name, body));
                assert!(other.is_none(), "a commit has one record");
            }
            Piece::Put(name, body) => writes.puts.push((name, body)),
        }
    }
    writes
}

fn answers_of(committed: Committed) -> Vec<Answer> {
    let created = committed.created.map(|created| created.map(Some));
    created.into_iter().chain(committed.puts.into_iter().map(|put| put.map(|()| None))).collect()
}

fn committed_of(answers: Vec<Answer>, has_create: bool) -> Committed {
    let mut answers = answers.into_iter();
    let created = has_create.then(|| {
        let answer = answers.next().expect("every piece has an answer");
        answer.map(|created| created.expect("the create comes first"))
    });
    Committed { created, puts: answers.map(|put| put.map(|_| ())).collect() }
}

impl<S: Store + ?Sized> FaultyStore<S> {
    /// Runs a commit as drawn.
    pub(crate) async fn run_commit(&self, writes: Writes) -> Committed {
        writes.assert_distinct();
        let has_create = writes.create.is_some();
        let pieces = pieces_of(writes);
        let CommitPlan { before, after, parts } = self.draw_commit(pieces.len());
        wait(before).await;
        let mut answers: Vec<Answer> = vec![Ok(None); pieces.len()];
        let mut now: Vec<usize> = Vec::new();
        for Part { fate, late, pieces: places } in &parts {
            let error = match fate {
                Fate::Answered | Fate::Done | Fate::Twice | Fate::AgainLate => {
                    now.extend(places.clone());
                    continue;
                }
                Fate::Busy => self.busy(Call::Commit),
                Fate::Never => self.no_answer(Call::Commit, "a piece was lost"),
                Fate::Late => {
                    self.land_pieces(*late, &pieces[places.clone()]);
                    self.no_answer(Call::Commit, "a piece is still under way")
                }
            };
            answers[places.clone()].fill(Err(error));
        }
        // The pieces that take effect at once go to the store inside as one commit.
        let together: Vec<Piece> = now.iter().map(|&place| pieces[place].clone()).collect();
        for (place, answer) in now.into_iter().zip(self.commit_pieces(&together).await) {
            answers[place] = answer;
        }
        for Part { fate, late, pieces: places } in parts {
            let answers = &mut answers[places.clone()];
            match fate {
                Fate::Answered | Fate::Busy | Fate::Never | Fate::Late => {}
                Fate::Done => {
                    let lost = |_| Err(self.no_answer(Call::Commit, "done, the answer was lost"));
                    answers.iter_mut().for_each(|answer| *answer = answer.clone().and_then(lost));
                }
                Fate::Twice => {
                    let again = self.commit_pieces(&pieces[places]).await;
                    for (answer, again) in answers.iter_mut().zip(again) {
                        *answer = answer.clone().and(again);
                    }
                }
                Fate::AgainLate => self.land_pieces(late, &pieces[places]),
            }
        }
        wait(after).await;
        committed_of(answers, has_create)
    }

    async fn commit_pieces(&self, pieces: &[Piece]) -> Vec<Answer> {
        if pieces.is_empty() {
            return Vec::new();
        }
        let answers = answers_of(self.inner().commit(writes_of(pieces)).await);
        assert_eq!(answers.len(), pieces.len(), "every piece has an answer");
        answers
    }

    fn land_pieces(&self, late: Duration, pieces: &[Piece]) {
        if pieces.is_empty() {
            return;
        }
        let (inner, writes) = (self.inner().clone(), writes_of(pieces));
        self.land(late, async move { inner.commit(writes).await });
    }
}
