//! What is asked for once, and how its attempts are opened.

use std::time::Duration;

use aft_wire::http::{Begin, IfOpen, Isolation, Op};

/// A request. Text is a request ID: `client.run("order-17", …)`.
///
/// A request ID names what the outside asked for (a message's ID, an order's number); never use one for two different requests. Without an ID, no later
/// call can find the outcome: draw one (a UUID) where there is none to take over.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub(crate) id: Option<String>,
    pub(crate) scope: Option<String>,
    fingerprint: Option<String>,
    timeout: Option<Duration>,
    retention: Option<Duration>,
    overlap: bool,
    fresh: bool,
    serializable: bool,
    pub(crate) reads: Vec<String>,
}

impl Request {
    /// A request with an ID.
    pub fn named(id: impl Into<String>) -> Request {
        Request { id: Some(id.into()), ..Request::default() }
    }

    /// A request without an ID: not found again by later calls.
    pub fn unnamed() -> Request {
        Request::default()
    }

    /// Keeps IDs of different functions apart.
    pub fn scope(mut self, scope: impl Into<String>) -> Request {
        self.scope = Some(scope.into());
        self
    }

    /// Stands for the request's payload: another one under the same ID is refused ([`Error::KeyReused`](crate::Error::KeyReused)).
    pub fn fingerprint(mut self, fingerprint: impl Into<String>) -> Request {
        self.fingerprint = Some(fingerprint.into());
        self
    }

    /// How long each attempt's transaction may stay open.
    pub fn timeout(mut self, timeout: Duration) -> Request {
        self.timeout = Some(timeout);
        self
    }

    /// How long the commit is to be remembered (a day).
    pub fn retention(mut self, retention: Duration) -> Request {
        self.retention = Some(retention);
        self
    }

    /// Runs at once beside another open attempt of the request, because that one is known to be gone. (One effect in any case.)
    pub fn overlap(mut self) -> Request {
        self.overlap = true;
        self
    }

    /// Sees every commit that was acknowledged before the attempt began, on whatever server of the store: first reads of keys ask the store.
    pub fn fresh(mut self) -> Request {
        self.fresh = true;
        self
    }

    /// Is overtaken by nobody: what an attempt reads must still be the newest when it commits, or another attempt runs. Without this, two that read the
    /// same version may both overwrite it. Only on a store that one process holds (`memory:`, `local:`).
    pub fn serializable(mut self) -> Request {
        self.serializable = true;
        self
    }

    /// Reads these keys in the call that opens the transaction, so that getting them costs no call.
    pub fn reads(mut self, keys: impl IntoIterator<Item = impl Into<String>>) -> Request {
        self.reads = keys.into_iter().map(Into::into).collect();
        self
    }

    /// The opening of an attempt. `beside`: whether an earlier attempt of this very run may still be open. `conflicts`: how many of them met one.
    pub(crate) fn begin(
        &self,
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
            if_open: if self.overlap || beside { IfOpen::Run } else { IfOpen::Wait } as i32,
            session,
            retention_s: self.retention.map(|time| time.as_secs()),
            fresh: self.fresh,
            isolation: if self.serializable { Isolation::Serializable } else { Isolation::ReadAtomic } as i32,
            conflicts: Some(conflicts).filter(|conflicts| *conflicts > 0),
            ops: self.reads.iter().map(Op::get).collect(),
            ..Begin::default()
        }
    }

    /// The path that looks it up, under `requests` or `results`.
    pub(crate) fn look_up_path(&self, under: &str) -> Option<String> {
        let id = self.id.as_deref()?;
        let mut path = format!("/v1/{under}/{}", crate::path::encode(id));
        if let Some(scope) = &self.scope {
            path.push_str(&format!("?scope={}", crate::path::encode(scope)));
        }
        Some(path)
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
