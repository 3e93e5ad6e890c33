//! Names of the API's headers, in lower case as HTTP/2 wants them.

/// The transaction that a reply is about.
pub const TRANSACTION: &str = "aft-transaction";
/// In: what the client has seen. Out: what it has seen after this commit.
pub const SESSION: &str = "aft-session";
/// The version of the value in a reply: a TxnId, or [`VERSION_UNCOMMITTED`].
pub const VERSION: &str = "aft-version";
/// What [`VERSION`] says of a transaction's own write.
pub const VERSION_UNCOMMITTED: &str = "uncommitted";
/// The problem's code, also on replies without a body (`HEAD`).
pub const ERROR: &str = "aft-error";
/// Names the request; an alias of `request_id`. Bare, or quoted as a structured-field string.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `true` on a reply that replays an earlier attempt's commit.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
