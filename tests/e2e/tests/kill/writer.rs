//! A writer: runs one request after the other, each until it is acknowledged.
//!
//! An attempt takes one of three shapes (one call, two calls, a call per key). However it ends, the
//! next attempt carries the same request ID and writes values of its own.

use std::sync::Arc;
use std::time::Duration;

use aft_api::{Action, Batch, Begin, Code, Commit, Format, IfOpen, Op, Problem, Read, Reply};
use aft_e2e::client::{CallError, Client, Result};
use aft_history::{RequestId, TransactionId};
use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::book::{Acknowledged, Book, parse_value, value_bytes, value_of, writer_of};

/// The pause before another attempt: a killed server is back after a few of them.
const PAUSE: Duration = Duration::from_millis(20);
/// The time to wait for an open attempt of the same request, if the attempt waits.
const WAIT_MS: u64 = 200;

/// A request: the parts that stay the same over its attempts.
struct Request {
    id: String,
    number: RequestId,
    ledger: String,
    /// The keys that are read first.
    reads: Vec<String>,
    /// The keys that are written, the ledger key among them.
    writes: Vec<String>,
}

/// The end of an attempt, as far as its client knows.
enum End {
    /// An attempt of the request has committed: this one or, if replayed, another one.
    Known(Box<Reply>),
    /// The attempt did not commit and never will.
    NoEffect,
    /// The attempt may have committed.
    Unknown,
}

pub(crate) async fn run(book: Arc<Book>, writer: u64, mut rng: StdRng) {
    let format = if writer.is_multiple_of(2) { Format::Json } else { Format::Protobuf };
    let client = Client::new(book.address()).speaking(format);
    let mut number = 0;
    let mut session = None;
    while !book.is_stopped() {
        let ledger = book.ledger_key(writer, number);
        let (reads, writes) = (rng.random_range(0..3), rng.random_range(1..=4));
        let mut writes = book.draw(&mut rng, writes);
        writes.push(ledger.clone());
        let request = Request {
            id: book.request_id(writer, number),
            number: RequestId(writer << 32 | number),
            reads: book.draw(&mut rng, reads),
            writes,
            ledger,
        };
        let (winner, fresh) = until_known(&book, &client, &request, session.as_deref(), &mut rng).await;
        session = fresh;
        if let Some(session) = &session
            && rng.random_bool(0.3)
        {
            sees_itself(&book, &client, &request, winner, session).await;
        }
        number += 1;
    }
}

/// Runs attempts of the request until it is known which one committed. Returns that, and the
/// session token for the next request.
async fn until_known(
    book: &Book,
    client: &Client,
    request: &Request,
    session: Option<&str>,
    rng: &mut StdRng,
) -> (TransactionId, Option<String>) {
    let mut attempts = Vec::new();
    loop {
        let attempt = book.begin(Some(request.number));
        attempts.push(attempt);
        let (winner, version, session) = match try_once(book, client, request, attempt, session, rng).await {
            End::Known(reply) => {
                let version = reply.version.clone().expect("a commit of writes has a version");
                let winner = if reply.replayed { winner(request, reply.result.as_ref()) } else { attempt };
                (winner, version, reply.session)
            }
            End::NoEffect => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            End::Unknown => {
                book.unknown();
                tokio::time::sleep(PAUSE).await;
                if rng.random_bool(0.5) {
                    continue;
                }
                match client.at(book.address()).request(&request.id).await {
                    Ok(found) => (winner(request, found.result.as_ref()), found.version, None),
                    // Not committed, or no answer again: another attempt finds out.
                    Err(_) => continue,
                }
            }
        };
        let mut keys = request.writes.clone();
        keys.sort();
        let acknowledged =
            Acknowledged { id: request.id.clone(), winner, keys, ledger: request.ledger.clone() };
        book.acknowledged(acknowledged, &attempts, &version);
        return (winner, session);
    }
}

/// Returns the attempt that left `result`: its value names it.
fn winner(request: &Request, result: Option<&Bytes>) -> TransactionId {
    writer_of(parse_value(&request.id, result.expect("every attempt leaves a result")))
}

async fn try_once(
    book: &Book,
    client: &Client,
    request: &Request,
    attempt: TransactionId,
    session: Option<&str>,
    rng: &mut StdRng,
) -> End {
    let value = value_bytes(value_of(attempt), rng);
    let begin = Begin {
        request_id: Some(request.id.clone()),
        // A fixed fingerprint, because the contents differ on purpose from attempt to attempt.
        fingerprint: Some(request.ledger.clone()),
        session: session.map(str::to_owned),
        wait_ms: Some(WAIT_MS),
        if_open: if rng.random_bool(0.5) { IfOpen::Run } else { IfOpen::Wait } as i32,
        ..Begin::default()
    };
    let result = Some(Bytes::from(format!("{} ", value_of(attempt))));
    let gets = request.reads.iter().map(Op::get);
    let puts = request.writes.iter().map(|key| Op::put(key, value.clone()));
    // A read of its own write, at the end.
    let own = Op::get(&request.writes[0]);

    // The shape decides at which calls a kill can hit the attempt: in one call, between two, or
    // between many.
    let shape = rng.random_range(0..3);
    if shape == 0 {
        let ops = gets.chain(puts).chain([own]).collect();
        let reply = client.at(book.address()).execute(&Begin { ops, result, ..begin }).await;
        note_all(book, request, attempt, reply.as_ref().ok());
        return end(reply, true);
    }

    let ops = if shape == 1 { gets.collect() } else { Vec::new() };
    let opened = match client.at(book.address()).begin(&Begin { ops, ..begin }).await {
        Ok(reply) if !reply.replayed => reply,
        other => return end(other, false),
    };
    let transaction = opened.transaction.as_deref().expect("an open transaction has a token");
    note_reads(book, attempt, &opened.results);
    // Recorded before they are sent: the writes may take effect without an answer.
    for key in &request.writes {
        book.write(attempt, key);
    }
    let reply = if shape == 1 {
        let batch = Batch { ops: puts.chain([own]).collect(), commit: Some(true), result };
        client.at(book.address()).batch(transaction, &batch).await
    } else {
        for key in &request.writes {
            // The server may have been replaced by now, and its successor does not know the
            // transaction.
            if let Err(why) = client.at(book.address()).put(transaction, key, value.clone()).await {
                return end(Err(why), false);
            }
        }
        client.at(book.address()).commit(transaction, &Commit { result }).await
    };
    if let Ok(reply) = &reply {
        note_reads(book, attempt, &reply.results);
    }
    end(reply, true)
}

/// Records what an attempt of one call did, in order.
fn note_all(book: &Book, request: &Request, attempt: TransactionId, reply: Option<&Reply>) {
    let results = reply.map_or(&[][..], |reply| &reply.results);
    let (reads, own) = results.split_at(results.len().min(request.reads.len()));
    note_reads(book, attempt, reads);
    for key in &request.writes {
        book.write(attempt, key);
    }
    note_reads(book, attempt, own);
}

fn note_reads(book: &Book, attempt: TransactionId, results: &[Read]) {
    for read in results {
        book.read(attempt, &read.key, read.value.as_ref());
    }
}

/// Returns the end of an attempt whose call got `answer`. `commits` is true if the call would have
/// committed the attempt.
fn end(answer: Result<Reply>, commits: bool) -> End {
    match answer {
        Ok(reply) => End::Known(Box::new(reply)),
        Err(CallError::NoAnswer(_)) if commits => End::Unknown,
        Err(CallError::NotSent(_) | CallError::NoAnswer(_)) => End::NoEffect,
        Err(CallError::Refused(problem)) => refused(&problem),
    }
}

fn refused(problem: &Problem) -> End {
    match (problem.action, problem.code) {
        (Action::Retry, _) | (_, Code::InProgress | Code::NotFound) => End::NoEffect,
        (Action::Unknown, _) => End::Unknown,
        _ => panic!("an answer that no request of this test should get: {problem:?}"),
    }
}

/// Checks that the session's next transaction sees the commit, on any process.
async fn sees_itself(book: &Book, client: &Client, request: &Request, winner: TransactionId, session: &str) {
    let begin =
        Begin { session: Some(session.to_owned()), ops: vec![Op::get(&request.ledger)], ..Begin::default() };
    loop {
        match client.at(book.address()).execute(&begin).await {
            Ok(reply) => {
                let read = reply.results.first().and_then(|read| read.value.as_ref());
                let read = read.map(|value| writer_of(parse_value(&request.ledger, value)));
                assert_eq!(read, Some(winner), "{} after its acknowledgement", request.ledger);
                return;
            }
            Err(CallError::Refused(problem)) if problem.action != Action::Retry => panic!("{problem:?}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
