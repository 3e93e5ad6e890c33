//! The bearer token that commands present to a server. It comes from a file or from the
//! environment, never from the command line, which everyone on the machine can read.

use std::path::Path;

use aft_access::Secret;

use crate::Failed;
use crate::settings::TOKEN;

/// Returns the token in `file`, or else in the environment, if there is one.
///
/// # Errors
/// Returns an error if the file cannot be read, or if its text is not a token; the error does not
/// repeat the text.
pub(crate) fn read(file: Option<&Path>) -> Result<Option<Secret>, Failed> {
    let (text, from) = match file {
        Some(path) => {
            let from = format!("token file {}", path.display());
            (std::fs::read_to_string(path).map_err(|why| format!("{from}: {why}"))?, from)
        }
        None => match std::env::var_os(TOKEN) {
            Some(text) => (text.to_string_lossy().into_owned(), format!("environment variable {TOKEN}")),
            None => return Ok(None),
        },
    };
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "{from}: this is not a token, which is one word of visible ASCII; write only the token that `aft credentials add` printed"
        ));
    }
    Ok(Some(Secret::new(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(Some(&path))
        };
        assert_eq!(read("aft_12\n").unwrap().unwrap().expose(), "aft_12");
        for wrong in ["", "\n", "secret with spaces", "secret\nsecret", "sécret"] {
            let why = read(wrong).unwrap_err();
            assert!(why.contains("token file") && !why.contains("cret"), "{why}");
        }
        assert!(super::read(Some(Path::new("/nowhere/token"))).unwrap_err().contains("/nowhere/token"));
    }
}
