//! The rules by which events are identified, as settings give them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Source;
use crate::path::Path;

/// The names of the settings, for messages. The layer reads them from the function's environment.
pub mod names {
    /// An expression that selects the request ID.
    pub const REQUEST_ID: &str = "AFT_REQUEST_ID";
    /// `true` rejects events without a request ID of their own.
    pub const REQUIRE: &str = "AFT_REQUEST_ID_REQUIRED";
    /// The names of HTTP headers that carry a request ID.
    pub const HEADERS: &str = "AFT_REQUEST_ID_HEADERS";
    /// An expression that selects the caller of an HTTP request.
    pub const CALLER: &str = "AFT_CALLER";
    /// An expression that selects the part of the event that retries must repeat.
    pub const FINGERPRINT: &str = "AFT_FINGERPRINT";
    /// The retention of request IDs.
    pub const RETENTION: &str = "AFT_RETENTION";
    /// `true` takes the deduplication IDs of FIFO queues for request IDs.
    pub const FIFO_DEDUPLICATION_ID: &str = "AFT_FIFO_DEDUPLICATION_ID";
    /// `true` says that event source mappings report the failures of single records.
    pub const BATCH_ITEM_FAILURES: &str = "AFT_BATCH_ITEM_FAILURES";
}

/// The headers that carry a request ID by default.
const HEADERS: &[&str] = &["idempotency-key", "x-idempotency-key"];

/// The rules by which events are identified.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Selects the request ID. An event in which it finds nothing is identified by its source.
    pub request_id: Option<Path>,
    /// Rejects events in which `request_id` finds nothing, and HTTP requests without one of the
    /// headers if there is no such expression.
    pub require: bool,
    /// The names of HTTP headers that carry a request ID, in any case; also of the message
    /// attributes of SQS, and of members of the client context's `custom`.
    pub headers: Vec<String>,
    /// Selects the caller of an HTTP request, in place of what the authorizer says.
    pub caller: Option<Path>,
    /// Selects the part of the event that retries of a request must repeat.
    pub fingerprint: Option<Path>,
    /// The retention, in place of the source's.
    pub retention: Option<Duration>,
    /// Takes the deduplication IDs of FIFO queues for request IDs.
    pub fifo_deduplication_id: bool,
    /// Says that event source mappings report the failures of single records
    /// (`ReportBatchItemFailures`).
    pub batch_item_failures: bool,
    /// Rules for single sources, in place of those above.
    pub overrides: BTreeMap<Source, Override>,
}

/// Rules for one source. What is `None` is as for all sources.
#[derive(Debug, Clone, Default)]
pub struct Override {
    /// See [`Rules::request_id`].
    pub request_id: Option<Path>,
    /// See [`Rules::require`].
    pub require: Option<bool>,
    /// See [`Rules::fingerprint`].
    pub fingerprint: Option<Path>,
    /// See [`Rules::retention`].
    pub retention: Option<Duration>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            request_id: None,
            require: false,
            headers: HEADERS.iter().map(|name| (*name).to_owned()).collect(),
            caller: None,
            fingerprint: None,
            retention: None,
            fifo_deduplication_id: false,
            // Lambda takes a list of failures for a success if the mapping does not report them.
            // Throwing is safe in both cases.
            batch_item_failures: false,
            overrides: BTreeMap::new(),
        }
    }
}

impl Rules {
    pub(crate) fn request_id(&self, source: Source) -> Option<&Path> {
        self.of(source).and_then(|rule| rule.request_id.as_ref()).or(self.request_id.as_ref())
    }

    pub(crate) fn require(&self, source: Source) -> bool {
        self.of(source).and_then(|rule| rule.require).unwrap_or(self.require)
    }

    pub(crate) fn fingerprint(&self, source: Source) -> Option<&Path> {
        self.of(source).and_then(|rule| rule.fingerprint.as_ref()).or(self.fingerprint.as_ref())
    }

    pub(crate) fn retention(&self, source: Source) -> Option<Duration> {
        self.of(source).and_then(|rule| rule.retention).or(self.retention)
    }

    fn of(&self, source: Source) -> Option<&Override> {
        self.overrides.get(&source)
    }

    /// Returns true if `name` is one of the names that carry a request ID. Underscores count as
    /// hyphens: not every place allows hyphens in names.
    pub(crate) fn is_key_name(&self, name: &str) -> bool {
        let same = |one: char, other: char| {
            let plain = |of: char| if of == '_' { '-' } else { of.to_ascii_lowercase() };
            plain(one) == plain(other)
        };
        self.headers.iter().any(|known| {
            known.chars().count() == name.chars().count()
                && known.chars().zip(name.chars()).all(|(one, other)| same(one, other))
        })
    }
}
