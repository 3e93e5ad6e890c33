//! Problems and lost answers at chosen calls: which calls are retried, how often the function runs,
//! and what the caller is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aft_api::Problem;
use aft_client::{Begun, Client, Code, Error, Op, Ran, Request};
use aft_e2e::server::Server;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::increment;
use crate::interposer::{Act, Interposer};

/// The result of a run over a script: its outcome, the number of calls of the function, the counter
/// afterwards, and the HTTP calls.
struct Seen {
    outcome: Result<Ran, Error>,
    called: u32,
    counter: u64,
    calls: Vec<String>,
}

/// Runs an increment through the interposer. The counter is read directly from the server.
async fn run(request: Request, script: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Seen {
    let server = Server::start("memory:");
    let interposer = Interposer::start(server.address(), script).await;
    let url = format!("http://{}", interposer.address);
    let client = Client::builder(&url).run_time_max(Duration::from_secs(3)).build();
    let client = client.expect("an address is a URL's");
    let called = Arc::new(AtomicU32::new(0));
    let outcome = client
        .run(request, |t| {
            let called = called.clone();
            async move {
                called.fetch_add(1, Ordering::Relaxed);
                increment(&t, "counter").await.map(|next| next.to_string())
            }
        })
        .await;
    let counter = crate::client(server.address()).get("counter").await;
    let counter = crate::number(counter.expect("an undisturbed server answers"));
    Seen { outcome, called: called.load(Ordering::Relaxed), counter, calls: interposer.take_calls() }
}

/// Returns a script that applies `act` to the first `times` calls named `name`.
fn first(name: &'static str, times: usize, act: Act) -> impl Fn(&str, usize) -> Act + Send + Sync {
    move |call, before| if call == name && before < times { act.clone() } else { Act::Pass }
}

impl Seen {
    #[track_caller]
    fn committed(&self, called: u32) -> &Ran {
        let ran = self.outcome.as_ref().unwrap_or_else(|why| panic!("{why}; {:?}", self.calls));
        assert_eq!((self.called, self.counter), (called, 1), "{ran:?} {:?}", self.calls);
        assert_eq!(ran.result, "1");
        assert!(
            !ran.replayed,
            "a commit of any attempt of this run is not a replay: {ran:?} {:?}",
            self.calls
        );
        ran
    }
}

#[tokio::test]
async fn retryable_problems_and_lost_answers_are_retried() {
    for request in [Request::named("r"), Request::unnamed()] {
        let again = |call, act, called| {
            let request = request.clone();
            async move { run(request, first(call, 1, act)).await.committed(called).clone() }
        };
        // At begin: the function has not run yet.
        for code in [Code::Overloaded, Code::NotServing, Code::StoreUnavailable, Code::InProgress] {
            again("begin", Act::Refuse(code), 1).await;
        }
        again("begin", Act::CutBefore, 1).await;
        again("begin", Act::CutAfter, 1).await;
        again("begin", Act::BadGateway, 1).await;
        // At a read: a new attempt, or the same call again if that suffices.
        again("get", Act::Refuse(Code::SnapshotGone), 2).await;
        again("get", Act::Refuse(Code::Lost), 2).await;
        again("get", Act::Refuse(Code::NotFound), 2).await;
        again("get", Act::Refuse(Code::StoreUnavailable), 2).await;
        again("get", Act::Refuse(Code::Overloaded), 1).await;
        again("get", Act::CutBefore, 1).await;
        again("get", Act::CutAfter, 1).await;
        // At the commit: a new attempt if nothing was committed, otherwise the same call again.
        again("batch", Act::Refuse(Code::Conflict), 2).await;
        again("batch", Act::Refuse(Code::Lost), 2).await;
        again("batch", Act::Refuse(Code::NotFound), 2).await;
        again("batch", Act::Refuse(Code::Overloaded), 1).await;
        again("batch", Act::Refuse(Code::StoreUnavailable), 1).await;
        again("batch", Act::CutBefore, 1).await;
        again("batch", Act::CutAfter, 1).await;
        again("batch", Act::Refuse(Code::Unknown), 1).await;
    }
}

/// Loses an answer so that the outcome of the commit cannot be found out: only a request ID allows
/// another attempt.
#[tokio::test]
async fn a_forgotten_commit_is_retried_only_with_a_request_id() {
    // The commit is carried out, and the node then no longer knows the transaction.
    let forgotten = |call: &str, before: usize| match (call, before) {
        ("batch", 0) => Act::CutAfter,
        ("batch" | "commit", _) => Act::Refuse(Code::NotFound),
        _ => Act::Pass,
    };
    let seen = run(Request::named("r"), forgotten).await;
    assert!(!seen.committed(1).replayed, "it was this run's own");
    let seen = run(Request::unnamed(), forgotten).await;
    assert!(matches!(&seen.outcome, Err(Error::Unknown(_))), "{:?}", seen.outcome);
    assert_eq!((seen.called, seen.counter), (1, 1), "not run again: {:?}", seen.calls);
    // The commit is not carried out, and no answer says so.
    let never = |call: &str, before: usize| match (call, before) {
        ("batch", 0) => Act::CutBefore,
        ("batch" | "commit", 1) => Act::Refuse(Code::NotFound),
        _ => Act::Pass,
    };
    run(Request::named("r"), never).await.committed(2);
    let seen = run(Request::unnamed(), never).await;
    assert!(matches!(&seen.outcome, Err(Error::Unknown(_))), "{:?}", seen.outcome);
    assert_eq!((seen.called, seen.counter), (1, 0), "not run again: {:?}", seen.calls);
}

/// Loses the commit's answer and every query about it, until the run's time is over.
#[tokio::test]
async fn an_outcome_that_cannot_be_found_out_is_unknown() {
    let deaf = |call: &str, before: usize| match (call, before) {
        ("batch", 0) => Act::CutAfter,
        ("begin" | "get", 0) => Act::Pass,
        _ => Act::CutBefore,
    };
    for request in [Request::named("r"), Request::unnamed()] {
        let seen = run(request.clone(), deaf).await;
        let Err(Error::Unknown(details)) = &seen.outcome else { panic!("{:?}", seen.outcome) };
        assert!(details.transaction.is_some(), "{details:?}");
        assert_eq!(seen.counter, 1);
        assert_eq!(details.request_id.is_some(), seen.calls.iter().any(|call| call == "request"));
    }
}

/// Lets an abort decide an unknown outcome: an aborted transaction never commits.
#[tokio::test]
async fn an_abort_or_a_look_up_decides_an_unknown_outcome() {
    let seen = run(Request::named("r"), |call, before| match (call, before) {
        ("batch", _) => Act::CutBefore,
        ("begin", 1..) => Act::Refuse(Code::Unauthorized),
        _ => Act::Pass,
    })
    .await;
    assert!(matches!(&seen.outcome, Err(Error::Unauthorized(_))), "{:?} {:?}", seen.outcome, seen.calls);
    assert_eq!((seen.called, seen.counter), (1, 0));
    // If the transaction has committed, the look-up finds that.
    let seen = run(Request::named("r"), |call, before| match (call, before) {
        ("batch", _) => Act::CutAfter,
        ("commit", _) => Act::CutBefore,
        ("begin", 1..) => Act::Refuse(Code::Unauthorized),
        _ => Act::Pass,
    })
    .await;
    seen.committed(1);
    assert!(seen.calls.iter().any(|call| call == "request"), "{:?}", seen.calls);
}

#[derive(Debug)]
enum Own {
    Broke,
    Client(Error),
}

impl From<Error> for Own {
    fn from(why: Error) -> Own {
        Own::Client(why)
    }
}

/// Lets the function fail in a later attempt, while the commit of an earlier one has an unknown
/// outcome.
#[tokio::test]
async fn a_failing_function_does_not_hide_a_commit() {
    for (act, commits) in [(Act::CutAfter, true), (Act::CutBefore, false)] {
        let server = Server::start("memory:");
        let interposer = Interposer::start(server.address(), move |call, before| match (call, before) {
            ("batch", _) => act.clone(),
            ("commit", _) => Act::CutBefore,
            // The new attempt is not answered that the request has committed, as if the commit had
            // arrived later.
            ("begin", 1) => Act::Refuse(Code::Lost),
            _ => Act::Pass,
        })
        .await;
        let client = crate::client(interposer.address);
        let mut called = 0;
        let outcome = client
            .run("r", |t| {
                called += 1;
                async move {
                    if called > 1 {
                        return Err(Own::Broke);
                    }
                    t.put("k", "v").await.map_err(Own::Client)?;
                    Ok("done")
                }
            })
            .await;
        let stored = crate::client(server.address()).get("k").await.unwrap().is_some();
        assert_eq!(stored, commits);
        match outcome {
            Ok(ran) => assert!(commits && !ran.replayed && ran.result == "done"),
            Err(Own::Broke) => assert!(!commits, "it had committed"),
            Err(Own::Client(why)) => panic!("{why}"),
        }
    }
}

#[tokio::test]
async fn attempts_and_time_are_limited() {
    let seen = run(Request::named("r"), |call, _| match call {
        "get" => Act::Refuse(Code::SnapshotGone),
        _ => Act::Pass,
    })
    .await;
    assert!(matches!(&seen.outcome, Err(Error::Retry(_))), "{:?}", seen.outcome);
    assert!((2..=10).contains(&seen.called), "{}", seen.called);
    let seen = run(Request::named("r"), |call, _| match call {
        "begin" => Act::Refuse(Code::InProgress),
        _ => Act::Pass,
    })
    .await;
    assert!(matches!(&seen.outcome, Err(Error::InProgress(_))), "{:?}", seen.outcome);
    // No server listens at this address.
    let url = "http://127.0.0.1:1";
    let client = Client::builder(url).run_time_max(Duration::from_millis(300)).build().unwrap();
    let nobody = client.run("r", |_| async { Ok::<_, Error>("") }).await;
    assert!(matches!(nobody, Err(Error::Unavailable(_))), "{nobody:?}");
}

#[tokio::test]
async fn retries_of_conflicts_are_limited() {
    let server = Server::start("memory:");
    for conflicts in [0, 2, 9] {
        let interposer =
            Interposer::start(server.address(), first("execute", conflicts, Act::Refuse(Code::Conflict)))
                .await;
        let ops = vec![Op::get("k"), Op::put("l", "v")];
        let executed = crate::client(interposer.address).execute(Request::unnamed(), ops, "").await.unwrap();
        assert_eq!((executed.ran.attempts as usize, executed.reads.len()), (conflicts + 1, 1));
    }
    let interposer = Interposer::start(server.address(), |call, _| match call {
        "execute" | "commit" => Act::Refuse(Code::Conflict),
        _ => Act::Pass,
    })
    .await;
    let url = format!("http://{}", interposer.address);
    let client = Client::builder(&url).attempts_max(3).build().unwrap();
    let count = |name| interposer.take_calls().iter().filter(|call| *call == name).count();
    let conflict = |why: Error| matches!(why, Error::Retry(_)) && why.code() == Some(Code::Conflict);
    let whole = client.execute(Request::unnamed(), vec![Op::put("k", "v")], "").await;
    assert!(conflict(whole.unwrap_err()));
    assert_eq!(count("execute"), 3);
    let run = client.run(Request::unnamed(), |t| async move { t.get("k").await.map(|_| "") }).await;
    assert!(conflict(run.unwrap_err()));
    assert_eq!(count("commit"), 3);
}

#[tokio::test]
async fn errors_that_a_retry_cannot_fix_are_returned_at_once() {
    for (code, is) in [
        (Code::KeyReused, (|why| matches!(why, Error::KeyReused(_))) as fn(&Error) -> bool),
        (Code::ResultGone, |why| matches!(why, Error::ResultGone(_))),
        (Code::Invalid, |why| matches!(why, Error::Invalid(_))),
        (Code::Unauthorized, |why| matches!(why, Error::Unauthorized(_))),
        (Code::Damaged, |why| matches!(why, Error::Internal(_))),
        (Code::NoSuchPath, |why| matches!(why, Error::NotFound(_))),
    ] {
        let seen = run(Request::named("r"), first("begin", 1, Act::Refuse(code))).await;
        let why = seen.outcome.unwrap_err();
        assert!(is(&why) && why.code() == Some(code), "{why:?}");
        assert_eq!((seen.called, seen.calls.len()), (0, 1), "{:?}", seen.calls);
        assert_eq!(why.details().request_id.as_deref(), Some("r"));
    }
}

/// Loses the answer to a write, which may then arrive late: the transaction must not commit.
#[tokio::test]
async fn a_transaction_with_an_unanswered_write_does_not_commit() {
    let server = Server::start("memory:");
    let interposer = Interposer::start(server.address(), first("put", 1, Act::CutAfter)).await;
    let url = format!("http://{}", interposer.address);
    let client = Client::builder(&url).write_buffer_bytes_max(0).build().unwrap();
    let Begun::Open(t) = client.begin(Request::unnamed()).await.unwrap() else { panic!("not replayed") };
    assert!(t.put("k", "1").await.unwrap_err().is_retryable());
    t.put("k", "2").await.unwrap();
    assert!(t.commit("").await.unwrap_err().is_retryable());
    assert_eq!(client.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn unnamed_writes_whose_answer_is_lost_are_not_sent_again() {
    for (act, name) in [(Act::CutAfter, "execute"), (Act::CutBefore, "execute")] {
        let server = Server::start("memory:");
        let interposer = Interposer::start(server.address(), first(name, 1, act.clone())).await;
        let client = crate::client(interposer.address);
        let named = client.execute("r", vec![Op::put("k", "v")], "done").await.unwrap();
        assert_eq!(named.ran.result, "done");
        interposer.take_calls();
        let unnamed = client.execute(Request::unnamed(), vec![Op::put("k", "v")], "").await;
        assert!(matches!(unnamed, Err(Error::Unknown(_))), "{unnamed:?}");
        assert_eq!(interposer.take_calls(), ["execute"], "not sent again");
    }
    let server = Server::start("memory:");
    let interposer = Interposer::start(server.address(), first("alone", 3, Act::CutAfter)).await;
    let client = crate::client(interposer.address);
    assert!(matches!(client.put("k", "v").await, Err(Error::Unknown(_))));
    assert_eq!(interposer.take_calls(), ["alone"], "not sent again");
    assert_eq!(client.get("k").await.unwrap().unwrap().bytes, "v", "a read is sent again");
    interposer.take_calls();
    let overloaded =
        Interposer::start(server.address(), first("alone", 2, Act::Refuse(Code::Overloaded))).await;
    crate::client(overloaded.address).put("k", "w").await.unwrap();
    assert_eq!(overloaded.take_calls().len(), 3);
}

/// Starts a server that answers every path twice: first with the first `n` bytes of the answer,
/// where the path ends in the number `n`, and the end of the connection; then with the whole
/// answer.
async fn answer_cut_first(answer: &'static str) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("a listener has an address");
    tokio::spawn(async move {
        let mut asked = std::collections::HashSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.expect("connections are taken");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0)
            {
            }
            let head = String::from_utf8(head).expect("a request's head is text");
            let path = head.split(' ').nth(1).expect("a request has a path").to_owned();
            let cut =
                path.rsplit('/').next().and_then(|cut| cut.parse().ok()).expect("a path ends in a number");
            let bytes = if asked.insert(path) { &answer[..cut] } else { answer };
            // The client may have closed the connection; it then calls again.
            let _ = stream.write_all(bytes.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn a_truncated_answer_is_never_used() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nAft-Version: 1-1\r\nConnection: close\r\nContent-Length: 12\r\n\r\n120000000001",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nAft-Version: 1-1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
         c\r\n120000000001\r\n0\r\n\r\n",
    ] {
        let client = crate::client(answer_cut_first(answer).await);
        for cut in 0..answer.len() {
            let value = client.get(&cut.to_string()).await.expect("the second answer is whole");
            let value = value.expect("the answer holds a value");
            assert_eq!(value.bytes, "120000000001", "cut after {:?}", &answer[..cut]);
        }
    }
}

/// Starts a server that answers as soon as it has `taken` bytes of a call, and then closes the
/// connection, even if the client is still sending.
async fn answer_early(answer: String, taken: usize) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("a listener has an address");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("connections are taken");
            let mut read = Vec::new();
            while read.len() < taken && stream.read_buf(&mut read).await.is_ok_and(|read| read > 0) {}
            // The client may have closed the connection.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn an_early_problem_is_returned_and_an_early_success_is_unknown() {
    let large = Bytes::from(vec![7; 24 << 20]);
    let problem = serde_json::to_string(&Problem::new(Code::TooLarge, "too long")).expect("it is JSON");
    let refusal = format!(
        "HTTP/1.1 413 No\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{problem}",
        problem.len()
    );
    let client = crate::client(answer_early(refusal, 1).await);
    for _ in 0..20 {
        let refused = client.put("k", large.clone()).await;
        let Err(Error::Invalid(_)) = &refused else { panic!("{refused:?}") };
        assert_eq!(refused.unwrap_err().code(), Some(Code::TooLarge));
    }
    // A success that is answered to a part of a call does not count.
    let yes = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}".to_owned();
    let told = crate::client(answer_early(yes, 1).await).put("k", large).await;
    assert!(matches!(told, Err(Error::Unknown(_))), "{told:?}");
}
