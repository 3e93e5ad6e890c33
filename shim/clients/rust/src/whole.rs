//! Whole transactions in one call.
//!
//! A call that commits and is not answered is sent again only if it has a request ID. Without one, all that is left is the transaction's token, if
//! the server has told it: then it can be asked.

use aft_api::{Begin, Code, Format, Isolation, Op, Read, Reply, header};
use bytes::Bytes;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use rand::RngExt as _;

use crate::answer::{self, Fault, malformed, or_empty};
use crate::client::Client;
use crate::error::Error;
use crate::pace::Pace;
use crate::path::{check_key, encode};
use crate::request::Request;
use crate::run::Ran;
use crate::transaction::Transaction;
use crate::transport::Call;
use crate::value::Value;

/// The level of a whole transaction whose request names none: it can be sent again after a
/// conflict.
pub(crate) const LEVEL: Isolation = Isolation::Serializable;

/// The sendings of one whole transaction.
struct Sendings {
    pace: Pace,
    /// An earlier one may have committed: why that is not known.
    doubt: Option<Error>,
    /// Those that met a conflict.
    conflicts: u32,
}

/// How a whole transaction went: a commit stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Executed {
    /// How it went. A replay may be that of an earlier sending of this very call, whose answer was lost.
    pub ran: Ran,
    /// One result for every get and add, in order; none if the commit is known and its reads are not (a replay, or an answer that was lost).
    pub reads: Vec<Read>,
}

impl Client {
    /// Runs operations as one transaction, in one call, in order; `result` is what later attempts of the request are answered.
    ///
    /// It is serializable unless the request says otherwise ([`Request::isolation`]), and is sent
    /// again after a conflict as a run is ([`Client::run`]); [`Ran::attempts`] tells how often.
    ///
    /// With a condition ([`Op::if_absent`] and the others) or an [`Op::add`] among the operations, a
    /// request without an ID is given one that is drawn at random: a call that is sent again, since
    /// its answer was lost, is then known again, and does not meet its own write.
    ///
    /// # Errors
    /// [`Error::is_condition_failed`] if a condition does not hold.
    /// Any that a run has; [`Error::Unknown`] for a request without an ID whose answer was lost.
    pub async fn execute(
        &self,
        request: impl Into<Request>,
        ops: Vec<Op>,
        result: impl Into<Bytes>,
    ) -> Result<Executed, Error> {
        let mut request: Request = request.into();
        if request.id.is_none() && ops.iter().any(Op::is_conditional) {
            request.id = Some(format!("{:032x}", rand::rng().random::<u128>()));
        }
        let result: Bytes = result.into();
        let pace = Pace::new(self.settings.run_time_max);
        let mut sendings = Sendings { pace, doubt: None, conflicts: 0 };
        loop {
            let wait = self.settings.wait().min(sendings.pace.remaining());
            let timeout = self.settings.transaction_timeout;
            let (beside, conflicts) = (sendings.doubt.is_some(), sendings.conflicts);
            let mut begin = request.begin(LEVEL, timeout, wait, beside, conflicts, self.session());
            begin.ops.extend(ops.iter().cloned());
            // Without a request ID nobody comes back for it, and to store it would take the right to write.
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

    /// One sending of [`Client::execute`]; `None` if it is to be sent again.
    async fn whole(
        &self,
        begin: &Begin,
        id: Option<&str>,
        Sendings { pace, doubt, conflicts }: &mut Sendings,
    ) -> Option<Result<Reply, Error>> {
        let mut error = match self.post_begin("/v1/execute", begin).await {
            Ok(reply) => {
                self.committed(reply.session.as_deref());
                return Some(Ok(reply));
            }
            Err(fault) => fault.committing(),
        };
        if matches!(error, Error::Unknown(_)) && id.is_none() {
            error = match self.resolve(error, pace).await {
                // It is known by now that it did not commit.
                Err(why) if why.is_retryable() => why,
                settled => return Some(settled),
            };
        }
        if matches!(error, Error::Unknown(_)) {
            *doubt = Some(error.clone());
        } else if !error.is_retryable() && !matches!(error, Error::InProgress(_)) {
            // Credentials that no longer hold, or a store that is damaged now, say nothing of an earlier sending.
            let definite = !matches!(error, Error::Unauthorized(_) | Error::Internal(_));
            return Some(Err(doubt.take().filter(|_| !definite).unwrap_or(error)));
        }
        *conflicts += u32::from(error.code() == Some(Code::Conflict));
        if *conflicts < self.settings.attempts_max && pace.pause(&error).await {
            return None;
        }
        Some(Err(doubt.take().unwrap_or(error)))
    }

    /// What became of a commit in doubt of a request without an ID.
    async fn resolve(&self, doubt: Error, pace: &mut Pace) -> Result<Reply, Error> {
        match doubt.details().transaction.clone() {
            None => Err(doubt),
            Some(token) => Transaction::committing(self.clone(), token).ask_again(doubt, pace).await,
        }
    }

    /// A key's value, read by itself; `None` if it has none.
    ///
    /// # Errors
    /// Any that a read has.
    pub async fn get(&self, key: impl AsRef<str>) -> Result<Option<Value>, Error> {
        self.read_alone(key.as_ref(), "").await
    }

    /// A key's value, read by itself: that of the newest commit that was acknowledged before, on whatever server of the store, or a newer one.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_fresh(&self, key: impl AsRef<str>) -> Result<Option<Value>, Error> {
        self.read_alone(key.as_ref(), "?fresh=true").await
    }

    async fn read_alone(&self, key: &str, query: &str) -> Result<Option<Value>, Error> {
        check_key(key)?;
        let mut pace = Pace::new(self.settings.run_time_max);
        loop {
            let mut call = self.alone(Method::GET, key);
            call.path.push_str(query);
            let error = match self.send(call).await {
                Ok(answer) => {
                    self.committed(answer::session(&answer).as_deref());
                    let content_type = answer::text(&answer, CONTENT_TYPE.as_str());
                    let version = answer::text(&answer, header::VERSION);
                    return Ok(Some(Value::new(answer.body, content_type, version)));
                }
                Err(Fault::Refused(error)) if error.code() == Some(Code::Absent) => return Ok(None),
                Err(fault) => fault.harmless(),
            };
            if !error.is_retryable() || !pace.pause(&error).await {
                return Err(error);
            }
        }
    }

    /// Writes one key by itself.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the answer was lost: the write may stand, and is not sent again, since meanwhile somebody may have written a newer
    /// value. Where it must be made exactly once, use [`Client::run`] or [`Client::execute`] with a request ID.
    pub async fn put(&self, key: impl AsRef<str>, value: impl Into<Bytes>) -> Result<Ran, Error> {
        check_key(key.as_ref())?;
        let call = Call { body: value.into(), ..self.alone(Method::PUT, key.as_ref()) };
        self.write(call).await
    }

    /// Deletes one key by itself.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn delete(&self, key: impl AsRef<str>) -> Result<Ran, Error> {
        check_key(key.as_ref())?;
        self.write(self.alone(Method::DELETE, key.as_ref())).await
    }

    /// Writes one key if a condition holds for it, by itself and once, however often it is sent:
    /// `client.put_if(Op::put("k", "v").if_absent())`. The same with [`Op::delete`].
    ///
    /// # Errors
    /// [`Error::is_condition_failed`] if the condition does not hold; as [`Client::execute`].
    pub async fn put_if(&self, op: Op) -> Result<Ran, Error> {
        if op.condition.is_none() {
            return Err(Error::invalid("the operation has no condition: give it one, or use put or delete"));
        }
        Ok(self.execute(Request::unnamed(), vec![op], "").await?.ran)
    }

    /// Adds to the number that a key holds as decimal text, and returns the sum; a key without a
    /// value holds 0. By itself and once, however often it is sent. `None`: it was added, and the
    /// answer that told the sum was lost.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the key holds no number, or the sum is beyond 64 bits; as
    /// [`Client::execute`].
    pub async fn add(&self, key: impl AsRef<str>, by: i64) -> Result<Option<i64>, Error> {
        let executed = self.execute(Request::unnamed(), vec![Op::add(key.as_ref(), by)], "").await?;
        let Some(read) = executed.reads.into_iter().next() else { return Ok(None) };
        let text = read.value.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let sum = text.and_then(|text| text.parse().ok());
        sum.map(Some)
            .ok_or_else(|| Error::invalid("the server answered an add with something that is no number"))
    }

    fn alone(&self, method: Method, key: &str) -> Call {
        let session = self.session();
        Call { session, ..Call::new(method, format!("/v1/keys/{}", encode(key))) }
    }

    async fn write(&self, mut call: Call) -> Result<Ran, Error> {
        call.accept = Some(Format::Protobuf.content_type());
        let mut pace = Pace::new(self.settings.run_time_max);
        loop {
            let reply = match self.send(call.clone()).await {
                Ok(answer) => Format::Protobuf.decode::<Reply>(&answer.body).map_err(malformed),
                Err(fault) => Err(fault),
            };
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
            if !error.is_retryable() || !pace.pause(&error).await {
                return Err(error);
            }
        }
    }
}

fn written(version: Option<String>) -> Ran {
    Ran { result: Bytes::new(), result_size: None, replayed: false, version, attempts: 1 }
}
