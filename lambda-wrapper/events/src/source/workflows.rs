//! Step Functions and durable functions.
//!
//! Step Functions tells a function nothing of its own accord: a state machine has to pass `$$` (its
//! context object) or parts of it. Recognised are a context object under any name at the top of the
//! event, its members `Execution` and `State` spread over the event, and a task token.

use serde_json::Value;

use super::Source;
use crate::json::{arn_of, filled, has_texts, text};

/// The shortest text that is taken for a task token; real ones have hundreds of characters.
const TOKEN_BYTES_MIN: usize = 64;
/// The names under which state machines pass a task token.
pub(crate) const TOKEN_NAMES: &[&str] = &["TaskToken", "taskToken", "task_token"];
/// The members of a context object.
pub(crate) const CONTEXT_NAMES: &[&str] = &["Execution", "State", "StateMachine", "Task", "Map"];

/// The task of a state machine that an event belongs to.
#[derive(Debug, PartialEq)]
pub(crate) enum Task<'a> {
    /// Its context object was passed.
    Context {
        /// The member of the event that holds the context object; `None` if it is the event itself.
        member: Option<&'a str>,
        /// The ARN of the execution.
        execution: &'a str,
        /// The name of the state.
        state: &'a str,
        /// The time when the state was entered, if that was passed: it differs between the rounds
        /// of a loop.
        entered: Option<&'a str>,
        /// The index in the innermost map state, if that was passed.
        index: Option<u64>,
    },
    /// Only its token was passed.
    Token {
        /// The member of the event that holds it.
        member: &'a str,
        /// The token.
        token: &'a str,
    },
}

pub(super) fn of(event: &Value) -> Option<Source> {
    if is_durable(event) {
        return Some(Source::DurableFunction);
    }
    task(event).map(|_| Source::StepFunctions)
}

fn is_durable(event: &Value) -> bool {
    text(event, &["DurableExecutionArn"]).is_some_and(|arn| arn_of(arn, "lambda"))
        && has_texts(event, &[&["CheckpointToken"]])
        && event.get("InitialExecutionState").is_some_and(Value::is_object)
}

/// Returns the task that an event belongs to.
pub(crate) fn task(event: &Value) -> Option<Task<'_>> {
    let members = event.as_object()?;
    let nested = members.iter().find_map(|(name, value)| context(Some(name), value));
    let token = || {
        TOKEN_NAMES.iter().find_map(|name| {
            let token = filled(event, &[name]).filter(|token| is_token(token))?;
            Some(Task::Token { member: name, token })
        })
    };
    context(None, event).or(nested).or_else(token)
}

fn context<'a>(member: Option<&'a str>, object: &'a Value) -> Option<Task<'a>> {
    let execution = text(object, &["Execution", "Id"]).filter(|arn| arn_of(arn, "states"))?;
    Some(Task::Context {
        member,
        execution,
        state: filled(object, &["State", "Name"])?,
        entered: filled(object, &["State", "EnteredTime"]),
        index: object.get("Map").and_then(|map| map.get("Item")?.get("Index")?.as_u64()),
    })
}

fn is_token(text: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
    text.len() >= TOKEN_BYTES_MIN && text.bytes().all(is_base64)
}
