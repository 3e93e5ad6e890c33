//! Settings: flags over environment over file over defaults.
//!
//! File and environment become one table, which is then read with unknown entries refused, so that an entry has one name everywhere:
//! `[doors] value_bytes_max` is `AFT_DOORS__VALUE_BYTES_MAX`. Numbers in the environment are text, so numbers may be text everywhere.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use crate::Failed;
use crate::commands::{LogFormat, Switch};

/// The file that is read if no other is named.
const DEFAULT_FILE: &str = "aft.toml";
/// What the commands that call a server read from the environment: no setting of a server, and no mistake beside one.
pub(crate) const TOKEN: &str = "AFT_TOKEN";
/// The password for a store on Redis, if its URL has none.
pub(crate) const REDIS_PASSWORD: &str = "AFT_REDIS_PASSWORD";
/// What begins as settings do and is none: never in a settings file.
const SECRETS: [&str; 2] = [TOKEN, REDIS_PASSWORD];
/// What this repository's own tasks and tests read.
const TASKS: [&str; 8] = [
    "AFT_BIN",
    "AFT_CLIENT_SEED",
    "AFT_HISTORY_SEED",
    "AFT_SERVICES_DIR",
    "AFT_SIM_DEEP",
    "AFT_SKIP_SERVICES",
    "AFT_TORTURE_MINUTES",
    "AFT_TORTURE_SEED",
];
/// Entries in the environment start so, and have `__` between section and key.
const PREFIX: &str = "AFT_";

/// The sections: the fields of [`Settings`].
const SECTIONS: [&str; 8] = ["serve", "node", "local", "s3", "dynamodb", "doors", "log", "test"];

/// What file and environment say.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) serve: Serve,
    pub(crate) node: Node,
    pub(crate) local: Local,
    pub(crate) s3: S3,
    pub(crate) dynamodb: DynamoDb,
    pub(crate) doors: Doors,
    pub(crate) log: Log,
    pub(crate) test: Test,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Serve {
    pub(crate) store: Option<String>,
    pub(crate) listen: Option<String>,
    pub(crate) nodes: Option<Number>,
    pub(crate) drain_ms: Option<Number>,
    pub(crate) maintain: Option<Switch>,
    pub(crate) memory_bytes_max: Option<Number>,
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) tls_certificate: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) tls_client_ca: Option<PathBuf>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Node {
    pub(crate) transactions_max: Option<Number>,
    pub(crate) transactions_bytes_max: Option<Number>,
    pub(crate) index_bytes_max: Option<Number>,
    pub(crate) queue_len_max: Option<Number>,
    pub(crate) store_calls_max: Option<Number>,
    /// 0: no cache.
    pub(crate) value_cache_bytes_max: Option<Number<0>>,
    pub(crate) timeout_default_ms: Option<Number>,
    pub(crate) timeout_max_ms: Option<Number>,
    pub(crate) retention_default_ms: Option<Number>,
    pub(crate) commit_patience_ms: Option<Number>,
    pub(crate) recheck_after_ms: Option<Number>,
    pub(crate) skew_max_ms: Option<Number>,
    /// 0: keys are looked at before every commit, unless it read them.
    pub(crate) commit_wait_max_ms: Option<Number<0>>,
    pub(crate) sweep_interval_ms: Option<Number>,
    pub(crate) sweep_hashes_max: Option<Number>,
}

/// Of a `local:` store.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Local {
    pub(crate) cache_bytes_max: Option<Number>,
    pub(crate) memtable_bytes_max: Option<Number>,
}

/// Of an `s3:` store.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct S3 {
    pub(crate) writes_dollars_per_1000: Option<Price>,
    pub(crate) reads_dollars_per_1000: Option<Price>,
}

/// Of a `dynamodb:` store.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DynamoDb {
    pub(crate) writes_dollars_per_million: Option<Price>,
    pub(crate) reads_dollars_per_million: Option<Price>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Doors {
    pub(crate) connections_max: Option<Number>,
    pub(crate) header_bytes_max: Option<Number>,
    pub(crate) body_bytes_max: Option<Number>,
    pub(crate) value_bytes_max: Option<Number>,
    pub(crate) bodies_bytes_max: Option<Number>,
    pub(crate) header_timeout_ms: Option<Number>,
    pub(crate) body_timeout_ms: Option<Number>,
    pub(crate) reply_stall_timeout_ms: Option<Number>,
    pub(crate) wait_default_ms: Option<Number>,
    pub(crate) wait_max_ms: Option<Number>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: Option<LogFormat>,
    pub(crate) filter: Option<String>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Test {
    pub(crate) time_divisor: Option<Number>,
}

/// A number that may be written as text, and is at least `LEAST`: where 0 would stop everything, it is a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number<const LEAST: u64 = 1>(pub(crate) u64);

impl<'de, const LEAST: u64> Deserialize<'de> for Number<LEAST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number<LEAST>, D::Error> {
        struct Any<const LEAST: u64>;
        impl<const LEAST: u64> Visitor<'_> for Any<LEAST> {
            type Value = Number<LEAST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number from {LEAST} on")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Number<LEAST>, E> {
                match u64::try_from(number) {
                    Ok(number) if number >= LEAST => Ok(Number(number)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number<LEAST>, E> {
                match text.parse() {
                    Ok(number) if number >= LEAST => Ok(Number(number)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A price in US dollars that may be written as text; 0 for what is free.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Price(pub(crate) f64);

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Price, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Price;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a price from 0 on")
            }

            fn visit_i64<E: de::Error>(self, price: i64) -> Result<Price, E> {
                self.visit_f64(price as f64)
            }

            fn visit_f64<E: de::Error>(self, price: f64) -> Result<Price, E> {
                if price.is_finite() && price >= 0.0 {
                    return Ok(Price(price));
                }
                Err(E::invalid_value(de::Unexpected::Float(price), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Price, E> {
                let price = text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
                self.visit_f64(price)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Settings {
    /// What a settings file (the default one, if there is one) and the environment say.
    ///
    /// # Errors
    /// If the file cannot be read, or an entry is unknown or of the wrong kind; the text names it.
    pub(crate) fn load(file: Option<&Path>) -> Result<Settings, Failed> {
        let (path, required) = match file {
            Some(path) => (path, true),
            None => (Path::new(DEFAULT_FILE), false),
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound && !required => String::new(),
            Err(why) if required => {
                return Err(format!("settings file {} (named by --config): {why}", path.display()));
            }
            Err(why) => return Err(format!("settings file {}: {why}", path.display())),
        };
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            // What is not UTF-8 is no name of ours.
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        Settings::merge(&text, &path.display().to_string(), environment)
    }

    fn merge(
        text: &str,
        file: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Settings, Failed> {
        let mut table: Table = toml::from_str(text).map_err(|why| format!("settings file {file}: {why}"))?;
        // By itself first: then a mistake in the file is told with its line.
        let _: Settings = toml::from_str(text).map_err(|why| format!("settings file {file}: {why}"))?;
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
            let entry = Table::from_iter([(
                section.clone(),
                Value::Table(Table::from_iter([(key.clone(), Value::String(value.clone()))])),
            )]);
            let _: Settings = entry
                .try_into()
                .map_err(|why| format!("environment variable {name} ({section}.{key}): {why}"))?;
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            section
                .as_table_mut()
                .expect("the file was read as settings above")
                .insert(key, Value::String(value));
        }
        table.try_into().map_err(|why| format!("settings: {why}"))
    }
}

/// A variable that is no entry, and the entry that may be meant.
fn unknown(name: &str, entry: &str) -> Failed {
    let entry = entry.to_lowercase();
    let meant = SECTIONS.iter().find_map(|section| {
        let key = if entry == *section { "filter" } else { entry.strip_prefix(section).unwrap_or(&entry) };
        let key = key.trim_start_matches('_');
        is_entry(section, key).then(|| format!("{PREFIX}{}__{}", section.to_uppercase(), key.to_uppercase()))
    });
    let form = meant.unwrap_or_else(|| format!("{PREFIX}SECTION__KEY, as aft serve --help lists them"));
    format!(
        "environment variable {name} is no setting: write {form}, with two underscores between section and key, or unset it"
    )
}

fn is_entry(section: &str, key: &str) -> bool {
    let table = Table::from_iter([(key.to_owned(), Value::String("1".to_owned()))]);
    let read = Table::from_iter([(section.to_owned(), Value::Table(table))]).try_into::<Settings>();
    // A known entry may want another value; an unknown one is refused as such.
    read.map_or_else(|why| !why.message().contains("unknown field"), |_| true)
}

/// What Kubernetes puts into the containers beside a service called `aft` or `aft-…`: `AFT_SERVICE_HOST`, `AFT_PORT`, `AFT_PORT_7400_TCP`, …
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
            "[serve]\nstore = 'memory:'\nlisten = '127.0.0.1:1'\n[doors]\nvalue_bytes_max = 7\n",
            &[
                ("AFT_SERVE__STORE", "local:x"),
                ("AFT_DOORS__BODY_BYTES_MAX", "9"),
                ("AFT_NODE__INDEX_BYTES_MAX", "1048576"),
                ("AFT_LOCAL__CACHE_BYTES_MAX", "2097152"),
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
        assert_eq!(settings.serve.store.as_deref(), Some("local:x"));
        assert_eq!(settings.serve.listen.as_deref(), Some("127.0.0.1:1"));
        assert_eq!(settings.doors.value_bytes_max, Some(Number(7)));
        assert_eq!(settings.doors.body_bytes_max, Some(Number(9)));
        assert_eq!(settings.node.index_bytes_max, Some(Number(1 << 20)));
        assert_eq!(settings.local.cache_bytes_max, Some(Number(2 << 20)));
        assert_eq!(settings.s3.writes_dollars_per_1000, Some(Price(0.0054)));
    }

    #[test]
    fn no_value_cache_is_a_setting() {
        let name = "AFT_NODE__VALUE_CACHE_BYTES_MAX";
        for settings in [merge("", &[(name, "0")]), merge("[node]\nvalue_cache_bytes_max = 0", &[])] {
            assert_eq!(settings.unwrap().node.value_cache_bytes_max, Some(Number(0)));
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
    fn the_sections_are_those_of_the_settings() {
        for section in SECTIONS {
            let empty = Table::from_iter([(section.to_owned(), Value::Table(Table::new()))]);
            assert_eq!(empty.try_into::<Settings>().unwrap(), Settings::default(), "{section}");
        }
        let why = toml::from_str::<Settings>("[none]").unwrap_err().to_string();
        assert_eq!(why.matches('`').count(), 2 * (1 + SECTIONS.len()), "{why}");
    }

    #[test]
    fn a_file_that_is_named_and_not_there_is_refused_with_the_flag() {
        let why = Settings::load(Some(Path::new("/nowhere/aft.toml"))).unwrap_err();
        assert!(why.contains("/nowhere/aft.toml") && why.contains("--config"), "{why}");
    }

    #[test]
    fn nothing_said_is_every_default() {
        assert_eq!(merge("", &[]).unwrap(), Settings::default());
    }
}
