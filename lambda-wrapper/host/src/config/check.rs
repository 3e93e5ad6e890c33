//! The limits of a configuration.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Config, ConfigError, Function};

/// Lambda's longest timeout.
const TIMEOUT_MAX: Duration = Duration::from_secs(900);
/// Lambda's longest age of an event.
const EVENT_AGE_MAX: Duration = Duration::from_secs(6 * 60 * 60);
/// Lambda's most retries of an event.
const RETRIES_MAX: u8 = 2;
/// Lambda's longest name of a function.
const NAME_BYTES_MAX: usize = 64;
/// Lambda's most extensions.
pub(crate) const EXTENSIONS_MAX: usize = 10;
/// The most environments of a function: more processes than a developer's machine runs well.
const CONCURRENCY_MAX: u32 = 1_000;
/// Lambda's most invocations at once in an environment of a managed instance.
const MAX_CONCURRENCY_MAX: u32 = 1_600;
/// Lambda's memory sizes, in MiB.
const MEMORY_MB: std::ops::RangeInclusive<u32> = 128..=10_240;

/// Variables that the host sets, which a function's own would spoil.
const RESERVED: &[&str] = &[
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_EXEC_WRAPPER",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let wrong = |field: &str, problem: String| Err(ConfigError::new(field, problem));
    if !config.listen.ip().is_loopback() {
        return wrong(
            "listen",
            format!(
                "{} is reachable from elsewhere, and no signature is checked: listen on 127.0.0.1",
                config.listen
            ),
        );
    }
    if config.account.len() != 12 || !config.account.bytes().all(|byte| byte.is_ascii_digit()) {
        return wrong("account", format!("{:?} is no account: give twelve digits", config.account));
    }
    if !is_word(&config.region) {
        return wrong("region", format!("{:?} is no region: give one such as us-east-1", config.region));
    }
    if config.pause_divisor == 0 {
        return wrong(
            "pause_divisor",
            "it is 0: give 1 for Lambda's pauses, or more for shorter ones".into(),
        );
    }
    for (field, time) in [("idle", config.idle), ("init", config.init)] {
        if time.is_zero() {
            return wrong(field, "it is 0 s: give a longer time".into());
        }
    }
    let mut names = BTreeSet::new();
    for function in &config.functions {
        function_is_valid(function)?;
        if !names.insert(&function.name) {
            let place = format!("function {:?}: name", function.name);
            return Err(ConfigError::new(place, "another function has it: give each its own"));
        }
    }
    assert_eq!(names.len(), config.functions.len(), "names are unique");
    Ok(())
}

fn function_is_valid(function: &Function) -> Result<(), ConfigError> {
    let wrong = |field: &str, problem: String| {
        Err(ConfigError::new(format!("function {:?}: {field}", function.name), problem))
    };
    if !is_word(&function.name) || function.name.len() > NAME_BYTES_MAX {
        let form = format!("use letters, digits, - and _, at most {NAME_BYTES_MAX}");
        return wrong("name", format!("it is no name of a function: {form}"));
    }
    if function.command.first().is_none_or(String::is_empty) {
        return wrong("command", "it names no program: give one such as [\"python3\", \"app.py\"]".into());
    }
    if let Some(word) = function.command.iter().find(|word| word.contains('\0')) {
        return wrong("command", format!("{word:?} holds a NUL, which no argument may: remove it"));
    }
    if !function.directory.is_dir() {
        return wrong(
            "directory",
            format!("{} is no folder: make it, or give the folder of the code", function.directory.display()),
        );
    }
    if function.timeout.is_zero() || function.timeout > TIMEOUT_MAX {
        let max = TIMEOUT_MAX.as_secs();
        return wrong(
            "timeout",
            format!("it is {:?}: give more than 0 and at most {max} s", function.timeout),
        );
    }
    if !MEMORY_MB.contains(&function.memory_mb) {
        let (min, max) = (MEMORY_MB.start(), MEMORY_MB.end());
        return wrong("memory_mb", format!("it is {}: give {min} to {max}", function.memory_mb));
    }
    if function.concurrency == 0 || function.concurrency > CONCURRENCY_MAX {
        return wrong("concurrency", format!("it is {}: give 1 to {CONCURRENCY_MAX}", function.concurrency));
    }
    if let Some(max) = function.max_concurrency
        && !(1..=MAX_CONCURRENCY_MAX).contains(&max)
    {
        return wrong("max_concurrency", format!("it is {max}: give 1 to {MAX_CONCURRENCY_MAX}"));
    }
    if function.retries > RETRIES_MAX {
        return wrong("retries", format!("it is {}: give 0 to {RETRIES_MAX}", function.retries));
    }
    if function.event_age.is_zero() || function.event_age > EVENT_AGE_MAX {
        let max = EVENT_AGE_MAX.as_secs();
        let age = function.event_age;
        return wrong("event_age", format!("it is {age:?}: give more than 0 and at most {max} s"));
    }
    for (name, value) in &function.environment {
        if RESERVED.contains(&name.as_str()) {
            return wrong("environment", format!("{name} is set by the host: remove it"));
        }
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return wrong(
                "environment",
                format!("{name:?} is no variable: use no = in its name, and no NUL"),
            );
        }
    }
    if function.extensions.len() > EXTENSIONS_MAX {
        let count = function.extensions.len();
        return wrong("extensions", format!("there are {count}: give at most {EXTENSIONS_MAX}"));
    }
    let mut names = BTreeSet::new();
    for extension in &function.extensions {
        let name = extension.file_name().and_then(|name| name.to_str());
        if name.is_none_or(|name| !names.insert(name)) {
            return wrong(
                "extensions",
                format!("{} has no file name of its own: rename it", extension.display()),
            );
        }
    }
    for program in function.extensions.iter().chain(&function.wrapper) {
        if !program.is_file() {
            let field = if function.wrapper.as_ref() == Some(program) { "wrapper" } else { "extensions" };
            return wrong(field, format!("{} is no file: give the path of a program", program.display()));
        }
    }
    Ok(())
}

/// Returns true if `text` may stand in an ARN and a URL as it is.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(change: impl FnOnce(&mut Function), expect: &str) {
        let mut function = Function::new("pay", &["true"]);
        change(&mut function);
        let said = check(&Config::of(vec![function])).map_or_else(|why| why.to_string(), |()| String::new());
        assert!(said.contains(expect) && said.is_empty() == expect.is_empty(), "{said:?}: {expect:?}");
    }

    #[test]
    fn limits_are_lambdas() {
        check_one(|_| {}, "");
        check_one(|f| f.name = "a b".into(), "name: it is no name of a function");
        check_one(|f| f.command.clear(), "command: it names no program");
        check_one(|f| f.directory = "/nowhere/at/all".into(), "directory: /nowhere/at/all is no folder");
        check_one(|f| f.timeout = Duration::ZERO, "timeout: it is 0ns");
        check_one(|f| f.timeout = Duration::from_secs(901), "at most 900 s");
        check_one(|f| f.memory_mb = 64, "memory_mb: it is 64");
        check_one(|f| f.concurrency = 0, "concurrency: it is 0");
        check_one(|f| f.max_concurrency = Some(0), "max_concurrency: it is 0: give 1 to 1600");
        check_one(|f| f.max_concurrency = Some(8), "");
        check_one(|f| f.retries = 3, "retries: it is 3: give 0 to 2");
        check_one(|f| f.event_age = Duration::ZERO, "event_age");
        check_one(
            |f| drop(f.environment.insert("AWS_LAMBDA_RUNTIME_API".into(), "x".into())),
            "AWS_LAMBDA_RUNTIME_API is set by the host: remove it",
        );
        check_one(|f| drop(f.environment.insert("AWS_ACCESS_KEY_ID".into(), "x".into())), "");
        check_one(|f| f.extensions = vec!["/nowhere/ext".into()], "extensions: /nowhere/ext is no file");
        check_one(|f| f.wrapper = Some("/nowhere/wrap".into()), "wrapper: /nowhere/wrap is no file");
    }

    #[test]
    fn names_are_unique() {
        let functions = vec![Function::new("pay", &["true"]), Function::new("pay", &["true"])];
        let why = check(&Config::of(functions)).unwrap_err().to_string();
        assert!(why.contains("another function has it"), "{why}");
    }

    #[test]
    fn only_loopback_is_served() {
        let listen = "0.0.0.0:9001".parse().unwrap();
        let why = check(&Config { listen, ..Config::default() }).unwrap_err().to_string();
        assert!(why.contains("listen on 127.0.0.1"), "{why}");
    }
}
