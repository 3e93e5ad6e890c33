//! Whole transactions in one call.
//!
//! A call that commits and gets no answer is sent again only if it has a request ID. Without an ID
//! the client can only ask for the outcome of the transaction, if the server has sent the
//! transaction's token.

use aft_api::{Begin, Code, Format, Isolation, Op, Read, Reply};
use bytes::Bytes;
use hyper::Method;
use rand::RngExt as _;
use tokio::io::AsyncRead;

use crate::answer::{self, Fault, or_empty, with_version};
use crate::client::Client;
use crate::error::Error;
use crate::outgoing::{Content, Source};
use crate::pace::Pace;
use crate::path::{self, check_key};
use crate::request::Request;
use crate::run::Ran;
use crate::transaction::{Transaction, only_reads};
use crate::transport::{Answer, Call};
use crate::value::{Range, Value};

/// The level of a whole transaction whose request names none: after a conflict it is sent again.
pub(crate) const LEVEL: Isolation = Isolation::Serializable;

/// The state of one whole transaction over its tries.
struct Sendings {
    pace: Pace,
    /// The error of an earlier try that may have committed.
    doubt: Option<Error>,
    /// The number of tries that failed with a conflict.
    conflicts: u32,
}

/// The outcome of a whole transaction that has committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Executed {
    /// The outcome of the commit. A replay may be that of an earlier try of this same call, whose
    /// answer was lost.
    pub ran: Ran,
    /// One result for every get and add, in order. Empty if the commit is known and its reads are
    /// not: after a replay, or if an answer was lost.
    pub reads: Vec<Read>,
}

impl Client {
    /// Runs operations as one transaction, in one call and in order. `result` is returned to later
    /// attempts of the request.
    ///
    /// The transaction is serializable unless the request sets another level
    /// ([`Request::isolation`]). After a conflict it is sent again, as a run is ([`Client::run`]);
    /// [`Ran::attempts`] is the number of tries.
    ///
    /// If a condition ([`Op::if_absent`] and the others) or an [`Op::add`] is among the operations,
    /// a request without an ID gets a random one. So the server recognises a call that is sent
    /// again because its answer was lost, and the call does not conflict with its own write.
    ///
    /// # Errors
    /// Returns an error with [`Error::is_condition_failed`] if a condition does not hold;
    /// [`Error::Unknown`] if the transaction may have committed, for instance if a request without
    /// an ID got no answer; and otherwise the errors of [`Client::run`].
    pub async fn execute(
        &self,
        request: impl Into<Request>,
        ops: Vec<Op>,
        result: impl Into<Bytes>,
    ) -> Result<Executed, Error> {
        let mut request: Request = request.into();
        request.check()?;
        if request.id.is_none() && ops.iter().any(Op::is_conditional) {
            request.id = Some(format!("{:032x}", rand::rng().random::<u128>()));
        }
        let result: Bytes = result.into();
        let pace = self.pace(&request);
        let mut sendings = Sendings { pace, doubt: None, conflicts: 0 };
        loop {
            let wait = self.settings.wait(sendings.pace.remaining());
            let timeout = self.settings.transaction_timeout;
            let (beside, conflicts) = (sendings.doubt.is_some(), sendings.conflicts);
            let mut begin = request.begin(LEVEL, timeout, wait, beside, conflicts, self.session());
            begin.ops.extend(ops.iter().cloned());
            // Without a request ID no later attempt can ask for the result, and storing it would
            // need the right to write.
            begin.result = Some(result.clone()).filter(|result| !result.is_empty() && request.id.is_some());
            match self.whole(&begin, request.id.as_deref(), &mut sendings).await {
                Some(outcome) => {
                    let reply = outcome.map_err(|error| error.about(request.id.as_deref(), None))?;
                    let kept = if reply.replayed { or_empty(reply.result) } else { result };
                    let ran = Ran {
                        result: kept,
                        result_size: reply.result_size,
                        replayed: reply.replayed,
                        version: reply.version,
                        attempts: sendings.conflicts + u32::from(!reply.replayed),
                    };
                    return Ok(Executed { ran, reads: reply.results });
                }
                None => continue,
            }
        }
    }

    /// Sends a whole transaction once; returns `None` if it has to be sent again.
    async fn whole(
        &self,
        begin: &Begin,
        id: Option<&str>,
        Sendings { pace, doubt, conflicts }: &mut Sendings,
    ) -> Option<Result<Reply, Error>> {
        let fault = match self.post_begin("/v1/execute", begin, pace.until()).await {
            Ok(reply) => {
                self.committed(reply.session.as_deref());
                return Some(Ok(reply));
            }
            Err(fault) => fault,
        };
        // Without an ID and a write there is no outcome that anybody could miss.
        let pure = id.is_none() && begin.ops.iter().all(only_reads);
        // Something that is not AFT took the call, and would take the next one.
        let is_strange = matches!(fault, Fault::Strange(_));
        let mut error = match if pure { fault.harmless() } else { fault.committing() } {
            error @ Error::Unknown(_) if pure => error.into_retry(),
            error => error,
        };
        if is_strange {
            return Some(Err(doubt.take().unwrap_or(error)));
        }
        if matches!(error, Error::Unknown(_)) && id.is_none() {
            error = match self.resolve(error, pace).await {
                // The query showed that it did not commit.
                Err(why) if why.is_retryable() => why,
                settled => return Some(settled),
            };
        }
        if matches!(error, Error::Unknown(_)) {
            *doubt = Some(error.clone());
        } else if !error.is_retryable() && !matches!(error, Error::InProgress(_)) {
            // Credentials that are rejected now, a store that is damaged or has lost commits, or a
            // proxy in the way say nothing about an earlier try.
            let says_nothing =
                matches!(error, Error::Unauthorized(_) | Error::Internal(_) | Error::Unavailable(_))
                    || error.code() == Some(Code::SessionLost);
            let error = doubt.take().filter(|_| says_nothing).unwrap_or(error);
            return Some(Err(self.told(error)));
        }
        *conflicts += u32::from(error.code() == Some(Code::Conflict));
        if *conflicts < self.settings.attempts_max && pace.pause(&error).await {
            return None;
        }
        Some(Err(pace.last(doubt.take().unwrap_or(error))))
    }

    /// Asks for the outcome of a commit in doubt of a request without an ID. Only its transaction
    /// can be asked; without a token this returns `doubt`.
    async fn resolve(&self, doubt: Error, pace: &mut Pace) -> Result<Reply, Error> {
        match doubt.details().transaction.clone() {
            None => Err(doubt),
            Some(token) => Transaction::committing(self.clone(), token).ask_again(doubt, pace).await,
        }
    }

    /// Reads one key in a transaction of its own; returns `None` if it has no value. Failed calls
    /// are repeated within [`Builder::run_time_max`](crate::Builder::run_time_max).
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the key is empty or too long, [`Error::Unavailable`] if the
    /// server does not answer in time, or another refusal of the server.
    pub async fn get(&self, key: impl AsRef<str>) -> Result<Option<Value>, Error> {
        let call = self.alone(Method::GET, key.as_ref());
        Ok(self.read_alone(key.as_ref(), call).await?.map(Value::of_answer))
    }

    /// Reads one key as [`Client::get`] does, and asks the store: returns the value of the newest
    /// commit that was acknowledged before the call, on any server of the store, or a newer one.
    ///
    /// # Errors
    /// Returns the errors of [`Client::get`].
    pub async fn get_fresh(&self, key: impl AsRef<str>) -> Result<Option<Value>, Error> {
        let mut call = self.alone(Method::GET, key.as_ref());
        call.path = path::with(call.path, "fresh", "true");
        Ok(self.read_alone(key.as_ref(), call).await?.map(Value::of_answer))
    }

    /// Returns `len` bytes of one key's value, from byte `start` on, or as many as there are, in a
    /// transaction of its own; `None` if the key has no value. [`Value::size`] is the size of the
    /// whole value.
    ///
    /// # Errors
    /// Returns the errors of [`Client::get`], and [`Error::Invalid`] if the range is empty or
    /// begins after the value's end.
    pub async fn get_range(
        &self,
        key: impl AsRef<str>,
        start: u64,
        len: u64,
    ) -> Result<Option<Value>, Error> {
        let range = Range::new(start, len)?;
        let call = Call { range: Some(range.header()), ..self.alone(Method::GET, key.as_ref()) };
        let found = self.read_alone(key.as_ref(), call).await?;
        found.map(|answer| Value::of_range(answer, range).map_err(Fault::harmless)).transpose()
    }

    async fn read_alone(&self, key: &str, mut call: Call) -> Result<Option<Answer>, Error> {
        check_key(key)?;
        let mut pace = self.pace_within(self.settings.run_time_max);
        call.until = Some(pace.until());
        loop {
            match self.send(call.clone()).await.and_then(with_version) {
                Ok(answer) => {
                    self.committed(answer::session(&answer).as_deref());
                    return Ok(Some(answer));
                }
                Err(Fault::Refused(error)) if error.code() == Some(Code::Absent) => return Ok(None),
                Err(fault) => pace.again(fault.harmless()).await.map_err(|error| self.told(error))?,
            }
        }
    }

    /// Writes one key in a transaction of its own.
    ///
    /// # Errors
    /// Returns [`Error::Unknown`] if the answer was lost: the write may have taken effect. It is
    /// not sent again, since another client may have written a newer value meanwhile. For a write
    /// that must take effect exactly once, use [`Client::run`] or [`Client::execute`] with a
    /// request ID.
    pub async fn put(&self, key: impl AsRef<str>, value: impl Into<Bytes>) -> Result<Ran, Error> {
        check_key(key.as_ref())?;
        let value: Bytes = value.into();
        let call = Call { body: value.into(), ..self.alone(Method::PUT, key.as_ref()) };
        self.write(call).await
    }

    /// Writes one key's value of any size, which is read from `source` while it is sent, in a
    /// transaction of its own. `size` is its number of bytes, if it is known: no more are read.
    ///
    /// # Errors
    /// Returns the errors of [`Client::put`], and [`Error::Invalid`] if the source fails or ends
    /// before `size` bytes: then nothing was written. The call is repeated only as long as nothing
    /// was read from the source.
    pub async fn put_stream(
        &self,
        key: impl AsRef<str>,
        source: impl AsyncRead + Send + 'static,
        size: Option<u64>,
    ) -> Result<Ran, Error> {
        check_key(key.as_ref())?;
        let source = Content::Source(Source::new(source, size));
        let call = Call { body: source, ..self.alone(Method::PUT, key.as_ref()) };
        self.write(call).await
    }

    /// Deletes one key in a transaction of its own.
    ///
    /// # Errors
    /// Returns the errors of [`Client::put`].
    pub async fn delete(&self, key: impl AsRef<str>) -> Result<Ran, Error> {
        check_key(key.as_ref())?;
        self.write(self.alone(Method::DELETE, key.as_ref())).await
    }

    /// Writes or deletes one key in a transaction of its own, if a condition holds:
    /// `client.put_if(Op::put("k", "v").if_absent())`. The write takes effect once, also if its
    /// call is sent several times.
    ///
    /// # Errors
    /// Returns an error with [`Error::is_condition_failed`] if the condition does not hold,
    /// [`Error::Invalid`] if `op` has no condition, and otherwise the errors of
    /// [`Client::execute`].
    pub async fn put_if(&self, op: Op) -> Result<Ran, Error> {
        if op.condition.is_none() {
            return Err(Error::invalid("the operation has no condition: give it one, or use put or delete"));
        }
        Ok(self.execute(Request::unnamed(), vec![op], "").await?.ran)
    }

    /// Adds to the number that a key holds as decimal text, in a transaction of its own, and
    /// returns the sum; a key without a value counts as 0. The number is added once, also if the
    /// call is sent several times. Returns `None` if it was added but the answer with the sum was
    /// lost.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the key holds no number, or if the sum does not fit into 64
    /// bits; and otherwise the errors of [`Client::execute`].
    pub async fn add(&self, key: impl AsRef<str>, by: i64) -> Result<Option<i64>, Error> {
        let executed = self.execute(Request::unnamed(), vec![Op::add(key.as_ref(), by)], "").await?;
        let Some(read) = executed.reads.into_iter().next() else { return Ok(None) };
        let text = read.value.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let sum = text.and_then(|text| text.parse().ok());
        sum.map(Some)
            .ok_or_else(|| Error::invalid("the server answered an add with text that is not a number"))
    }

    pub(crate) fn alone(&self, method: Method, key: &str) -> Call {
        let session = self.session();
        Call { session, ..Call::new(method, path::key("/v1", key)) }
    }

    async fn write(&self, mut call: Call) -> Result<Ran, Error> {
        call.accept = Some(Format::Protobuf.content_type());
        let mut pace = self.pace_within(self.settings.run_time_max);
        call.until = Some(pace.until());
        loop {
            let sent = self.send(call.clone()).await;
            let reply =
                sent.and_then(|answer| answer::reply::<Reply>(&answer, |body| Format::Protobuf.decode(body)));
            let error = match reply {
                Ok(reply) => {
                    self.committed(reply.session.as_deref());
                    return Ok(written(reply.version));
                }
                Err(fault) => fault.committing(),
            };
            if matches!(error, Error::Unknown(_)) {
                let reply = self.resolve(error, &mut pace).await?;
                return Ok(written(reply.version));
            }
            if call.body.is_spent() {
                return Err(self.told(error));
            }
            pace.again(error).await.map_err(|error| self.told(error))?;
        }
    }
}

fn written(version: Option<String>) -> Ran {
    Ran { result: Bytes::new(), result_size: None, replayed: false, version, attempts: 1 }
}
