//! Commits: sends a commit, and sends it again until its outcome is known.
//!
//! ```text
//!   with buffered writes:  POST …/batch {ops, commit, result}
//!   without:               POST …/commit {result}
//!
//!   answer                    no commit in doubt        a commit in doubt
//!   committed, replayed       done                      done
//!   none; unknown             in doubt: same call again same call again
//!   rejected for now          same call again           same call again: says nothing of the first
//!     (overloaded, not serving)
//!   lost, too large, …        not committed             not committed: the transaction was still
//!                                                       open, or has expired
//!   ended                     (the caller's error)      to a batch: it has arrived; bare commit
//!   not found                 not committed             the node has forgotten it: unknown
//!   a proxy's refusal         not committed             unknown
//!   a success, not AFT's      unknown                   unknown
//! ```
//!
//! The same call is repeated, and not a bare `commit`: if the batch without an answer never
//! arrived, a bare commit would commit the transaction without its last writes. A node that has
//! seen a batch with the commit answers the repeated batch with the outcome. While that commit is
//! in flight it answers `ended`; by then the batch's writes are in the transaction, so that a bare
//! commit waits for the same outcome. The batch holds no gets, since a repeated batch with gets has
//! no answer.
//!
//! A transaction without a request ID that wrote nothing is never in doubt: where the table says
//! that it is, it runs again.

use std::time::Instant;

use aft_api::{Batch, Code, Commit, Format, Reply};
use bytes::Bytes;

use crate::answer::{Fault, or_empty};
use crate::error::Error;
use crate::pace::Pace;
use crate::run::Ran;
use crate::settings::COMMIT_TIME_MIN;
use crate::transaction::Transaction;

/// The meaning of one answer to a commit.
enum Verdict {
    Done(Reply),
    /// The transaction did not commit.
    Not(Error),
    /// The transaction may have committed, or may still commit.
    Doubt(Error),
    /// The server rejected this call for now.
    TurnedAway(Error),
    /// The batch has arrived, and its commit is in flight or done.
    BatchIsIn,
    /// The server cannot answer for the commit in doubt any more.
    Forgotten(Error),
}

impl Transaction {
    /// Commits, with at most `times_max` calls (and one more if a batch has arrived).
    ///
    /// Calls of other tasks that are in flight come first.
    pub(crate) async fn settle(&self, result: Bytes, pace: &mut Pace, times_max: u32) -> Result<Ran, Error> {
        let own = result;
        // Without a request ID no later attempt can ask for the result, and storing it would need
        // the right to write.
        let result = Some(own.clone()).filter(|result| !result.is_empty() && self.request_id().is_some());
        let ops = self.start_ending().await?;
        // A transaction that wrote nothing has no outcome that anybody could miss.
        let pure = ops.is_empty() && self.wrote_nothing();
        let alone =
            || (self.committing_path("/commit"), Format::Protobuf.encode(&Commit { result: result.clone() }));
        let (path, body) = match ops.is_empty() {
            true => alone(),
            false => {
                let batch = Batch { ops, commit: Some(true), result: result.clone() };
                (self.committing_path("/batch"), Format::Protobuf.encode(&batch))
            }
        };
        let outcome = match self.ask(path, body, None, pace, times_max, pure).await {
            // The batch has arrived: a bare commit asks for its outcome, with calls
            // that are counted from zero again.
            Err(Asked::BatchIsIn(doubt)) => {
                let (path, body) = alone();
                self.ask(path, body, Some(doubt), pace, times_max, false).await
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
            // A replay returns the result of the attempt that committed.
            result: if reply.replayed { or_empty(reply.result) } else { own },
            version: reply.version,
            attempts: 1,
        })
    }

    /// Returns the outcome of a transaction whose commit was sent with another call and is in
    /// doubt. This only asks: for the node that saw that commit, and for a restarted one, a bare
    /// commit is a query.
    pub(crate) async fn ask_again(&self, doubt: Error, pace: &mut Pace) -> Result<Reply, Error> {
        let body = Format::Protobuf.encode(&Commit::default());
        match self.ask(self.committing_path("/commit"), body, Some(doubt), pace, u32::MAX, false).await {
            Ok(reply) => {
                self.client().committed(reply.session.as_deref());
                Ok(reply)
            }
            Err(Asked::Not(error) | Asked::Doubt(error) | Asked::BatchIsIn(error)) => Err(self.about(error)),
        }
    }

    /// Sends a commit until its outcome is known, `times_max` calls were made, or the time is over.
    /// `doubt` is the error of an earlier commit in doubt; `pure` is true if there is nothing to
    /// commit.
    async fn ask(
        &self,
        path: String,
        body: Bytes,
        mut doubt: Option<Error>,
        pace: &mut Pace,
        times_max: u32,
        pure: bool,
    ) -> Result<Reply, Asked> {
        assert!(!pure || doubt.is_none(), "a transaction that wrote nothing is never in doubt");
        let is_batch = path.split('?').next().is_some_and(|path| path.ends_with("/batch"));
        for nth in 1.. {
            let id = self.request_id().map(str::to_owned);
            let until = match &doubt {
                None => pace.until().max(Instant::now() + COMMIT_TIME_MIN),
                Some(_) => pace.until(),
            };
            let answer = self.client().post(path.clone(), body.clone(), id, until).await;
            let last = match verdict(answer, is_batch, doubt.is_some()) {
                // Nothing was written, so nothing is in doubt: run the reads again.
                Verdict::Doubt(error) if pure => return Err(Asked::Not(error.into_retry())),
                Verdict::Forgotten(error) if pure => return Err(Asked::Not(error.into_permanent())),
                Verdict::Done(reply) => return Ok(reply),
                Verdict::Not(error) => return Err(Asked::Not(error)),
                Verdict::BatchIsIn => {
                    return Err(Asked::BatchIsIn(
                        doubt.expect("only a batch in doubt is found to have arrived"),
                    ));
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
                    Some(doubt) => Asked::Doubt(doubt.after_tries(nth)),
                    None => Asked::Not(last.after_tries(nth)),
                });
            }
        }
        unreachable!("the loop ends with an answer or at its bounds")
    }
}

/// The reason why [`Transaction::ask`] ended without a commit.
enum Asked {
    Not(Error),
    Doubt(Error),
    BatchIsIn(Error),
}

fn verdict(answer: Result<Reply, Fault>, is_batch: bool, in_doubt: bool) -> Verdict {
    let error = match answer {
        Ok(reply) if reply.committed || reply.replayed => return Verdict::Done(reply),
        Ok(_) => return Verdict::Doubt(Error::unknown("the answer to a commit reports no commit")),
        Err(Fault::NoAnswer(why)) => return Verdict::Doubt(Error::unknown(why)),
        // Something that is not AFT took the call. Asking it again finds out nothing.
        Err(Fault::Strange(why)) => return Verdict::Forgotten(Error::unknown(why)),
        Err(Fault::NotSent(why)) if in_doubt => return Verdict::TurnedAway(Error::unavailable(why)),
        // The server that opened the transaction is gone, and the transaction with it.
        Err(Fault::NotSent(why)) => return Verdict::Not(Error::unavailable(why)),
        Err(Fault::Refused(error)) => error,
    };
    match error {
        Error::Unknown(_) => Verdict::Doubt(error),
        Error::Unavailable(_) if error.is_retryable() => Verdict::TurnedAway(error),
        // A proxy that lets nothing through now says nothing about the first call.
        Error::Unavailable(_) if in_doubt => Verdict::Forgotten(error.into_unknown()),
        Error::Retry(_) if error.code() == Some(Code::BodyTimeout) => Verdict::TurnedAway(error),
        Error::Invalid(_) if is_batch && in_doubt && error.code() == Some(Code::Ended) => Verdict::BatchIsIn,
        Error::NotFound(_) if in_doubt => Verdict::Forgotten(error.into_unknown()),
        // Credentials that are rejected now say nothing about the first call.
        Error::Unauthorized(_) if in_doubt => Verdict::Forgotten(error.into_unknown()),
        // A store that is damaged now says nothing about the first call either.
        Error::Internal(_) if in_doubt => Verdict::Forgotten(error.into_unknown()),
        Error::NotFound(_) => Verdict::Not(error.into_retry()),
        Error::Retry(_)
        | Error::Unavailable(_)
        | Error::InProgress(_)
        | Error::KeyReused(_)
        | Error::ResultGone(_)
        | Error::Invalid(_)
        | Error::Unauthorized(_)
        | Error::Internal(_) => Verdict::Not(error),
    }
}
