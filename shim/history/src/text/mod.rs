//! The text format: one operation a line.
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
//! (Without the explanations on the right: a line holds one operation, and nothing else.)
//!
//! `w(key,value,session,transaction)` and `r(…)`, all integers that are not negative, the transaction -1 if it
//! aborted; a transaction's operations in program order, in lines that need not be neighbours. Public isolation
//! checkers read the same lines (Plume, AWDIT, PolySI). They have no comments and no unknown outcomes, so what goes
//! to them is written by [`write_plain`].
//!
//! # Directives
//!
//! A line that begins with `#@` is a directive, and a mistake in it is an error (in a comment, nothing is). They say
//! what the operations cannot, and may stand anywhere in the file unless said otherwise:
//!
//! | directive | meaning |
//! |---|---|
//! | `#@ unknown T` | the outcome of T is not known: it counts as committed if and only if somebody read it |
//! | `#@ aborted T S` | from here on, the operations of session S with transaction -1 are those of T |
//! | `#@ stamp T N` | N (up to 128 bits) is T's place in the order of versions |
//! | `#@ request T N` | T is an attempt of request N |
//! | `#@ began T MS` | T began at that time, in milliseconds |
//! | `#@ committed T MS` | T's commit was acknowledged at that time, in milliseconds |
//! | `#@ session T S` | T is a transaction of session S, even if it has no operations |
//!
//! Without `#@ aborted`, all aborted operations of a session are taken for one nameless transaction; its reads are
//! never judged, since they may be several transactions' reads.
//!
//! Value 0 is reserved for what was never written: a write of it is refused. A generator's first transaction that
//! writes it to every key says nothing, and is to be left out.

mod error;
mod line;
mod parse;
mod write;

pub use error::{ParseError, Problem};
pub use parse::parse;
pub use write::{write, write_plain, write_transaction};
