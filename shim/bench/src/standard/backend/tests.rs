//! Goal: clients draw the right conclusions from a server's answers, above all from those that
//! leave the outcome open. Method: a server that follows a script, call by call.

use std::collections::VecDeque;

use aft_api::{Code, Format, Problem, Read, Reply};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Backend, Effect, Refused, ServerBackend, Work};
use crate::http::{Connection, Server};
use crate::standard::detect::{Order, Seen};

/// The server's reaction to one call.
enum Answer {
    Reply(Reply),
    Problem(Code),
    /// Closes the connection without an answer.
    Cut,
}
use Answer::{Cut, Problem as Refuse, Reply as Say};

const RUN: u64 = 1;
const VERSION: &str = "7.0-0a";

fn opened() -> Answer {
    Say(Reply { transaction: Some("t".into()), ..Reply::default() })
}

fn committed() -> Answer {
    Say(Reply { committed: true, version: Some(VERSION.into()), ..Reply::default() })
}

/// Runs an attempt of two functions against a server that follows `script`. Checks the result of
/// the last function that ran, and that all answers were used.
async fn check(script: Vec<Answer>, expect: Result<Option<Order>, Refused>) {
    drop(run(script, expect).await);
}

/// Does the same as [`check`], and returns the paths of the calls.
async fn run(script: Vec<Answer>, expect: Result<Option<Order>, Refused>) -> Vec<String> {
    let calls = script.len();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(follow(listener, script.into()));
    let connection = Connection::new(Server::parse(&url, None).unwrap());
    let mut backend = Backend::Server(ServerBackend::new([connection].into(), false, RUN));
    let mut ended = Ok(None);
    for (first, last) in [(true, false), (false, true)] {
        let work = Work { puts: vec![(1, Bytes::from_static(b"x"))], gets: &[], first, last };
        ended = backend.run(work).await.map(|ran| ran.committed);
        if ended.is_err() {
            break;
        }
    }
    assert_eq!(ended, expect);
    let (left, paths) = server.await.unwrap();
    assert!(left.is_empty(), "not all of the {calls} answers were used");
    paths
}

/// Follows the script. Returns the answers that were not used, and the paths of the calls.
async fn follow(listener: TcpListener, mut script: VecDeque<Answer>) -> (VecDeque<Answer>, Vec<String>) {
    let mut paths = Vec::new();
    while !script.is_empty() {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Some(answer) = script.pop_front() {
            let Some(path) = read_call(&mut stream).await else {
                script.push_front(answer);
                break;
            };
            paths.push(path);
            match answer {
                Cut => break,
                Say(reply) => write(&mut stream, 200, Format::Protobuf.encode(&reply)).await,
                Refuse(code) => {
                    let body = serde_json::to_vec(&Problem::new(code, "of the script")).unwrap();
                    write(&mut stream, code.status(), body.into()).await;
                }
            }
        }
    }
    (script, paths)
}

/// Reads a request's head and body, and returns its path; `None` at the end of the connection.
async fn read_call(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return None,
        }
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    head.split(' ').nth(1).map(str::to_owned)
}

async fn write(stream: &mut TcpStream, status: u16, body: Bytes) {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
}

fn at_7() -> Result<Option<Order>, Refused> {
    Ok(Some(Order::new(7 << 16, 10)))
}

#[tokio::test]
async fn a_commit_is_acknowledged() {
    check(vec![opened(), committed()], at_7()).await;
}

#[tokio::test]
async fn a_rejected_call_ends_the_attempt() {
    let gone = Refused::new("snapshot_gone", Effect::NothingRetry);
    check(vec![opened(), Refuse(Code::SnapshotGone)], Err(gone)).await;
    let overloaded = Refused::new("overloaded", Effect::NothingRetry);
    check(vec![Refuse(Code::Overloaded)], Err(overloaded)).await;
    check(vec![Refuse(Code::Invalid)], Err(Refused::new("invalid", Effect::Nothing))).await;
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_is_repeated() {
    check(vec![opened(), Refuse(Code::Unknown), committed()], at_7()).await;
    check(vec![opened(), Cut, committed()], at_7()).await;
    check(vec![opened(), Cut, Cut, Refuse(Code::Unknown), committed()], at_7()).await;
    // The second call is rejected, but the first may have committed all the same.
    check(vec![opened(), Cut, Refuse(Code::Overloaded), committed()], at_7()).await;
    let lost = Refused::new("lost", Effect::NothingRetry);
    check(vec![opened(), Cut, Refuse(Code::Lost)], Err(lost)).await;
}

/// The unanswered call may never have arrived: a bare commit in its place would commit without the
/// last function's writes.
#[tokio::test]
async fn the_whole_call_is_sent_again() {
    let (batch, commit) = ("/v1/transactions/t/batch", "/v1/transactions/t/commit");
    let paths = run(vec![opened(), Cut, committed()], at_7()).await;
    assert_eq!(paths[1..], [batch, batch]);
    // The call had arrived, so its writes are in: a bare commit is enough.
    let paths = run(vec![opened(), Cut, Refuse(Code::Ended), Cut, committed()], at_7()).await;
    assert_eq!(paths[1..], [batch, batch, commit, commit]);
}

/// A server that has forgotten the transaction proves nothing about its commit.
#[tokio::test]
async fn an_outcome_that_the_server_does_not_know_stays_unknown() {
    let forgotten = Refused::new("not_found", Effect::Unknown);
    check(vec![opened(), Cut, Refuse(Code::NotFound)], Err(forgotten)).await;
    let mut script = vec![opened(), Cut];
    script.extend((0..super::COMMIT_AGAIN_MAX).map(|_| Refuse(Code::Unknown)));
    check(script, Err(Refused::new("unknown", Effect::Unknown))).await;
}

#[tokio::test]
async fn a_lost_answer_before_the_commit_leaves_no_effect() {
    check(vec![Cut], Err(Refused::new("no_answer", Effect::NothingRetry))).await;
}

#[tokio::test]
async fn an_answer_that_breaks_the_api_is_a_finding() {
    let read = Read { key: "k".into(), value: None, version: None, content_type: None };
    let too_many = Reply { transaction: Some("t".into()), results: vec![read], ..Reply::default() };
    check(vec![Say(too_many)], Err(Refused::new("malformed_answer", Effect::Nothing))).await;
    let uncommitted = Say(Reply::default());
    check(vec![opened(), uncommitted], Err(Refused::new("malformed_answer", Effect::Nothing))).await;
}

#[test]
fn a_foreign_value_counts_as_absent() {
    assert_eq!(super::seen(RUN, |_| Order::new(1, 1), b"something else"), Seen::ABSENT);
}
