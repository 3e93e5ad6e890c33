//! From an event to its identity: the one function that the layer calls for every invocation.

use std::time::Duration;

use crate::Source;
use crate::facts::{RETENTION_MAX, facts};
use crate::fingerprint;
use crate::invocation::Invocation;
use crate::json::Document;
use crate::key::{Basis, Key, key};
use crate::rejected::Rejected;
use crate::rules::{Rules, names};
use crate::scope::scope;

/// The identity of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The sender of the event.
    pub source: Source,
    /// The origin of the request ID.
    pub basis: Basis,
    /// The request ID, of at most [`REQUEST_ID_BYTES_MAX`](crate::REQUEST_ID_BYTES_MAX) visible
    /// ASCII characters. Without one the request is atomic, and runs each time.
    pub request_id: Option<String>,
    /// The scope of the request ID, of at most [`SCOPE_BYTES_MAX`](crate::SCOPE_BYTES_MAX) ASCII
    /// characters.
    pub scope: String,
    /// The time for which a committed request must be remembered.
    pub retention: Duration,
    /// SHA-256 over what retries of the request repeat. Another one with the same request ID means
    /// that the ID was used for another request.
    pub fingerprint: [u8; 32],
    /// The request IDs of the event's records, in order, if it has several.
    pub records: Vec<String>,
    /// Sentences that say to people how all this was found.
    pub why: Vec<String>,
}

/// Identifies the request that an invocation belongs to.
///
/// # Errors
/// Returns [`Rejected`] if the rules require a request ID and the event has none, or if it has two
/// different ones or one that cannot be read. The caller should answer with
/// [`response::rejected`](crate::response::rejected), and not run the function.
pub fn identify(rules: &Rules, invocation: &Invocation<'_>) -> Result<Identity, Rejected> {
    let document = Document::parse(invocation.event);
    let event = document.as_ref().map(|document| &document.tree);
    let source = event.map_or(Source::Direct, Source::of);
    let content = match &document {
        Some(document) => fingerprint::content(source, document),
        None => fingerprint::opaque(invocation.event),
    };
    let mut why = Vec::new();
    if document.is_none() {
        why.push("The event is not JSON that can be read, so only its bytes count.".to_owned());
    }
    let Key { basis, id: request_id, records, why: of_key } = key(rules, invocation, source, event, &content)
        .map_err(|(reason, message)| Rejected { source, reason, message })?;
    why.extend(of_key);
    let (scope, of_scope) = scope(rules, invocation, source, basis, event);
    why.extend(of_scope);
    let fingerprint = match rules.fingerprint(source) {
        None => content,
        Some(path) => fingerprint::selected(path, document.as_ref()).unwrap_or_else(|| {
            why.push(format!(
                "{} ({}) selects nothing, so the whole content is the fingerprint.",
                names::FINGERPRINT,
                path.as_str()
            ));
            content
        }),
    };
    let retention = match rules.retention(source) {
        None => facts(source).retention,
        Some(wanted) if wanted > RETENTION_MAX => {
            why.push(format!("{} is longer than the 15 days that AFT keeps a request ID.", names::RETENTION));
            RETENTION_MAX
        }
        Some(wanted) => wanted,
    };
    assert_eq!(request_id.is_none(), basis == Basis::None, "an ID has an origin");
    assert_ne!(records.len(), 1, "one record is the event's own request");
    Ok(Identity { source, basis, request_id, scope, retention, fingerprint, records, why })
}
