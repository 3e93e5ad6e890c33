//! The exec wrapper: sets the environment of the runtime, and becomes the runtime. No process of
//! ours remains between Lambda and the function.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::environment;
use crate::settings::NEXT_WRAPPER;

/// Becomes the command, and returns only if that fails.
pub fn run(command: Vec<OsString>) -> String {
    let get = |name: &str| std::env::var(name).ok();
    let Some(runtime_api) = get("AWS_LAMBDA_RUNTIME_API") else {
        return "AWS_LAMBDA_RUNTIME_API is not set: the wrapper runs inside AWS Lambda, or a local host of it".into();
    };
    let endpoints = match environment::ask(&runtime_api) {
        Ok(endpoints) => endpoints,
        Err(why) => return why,
    };
    // Another wrapper gets the command that Lambda gave to this one.
    let next = std::env::var_os(NEXT_WRAPPER).filter(|next| !next.is_empty());
    let command: Vec<OsString> = next.into_iter().chain(command).collect();
    let (program, arguments) = command.split_first().expect("the role has a command");
    let mut child = Command::new(program);
    child.args(arguments).envs(environment::variables(&endpoints, get)).env_remove(NEXT_WRAPPER);
    let why = child.exec();
    format!("cannot start {}: {why}", program.to_string_lossy())
}
