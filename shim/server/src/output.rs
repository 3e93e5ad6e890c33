//! Standard output and standard error, whose readers may have left or whose disk may be full.
//!
//! `println!` panics then. A command keeps running instead, and its exit status says at the end
//! that not all of its output has arrived.

use std::fmt::Display;
use std::io::{self, Write};

use crate::Failed;

/// The output of a command. It keeps the first failure until the command ends.
#[derive(Debug, Default)]
pub(crate) struct Output {
    failed: Option<io::Error>,
}

impl Output {
    /// Prints a line.
    pub(crate) fn line(&mut self, text: impl Display) {
        self.write(&format!("{text}\n"));
    }

    /// Prints a text that has its own line ends. Nothing is printed after a failure, so that the
    /// output is a beginning of the whole.
    pub(crate) fn write(&mut self, text: &str) {
        if self.failed.is_none() {
            self.failed = write(&mut io::stdout().lock(), text).err();
        }
    }

    /// Ends the output.
    ///
    /// # Errors
    /// Returns an error if a part of it could not be written. The command has done its work, but
    /// must not end as if its output had arrived.
    pub(crate) fn end(self) -> Result<(), Failed> {
        self.failed.map_or(Ok(()), |why| Err(lost(&why)))
    }
}

/// Prints a line as the whole output of a command.
///
/// # Errors
/// Returns an error as [`Output::end`] does.
pub(crate) fn print(text: impl Display) -> Result<(), Failed> {
    let mut output = Output::default();
    output.line(text);
    output.end()
}

/// Prints a line on standard error. If that fails, nobody is there to be told.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Returns the message for output that could not be written.
pub(crate) fn lost(why: &io::Error) -> Failed {
    match why.kind() {
        io::ErrorKind::BrokenPipe => "nobody reads standard output any more: its rest is lost".to_owned(),
        _ => format!("cannot write to standard output: {why}; its rest is lost"),
    }
}

fn write(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    // Otherwise a failure would show only after the command has ended, to nobody.
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file on a full disk that has room for some bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = bytes.len().min(self.0);
            self.0 -= written;
            if written == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(written) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn output_that_does_not_fit_is_an_error() {
        assert!(write(&mut Full(5), "four\n").is_ok());
        let why = write(&mut Full(4), "four\n").unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::StorageFull);
        let failed = Output { failed: Some(why) }.end().unwrap_err();
        assert!(failed.contains("standard output"), "{failed}");
        assert!(lost(&io::ErrorKind::BrokenPipe.into()).contains("nobody reads"));
    }
}
