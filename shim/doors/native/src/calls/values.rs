//! Conversion of operations and reads between the API's types and the desk's.

use aft_access::Right;
use aft_api::{self as api, Code, OpKind, header};
use aft_core::message::Op;
use aft_core::record::{Location, Value};
use aft_desk::{Got, Plan, ReadValue, Version};
use aft_format::Attributes;
use bytes::Bytes;

use crate::caller::Caller;
use crate::calls::conditional;
use crate::failure::{Failure, Result};
use crate::settings::CONTENT_TYPE_BYTES_MAX;

/// Checks operations and the caller's rights to them, and makes a plan. Values of any size are
/// inline: the node decides where to store them.
pub(crate) fn plan(caller: &Caller, ops: Vec<api::Op>) -> Result<Plan> {
    let mut plan = Plan::default();
    for (at, op) in ops.into_iter().enumerate() {
        let at_it = |mut failure: Failure| {
            failure.problem.detail = format!("operation {at}: {}", failure.problem.detail);
            failure
        };
        plan.extend(conditional::of(caller, &op).map_err(at_it)?);
        plan.extend(checked(caller, op).map_err(at_it)?);
    }
    Ok(plan)
}

/// Checks an operation without its condition. `None` for a check, which has nothing else.
fn checked(caller: &Caller, op: api::Op) -> Result<Option<Op>> {
    Ok(Some(match op.kind {
        Some(OpKind::Check(_)) => return Ok(None),
        Some(OpKind::Add(add)) => {
            caller.key(&add.key, Right::Read)?;
            Op::Add(caller.key(&add.key, Right::Write)?, add.by)
        }
        Some(OpKind::Get(key)) => Op::Get(caller.key(&key, Right::Read)?),
        Some(OpKind::Delete(key)) => Op::Delete(caller.key(&key, Right::Write)?),
        Some(OpKind::Put(put)) => {
            let key = caller.key(&put.key, Right::Write)?;
            let value = Value {
                size: put.value.len() as u64,
                location: Location::Inline(put.value),
                etag: Bytes::new(),
                attributes: attributes(put.content_type)?,
            };
            Op::Put(key, value)
        }
        None => return Err(Failure::invalid("it is empty: it needs get, put, delete, check or add")),
    }))
}

/// Returns the attributes that are kept with a value of this content type.
pub(crate) fn attributes(content_type: Option<String>) -> Result<Bytes> {
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
                "a content type must be visible ASCII, because it is returned in a header; byte {position} of this one is not"
            ),
        ));
    }
    Ok(Attributes { content_type: Some(content_type), ..Attributes::default() }.to_bytes())
}

/// Formats a version for a reply.
pub(crate) fn version_text(version: Version) -> String {
    match version {
        Version::Uncommitted => header::VERSION_UNCOMMITTED.into(),
        Version::Committed(txn) => txn.to_string(),
    }
}

/// Converts a read for a reply.
pub(crate) fn reported(read: ReadValue) -> api::Read {
    let mut result = api::Read { key: read.key.as_str().to_owned(), ..api::Read::default() };
    if let Some(Got { attributes, version, bytes }) = read.found {
        result.content_type = attributes.content_type;
        result.version = Some(version_text(version));
        result.value = Some(bytes);
    }
    result
}
