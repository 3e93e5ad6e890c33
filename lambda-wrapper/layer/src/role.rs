//! The roles of the binary, by its name and its first argument.

use std::ffi::OsString;
use std::path::Path;

/// The name of the exec wrapper in the layer.
pub const WRAPPER: &str = "aft-exec";
/// The name of the external extension. Lambda wants the name of the file when it registers.
pub const EXTENSION: &str = "aft-layer";
/// The name of a function's own runtime: that of the function that sweeps the store.
const BOOTSTRAP: &str = "bootstrap";
/// The folder in which Lambda looks for external extensions.
const EXTENSIONS: &str = "extensions";

/// The task of a process of this binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Serves the local endpoints, and registers with Lambda.
    Extension,
    /// Sets the environment, and becomes the command.
    Wrapper(Vec<OsString>),
    /// Serves the local endpoints, and runs the command below itself.
    Run(Vec<OsString>),
    /// Is the runtime of a function that sweeps the store.
    Maintain,
    /// Prints the request ID of an event in a file; `-` is the standard input.
    ExplainKey(OsString),
    /// Prints the help.
    Help,
    /// Prints the version.
    Version,
}

impl Role {
    /// Returns the role of a process with these arguments, the program first.
    ///
    /// # Errors
    /// Returns the mistake in the arguments, with the remedy.
    pub fn of(arguments: impl IntoIterator<Item = OsString>) -> Result<Role, String> {
        let mut arguments = arguments.into_iter();
        let program = arguments.next().unwrap_or_default();
        let path = Path::new(&program);
        let rest: Vec<OsString> = arguments.collect();
        if path.file_name().is_some_and(|name| name == WRAPPER) {
            return command(rest).map(Role::Wrapper);
        }
        // The runtime of a function without a managed one has this name.
        if path.file_name().is_some_and(|name| name == BOOTSTRAP) && rest.is_empty() {
            return Ok(Role::Maintain);
        }
        let folder = path.parent().and_then(Path::file_name);
        let first = rest.first().and_then(|first| first.to_str());
        match first {
            None if folder.is_some_and(|folder| folder == EXTENSIONS) => Ok(Role::Extension),
            None | Some("help" | "--help" | "-h") => Ok(Role::Help),
            Some("--version" | "-V") => Ok(Role::Version),
            Some("extension") if rest.len() == 1 => Ok(Role::Extension),
            Some("maintain") if rest.len() == 1 => Ok(Role::Maintain),
            Some("exec") => command(without_dashes(&rest[1..])).map(Role::Wrapper),
            Some("run") => command(without_dashes(&rest[1..])).map(Role::Run),
            Some("explain-key") if rest.len() == 2 => Ok(Role::ExplainKey(rest[1].clone())),
            Some("explain-key") => Err("explain-key takes one file: aft-layer explain-key EVENT.json".into()),
            Some(other) => Err(format!("{other:?} is no command: see aft-layer --help")),
        }
    }
}

fn without_dashes(rest: &[OsString]) -> Vec<OsString> {
    match rest.first() {
        Some(first) if first == "--" => rest[1..].to_vec(),
        _ => rest.to_vec(),
    }
}

fn command(command: Vec<OsString>) -> Result<Vec<OsString>, String> {
    match command.is_empty() {
        true => Err("there is no command to run: give one, as in aft-layer run -- python3 -m awslambdaric app.handler".into()),
        false => Ok(command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(arguments: &[&str]) -> Result<Role, String> {
        Role::of(arguments.iter().map(OsString::from))
    }

    #[test]
    fn names_and_arguments_choose_the_role() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(role(&["/opt/extensions/aft-layer"]), Ok(Role::Extension));
        assert_eq!(role(&["aft-layer", "extension"]), Ok(Role::Extension));
        let command = words(&["/var/lang/bin/python3", "-m", "runtime"]);
        assert_eq!(
            role(&["/opt/aft-exec", "/var/lang/bin/python3", "-m", "runtime"]),
            Ok(Role::Wrapper(command))
        );
        assert_eq!(
            role(&["aft-layer", "run", "--", "a", "--", "b"]),
            Ok(Role::Run(words(&["a", "--", "b"])))
        );
        assert_eq!(role(&["aft-layer", "run", "a"]), Ok(Role::Run(words(&["a"]))));
        assert_eq!(role(&["aft-layer", "explain-key", "-"]), Ok(Role::ExplainKey("-".into())));
        assert_eq!(role(&["aft-layer", "maintain"]), Ok(Role::Maintain));
        assert_eq!(role(&["aft-layer"]), Ok(Role::Help));
        for wrong in [
            &["/opt/aft-exec"][..],
            &["aft-layer", "run", "--"],
            &["aft-layer", "walk"],
            &["aft-layer", "explain-key"],
        ] {
            assert!(role(wrong).is_err(), "{wrong:?}");
        }
    }
}
