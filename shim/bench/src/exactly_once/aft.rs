//! Functions through a node in this process. The request's ID names the request, and its two
//! functions share one transaction, with one call per step as over HTTP.
//!
//! A function that dies does not notify the node, so its transaction stays open until its timeout.
//! The next attempt begins beside it (`if_open: run` of the native API), and so does a second
//! delivery. The commit record decides.

use aft_core::ids::{AttemptId, Key};
use aft_core::message::{Batch, Begin, CommitArgs, Found, Op, Read, Refusal};
use aft_core::record::{Location, Value, Write};
use aft_format::request_hash;
use aft_node::{Begun, NodeHandle, Ran, fresh_begin};
use async_trait::async_trait;
use bytes::Bytes;

use crate::exactly_once::counter::{Counter, Counts, Values, decode};
use crate::exactly_once::record::RESULT;
use crate::exactly_once::way::{Answer, Attempt, Claim, Failed, Way};
use crate::standard::backend::{inline, refused_by_node};

/// The tenant of the requests: that of a server without credentials.
const TENANT: &str = "local";

/// The counters of one run, as keys of a node.
#[derive(Debug)]
pub(crate) struct Shim {
    node: NodeHandle,
    /// The prefix of the run's keys and request IDs.
    prefix: String,
    values: Values,
}

impl Shim {
    pub(crate) fn new(node: NodeHandle, prefix: String, values: Values) -> Shim {
        Shim { node, prefix, values }
    }

    fn key(&self, request: u64, counter: Counter) -> Key {
        let text = format!("{}/{request:010}/{}", self.prefix, counter.as_str());
        Key::parse(&text).expect("a run's key names are short and not empty")
    }

    async fn run(&self, attempt: &Attempt, op: Op) -> Answer<Vec<Read>> {
        let batch = Batch { ops: vec![op], commit: None };
        match self.node.run(attempt.id, batch).await.map_err(failed)? {
            Ran::Open { reads } => Ok(reads),
            ran => panic!("a batch was answered {ran:?}"),
        }
    }
}

fn failed(refusal: Refusal) -> Failed {
    Failed(refused_by_node(&refusal).code)
}

/// Returns the count in a read of a counter.
fn count(read: &Read) -> Answer<u64> {
    let write = match &read.found {
        Found::Absent => return Ok(0),
        Found::Own(write) | Found::Version(_, write) => write,
    };
    match write {
        Write::Put(Value { location: Location::Inline(bytes), .. }) => decode(bytes).ok_or(Failed("damaged")),
        // Counters are small and never deleted.
        Write::Put(Value { location: Location::Blob(_), .. }) | Write::Tombstone => Err(Failed("damaged")),
    }
}

#[async_trait]
impl Way for Shim {
    async fn claim(&self, attempt: &Attempt) -> Answer<Claim> {
        let id = format!("{}/{:010}", self.prefix, attempt.request);
        let timeout_ms = u64::try_from(attempt.remaining().as_millis()).expect("options bound the time");
        // All attempts of a request have its ID, and do not wait for each other (`overlap`).
        let begin = Begin {
            attempt: attempt.id,
            hash: request_hash(TENANT, "", &id),
            named: true,
            timeout_ms: Some(timeout_ms.max(1)),
            overlap: true,
            ..fresh_begin()
        };
        match self.node.begin(Box::new(begin)).await.map_err(failed)? {
            Begun::Open { .. } => Ok(Claim::Work),
            Begun::Replayed(_) => Ok(Claim::Answered),
            begun @ Begun::Committed { .. } => panic!("an opening was answered {begun:?}"),
        }
    }

    async fn read(&self, attempt: &Attempt, counter: Counter) -> Answer<u64> {
        let reads = self.run(attempt, Op::Get(self.key(attempt.request, counter))).await?;
        count(reads.first().expect("the reply to one read has one read"))
    }

    async fn write(&self, attempt: &Attempt, counter: Counter, to: u64) -> Answer<()> {
        let value = inline(self.values.encode(to));
        self.run(attempt, Op::Put(self.key(attempt.request, counter), value)).await.map(|_| ())
    }

    async fn finish(&self, attempt: &Attempt) -> Answer<()> {
        let commit = CommitArgs { result: Some(Bytes::from_static(RESULT.as_bytes())), request: None };
        self.node.commit(attempt.id, commit).await.map(drop).map_err(failed)
    }

    async fn look(&self, request: u64) -> Answer<Counts> {
        let ops = Counter::ALL.map(|counter| Op::Get(self.key(request, counter))).into();
        let batch = Batch { ops, commit: Some(CommitArgs::default()) };
        let begin = Begin { batch, ..fresh_begin() };
        let attempt: AttemptId = begin.attempt;
        match self.node.begin(Box::new(begin)).await.map_err(failed)? {
            Begun::Committed { reads, .. } => match &reads[..] {
                [a, b] => Ok(Counts { a: count(a)?, b: count(b)? }),
                reads => panic!("attempt {attempt} made two reads, but the reply has {}", reads.len()),
            },
            begun => panic!("an opening was answered {begun:?}"),
        }
    }
}
