//! Access to keys for functions and auditors: through the shim in a transaction, or directly to the
//! store by way of the demo's plain key-value server. The calls are the same either way, so that
//! both runs do the same work.

use aft_api::{Action, Begin, Code, Commit, Format, IfOpen, Isolation, Op, Problem, Reply};
use bytes::Bytes;
use hyper::{Method, StatusCode};

use crate::demo::order::Ended;
use crate::http::{Answer, Connection, NoAnswer, Server};

/// The path prefix of keys on the plain server.
pub(crate) const PLAIN_PATH: &str = "/plain/";
/// The maximum number of times that a commit is sent while its outcome is unknown.
const COMMIT_AGAIN_MAX: u32 = 5;

/// The timeout of a transaction: an attempt usually takes some 20 ms, and a late one a few hundred
/// more.
const TRANSACTION_MS: u64 = 20_000;

/// Reads and writes of one attempt, or of one audit.
#[derive(Debug)]
pub(crate) struct Access {
    connection: Connection,
    /// The open transaction. `None` without the shim.
    transaction: Option<String>,
}

/// The arguments for opening a transaction.
#[derive(Debug)]
pub(crate) struct Opening {
    /// The ID of the request that the transaction is an attempt of.
    pub(crate) request: Option<String>,
    pub(crate) isolation: Isolation,
    /// The number of conflicts that earlier attempts of the request have had.
    pub(crate) conflicts: u32,
}

/// The result of opening a transaction.
#[derive(Debug)]
pub(crate) enum Opened {
    /// The transaction is open, and has this ID.
    Open(String),
    /// The request has committed already, so there is nothing to do.
    Replayed,
}

impl Access {
    /// Returns access to `server`, inside `transaction` if there is one.
    pub(crate) fn new(server: Server, transaction: Option<String>) -> Access {
        Access { connection: Connection::new(server), transaction }
    }

    /// Opens a transaction, which later calls use.
    pub(crate) async fn begin(&mut self, opening: Opening) -> Result<Opened, Ended> {
        let Opening { request, isolation, conflicts } = opening;
        let begin = Begin {
            request_id: request,
            // Earlier attempts of the request may still be open. They are dead or abandoned, or
            // they are a second delivery: do not wait for them.
            if_open: IfOpen::Run as i32,
            timeout_ms: Some(TRANSACTION_MS),
            isolation: isolation as i32,
            conflicts: Some(conflicts).filter(|conflicts| *conflicts > 0),
            ..Begin::default()
        };
        let reply = self.post("/v1/transactions", Format::Json.encode(&begin)).await?;
        match (reply.replayed, reply.transaction) {
            (true, _) => Ok(Opened::Replayed),
            (false, Some(transaction)) => {
                self.transaction = Some(transaction.clone());
                Ok(Opened::Open(transaction))
            }
            (false, None) => Err(Ended::Failed("the server's answer to begin has no transaction".into())),
        }
    }

    /// Leaves the transaction, if one is open, and keeps the connection.
    pub(crate) fn leave(&mut self) {
        self.transaction = None;
    }

    /// Returns a key's value.
    pub(crate) async fn get(&mut self, key: &str) -> Result<Option<Bytes>, Ended> {
        let answer = self.connection.call(Method::GET, &self.path(key), None, Bytes::new()).await;
        let answer = answer.map_err(no_answer)?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer.body)),
            StatusCode::NOT_FOUND if self.transaction.is_none() => Ok(None),
            _ => match problem(&answer) {
                Some(problem) if problem.code == Code::Absent => Ok(None),
                _ => Err(refused(&answer)),
            },
        }
    }

    /// Writes a key.
    pub(crate) async fn put(&mut self, key: &str, value: Vec<u8>) -> Result<(), Ended> {
        let content_type = Some("application/octet-stream");
        let answer = self.connection.call(Method::PUT, &self.path(key), content_type, value.into()).await;
        let answer = answer.map_err(no_answer)?;
        if answer.status.is_success() { Ok(()) } else { Err(refused(&answer)) }
    }

    /// Commits the transaction. Without the shim there is nothing to commit. A commit whose outcome
    /// is unknown is sent again.
    pub(crate) async fn commit(&mut self) -> Result<Ended, Ended> {
        let Some(transaction) = self.transaction.clone() else { return Ok(Ended::Done) };
        let path = format!("/v1/transactions/{transaction}/commit");
        let body = Format::Json.encode(&Commit::default());
        let mut ended = Err(Ended::Unknown);
        for _ in 0..COMMIT_AGAIN_MAX {
            let content_type = Some(Format::Json.content_type());
            let answer = self.connection.call(Method::POST, &path, content_type, body.clone()).await;
            ended = match answer {
                Ok(answer) if answer.status.is_success() => {
                    let reply = decode(&answer)?;
                    return Ok(if reply.replayed { Ended::Replayed } else { Ended::Done });
                }
                Ok(answer) => Err(refused(&answer)),
                Err(NoAnswer::Broken(_) | NoAnswer::NotSent(_)) => Err(Ended::Unknown),
            };
            if ended != Err(Ended::Unknown) {
                break;
            }
        }
        ended
    }

    /// Writes keys one after the other, each in a request of its own.
    pub(crate) async fn write_each(&mut self, entries: Vec<(String, Vec<u8>)>) -> Result<(), Ended> {
        for (key, value) in entries {
            self.put(&key, value).await?;
        }
        Ok(())
    }

    /// Writes keys in one transaction of the shim.
    pub(crate) async fn write_all(
        &mut self,
        entries: Vec<(String, Vec<u8>)>,
        isolation: Isolation,
    ) -> Result<(), Ended> {
        let ops = entries.into_iter().map(|(key, value)| Op::put(key, value)).collect();
        let begin = Begin { ops, isolation: isolation as i32, ..Begin::default() };
        self.post("/v1/execute", Format::Json.encode(&begin)).await.map(|_| ())
    }

    /// Reads keys in one transaction of the shim, and returns their values in order. `fresh`: the
    /// newest committed values.
    pub(crate) async fn read_all(
        &mut self,
        keys: &[String],
        isolation: Isolation,
        fresh: bool,
    ) -> Result<Vec<Option<Bytes>>, Ended> {
        let ops = keys.iter().map(Op::get).collect();
        let begin = Begin { ops, isolation: isolation as i32, fresh, ..Begin::default() };
        let reply = self.post("/v1/execute", Format::Json.encode(&begin)).await?;
        if reply.results.len() != keys.len() {
            let problem =
                format!("{} keys were read, but the answer has {}", keys.len(), reply.results.len());
            return Err(Ended::Failed(problem));
        }
        Ok(reply.results.into_iter().map(|read| read.value).collect())
    }

    async fn post(&mut self, path: &str, body: Bytes) -> Result<Reply, Ended> {
        let content_type = Some(Format::Json.content_type());
        let answer = self.connection.call(Method::POST, path, content_type, body).await.map_err(no_answer)?;
        if answer.status.is_success() { decode(&answer) } else { Err(refused(&answer)) }
    }

    /// Returns the path of a key. Keys of the demo consist of letters, digits, `-` and `/`, and
    /// need no escapes.
    fn path(&self, key: &str) -> String {
        match &self.transaction {
            Some(transaction) => format!("/v1/transactions/{transaction}/keys/{key}"),
            None => format!("{PLAIN_PATH}{key}"),
        }
    }
}

fn decode(answer: &Answer) -> Result<Reply, Ended> {
    Format::Json
        .decode(&answer.body)
        .map_err(|why| Ended::Failed(format!("cannot parse the server's reply: {why}")))
}

fn problem(answer: &Answer) -> Option<Problem> {
    serde_json::from_slice(&answer.body).ok()
}

/// Returns the outcome of a call without an answer, before the commit. Nothing was committed, so
/// the attempt is over and another may run.
fn no_answer(why: NoAnswer) -> Ended {
    match why {
        NoAnswer::NotSent(_) => Ended::Retry("cannot_connect".into()),
        NoAnswer::Broken(_) => Ended::Retry("no_answer".into()),
    }
}

fn refused(answer: &Answer) -> Ended {
    // Without a problem document (the plain server has none) the status decides.
    let Some(problem) = problem(answer) else {
        return match answer.status.is_server_error() {
            true => Ended::Retry(format!("status_{}", answer.status.as_u16())),
            false => Ended::Failed(format!("status_{}", answer.status.as_u16())),
        };
    };
    let code = problem.code.as_str().to_owned();
    match (problem.action, problem.code) {
        (Action::Retry, _) | (Action::Conflict, Code::InProgress) => Ended::Retry(code),
        (Action::Unknown, _) => Ended::Unknown,
        // A late attempt finds that its transaction has ended; none of it was committed.
        (Action::NotFound, _) | (Action::Invalid, Code::Ended) => Ended::Retry(code),
        (Action::Conflict | Action::Invalid | Action::Unauthorized | Action::Internal, _) => {
            Ended::Failed(code)
        }
    }
}
