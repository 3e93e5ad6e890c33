//! The meaning of failures: first as Redis reports them ([`Failure`]), then as an [`Error`] of the
//! seam.
//!
//! | answer | outcome |
//! |---|---|
//! | none: connection refused or lost, timeout | `NoAnswer` |
//! | not Redis's protocol | `NoAnswer`: a write may have been carried out |
//! | `LOADING`, `BUSY`, `TRYAGAIN`, `CLUSTERDOWN` | `Busy`: not run; the cause is temporary |
//! | `MASTERDOWN`, too many clients | `Busy`: the same |
//! | `OOM` | `Refused`: not run; reads and deletions still work, and writes once memory is freed |
//! | `NOREPLICAS` | `Refused`: not run, until somebody starts replicas |
//! | `READONLY`, `MISCONF`, `NOAUTH`, `WRONGPASS`, `NOPERM` | `Refused`, with what to do |
//! | `MOVED`, `ASK`, `CROSSSLOT`, an unknown command | `Refused`, with what to do |
//! | `WRONGTYPE` | `Damaged`: another type of key is where an object or an index belongs |
//! | `NOSCRIPT` | the script is loaded, and the request is sent again, once |
//! | any other | `NoAnswer`: the effect is unknown |
//!
//! If a command fails inside a script, the script's error has that command's code (from Redis 7
//! on), or an error of its own with the code in its text (before).

use std::error::Error as StdError;

use aft_store::Error;
use redis::{ErrorKind, RedisError};

/// A reason for which a request has no result.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The server does not have the script, and ran nothing.
    NoScript,
    /// Anything else.
    Failed(Error),
}

impl Failure {
    /// Turns the failure of a request into an error, once loading the script has been tried.
    pub(crate) fn into_error(self, asked: &str) -> Error {
        match self {
            Failure::Failed(error) => error,
            Failure::NoScript => Error::Busy(format!(
                "{asked}: the server drops scripts as soon as they are loaded; try again later"
            )),
        }
    }
}

/// A failure, and the fate of the connection on which it was met.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) failure: Failure,
    pub(crate) ends_connection: bool,
}

/// Returns the error for an answer that Redis never gives.
pub(crate) fn not_redis(asked: &str, what: &str) -> Error {
    Error::NoAnswer(format!(
        "{asked}: the server does not speak Redis's protocol ({what}); are host and port right?"
    ))
}

/// Returns the meaning of an error of the client library. `asked` names the store, the call and the
/// name.
pub(crate) fn classify(asked: &str, error: &RedisError) -> Trouble {
    if let Some(code) = error.code() {
        return answered(asked, code, error.detail().unwrap_or_default());
    }
    let failure = match error.kind() {
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => not_redis(asked, &chain(error)),
        _ if error.is_connection_refusal() => Error::NoAnswer(format!(
            "{asked}: {}; is the server running, and are host and port right?",
            chain(error)
        )),
        _ => Error::NoAnswer(format!("{asked}: {}", chain(error))),
    };
    Trouble { failure: Failure::Failed(failure), ends_connection: true }
}

/// Returns the meaning of an error of the server, with this code and detail.
pub(crate) fn answered(asked: &str, code: &str, detail: &str) -> Trouble {
    let code = inner_code(code, detail);
    let said = format!("{asked}: {code} {detail}");
    let with = |remedy: &str| format!("{said}; {remedy}");
    let lower = detail.to_lowercase();
    let error = match code {
        "NOSCRIPT" => return Trouble { failure: Failure::NoScript, ends_connection: false },
        "LOADING" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" => Error::Busy(said),
        "NOREPLICAS" => Error::Refused(with(
            "the server wants more replicas than it has: start them, or lower min-replicas-to-write",
        )),
        "OOM" => Error::Refused(with(
            "the server's memory is full: free memory or raise maxmemory; reads and deletions still work",
        )),
        "READONLY" => Error::Refused(with("this is a replica: write the primary's address into the URL")),
        "MISCONF" => Error::Refused(with(
            "the server cannot write its files: check its log, and free space on its disk",
        )),
        "NOAUTH" => Error::Refused(with("write the password into the URL, or set AFT_REDIS_PASSWORD")),
        "WRONGPASS" => {
            Error::Refused(with("the user or the password is wrong: check the URL and AFT_REDIS_PASSWORD"))
        }
        "NOPERM" => Error::Refused(with(
            "allow this user GET, SET, DEL, EXISTS, GETRANGE, ZADD, ZREM, ZRANGEBYLEX, EVALSHA, SCRIPT LOAD, TIME and INFO on the store's keys",
        )),
        "MOVED" | "ASK" | "CROSSSLOT" => {
            Error::Refused(with("Redis Cluster cannot be used: name a server that is not part of one"))
        }
        "WRONGTYPE" => {
            Error::Damaged(with("a key of another type is where this store keeps an object or an index"))
        }
        "ERR" if lower.contains("max number of clients") => Error::Busy(said),
        "ERR" if lower.contains("unknown command") => {
            Error::Refused(with("the server lacks a command that AFT needs, or has renamed it"))
        }
        "ERR" if lower.contains("db index") => {
            Error::Refused(with("the server has no database of this number: change ?db= in the URL"))
        }
        "ERR" if lower.contains("without any password configured") => Error::Refused(with(
            "the server has no password: leave it out of the URL, and unset AFT_REDIS_PASSWORD",
        )),
        _ => Error::NoAnswer(said),
    };
    // The server's role or users changed, so the address may lead to another server by now.
    let ends_connection = matches!(code, "READONLY" | "MASTERDOWN" | "NOAUTH" | "WRONGPASS");
    Trouble { failure: Failure::Failed(error), ends_connection }
}

/// Returns the meaning of a command's error that a script caught: `CODE detail`, with or without
/// the place in the script.
pub(crate) fn caught(asked: &str, text: &str) -> Error {
    let (code, detail) = text.split_once(' ').unwrap_or((text, ""));
    let trouble = if code.starts_with('@') {
        answered(asked, "ERR", &format!("running script: {text}"))
    } else {
        answered(asked, code, detail)
    };
    trouble.failure.into_error(asked)
}

/// Returns the code of the command that failed inside a script, if the server is older than Redis 7
/// and has it in the text; otherwise `code`.
fn inner_code<'a>(code: &'a str, detail: &'a str) -> &'a str {
    const INNER: [&str; 7] =
        ["OOM", "READONLY", "MISCONF", "WRONGTYPE", "NOREPLICAS", "MASTERDOWN", "NOPERM"];
    if code == "ERR" && detail.contains("running script") {
        let inner = INNER
            .into_iter()
            .find(|inner| detail.contains(&format!("-{inner} ")) || detail.contains(&format!(": {inner} ")));
        return inner.unwrap_or(code);
    }
    code
}

/// Returns the text of an error and of its chain of sources. None of these texts holds credentials.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // Some wrappers only repeat what they wrap.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Is {
        NoScript,
        NoAnswer,
        Busy,
        Refused,
        Damaged,
    }

    fn check(code: &str, detail: &str, expect: Is, remedy: &str) {
        let (is, text) = match answered("redis://h: put k", code, detail).failure {
            Failure::NoScript => (Is::NoScript, String::new()),
            Failure::Failed(Error::NoAnswer(text)) => (Is::NoAnswer, text),
            Failure::Failed(Error::Busy(text)) => (Is::Busy, text),
            Failure::Failed(Error::Refused(text)) => (Is::Refused, text),
            Failure::Failed(Error::Damaged(text)) => (Is::Damaged, text),
        };
        assert_eq!(is, expect, "{code} {detail}");
        assert!(text.is_empty() || text.starts_with("redis://h: put k"), "{text}");
        assert!(text.contains(remedy), "{text}");
    }

    #[test]
    fn answers_mean_what_the_table_says() {
        check("NOSCRIPT", "No matching script.", Is::NoScript, "");
        check("LOADING", "Redis is loading the dataset in memory", Is::Busy, "");
        check("BUSY", "Redis is busy running a script.", Is::Busy, "");
        check("TRYAGAIN", "Multiple keys request during rehashing of slot", Is::Busy, "");
        check("CLUSTERDOWN", "The cluster is down", Is::Busy, "");
        check("MASTERDOWN", "Link with MASTER is down", Is::Busy, "");
        check("NOREPLICAS", "Not enough good replicas to write.", Is::Refused, "min-replicas-to-write");
        check("ERR", "max number of clients reached", Is::Busy, "");
        check("OOM", "command not allowed when used memory > 'maxmemory'.", Is::Refused, "free memory");
        check("READONLY", "You can't write against a read only replica.", Is::Refused, "primary");
        check("MISCONF", "Errors writing to the AOF file", Is::Refused, "disk");
        check("NOAUTH", "Authentication required.", Is::Refused, "AFT_REDIS_PASSWORD");
        check("WRONGPASS", "invalid username-password pair", Is::Refused, "AFT_REDIS_PASSWORD");
        check("NOPERM", "this user has no permissions", Is::Refused, "allow this user");
        check("MOVED", "3999 127.0.0.1:6381", Is::Refused, "Cluster");
        check("CROSSSLOT", "Keys in request don't hash to the same slot", Is::Refused, "Cluster");
        check("WRONGTYPE", "Operation against a key", Is::Damaged, "another type");
        check("ERR", "unknown command 'EVALSHA'", Is::Refused, "command");
        check("ERR", "DB index is out of range", Is::Refused, "database of this number");
        check("ERR", "an unknown error", Is::NoAnswer, "");
    }

    #[test]
    fn the_code_inside_a_script_counts() {
        let before_7 = |inner: &str| {
            format!("Error running script (call to f_1234): @user_script:9: -{inner} command not allowed")
        };
        check("ERR", &before_7("OOM"), Is::Refused, "free memory");
        check("ERR", &before_7("READONLY"), Is::Refused, "primary");
        check("ERR", &before_7("ERR"), Is::NoAnswer, "");
    }

    #[test]
    fn errors_that_a_script_caught_are_read() {
        let damaged = |text: &str| {
            let error = caught("redis://h: put k", text);
            assert!(matches!(error, Error::Damaged(_)), "{error:?}");
        };
        damaged("WRONGTYPE Operation against a key holding the wrong kind of value");
        damaged("@user_script: 9: -WRONGTYPE Operation against a key");
        assert!(matches!(caught("u", "OOM command not allowed"), Error::Refused(_)));
        assert!(matches!(caught("u", "other"), Error::NoAnswer(_)));
    }
}
