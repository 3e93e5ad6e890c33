//! Runs: calls a function in a transaction until its request has committed once.
//!
//! ```text
//!   open ──► replayed: done
//!    ▲  └──► function ──► error of its own: abort, done
//!    │            ├─────► a call failed, another attempt may succeed ────────┐
//!    │            └─────► commit ──► committed, replayed: done               │
//!    │                          ├──► not committed, may succeed ─────────────┤
//!    │                          └──► in doubt ──► unnamed: Unknown           │
//!    └────────────────── pause ◄────────┴─ named ◄───────────────────────────┘
//! ```
//!
//! A named request may run again while a commit is in doubt, because one commit record decides for
//! all attempts. If the first commit took effect, the next opening replays it. If it takes effect
//! later, either it or the new attempt is first, and the other is answered with the winner's
//! result.
//!
//! Before a run with a commit in doubt ends with an error, it aborts the attempts in doubt, since
//! an aborted transaction never commits. If an abort is rejected, the run looks the request up.

use std::future::Future;

use aft_api::{Code, Isolation};
use bytes::Bytes;

use crate::answer::{Fault, or_empty};
use crate::client::Client;
use crate::error::Error;
use crate::pace::Pace;
use crate::request::Request;
use crate::settings::COMMIT_AGAIN_MAX;
use crate::transaction::{Begun, Transaction};

/// The outcome of a run, or of another call, that has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The result of the attempt that committed.
    pub result: Bytes,
    /// The size of the result in bytes, if it is too large for [`Ran::result`], which is empty
    /// then. Read it with [`Client::result`].
    pub result_size: Option<u64>,
    /// True if another attempt, not one of this run's, has committed: the writes of this run had no
    /// effect.
    pub replayed: bool,
    /// The identity of the committed transaction; `None` if there was nothing to store.
    pub version: Option<String>,
    /// The number of attempts that this call made; for a run, the number of calls of its function.
    /// 0 if the request had committed before.
    pub attempts: u32,
}

impl Client {
    /// Opens a transaction by hand. Openings that fail and may succeed later are repeated, within
    /// [`Builder::run_time_max`](crate::Builder::run_time_max).
    ///
    /// The level is left to the store unless the request names one ([`Request::isolation`]); on a
    /// store that a single process holds it is then read atomic. A transaction by hand is not run
    /// again after a conflict: its commit returns [`Error::Retry`].
    ///
    /// # Errors
    /// Returns [`Error::InProgress`] if another attempt of the request stayed open for the whole
    /// time; [`Error::Unavailable`] if the server could not be reached; or another refusal of the
    /// server.
    pub async fn begin(&self, request: impl Into<Request>) -> Result<Begun, Error> {
        let request = request.into();
        request.check()?;
        Run::new(self, &request, false).open().await
    }

    /// Runs a function in a transaction until its request has committed once, and returns the
    /// result of the attempt that committed.
    ///
    /// The function is called once for each attempt: once as a rule, several times after failures,
    /// and not at all if the request has committed before. Its effects outside the transaction may
    /// therefore be repeated. If the function returns an error, the attempt is aborted and the run
    /// returns that error; but if a call of the transaction had failed before with an error after
    /// which another attempt may succeed ([`Error::is_retryable`]), the function runs again.
    ///
    /// The run is serializable unless the request sets another level ([`Request::isolation`]): an
    /// attempt commits only if the versions that it read are still the newest. An attempt that
    /// loses has no effect, and another follows after a random pause that grows with each failure,
    /// until the client's attempts or its time are used up
    /// ([`Builder::attempts_max`](crate::Builder::attempts_max),
    /// [`Builder::run_time_max`](crate::Builder::run_time_max)). [`Ran::attempts`] is their number.
    /// The check may cost a run that only reads a round trip to the store;
    /// `Request::isolation(Isolation::ReadAtomic)` avoids it.
    ///
    /// On a shared store (`s3:`, `dynamodb:`, `redis:`) a serializable transaction cannot list
    /// keys, and cannot use keys whose prefix is read atomic: the server rejects both with the
    /// reason ([`Error::Invalid`]). Ask for [`Isolation::ReadAtomic`] there.
    ///
    /// Tasks that the function spawned may use clones of the transaction: the commit waits for
    /// their calls in flight, and fails or runs again if one of those fails. Await such tasks in
    /// the function all the same: a call that comes when the commit has begun is
    /// [`Error::Invalid`].
    ///
    /// A run that wrote nothing and has no ID is never [`Error::Unknown`]: it runs again.
    ///
    /// Dropping the future aborts the open transaction; if it is dropped during the commit, the
    /// commit may still take effect.
    ///
    /// # Errors
    /// Returns the function's own error, or an [`Error`], converted into `E`. After
    /// [`Error::Unknown`] an attempt may have committed; after any other error none has.
    pub async fn run<F, Fut, R, E>(&self, request: impl Into<Request>, mut function: F) -> Result<Ran, E>
    where
        F: FnMut(Transaction) -> Fut,
        Fut: Future<Output = Result<R, E>>,
        R: Into<Bytes>,
        E: From<Error>,
    {
        let request = request.into();
        request.check()?;
        let mut run = Run::new(self, &request, true);
        loop {
            let transaction = match run.open().await? {
                Begun::Open(transaction) => transaction,
                Begun::Replayed(ran) => return Ok(ran),
            };
            match function(transaction.clone()).await {
                Ok(result) => {
                    if let Some(ran) = run.commit(transaction, result.into()).await? {
                        return Ok(ran);
                    }
                }
                Err(own) => {
                    // If a call of the transaction failed in a way that another attempt may not,
                    // run again: the function's error is likely to follow from it.
                    let doomed = transaction.doomed();
                    match doomed {
                        Some(_) => drop(transaction),
                        None => transaction.abort_quietly(run.pace.remaining()).await,
                    }
                    let again = match &doomed {
                        Some(doomed) => run.may_go_on() && run.pace.pause(doomed).await,
                        None => false,
                    };
                    if again {
                        continue;
                    }
                    // Return the function's error only if no earlier attempt has committed.
                    return match run.clear_doubts().await {
                        Doubts::Cleared => Err(own),
                        Doubts::Committed(ran) => Ok(ran),
                        Doubts::Left(error) => Err(error.into()),
                    };
                }
            }
        }
    }
}

/// Returns the level of an attempt whose request names none: serializable if there is a function,
/// which can be called again after a conflict.
pub(crate) fn default_level(has_function: bool) -> Isolation {
    if has_function { Isolation::Serializable } else { Isolation::Unspecified }
}

/// The state of one run.
struct Run<'a> {
    client: &'a Client,
    request: &'a Request,
    pace: Pace,
    attempts: u32,
    /// The number of attempts that failed with a conflict.
    conflicts: u32,
    /// True if there is a function, after which the run commits or aborts the transaction.
    has_function: bool,
    /// True if an earlier attempt of this run may still be open.
    beside: bool,
    /// The attempts that may have committed, each with the error that left it in doubt.
    doubts: Vec<(Transaction, Error)>,
}

/// The outcome of clearing the attempts in doubt.
enum Doubts {
    Cleared,
    Committed(Ran),
    Left(Error),
}

impl<'a> Run<'a> {
    fn new(client: &'a Client, request: &'a Request, has_function: bool) -> Run<'a> {
        let pace = client.pace(request);
        Run {
            client,
            request,
            pace,
            attempts: 0,
            conflicts: 0,
            has_function,
            beside: false,
            doubts: Vec::new(),
        }
    }

    fn may_go_on(&self) -> bool {
        self.attempts < self.client.settings.attempts_max
    }

    async fn open(&mut self) -> Result<Begun, Error> {
        loop {
            let error = match self.open_once().await {
                Ok(begun) => return Ok(begun),
                Err(fault) => {
                    // The call may have opened a transaction whose token is lost. Waiting for it
                    // would mean waiting for its deadline, so the next attempt runs beside it.
                    self.beside |= fault.may_have_effect();
                    fault.harmless().about(self.request.id.as_deref(), None)
                }
            };
            let may_succeed = error.is_retryable() || matches!(error, Error::InProgress(_));
            if !may_succeed {
                return self.give_up(error).await.map(Begun::Replayed);
            }
            if !self.pace.pause(&error).await {
                let error = self.pace.last(error);
                return self.give_up(error).await.map(Begun::Replayed);
            }
        }
    }

    async fn open_once(&mut self) -> Result<Begun, Fault> {
        let session = self.client.session();
        let wait = self.client.settings.wait(self.pace.remaining());
        let timeout = self.client.settings.transaction_timeout;
        let level = default_level(self.has_function);
        let begin = self.request.begin(level, timeout, wait, self.beside, self.conflicts, session);
        let reply = self.client.post_begin("/v1/transactions", &begin, self.pace.until()).await?;
        if reply.replayed {
            self.client.committed(reply.session.as_deref());
            return Ok(Begun::Replayed(self.replay(Ran {
                result: or_empty(reply.result),
                result_size: reply.result_size,
                replayed: true,
                version: reply.version,
                attempts: 0,
            })));
        }
        // The calls of a run end with its time; a transaction by hand has its own.
        let until = self.has_function.then(|| self.pace.until());
        let Some(transaction) = Transaction::new(self.client.clone(), reply, self.request, until) else {
            return Err(Fault::NoAnswer("the answer to an opening names no transaction".into()));
        };
        self.attempts += 1;
        self.beside = true;
        Ok(Begun::Open(transaction))
    }

    /// Completes the outcome of a commit that was found: it is a replay unless the commit is one of
    /// this run's attempts in doubt.
    fn replay(&self, found: Ran) -> Ran {
        let of = |version: &String| self.doubts.iter().any(|(doubtful, _)| doubtful.wrote(version));
        Ran { replayed: !found.version.as_ref().is_some_and(of), attempts: self.attempts, ..found }
    }

    /// Commits an attempt. Returns `None` if another attempt has to run.
    async fn commit(&mut self, transaction: Transaction, result: Bytes) -> Result<Option<Ran>, Error> {
        let times_max = if self.request.id.is_some() { COMMIT_AGAIN_MAX } else { u32::MAX };
        let error = match transaction.settle(result, &mut self.pace, times_max).await {
            // Another attempt has committed, perhaps an earlier one of this run that was in doubt.
            Ok(ran) if ran.replayed => return Ok(Some(self.replay(ran))),
            Ok(ran) => return Ok(Some(Ran { attempts: self.attempts, ..ran })),
            Err(error) => error,
        };
        self.conflicts += u32::from(error.code() == Some(Code::Conflict));
        match &error {
            // Without a request ID a second attempt could commit the same request twice.
            Error::Unknown(_) if self.request.id.is_none() => return Err(error),
            Error::Unknown(_) => self.doubts.push((transaction, error.clone())),
            _ if error.is_retryable() => drop(transaction),
            _ => return self.give_up(error).await.map(Some),
        }
        if self.may_go_on() && self.pace.pause(&error).await {
            return Ok(None);
        }
        let error = error.after_tries(self.attempts);
        self.give_up(error).await.map(Some)
    }

    /// Ends the run with `error`, unless a commit in doubt turns out to have taken effect, or stays
    /// in doubt.
    async fn give_up(&mut self, error: Error) -> Result<Ran, Error> {
        match self.clear_doubts().await {
            Doubts::Cleared if matches!(error, Error::Unknown(_)) => {
                Err(Error::retry("every attempt was aborted: nothing was committed")
                    .about(self.request.id.as_deref(), None))
            }
            Doubts::Cleared => Err(self.client.told(error)),
            Doubts::Committed(ran) => Ok(ran),
            Doubts::Left(error) => Err(error),
        }
    }

    /// Aborts the attempts in doubt. If that fails for one, looks the request up until it is found
    /// or the time is over.
    async fn clear_doubts(&mut self) -> Doubts {
        let mut left = Vec::new();
        for (transaction, why) in std::mem::take(&mut self.doubts) {
            if transaction.send_abort(Some(self.pace.until())).await.is_err() {
                left.push((transaction, why));
            }
        }
        self.doubts = left;
        loop {
            let Some((_, why)) = self.doubts.last() else { return Doubts::Cleared };
            let why = why.clone();
            let found = self.client.look_up(self.request, self.pace.until()).await;
            if let Ok(Some(found)) = found {
                return Doubts::Committed(self.replay(Ran {
                    result: or_empty(found.result),
                    result_size: found.result_size,
                    replayed: true,
                    version: Some(found.version),
                    attempts: 0,
                }));
            }
            // A proxy in the way, or credentials that are rejected now, will not let later look-ups
            // through.
            let is_final = found.is_err_and(|why| !why.is_retryable());
            if is_final || !self.pace.pause(&why).await {
                return Doubts::Left(self.pace.last(why));
            }
        }
    }
}
