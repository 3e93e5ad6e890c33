//! A server that answers as a script says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aft_api::{Code, Format, PROBLEM_CONTENT_TYPE, Problem, Reply as Message};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A call as the server has read it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// Method and path.
    pub(crate) line: String,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
    /// The number of earlier calls with the same line.
    pub(crate) before: usize,
}

/// The treatment of a call.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// These bytes are sent, after this time.
    Say(Vec<u8>, Duration),
    /// The same, and the connection is closed.
    SayAndClose(Vec<u8>),
    /// The connection is closed.
    Close,
    /// Nothing more is sent, and the connection stays open.
    Silence,
}

impl Act {
    pub(crate) fn say(answer: impl Into<Vec<u8>>) -> Act {
        Act::Say(answer.into(), Duration::ZERO)
    }
}

type Script = dyn Fn(&Asked) -> Act + Send + Sync;

/// A server that ends with its runtime.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub(crate) async fn start(script: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Fake {
        Fake::start_with(None, script).await
    }

    pub(crate) async fn start_with(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&Asked) -> Act + Send + Sync + 'static,
    ) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let fake = Fake { address, asked: Arc::default() };
        let (asked, script): (_, Arc<Script>) = (fake.asked.clone(), Arc::new(script));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("connections are taken");
                let _ = stream.set_nodelay(true);
                let (asked, script, tls) = (asked.clone(), script.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &*script, &asked).await,
                        Some(config) => {
                            let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
                            serve(stream, &*script, &asked).await;
                        }
                    }
                });
            }
        });
        fake
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the calls so far, and forgets them.
    pub(crate) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().expect("no code panics while it holds the calls"))
    }

    /// Returns the first lines of the calls so far, without the version of HTTP, and forgets them.
    pub(crate) fn take_lines(&self) -> Vec<String> {
        self.take().into_iter().map(|asked| asked.line).collect()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, script: &Script, asked: &Mutex<Vec<Asked>>) {
    let mut stream = BufReader::new(stream);
    while let Some(mut call) = read(&mut stream).await {
        let act = {
            let mut asked = asked.lock().expect("no code panics while it holds the calls");
            call.before = asked.iter().filter(|earlier| earlier.line == call.line).count();
            asked.push(call.clone());
            script(&call)
        };
        match act {
            Act::Say(answer, after) => {
                tokio::time::sleep(after).await;
                if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            Act::SayAndClose(answer) => {
                let _ = (stream.write_all(&answer).await, stream.shutdown().await);
                return;
            }
            Act::Close => return,
            Act::Silence => std::future::pending().await,
        }
    }
}

/// Reads one call to its end; `None` if the connection ends.
async fn read(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("heads are text");
    let (line, headers) = head.split_once("\r\n").expect("a head has lines");
    let headers = headers.to_ascii_lowercase();
    if headers.contains("expect: 100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
        stream.flush().await.ok()?;
    }
    let header = |name: &str| {
        let line = headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(str::to_owned)
    };
    let mut body = Vec::new();
    if let Some(len) = header("content-length") {
        body.resize(len.parse().expect("a length is a number"), 0);
        stream.read_exact(&mut body).await.ok()?;
    } else if header("transfer-encoding").is_some() {
        while !body.ends_with(b"\r\n0\r\n\r\n") {
            body.push(stream.read_u8().await.ok()?);
        }
    }
    let line = line.trim_end_matches(" HTTP/1.1").to_owned();
    Some(Asked { line, headers, body, before: 0 })
}

/// Returns an answer with a body.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Returns AFT's answer with a value.
pub(crate) fn value(text: &str) -> Vec<u8> {
    answer("200 OK", "Aft-Version: 1-a\r\nContent-Type: text/plain\r\n", text.as_bytes())
}

/// Returns AFT's answer to a write in a transaction.
pub(crate) fn no_content() -> Vec<u8> {
    b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
}

/// Returns AFT's refusal.
pub(crate) fn problem(code: Code) -> Vec<u8> {
    let body = serde_json::to_vec(&Problem::new(code, "the script says so")).expect("a problem is JSON");
    answer(&format!("{} No", code.status()), &format!("Content-Type: {PROBLEM_CONTENT_TYPE}\r\n"), &body)
}

/// Returns AFT's reply.
pub(crate) fn reply(message: &Message) -> Vec<u8> {
    let body = Format::Protobuf.encode(message);
    answer("200 OK", "Content-Type: application/x-protobuf\r\n", &body)
}

/// Answers as AFT does where every call succeeds, and no value is kept.
pub(crate) fn aft(asked: &Asked) -> Act {
    const TOKEN: &str = "0123456789abcdef-00112233445566778899aabbccddeeff";
    let (method, path) = asked.line.split_once(' ').expect("a line has a method");
    let path = path.split('?').next().expect("the first part is there");
    let committed = Message { committed: true, version: Some("1-a".into()), ..Message::default() };
    let in_transaction = path.strip_prefix("/v1/transactions/").and_then(|rest| rest.split_once('/'));
    Act::say(match (method, in_transaction, path) {
        ("POST", None, "/v1/transactions") => {
            reply(&Message { transaction: Some(TOKEN.into()), ..Message::default() })
        }
        ("POST", Some((_, "commit")), _) => reply(&committed),
        ("POST", Some((_, "batch")), _) => reply(&committed),
        ("POST", Some((_, "abort")), _) | ("PUT" | "DELETE", Some(_), _) => no_content(),
        ("GET", Some(_), _) => value("1"),
        ("GET", None, "/v1/request") => problem(Code::NotFound),
        ("GET", None, path) if path.starts_with("/v1/requests/") => problem(Code::NotFound),
        ("GET", None, _) => value("1"),
        _ => reply(&committed),
    })
}
