//! Names of the API's headers, in lower case as HTTP/2 requires.

/// The transaction that a reply is about.
pub const TRANSACTION: &str = "aft-transaction";
/// The session token. In a request: the commits that the client has seen. In a reply: the same, and
/// this commit.
pub const SESSION: &str = "aft-session";
/// The version of the value in a reply: a TxnId, or [`VERSION_UNCOMMITTED`].
pub const VERSION: &str = "aft-version";
/// The value of [`VERSION`] for a transaction's own write.
pub const VERSION_UNCOMMITTED: &str = "uncommitted";
/// The problem's code; also on replies without a body (`HEAD`).
pub const ERROR: &str = "aft-error";
/// The request ID; an alias of `request_id`. Bare, or quoted as a structured-field string.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `true` on a reply that replays an earlier attempt's commit.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
