//! Where a store is: its URL, parsed once.
//!
//! `dynamodb://TABLE/PREFIX?endpoint=URL&region=R`; all but the table may be left out. What is not known is refused by name, since a mistyped
//! parameter would mean another store.

use std::fmt;

use crate::OpenError;
use crate::layout::PREFIX_BYTES_MAX;

/// DynamoDB's own bounds of a table's name.
const TABLE_CHARS: std::ops::RangeInclusive<usize> = 3..=255;

/// Says what is wrong with a parameter's value.
type Check = fn(&str) -> Result<(), String>;

/// A table, a prefix in it, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) table: String,
    /// Without a `/` at either end; may be empty.
    pub(crate) prefix: String,
    /// `http://…` or `https://…`; `None` for Amazon's own.
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
}

impl Location {
    /// Parses a URL.
    ///
    /// # Errors
    /// [`OpenError::Url`] with what is wrong and the form.
    pub(crate) fn parse(url: &str) -> Result<Location, OpenError> {
        Location::read(url).map_err(|problem| OpenError::Url { url: without_secrets(url), problem })
    }

    fn read(url: &str) -> Result<Location, String> {
        let rest = url.strip_prefix("dynamodb://").ok_or("it does not start with dynamodb://")?;
        if rest.contains('@') {
            return Err(
                "it names a user: credentials come from the environment or a profile, never from a URL"
                    .into(),
            );
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (table, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        check_table(table)?;
        check_prefix(prefix)?;
        let mut location =
            Location { table: table.to_owned(), prefix: prefix.to_owned(), endpoint: None, region: None };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (entry, check): (_, Check) = match name {
                "endpoint" => (&mut location.endpoint, check_endpoint),
                "region" => (&mut location.region, check_region),
                _ => return Err(format!("there is no parameter {name:?}; there are endpoint and region")),
            };
            if entry.is_some() {
                return Err(format!("the parameter {name:?} is given twice"));
            }
            let value =
                decode(value).ok_or_else(|| format!("the parameter {name:?} has a broken %-escape"))?;
            check(&value)?;
            *entry = Some(value.trim_end_matches('/').to_owned());
        }
        Ok(location)
    }
}

/// The URL, without secrets: there is no place for one in it.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dynamodb://{}", self.table)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        let mut separator = '?';
        for (name, value) in [("endpoint", &self.endpoint), ("region", &self.region)] {
            if let Some(value) = value {
                write!(f, "{separator}{name}={value}")?;
                separator = '&';
            }
        }
        Ok(())
    }
}

fn check_table(table: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if TABLE_CHARS.contains(&table.chars().count()) && table.chars().all(known) {
        return Ok(());
    }
    Err(format!(
        "{table:?} is no name of a table: those have 3 to 255 letters, digits, hyphens, underscores and dots"
    ))
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix.is_empty() {
        return Ok(());
    }
    if prefix.len() > PREFIX_BYTES_MAX {
        return Err(format!("the prefix is {} bytes long; at most {PREFIX_BYTES_MAX}", prefix.len()));
    }
    // What policies and consoles take as it is.
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = |segment: &str| {
        !segment.is_empty() && segment.chars().all(known) && segment != "." && segment != ".."
    };
    if prefix.split('/').all(good) {
        return Ok(());
    }
    Err(format!(
        "the prefix {prefix:?} has an empty segment, . or .., or something else than letters, digits, hyphens, underscores and dots"
    ))
}

fn check_endpoint(endpoint: &str) -> Result<(), String> {
    let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    let Some(rest) = rest else {
        return Err("the endpoint does not start with http:// or https://".to_owned());
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let known = |c: char| c.is_ascii_alphanumeric() || "-_.:[]/".contains(c);
    if authority.is_empty() || !rest.chars().all(known) {
        return Err(format!("the endpoint {endpoint:?} is no http://HOST:PORT"));
    }
    Ok(())
}

fn check_region(region: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !region.is_empty() && region.chars().all(known) {
        return Ok(());
    }
    Err(format!("{region:?} is no region, such as us-east-1"))
}

/// Resolves %-escapes.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (&digits, after) = rest.split_first_chunk::<2>()?;
        let digits = std::str::from_utf8(&digits).ok().filter(|digits| !digits.starts_with('+'))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// A URL that is none of ours, for a message: without what may hold a secret by mistake.
fn without_secrets(url: &str) -> String {
    match url.split_once('?') {
        _ if url.contains('@') => "dynamodb://…".to_owned(),
        Some((path, _)) => format!("{path}?…"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written() {
        let check = |url: &str, expect: (&str, &str, Option<&str>, Option<&str>), written: &str| {
            let location = Location::parse(url).unwrap();
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let expect = Location {
                table: expect.0.to_owned(),
                prefix: expect.1.to_owned(),
                endpoint: owned(expect.2),
                region: owned(expect.3),
            };
            assert_eq!(location, expect);
            assert_eq!(location.to_string(), written);
        };
        check("dynamodb://data", ("data", "", None, None), "dynamodb://data");
        check("dynamodb://data/", ("data", "", None, None), "dynamodb://data");
        check("dynamodb://My_data/a/b.c/", ("My_data", "a/b.c", None, None), "dynamodb://My_data/a/b.c");
        check(
            "dynamodb://data?region=eu-west-1",
            ("data", "", None, Some("eu-west-1")),
            "dynamodb://data?region=eu-west-1",
        );
        let local = "dynamodb://data/aft?endpoint=http://127.0.0.1:8000&region=us-east-1";
        let expect = ("data", "aft", Some("http://127.0.0.1:8000"), Some("us-east-1"));
        check(local, expect, local);
        check("dynamodb://data/aft?region=us-east-1&endpoint=http%3A%2F%2F127.0.0.1%3A8000/", expect, local);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |url: &str, part: &str| {
            let why = Location::parse(url).unwrap_err().to_string();
            assert!(why.contains(part) && why.contains("dynamodb://TABLE/PREFIX"), "{url}: {why}");
        };
        check("s3:data", "dynamodb://");
        check("dynamodb://", "name of a table");
        check("dynamodb://ab", "name of a table");
        check("dynamodb://my data", "name of a table");
        check("dynamodb://data//x", "empty segment");
        check("dynamodb://data/a/../b", "empty segment");
        check("dynamodb://data/a b", "letters");
        check(&format!("dynamodb://data/{}", "p".repeat(129)), "129 bytes");
        check("dynamodb://data?endpiont=http://h", "\"endpiont\"");
        check("dynamodb://data?region=a&region=b", "twice");
        check("dynamodb://data?region=", "region");
        check("dynamodb://data?endpoint=127.0.0.1:8000", "http://");
        check("dynamodb://data?endpoint=http://", "no http://HOST:PORT");
        check("dynamodb://data?endpoint=http%3", "%-escape");
    }

    #[test]
    fn a_secret_in_a_url_is_not_repeated() {
        for url in [
            "dynamodb://data?endpoint=http://user:hunter2@host",
            "dynamodb://user:hunter2@data",
            "dynamodb://data?key=hunter2",
        ] {
            let why = Location::parse(url).unwrap_err().to_string();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
