//! The variables of an environment's processes, as Lambda sets them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::arn::VERSION;
use crate::config::{Config, Function, PATH};

/// Variables that Lambda gives to the runtime and not to extensions.
const RUNTIME_ONLY: &[&str] = &[
    "_HANDLER",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// Returns the runtime's variables. `runtime_api` is the address of the environment's own API, and
/// `log_stream` names the environment.
pub(crate) fn of_runtime(
    config: &Config,
    function: &Function,
    runtime_api: SocketAddr,
    log_stream: &str,
) -> BTreeMap<String, String> {
    assert!(runtime_api.ip().is_loopback(), "the Runtime API has no credentials");
    assert_ne!(runtime_api.port(), 0, "the listener is bound");
    let mut variables = BTreeMap::from([
        ("LANG".to_owned(), "en_US.UTF-8".to_owned()),
        ("PATH".to_owned(), config.path.clone().unwrap_or_else(|| PATH.to_owned())),
        ("TZ".to_owned(), ":UTC".to_owned()),
    ]);
    // A function may choose these three, and names none of those below: `Config::check` sees to it.
    variables.extend(function.environment.clone());
    let initialization_type = match function.max_concurrency {
        None => "on-demand",
        Some(max) => {
            variables.insert("AWS_LAMBDA_MAX_CONCURRENCY".to_owned(), max.to_string());
            "lambda-managed-instances"
        }
    };
    let own = [
        ("_HANDLER", function.handler.clone()),
        ("AWS_DEFAULT_REGION", config.region.clone()),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_local".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory_mb.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", function.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", VERSION.to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", initialization_type.to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", function.name)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", log_stream.to_owned()),
        ("AWS_LAMBDA_RUNTIME_API", runtime_api.to_string()),
        ("AWS_REGION", config.region.clone()),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime".to_owned()),
        ("LAMBDA_TASK_ROOT", function.directory.display().to_string()),
    ];
    for (name, value) in own {
        let before = variables.insert(name.to_owned(), value);
        assert!(before.is_none(), "{name} is reserved");
    }
    if let Some(wrapper) = &function.wrapper {
        variables.insert("AWS_LAMBDA_EXEC_WRAPPER".to_owned(), wrapper.display().to_string());
    }
    variables
}

/// Returns the variables of the external extensions beside a runtime with `variables`.
pub(crate) fn of_extensions(variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut kept = variables.clone();
    kept.retain(|name, _| !RUNTIME_ONLY.contains(&name.as_str()));
    assert!(kept.contains_key("AWS_LAMBDA_RUNTIME_API"), "an extension has to register");
    assert!(!kept.contains_key("_HANDLER"), "an extension runs no handler");
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_lambdas() {
        let mut function = Function::new("pay", &["true"]);
        function.environment.insert("AWS_ACCESS_KEY_ID".into(), "mine".into());
        function.environment.insert("PATH".into(), "/mine".into());
        function.wrapper = Some("/opt/wrap".into());
        let api = "127.0.0.1:9".parse().unwrap();
        let runtime = of_runtime(&Config::default(), &function, api, "2026/01/02/[$LATEST]ab");
        for (name, value) in [
            ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/pay"),
            ("AWS_LAMBDA_EXEC_WRAPPER", "/opt/wrap"),
            ("AWS_ACCESS_KEY_ID", "mine"),
            ("PATH", "/mine"),
            ("_HANDLER", "handler.handler"),
        ] {
            assert_eq!(runtime[name], value, "{name}");
        }
        assert!(!runtime.contains_key("AWS_LAMBDA_MAX_CONCURRENCY"));
        let extensions = of_extensions(&runtime);
        assert!(!extensions.contains_key("LAMBDA_TASK_ROOT"));
        assert_eq!(extensions["AWS_REGION"], "us-east-1");
        function.max_concurrency = Some(8);
        let managed = of_runtime(&Config::default(), &function, api, "2026/01/02/[$LATEST]ab");
        assert_eq!(managed["AWS_LAMBDA_MAX_CONCURRENCY"], "8");
        assert_eq!(managed["AWS_LAMBDA_INITIALIZATION_TYPE"], "lambda-managed-instances");
    }
}
