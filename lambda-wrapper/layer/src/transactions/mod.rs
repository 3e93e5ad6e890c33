//! Transactions of invocations: on a node in this process ([`embedded`]), or on a shim ([`shim`]).
//!
//! Both have the same outcomes, so the proxy of the Runtime API does not know which one it uses.
//! A build without the feature `embedded` has the shim alone.

#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(not(feature = "embedded"))]
#[path = "no_node.rs"]
pub mod embedded;
pub mod shim;
#[cfg(feature = "embedded")]
pub mod store;

use std::time::Duration;

use aft_core::message::Isolation;
use bytes::Bytes;

use crate::settings::{Place, Settings};

/// The largest result that is stored within a commit record, in bytes. Larger ones are stored in
/// parts, before the commit.
pub(crate) const RESULT_INLINE_BYTES_MAX: usize = 64 << 10;

/// The arguments of an attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The request's ID. Without one, the attempt is a request of its own: atomic, and not exactly
    /// once.
    pub request_id: Option<String>,
    /// The scope of the ID: the function.
    pub scope: Option<String>,
    /// The fingerprint of the payload.
    pub fingerprint: Option<String>,
    /// The time for which the outcome is kept.
    pub retention: Option<Duration>,
    /// The rest of the invocation's time.
    pub timeout: Duration,
    /// True to wait for another attempt of the request instead of running beside it.
    pub waits: bool,
    /// The level of the transaction; without one, that of the keys it writes.
    pub isolation: Option<Isolation>,
}

/// The outcome of a begin.
#[derive(Debug)]
pub enum Begun {
    /// The transaction is open.
    Open(Open),
    /// The request has committed before. This is its result; `None` if it is no longer kept.
    Replayed(Option<Bytes>),
}

/// An open transaction. If it is dropped before its commit, it ends at its deadline at the latest.
#[derive(Debug)]
pub struct Open {
    /// The token with which calls of the S3 endpoint join the transaction.
    pub token: String,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    #[cfg_attr(not(feature = "embedded"), expect(dead_code, reason = "there is no node to open one"))]
    Embedded(embedded::Open),
    Shim(shim::Open),
}

/// The outcome of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The transaction has committed.
    Committed,
    /// Another attempt of the request had committed, with this result; `None` if it is no longer
    /// kept. This attempt's writes have no effect.
    Replayed(Option<Bytes>),
    /// The transaction has not committed and will not; another attempt may.
    Lost(Failure),
    /// The transaction may have committed, and nobody can say it now; the text says why.
    Unknown(String),
}

/// The reason why nothing was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind, which decides about the answer.
    pub kind: FailureKind,
    /// The description for people.
    pub text: String,
}

/// The kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Another attempt of the request is open, and this one was told to wait for it.
    InProgress,
    /// The request ID was used with another payload.
    KeyReused,
    /// The request committed long ago, and its result is gone.
    ResultGone,
    /// Another transaction came first.
    Conflict,
    /// The time is over, or the transaction was aborted.
    Lost,
    /// The store or the shim does not answer.
    Unavailable,
    /// A setting or a right is wrong.
    Invalid,
}

impl FailureKind {
    /// Returns the kind as the type of an error that Lambda reports.
    pub fn error_type(self) -> &'static str {
        match self {
            FailureKind::InProgress => "Aft.InProgress",
            FailureKind::KeyReused => "Aft.KeyReused",
            FailureKind::ResultGone => "Aft.ResultGone",
            FailureKind::Conflict => "Aft.Conflict",
            FailureKind::Lost => "Aft.Lost",
            FailureKind::Unavailable => "Aft.Unavailable",
            FailureKind::Invalid => "Aft.Invalid",
        }
    }
}

impl Failure {
    /// Makes a failure.
    pub fn new(kind: FailureKind, text: impl Into<String>) -> Failure {
        Failure { kind, text: text.into() }
    }
}

/// The requests to a store, and their price.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// The number of requests.
    pub requests: u64,
    /// Their price, in US dollars.
    pub dollars: f64,
}

impl Spent {
    /// Returns what was spent since `before`. After a pause the store counts from zero again.
    pub fn since(self, before: Spent) -> Spent {
        match self.requests.checked_sub(before.requests) {
            Some(requests) => Spent { requests, dollars: (self.dollars - before.dollars).max(0.0) },
            None => self,
        }
    }
}

/// The place where transactions run.
#[derive(Debug)]
pub enum Transactions {
    /// A node in this process.
    Embedded(Box<embedded::Embedded>),
    /// A shim.
    Shim(shim::Shim),
}

impl Transactions {
    /// Makes the place that the settings name. Nothing is sent anywhere yet.
    ///
    /// # Errors
    /// Returns the reason why the settings cannot be used; the text names the remedy.
    pub async fn new(settings: &Settings) -> Result<Transactions, String> {
        Ok(match &settings.place {
            Place::Store { url } => Transactions::Embedded(Box::new(
                embedded::Embedded::new(url, &settings.buckets, settings.lambda.memory_bytes).await?,
            )),
            Place::Shim(shim) => Transactions::Shim(shim::Shim::new(shim)?),
        })
    }

    /// Makes ready for the first event, in the background of the function's own start: what can be
    /// read from the store before is.
    pub async fn warm(&self) {
        match self {
            Transactions::Embedded(embedded) => embedded.warm().await,
            Transactions::Shim(_) => {}
        }
    }

    /// Forgets everything that rests on the time before a pause: connections, calls in flight, the
    /// node's identity.
    ///
    /// # Errors
    /// Returns the reason why that was not possible, for instance that there are no credentials.
    pub async fn renew(&self) -> Result<(), String> {
        match self {
            Transactions::Embedded(embedded) => embedded.renew().await,
            Transactions::Shim(shim) => shim.renew(),
        }
    }

    /// Returns the requests to the store so far, and their price in US dollars; nothing where a
    /// shim makes them.
    pub async fn costs(&self) -> Spent {
        match self {
            Transactions::Embedded(embedded) => embedded.costs().await,
            Transactions::Shim(_) => Spent::default(),
        }
    }

    /// Forgets what was read from the store.
    pub async fn forget(&self) {
        match self {
            Transactions::Embedded(embedded) => embedded.forget().await,
            Transactions::Shim(_) => {}
        }
    }

    /// Begins an attempt.
    ///
    /// # Errors
    /// Returns the reason why there is no transaction. Nothing was committed.
    pub async fn begin(&self, attempt: &Attempt) -> Result<Begun, Failure> {
        assert!(!attempt.timeout.is_zero(), "an attempt has time");
        match self {
            Transactions::Embedded(embedded) => embedded.begin(attempt).await,
            Transactions::Shim(shim) => shim.begin(attempt).await,
        }
    }
}

impl Open {
    /// Commits, with the result that later attempts of the request get.
    pub async fn commit(&self, result: Option<Bytes>) -> Ended {
        match &self.inner {
            Inner::Embedded(open) => open.commit(result).await,
            Inner::Shim(open) => open.commit(result).await,
        }
    }

    /// Aborts. A failure does no harm: without a commit the transaction ends at its deadline.
    pub async fn abort(self) {
        match self.inner {
            Inner::Embedded(open) => open.abort().await,
            Inner::Shim(open) => open.abort().await,
        }
    }
}
