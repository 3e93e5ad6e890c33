//! The sample events, and invocations with them.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use aft_lambda_events::{Identity, Invocation, Rejected, Rules, identify};
use serde_json::Value;

pub const FUNCTION: &str = "arn:aws:lambda:eu-west-1:210987654321:function:orders:live";
pub const AWS_REQUEST_ID: &str = "5b441b59-a550-11e8-8f4a-f00d5b8c2a11";

/// The sample events by name, read once.
static EVENTS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events");
    let files = std::fs::read_dir(folder).expect("the folder of samples is there");
    let read = |path: &Path| {
        let bytes = std::fs::read(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        serde_json::from_slice(&bytes).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
    };
    let paths = files.map(|file| file.expect("a sample can be listed").path());
    let name = |path: &Path| path.file_stem().expect("a sample has a name").to_string_lossy().into_owned();
    paths.map(|path| (name(&path), read(&path))).collect()
});

/// Returns a sample event.
pub fn event(name: &str) -> Value {
    EVENTS.get(name).unwrap_or_else(|| panic!("no sample {name}")).clone()
}

/// Returns the names of all sample events, in order.
pub fn names() -> Vec<String> {
    EVENTS.keys().cloned().collect()
}

/// Returns an invocation with an event.
pub fn invocation(event: &[u8]) -> Invocation<'_> {
    Invocation {
        event,
        aws_request_id: AWS_REQUEST_ID,
        function_arn: FUNCTION,
        tenant_id: None,
        client_context: None,
    }
}

/// Identifies an event by some rules.
pub fn try_of(rules: &Rules, event: &Value) -> Result<Identity, Rejected> {
    identify(rules, &invocation(event.to_string().as_bytes()))
}

/// Identifies an event by the default rules.
pub fn of(event: &Value) -> Identity {
    try_of(&Rules::default(), event).expect("the default rules reject no sample")
}

/// Returns a changed copy.
pub fn with(event: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut event = event.clone();
    change(&mut event);
    event
}

/// Returns a copy in which the value at a JSON pointer is another one.
pub fn set(event: &Value, pointer: &str, value: Value) -> Value {
    with(event, |event| *event.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value)
}
