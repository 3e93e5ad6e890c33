//! The settings: variables of the function's environment.

use std::time::Duration;

use aft_core::message::Isolation;
use aft_lambda_events::{Path, Rules, names};

/// The variables of the layer, for messages, the help and the documentation: name, values, meaning.
#[rustfmt::skip]
pub const VARIABLES: &[(&str, &str, &str)] = &[
    (STORE, "dynamodb://TABLE, s3://BUCKET/PREFIX", "Runs the node in the layer's process, over this store; large values of a table lie in a bucket with ?blobs=s3://BUCKET/PREFIX."),
    (URL, "http://HOST:PORT", "Uses a shim instead."),
    (TOKEN, "text", "The token that the shim wants."),
    (CA, "file", "The certificate authority of the shim, in PEM; by default those of the system."),
    (S3_URL, "http://HOST:PORT", "The S3 endpoint of the shim; without it S3 is not redirected."),
    (S3_BUCKETS, "names, by commas", "Buckets of the store that the function uses: they are made if missing, and not looked for in each transaction."),
    (ISOLATION, "read_atomic, serializable", "The level of transactions; by default that of the keys they write."),
    (DUPLICATES, "run, wait", "Runs beside another attempt of the same request (default), or waits for it."),
    (ON_5XX, "abort, commit", "Takes an HTTP response of 500 and above for a failure (default), or for a result."),
    (RECORDS, "each, batch", "Runs the records of queues and streams one by one, each in a transaction of its own (default), or a batch in one."),
    (LOG, "error, warn, info, debug", "The least severe lines of the layer's log; info by default."),
    (NEXT_WRAPPER, "file", "Another exec wrapper that runs behind this one."),
    (names::REQUEST_ID, "JMESPath", "Selects the request ID in events."),
    (names::REQUIRE, "true, false", "Rejects events without a request ID of their own."),
    (names::HEADERS, "names, by commas", "HTTP headers that carry a request ID."),
    (names::CALLER, "JMESPath", "Selects the caller of an HTTP request."),
    (names::FINGERPRINT, "JMESPath", "Selects the part of the event that retries must repeat."),
    (names::RETENTION, "seconds", "The time for which outcomes are kept; by default by the event's source."),
    (names::FIFO_DEDUPLICATION_ID, "true, false", "Takes deduplication IDs of FIFO queues for request IDs."),
    (names::BATCH_ITEM_FAILURES, "true, false", "Says that the event source mapping reports failures of single records."),
];

const STORE: &str = "AFT_STORE";
const URL: &str = "AFT_URL";
const TOKEN: &str = "AFT_TOKEN";
const CA: &str = "AFT_CA";
const S3_URL: &str = "AFT_S3_URL";
const S3_BUCKETS: &str = "AFT_S3_BUCKETS";
const ISOLATION: &str = "AFT_ISOLATION";
const DUPLICATES: &str = "AFT_DUPLICATES";
const ON_5XX: &str = "AFT_ON_5XX";
const RECORDS: &str = "AFT_RECORDS";
const LOG: &str = "AFT_LOG";
/// The variable that names another exec wrapper.
pub const NEXT_WRAPPER: &str = "AFT_NEXT_WRAPPER";
/// The value of `AWS_LAMBDA_INITIALIZATION_TYPE` where several invocations run at once.
const MANAGED: &str = "lambda-managed-instances";
/// The beginning of the names of all variables of the layer.
const PREFIX: &str = "AFT_";
/// Variables of the clients of the native API, which a handler may use besides.
const OF_CLIENTS: &[&str] = &["AFT_REQUEST", "AFT_SESSION"];

/// The settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The place where transactions run.
    pub place: Place,
    /// Buckets that the function uses.
    pub buckets: Vec<String>,
    /// The level of transactions.
    pub isolation: Option<Isolation>,
    /// True to wait for another attempt of the same request.
    pub waits: bool,
    /// True to commit if the handler returned an HTTP response of 500 and above.
    pub commits_5xx: bool,
    /// True to run the records of queues and streams one by one.
    pub by_record: bool,
    /// The rules by which events are identified.
    pub rules: Rules,
    /// The least severe lines of the log.
    pub log: tracing::Level,
    /// The variables that Lambda sets.
    pub lambda: Lambda,
}

/// The place where transactions run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A node in this process, over the store at a URL.
    Store {
        /// The URL.
        url: String,
    },
    /// A shim.
    Shim(ShimPlace),
}

/// The addresses of a shim, and what it asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct ShimPlace {
    /// The native API.
    pub url: String,
    /// The S3 endpoint.
    pub s3_url: Option<String>,
    /// The token.
    pub token: Option<String>,
    /// The file with the certificate authority.
    pub ca: Option<String>,
}

impl std::fmt::Debug for ShimPlace {
    // The token is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ShimPlace { url, s3_url, token: _, ca } = self;
        f.debug_struct("ShimPlace")
            .field("url", url)
            .field("s3_url", s3_url)
            .field("ca", ca)
            .finish_non_exhaustive()
    }
}

/// The variables that Lambda sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lambda {
    /// The Runtime API's host and port.
    pub runtime_api: String,
    /// The number of invocations that one environment handles at once; 1 but on managed instances.
    pub concurrency: usize,
    /// The function's memory, in bytes.
    pub memory_bytes: usize,
}

impl Settings {
    /// Reads the settings with a function that returns the value of a variable.
    ///
    /// # Errors
    /// Returns the first mistake; the text names the variable and the remedy.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Settings, String> {
        let get =
            |name: &str| get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let place = match (get(STORE), get(URL)) {
            (Some(url), None) => Place::Store { url },
            (None, Some(url)) => {
                Place::Shim(ShimPlace { url, s3_url: get(S3_URL), token: get(TOKEN), ca: get(CA) })
            }
            (Some(_), Some(_)) => {
                return Err(format!(
                    "both {STORE} and {URL} are set: set {STORE} to run the node in the layer, or {URL} to use a shim"
                ));
            }
            (None, None) => {
                return Err(format!(
                    "neither {STORE} nor {URL} is set, so the layer has no place for transactions: set \
                     {STORE}=dynamodb://TABLE to run the node in the layer, or {URL}=http://HOST:PORT to use a shim, or \
                     remove the layer"
                ));
            }
        };
        let isolation = match get(ISOLATION).as_deref() {
            None => None,
            Some("read_atomic") => Some(Isolation::ReadAtomic),
            Some("serializable") => Some(Isolation::Serializable),
            Some(other) => return Err(wrong(ISOLATION, other)),
        };
        let rules = Settings::read_rules(get)?;
        let log = match get(LOG) {
            None => tracing::Level::INFO,
            Some(text) => text.parse().map_err(|_| wrong(LOG, &text))?,
        };
        let missing = |name: &str| {
            format!("{name} is not set: the layer runs inside AWS Lambda, or a local host of it")
        };
        let concurrency = match get("AWS_LAMBDA_MAX_CONCURRENCY") {
            // It may be missing in extensions. Then any number may run at once.
            None if get("AWS_LAMBDA_INITIALIZATION_TYPE").is_some_and(|kind| kind == MANAGED) => usize::MAX,
            None => 1,
            Some(text) => {
                let count = text.parse().ok().filter(|count| *count > 0);
                count.ok_or_else(|| wrong("AWS_LAMBDA_MAX_CONCURRENCY", &text))?
            }
        };
        let lambda = Lambda {
            runtime_api: get("AWS_LAMBDA_RUNTIME_API").ok_or_else(|| missing("AWS_LAMBDA_RUNTIME_API"))?,
            concurrency,
            memory_bytes: get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
                .and_then(|text| text.parse().ok())
                .unwrap_or(128_usize)
                << 20,
        };
        let buckets = get(S3_BUCKETS).map_or_else(Vec::new, |names| list(&names));
        let waits = chosen(&get, DUPLICATES, "run", "wait")?;
        let commits_5xx = chosen(&get, ON_5XX, "abort", "commit")?;
        let by_record = !chosen(&get, RECORDS, "each", "batch")?;
        Ok(Settings { place, buckets, isolation, waits, commits_5xx, by_record, rules, log, lambda })
    }

    /// Reads the rules by which events are identified.
    ///
    /// # Errors
    /// Returns the errors of [`Settings::read`].
    pub fn read_rules(get: impl Fn(&str) -> Option<String>) -> Result<Rules, String> {
        let get =
            |name: &str| get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let is_true = |name: &str| chosen(&get, name, "false", "true");
        let path = |name: &str| {
            let read = |text: String| Path::new(&text).map_err(|why| format!("{name}: {why}"));
            get(name).map(read).transpose()
        };
        let defaults = Rules::default();
        Ok(Rules {
            request_id: path(names::REQUEST_ID)?,
            require: is_true(names::REQUIRE)?,
            headers: get(names::HEADERS).map_or(defaults.headers, |names| list(&names)),
            caller: path(names::CALLER)?,
            fingerprint: path(names::FINGERPRINT)?,
            retention: match get(names::RETENTION) {
                None => None,
                Some(text) => {
                    let seconds = text.parse().map_err(|_| wrong(names::RETENTION, &text))?;
                    Some(Duration::from_secs(seconds))
                }
            },
            fifo_deduplication_id: is_true(names::FIFO_DEDUPLICATION_ID)?,
            batch_item_failures: is_true(names::BATCH_ITEM_FAILURES)?,
            overrides: defaults.overrides,
        })
    }

    /// Returns the names of variables that look like settings of the layer and are none: most often
    /// a misspelt one, which would be ignored without a word.
    pub fn unknown(names: impl Iterator<Item = String>) -> Vec<String> {
        let known = |name: &str| {
            VARIABLES.iter().any(|(known, ..)| *known == name)
                || OF_CLIENTS.iter().any(|of| name.starts_with(of))
        };
        let mut unknown: Vec<String> =
            names.filter(|name| name.starts_with(PREFIX) && !known(name)).collect();
        unknown.sort();
        unknown
    }
}

/// Returns true if a variable has its second value, and false for its first, which is the default.
fn chosen(
    get: &impl Fn(&str) -> Option<String>,
    name: &str,
    first: &str,
    second: &str,
) -> Result<bool, String> {
    match get(name) {
        None => Ok(false),
        Some(value) if value == first => Ok(false),
        Some(value) if value == second => Ok(true),
        Some(other) => Err(wrong(name, &other)),
    }
}

fn wrong(name: &str, value: &str) -> String {
    let known = VARIABLES.iter().find(|(known, ..)| *known == name);
    let values = known.map_or("a number", |(_, values, _)| values);
    format!("{name} is {value:?}, and must be one of: {values}")
}

fn list(names: &str) -> Vec<String> {
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let base = [("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")];
        Settings::read(|name| {
            let found = variables.iter().chain(&base).find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn one_place_is_enough() {
        let settings = read(&[("AFT_STORE", " dynamodb://aft "), ("AFT_S3_BUCKETS", "a, b,,")]).unwrap();
        assert_eq!(settings.place, Place::Store { url: "dynamodb://aft".into() });
        assert_eq!(settings.buckets, ["a", "b"]);
        assert_eq!((settings.waits, settings.commits_5xx, settings.lambda.concurrency), (false, false, 1));
        assert!(settings.by_record);
        let settings =
            read(&[("AFT_URL", "http://h:1"), ("AFT_S3_URL", "http://h:2"), ("AFT_RECORDS", "batch")]);
        let settings = settings.unwrap();
        assert!(!settings.by_record);
        let Place::Shim(shim) = settings.place else { panic!("a shim is named") };
        assert_eq!((shim.url.as_str(), shim.s3_url.as_deref()), ("http://h:1", Some("http://h:2")));
    }

    #[test]
    fn mistakes_name_the_variable_and_what_it_takes() {
        for (variables, parts) in [
            (&[][..], &["AFT_STORE", "AFT_URL", "remove the layer"][..]),
            (&[("AFT_STORE", "  ")], &["neither AFT_STORE"]),
            (&[("AFT_STORE", "memory:"), ("AFT_URL", "http://h")], &["both AFT_STORE and AFT_URL"]),
            (
                &[("AFT_STORE", "memory:"), ("AFT_ISOLATION", "snapshot")],
                &["AFT_ISOLATION", "snapshot", "serializable"],
            ),
            (&[("AFT_STORE", "memory:"), ("AFT_DUPLICATES", "yes")], &["AFT_DUPLICATES", "wait"]),
            (&[("AFT_STORE", "memory:"), ("AFT_RETENTION", "1d")], &["AFT_RETENTION", "1d", "seconds"]),
            (&[("AFT_STORE", "memory:"), ("AFT_REQUEST_ID", "a[")], &["AFT_REQUEST_ID", "JMESPath"]),
            (&[("AFT_STORE", "memory:"), ("AWS_LAMBDA_RUNTIME_API", "")], &["AWS_LAMBDA_RUNTIME_API"]),
            (
                &[("AFT_STORE", "memory:"), ("AWS_LAMBDA_MAX_CONCURRENCY", "0")],
                &["AWS_LAMBDA_MAX_CONCURRENCY", "a number"],
            ),
        ] {
            let why = read(variables).unwrap_err();
            for part in parts {
                assert!(why.contains(part), "{part:?} is missing in {why:?}");
            }
        }
    }

    #[test]
    fn the_page_has_every_variable() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lambda.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows: Vec<String> = VARIABLES
            .iter()
            .map(|(name, values, about)| format!("| `{name}` | {values} | {about} |"))
            .collect();
        let found: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| `AFT_") && line.matches('|').count() == 4)
            .collect();
        let found: Vec<&str> = found.into_iter().skip_while(|line| !line.contains("Runs the node")).collect();
        assert_eq!(found, rows, "write the rows of settings::VARIABLES into docs/lambda.md");
    }

    #[test]
    fn managed_instances_are_known_by_either_variable() {
        let concurrency = |variables: &[(&str, &str)]| {
            let store = [("AFT_STORE", "memory:")];
            read(&[variables, &store].concat()).unwrap().lambda.concurrency
        };
        assert_eq!(concurrency(&[]), 1);
        assert_eq!(concurrency(&[("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")]), 1);
        let managed = ("AWS_LAMBDA_INITIALIZATION_TYPE", MANAGED);
        assert_eq!(concurrency(&[managed]), usize::MAX);
        assert_eq!(concurrency(&[managed, ("AWS_LAMBDA_MAX_CONCURRENCY", "8")]), 8);
    }

    #[test]
    fn misspelt_variables_are_found() {
        let names = ["AFT_STORE", "AFT_BUCKETS", "PATH", "AFT_REQUEST_ID", "AFT_ISOLATON"];
        assert_eq!(Settings::unknown(names.map(String::from).into_iter()), ["AFT_BUCKETS", "AFT_ISOLATON"]);
    }

    #[test]
    fn the_token_is_not_shown() {
        let settings = read(&[("AFT_URL", "http://h:1"), ("AFT_TOKEN", "hunter2")]).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
