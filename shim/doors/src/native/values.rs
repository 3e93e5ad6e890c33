//! Values on their way in and out: what is inline and what becomes a blob, content types, reads.

use aft_core::ids::{AttemptId, Key};
use aft_core::message::{Found, Op, Read};
use aft_core::record::{Location, Value, Write};
use aft_wire::http::{self, Attributes, Code, OpKind, header};
use bytes::Bytes;

use crate::failure::{Failure, Result};
use crate::path::parse_key;
use crate::router::Doors;
use crate::settings::CONTENT_TYPE_BYTES_MAX;

/// Values up to this size stay inline whatever was spent: the node does not make blobs of them.
const ALWAYS_INLINE_BYTES_MAX: usize = 16 << 10;

/// A call's operations, checked, with a place for every value.
#[derive(Debug)]
pub(crate) struct Plan {
    steps: Vec<Step>,
    /// What the inline values add to the commit record, in bytes.
    pub(crate) inline_bytes: usize,
    /// Some values must be stored in parts first, within an open transaction.
    pub(crate) has_large: bool,
    /// Some operations read.
    pub(crate) has_reads: bool,
}

#[derive(Debug)]
enum Step {
    Ready(Op),
    Large { key: Key, bytes: Bytes, attributes: Bytes },
}

impl Plan {
    /// Checks operations, and places their values within what is left of the transaction's room in its commit record: the smallest first,
    /// since they gain least from a blob.
    pub(crate) fn new(doors: &Doors, ops: Vec<http::Op>, spent: usize) -> Result<Plan> {
        let mut plan = Plan {
            steps: Vec::with_capacity(ops.len()),
            inline_bytes: 0,
            has_large: false,
            has_reads: false,
        };
        let mut puts = Vec::new();
        for (at, op) in ops.into_iter().enumerate() {
            let named = |mut failure: Failure| {
                failure.0.detail = format!("operation {at}: {}", failure.0.detail);
                failure
            };
            let step = match op.kind {
                Some(OpKind::Get(key)) => {
                    plan.has_reads = true;
                    Step::Ready(Op::Get(parse_key(&key).map_err(named)?))
                }
                Some(OpKind::Delete(key)) => Step::Ready(Op::Delete(parse_key(&key).map_err(named)?)),
                Some(OpKind::Put(put)) => {
                    puts.push((put.value.len(), at));
                    let attributes = attributes(put.content_type).map_err(named)?;
                    Step::Large { key: parse_key(&put.key).map_err(named)?, bytes: put.value, attributes }
                }
                None => {
                    return Err(Failure::invalid(format!(
                        "operation {at} is none: it needs get, put or delete"
                    )));
                }
            };
            plan.steps.push(step);
        }
        puts.sort_unstable();
        let settings = &doors.settings;
        for (size, at) in puts {
            let Step::Large { attributes, .. } = &plan.steps[at] else { unreachable!("puts start as large") };
            let with_attributes = size + attributes.len();
            let fits = spent + plan.inline_bytes + with_attributes <= settings.inline_bytes_max;
            if size <= ALWAYS_INLINE_BYTES_MAX || (size <= settings.inline_value_bytes_max && fits) {
                plan.inline_bytes += with_attributes;
                plan.steps[at].make_inline();
            } else {
                plan.inline_bytes += attributes.len();
                plan.has_large = true;
            }
        }
        Ok(plan)
    }

    /// The operations, once every large value is stored.
    pub(crate) async fn stored(self, doors: &Doors, attempt: AttemptId) -> Result<Vec<Op>> {
        let mut ops = Vec::with_capacity(self.steps.len());
        for step in self.steps {
            ops.push(match step {
                Step::Ready(op) => op,
                Step::Large { key, bytes, attributes } => {
                    const ETAG: Bytes = Bytes::new();
                    const INLINE_BUDGET: usize = 0;
                    let value =
                        doors.node.store_value(attempt, bytes, ETAG, attributes, INLINE_BUDGET).await?;
                    Op::Put(key, value)
                }
            });
        }
        Ok(ops)
    }

    /// The operations, if no value is large.
    ///
    /// # Panics
    /// If one is.
    pub(crate) fn ready(self) -> Vec<Op> {
        let ready = |step| match step {
            Step::Ready(op) => op,
            Step::Large { key, .. } => panic!("the value of {key} is large"),
        };
        self.steps.into_iter().map(ready).collect()
    }
}

impl Step {
    fn make_inline(&mut self) {
        if let Step::Large { key, bytes, attributes } = self {
            let value = Value {
                size: bytes.len() as u64,
                location: Location::Inline(std::mem::take(bytes)),
                etag: Bytes::new(),
                attributes: std::mem::take(attributes),
            };
            *self = Step::Ready(Op::Put(key.clone(), value));
        }
    }
}

fn attributes(content_type: Option<String>) -> Result<Bytes> {
    let Some(content_type) = content_type else { return Ok(Bytes::new()) };
    if content_type.len() > CONTENT_TYPE_BYTES_MAX {
        return Err(Failure::beyond(
            Code::Invalid,
            "a content type",
            CONTENT_TYPE_BYTES_MAX,
            content_type.len(),
        ));
    }
    if let Some(position) = content_type.bytes().position(|byte| !(b' '..=b'~').contains(&byte)) {
        return Err(Failure::invalid_at(
            position,
            format!(
                "a content type is visible ASCII, to be given back in a header; byte {position} of this one is not"
            ),
        ));
    }
    Ok(Attributes { content_type: Some(content_type) }.to_bytes())
}

/// The content type that was kept with a value.
pub(crate) fn content_type(key: &Key, value: &Value) -> Result<Option<String>> {
    let attributes = Attributes::from_bytes(&value.attributes)
        .map_err(|why| Failure::new(Code::Damaged, format!("the attributes of {key:?} are none: {why}")))?;
    Ok(attributes.content_type)
}

/// A value that was found, and its version.
pub(crate) fn found(found: Found) -> Option<(Value, String)> {
    match found {
        Found::Own(Write::Put(value)) => Some((value, header::VERSION_UNCOMMITTED.into())),
        Found::Version(txn, Write::Put(value)) => Some((value, txn.to_string())),
        Found::Own(Write::Tombstone) | Found::Version(_, Write::Tombstone) | Found::Absent => None,
    }
}

/// Reads with their values.
pub(crate) async fn resolve(doors: &Doors, reads: Vec<Read>) -> Result<Vec<http::Read>> {
    let mut results = Vec::with_capacity(reads.len());
    for read in reads {
        let mut result = http::Read { key: read.key.as_str().to_owned(), ..http::Read::default() };
        if let Some((value, version)) = found(read.found) {
            result.content_type = content_type(&read.key, &value)?;
            result.version = Some(version);
            result.value = Some(doors.node.read_value(&read.key, &value).await?);
        }
        results.push(result);
    }
    Ok(results)
}
