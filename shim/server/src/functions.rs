//! `aft functions`: runs functions in a local Lambda, with its arguments.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use aft_lambda_host::{Config, Host, Line, Logs};
use clap::{Args, Subcommand};

use crate::Failed;
use crate::output::Output;
use crate::serve::Signals;

/// The characters of an environment's name that tell it from the others in the output.
const NAME_SHOWN: usize = 8;

/// Run functions on this machine, as AWS Lambda does.
#[derive(Debug, Args)]
pub(crate) struct FunctionsArguments {
    #[command(subcommand)]
    pub(crate) action: FunctionsAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FunctionsAction {
    Serve(FunctionsServeArguments),
}

/// Serve the functions of a file to callers of Lambda's Invoke API: AWS SDKs and the AWS CLI, with
/// --endpoint-url. Signatures are not checked, so only loopback addresses are served.
///
/// Functions run as ordinary processes with the rights of this one: this is no sandbox. They
/// inherit PATH and nothing else. What they print is printed, with the function, the environment
/// and the process before it.
///
/// SIGTERM or SIGINT ends the environments as Lambda does, and the exit code is 0. A second one
/// kills them at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft functions serve
  aft functions serve functions.toml --listen 127.0.0.1:9001
  aws lambda invoke --endpoint-url http://127.0.0.1:9001 \\
    --function-name pay --payload '{}' answer.json")]
pub(crate) struct FunctionsServeArguments {
    /// Read the functions from this file
    #[arg(value_name = "FILE", default_value = "functions.toml")]
    pub(crate) file: PathBuf,
    /// Listen for invocations here, on a loopback address
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9001")]
    pub(crate) listen: SocketAddr,
}

pub(crate) async fn run(arguments: FunctionsArguments) -> Result<ExitCode, Failed> {
    match arguments.action {
        FunctionsAction::Serve(arguments) => serve(arguments).await,
    }
}

async fn serve(arguments: FunctionsServeArguments) -> Result<ExitCode, Failed> {
    let mut config = Config::read(&arguments.file).map_err(|why| why.to_string())?;
    config.listen = arguments.listen;
    if config.path.is_none() {
        // A function's interpreter is found as it is in this shell.
        config.path = std::env::var("PATH").ok();
    }
    let mut signals = Signals::new()?;
    let output = Arc::new(Mutex::new(Output::default()));
    let printed = Arc::clone(&output);
    let say = move |text: String| printed.lock().unwrap_or_else(PoisonError::into_inner).line(text);
    let logs = Logs::new({
        let say = say.clone();
        move |line| say(shown(&line))
    });
    let functions = config.functions.clone();
    let host = Host::start(config, logs).await.map_err(|why| why.to_string())?;
    for function in &functions {
        say(format!(
            "function {}: {} in {}",
            function.name,
            function.command.join(" "),
            function.directory.display()
        ));
    }
    say(format!("listening for invocations on http://{}", host.address()));
    signals.next().await;
    // The second signal drops the host, which kills whatever is left.
    tokio::select! {
        () = host.stop() => {}
        () = signals.next() => {}
    }
    let ended = std::mem::take(&mut *output.lock().unwrap_or_else(PoisonError::into_inner));
    ended.end().map(|()| ExitCode::SUCCESS)
}

/// Returns a line with its origin before it.
fn shown(line: &Line) -> String {
    let environment: String = line.environment.chars().take(NAME_SHOWN).collect();
    let origin = [line.function.as_str(), environment.as_str(), line.process.as_str()];
    let origin: Vec<_> = origin.into_iter().filter(|part| !part.is_empty()).collect();
    format!("[{}] {}", origin.join(" "), line.text)
}

#[cfg(test)]
mod tests {
    use aft_lambda_host::Source;

    use super::*;

    #[test]
    fn lines_show_their_origin() {
        let line = |environment: &str, process: &str| Line {
            function: "pay".to_owned(),
            environment: environment.to_owned(),
            process: process.to_owned(),
            source: Source::Stdout,
            text: "paid".to_owned(),
        };
        assert_eq!(shown(&line("0123456789abcdef", "runtime")), "[pay 01234567 runtime] paid");
        assert_eq!(shown(&line("", "host")), "[pay host] paid");
    }
}
