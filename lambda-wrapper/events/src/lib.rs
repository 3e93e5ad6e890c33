//! Reads the events of AWS Lambda: which service sent one, and which request it is.
//!
//! ```text
//!   event ─┬─► Source        the sender, by the form of the event     source/
//!          ├─► request ID    the same at every delivery               key/, header.rs, path.rs
//!          ├─► scope         function, tenant, route, caller          scope.rs, caller.rs
//!          ├─► retention     the sender's longest redelivery          facts.rs
//!          ├─► fingerprint   the content, without what varies         fingerprint.rs
//!          └─► records       events of one record, and back           batch.rs, fold.rs
//! ```
//!
//! [`identify`] does the first five, [`Batch`] the last, [`explain`] says all of it to people, and
//! [`response`] has the answers that a caller of each source understands. The crate performs no
//! I/O, reads no clock and draws no random number: it is called for every event, and the same event
//! gives the same request ID in every process.
//!
//! One rule stands above the others: two requests never share a request ID within a scope. Where
//! an event has no identity that is certain, it gets one that is used once, or none. A request
//! without an ID is atomic, and runs each time that it is delivered.

mod batch;
mod caller;
mod explain;
mod facts;
mod fingerprint;
mod fold;
mod hash;
mod header;
mod http;
mod identity;
mod invocation;
mod json;
mod key;
mod path;
mod record;
mod rejected;
pub mod response;
mod rules;
mod scope;
mod source;

pub use batch::Batch;
pub use explain::explain;
pub use facts::RETENTION_MAX;
pub use fold::{Folded, Outcome};
pub use identity::{Identity, identify};
pub use invocation::Invocation;
pub use key::{Basis, REQUEST_ID_BYTES_MAX};
pub use path::{Path, PathError};
pub use record::Record;
pub use rejected::{Reason, Rejected};
pub use rules::{Override, Rules, names};
pub use scope::SCOPE_BYTES_MAX;
pub use source::Source;
