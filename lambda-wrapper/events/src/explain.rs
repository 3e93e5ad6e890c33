//! The identity of an event in words, for `aft-layer explain-key`.

use std::time::Duration;

use crate::facts::facts;
use crate::hash::hex;
use crate::identity::Identity;
use crate::key::Basis;
use crate::rules::names;

/// The width of the text, in columns.
const COLUMNS: usize = 80;
/// The width of the labels before it.
const LABEL_COLUMNS: usize = 14;

/// Explains an identity, in lines of at most 80 columns. Longer IDs are broken.
#[must_use]
pub fn explain(identity: &Identity) -> String {
    let facts = facts(identity.source);
    let mut text = String::new();
    let mut add = |label: &str, paragraph: &str| {
        for (at, line) in wrapped(paragraph).iter().enumerate() {
            let label = if at == 0 { label } else { "" };
            text.push_str(format!("{label:LABEL_COLUMNS$}{line}").trim_end());
            text.push('\n');
        }
    };
    add("source", facts.name);
    add("recognised by", facts.recognised_by);
    add("request ID", identity.request_id.as_deref().unwrap_or("none: atomic, and run at each delivery"));
    if !identity.records.is_empty() {
        add("records", &identity.records.len().to_string());
        identity.records.iter().for_each(|record| add("", record));
    }
    add("scope", &identity.scope);
    let kept = duration(identity.retention);
    let origin =
        if identity.retention == facts.retention { facts.retention_from } else { "As the settings say." };
    add("retention", &format!("{kept}. {origin}"));
    add("fingerprint", &hex(&identity.fingerprint));
    let (stable, unstable) = stability(identity);
    add("stable over", stable);
    add("but not over", unstable);
    for (at, sentence) in identity.why.iter().enumerate() {
        add(if at == 0 { "why" } else { "" }, sentence);
    }
    for (at, remedy) in remedies(identity).iter().enumerate() {
        add(if at == 0 { "to change it" } else { "" }, remedy);
    }
    text
}

/// Returns the repetitions over which the request ID stays the same, and those over which not.
fn stability(identity: &Identity) -> (&'static str, &'static str) {
    let facts = facts(identity.source);
    if !identity.records.is_empty() {
        return (
            "Deliveries of the same records in the same order.",
            "A batch that is cut differently when its records come again. In the record mode each \
             record keeps its ID.",
        );
    }
    match identity.basis {
        Basis::Expression | Basis::ClientContext | Basis::Attribute => (
            "Every delivery and every repetition that carries the same value.",
            "A repetition for which its sender makes a new value.",
        ),
        Basis::DeduplicationId => (
            "Every message of the group with the same deduplication ID, within the retention.",
            "A message that its producer sends again with another deduplication ID.",
        ),
        Basis::Header | Basis::Source => (facts.stable, facts.unstable),
        Basis::Invocation => (
            "Lambda's own retries of an asynchronous invocation.",
            "Everything else: a repeated call, and a redelivery by a queue or a stream, has a new ID.",
        ),
        Basis::None => ("Nothing.", "Any repetition."),
    }
}

fn remedies(identity: &Identity) -> Vec<String> {
    let mut remedies = Vec::new();
    if identity.source.is_http() {
        remedies.push(format!(
            "{}: other names of the header. {}: an expression for the caller.",
            names::HEADERS,
            names::CALLER
        ));
    }
    if identity.source == crate::Source::SqsFifo && identity.basis == Basis::Source {
        remedies.push(format!("{}=true: the deduplication ID instead.", names::FIFO_DEDUPLICATION_ID));
    }
    remedies.push(format!(
        "{}: a JMESPath expression, such as powertools_json(body).order_id. {}=true: reject events in which it finds \
         nothing.",
        names::REQUEST_ID,
        names::REQUIRE
    ));
    remedies.push(format!(
        "{}: an expression for what retries must repeat. {}: another retention.",
        names::FINGERPRINT,
        names::RETENTION
    ));
    remedies
}

fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (number, unit) = match seconds {
        0 => (duration.as_secs_f64(), "s"),
        _ if seconds.is_multiple_of(86_400) => (seconds as f64 / 86_400.0, "days"),
        _ if seconds.is_multiple_of(3_600) => (seconds as f64 / 3_600.0, "h"),
        _ if seconds.is_multiple_of(60) => (seconds as f64 / 60.0, "min"),
        _ => (seconds as f64, "s"),
    };
    if number == 1.0 && unit == "days" { "1 day".to_owned() } else { format!("{number} {unit}") }
}

/// Returns a paragraph as lines that fit beside the labels.
fn wrapped(paragraph: &str) -> Vec<String> {
    let width = COLUMNS - LABEL_COLUMNS;
    let mut lines = vec![String::new()];
    let mut columns = 0;
    for word in paragraph.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        // A word that does not fit into any line is broken at the end of each.
        loop {
            let space = usize::from(columns > 0);
            let line = lines.last_mut().expect("there is a line");
            if columns + space + word.len() <= width {
                line.extend(std::iter::repeat_n(' ', space));
                line.extend(&word);
                columns += space + word.len();
                break;
            }
            if columns == 0 {
                line.extend(word.drain(..width));
            }
            lines.push(String::new());
            columns = 0;
        }
    }
    lines
}
