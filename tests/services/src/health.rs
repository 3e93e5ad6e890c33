//! One HTTP request without a client library: enough to check that a server serves.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// The longest time for which a server may be silent: long for a busy machine, short compared with
/// the deadline of a start.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Returns true if a GET of `path` answers 200.
pub(crate) fn is_ok(port: u16, path: &str) -> bool {
    status(port, "GET", path).is_ok_and(|status| status == 200)
}

/// Sends a request without a body, and returns the status of the answer.
pub(crate) fn status(port: u16, method: &str, path: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), SILENCE_MAX)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    status.ok_or_else(|| io::Error::other(format!("no HTTP: {line:?}")))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_is_read() {
        check("HTTP/1.1 200 OK\r\n\r\n", Some(200));
        check("HTTP/1.0 503 Service Unavailable\r\n\r\n", Some(503));
        check("HTTP/1.1 2", None);
        check("", None);
        check("SSH-2.0\r\n", None);
    }

    fn check(answer: &'static str, expect: Option<u16>) {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of the kernel's choice");
        let port = server.local_addr().expect("it is bound").port();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().expect("somebody connects");
            let mut request = [0; 200];
            let read = stream.read(&mut request).expect("a request comes");
            stream.write_all(answer.as_bytes()).expect("the answer is taken");
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        assert_eq!(status(port, "GET", "/health").ok(), expect, "{answer:?}");
        let request = served.join().expect("the server does not panic");
        assert!(request.starts_with("GET /health HTTP/1.1\r\n"), "{request}");
    }
}
