//! Logs: on standard error, as text or one JSON object a line.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::Failed;
use crate::commands::LogFormat;

/// Environment variables that hold a filter, the first one set wins.
const VARIABLES: [&str; 2] = ["AFT_LOG", "RUST_LOG"];

/// Starts logging. The filter comes from the environment, else from `filter`.
///
/// # Errors
/// If the filter is none.
pub(crate) fn start(format: LogFormat, filter: &str) -> Result<(), Failed> {
    let (from, text) = VARIABLES
        .iter()
        .find_map(|name| Some((*name, std::env::var(name).ok()?)))
        .unwrap_or(("the setting log.filter", filter.to_owned()));
    let filter =
        EnvFilter::try_new(&text).map_err(|why| format!("{from}: {text:?} is no log filter: {why}"))?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Starts logging for a command that runs to its end: warnings.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_quiet() -> Result<(), Failed> {
    start(LogFormat::Text, "warn")
}
