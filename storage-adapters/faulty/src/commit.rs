//! The course of a commit: each piece has a fate of its own, or all of them have the same one.
//!
//! ```text
//! draw ─ wait ─┬─ busy or never: no effect ─────────────────► error
//!              ├─ late ─► spawned: wait, effect               no answer at once
//!              └─ the others together, in one commit ─┬─ once or twice ─► answer, or none
//!                                                     └─ again late ─► answer; spawned
//! ```
//!
//! So a record may exist without its entries, and entries without their record, for a while or for
//! good. Each piece's answer is true of that piece.

use std::ops::Range;
use std::time::Duration;

use aft_store::{Committed, Created, Name, Result, Store, Writes};
use bytes::Bytes;
use rand::{Rng, RngExt};

use crate::faults::{Fate, Plan};
use crate::store::{FaultyStore, wait};
use crate::{Call, Counts, Faults};

/// A piece of a commit. The create comes before the puts.
#[derive(Debug, Clone)]
enum Piece {
    Create(Name, Bytes),
    Put(Name, Bytes),
}

/// The outcome of one piece: for a create `Some` answer, for a put `None`.
type Answer = Result<Option<Created>>;

/// Neighbouring pieces that have the same fate.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) fate: Fate,
    /// The delay of an effect that comes late.
    pub(crate) late: Duration,
    /// The places of the pieces in the commit.
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
    /// Draws the course of a commit of `pieces` pieces. The number of values drawn depends on
    /// `pieces` alone.
    pub(crate) fn draw(faults: &Faults, pieces: usize, rng: &mut impl Rng) -> CommitPlan {
        let whole = faults.draw(rng);
        let is_whole = rng.random::<f64>() < faults.commit_whole;
        // Drawn even if the commit is whole, so that `commit_whole` does not change what later
        // calls draw.
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

    /// Counts one call, and the fault of each of its parts.
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
    /// Draws the course of a commit and runs it.
    pub(crate) async fn run_commit(&self, writes: Writes) -> Committed {
        writes.assert_distinct();
        let has_create = writes.create.is_some();
        let pieces = pieces_of(writes);
        let CommitPlan { before, after, parts } = self.draw_commit(pieces.len());
        wait(before).await;
        // First the parts that take no effect now: their errors are known.
        let mut answers: Vec<Answer> = vec![Ok(None); pieces.len()];
        let mut now: Vec<usize> = Vec::new();
        for Part { fate, late, pieces: places } in &parts {
            let error = match fate {
                Fate::Answered | Fate::Done | Fate::Twice | Fate::AgainLate => {
                    // These take effect now. A lost answer or a repetition comes below.
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
        // Then the faults that come after the effect. They change the answers of pieces that
        // succeeded.
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

    /// Commits pieces on the store inside. Returns their answers, in order.
    async fn commit_pieces(&self, pieces: &[Piece]) -> Vec<Answer> {
        if pieces.is_empty() {
            return Vec::new();
        }
        let answers = answers_of(self.inner().commit(writes_of(pieces)).await);
        assert_eq!(answers.len(), pieces.len(), "every piece has an answer");
        answers
    }

    /// Commits pieces on the store inside after the delay `late`, with nobody waiting.
    fn land_pieces(&self, late: Duration, pieces: &[Piece]) {
        if pieces.is_empty() {
            return;
        }
        let (inner, writes) = (self.inner().clone(), writes_of(pieces));
        self.land(late, async move { inner.commit(writes).await });
    }
}
