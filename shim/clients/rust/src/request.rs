//! Requests: the ID and the options with which attempts are opened.

use std::time::Duration;

use aft_api::{Begin, IfOpen, Isolation, Op};

use crate::error::Error;
use crate::path;

/// A request. A text converts into a request with that ID: `client.run("order-17", …)`.
///
/// A request ID identifies what the outside asked for once (a message's ID, an order's number);
/// never use one ID for two different requests. Without an ID no later call can find the outcome:
/// draw one (a UUID) if there is none to take over.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub(crate) id: Option<String>,
    pub(crate) scope: Option<String>,
    fingerprint: Option<String>,
    timeout: Option<Duration>,
    retention: Option<Duration>,
    wait: bool,
    fresh: bool,
    isolation: Option<Isolation>,
    pub(crate) reads: Vec<String>,
    run_time_max: Option<Duration>,
}

impl Request {
    /// Makes a request with an ID.
    pub fn named(id: impl Into<String>) -> Request {
        Request { id: Some(id.into()), ..Request::default() }
    }

    /// Makes a request without an ID, whose outcome later calls cannot find.
    pub fn unnamed() -> Request {
        Request::default()
    }

    /// Sets the scope, which keeps the same IDs of different functions apart.
    pub fn scope(mut self, scope: impl Into<String>) -> Request {
        self.scope = Some(scope.into());
        self
    }

    /// Sets a fingerprint of the request's payload: a request with the same ID and another
    /// fingerprint is rejected ([`Error::KeyReused`](crate::Error::KeyReused)).
    pub fn fingerprint(mut self, fingerprint: impl Into<String>) -> Request {
        self.fingerprint = Some(fingerprint.into());
        self
    }

    /// Sets the deadline of each attempt's transaction, from its opening. The default is the
    /// client's ([`Builder::transaction_timeout`](crate::Builder::transaction_timeout)).
    pub fn timeout(mut self, timeout: Duration) -> Request {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the time for which the commit and its result are kept, in whole seconds; a day by
    /// default.
    pub fn retention(mut self, retention: Duration) -> Request {
        self.retention = Some(retention);
        self
    }

    /// Waits for another open attempt of the request instead of running at once beside it: for
    /// requests whose work is expensive, and that arrive twice. An attempt whose process has died
    /// is waited for until its deadline. The request takes effect once in any case.
    pub fn wait(mut self) -> Request {
        self.wait = true;
        self
    }

    /// Makes attempts see every commit that was acknowledged before they began, on any server of
    /// the store. The first read of each key asks the store then.
    pub fn fresh(mut self) -> Request {
        self.fresh = true;
        self
    }

    /// Sets the isolation level. Without it a run and a whole transaction are serializable, and a
    /// transaction by hand leaves the level to the store.
    ///
    /// * [`Isolation::Serializable`]: the versions that an attempt reads must still be the newest
    ///   when it commits; otherwise none of its writes takes effect, and a run makes another
    ///   attempt.
    /// * [`Isolation::ReadAtomic`]: nothing is checked; two transactions that read the same version
    ///   may both overwrite it. Use it for transactions that only read, that list keys on a shared
    ///   store, or that use keys which are read atomic there.
    /// * [`Isolation::Unspecified`]: on a shared store the level of the keys that the transaction
    ///   writes; on a store that a single process holds, read atomic.
    ///
    /// On a shared store a level that the keys do not have is rejected
    /// ([`Error::Invalid`](crate::Error::Invalid)).
    pub fn isolation(mut self, level: Isolation) -> Request {
        self.isolation = Some(level);
        self
    }

    /// Sets keys to read in the call that opens the transaction, so that getting them needs no call
    /// of its own.
    pub fn reads(mut self, keys: impl IntoIterator<Item = impl Into<String>>) -> Request {
        self.reads = keys.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the time that the client has for this run, or for another call with this request,
    /// instead of the client's ([`Builder::run_time_max`](crate::Builder::run_time_max)).
    pub fn run_time_max(mut self, time: Duration) -> Request {
        self.run_time_max = Some(time);
        self
    }

    /// Returns the same request under another ID.
    pub(crate) fn with_id(self, id: String) -> Request {
        Request { id: Some(id), ..self }
    }

    /// Returns the time for a run of the request; `default` is the client's.
    pub(crate) fn run_time(&self, default: Duration) -> Duration {
        self.run_time_max.unwrap_or(default)
    }

    /// Checks the ID and the scope.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if one of them is blank: everybody who sends a blank ID would
    /// share one request.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let is_blank = |text: &Option<String>| text.as_ref().is_some_and(|text| text.trim().is_empty());
        if is_blank(&self.id) {
            return Err(Error::invalid(
                "the request ID is blank, and all who send a blank ID would share one request: give each request its own, or use Request::unnamed()",
            ));
        }
        if is_blank(&self.scope) {
            return Err(Error::invalid("the request's scope is blank: name one, or leave it out"));
        }
        Ok(())
    }

    /// Returns the opening of an attempt. `default` is the level if the request names none;
    /// `beside` is true if an earlier attempt of the same run may still be open; `conflicts` is the
    /// number of its attempts that failed with a conflict.
    pub(crate) fn begin(
        &self,
        default: Isolation,
        timeout: Option<Duration>,
        wait: Duration,
        beside: bool,
        conflicts: u32,
        session: Option<String>,
    ) -> Begin {
        Begin {
            request_id: self.id.clone(),
            scope: self.scope.clone(),
            fingerprint: self.fingerprint.clone(),
            timeout_ms: self.timeout.or(timeout).map(ms),
            wait_ms: Some(ms(wait)),
            if_open: if self.wait && !beside { IfOpen::Wait } else { IfOpen::Run } as i32,
            session,
            retention_s: self.retention.map(|time| time.as_secs()),
            fresh: self.fresh,
            isolation: self.isolation.unwrap_or(default) as i32,
            conflicts: Some(conflicts).filter(|conflicts| *conflicts > 0),
            ops: self.reads.iter().map(Op::get).collect(),
            ..Begin::default()
        }
    }

    /// Returns the path that looks the request up, and the one of its result.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the request has no ID, or a blank one.
    pub(crate) fn look_up_paths(&self) -> Result<[String; 2], Error> {
        self.check()?;
        let id = self
            .id
            .as_deref()
            .ok_or_else(|| Error::invalid("a request without an ID cannot be looked up: give it an ID"))?;
        let scoped = |path: String| match &self.scope {
            None => path,
            Some(scope) => path::with(path, "scope", scope),
        };
        Ok([scoped(path::request(id)), scoped(path::result(id))])
    }
}

impl From<&str> for Request {
    fn from(id: &str) -> Request {
        Request::named(id)
    }
}

impl From<String> for Request {
    fn from(id: String) -> Request {
        Request::named(id)
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{run, whole};

    #[test]
    fn a_blank_id_or_scope_is_rejected() {
        for blank in ["", " ", "\t\n"] {
            let why = Request::named(blank).check().unwrap_err();
            assert!(matches!(&why, Error::Invalid(_)) && why.to_string().contains("blank"), "{why}");
            assert!(matches!(Request::named("r").scope(blank).check(), Err(Error::Invalid(_))));
        }
        Request::named(" r ").scope("s").check().unwrap();
        Request::unnamed().check().unwrap();
        assert!(Request::unnamed().look_up_paths().is_err());
    }

    #[test]
    fn all_clients_ask_for_the_same_levels() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../vectors.json")).unwrap();
        let levels = vectors["levels"].as_array().unwrap();
        assert!(levels.len() > 8);
        for vector in levels {
            let default = match vector["call"].as_str().unwrap() {
                "run" => run::default_level(true),
                "begin" => run::default_level(false),
                "execute" => whole::LEVEL,
                other => panic!("{other}"),
            };
            let request = match vector["asked"].as_str().unwrap() {
                "nothing" => Request::unnamed(),
                "of_the_store" => Request::unnamed().isolation(Isolation::Unspecified),
                "read_atomic" => Request::unnamed().isolation(Isolation::ReadAtomic),
                "serializable" => Request::unnamed().isolation(Isolation::Serializable),
                other => panic!("{other}"),
            };
            let begin = request.begin(default, None, Duration::ZERO, false, 0, None);
            let sent = serde_json::to_value(begin).unwrap();
            let sent = sent.get("isolation").unwrap_or(&serde_json::Value::Null);
            assert_eq!(sent, &vector["sent"], "{vector}");
        }
    }
}
