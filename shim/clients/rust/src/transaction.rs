//! An open transaction, and its calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aft_api::{Add, Batch, Code, Format, Op, OpKind, Put, Read, Reply};
use bytes::Bytes;
use hyper::Method;
use tokio::io::AsyncRead;
use tokio::sync::Notify;

use crate::answer::{self, Fault};
use crate::buffer::Buffer;
use crate::client::Client;
use crate::error::Error;
use crate::outgoing::{Content, Source};
use crate::path::{self, check_key};
use crate::request::Request;
use crate::run::Ran;
use crate::settings::{
    ABORT_TIME_MAX, BUFFERED_VALUE_BYTES_MAX, BUFFERED_WRITES_MAX, CALL_TIME_MIN, HANDLES_TIME_MAX,
    TRIES_IN_PLACE_MAX,
};
use crate::transport::{Answer, Call};
use crate::value::Value;

/// A transaction. It reads its own writes and a read-atomic snapshot of committed versions; others
/// see its writes only after it has committed.
///
/// This is a handle, and clones refer to the same transaction. When the last one is dropped without
/// a commit, the transaction is aborted by a call in the background. Small writes are buffered in
/// the handle and sent with the commit (see
/// [`Builder::write_buffer_bytes_max`](crate::Builder::write_buffer_bytes_max)).
#[derive(Debug, Clone)]
pub struct Transaction {
    inner: Arc<Inner>,
}

/// The outcome of opening a transaction.
#[derive(Debug)]
pub enum Begun {
    /// The transaction is open.
    Open(Transaction),
    /// The request has committed already. This is the outcome of the attempt that committed; there
    /// is nothing left to do.
    Replayed(Ran),
}

#[derive(Debug)]
struct Inner {
    client: Client,
    token: String,
    request_id: Option<String>,
    scope: Option<String>,
    /// The end of the time of the run that commits or aborts it; `None` if that is done by hand.
    until: Option<Instant>,
    /// The time for the commit of a transaction by hand.
    run_time_max: Duration,
    state: Mutex<State>,
    /// Notified when the last call in flight has ended.
    landed: Notify,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    buffer: Buffer,
    /// The values that the opening call read, of keys that were not written since.
    read: BTreeMap<String, Option<Value>>,
    /// The first error of a call after which another attempt may succeed.
    doomed: Option<Error>,
    /// The number of calls in flight, of all clones.
    in_flight: u32,
    /// True if the commit waits for the calls in flight.
    waited_for: bool,
    /// The first error of a call that the commit waited for: nobody has seen it.
    unseen: Option<Error>,
    /// True if something was written, or if somebody else may have done so with the token.
    wrote: bool,
    /// The first error after which writes that the caller believes done may be missing. No commit
    /// may follow it.
    torn: Option<Error>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Open,
    /// A commit or an abort was started.
    Ending,
    /// The transaction did not commit, and may still be open on its node.
    Left,
}

impl Transaction {
    /// Makes the handle of a transaction that `reply` has opened. `until` is the end of the time of
    /// the run that it belongs to.
    pub(crate) fn new(
        client: Client,
        reply: Reply,
        request: &Request,
        until: Option<Instant>,
    ) -> Option<Transaction> {
        let read = reply.results.into_iter().map(|read| (read.key.clone(), Value::of(read))).collect();
        let inner = Inner {
            token: reply.transaction?,
            request_id: request.id.clone(),
            scope: request.scope.clone(),
            until,
            run_time_max: request.run_time(client.settings.run_time_max),
            client,
            state: Mutex::new(State { read, ..State::default() }),
            landed: Notify::new(),
        };
        Some(Transaction { inner: Arc::new(inner) })
    }

    /// Makes the handle of a transaction that the same call opened and committed, and whose commit
    /// is in doubt.
    pub(crate) fn committing(client: Client, token: String) -> Transaction {
        let run_time_max = client.settings.run_time_max;
        let state = Mutex::new(State { phase: Phase::Ending, wrote: true, ..State::default() });
        let inner = Inner {
            client,
            token,
            request_id: None,
            scope: None,
            until: None,
            run_time_max,
            state,
            landed: Notify::new(),
        };
        Transaction { inner: Arc::new(inner) }
    }

    /// Returns the transaction's token. It identifies the transaction in logs and problems, and
    /// lets another process work in it.
    pub fn token(&self) -> &str {
        // Another process that gets the token may write with it.
        self.state().wrote = true;
        &self.inner.token
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(crate) fn request_id(&self) -> Option<&str> {
        self.inner.request_id.as_deref()
    }

    /// Returns true if this transaction committed `version`.
    pub(crate) fn wrote(&self, version: &str) -> bool {
        let attempt = self.inner.token.split_once('-').map(|(_, attempt)| attempt);
        attempt.is_some() && version.split_once('-').map(|(_, attempt)| attempt) == attempt
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("no code panics while it holds the state")
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state();
        match state.phase {
            Phase::Open => Ok(state),
            Phase::Ending | Phase::Left => Err(self.about(Error::invalid(match self.inner.until {
                Some(_) => {
                    "a call of this transaction was not awaited: its function has returned, and the transaction takes no more calls; await every call, and every task that makes one"
                }
                None => "the transaction has ended and takes no more calls: begin a new one",
            }))),
        }
    }

    pub(crate) fn about(&self, error: Error) -> Error {
        error.about(self.request_id(), Some(&self.inner.token))
    }

    /// Returns the path of a call that may commit. It repeats the request's scope, as the call
    /// repeats its ID, so that a server that has forgotten the transaction can answer from the
    /// request's record.
    pub(crate) fn committing_path(&self, rest: &str) -> String {
        match (&self.inner.request_id, &self.inner.scope) {
            (Some(_), Some(scope)) => path::with(self.path(rest), "scope", scope),
            (Some(_), None) | (None, _) => self.path(rest),
        }
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v1/transactions/{}{rest}", self.inner.token)
    }

    /// Returns the value of a key that this handle knows: its own buffered write, or one that was
    /// read with the opening.
    pub(crate) fn known(&self, key: &str) -> Result<Option<Option<Value>>, Error> {
        let state = self.open()?;
        Ok(state.buffer.read(key).or_else(|| state.read.get(key).cloned()))
    }

    pub(crate) fn key_path(&self, key: &str) -> String {
        path::key(&self.path(""), key)
    }

    /// Writes a value.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the key is empty or too long, or if the transaction has ended.
    /// Other errors of a buffered write are returned by the commit.
    pub async fn put(&self, key: impl Into<String>, value: impl Into<Bytes>) -> Result<(), Error> {
        let put = Put { key: key.into(), value: value.into(), content_type: None };
        self.write(put.key.clone(), Some(put)).await
    }

    /// Writes a value with a content type, which reads return with it.
    ///
    /// # Errors
    /// Returns the errors of [`Transaction::put`].
    pub async fn put_as(
        &self,
        key: impl Into<String>,
        value: impl Into<Bytes>,
        content_type: impl Into<String>,
    ) -> Result<(), Error> {
        let put = Put { key: key.into(), value: value.into(), content_type: Some(content_type.into()) };
        self.write(put.key.clone(), Some(put)).await
    }

    /// Writes a value of any size that is read from `source` while it is sent, at once. `size` is
    /// its number of bytes, if it is known: no more are read.
    ///
    /// # Errors
    /// Returns the errors of [`Transaction::put`], and [`Error::Invalid`] if the source fails or
    /// ends before `size` bytes. The call is repeated only as long as nothing was read from the
    /// source. After an error of another kind the transaction does not commit.
    pub async fn put_stream(
        &self,
        key: impl Into<String>,
        source: impl AsyncRead + Send + 'static,
        size: Option<u64>,
    ) -> Result<(), Error> {
        let key = key.into();
        check_key(&key).map_err(|why| self.about(why))?;
        let source = Source::new(source, size);
        let call = Call { body: Content::Source(source), ..Call::new(Method::PUT, self.key_path(&key)) };
        self.counted(true, self.write_alone(key, call)).await
    }

    /// Stores a result of any size, which the commit keeps if it has no result itself: for one that
    /// is too large for a commit record.
    ///
    /// # Errors
    /// Returns the errors of [`Transaction::put`].
    pub async fn put_result(&self, result: impl Into<Bytes>) -> Result<(), Error> {
        let body = Content::Whole(result.into());
        let call = Call { body, ..Call::new(Method::PUT, self.path("/result")) };
        self.counted(true, async {
            let sent = self.send(call, false).await.and_then(answer::empty);
            sent.map_err(|fault| {
                let torn = fault.may_have_effect();
                self.failed(fault, torn)
            })
        })
        .await
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// Returns the errors of [`Transaction::put`].
    pub async fn delete(&self, key: impl Into<String>) -> Result<(), Error> {
        self.write(key.into(), None).await
    }

    /// Runs several operations in one call, in order and after the buffered writes, and returns one
    /// result for every get. They take effect together in the transaction, or not at all.
    ///
    /// A condition ([`Op::if_absent`] and the others) is checked against the committed version, not
    /// against the transaction's own writes, and needs a serializable transaction, as
    /// [`Client::run`] opens it, or on a shared store one that names no level and writes a checked
    /// key. If it does not hold, the batch is rejected ([`Error::is_condition_failed`]).
    ///
    /// # Errors
    /// Returns the errors of [`Transaction::get`] and [`Transaction::put`], and [`Error::Invalid`]
    /// if a condition does not hold.
    pub async fn batch(&self, ops: Vec<Op>) -> Result<Vec<Read>, Error> {
        if ops.len() > BUFFERED_WRITES_MAX || bytes_of(&ops) > BUFFERED_VALUE_BYTES_MAX {
            // Send the buffered writes first: with them the call might be too large.
            self.flush(Vec::new()).await?;
        }
        self.flush(ops).await
    }

    async fn write(&self, key: String, put: Option<Put>) -> Result<(), Error> {
        check_key(&key).map_err(|why| self.about(why))?;
        // Buffer a small write; send the buffer first if the write does not fit into it.
        let bytes_max = self.inner.client.settings.write_buffer_bytes_max;
        let small = put.as_ref().is_none_or(|put| put.value.len() <= BUFFERED_VALUE_BYTES_MAX);
        if bytes_max > 0 && small {
            let room = self.open()?.buffer.has_room(&key, put.as_ref(), bytes_max);
            if !room {
                self.flush(Vec::new()).await?;
            }
            let mut state = self.open()?;
            state.wrote = true;
            state.read.remove(&key);
            state.buffer.insert(key, put);
            return Ok(());
        }
        let path = self.key_path(&key);
        let call = match put {
            None => Call::new(Method::DELETE, path),
            Some(put) => Call {
                content_type: put.content_type,
                body: put.value.into(),
                ..Call::new(Method::PUT, path)
            },
        };
        self.counted(true, self.write_alone(key, call)).await
    }

    /// Sends one write with a call of its own.
    async fn write_alone(&self, key: String, call: Call) -> Result<(), Error> {
        let sent = self.send(call, false).await.and_then(answer::empty);
        sent.map_err(|fault| {
            // A write that was rejected had no effect. A write without an answer may have had its
            // effect.
            let torn = fault.may_have_effect();
            self.failed(fault, torn)
        })?;
        let mut state = self.state();
        state.read.remove(&key);
        state.buffer.remove(&key);
        Ok(())
    }

    /// Sends the buffered writes, and `ops` after them.
    pub(crate) async fn flush(&self, ops: Vec<Op>) -> Result<Vec<Read>, Error> {
        let writes = !self.open()?.buffer.is_empty() || !ops.iter().all(only_reads);
        self.counted(writes, self.send_batch(ops)).await
    }

    async fn send_batch(&self, ops: Vec<Op>) -> Result<Vec<Read>, Error> {
        let mut all = {
            let mut state = self.open()?;
            // The values that the opening read are stale for keys that are written now.
            for op in &ops {
                match &op.kind {
                    Some(
                        OpKind::Put(Put { key, .. }) | OpKind::Delete(key) | OpKind::Add(Add { key, .. }),
                    ) => {
                        state.read.remove(key);
                    }
                    Some(OpKind::Get(_) | OpKind::Check(_)) | None => {}
                }
            }
            state.buffer.take()
        };
        let waited = !all.is_empty();
        all.extend(ops);
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let reads_only = all.iter().all(only_reads);
        let message = Batch { ops: all, ..Batch::default() };
        let call = self.message("/batch", Format::Protobuf.encode(&message));
        let sent = self.send(call, reads_only).await;
        let reply =
            sent.and_then(|answer| answer::reply::<Reply>(&answer, |body| Format::Protobuf.decode(body)));
        reply.map(|reply| reply.results).map_err(|fault| {
            // The buffered writes are out of the buffer, and the caller believes them done: after
            // any failure the transaction must not commit without them.
            let torn = waited || (!reads_only && fault.may_have_effect());
            self.failed(fault, torn)
        })
    }

    fn message(&self, rest: &str, body: Bytes) -> Call {
        Call {
            accept: Some(Format::Protobuf.content_type()),
            content_type: Some(Format::Protobuf.content_type().to_owned()),
            body: body.into(),
            ..Call::new(Method::POST, self.path(rest))
        }
    }

    /// Sends a call, and sends it again where that is harmless: if the server was overloaded, or if
    /// it only reads and got no answer.
    ///
    /// A write without an answer is not sent again: its first copy may still be in flight, and
    /// would then take effect after later writes.
    pub(crate) async fn send(&self, call: Call, reads: bool) -> Result<Answer, Fault> {
        self.again_if_harmless(call, reads, |call| self.inner.client.send(call)).await
    }

    pub(crate) async fn again_if_harmless<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        mut call: Call,
        reads: bool,
        send: impl Fn(Call) -> F,
    ) -> Result<T, Fault> {
        call.until = self.inner.until;
        let left = self.inner.until.map(|until| until.saturating_duration_since(Instant::now()));
        let call_timeout = self.inner.client.settings.call_timeout;
        let time_max = left.map_or(call_timeout, |left| left.min(call_timeout));
        let mut pace = self.inner.client.pace_within(time_max);
        let mut tries = 1;
        loop {
            let fault = match send(call.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            let harmless = match &fault {
                Fault::NoAnswer(_) => reads,
                Fault::Refused(error) => error.is_turned_away() && !call.body.is_spent(),
                Fault::NotSent(_) | Fault::Strange(_) => false,
            };
            if !harmless || tries == TRIES_IN_PLACE_MAX || !pace.pause(&fault.clone().harmless()).await {
                return Err(fault);
            }
            tries += 1;
        }
    }

    /// Counts a call as in flight until it has ended: the commit waits for it. If it is dropped
    /// before, and `writes`, the transaction does not commit.
    pub(crate) async fn counted<T>(
        &self,
        writes: bool,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let flight = Flight::start(self, writes)?;
        let outcome = call.await;
        flight.land(outcome.as_ref().err());
        outcome
    }

    /// Records what a failed call means for the transaction, and returns its error.
    pub(crate) fn failed(&self, fault: Fault, torn: bool) -> Error {
        let error = match fault.harmless() {
            // The node has forgotten the transaction, and no commit was sent: run the request
            // again.
            error @ Error::NotFound(_) if error.code() != Some(Code::NoSuchPath) => error.into_retry(),
            error => error,
        };
        let error = self.about(error);
        let mut state = self.state();
        if error.is_retryable() {
            state.doomed.get_or_insert_with(|| error.clone());
        }
        if torn {
            state.torn.get_or_insert_with(|| error.clone());
        }
        error
    }

    /// Returns the error of a failed call after which another attempt may succeed, if there is one.
    pub(crate) fn doomed(&self) -> Option<Error> {
        self.state().doomed.clone()
    }

    /// Commits. `result` is returned to later attempts of the request; it is stored only if the
    /// request has an ID. A commit in doubt is sent again until its outcome is known, or until
    /// [`Builder::run_time_max`](crate::Builder::run_time_max) has passed.
    ///
    /// # Errors
    /// Returns [`Error::Unknown`] if the transaction may have committed; after any other error it
    /// has not committed and will not. Returns [`Error::Invalid`] inside [`Client::run`], which
    /// commits by itself.
    pub async fn commit(&self, result: impl Into<Bytes>) -> Result<Ran, Error> {
        self.check_by_hand()?;
        let mut pace = self.inner.client.pace_within(self.inner.run_time_max);
        self.settle(result.into(), &mut pace, u32::MAX).await
    }

    fn check_by_hand(&self) -> Result<(), Error> {
        match self.inner.until.is_some() {
            true => Err(self.about(Error::invalid(
                "the function of a run must not commit or abort: return a result to commit, or an error to abort",
            ))),
            false => Ok(()),
        }
    }

    /// Waits until no call is in flight, and takes the buffered writes, which go with the commit.
    /// The transaction takes no more calls then.
    pub(crate) async fn start_ending(&self) -> Result<Vec<Op>, Error> {
        self.state().waited_for = true;
        // In a run every handle should be gone by now. A task that holds one may be between two
        // calls, so it gets a moment after each.
        let mut moment = Instant::now() + HANDLES_TIME_MAX;
        loop {
            let mut landed = std::pin::pin!(self.inner.landed.notified());
            landed.as_mut().enable();
            let is_held = self.inner.until.is_some() && Arc::strong_count(&self.inner) > 1;
            {
                let mut state = self.open()?;
                if state.in_flight > 0 {
                    moment = Instant::now() + HANDLES_TIME_MAX;
                } else if !is_held || Instant::now() >= moment {
                    if let Some(why) = state.torn.clone().or(state.unseen.clone()) {
                        state.phase = Phase::Left;
                        return Err(why);
                    }
                    state.phase = Phase::Ending;
                    return Ok(state.buffer.take());
                }
            }
            // Handles are dropped without a notice.
            let _ = tokio::time::timeout(HANDLES_TIME_MAX / 50, landed).await;
        }
    }

    /// Returns true if nothing was written and no result is kept.
    pub(crate) fn wrote_nothing(&self) -> bool {
        self.request_id().is_none() && !self.state().wrote
    }

    /// Notes that the transaction did not commit and may still be open: it is aborted when it is
    /// dropped.
    pub(crate) fn leave(&self) {
        self.state().phase = Phase::Left;
    }

    /// Aborts the transaction and drops its writes. Without a call it would be aborted at its
    /// deadline.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the transaction has committed or is committing, and inside
    /// [`Client::run`], which aborts when its function fails.
    pub async fn abort(&self) -> Result<(), Error> {
        self.check_by_hand()?;
        drop(self.open()?);
        self.state().phase = Phase::Ending;
        self.send_abort(None).await.map_err(|fault| self.about(fault.harmless()))
    }

    /// Aborts the transaction, and waits for the answer for a short time only, at most for the rest
    /// of the run's time: without an abort it ends at its deadline.
    pub(crate) async fn abort_quietly(self, left: Duration) {
        self.state().phase = Phase::Ending;
        let time_max = ABORT_TIME_MAX.min(left.max(CALL_TIME_MIN));
        let _ = tokio::time::timeout(time_max, self.send_abort(None)).await;
    }

    pub(crate) async fn send_abort(&self, until: Option<Instant>) -> Result<(), Fault> {
        let call = Call { until, ..Call::new(Method::POST, self.path("/abort")) };
        self.inner.client.send(call).await.and_then(answer::empty)
    }
}

/// A call in flight.
struct Flight<'a> {
    transaction: &'a Transaction,
    writes: bool,
    landed: bool,
}

impl<'a> Flight<'a> {
    fn start(transaction: &'a Transaction, writes: bool) -> Result<Flight<'a>, Error> {
        let mut state = transaction.open()?;
        state.in_flight += 1;
        state.wrote |= writes;
        Ok(Flight { transaction, writes, landed: false })
    }

    fn land(mut self, failure: Option<&Error>) {
        self.landed = true;
        let mut state = self.transaction.state();
        if let (true, Some(failure)) = (state.waited_for, failure) {
            state.unseen.get_or_insert_with(|| failure.clone());
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut state = self.transaction.state();
        if self.writes && !self.landed {
            let why = Error::retry("a write of the transaction was dropped before it had an answer");
            state.torn.get_or_insert_with(|| self.transaction.about(why));
        }
        assert!(state.in_flight > 0, "a call that ends was in flight");
        state.in_flight -= 1;
        if state.in_flight == 0 {
            self.transaction.inner.landed.notify_waiters();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().map(|state| state.phase);
        if matches!(state, Ok(Phase::Ending)) {
            return;
        }
        // Without a runtime the call cannot be sent, and the transaction ends at its deadline.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (client, path) = (self.client.clone(), format!("/v1/transactions/{}/abort", self.token));
        runtime.spawn(async move { drop(client.send(Call::new(Method::POST, path)).await) });
    }
}

/// Returns true if the operation is a get without a condition.
pub(crate) fn only_reads(op: &Op) -> bool {
    matches!(op.kind, Some(OpKind::Get(_))) && !op.is_conditional()
}

fn bytes_of(ops: &[Op]) -> usize {
    let bytes = |op: &Op| match &op.kind {
        Some(OpKind::Put(put)) => put.value.len(),
        Some(OpKind::Get(_) | OpKind::Delete(_) | OpKind::Check(_) | OpKind::Add(_)) | None => 0,
    };
    ops.iter().map(bytes).sum()
}
