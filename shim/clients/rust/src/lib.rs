//! A client of the HTTP API.
//!
//! ```no_run
//! # async fn example() -> Result<(), aft_client::Error> {
//! let client = aft_client::Client::new("http://127.0.0.1:7400")?;
//! let ran = client
//!     .run("order-23", |t| async move {
//!         let stock = t.get("stock/tea").await?;
//!         let stock = stock.map(|stock| String::from_utf8_lossy(&stock.bytes).parse::<u64>());
//!         let left = stock.and_then(Result::ok).unwrap_or(0);
//!         if left == 0 {
//!             return Ok::<_, aft_client::Error>("sold out");
//!         }
//!         t.put("stock/tea", (left - 1).to_string()).await?;
//!         t.put("orders/23", "1 tea").await?;
//!         Ok("sold")
//!     })
//!     .await?;
//! println!("{:?} after {} attempts", ran.result, ran.attempts);
//! # Ok(())
//! # }
//! ```
//!
//! * [`Client`], [`Builder`] – the server, the credential and the timeouts; clones share
//!   connections and the session.
//! * [`Client::run`] – the main entry: runs a function in a transaction until its request has
//!   committed once, and returns the result of the attempt that committed. [`Request`] – the
//!   request's ID and options. [`Ran`] – the outcome.
//! * [`Client::begin`], [`Transaction`] – a transaction by hand.
//! * [`Client::execute`], [`Client::get`], … – whole transactions in one call.
//! * [`Client::stream`], [`Client::put_stream`], [`Client::get_range`] – values of any size.
//! * [`Client::once`] – a handler of events that takes effect once for each.
//! * [`Error`] – few kinds, one for each thing that the caller can do.
//!
//! # Concurrent runs
//! Runs and whole transactions are serializable: if two read the same stock and both take one from
//! it, one commits, and the other runs again. [`Request::isolation`] asks for another level, which
//! runs that list keys on a shared store need (see [`Client::run`]).
//!
//! # Safe retries
//! Decision 0008 has the whole table of retries. A call that cannot commit is repeated freely, in a
//! new transaction: the old transaction's writes were never visible to others. A call that commits
//! is repeated only in a form that can commit neither twice nor in part: the same call on the same
//! transaction, or another attempt under the same request ID. Where neither is possible, the call
//! returns [`Error::Unknown`].

mod answer;
mod buffer;
mod builder;
mod client;
mod commit;
mod error;
mod foreign;
mod keys;
mod once;
mod origin;
mod outgoing;
mod pace;
mod path;
mod pool;
mod reads;
mod request;
mod run;
mod session;
mod settings;
mod stream;
mod tls;
mod transaction;
mod transport;
mod value;
mod watch;
mod whole;

pub use aft_api::{Code, Isolation, Listed, Op, Problem, Request as Found};
pub use builder::Builder;
pub use client::Client;
pub use error::{Details, Error};
pub use keys::Keys;
pub use once::Once;
pub use request::Request;
pub use run::Ran;
pub use stream::ValueStream;
pub use tls::TlsFiles;
pub use transaction::{Begun, Transaction};
pub use value::Value;
pub use whole::Executed;
