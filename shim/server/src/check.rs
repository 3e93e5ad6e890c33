//! `aft check`: checks a history and prints the verdict; `--plain` writes it for other checkers.

use std::error::Error as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::ExitCode;

use aft_history::{CheckFileError, Level, Options, Readers, check_file, read_file, text};

use crate::commands::CheckArguments;
use crate::{BAD, Failed, output};

pub(crate) fn run(arguments: CheckArguments) -> Result<ExitCode, Failed> {
    let options = Options {
        readers: if arguments.all_readers { Readers::All } else { Readers::Committed },
        sessions: arguments.sessions,
        serializable: arguments.serializable,
    };
    if let Some(out) = &arguments.plain {
        write_plain(&arguments.file, out)?;
    }
    let report = check_file(&arguments.file, &options).map_err(|why| explain(&why))?;
    output::print(&report)?;
    let holds = match arguments.serializable {
        true => report.level() == Level::Serializable,
        false => report.is_read_atomic(),
    };
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(BAD) })
}

/// Writes the history in `file` to `out` as other checkers read it.
///
/// # Errors
/// Returns an error if one of them cannot be read or written, or if they are the same file: the
/// plain form leaves out what only this checker knows.
fn write_plain(file: &Path, out: &Path) -> Result<(), Failed> {
    let failed = |why: std::io::Error| format!("cannot write the history {}: {why}", out.display());
    let history = read_file(file).map_err(|why| explain(&why))?;
    if let (Ok(file), Ok(out)) = (file.canonicalize(), out.canonicalize())
        && file == out
    {
        return Err(format!(
            "--plain {} names the history itself, which would lose its directives: name another file",
            out.display()
        ));
    }
    let mut text = BufWriter::new(File::create(out).map_err(failed)?);
    text::write_plain(&mut text, &history).and_then(|()| text.flush()).map_err(failed)
}

/// Returns an error with those of its causes that its own text does not repeat.
fn explain(why: &CheckFileError) -> Failed {
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
}
