//! Runs a function until its request has committed once.
//!
//! ```text
//!   open ──► replayed: done
//!    ▲  └──► function ──► error of its own: abort, done
//!    │            ├─────► a call failed that may succeed in another attempt ─┐
//!    │            └─────► commit ──► committed, replayed: done               │
//!    │                          ├──► not committed, may succeed ─────────────┤
//!    │                          └──► in doubt ──► unnamed: Unknown           │
//!    └────────────────── pause ◄────────┴─ named ◄───────────────────────────┘
//! ```
//!
//! Why a named request may run again while a commit is in doubt: one commit record decides for all attempts. If the first landed, the next
//! opening replays it; if it lands later, either it or the new attempt is first, and the other is answered with the winner's result.
//!
//! Before a run with a commit in doubt gives up, or returns an error of its function, it aborts the attempts in doubt: one that was aborted never commits. Where
//! that is refused it looks the request up.

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

/// How a run, or a commit, went: a commit stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// What the attempt that committed has left.
    pub result: Bytes,
    /// The size of what it has left, where that is too large to stand in [`Ran::result`], which is empty then: [`Client::result`] reads it.
    pub result_size: Option<u64>,
    /// Another attempt, not one of this run's, had committed: what this run's function did has no effect.
    pub replayed: bool,
    /// The committed transaction's identity; `None` if there was nothing to store.
    pub version: Option<String>,
    /// The attempts that this call made: for a run, how often its function was called. 0 if the
    /// request had committed before.
    pub attempts: u32,
}

impl Client {
    /// Opens a transaction. What can be tried again is.
    ///
    /// The level is left to the store unless the request names one ([`Request::isolation`]): on a
    /// store that a single process holds it is read atomic. A transaction by hand is not run again
    /// after a conflict, which its commit tells ([`Error::Retry`]).
    ///
    /// # Errors
    /// Any that an opening has; [`Error::InProgress`] if another attempt of the request stayed open for the whole of the run's time.
    pub async fn begin(&self, request: impl Into<Request>) -> Result<Begun, Error> {
        let request = request.into();
        Run::new(self, &request, false).open().await
    }

    /// Runs a function in a transaction until its request has committed once, and gives the result of the attempt that did.
    ///
    /// The function is called once an attempt, perhaps several times, perhaps not at all: what it does outside the transaction it must be ready to do
    /// again. An error of its own aborts the attempt and is returned as it is. If it fails after a call of its transaction has failed in a way that another attempt may
    /// not ([`Error::is_retryable`]), it runs again.
    ///
    /// The run is serializable unless the request says otherwise ([`Request::isolation`]): an
    /// attempt commits only if what it read is still the newest. One that was overtaken has no
    /// effect, and another follows after a pause that is drawn at random and grows, until the
    /// client's attempts or its time are used up
    /// ([`Builder::attempts_max`](crate::Builder::attempts_max),
    /// [`Builder::run_time_max`](crate::Builder::run_time_max)); [`Ran::attempts`] tells how many
    /// there were. The check may cost a run that only reads a round trip to the store:
    /// `Request::isolation(Isolation::ReadAtomic)` does without it.
    ///
    /// On a shared store (`s3:`, `dynamodb:`, `redis:`) a serializable transaction cannot list
    /// keys, and keys whose prefix is read atomic cannot be used in it: the server refuses both
    /// with the reason ([`Error::Invalid`]). Ask for [`Isolation::ReadAtomic`] there.
    ///
    /// Dropping the future aborts the transaction that is open; if it is dropped during the commit, the commit may stand.
    ///
    /// # Errors
    /// The function's own; any [`Error`], made into `E`. [`Error::Unknown`] means that an attempt may have committed; no other does.
    pub async fn run<F, Fut, R, E>(&self, request: impl Into<Request>, mut function: F) -> Result<Ran, E>
    where
        F: FnMut(Transaction) -> Fut,
        Fut: Future<Output = Result<R, E>>,
        R: Into<Bytes>,
        E: From<Error>,
    {
        let request = request.into();
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
                    let doomed = transaction.doomed();
                    match doomed {
                        Some(_) => drop(transaction),
                        None => transaction.abort_quietly().await,
                    }
                    let again = match &doomed {
                        Some(doomed) => run.may_go_on() && run.pace.pause(doomed).await,
                        None => false,
                    };
                    if again {
                        continue;
                    }
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

/// Returns the level of an attempt whose request names none. Where there is a function, it can be
/// called again after a conflict.
pub(crate) fn default_level(has_function: bool) -> Isolation {
    if has_function { Isolation::Serializable } else { Isolation::Unspecified }
}

/// One run.
struct Run<'a> {
    client: &'a Client,
    request: &'a Request,
    pace: Pace,
    attempts: u32,
    /// Attempts that met a conflict.
    conflicts: u32,
    /// There is a function, after which the transaction is committed or aborted.
    has_function: bool,
    /// An attempt of this run may still be open.
    beside: bool,
    /// Attempts that may have committed, each with why that is not known.
    doubts: Vec<(Transaction, Error)>,
}

/// What is left of the doubts.
enum Doubts {
    Cleared,
    Committed(Ran),
    Left(Error),
}

impl<'a> Run<'a> {
    fn new(client: &'a Client, request: &'a Request, has_function: bool) -> Run<'a> {
        let pace = Pace::new(client.settings.run_time_max);
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
                    // It may have opened a transaction that nobody knows of; waiting for that one would be waiting for its deadline.
                    self.beside |= matches!(fault, Fault::NoAnswer(_));
                    fault.harmless().about(self.request.id.as_deref(), None)
                }
            };
            let may_succeed = error.is_retryable() || matches!(error, Error::InProgress(_));
            if !may_succeed || !self.pace.pause(&error).await {
                return self.give_up(error).await.map(Begun::Replayed);
            }
        }
    }

    async fn open_once(&mut self) -> Result<Begun, Fault> {
        let session = self.client.session();
        let wait = self.client.settings.wait().min(self.pace.remaining());
        let timeout = self.client.settings.transaction_timeout;
        let level = default_level(self.has_function);
        let begin = self.request.begin(level, timeout, wait, self.beside, self.conflicts, session);
        let reply = self.client.post_begin("/v1/transactions", &begin).await?;
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
        let transaction = Transaction::new(self.client.clone(), reply, self.request, self.has_function);
        let Some(transaction) = transaction else {
            return Err(Fault::NoAnswer("an opening was answered without a transaction".into()));
        };
        self.attempts += 1;
        self.beside = true;
        Ok(Begun::Open(transaction))
    }

    /// A commit that was found; perhaps it is one of this run's own.
    fn replay(&self, found: Ran) -> Ran {
        let of = |version: &String| self.doubts.iter().any(|(doubtful, _)| doubtful.wrote(version));
        Ran { replayed: !found.version.as_ref().is_some_and(of), attempts: self.attempts, ..found }
    }

    /// Commits; `None` if another attempt is to run.
    async fn commit(&mut self, transaction: Transaction, result: Bytes) -> Result<Option<Ran>, Error> {
        let times_max = if self.request.id.is_some() { COMMIT_AGAIN_MAX } else { u32::MAX };
        let error = match transaction.settle(result, &mut self.pace, times_max).await {
            // Another attempt won: perhaps an earlier one of this run, which was in doubt.
            Ok(ran) if ran.replayed => return Ok(Some(self.replay(ran))),
            Ok(ran) => return Ok(Some(Ran { attempts: self.attempts, ..ran })),
            Err(error) => error,
        };
        self.conflicts += u32::from(error.code() == Some(Code::Conflict));
        match &error {
            // Nobody could tell a second commit from the first.
            Error::Unknown(_) if self.request.id.is_none() => return Err(error),
            Error::Unknown(_) => self.doubts.push((transaction, error.clone())),
            _ if error.is_retryable() => drop(transaction),
            _ => return self.give_up(error).await.map(Some),
        }
        if self.may_go_on() && self.pace.pause(&error).await {
            return Ok(None);
        }
        self.give_up(error).await.map(Some)
    }

    /// The run ends with this error, unless a commit in doubt is found, or stays in doubt.
    async fn give_up(&mut self, error: Error) -> Result<Ran, Error> {
        match self.clear_doubts().await {
            Doubts::Cleared if matches!(error, Error::Unknown(_)) => {
                Err(Error::retry("every attempt was aborted: nothing was committed")
                    .about(self.request.id.as_deref(), None))
            }
            Doubts::Cleared => Err(error),
            Doubts::Committed(ran) => Ok(ran),
            Doubts::Left(error) => Err(error),
        }
    }

    /// Aborts the attempts in doubt, or finds out that one has committed.
    async fn clear_doubts(&mut self) -> Doubts {
        let mut left = Vec::new();
        for (transaction, why) in std::mem::take(&mut self.doubts) {
            if transaction.send_abort().await.is_err() {
                left.push((transaction, why));
            }
        }
        self.doubts = left;
        loop {
            let Some((_, why)) = self.doubts.last() else { return Doubts::Cleared };
            let why = why.clone();
            if let Ok(Some(found)) = self.client.look_up(self.request).await {
                return Doubts::Committed(self.replay(Ran {
                    result: or_empty(found.result),
                    result_size: found.result_size,
                    replayed: true,
                    version: Some(found.version),
                    attempts: 0,
                }));
            }
            if !self.pace.pause(&why).await {
                return Doubts::Left(why);
            }
        }
    }
}
