//! Values on their way in and out: operations, content types, reads.

use aft_access::{Load, Right};
use aft_api::{self as api, Code, OpKind, header};
use aft_core::ids::Key;
use aft_core::message::{Committed, Found, Op, Read};
use aft_core::record::{Location, Value, Write};
use aft_format::Attributes;
use aft_net::body::SMALL_BYTES_MAX;
use bytes::Bytes;
use futures::stream::{StreamExt as _, TryStreamExt as _, iter};

use crate::caller::Caller;
use crate::failure::{Failure, Result};
use crate::native::conditional;
use crate::settings::CONTENT_TYPE_BYTES_MAX;
use crate::share::Share;

/// Values of one call that are read at once: hides a store's latency where many of them are blobs.
const READS_AT_ONCE: usize = 8;

/// A call's operations, checked. Values are inline, whatever their size: the node finds them a place.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) ops: Vec<Op>,
    /// Some operations read.
    pub(crate) has_reads: bool,
}

impl Plan {
    /// One operation that writes.
    pub(crate) fn of(op: Op) -> Plan {
        Plan { has_reads: matches!(op, Op::Get(_)), ops: vec![op] }
    }

    /// Returns the first key that they touch.
    pub(crate) fn first_key(&self) -> Option<&Key> {
        self.ops.iter().find_map(Op::key)
    }

    /// What they take in their transaction.
    pub(crate) fn load(&self) -> Load {
        let mut load = Load::default();
        for op in &self.ops {
            match op {
                Op::Get(key) | Op::Delete(key) | Op::Check(key, _) | Op::Add(key, _) => {
                    load.add(key.as_str().len(), 0)
                }
                Op::Put(key, value) => load.add(key.as_str().len(), value.inline_bytes()),
                Op::Result(_) | Op::Fingerprint(_) => {}
            }
        }
        load
    }

    /// Checks operations: what they are, and whether the caller may.
    pub(crate) fn new(caller: &Caller, ops: Vec<api::Op>) -> Result<Plan> {
        let mut plan = Plan { ops: Vec::with_capacity(ops.len()), has_reads: false };
        for (at, op) in ops.into_iter().enumerate() {
            let at_it = |mut failure: Failure| {
                failure.0.detail = format!("operation {at}: {}", failure.0.detail);
                failure
            };
            plan.ops.extend(conditional::of(caller, &op).map_err(at_it)?);
            let Some(op) = checked(caller, op).map_err(at_it)? else { continue };
            plan.has_reads |= matches!(op, Op::Get(_));
            plan.ops.push(op);
        }
        Ok(plan)
    }
}

/// Checks an operation besides its condition; a check is nothing more.
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
        None => return Err(Failure::invalid("there is none: it needs get, put, delete, check or add")),
    }))
}

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
                "a content type is visible ASCII, to be given back in a header; byte {position} of this one is not"
            ),
        ));
    }
    Ok(Attributes { content_type: Some(content_type) }.to_bytes())
}

/// The content type that was kept with a value.
pub(crate) fn content_type(key: &Key, value: &Value) -> Result<Option<String>> {
    let attributes = Attributes::from_bytes(&value.attributes).map_err(|why| {
        Failure::damaged(&format!("the attributes of the value of {key:?} cannot be read: {why}"))
    })?;
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

/// Reads with their values, and the share of the reply that they will be in.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) reads: Vec<api::Read>,
    pub(crate) share: Option<Share>,
}

impl Results {
    /// The sums of a call that has committed.
    pub(crate) fn of_sums(reads: Vec<Read>, committed: &Committed) -> Results {
        let version = committed.txn.map(|txn| txn.to_string());
        let sum = |Read { key, found }| {
            let (value, _) = self::found(found).expect("a sum is a value");
            let Location::Inline(bytes) = value.location else { unreachable!("a sum is a few digits") };
            api::Read {
                key: key.as_str().to_owned(),
                value: Some(bytes),
                version: version.clone(),
                ..api::Read::default()
            }
        };
        Results { reads: reads.into_iter().map(sum).collect(), share: None }
    }
}

/// A reply is held as its values and as its encoding at once, in JSON a third longer and in a vector that grows.
const ENCODED_TIMES: usize = 3;

/// Reads with their values.
///
/// The reply is held and encoded as a whole, so its values have the bound of a request's body.
pub(crate) async fn resolve(caller: &Caller, reads: Vec<Read>) -> Result<Results> {
    let size = |read: &Read| match &read.found {
        Found::Own(write) | Found::Version(_, write) => write.value().map_or(0, |value| value.size),
        Found::Absent => 0,
    };
    let bytes: u64 = reads.iter().map(size).sum();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let limit = caller.settings.body_bytes_max;
    if reads.len() > 1 && bytes > limit {
        let mut failure =
            Failure::beyond(Code::TooLarge, "what one call reads, all values together,", limit, bytes);
        failure.0.detail.push_str(": read fewer keys in a call, or large values one by one with GET; what this call wrote or committed stands");
        return Err(failure);
    }
    let with_keys = reads.iter().fold(bytes, |sum, read| sum.saturating_add(read.key.as_str().len()));
    let share = match with_keys {
        ..=SMALL_BYTES_MAX => None,
        large => caller.share(large.saturating_mul(ENCODED_TIMES))?,
    };
    let reads =
        iter(reads).map(|read| resolve_one(caller, read)).buffered(READS_AT_ONCE).try_collect().await?;
    Ok(Results { reads, share })
}

async fn resolve_one(caller: &Caller, read: Read) -> Result<api::Read> {
    let mut result = api::Read { key: read.key.as_str().to_owned(), ..api::Read::default() };
    if let Some((value, version)) = found(read.found) {
        result.content_type = content_type(&read.key, &value)?;
        result.version = Some(version);
        result.value = Some(caller.node.read_value(&read.key, &value).await?);
    }
    Ok(result)
}
