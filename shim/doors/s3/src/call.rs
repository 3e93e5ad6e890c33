//! A call, and the transaction that it belongs to.
//!
//! A call that names a transaction is a part of it. Any other call is a transaction of its own:
//! acknowledged when it is visible, and *fresh*, so that it sees whatever was acknowledged, on any
//! node, before it began.

use std::sync::Arc;
use std::time::Duration;

use aft_access::Right;
use aft_core::ids::{AttemptId, Key};
use aft_core::message::{CommitArgs, Isolation, Op, Read};
use aft_desk::{Asked, Caller, Desk, Opened, Opening, Plan};
use aft_format::TransactionToken;
use axum::http::HeaderMap;
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

use crate::failure::{Again, Failure, Result};
use crate::object::{KEY_BYTES_MAX, bucket_of, hex, marker, name};
use crate::operations::write::Target;
use crate::origin::Origins;
use crate::origin::mapping::Kind;

/// The header that names a transaction.
const TRANSACTION: &str = "aft-transaction";
/// The header in which SDKs inside a function pass on its tracing context, and the field of it that
/// names a transaction.
const TRACE: &str = "x-amzn-trace-id";
const TRACE_FIELD: &str = "Txn=";
/// The header that is the same in all sendings of one call by an SDK.
const INVOCATION: &str = "amz-sdk-invocation-id";
/// The longest such ID that is used, in bytes; SDKs send UUIDs.
const INVOCATION_BYTES_MAX: usize = 128;

/// The most keys that one transaction reads for a call that needs many.
const READ_AT_ONCE: usize = 1_000;

/// The number of times that a call's own transaction runs if another one gets in its way. A
/// transaction that has lost five times gets its keys reserved.
const TRIES_MAX: u32 = 12;
/// The longest pause before the second run, in milliseconds; it doubles each time, six times.
const PAUSE_MS: u64 = 4;

/// A call with its caller.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) caller: Caller,
    /// The longer transaction that it is a part of.
    pub(crate) within: Option<AttemptId>,
    /// The ID that an SDK's resend of the call has, too.
    invocation: Option<String>,
    /// The buckets with an origin; `None` to see only what is in the store.
    pub(crate) origins: Option<Arc<Origins>>,
}

impl Call {
    /// Reads the headers of a call.
    ///
    /// # Errors
    /// Returns a failure if the transaction that it names is not open here.
    pub(crate) fn new(caller: Caller, headers: &HeaderMap, origins: Arc<Origins>) -> Result<Call> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        // A name that cannot be read must not let the call commit on its own.
        if headers.contains_key(TRANSACTION) && text(TRANSACTION).is_none() {
            return Err(Failure::invalid_request(format!("{TRANSACTION}: the header is not ASCII")));
        }
        let named = text(TRANSACTION).or_else(|| {
            let mut fields = text(TRACE)?.split(';').map(str::trim);
            fields.find_map(|field| field.strip_prefix(TRACE_FIELD))
        });
        let within = match named {
            Some(token) => {
                let token: TransactionToken = token
                    .trim()
                    .parse()
                    .map_err(|why| Failure::invalid_request(format!("{TRANSACTION}: {why}")))?;
                caller.need_here(&token)?;
                Some(token.attempt)
            }
            None => None,
        };
        let invocation = text(INVOCATION).filter(|id| (1..=INVOCATION_BYTES_MAX).contains(&id.len()));
        let invocation = invocation.map(str::to_owned);
        Ok(Call { caller, within, invocation, origins: Some(origins) })
    }

    /// Returns a call of the server itself, which sees only what is in the store.
    pub(crate) fn of_server(desk: &Arc<Desk>) -> Call {
        Call { caller: desk.server(), within: None, invocation: None, origins: None }
    }

    /// Returns the call as a part of a transaction.
    pub(crate) fn within(&self, attempt: AttemptId) -> Call {
        Call { within: Some(attempt), ..self.clone() }
    }

    /// Returns the call without the longer transaction that it is a part of.
    pub(crate) fn alone(&self) -> Call {
        Call { within: None, ..self.clone() }
    }

    /// Returns the request ID for a transaction whose call an SDK may send again. The same ID with
    /// another object is another call.
    pub(crate) fn resend_id(&self, target: &Target) -> Option<String> {
        let id = self.invocation.as_ref()?;
        let object = Sha256::digest(name(&target.bucket, &target.key));
        Some(format!("amz-sdk-invocation-id:{}:{id}", hex(&object[..16])))
    }

    /// Returns how the commit of a part of a longer transaction would be asked for.
    pub(crate) const WITHIN: Asked = Asked::Within;

    /// Returns an opening of a transaction of the call's own that only reads.
    pub(crate) fn reading() -> Opening {
        Opening { fresh: true, isolation: Some(Isolation::ReadAtomic), ..Opening::default() }
    }

    /// Returns an opening of a transaction of the call's own that writes `key`, after `conflicts`
    /// runs that ended in a conflict.
    pub(crate) fn writing(&self, key: &Key, conflicts: u32) -> Opening {
        let isolation = Some(match self.caller.node().is_checked(key) {
            true => Isolation::Serializable,
            false => Isolation::ReadAtomic,
        });
        Opening { fresh: true, isolation, conflicts, ..Opening::default() }
    }

    /// Returns the key of an object, if the call may use it with `right`.
    ///
    /// # Errors
    /// Returns a failure for an empty key, which is the bucket's marker, and for one that is too
    /// long.
    pub(crate) fn key(&self, bucket: &str, key: &str, right: Right) -> Result<Key> {
        match key.len() {
            0 => Err(Failure::invalid_argument("the call names an object with an empty key")),
            1..=KEY_BYTES_MAX => Ok(self.caller.key(&name(bucket, key), right)?),
            bytes => {
                let why = format!("the key has {bytes} bytes, and at most {KEY_BYTES_MAX} are allowed");
                Err(Failure::new("KeyTooLongError", 400, why))
            }
        }
    }

    /// Reads a key without its value.
    pub(crate) async fn read(&self, key: Key) -> Result<Read> {
        match self.within {
            Some(attempt) => Ok(self.caller.read(attempt, key).await?),
            None => {
                let mut runs = Runs::default();
                loop {
                    let read = self.read_alone(key.clone()).await;
                    if let Some(read) = runs.end(read).await {
                        return read;
                    }
                }
            }
        }
    }

    /// Reads a key without its value, in a transaction of its own.
    async fn read_alone(&self, key: Key) -> Result<Read> {
        let ready = Call::reading().prepare(&self.caller, Some(&key))?;
        Ok(ready.read(&self.caller, key).await?.0)
    }

    /// Reads keys without their values, in transactions of its own, each of which reads some of
    /// them. Returns one read for each key, in order.
    pub(crate) async fn read_all_alone(&self, keys: &[Key]) -> Result<Vec<Read>> {
        let mut all = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READ_AT_ONCE) {
            let mut runs = Runs::default();
            loop {
                let ready = Call::reading().prepare(&self.caller, None)?;
                let opened = ready.open(&self.caller, keys.to_vec()).await;
                match runs.end(opened.map_err(Failure::from)).await {
                    None => continue,
                    Some(Err(failure)) => return Err(failure),
                    Some(Ok(Opened::Replayed(replayed))) => {
                        unreachable!("a request without an ID has no {replayed:?}")
                    }
                    // The transaction has nothing to commit: dropping it ends it.
                    Some(Ok(Opened::Open { reads, .. })) => all.extend(reads),
                }
                break;
            }
        }
        Ok(all)
    }

    /// Runs operations in a transaction of the call's own.
    pub(crate) async fn run_alone(&self, ops: Vec<Op>) -> Result<()> {
        let mut runs = Runs::default();
        loop {
            let plan: Plan = ops.iter().cloned().collect();
            let first = plan.first_key().expect("an operation has a key").clone();
            let ready = self.writing(&first, runs.conflicts()).prepare(&self.caller, Some(&first))?;
            let ran = ready.run(&self.caller, plan, Some(CommitArgs::default())).await;
            if let Some(ran) = runs.end(ran.map_err(Failure::from)).await {
                return ran.map(|_| ());
            }
        }
    }

    /// Returns the kind of a bucket; `None` if it does not exist.
    pub(crate) async fn kind_of(&self, bucket: &str) -> Result<Option<Kind>> {
        if self.is_own(bucket) {
            return Ok(Some(Kind::Own));
        }
        match bucket_of(self.read(marker(bucket)).await?) {
            Some((kind, _)) => self.known(bucket, kind).map(Some),
            None => Ok(None),
        }
    }

    /// Returns true if nothing has to be read to know that a bucket exists and has no origin.
    pub(crate) fn is_own(&self, bucket: &str) -> bool {
        self.origins.as_ref().is_some_and(|origins| origins.is_own(bucket))
    }

    /// Checks that the origin of a bucket is known, if it has one and the call reads through.
    pub(crate) fn known(&self, bucket: &str, kind: Kind) -> Result<Kind> {
        match (&self.origins, kind) {
            (Some(origins), Kind::Mapped(mapping)) if origins.get(bucket).is_none() => {
                Err(Failure::unknown_origin(bucket, &mapping))
            }
            (_, kind) => Ok(kind),
        }
    }

    /// Adds to operations on objects of a bucket what they mean for its origin.
    pub(crate) fn complete(&self, kind: &Kind, bucket: &str, ops: Vec<Op>) -> Result<Vec<Op>> {
        let (ops, dues) = kind.complete(bucket, ops)?;
        if let Some(bucket) = self.origins.as_ref().and_then(|origins| origins.get(bucket)) {
            bucket.expect_due(dues);
        }
        Ok(ops)
    }

    /// Checks that a bucket exists, and that the caller may read some key of it.
    pub(crate) async fn need_visible_bucket(&self, bucket: &str) -> Result<()> {
        self.caller.listed(&name(bucket, ""))?;
        self.need_bucket(bucket).await.map(drop)
    }

    /// Checks that a bucket exists, and returns its kind.
    pub(crate) async fn need_bucket(&self, bucket: &str) -> Result<Kind> {
        self.kind_of(bucket).await?.ok_or_else(|| Failure::no_such_bucket(bucket))
    }
}

/// The runs of a transaction of a call's own: it runs again while other ones get in its way.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    conflicts: u32,
}

impl Runs {
    /// Returns the number of runs that another transaction ended.
    pub(crate) fn conflicts(&self) -> u32 {
        self.conflicts
    }

    /// Takes the outcome of a run. Returns `None`, after a pause, if there has to be another run. A
    /// server or a store that cannot serve now is for the SDK to ask again, after a longer pause.
    pub(crate) async fn end<T>(&mut self, ended: Result<T>) -> Option<Result<T>> {
        match ended {
            Err(failure) if failure.again == Again::AtOnce && self.conflicts + 1 < TRIES_MAX => {
                // A random pause, so that two that met do not meet again.
                let most = PAUSE_MS << self.conflicts.min(6);
                let pause = Duration::from_millis(rand::rng().random_range(1..=most));
                tokio::time::sleep(pause).await;
                self.conflicts += 1;
                None
            }
            // The SDK runs the call again, after a longer pause.
            Err(failure) if failure.again == Again::AtOnce => {
                let why = format!(
                    "other transactions came first {TRIES_MAX} times: try again ({})",
                    failure.message
                );
                Some(Err(Failure::new("SlowDown", 503, why)))
            }
            ended => Some(ended),
        }
    }
}
