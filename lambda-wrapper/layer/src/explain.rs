//! `aft-layer explain-key`: the request ID that an event would get, and why.

use std::ffi::OsStr;
use std::io::Read as _;

use aft_lambda_events::{Invocation, Rules, explain, identify};

/// Returns the explanation of the event in a file; `-` is the standard input.
///
/// # Errors
/// Returns the reason why the file cannot be read, or why the rules reject the event.
pub fn run(file: &OsStr, rules: &Rules, get: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut event = Vec::new();
    let shown = file.to_string_lossy();
    let read = match file == "-" {
        true => std::io::stdin().lock().read_to_end(&mut event).map(drop),
        false => std::fs::read(file).map(|bytes| event = bytes),
    };
    read.map_err(|why| format!("cannot read the event in {shown}: {why}"))?;
    let name = get("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| "FUNCTION".into());
    let arn = format!("arn:aws:lambda:REGION:ACCOUNT:function:{name}");
    let invocation = Invocation {
        event: &event,
        aws_request_id: "AWS-REQUEST-ID",
        function_arn: &arn,
        tenant_id: None,
        client_context: None,
    };
    match identify(rules, &invocation) {
        Ok(identity) => Ok(explain(&identity)),
        Err(why) => Err(format!("{shown}: the event would be rejected: {why}")),
    }
}
