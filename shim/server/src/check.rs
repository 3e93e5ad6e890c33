//! `aft check`: the verdict on a history.

use std::error::Error as _;
use std::io::Write as _;
use std::process::ExitCode;

use aft_history::{Level, Options, Readers, check_file};

use crate::commands::CheckArguments;
use crate::{BAD, Failed};

pub(crate) fn run(arguments: CheckArguments) -> Result<ExitCode, Failed> {
    let options = Options {
        readers: if arguments.all_readers { Readers::All } else { Readers::Committed },
        sessions: arguments.sessions,
        serializable: arguments.serializable,
    };
    let report = check_file(&arguments.file, &options).map_err(|why| {
        let mut text = why.to_string();
        let mut source = why.source();
        while let Some(why) = source {
            let why_text = why.to_string();
            if !text.contains(&why_text) {
                text = format!("{text}: {why_text}");
            }
            source = why.source();
        }
        text
    })?;
    // Whoever reads only the start of it, as `head` does, has seen what he wanted.
    let _ = writeln!(std::io::stdout(), "{report}");
    let holds = match arguments.serializable {
        true => report.level() == Level::Serializable,
        false => report.is_read_atomic(),
    };
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(BAD) })
}
