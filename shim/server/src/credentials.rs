//! `aft credentials`: makes and checks what `aft serve --credentials` reads.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aft_access::file::{self as credentials_file, is_name};
use aft_access::{Limits, PREFIX_BYTES_MAX, Right, Secret};
use toml::Value;

use crate::Failed;
use crate::commands::{AddArguments, CredentialsAction, CredentialsArguments};

pub(crate) fn run(arguments: CredentialsArguments) -> Result<ExitCode, Failed> {
    match arguments.action {
        CredentialsAction::Add(arguments) => add(&arguments)?,
        CredentialsAction::Token => {
            let token = Secret::draw()?;
            println!("{}", token.expose());
            eprintln!(
                "to be added to the list token_sha256 of its credential: \"{}\"",
                token.hash().to_hex()
            );
        }
        CredentialsAction::Check { file } => {
            let found = credentials_file::read(&file, Limits::NONE)?;
            let count = found.credentials.len();
            found.book()?;
            let credentials = if count == 1 { "credential" } else { "credentials" };
            println!("{}: {count} {credentials}", file.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn add(arguments: &AddArguments) -> Result<(), Failed> {
    let AddArguments { name, prefix, allow, file } = arguments;
    if !is_name(name) {
        return Err(format!("{name:?} is no name for a credential: letters, digits, '.', '_' and '-'"));
    }
    if prefix.len() > PREFIX_BYTES_MAX {
        return Err(format!("a prefix has at most {PREFIX_BYTES_MAX} bytes"));
    }
    let token = Secret::draw()?;
    let mut text = credentials_file::text(file)?.unwrap_or_default();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&entry(name, prefix, allow, &token));
    // As a server will read it: what is wrong shows now, and the file stays as it is.
    credentials_file::parse(&text, &file.display().to_string(), Limits::NONE)?.book()?;
    write(file, &text).map_err(|why| format!("credentials file {}: {why}", file.display()))?;
    println!("{}", token.expose());
    eprintln!(
        "{name} is in {}; its token went to standard output, this once. A server that runs reads the file again at SIGHUP",
        file.display()
    );
    if let Some(wider) = wider_than_it_looks(prefix) {
        eprintln!("note: {wider}");
    }
    Ok(())
}

/// What a prefix covers beside what it looks like: it is a beginning of keys, and no folder.
fn wider_than_it_looks(prefix: &str) -> Option<String> {
    let ends_in_a_name = prefix.chars().next_back().is_some_and(char::is_alphanumeric);
    ends_in_a_name.then(|| {
        format!(
            "the prefix {prefix:?} is the beginning of keys like {:?} too; if it is to be {:?} alone, write that in the file",
            format!("{prefix}-other/key"),
            format!("{prefix}/")
        )
    })
}

fn entry(name: &str, prefix: &str, allow: &[Right], token: &Secret) -> String {
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    let allow: Vec<_> = allow.iter().map(|right| quoted(right.as_str())).collect();
    format!(
        "[[credential]]\nname = {}\ntoken_sha256 = [{}]\nprefix = {}\nallow = [{}]\n\n",
        quoted(name),
        quoted(&token.hash().to_hex()),
        quoted(prefix),
        allow.join(", ")
    )
}

/// Puts a new file in the place of the old one: whoever reads meanwhile reads one of the two, and a crash leaves one of the two. Two that write at
/// once do not undo each other: the second is refused.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    // Where the name is a link, what it leads to is replaced.
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
            let text =
                format!("{}: {why}; if nobody else adds a credential now, remove it", beside.display());
            std::io::Error::new(why.kind(), text)
        })?;
    let written = new
        .write_all(text.as_bytes())
        .and_then(|()| new.sync_all())
        .and_then(|()| std::fs::rename(&beside, &file));
    if written.is_err() {
        // It is ours, and of no use; the error that led here is what is told.
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
        AddArguments { name: name.into(), prefix, allow: vec![Right::Read, Right::Admin], file: file.into() }
    }

    #[test]
    fn a_prefix_without_an_end_is_noted() {
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
    fn a_directory_is_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let why = add(&arguments("shop", directory.path())).unwrap_err();
        assert!(why.contains("it is a directory") && !why.contains("chmod"), "{why}");
        let why = credentials_file::read(directory.path(), Limits::NONE).unwrap_err();
        assert!(why.contains("it is a directory"), "{why}");
    }

    #[test]
    fn what_is_added_is_read() {
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

        let before = std::fs::read(&file).unwrap();
        assert!(add(&arguments("shop", &file)).unwrap_err().contains("named \"shop\""));
        assert!(add(&arguments("a b", &file)).unwrap_err().contains("no name"));
        let beside = directory.path().join("c.toml.new");
        std::fs::write(&beside, "").unwrap();
        assert!(add(&arguments("third", &file)).unwrap_err().contains("c.toml.new"));
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
}
