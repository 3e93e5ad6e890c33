//! An open transaction.

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

/// A transaction: reads committed versions that fit together and its own writes; writes nothing that others see before it commits.
///
/// A handle; clones are the same transaction. When the last one is dropped without a commit, the transaction is aborted, by a call that nobody waits
/// for. Small writes wait in the handle and go with the commit (see [`Builder::write_buffer_bytes_max`](crate::Builder::write_buffer_bytes_max)).
#[derive(Debug, Clone)]
pub struct Transaction {
    inner: Arc<Inner>,
}

/// How opening a transaction went.
#[derive(Debug)]
pub enum Begun {
    /// It is open.
    Open(Transaction),
    /// The request has committed: this is what its winner left, and nothing is to be done.
    Replayed(Ran),
}

#[derive(Debug)]
struct Inner {
    client: Client,
    token: String,
    request_id: Option<String>,
    scope: Option<String>,
    /// A run commits or aborts it.
    of_run: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    buffer: Buffer,
    /// What the opening call read, of keys that were not written since.
    read: BTreeMap<String, Option<Value>>,
    /// A call failed in a way that another attempt may not: why.
    doomed: Option<Error>,
    /// Writes that the caller believes made may be missing: no commit may follow.
    torn: Option<Error>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Open,
    /// A commit or an abort was asked for.
    Ending,
    /// It did not commit, and may still be open on its node.
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

    /// A transaction whose commit was sent by the call that opened it, and is in doubt.
    pub(crate) fn committing(client: Client, token: String) -> Transaction {
        let state = Mutex::new(State { phase: Phase::Ending, ..State::default() });
        Transaction {
            inner: Arc::new(Inner { client, token, request_id: None, scope: None, of_run: false, state }),
        }
    }

    /// Its token: names it in logs and problems, and lets another process work in it.
    pub fn token(&self) -> &str {
        &self.inner.token
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(crate) fn request_id(&self) -> Option<&str> {
        self.inner.request_id.as_deref()
    }

    /// Whether a version names what this transaction committed.
    pub(crate) fn wrote(&self, version: &str) -> bool {
        let attempt = self.inner.token.split_once('-').map(|(_, attempt)| attempt);
        attempt.is_some() && version.split_once('-').map(|(_, attempt)| attempt) == attempt
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("nobody panics with a transaction's state in hand")
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state();
        match state.phase {
            Phase::Open => Ok(state),
            Phase::Ending | Phase::Left => {
                Err(self.about(Error::invalid("the transaction has ended: nothing more can be done in it")))
            }
        }
    }

    pub(crate) fn about(&self, error: Error) -> Error {
        error.about(self.request_id(), Some(self.token()))
    }

    /// A call that may commit: it repeats the request, so that a server which has forgotten the transaction answers from the request's record.
    pub(crate) fn committing_path(&self, rest: &str) -> String {
        match (&self.inner.request_id, &self.inner.scope) {
            (Some(_), Some(scope)) => format!("{}?scope={}", self.path(rest), encode(scope)),
            (Some(_), None) | (None, _) => self.path(rest),
        }
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v1/transactions/{}{rest}", self.inner.token)
    }

    /// A key's value; `None` if it has none.
    ///
    /// # Errors
    /// [`Error::Retry`] if no version is left that fits what was read before.
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
    /// [`Error::Invalid`] if the key is empty or too long; of a value that waits for the commit, the rest is told by the commit.
    pub async fn put(&self, key: impl Into<String>, value: impl Into<Bytes>) -> Result<(), Error> {
        let put = Put { key: key.into(), value: value.into(), content_type: None };
        self.write(put.key.clone(), Some(put)).await
    }

    /// Writes a value with a content type, which is given back with it.
    ///
    /// # Errors
    /// As [`Transaction::put`].
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
    /// As [`Transaction::put`].
    pub async fn delete(&self, key: impl Into<String>) -> Result<(), Error> {
        self.write(key.into(), None).await
    }

    /// The keys that begin with a prefix; each page is a call.
    pub fn list(&self, prefix: impl Into<String>) -> Keys {
        Keys::new(self.clone(), prefix.into())
    }

    /// Several operations in one call, in order, with the writes that wait; gives one result for every get. They take effect together
    /// in the transaction, or not at all.
    ///
    /// A condition ([`Op::if_absent`] and the others) speaks of what is committed, not of the
    /// transaction's own writes, and needs a serializable transaction, as [`Client::run`] opens it.
    /// If it does not hold, the batch is refused ([`Error::is_condition_failed`]).
    ///
    /// # Errors
    /// Any that its parts have.
    pub async fn batch(&self, ops: Vec<Op>) -> Result<Vec<Read>, Error> {
        if ops.len() > BUFFERED_WRITES_MAX || bytes_of(&ops) > BUFFERED_VALUE_BYTES_MAX {
            // The writes that wait would perhaps not fit in beside these.
            self.flush(Vec::new()).await?;
        }
        self.flush(ops).await
    }

    async fn write(&self, key: String, put: Option<Put>) -> Result<(), Error> {
        check_key(&key).map_err(|why| self.about(why))?;
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
            // What was refused is as if it had never been asked for; what was not answered may stand or not.
            let torn = matches!(fault, Fault::NoAnswer(_));
            self.failed(fault, torn)
        })?;
        let mut state = self.state();
        state.read.remove(&key);
        state.buffer.remove(&key);
        Ok(())
    }

    /// Sends what waits, and these operations after it.
    async fn flush(&self, ops: Vec<Op>) -> Result<Vec<Read>, Error> {
        let mut all = {
            let mut state = self.open()?;
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

    /// Sends a call, and again where that is harmless: if it was turned away for want of room, and if it only reads and was not answered.
    ///
    /// A write without an answer is not sent again. Its first copy may still be on its way, and would then land after later writes.
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

    /// Notes what a failed call means for the transaction.
    fn failed(&self, fault: Fault, torn: bool) -> Error {
        let error = match fault.harmless() {
            // Its node has forgotten it, and no commit was sent.
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

    /// Why another attempt may succeed where this one failed, if that is so.
    pub(crate) fn doomed(&self) -> Option<Error> {
        self.state().doomed.clone()
    }

    /// Commits; `result` is what later attempts of the request are answered. An outcome in doubt is asked for until it is known, or the
    /// run's time is over.
    ///
    /// # Errors
    /// [`Error::Unknown`] if it may have committed; after any other error it did not and will not. [`Error::Invalid`] inside
    /// [`Client::run`], which commits by itself.
    pub async fn commit(&self, result: impl Into<Bytes>) -> Result<Ran, Error> {
        self.check_by_hand()?;
        let mut pace = Pace::new(self.inner.client.settings.run_time_max);
        self.settle(result.into(), &mut pace, u32::MAX).await
    }

    fn check_by_hand(&self) -> Result<(), Error> {
        match self.inner.of_run {
            true => Err(self.about(Error::invalid(
                "a run commits or aborts its transaction by itself: return a result or an error",
            ))),
            false => Ok(()),
        }
    }

    /// The writes that go with the commit; nothing else may follow.
    pub(crate) fn start_ending(&self) -> Result<Vec<Op>, Error> {
        let mut state = self.open()?;
        if let Some(why) = state.torn.clone() {
            state.phase = Phase::Left;
            return Err(why);
        }
        state.phase = Phase::Ending;
        Ok(state.buffer.take())
    }

    /// It did not commit and may be open: dropped, it is aborted.
    pub(crate) fn leave(&self) {
        self.state().phase = Phase::Left;
    }

    /// Aborts. What was written is dropped; to do nothing would do the same, only later.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it has committed or is committing, and inside [`Client::run`], which aborts when its function fails.
    pub async fn abort(&self) -> Result<(), Error> {
        self.check_by_hand()?;
        drop(self.open()?);
        self.state().phase = Phase::Ending;
        self.send_abort().await.map_err(|fault| self.about(fault.harmless()))
    }

    /// Aborts, and waits for it not too long: silence is abort too.
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
        // Without a runtime there is nobody to send it; then the deadline aborts.
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
