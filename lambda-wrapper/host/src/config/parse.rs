//! `functions.toml`: one `[[function]]` for each function, and `[host]` for the rest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Config, ConfigError, Function, OnTimeout};

/// The largest file that is read, in bytes: far above that of a thousand functions.
const BYTES_MAX: u64 = 4 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    host: HostTable,
    #[serde(default)]
    function: Vec<FunctionTable>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct HostTable {
    region: Option<String>,
    account: Option<String>,
    path: Option<String>,
    idle: Option<f64>,
    settle: Option<f64>,
    init: Option<f64>,
    shutdown: Option<f64>,
    pause_divisor: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionTable {
    name: String,
    command: Vec<String>,
    directory: Option<PathBuf>,
    handler: Option<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    timeout: Option<f64>,
    memory_mb: Option<u32>,
    concurrency: Option<u32>,
    max_concurrency: Option<u32>,
    retries: Option<u8>,
    event_age: Option<f64>,
    freeze: Option<bool>,
    on_timeout: Option<OnTimeout>,
    #[serde(default)]
    extensions: Vec<PathBuf>,
    wrapper: Option<PathBuf>,
}

pub(super) fn read(path: &Path) -> Result<Config, ConfigError> {
    let file = path.display().to_string();
    let text = text(path).map_err(|why| {
        ConfigError::new(&file, format!("it cannot be read: {why}; give the path of a functions.toml"))
    })?;
    // A process is started in another folder, where a relative path would lead elsewhere.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = std::path::absolute(folder)
        .map_err(|why| ConfigError::new(&file, format!("its folder is unknown: {why}; give a full path")))?;
    parse(&text, &folder).map_err(|why| why.in_file(&file))
}

fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(std::io::Error::other(format!("it is larger than {BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Parses the text of a `functions.toml` in `folder`.
fn parse(text: &str, folder: &Path) -> Result<Config, ConfigError> {
    assert!(folder.is_absolute(), "relative paths start at a known folder");
    let document: Document = toml::from_str(text).map_err(|why| {
        let line = 1 + why.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count());
        ConfigError::new(format!("line {line}"), format!("{}; correct or remove it", why.message()))
    })?;
    if document.function.is_empty() {
        return Err(ConfigError::new("function", "there is none: add a [[function]] with name and command"));
    }
    let mut config = Config::default();
    let host = document.host;
    set(&mut config.region, host.region);
    set(&mut config.account, host.account);
    config.path = host.path;
    set(&mut config.pause_divisor, host.pause_divisor);
    set(&mut config.idle, seconds("host: idle", host.idle)?);
    set(&mut config.settle, seconds("host: settle", host.settle)?);
    set(&mut config.init, seconds("host: init", host.init)?);
    set(&mut config.shutdown, seconds("host: shutdown", host.shutdown)?);
    for table in document.function {
        config.functions.push(function(table, folder)?);
    }
    config.check()?;
    Ok(config)
}

fn function(table: FunctionTable, folder: &Path) -> Result<Function, ConfigError> {
    let mut function = Function::new(&table.name, &[]);
    let place = |field: &str| format!("function {:?}: {field}", table.name);
    function.command = table.command;
    function.directory = table.directory.map_or_else(|| folder.to_owned(), |given| folder.join(given));
    function.environment = table.environment;
    function.extensions = table.extensions.iter().map(|given| folder.join(given)).collect();
    function.wrapper = table.wrapper.map(|given| folder.join(given));
    set(&mut function.handler, table.handler);
    set(&mut function.timeout, seconds(&place("timeout"), table.timeout)?);
    set(&mut function.memory_mb, table.memory_mb);
    set(&mut function.concurrency, table.concurrency);
    function.max_concurrency = table.max_concurrency;
    set(&mut function.retries, table.retries);
    set(&mut function.event_age, seconds(&place("event_age"), table.event_age)?);
    set(&mut function.freeze, table.freeze);
    set(&mut function.on_timeout, table.on_timeout);
    Ok(function)
}

fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *field = given;
    }
}

fn seconds(place: &str, given: Option<f64>) -> Result<Option<Duration>, ConfigError> {
    given
        .map(Duration::try_from_secs_f64)
        .transpose()
        .map_err(|_| ConfigError::new(place, "it is no time: give seconds, such as 3 or 0.5"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        parse(text, Path::new("/")).map_or_else(|why| why.to_string(), |_| String::new())
    }

    #[test]
    fn a_function_has_defaults_and_full_paths() {
        let text = "[[function]]\nname = 'pay'\ncommand = ['python3', 'app.py']\ndirectory = 'tmp'\n\
                    timeout = 0.5\non_timeout = 'continue'\nmax_concurrency = 8\nenvironment = { A = 'b' }\n[host]\nidle = 2\n";
        let config = parse(text, Path::new("/")).unwrap();
        assert_eq!(config.idle, Duration::from_secs(2));
        let [function] = &config.functions[..] else { panic!("{config:?}") };
        assert_eq!(function.directory, Path::new("/tmp"));
        assert_eq!(function.timeout, Duration::from_millis(500));
        assert_eq!(function.on_timeout, OnTimeout::Continue);
        assert_eq!((function.retries, function.concurrency, function.max_concurrency), (2, 10, Some(8)));
        assert_eq!(function.environment["A"], "b");
    }

    #[test]
    fn errors_name_line_field_and_remedy() {
        let function = "[[function]]\nname = 'pay'\ncommand = ['true']\n";
        let unknown = said(&format!("{function}memory = 1\n"));
        assert!(unknown.contains("line 4: unknown field `memory`"), "{unknown}");
        assert!(unknown.contains("correct or remove it"), "{unknown}");
        let negative = said(&format!("{function}timeout = -1\n"));
        assert_eq!(negative, "function \"pay\": timeout: it is no time: give seconds, such as 3 or 0.5");
        let fate = said(&format!("{function}on_timeout = 'maybe'\n"));
        assert!(fate.contains("line 4") && fate.contains("`kill` or `continue`"), "{fate}");
        assert!(said("").contains("add a [[function]]"));
        let missing = said("[[function]]\nname = 'pay'\n");
        assert!(missing.contains("missing field `command`"), "{missing}");
    }

    #[test]
    fn a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("functions.toml");
        let why = Config::read(&path).unwrap_err().to_string();
        assert!(why.contains("functions.toml: it cannot be read"), "{why}");
        std::fs::write(&path, "[[function]]\nname = 'pay'\ncommand = ['true']\nretries = 9\n").unwrap();
        let why = Config::read(&path).unwrap_err().to_string();
        assert!(why.ends_with("functions.toml: function \"pay\": retries: it is 9: give 0 to 2"), "{why}");
    }
}
