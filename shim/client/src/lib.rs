//! A client of the HTTP API.
//!
//! ```no_run
//! # async fn example() -> Result<(), aft_client::Error> {
//! let client = aft_client::Client::new("http://127.0.0.1:7400")?;
//! let ran = client
//!     .run("order-23", |t| async move {
//!         let stock = t.get("stock/tea").await?.map_or(0, |value| value.bytes[0]);
//!         t.put("stock/tea", vec![stock.saturating_sub(1)]).await?;
//!         t.put("orders/17", "1 tea").await?;
//!         Ok::<_, aft_client::Error>("sold")
//!     })
//!     .await?;
//! assert_eq!(ran.result, "sold");
//! # Ok(())
//! # }
//! ```
//!
//! * [`Client`], [`Builder`] – the server, the credential, the times; clones share connections and the session.
//! * [`Client::run`] – the main entry: runs a function in a transaction until its request has committed once, and gives the result of
//!   the attempt that did. [`Request`] – how the request is named. [`Ran`] – how it went.
//! * [`Client::begin`], [`Transaction`] – a transaction by hand. [`Client::execute`], [`Client::get`], … – whole transactions in one call.
//! * [`Error`] – few kinds, by what the caller must do.
//!
//! # What is tried again, and why that is safe
//! Decision 0008 has the whole table. A call that cannot commit is repeated freely, in a new transaction: whatever became of the old one was
//! only ever in its own buffer. A call that commits is repeated only in a form that cannot commit twice, or commit a part: the same call on the
//! same transaction, or another attempt under the same request ID. Where neither is left, the answer is [`Error::Unknown`].

mod answer;
mod buffer;
mod builder;
mod client;
mod commit;
mod error;
mod keys;
mod outgoing;
mod pace;
mod path;
mod request;
mod run;
mod session;
mod settings;
mod transaction;
mod transport;
mod value;
mod whole;

pub use aft_wire::http::{Code, Listed, Op, Problem, Request as Found};
pub use builder::Builder;
pub use client::Client;
pub use error::{Details, Error};
pub use keys::Keys;
pub use request::Request;
pub use run::Ran;
pub use transaction::{Begun, Transaction};
pub use value::Value;
pub use whole::Executed;
