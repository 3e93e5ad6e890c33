//! Logs, on standard error: text, or one JSON object a line.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::Failed;
use crate::commands::LogFormat;

/// Starts logging.
///
/// # Errors
/// Returns an error if `filter` is not a valid filter; the text repeats it.
pub(crate) fn start(format: LogFormat, filter: &str) -> Result<(), Failed> {
    let filter = EnvFilter::try_new(filter).map_err(|why| {
        format!(
            "the setting log.filter: {filter:?} is not a log filter such as info,aft_door_native=debug: {why}"
        )
    })?;
    // The reader of the log may leave. A report of that would go to the same closed pipe, and would
    // end the task that wrote the line.
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// The filter of commands that run to their end: warnings, without the dumps of the client of cloud
/// stores (see [`serve::FILTER`](crate::serve::FILTER)).
const QUIET_FILTER: &str = "warn,aws=error";

/// Starts logging of warnings alone, for a command that runs to its end.
///
/// # Errors
/// Returns an error as [`start`] does.
pub(crate) fn start_quiet() -> Result<(), Failed> {
    start(LogFormat::Text, QUIET_FILTER)
}
