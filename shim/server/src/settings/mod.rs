//! Settings: flags over the environment over a file over defaults.
//!
//! * [`table`] – every setting, one row for each: its name, kind, help, and the field that it sets.
//! * [`value`] – the kinds of values; `size` – sizes with a unit. [`render`] – the table as text
//!   for people.
//!
//! An entry has one name everywhere: `[doors] value_bytes_max` is `AFT_DOORS__VALUE_BYTES_MAX`.
//! Numbers in the environment are text, so numbers may be text everywhere. Unknown entries are
//! rejected.

pub(crate) mod render;
mod size;
pub(crate) mod table;
pub(crate) mod value;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::Failed;
use crate::settings::table::{Components, Row, SECTIONS, Section};
use crate::settings::value::Value;

/// The file that is read if no other is named.
const DEFAULT_FILE: &str = "aft.toml";
/// The variable with the token that our own clients present: not a setting of a server.
pub(crate) const TOKEN: &str = "AFT_TOKEN";
/// The variable with the password for a store on Redis, if its URL has none.
pub(crate) const REDIS_PASSWORD: &str = "AFT_REDIS_PASSWORD";
/// Variables that begin as settings do and are secrets: never in a settings file.
const SECRETS: [&str; 2] = [TOKEN, REDIS_PASSWORD];
/// Variables of this repository's own tasks and tests.
const TASKS: [&str; 9] = [
    "AFT_BIN",
    "AFT_CLIENT_SEED",
    "AFT_HISTORY_SEED",
    "AFT_SERVICES_DIR",
    "AFT_SIM_DEEP",
    "AFT_SIM_RECORD",
    "AFT_SKIP_SERVICES",
    "AFT_TORTURE_MINUTES",
    "AFT_TORTURE_SEED",
];
/// The start of entries in the environment, which have `__` between section and name.
const PREFIX: &str = "AFT_";

/// The settings that a file and the environment give.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Settings {
    values: BTreeMap<(&'static str, &'static str), Value>,
    /// The settings file that was read, if there is one.
    file: Option<PathBuf>,
}

impl Settings {
    /// Reads the settings file (the default one, if there is one) and the environment.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or an entry is unknown or of the wrong kind;
    /// the text names it.
    pub(crate) fn load(file: Option<&Path>) -> Result<Settings, Failed> {
        let (path, required) = match file {
            Some(path) => (path, true),
            None => (Path::new(DEFAULT_FILE), false),
        };
        let mut read = None;
        let text = match std::fs::read_to_string(path) {
            Ok(text) => {
                // The whole path says in which directory it was found.
                read = Some(path.canonicalize().unwrap_or_else(|_| path.to_owned()));
                text
            }
            Err(why) if why.kind() == std::io::ErrorKind::NotFound && !required => String::new(),
            Err(why) if required => {
                return Err(format!("settings file {} (named by --config): {why}", path.display()));
            }
            Err(why) => return Err(format!("settings file {}: {why}", path.display())),
        };
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            // A name that is not UTF-8 is not one of ours.
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        let settings = Settings::merge(&text, &path.display().to_string(), environment)?;
        Ok(Settings { file: read, ..settings })
    }

    /// Returns the path of the settings file that was read, if there is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    fn merge(
        text: &str,
        file: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Settings, Failed> {
        let mut settings = Settings::default();
        settings.read_file(text, file)?;
        for (name, value) in environment {
            let is_other = SECRETS.contains(&&*name) || TASKS.contains(&&*name);
            let Some(entry) = name.strip_prefix(PREFIX).filter(|_| !is_other) else { continue };
            let Some((section, key)) = entry.split_once("__") else {
                if is_service_link(entry) {
                    continue;
                }
                return Err(unknown(&name, entry));
            };
            let (section, key) = (section.to_lowercase(), key.to_lowercase());
            let put = settings.put(&section, &key, &value);
            put.map_err(|why| format!("environment variable {name} ({section}.{key}): {why}"))?;
        }
        Ok(settings)
    }

    fn read_file(&mut self, text: &str, file: &str) -> Result<(), Failed> {
        let document = DeTable::parse(text)
            .map_err(|why| format!("settings file {file}: {}", why.to_string().trim()))?;
        let wrong = |at: usize, why: &str| {
            let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            format!("settings file {file}, line {line}: {why}")
        };
        for (section, entries) in document.get_ref().iter() {
            let name = section.get_ref();
            if table::section(name).is_none() {
                let above = SECTIONS.iter().find(|section| section.rows.iter().any(|row| row.name == name));
                let why = match above {
                    Some(Section { name: of, .. }) => {
                        format!("{name} is an entry of [{of}]: put it below the line [{of}]")
                    }
                    None => no_section(name),
                };
                return Err(wrong(section.span().start, &why));
            }
            let DeValue::Table(entries) = entries.get_ref() else {
                return Err(wrong(section.span().start, &format!("{name} is a section: write [{name}]")));
            };
            for (key, value) in entries.iter() {
                // A number may be in quotes, but text must be; `true`, a list or a table is of no
                // kind.
                let kind = table::row(name, key.get_ref()).map(|row| row.kind);
                let is_text = matches!(value.get_ref(), DeValue::String(_));
                let put = match (written(value.get_ref()), kind) {
                    (Some(_), Some(kind)) if kind.is_quoted() && !is_text => {
                        Err(format!("it must be {}, in quotes", kind.expected()))
                    }
                    (None, Some(kind)) => Err(format!("it must be {}", kind.expected())),
                    (value, _) => self.put(name, key.get_ref(), &value.unwrap_or_default()),
                };
                put.map_err(|why| wrong(key.span().start, &format!("{name}.{}: {why}", key.get_ref())))?;
            }
        }
        Ok(())
    }

    /// Sets an entry from text.
    fn put(&mut self, section: &str, name: &str, text: &str) -> Result<(), String> {
        let of = table::section(section).ok_or_else(|| no_section(section))?;
        let Some(row) = of.rows.iter().find(|row| row.name == name) else {
            let names: Vec<_> = of.rows.iter().map(|row| row.name).collect();
            return Err(format!("[{section}] has no entry {name:?}; its entries are {}", names.join(", ")));
        };
        self.values.insert((of.name, row.name), row.kind.read(text)?);
        Ok(())
    }

    /// Sets every field of `components` that a file or the environment sets.
    pub(crate) fn apply(&self, components: &mut Components) {
        for ((section, name), value) in &self.values {
            let Row { field, .. } = table::row(section, name).expect("only rows of the table are kept");
            field(components).set(value);
        }
    }

    /// Returns true if a file or the environment sets this entry.
    pub(crate) fn is_set(&self, section: &str, name: &str) -> bool {
        self.values.keys().any(|key| *key == (section, name))
    }

    /// Returns a number that is set.
    pub(crate) fn number(&self, section: &str, name: &str) -> Option<u64> {
        match self.values.iter().find(|(key, _)| **key == (section, name))?.1 {
            Value::Number(number) => Some(*number),
            value => panic!("{section}.{name} is a number, not {value:?}"),
        }
    }

    /// Sets a number unless the entry is set.
    ///
    /// # Panics
    /// Panics if the table has no such row.
    pub(crate) fn set_unless(&mut self, section: &'static str, name: &'static str, number: u64) {
        assert!(table::row(section, name).is_some(), "{section}.{name} is a setting");
        self.values.entry((section, name)).or_insert(Value::Number(number));
    }

    /// Returns the divisor of all times, which is 1 but in tests; `argument` wins.
    pub(crate) fn time_divisor(&self, argument: Option<u64>) -> u64 {
        argument.or(self.number("test", "time_divisor")).unwrap_or(1)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    #[cfg(test)]
    pub(crate) fn set(&mut self, section: &'static str, name: &'static str, number: u64) {
        self.values.insert((section, name), Value::Number(number));
    }
}

/// Returns the text of a value in a file; `None` if it is neither a number nor a text.
fn written<'a>(value: &'a DeValue<'_>) -> Option<Cow<'a, str>> {
    match value {
        DeValue::String(text) => Some(Cow::Borrowed(text)),
        DeValue::Integer(number) if number.radix() == 10 => Some(Cow::Borrowed(number.as_str())),
        DeValue::Integer(number) => {
            let number = u64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(Cow::Owned(number.to_string()))
        }
        DeValue::Float(number) => Some(Cow::Borrowed(number.as_str())),
        _ => None,
    }
}

fn no_section(name: &str) -> String {
    let names: Vec<_> = SECTIONS.iter().map(|section| section.name).collect();
    format!("there is no section {name:?}; the sections are {}", names.join(", "))
}

/// Returns the error for a variable that is no setting, with the setting that may be meant.
fn unknown(name: &str, entry: &str) -> Failed {
    let entry = entry.to_lowercase();
    let meant = SECTIONS.iter().map(|section| section.name).find_map(|section| {
        let key = if entry == section { "filter" } else { entry.strip_prefix(section).unwrap_or(&entry) };
        let key = key.trim_start_matches('_');
        table::row(section, key)
            .is_some()
            .then(|| format!("{PREFIX}{}__{}", section.to_uppercase(), key.to_uppercase()))
    });
    let form = meant.unwrap_or_else(|| format!("{PREFIX}SECTION__KEY, as aft serve --help lists them"));
    format!(
        "environment variable {name} is not a setting: write {form}, with two underscores between section and key, or unset it"
    )
}

/// Returns true for a variable that Kubernetes puts into the containers beside a service called
/// `aft` or `aft-…`: `AFT_SERVICE_HOST`, `AFT_PORT`, `AFT_PORT_7400_TCP`, …
fn is_service_link(entry: &str) -> bool {
    let entry = format!("_{entry}_");
    let port = entry.split_once("_PORT_").map(|(_, rest)| rest);
    entry.contains("_SERVICE_HOST_")
        || entry.contains("_SERVICE_PORT_")
        || port.is_some_and(|rest| rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(text: &str, environment: &[(&str, &str)]) -> Result<Settings, Failed> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::merge(text, "aft.toml", environment)
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let settings = merge(
            "[serve]\nstore = 'memory:'\nlisten = '127.0.0.1:1'\n[doors]\nvalue_bytes_max = 7\n\
             header_bytes_max = '64 kB'\n",
            &[
                ("AFT_SERVE__STORE", "local:x"),
                ("AFT_DOORS__BODY_BYTES_MAX", "9"),
                ("AFT_NODE__INDEX_BYTES_MAX", "1048576"),
                ("AFT_LOCAL__CACHE_BYTES_MAX", "2 MiB"),
                ("AFT_S3__WRITES_DOLLARS_PER_1000", "0.0054"),
                ("AFT_SERVICE_HOST", "10.0.0.1"),
                ("AFT_SERVICES_DIR", "services"),
                ("AFT_PORT", "tcp://10.0.0.1:7400"),
                ("AFT_PORT_7400_TCP_ADDR", "10.0.0.1"),
                ("AFT_BLUE_SERVICE_PORT_HTTP", "7400"),
                ("HOME", "/"),
                (TOKEN, "aft_0000"),
                (REDIS_PASSWORD, "hunter2"),
            ],
        )
        .unwrap();
        let mut components = Components::default();
        settings.apply(&mut components);
        assert_eq!(components.serve.store.as_deref(), Some("local:x"));
        assert_eq!(components.serve.listen.as_deref(), Some("127.0.0.1:1"));
        assert_eq!(components.desk.value_bytes_max, 7);
        assert_eq!(components.net.header_bytes_max, 64_000);
        assert_eq!(components.desk.body_bytes_max, 9);
        assert_eq!(components.node.core.index_bytes_max, 1 << 20);
        assert_eq!(components.local.cache_bytes, 2 << 20);
        assert!((components.s3.writes_dollars_per_1000 - 0.0054).abs() < 1e-9);
    }

    #[test]
    fn no_value_cache_is_a_setting() {
        let name = "AFT_NODE__VALUE_CACHE_BYTES_MAX";
        for settings in [merge("", &[(name, "0")]), merge("[node]\nvalue_cache_bytes_max = 0", &[])] {
            assert_eq!(settings.unwrap().number("node", "value_cache_bytes_max"), Some(0));
        }
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, environment: &[(&str, &str)], parts: &[&str]| {
            let why = merge(text, environment).unwrap_err();
            for part in parts {
                assert!(why.contains(part), "{part:?} is missing in {why}");
            }
        };
        check("[serve]\nstor = 'memory:'", &[], &["aft.toml", "stor", "line 2"]);
        check("[server]\n", &[], &["aft.toml", "server"]);
        check("store = 'memory:'", &[], &["line 1", "below the line [serve]"]);
        check("[serve]\nmaintain = true", &[], &["serve.maintain", "on or off"]);
        check("[serve]\nstore = 5", &[], &["serve.store", "in quotes"]);
        check("[node]\nindex_bytes_max = '256 Mi'", &[], &["256 Mi", "in bytes", "64 MiB", "64 MB"]);
        check("[node]\nindex_bytes_max = 256 MiB", &[], &["aft.toml", "line 2"]);
        check("[serve]\ndrain_ms = '1 min'", &[], &["1 min", "in milliseconds and without a unit"]);
        let large = "9223372036854775808";
        for name in ["node.index_bytes_max", "node.queue_len_max", "serve.drain_ms"] {
            let (section, key) = name.split_once('.').unwrap();
            check(&format!("[{section}]\n{key} = {large}"), &[], &[name, large, "9223372036854775807"]);
            let variable = format!("AFT_{}__{}", section.to_uppercase(), key.to_uppercase());
            check("", &[(&variable, large)], &[&variable, name, large, "9223372036854775807"]);
        }
        check("[node]\nindex_bytes_max = '8388608 TiB'", &[], &["node.index_bytes_max", "8388608 TiB"]);
        check("[node]\nindex_bytes_max = '99999999 TiB'", &[], &["node.index_bytes_max", "99999999 TiB"]);
        check("[node]\nqueue_len_max = 99999999999999999999", &[], &["queue_len_max", "9223372036854775807"]);
        check("", &[("AFT_SERVE__STORE", "")], &["AFT_SERVE__STORE", "is empty"]);
        check("x", &[], &["aft.toml"]);
        check("serve = 1", &[("AFT_SERVE__STORE", "x")], &["aft.toml", "serve"]);
        check("[doors]\nvalue_bytes_max = 0", &[], &["0", "from 1 on"]);
        check("[node]\nvalue_cache_bytes_max = -1", &[], &["-1", "from 0 on"]);
        check("[s3]\nreads_dollars_per_1000 = -1", &[], &["-1", "from 0 on"]);
        check("", &[("AFT_S3__READS_DOLLARS_PER_1000", "cheap")], &["cheap", "from 0 on"]);
        check("", &[("AFT_SERVE__STOR", "memory:")], &["AFT_SERVE__STOR", "stor"]);
        check("", &[("AFT_NODE__QUEUE_LEN_MAX", "many")], &["AFT_NODE__QUEUE_LEN_MAX", "many"]);
        check("", &[("AFT_LOG__FORMAT", "xml")], &["AFT_LOG__FORMAT", "xml"]);
        check(
            "",
            &[("AFT_DOORS_VALUE_BYTES_MAX", "7")],
            &["AFT_DOORS_VALUE_BYTES_MAX", "AFT_DOORS__VALUE_BYTES_MAX"],
        );
        check("", &[("AFT_LISTEN", "127.0.0.1:1")], &["AFT_LISTEN", "AFT_SERVE__LISTEN"]);
        check("", &[("AFT_LOG_FORMAT", "json")], &["AFT_LOG__FORMAT"]);
        check("", &[("AFT_LOG", "debug")], &["AFT_LOG is", "AFT_LOG__FILTER"]);
        check("", &[("AFT_COLOUR", "red")], &["AFT_COLOUR", "AFT_SECTION__KEY"]);
    }

    #[test]
    fn a_missing_file_that_was_named_is_rejected_with_the_flag() {
        let why = Settings::load(Some(Path::new("/nowhere/aft.toml"))).unwrap_err();
        assert!(why.contains("/nowhere/aft.toml") && why.contains("--config"), "{why}");
    }

    #[test]
    fn without_a_file_and_variables_every_setting_has_its_default() {
        assert_eq!(merge("", &[]).unwrap(), Settings::default());
    }
}
