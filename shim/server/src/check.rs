//! `aft check`: checks a history and prints the verdict.

use std::error::Error as _;
use std::process::ExitCode;

use aft_history::{Level, Options, Readers, check_file};

use crate::commands::CheckArguments;
use crate::{BAD, Failed, output};

pub(crate) fn run(arguments: CheckArguments) -> Result<ExitCode, Failed> {
    let options = Options {
        readers: if arguments.all_readers { Readers::All } else { Readers::Committed },
        sessions: arguments.sessions,
        serializable: arguments.serializable,
    };
    let report = check_file(&arguments.file, &options).map_err(|why| {
        // Causes that the text does not repeat already are added to it.
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
    output::print(&report)?;
    let holds = match arguments.serializable {
        true => report.level() == Level::Serializable,
        false => report.is_read_atomic(),
    };
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(BAD) })
}
