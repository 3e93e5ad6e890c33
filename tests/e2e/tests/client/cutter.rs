//! A TCP proxy that cuts connections in either direction, at byte positions that follow from a
//! seed, and sometimes delivers data to the server after the cut.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The way in which a connection is cut.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// The cut comes after this many bytes to the server.
    Up(usize),
    /// The cut comes after this many bytes to the client.
    Down(usize),
    /// The client is cut off when it sends more than this many bytes. The bytes that it was sending
    /// reach the server after the pause.
    Late(usize, Duration),
}

/// A proxy that ends with its runtime.
pub(crate) struct Cutter {
    pub(crate) address: SocketAddr,
    cuts: Arc<AtomicU64>,
}

impl Cutter {
    pub(crate) async fn start(server: SocketAddr, seed: u64) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let cuts = Arc::new(AtomicU64::new(0));
        let counted = cuts.clone();
        let rng = Mutex::new(StdRng::seed_from_u64(seed));
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("connections are taken");
                let fate = draw(&mut rng.lock().expect("no thread panics while it holds the lock"));
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(pass(client, server, fate));
            }
        });
        Cutter { address, cuts }
    }

    /// Returns the number of accepted connections; each of them is cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

/// Draws a fate. A call has some 250 bytes in each direction: a connection carries a few calls, or
/// breaks during the first, so that queries about a lost answer are lost as well.
fn draw(rng: &mut StdRng) -> Fate {
    let bytes_max = if rng.random_bool(0.4) { 300 } else { 2_500 };
    let bytes = rng.random_range(0..bytes_max);
    match rng.random_range(0..10) {
        0..4 => Fate::Up(bytes),
        4..8 => Fate::Down(bytes),
        _ => Fate::Late(bytes, Duration::from_millis(rng.random_range(0..60))),
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr, fate: Fate) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut up, mut down) = (0, 0);
    let (mut from_client, mut from_server) = ([0; 8192], [0; 8192]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(len @ 1..) = read else { return };
                let chunk = &from_client[..len];
                match fate {
                    Fate::Up(limit) if up + len > limit => {
                        let _ = server.write_all(&chunk[..limit - up]).await;
                        return;
                    }
                    Fate::Late(limit, pause) if up + len > limit => {
                        drop(client);
                        tokio::time::sleep(pause).await;
                        let _ = server.write_all(chunk).await;
                        // Lets the server carry out the call before it finds the connection closed.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        return;
                    }
                    Fate::Up(_) | Fate::Down(_) | Fate::Late(..) => {}
                }
                if server.write_all(chunk).await.is_err() {
                    return;
                }
                up += len;
            }
            read = server.read(&mut from_server) => {
                let Ok(len @ 1..) = read else { return };
                let chunk = &from_server[..len];
                if let Fate::Down(limit) = fate && down + len > limit {
                    let _ = client.write_all(&chunk[..limit - down]).await;
                    return;
                }
                if client.write_all(chunk).await.is_err() {
                    return;
                }
                down += len;
            }
        }
    }
}
