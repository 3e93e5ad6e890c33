//! The request ID of an event: by an expression of the settings, by the event's source, or by the
//! ID of the invocation, in this order.

mod by_source;
mod written;

use serde_json::{Value, json};

use crate::Source;
use crate::facts::facts;
use crate::header::{self, BadHeader};
use crate::http::Request;
use crate::invocation::Invocation;
use crate::path::{Missing, Path};
use crate::rejected::Reason;
use crate::rules::{Rules, names};

use by_source::by_source;
pub use written::REQUEST_ID_BYTES_MAX;
use written::{batch, id, selected};

/// The origin of a request ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// An expression of the settings selected it.
    Expression,
    /// A header of the HTTP request carried it.
    Header,
    /// The client context of a synchronous invocation carried it.
    ClientContext,
    /// A message attribute of SQS carried it.
    Attribute,
    /// It is the deduplication ID of a FIFO queue.
    DeduplicationId,
    /// The source gave it to the event, or to each of its records.
    Source,
    /// Lambda gave it to the invocation.
    Invocation,
    /// There is none: the request is atomic, and runs each time that it is delivered.
    None,
}

/// A request ID, with its origin.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) basis: Basis,
    pub(crate) id: Option<String>,
    /// The IDs of the records, if there are several.
    pub(crate) records: Vec<String>,
    pub(crate) why: Vec<String>,
}

/// Returns the request ID of an event. `content` is the fingerprint of its content.
pub(crate) fn key(
    rules: &Rules,
    invocation: &Invocation<'_>,
    source: Source,
    event: Option<&Value>,
    content: &[u8; 32],
) -> Result<Key, (Reason, String)> {
    let mut why = Vec::new();
    if let Some(path) = rules.request_id(source) {
        match by_expression(path, source, event) {
            Ok((id, records)) => {
                why.push(format!("{} ({}) selects the request ID.", names::REQUEST_ID, path.as_str()));
                if records.len() > 1 {
                    why.push(caution(records.len()));
                }
                return Ok(Key { basis: Basis::Expression, id: Some(id), records, why });
            }
            Err(missing) => {
                let happened = format!("{} ({}) {missing}", names::REQUEST_ID, path.as_str());
                if rules.require(source) {
                    let remedy = "send it in the event, or change the expression";
                    return Err((
                        Reason::KeyMissing,
                        format!("the event has no request ID: {happened}; {remedy}"),
                    ));
                }
                why.push(format!("{happened}, so the source decides."));
            }
        }
    }
    let found = match event.and_then(|event| Some((event, Request::of(source, event)?))) {
        Some((_, request)) => return by_header(rules, source, &request, why),
        None if source == Source::Direct => {
            by_client_context(rules, invocation)?.map(|id| (Basis::ClientContext, vec![id]))
        }
        None => event.and_then(|event| by_source(rules, source, event, content, &mut why)),
    };
    Ok(match found {
        Some((basis, mut ids)) if ids.len() == 1 => {
            why.push(sentence(basis, source));
            Key { basis, id: ids.pop(), records: Vec::new(), why }
        }
        Some((basis, ids)) => {
            why.push(sentence(basis, source));
            why.push(caution(ids.len()));
            Key { basis, id: Some(batch(facts(source).prefix, &ids)), records: ids, why }
        }
        None if invocation.aws_request_id.trim().is_empty() => {
            why.push("The invocation has no ID either, so each delivery is a request of its own.".to_owned());
            Key { basis: Basis::None, id: None, records: Vec::new(), why }
        }
        None => {
            why.push(sentence(Basis::Invocation, source));
            let id = id("invoke", &[invocation.aws_request_id]);
            Key { basis: Basis::Invocation, id: Some(id), records: Vec::new(), why }
        }
    })
}

fn sentence(basis: Basis, source: Source) -> String {
    match basis {
        Basis::Expression => format!("{} selects the request ID.", names::REQUEST_ID),
        Basis::Header => "A header of the request carries the request ID.".to_owned(),
        Basis::ClientContext => "The client context of the invocation carries the request ID.".to_owned(),
        Basis::Attribute => {
            "A message attribute carries the request ID, which its producer chose.".to_owned()
        }
        Basis::DeduplicationId => format!(
            "{} takes the deduplication ID. A content-based one comes again when the content does: the queue forgets \
             it after 5 minutes, AFT after the retention.",
            names::FIFO_DEDUPLICATION_ID
        ),
        Basis::Source
            if matches!(source, Source::Scheduler | Source::StepFunctions | Source::DurableFunction) =>
        {
            format!(
                "The request ID is the one that {} gives, with a hash of the payload: a function may pass such an ID on with \
             another task.",
                facts(source).name
            )
        }
        Basis::Source => format!("The request ID is the one that {} gives.", facts(source).name),
        Basis::Invocation => {
            "The request ID is that of the invocation, which Lambda's own retries keep.".to_owned()
        }
        Basis::None => {
            "There is no request ID: the request is atomic, and runs each time that it is delivered."
                .to_owned()
        }
    }
}

fn caution(records: usize) -> String {
    format!(
        "The event has {records} records, and the request ID is a hash over theirs in order. A batch may be cut \
         differently when it is delivered again, and is another request then: take the record mode, or batches of \
         one record."
    )
}

/// Returns the ID that an expression selects: from each record, where a source's records may be
/// handed over one by one, so that both ways agree on what `Records[0]` is.
fn by_expression(
    path: &Path,
    source: Source,
    event: Option<&Value>,
) -> Result<(String, Vec<String>), Missing> {
    let records =
        event.and_then(|event| event.get("Records")?.as_array()).filter(|_| source.has_record_mode());
    let Some(records) = records.filter(|records| records.len() > 1) else {
        return Ok((selected(&path.key(event)?), Vec::new()));
    };
    let of_record = |record: &Value| Ok(selected(&path.key(Some(&json!({ "Records": [record] })))?));
    let ids: Vec<String> = records.iter().map(of_record).collect::<Result<_, Missing>>()?;
    Ok((batch("key", &ids), ids))
}

fn by_header(
    rules: &Rules,
    source: Source,
    request: &Request<'_>,
    mut why: Vec<String>,
) -> Result<Key, (Reason, String)> {
    let name = rules.headers.first().map_or("idempotency-key", String::as_str);
    match header::key(rules, request) {
        Ok(Some(key)) => {
            why.push(sentence(Basis::Header, source));
            Ok(Key { basis: Basis::Header, id: Some(id("http", &[&key])), records: Vec::new(), why })
        }
        // Where an expression is set, it alone can be required, and that has been looked at.
        Ok(None) if rules.require(source) && rules.request_id(source).is_none() => Err((
            Reason::KeyMissing,
            format!("the request has no header {name}: send one, with a value that is new for each request"),
        )),
        Ok(None) => {
            why.push(sentence(Basis::None, source));
            Ok(Key { basis: Basis::None, id: None, records: Vec::new(), why })
        }
        Err(BadHeader::Several) => Err((
            Reason::SeveralKeys,
            format!("the request has two different request IDs in its headers ({name}): send one"),
        )),
        Err(BadHeader::Quotes) => Err((
            Reason::KeyMalformed,
            format!(
                "the header {name} is not a quoted string: close its quotes, and escape only \\\" and \\\\"
            ),
        )),
    }
}

fn by_client_context(rules: &Rules, invocation: &Invocation<'_>) -> Result<Option<String>, (Reason, String)> {
    let context: Value =
        invocation.client_context.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let custom = ["custom", "Custom"].iter().find_map(|name| context.get(name)?.as_object());
    let mut keys: Vec<&str> = custom
        .into_iter()
        .flatten()
        .filter(|(name, _)| rules.is_key_name(name))
        .filter_map(|(_, value)| value.as_str().map(str::trim).filter(|key| !key.is_empty()))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    match keys.as_slice() {
        [] => Ok(None),
        [key] => Ok(Some(id("client", &[key]))),
        _ => Err((
            Reason::SeveralKeys,
            "the client context has two different request IDs in its member custom: send one".to_owned(),
        )),
    }
}
