//! The backend for a server's native API, as a client would use it: protobuf bodies, one call per
//! function. The first function's call opens the transaction, the last one's commits it.

use std::collections::VecDeque;

use aft_api::{Action, Batch, Begin, Code, Format, Op, Problem, Read, Reply, header};
use bytes::Bytes;
use hyper::Method;

use super::{COMMIT_AGAIN_MAX, Effect, Ran, Refused, Work, proves_no_commit, seen};
use crate::http::{Answer, Connection, NoAnswer};
use crate::standard::detect::{Order, Seen};
use crate::standard::load::pause;
use crate::standard::plan::key_name;

/// One client's connections: to one server, or to several of one store, which it uses in turn.
#[derive(Debug)]
pub(crate) struct ServerBackend {
    /// One connection for each server. The first is that of the attempt in flight.
    connections: VecDeque<Connection>,
    run: u64,
    /// The session token from the last commit.
    session: Option<String>,
    /// True if the client presents its session token to servers.
    carries_session: bool,
    /// The open transaction's token.
    transaction: Option<String>,
}

impl ServerBackend {
    /// Returns a client. With several servers, its first attempt goes to the second one.
    pub(crate) fn new(connections: VecDeque<Connection>, carries_session: bool, run: u64) -> ServerBackend {
        assert!(!connections.is_empty(), "a client has at least one server");
        ServerBackend { connections, run, session: None, carries_session, transaction: None }
    }

    pub(crate) async fn run(&mut self, work: Work<'_>) -> Result<Ran, Refused> {
        let gets = work.gets.len();
        let (first, last) = (work.first, work.last);
        let (path, body) = self.message(work);
        // The body is kept, to send the same call again if the outcome is unknown.
        let answer = self.post(&path, body.clone()).await;
        let reply = match answer {
            Ok(reply) => reply,
            Err(refused) if last && refused.effect == Effect::Unknown => {
                let confirmed = self.commit_again(refused, path, body).await?;
                self.take_session(&confirmed);
                // The reads were in the lost answer.
                return Ok(Ran { reads: Vec::new(), committed: version(&confirmed)? });
            }
            // A call that does not commit leaves nothing behind, even if it was executed.
            Err(refused) if refused.effect == Effect::Unknown => {
                return Err(Refused { effect: Effect::NothingRetry, ..refused });
            }
            Err(refused) => return Err(refused),
        };
        if first {
            self.transaction.clone_from(&reply.transaction);
        }
        // The answer must hold all reads, commit exactly if asked, and name the open transaction.
        if reply.results.len() != gets || last != reply.committed || (!last && self.transaction.is_none()) {
            return Err(malformed());
        }
        let committed = if last { version(&reply)? } else { None };
        self.take_session(&reply);
        let reads = reply.results.iter().map(|read| self.seen(read)).collect::<Result<_, _>>()?;
        Ok(Ran { reads, committed })
    }

    /// Keeps the session token of a commit's answer.
    fn take_session(&mut self, reply: &Reply) {
        if reply.session.is_some() {
            self.session.clone_from(&reply.session);
        }
    }

    /// Returns the path and body of the call. A first function moves on to the next server.
    fn message(&mut self, work: Work<'_>) -> (String, Bytes) {
        let puts = work.puts.into_iter().map(|(key, value)| Op::put(key_name(key), value));
        let ops = puts.chain(work.gets.iter().map(|key| Op::get(key_name(*key)))).collect();
        let commit = work.last.then_some(true);
        if work.first {
            self.transaction = None;
            self.connections.rotate_left(1);
            let session = self.session.clone().filter(|_| self.carries_session);
            let begin = Begin { ops, commit, session, ..Begin::default() };
            return ("/v1/transactions".to_owned(), Format::Protobuf.encode(&begin));
        }
        let transaction = self.transaction.as_deref().expect("an attempt's first function opened it");
        let batch = Batch { ops, commit, ..Batch::default() };
        (format!("/v1/transactions/{transaction}/batch"), Format::Protobuf.encode(&batch))
    }

    async fn post(&mut self, path: &str, body: Bytes) -> Result<Reply, Refused> {
        let content_type = Some(Format::Protobuf.content_type());
        let connection = self.connections.front_mut().expect("a client has at least one server");
        match connection.call(Method::POST, path, content_type, body).await {
            Ok(answer) if answer.status.is_success() => decode(&answer),
            Ok(answer) => Err(refused(&answer)),
            Err(NoAnswer::NotSent(_)) => Err(Refused::new("cannot_connect", Effect::NothingRetry)),
            Err(NoAnswer::Broken(_)) => Err(Refused::new("no_answer", Effect::Unknown)),
        }
    }

    /// Sends the commit's call again until its outcome is known. It repeats the same call: if the
    /// first one never arrived, a bare commit would commit the attempt without its last function's
    /// writes. The code `ended` proves that the first one did arrive; from then on a bare commit is
    /// sent.
    async fn commit_again(
        &mut self,
        first: Refused,
        mut path: String,
        mut body: Bytes,
    ) -> Result<Reply, Refused> {
        // Without a transaction token there is nothing to repeat: the opening call was to commit as
        // well, and its answer was lost.
        let Some(transaction) = self.transaction.clone() else { return Err(first) };
        let mut last = first;
        for nth in 0..COMMIT_AGAIN_MAX {
            tokio::time::sleep(pause(nth)).await;
            match self.post(&path, body.clone()).await {
                Ok(reply) if reply.committed || reply.replayed => return Ok(reply),
                Ok(_) => return Err(malformed()),
                Err(refused) if refused.effect == Effect::Unknown => last = refused,
                Err(refused) if refused.code == Code::Ended.as_str() && !body.is_empty() => {
                    (path, body) = (format!("/v1/transactions/{transaction}/commit"), Bytes::new());
                }
                Err(refused) if proves_no_commit(refused.code) => return Err(refused),
                // This call was rejected, which says nothing about the first one.
                Err(refused) if refused.effect == Effect::NothingRetry => {}
                // The server does not know the transaction, which proves nothing about its outcome.
                Err(refused) => return Err(Refused { effect: Effect::Unknown, ..refused }),
            }
        }
        Err(last)
    }

    fn seen(&self, read: &Read) -> Result<Seen, Refused> {
        let Some(value) = &read.value else { return Ok(Seen::ABSENT) };
        let order = match read.version.as_deref() {
            // An own write: the detector compares numbers, never this place.
            Some(header::VERSION_UNCOMMITTED) => Order::ABSENT,
            Some(version) => parse_version(version).ok_or_else(malformed)?,
            None => return Err(malformed()),
        };
        Ok(seen(self.run, |_| order, value))
    }
}

fn decode(answer: &Answer) -> Result<Reply, Refused> {
    Format::Protobuf.decode(&answer.body).map_err(|_| malformed())
}

/// Returns the failure for an answer that breaks the API. That is a finding, with a code of its
/// own.
fn malformed() -> Refused {
    Refused::new("malformed_answer", Effect::Nothing)
}

fn refused(answer: &Answer) -> Refused {
    match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(problem) => {
            let effect = match (problem.action, problem.code) {
                (Action::Retry, _) | (Action::Conflict, Code::InProgress) => Effect::NothingRetry,
                (Action::Unknown, _) => Effect::Unknown,
                (Action::Conflict | Action::Invalid | Action::NotFound, _)
                | (Action::Unauthorized | Action::Internal, _) => Effect::Nothing,
            };
            Refused { code: problem.code.as_str(), effect, retry_after_ms: problem.retry_after_ms }
        }
        // The answer is not the native API's; it may come from a proxy.
        Err(_) => Refused::new("foreign_answer", Effect::Unknown),
    }
}

fn version(reply: &Reply) -> Result<Option<Order>, Refused> {
    match &reply.version {
        None => Ok(None),
        Some(text) => parse_version(text).map(Some).ok_or_else(malformed),
    }
}

/// Parses a version, which is the text of a TxnId: `MS.COUNTER-ATTEMPT`, with the attempt in
/// hexadecimal.
fn parse_version(text: &str) -> Option<Order> {
    let (time, attempt) = text.split_once('-')?;
    let (ms, counter) = time.split_once('.')?;
    let (ms, counter): (u64, u16) = (ms.parse().ok()?, counter.parse().ok()?);
    Some(Order::new((ms << 16) | u64::from(counter), u128::from_str_radix(attempt, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse_version;
    use crate::standard::detect::Order;

    #[test]
    fn versions_are_ordered_by_time_then_attempt() {
        let parse = |text: &str| parse_version(text).unwrap();
        let attempt = "0192f0c1a2b37000800000000000000a";
        assert_eq!(
            parse(&format!("5.7-{attempt}")),
            Order::new(5 << 16 | 7, 0x0192f0c1a2b37000800000000000000a)
        );
        assert!(parse("9.0-ff") < parse("10.0-00"));
        assert!(parse("9.9-ff") < parse("9.10-00"));
        assert!(parse("9.9-0a") < parse("9.9-0b"));
        for wrong in ["", "uncommitted", "5-7", "5.7", "5.65536-1", "x.1-1"] {
            assert_eq!(parse_version(wrong), None, "{wrong}");
        }
    }
}
