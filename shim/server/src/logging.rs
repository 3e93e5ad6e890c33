//! Logs: on standard error, as text or one JSON object a line.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::Failed;
use crate::commands::LogFormat;

/// Starts logging.
///
/// # Errors
/// If the filter is none.
pub(crate) fn start(format: LogFormat, filter: &str) -> Result<(), Failed> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|why| format!("the setting log.filter: {filter:?} is no log filter: {why}"))?;
    // Whoever reads the log may leave. Telling of it would go the same way, and end the task that wrote the line.
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
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
