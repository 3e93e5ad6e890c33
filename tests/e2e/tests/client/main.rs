//! Goal: the Rust client keeps the protocol's promises on an unreliable network: a commit that it
//! acknowledges has happened once, one that it calls not committed never happens, and any other is
//! reported as unknown. Method: a real server; between it and the client an interposer that follows
//! a script call by call, or a cutter that cuts connections at random bytes and delivers late;
//! seeds are printed first.

mod cancel;
mod cuts;
mod cutter;
mod interposer;
mod large;
mod refusals;
mod sessions;
mod verbs;

use aft_client::{Client, Error, Transaction};
use bytes::Bytes;

/// Creates a client with the default settings.
fn client(address: std::net::SocketAddr) -> Client {
    Client::new(&format!("http://{address}")).expect("an address is a URL's")
}

/// Returns a counter's value; 0 if it is absent.
fn number(value: Option<aft_client::Value>) -> u64 {
    value.map_or(0, |value| text(&value.bytes).parse().expect("counters are numbers"))
}

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).expect("tests write text")
}

/// Increments a counter, and returns its new value.
async fn increment(t: &Transaction, key: &str) -> Result<u64, Error> {
    let next = number(t.get(key).await?) + 1;
    t.put(key, next.to_string()).await?;
    Ok(next)
}
