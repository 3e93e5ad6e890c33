//! Fronts: what may stand between a client and a server, and do something to their calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The effect of a front on calls.
#[derive(Debug, Clone)]
pub(crate) enum Front {
    /// Answers every call with this text, and passes nothing on.
    Answers(String),
    /// Passes at most this many bytes a second on, in each direction.
    Slow(usize),
    /// Passes calls on, and drops the answers to the first ones whose path has this end.
    Loses(String, Arc<AtomicUsize>),
    /// Passes calls on, with `.`, `..` and empty segments of the path resolved, as many proxies do.
    Normalises,
}

/// Starts a front of `upstream`, and returns its address. It ends with the runtime.
pub(crate) async fn start(front: Front, upstream: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let front = front.clone();
            // A connection that breaks off is what some fronts are for.
            tokio::spawn(async move { drop(serve(&front, client, upstream).await) });
        }
    });
    address
}

async fn serve(front: &Front, mut client: TcpStream, upstream: SocketAddr) -> std::io::Result<()> {
    match front {
        Front::Answers(answer) => {
            let (_, body) = head(&mut client).await?;
            drop(body);
            client.write_all(answer.as_bytes()).await?;
            client.shutdown().await
        }
        Front::Slow(bytes_per_s) => {
            let server = TcpStream::connect(upstream).await?;
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            let up = crawl(from_client, to_server, *bytes_per_s);
            let down = crawl(from_server, to_client, *bytes_per_s);
            tokio::select! { ended = up => ended, ended = down => ended }
        }
        Front::Loses(end, left) => {
            let (head, body) = head(&mut client).await?;
            let path = head.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
            let matches = path.ends_with(end.as_str());
            let loses = matches
                && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            let mut server = pass(&head, &body, upstream).await?;
            if !loses {
                tokio::io::copy_bidirectional(&mut client, &mut server).await?;
                return Ok(());
            }
            // The server answers when it has the whole call, and has carried it out.
            let ((mut from_client, _to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            let rest = async {
                tokio::io::copy(&mut from_client, &mut to_server).await?;
                std::future::pending::<std::io::Result<()>>().await
            };
            tokio::select! {
                ended = rest => ended,
                answer = from_server.read_u8() => answer.map(|_| ()),
            }
        }
        Front::Normalises => {
            let (head, body) = head(&mut client).await?;
            let (line, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
            let words: Vec<&str> = line.split(' ').collect();
            let (path, query) =
                words[1].split_once('?').map_or((words[1], ""), |(path, query)| (path, query));
            let mut segments: Vec<&str> = Vec::new();
            for segment in path.split('/') {
                match segment {
                    "" | "." => {}
                    ".." => drop(segments.pop()),
                    segment => segments.push(segment),
                }
            }
            let mark = if query.is_empty() { "" } else { "?" };
            let head = format!("{} /{}{mark}{query} {}\r\n{rest}", words[0], segments.join("/"), words[2]);
            let mut server = pass(&head, &body, upstream).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await?;
            Ok(())
        }
    }
}

/// Reads a call's head, which ends with an empty line, and what came of its body with it.
async fn head(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = read.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&read).into_owned(), body));
        }
        if client.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Connects to the server, and passes a call's head on. The server closes the connection after its
/// answer, so that each call comes over a connection of its own.
async fn pass(head: &str, body: &[u8], upstream: SocketAddr) -> std::io::Result<TcpStream> {
    let mut server = TcpStream::connect(upstream).await?;
    let lines = head.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !line.is_empty() && !name.eq_ignore_ascii_case("connection")
    });
    let head: String = lines.map(|line| format!("{line}\r\n")).collect();
    server.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).await?;
    server.write_all(body).await?;
    Ok(server)
}

/// Copies bytes at a bounded rate, in pieces of a twentieth of a second.
async fn crawl(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    bytes_per_s: usize,
) -> std::io::Result<()> {
    let mut piece = vec![0; bytes_per_s / 20];
    loop {
        let len = from.read(&mut piece).await?;
        if len == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..len]).await?;
        tokio::time::sleep(Duration::from_millis(50).mul_f64(len as f64 / piece.len() as f64)).await;
    }
}
