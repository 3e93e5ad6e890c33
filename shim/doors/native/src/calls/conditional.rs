//! Conditions of writes, with an operation of a batch or in the headers of a single write (RFC
//! 9110, section 13). The entity tag is the version.

use aft_access::Right;
use aft_api::{self as api, OpIf, OpKind};
use aft_core::ids::{Key, TxnId};
use aft_core::message::{Condition, Op};
use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName};

use crate::caller::Caller;
use crate::failure::{Failure, Result};
use aft_net::browser::excerpt;

/// Returns the condition of an operation, as a check that must run before the operation.
pub(crate) fn of(caller: &Caller, op: &api::Op) -> Result<Option<Op>> {
    let key = match &op.kind {
        Some(OpKind::Check(key) | OpKind::Delete(key)) => key,
        Some(OpKind::Put(put)) => &put.key,
        Some(OpKind::Get(_) | OpKind::Add(_)) | None if op.condition.is_some() => {
            return Err(Failure::invalid("only a put, a delete or a check may have a condition"));
        }
        Some(OpKind::Get(_) | OpKind::Add(_)) | None => return Ok(None),
    };
    let check = condition(op.condition.as_ref())?;
    if check.is_none() && matches!(op.kind, Some(OpKind::Check(_))) {
        return Err(Failure::invalid("a check needs a condition: if_absent, if_version or if_value"));
    }
    check.map(|condition| Ok(Op::Check(caller.key(key, Right::Read)?, condition))).transpose()
}

/// Returns a condition on a key as an operation. It needs the right to read, since the outcome
/// tells something about the key's value.
pub(crate) fn check(caller: &Caller, key: &Key, given: Option<&OpIf>) -> Result<Option<Op>> {
    let condition = condition(given)?;
    condition.map(|condition| Ok(Op::Check(caller.key(key.as_str(), Right::Read)?, condition))).transpose()
}

fn condition(given: Option<&OpIf>) -> Result<Option<Condition>> {
    Ok(match given {
        None | Some(OpIf::Absent(false)) => None,
        Some(OpIf::Absent(true)) => Some(Condition::Absent),
        Some(OpIf::Value(bytes)) => Some(Condition::Value(bytes.clone())),
        Some(OpIf::Version(text)) => Some(Condition::Version(TxnId::parse(text).ok_or_else(|| {
            let text = excerpt(text);
            Failure::invalid(format!("{text:?} is not a version: give the \"version\" of a reply"))
        })?)),
    })
}

/// Returns the condition in the headers of a single write.
pub(crate) fn of_headers(headers: &HeaderMap) -> Result<Option<OpIf>> {
    match (one(headers, &IF_MATCH)?, one(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(None),
        (None, Some("*")) => Ok(Some(OpIf::Absent(true))),
        (None, Some(_)) => Err(Failure::invalid(
            "If-None-Match of a write must be *, for a key without a value: give a version in If-Match instead",
        )),
        (Some(text), None) => match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(version) => Ok(Some(OpIf::Version(version.to_owned()))),
            None => Err(Failure::invalid(
                "If-Match of a write must be one version in quotes, as in the header ETag of a read",
            )),
        },
        (Some(_), Some(_)) => {
            Err(Failure::invalid("the call has both If-Match and If-None-Match: send only one of them"))
        }
    }
}

/// Returns the value of a header that may be sent once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::invalid(format!("the header {name} is given twice: send it once")));
    }
    let text = value.to_str().map_err(|_| Failure::invalid(format!("the header {name} is not ASCII")))?;
    Ok(Some(text.trim()))
}
