//! Commits, and asks again until the outcome is known.
//!
//! ```text
//!   what waits goes with it:  POST …/batch {ops, commit, result}       nothing waits:  POST …/commit {result}
//!
//!   answer                                   without a commit in doubt     with one
//!   committed, replayed                      done                          done
//!   none; unknown                            in doubt: the same call again the same call again
//!   turned away (overloaded, not serving)    the same call again           the same call again: says nothing of the first
//!   lost, too large, …                       not committed                 not committed: the transaction was still open, or ran out
//!   ended                                    (a mistake)                   of a batch: it is in; commit without it
//!   not found                                not committed                 its node has forgotten: unknown
//! ```
//!
//! The same call, not `commit` alone: if the batch that was not answered never arrived, a bare commit would commit the transaction without its last
//! writes. A batch with the commit that the node has seen is answered with the outcome; while it is under way, `ended`, and by then its writes
//! are in the transaction, so that a bare commit waits for the same outcome. The batch has no gets: with them a repetition has no answer.

use aft_api::{Batch, Code, Commit, Format, Reply};
use bytes::Bytes;

use crate::answer::{Fault, or_empty};
use crate::error::Error;
use crate::pace::Pace;
use crate::run::Ran;
use crate::transaction::Transaction;

/// What one answer to a commit means.
enum Verdict {
    Done(Reply),
    /// It did not commit.
    Not(Error),
    /// It may have committed, or may yet.
    Doubt(Error),
    /// This call was turned away.
    TurnedAway(Error),
    /// The batch is in, and its commit under way or done.
    BatchIsIn,
    /// Nobody is left to ask.
    Forgotten(Error),
}

impl Transaction {
    /// Commits; `times_max` calls at most.
    pub(crate) async fn settle(&self, result: Bytes, pace: &mut Pace, times_max: u32) -> Result<Ran, Error> {
        let own = result;
        // Without a request ID nobody comes back for it, and to store it would take the right to write.
        let result = Some(own.clone()).filter(|result| !result.is_empty() && self.request_id().is_some());
        let ops = self.start_ending()?;
        let alone =
            || (self.committing_path("/commit"), Format::Protobuf.encode(&Commit { result: result.clone() }));
        let (path, body) = match ops.is_empty() {
            true => alone(),
            false => {
                let batch = Batch { ops, commit: Some(true), result: result.clone() };
                (self.committing_path("/batch"), Format::Protobuf.encode(&batch))
            }
        };
        let outcome = match self.ask(path, body, None, pace, times_max).await {
            // Counted on: the one call that this takes is not bounded by `times_max`.
            Err(Asked::BatchIsIn(doubt)) => {
                let (path, body) = alone();
                self.ask(path, body, Some(doubt), pace, times_max).await
            }
            outcome => outcome,
        };
        let reply = match outcome {
            Ok(reply) => reply,
            Err(Asked::Not(error)) => {
                self.leave();
                return Err(self.about(error));
            }
            Err(Asked::Doubt(error) | Asked::BatchIsIn(error)) => return Err(self.about(error)),
        };
        self.client().committed(reply.session.as_deref());
        Ok(Ran {
            replayed: reply.replayed,
            result_size: reply.result_size,
            // The winner's, or this one's own.
            result: if reply.replayed { or_empty(reply.result) } else { own },
            version: reply.version,
            attempts: 1,
        })
    }

    /// What became of a transaction whose commit is in doubt and went with another call. Only asks: a node that knows of a commit in doubt, and
    /// another life of it, take a bare commit for a question.
    pub(crate) async fn ask_again(&self, doubt: Error, pace: &mut Pace) -> Result<Reply, Error> {
        let body = Format::Protobuf.encode(&Commit::default());
        match self.ask(self.committing_path("/commit"), body, Some(doubt), pace, u32::MAX).await {
            Ok(reply) => {
                self.client().committed(reply.session.as_deref());
                Ok(reply)
            }
            Err(Asked::Not(error) | Asked::Doubt(error) | Asked::BatchIsIn(error)) => Err(self.about(error)),
        }
    }

    async fn ask(
        &self,
        path: String,
        body: Bytes,
        mut doubt: Option<Error>,
        pace: &mut Pace,
        times_max: u32,
    ) -> Result<Reply, Asked> {
        let is_batch = path.split('?').next().is_some_and(|path| path.ends_with("/batch"));
        for nth in 1.. {
            let answer =
                self.client().post(path.clone(), body.clone(), self.request_id().map(str::to_owned)).await;
            let last = match verdict(answer, is_batch, doubt.is_some()) {
                Verdict::Done(reply) => return Ok(reply),
                Verdict::Not(error) => return Err(Asked::Not(error)),
                Verdict::BatchIsIn => {
                    return Err(Asked::BatchIsIn(doubt.expect("only a batch in doubt is found in")));
                }
                Verdict::Forgotten(error) => return Err(Asked::Doubt(doubt.unwrap_or(error))),
                Verdict::Doubt(error) => {
                    doubt = Some(error.clone());
                    error
                }
                Verdict::TurnedAway(error) => error,
            };
            if nth >= times_max || !pace.pause(&last).await {
                return Err(match doubt {
                    Some(doubt) => Asked::Doubt(doubt),
                    None => Asked::Not(last),
                });
            }
        }
        unreachable!("the loop above ends by an answer or by its bounds")
    }
}

/// Why asking has ended without an outcome.
enum Asked {
    Not(Error),
    Doubt(Error),
    BatchIsIn(Error),
}

fn verdict(answer: Result<Reply, Fault>, is_batch: bool, in_doubt: bool) -> Verdict {
    let error = match answer {
        Ok(reply) if reply.committed || reply.replayed => return Verdict::Done(reply),
        Ok(_) => return Verdict::Doubt(Error::unknown("an answer to a commit that tells of none")),
        Err(Fault::NoAnswer(why)) => return Verdict::Doubt(Error::unknown(why)),
        Err(Fault::NotSent(why)) if in_doubt => return Verdict::TurnedAway(Error::unavailable(why)),
        // Whoever has opened the transaction is gone, and the transaction with it.
        Err(Fault::NotSent(why)) => return Verdict::Not(Error::unavailable(why)),
        Err(Fault::Refused(error)) => error,
    };
    match error {
        Error::Unknown(_) => Verdict::Doubt(error),
        Error::Unavailable(_) => Verdict::TurnedAway(error),
        Error::Retry(_) if error.code() == Some(Code::BodyTimeout) => Verdict::TurnedAway(error),
        Error::Invalid(_) if is_batch && in_doubt && error.code() == Some(Code::Ended) => Verdict::BatchIsIn,
        Error::NotFound(_) if in_doubt => Verdict::Forgotten(error.into_unknown()),
        // Credentials that no longer hold say nothing of the first call.
        Error::Unauthorized(_) if in_doubt => Verdict::Forgotten(error.into_unknown()),
        // Neither does a store that is damaged now.
        Error::Internal(_) if in_doubt => Verdict::Forgotten(error.into_unknown()),
        Error::NotFound(_) => Verdict::Not(error.into_retry()),
        Error::Retry(_)
        | Error::InProgress(_)
        | Error::KeyReused(_)
        | Error::ResultGone(_)
        | Error::Invalid(_)
        | Error::Unauthorized(_)
        | Error::Internal(_) => Verdict::Not(error),
    }
}
