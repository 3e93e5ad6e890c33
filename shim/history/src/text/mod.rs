//! The text format: one operation per line.
//!
//! ```text
//! # Anything after '#' is a comment; blank lines are skipped.
//! w(1,10,0,0)       transaction 0 of session 0 wrote value 10 to key 1
//! r(1,10,5,7)       transaction 7 of session 5 read value 10 of key 1
//! r(2,0,5,7)        and found key 2 never written (value 0)
//! w(3,30,6,-1)      a transaction of session 6 wrote this and aborted
//! #@ unknown 7      whether transaction 7 committed is not known
//! ```
//!
//! (A real file does not have the explanations on the right: a line holds one operation and nothing
//! else.)
//!
//! Operations are `w(key,value,session,transaction)` and `r(…)`. All fields are non-negative
//! integers, but the transaction is -1 if it aborted. The operations of a transaction are in
//! program order, in lines that need not be adjacent. Public isolation checkers (Plume, AWDIT,
//! PolySI) read the same lines, but know no comments and no unknown outcomes: use [`write_plain`]
//! for them.
//!
//! # Directives
//!
//! A line that begins with `#@` is a directive. A mistake in a directive is an error, unlike one in
//! a comment. Directives express what operations cannot, and may be anywhere in the file unless the
//! table says otherwise:
//!
//! | directive | meaning |
//! |---|---|
//! | `#@ unknown T` | the outcome of T is unknown: it counts as committed if it was read |
//! | `#@ aborted T S` | from here on, operations of session S with transaction -1 belong to T |
//! | `#@ stamp T N` | N (up to 128 bits) is T's place in the order of versions |
//! | `#@ request T N` | T is an attempt of request N |
//! | `#@ began T MS` | T began at that time, in milliseconds |
//! | `#@ committed T MS` | T's commit was acknowledged at that time, in milliseconds |
//! | `#@ session T S` | T is a transaction of session S, even if it has no operations |
//!
//! Without `#@ aborted`, all aborted operations of a session are attributed to one nameless
//! transaction. Its reads are never checked, because they may be reads of several transactions.
//!
//! Value 0 is reserved for keys that were never written, so the parser rejects a write of it. If a
//! generator starts with a transaction that writes 0 to every key, leave that transaction out.

mod error;
mod line;
mod parse;
mod write;

pub use error::{ParseError, Problem};
pub use parse::parse;
pub use write::{write, write_plain, write_transaction};
