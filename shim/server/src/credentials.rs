//! `aft credentials`: makes and checks the file that `aft serve --credentials` reads.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aft_access::file::{self as credentials_file, is_name};
use aft_access::{AccessKey, Limits, PREFIX_BYTES_MAX, Right, Secret};
use toml::Value;

use crate::commands::{AddArguments, CredentialsAction, CredentialsArguments};
use crate::output::note;
use crate::{Failed, output};

pub(crate) fn run(arguments: CredentialsArguments) -> Result<ExitCode, Failed> {
    match arguments.action {
        CredentialsAction::Add(arguments) => add(&arguments)?,
        CredentialsAction::Token => {
            let token = Secret::draw()?;
            output::print(token.expose())?;
            note(format_args!(
                "add this hash to the list token_sha256 of the token's credential: \"{}\"",
                token.hash().to_hex()
            ));
        }
        CredentialsAction::AccessKey => {
            let key = AccessKey::draw()?;
            output::print(as_environment(&key))?;
            note(format_args!(
                "add {} to the list access_keys of its credential, as {{ id = \"…\", secret = \"…\" }}",
                key.id()
            ));
        }
        CredentialsAction::Check { file } => {
            let found = credentials_file::read(&file, Limits::NONE)?;
            let count = found.credentials.len();
            found.book()?;
            let credentials = if count == 1 { "credential" } else { "credentials" };
            output::print(format_args!("{}: {count} {credentials}", file.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn add(arguments: &AddArguments) -> Result<(), Failed> {
    let AddArguments { name, prefix, allow, access_key, file } = arguments;
    if !is_name(name) {
        return Err(format!(
            "{name:?} is not a valid name for a credential: use letters, digits, '.', '_' and '-'"
        ));
    }
    if prefix.len() > PREFIX_BYTES_MAX {
        return Err(format!("a prefix has at most {PREFIX_BYTES_MAX} bytes"));
    }
    let drawn =
        if *access_key { Drawn::AccessKey(AccessKey::draw()?) } else { Drawn::Token(Secret::draw()?) };
    let mut text = credentials_file::text(file)?.unwrap_or_default();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&entry(name, prefix, allow, &drawn));
    // Parsed as a server will do it: an error shows now, and leaves the file unchanged.
    credentials_file::parse(&text, &file.display().to_string(), Limits::NONE)?.book()?;
    // The token or key comes first: a credential whose token was lost would help nobody, and a
    // token that the file does not have opens nothing.
    let (shown, what) = match &drawn {
        Drawn::Token(token) => (token.expose().to_owned(), "token"),
        Drawn::AccessKey(key) => (as_environment(key), "access key"),
    };
    output::print(shown).map_err(|why| format!("{why}; {} is unchanged", file.display()))?;
    write(file, &text).map_err(|why| {
        format!("credentials file {}: {why}; the printed {what} is of no use", file.display())
    })?;
    note(format_args!(
        "added {name} to {}; its {what} was printed on standard output and is not shown again. A running server reads the file again at SIGHUP",
        file.display()
    ));
    if let Some(wider) = wider_than_it_looks(prefix) {
        note(format_args!("note: {wider}"));
    }
    Ok(())
}

/// The secret of a new credential.
enum Drawn {
    Token(Secret),
    AccessKey(AccessKey),
}

/// Returns an access key as two assignments, by the names that AWS SDKs read.
fn as_environment(key: &AccessKey) -> String {
    format!("AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}", key.id(), key.secret().expose())
}

/// Returns a note if a prefix covers more than it seems to: it is the beginning of keys, and not a
/// folder.
fn wider_than_it_looks(prefix: &str) -> Option<String> {
    let ends_in_a_name = prefix.chars().next_back().is_some_and(char::is_alphanumeric);
    ends_in_a_name.then(|| {
        format!(
            "the prefix {prefix:?} is also the beginning of keys like {:?}; to limit it to {:?}, write that in the file",
            format!("{prefix}-other/key"),
            format!("{prefix}/")
        )
    })
}

fn entry(name: &str, prefix: &str, allow: &[Right], drawn: &Drawn) -> String {
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    let allow: Vec<_> = allow.iter().map(|right| quoted(right.as_str())).collect();
    let how = match drawn {
        Drawn::Token(token) => format!("token_sha256 = [{}]", quoted(&token.hash().to_hex())),
        Drawn::AccessKey(key) => format!(
            "access_keys = [{{ id = {}, secret = {} }}]",
            quoted(key.id()),
            quoted(key.secret().expose())
        ),
    };
    format!(
        "[[credential]]\nname = {}\n{how}\nprefix = {}\nallow = [{}]\n\n",
        quoted(name),
        quoted(prefix),
        allow.join(", ")
    )
}

/// Replaces the file. A reader sees the old file or the new one, and a crash leaves one of them. Of
/// two processes that write at the same time, the second is rejected, so neither undoes the other.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    // If the name is a link, its target is replaced.
    let file = match file.canonicalize() {
        Ok(file) => file,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => file.to_owned(),
        Err(why) => return Err(why),
    };
    let mut beside = file.clone().into_os_string();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut new =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(|why| {
            let text = format!(
                "{}: {why}; if no other process is adding a credential now, remove it",
                beside.display()
            );
            std::io::Error::new(why.kind(), text)
        })?;
    let written = new
        .write_all(text.as_bytes())
        .and_then(|()| new.sync_all())
        .and_then(|()| std::fs::rename(&beside, &file));
    if written.is_err() {
        // The new file is ours and of no use. The error that is returned is the first one.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn arguments(name: &str, file: &Path) -> AddArguments {
        let prefix = format!("{name}/\"quoted\"");
        let allow = vec![Right::Read, Right::Admin];
        AddArguments { name: name.into(), prefix, allow, access_key: false, file: file.into() }
    }

    #[test]
    fn a_prefix_that_covers_more_than_it_seems_is_noted() {
        for (prefix, noted) in
            [("shop", true), ("", false), ("shop/", false), ("shop:", false), ("a/läden", true)]
        {
            let told = wider_than_it_looks(prefix);
            assert_eq!(told.is_some(), noted, "{prefix:?}: {told:?}");
        }
        let told = wider_than_it_looks("shop").unwrap();
        assert!(told.contains("shop-other/") && told.contains("\"shop/\""), "{told}");
    }

    #[test]
    fn a_directory_is_rejected_as_a_credentials_file() {
        let directory = tempfile::tempdir().unwrap();
        let why = add(&arguments("shop", directory.path())).unwrap_err();
        assert!(why.contains("it is a directory") && !why.contains("chmod"), "{why}");
        let why = credentials_file::read(directory.path(), Limits::NONE).unwrap_err();
        assert!(why.contains("it is a directory"), "{why}");
    }

    #[test]
    fn an_added_credential_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        add(&arguments("shop", &file)).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let comment = "# kept\n";
        std::fs::write(&file, format!("{comment}{}", std::fs::read_to_string(&file).unwrap())).unwrap();
        add(&arguments("bank", &file)).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().starts_with(comment));
        let found = credentials_file::read(&file, Limits::NONE).unwrap().credentials;
        let names: Vec<_> = found.iter().map(|found| (found.name.as_str(), found.prefix.as_str())).collect();
        assert_eq!(names, [("shop", "shop/\"quoted\""), ("bank", "bank/\"quoted\"")]);
        assert!(found[0].tokens != found[1].tokens && found[0].rights.allow(Right::Admin));

        add(&AddArguments { access_key: true, ..arguments("photos", &file) }).unwrap();
        let found = credentials_file::read(&file, Limits::NONE).unwrap().credentials;
        assert!(found[2].tokens.is_empty() && found[2].access_keys.len() == 1, "{:?}", found[2]);

        let before = std::fs::read(&file).unwrap();
        assert!(add(&arguments("shop", &file)).unwrap_err().contains("named \"shop\""));
        assert!(add(&arguments("a b", &file)).unwrap_err().contains("not a valid name"));
        let beside = directory.path().join("c.toml.new");
        std::fs::write(&beside, "").unwrap();
        assert!(add(&arguments("third", &file)).unwrap_err().contains("c.toml.new"));
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
}
