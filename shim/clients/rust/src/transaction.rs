//! An open transaction, and its calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use aft_api::{Add, Batch, Code, Format, Listing, Op, OpKind, Put, Read, Reply, header};
use bytes::Bytes;
use hyper::Method;
use hyper::header::CONTENT_TYPE;

use crate::answer::{self, Fault, malformed};
use crate::buffer::Buffer;
use crate::client::Client;
use crate::error::Error;
use crate::keys::Keys;
use crate::pace::Pace;
use crate::path::{check_key, encode};
use crate::request::Request;
use crate::run::Ran;
use crate::settings::{ABORT_TIME_MAX, BUFFERED_VALUE_BYTES_MAX, BUFFERED_WRITES_MAX, TRIES_IN_PLACE_MAX};
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
    /// True if a run commits or aborts it.
    of_run: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    buffer: Buffer,
    /// The values that the opening call read, of keys that were not written since.
    read: BTreeMap<String, Option<Value>>,
    /// The first error of a call after which another attempt may succeed.
    doomed: Option<Error>,
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
    pub(crate) fn new(client: Client, reply: Reply, request: &Request, of_run: bool) -> Option<Transaction> {
        let read = reply.results.into_iter().map(|read| (read.key.clone(), Value::of(read))).collect();
        let state = Mutex::new(State { read, ..State::default() });
        let token = reply.transaction?;
        let (request_id, scope) = (request.id.clone(), request.scope.clone());
        Some(Transaction { inner: Arc::new(Inner { client, token, request_id, scope, of_run, state }) })
    }

    /// Makes the handle of a transaction that the same call opened and committed, and whose commit
    /// is in doubt.
    pub(crate) fn committing(client: Client, token: String) -> Transaction {
        let state = Mutex::new(State { phase: Phase::Ending, ..State::default() });
        Transaction {
            inner: Arc::new(Inner { client, token, request_id: None, scope: None, of_run: false, state }),
        }
    }

    /// Returns the transaction's token. It identifies the transaction in logs and problems, and
    /// lets another process work in it.
    pub fn token(&self) -> &str {
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
            Phase::Ending | Phase::Left => Err(self
                .about(Error::invalid("the transaction has ended and takes no more calls: begin a new one"))),
        }
    }

    pub(crate) fn about(&self, error: Error) -> Error {
        error.about(self.request_id(), Some(self.token()))
    }

    /// Returns the path of a call that may commit. It repeats the request's scope, as the call
    /// repeats its ID, so that a server that has forgotten the transaction can answer from the
    /// request's record.
    pub(crate) fn committing_path(&self, rest: &str) -> String {
        match (&self.inner.request_id, &self.inner.scope) {
            (Some(_), Some(scope)) => format!("{}?scope={}", self.path(rest), encode(scope)),
            (Some(_), None) | (None, _) => self.path(rest),
        }
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v1/transactions/{}{rest}", self.inner.token)
    }

    /// Returns a key's value; `None` if it has none.
    ///
    /// # Errors
    /// Returns [`Error::Retry`] if no version is left that fits the earlier reads: run the request
    /// again. Returns [`Error::Invalid`] if the key is empty or too long, or if the transaction has
    /// ended.
    pub async fn get(&self, key: impl AsRef<str>) -> Result<Option<Value>, Error> {
        let key = key.as_ref();
        check_key(key).map_err(|why| self.about(why))?;
        {
            let state = self.open()?;
            if let Some(own) = state.buffer.read(key) {
                return Ok(own);
            }
            if let Some(read) = state.read.get(key) {
                return Ok(read.clone());
            }
        }
        let call = Call::new(Method::GET, self.path(&format!("/keys/{}", encode(key))));
        match self.send(call, true).await {
            Ok(answer) => {
                let content_type = answer::text(&answer, CONTENT_TYPE.as_str());
                let version = answer::text(&answer, header::VERSION);
                Ok(Some(Value::new(answer.body, content_type, version)))
            }
            Err(Fault::Refused(error)) if error.code() == Some(Code::Absent) => Ok(None),
            Err(fault) => Err(self.failed(fault, false)),
        }
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

    /// Deletes a key.
    ///
    /// # Errors
    /// Returns the errors of [`Transaction::put`].
    pub async fn delete(&self, key: impl Into<String>) -> Result<(), Error> {
        self.write(key.into(), None).await
    }

    /// Lists the keys that begin with a prefix; each page is one call.
    pub fn list(&self, prefix: impl Into<String>) -> Keys {
        Keys::new(self.clone(), prefix.into())
    }

    /// Runs several operations in one call, in order and after the buffered writes, and returns one
    /// result for every get. They take effect together in the transaction, or not at all.
    ///
    /// A condition ([`Op::if_absent`] and the others) is checked against the committed version, not
    /// against the transaction's own writes, and needs a serializable transaction, as
    /// [`Client::run`] opens it. If it does not hold, the batch is rejected
    /// ([`Error::is_condition_failed`]).
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
            state.read.remove(&key);
            state.buffer.insert(key, put);
            return Ok(());
        }
        drop(self.open()?);
        let path = self.path(&format!("/keys/{}", encode(&key)));
        let call = match put {
            None => Call::new(Method::DELETE, path),
            Some(put) => {
                Call { content_type: put.content_type, body: put.value, ..Call::new(Method::PUT, path) }
            }
        };
        let sent = self.send(call, false).await;
        sent.map_err(|fault| {
            // A write that was rejected had no effect. A write without an answer may have had its
            // effect.
            let torn = matches!(fault, Fault::NoAnswer(_));
            self.failed(fault, torn)
        })?;
        let mut state = self.state();
        state.read.remove(&key);
        state.buffer.remove(&key);
        Ok(())
    }

    /// Sends the buffered writes, and `ops` after them.
    async fn flush(&self, ops: Vec<Op>) -> Result<Vec<Read>, Error> {
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
        let reads_only = all.iter().all(|op| matches!(op.kind, Some(OpKind::Get(_))));
        let message = Batch { ops: all, ..Batch::default() };
        let call = self.message("/batch", Format::Protobuf.encode(&message));
        let reply = match self.send(call, reads_only).await {
            Ok(answer) => Format::Protobuf.decode::<Reply>(&answer.body).map_err(malformed),
            Err(fault) => Err(fault),
        };
        reply.map(|reply| reply.results).map_err(|fault| {
            // The buffered writes are out of the buffer, and the caller believes them done: after
            // any failure the transaction must not commit without them.
            let torn = waited || (!reads_only && matches!(fault, Fault::NoAnswer(_)));
            self.failed(fault, torn)
        })
    }

    pub(crate) async fn list_page(&self, query: &str) -> Result<Listing, Error> {
        self.flush(Vec::new()).await?;
        let mut call = Call::new(Method::GET, self.path(&format!("/keys{query}")));
        call.accept = Some(Format::Protobuf.content_type());
        let page = match self.send(call, true).await {
            Ok(answer) => Format::Protobuf.decode::<Listing>(&answer.body).map_err(malformed),
            Err(fault) => Err(fault),
        };
        page.map_err(|fault| self.failed(fault, false))
    }

    fn message(&self, rest: &str, body: Bytes) -> Call {
        Call {
            accept: Some(Format::Protobuf.content_type()),
            content_type: Some(Format::Protobuf.content_type().to_owned()),
            body,
            ..Call::new(Method::POST, self.path(rest))
        }
    }

    /// Sends a call, and sends it again where that is harmless: if the server was overloaded, or if
    /// it only reads and got no answer.
    ///
    /// A write without an answer is not sent again: its first copy may still be in flight, and
    /// would then take effect after later writes.
    async fn send(&self, call: Call, reads: bool) -> Result<Answer, Fault> {
        let mut pace = Pace::new(self.inner.client.settings.call_timeout);
        let mut tries = 1;
        loop {
            let fault = match self.inner.client.send(call.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            let harmless = match &fault {
                Fault::NoAnswer(_) => reads,
                Fault::Refused(error) => error.code() == Some(Code::Overloaded),
                Fault::NotSent(_) => false,
            };
            if !harmless || tries == TRIES_IN_PLACE_MAX || !pace.pause(&fault.clone().harmless()).await {
                return Err(fault);
            }
            tries += 1;
        }
    }

    /// Records what a failed call means for the transaction, and returns its error.
    fn failed(&self, fault: Fault, torn: bool) -> Error {
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
        let mut pace = Pace::new(self.inner.client.settings.run_time_max);
        self.settle(result.into(), &mut pace, u32::MAX).await
    }

    fn check_by_hand(&self) -> Result<(), Error> {
        match self.inner.of_run {
            true => Err(self.about(Error::invalid(
                "the function of a run must not commit or abort: return a result to commit, or an error to abort",
            ))),
            false => Ok(()),
        }
    }

    /// Takes the buffered writes, which go with the commit. The transaction takes no more calls
    /// then.
    pub(crate) fn start_ending(&self) -> Result<Vec<Op>, Error> {
        let mut state = self.open()?;
        if let Some(why) = state.torn.clone() {
            state.phase = Phase::Left;
            return Err(why);
        }
        state.phase = Phase::Ending;
        Ok(state.buffer.take())
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
        self.send_abort().await.map_err(|fault| self.about(fault.harmless()))
    }

    /// Aborts the transaction, and waits for the answer for a short time only: without an abort it
    /// ends at its deadline.
    pub(crate) async fn abort_quietly(self) {
        self.state().phase = Phase::Ending;
        let _ = tokio::time::timeout(ABORT_TIME_MAX, self.send_abort()).await;
    }

    pub(crate) async fn send_abort(&self) -> Result<(), Fault> {
        self.inner.client.send(Call::new(Method::POST, self.path("/abort"))).await.map(|_| ())
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

fn bytes_of(ops: &[Op]) -> usize {
    let bytes = |op: &Op| match &op.kind {
        Some(OpKind::Put(put)) => put.value.len(),
        Some(OpKind::Get(_) | OpKind::Delete(_) | OpKind::Check(_) | OpKind::Add(_)) | None => 0,
    };
    ops.iter().map(bytes).sum()
}
