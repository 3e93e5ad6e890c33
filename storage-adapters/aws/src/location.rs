//! The location of a store: its URL, parsed once.
//!
//! `SCHEME://NAME/PREFIX?endpoint=URL&region=R`; everything but the name is optional. An unknown
//! parameter is an error that names it, since ignoring a mistyped one would open another store.

use std::fmt;

use aft_store::unescaped;

use crate::Mistake;

/// Checks a part of a URL; the error says what is wrong with it.
type Check = fn(&str) -> Result<(), String>;

/// The rules that a service sets for its URLs.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// The scheme, the part before `://`.
    pub scheme: &'static str,
    /// Checks the name of the bucket or table; the error says what is wrong with it.
    pub check_name: fn(&str) -> Result<(), String>,
    /// The length of the longest prefix, in bytes.
    pub prefix_bytes_max: usize,
}

/// A bucket or table, a prefix in it, and the endpoint and region to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The scheme of the URL's [`Form`].
    pub scheme: &'static str,
    /// The name of the bucket or table.
    pub name: String,
    /// The prefix, without a `/` at either end; may be empty.
    pub prefix: String,
    /// The endpoint, `http://…` or `https://…`; `None` for Amazon's own.
    pub endpoint: Option<String>,
    /// The region; `None` if the URL leaves it to the environment.
    pub region: Option<String>,
}

impl Location {
    /// Parses a URL.
    ///
    /// # Errors
    /// [`Mistake::Url`] if the URL is wrong; it says which part, and shows the URL without secrets.
    pub fn parse(form: &Form, url: &str) -> Result<Location, Mistake> {
        Location::read(form, url)
            .map_err(|problem| Mistake::Url { url: without_secrets(form.scheme, url), problem })
    }

    fn read(form: &Form, url: &str) -> Result<Location, String> {
        let scheme = form.scheme;
        let rest = url
            .strip_prefix(scheme)
            .and_then(|rest| rest.strip_prefix("://"))
            .ok_or_else(|| format!("it does not start with {scheme}://"))?;
        if rest.contains('@') {
            return Err(
                "it names a user: credentials come from the environment or a profile, never from a URL"
                    .into(),
            );
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        (form.check_name)(name)?;
        check_prefix(prefix, form.prefix_bytes_max)?;
        let (name, prefix) = (name.to_owned(), prefix.to_owned());
        let mut location = Location { scheme, name, prefix, endpoint: None, region: None };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (entry, check): (_, Check) = match name {
                "endpoint" => (&mut location.endpoint, check_endpoint),
                "region" => (&mut location.region, check_region),
                _ => return Err(format!("unknown parameter {name:?}: use endpoint or region")),
            };
            if entry.is_some() {
                return Err(format!("the parameter {name:?} is given twice"));
            }
            let value =
                unescaped(value).ok_or_else(|| format!("the parameter {name:?} has a broken %-escape"))?;
            check(&value)?;
            *entry = Some(value.trim_end_matches('/').to_owned());
        }
        Ok(location)
    }
}

/// Writes the URL. It cannot hold a secret: no part of a location can.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.name)?;
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

fn check_prefix(prefix: &str, bytes_max: usize) -> Result<(), String> {
    if prefix.is_empty() {
        return Ok(());
    }
    if prefix.len() > bytes_max {
        return Err(format!("the prefix is {} bytes long; at most {bytes_max}", prefix.len()));
    }
    // The characters that servers, file systems, policies and consoles all accept without escaping.
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = |segment: &str| {
        !segment.is_empty() && segment.chars().all(known) && segment != "." && segment != ".."
    };
    if prefix.split('/').all(good) {
        return Ok(());
    }
    Err(format!(
        "the prefix {prefix:?} has an empty segment, a segment . or .., or a character other than letters, digits, hyphens, underscores and dots"
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
        return Err(format!("the endpoint {endpoint:?} is not of the form http://HOST:PORT"));
    }
    Ok(())
}

fn check_region(region: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !region.is_empty() && region.chars().all(known) {
        return Ok(());
    }
    Err(format!("{region:?} is not the name of a region, such as us-east-1"))
}

/// Returns a rejected URL for a message, without the parts that may hold a secret by mistake.
fn without_secrets(scheme: &str, url: &str) -> String {
    match url.split_once('?') {
        _ if url.contains('@') => format!("{scheme}://…"),
        Some((path, _)) => format!("{path}?…"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form { scheme: "s3", check_name, prefix_bytes_max: 128 };

    fn check_name(name: &str) -> Result<(), String> {
        if name.is_empty() { Err("no name".to_owned()) } else { Ok(()) }
    }

    /// Returns what is wrong with a URL, and the URL as the message shows it.
    fn mistake(url: &str) -> (String, String) {
        match Location::parse(&FORM, url) {
            Err(Mistake::Url { url, problem }) => (problem, url),
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn urls_are_read_and_written() {
        let check = |url: &str, expect: (&str, &str, Option<&str>, Option<&str>), written: &str| {
            let location = Location::parse(&FORM, url).unwrap();
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let expect = Location {
                scheme: "s3",
                name: expect.0.to_owned(),
                prefix: expect.1.to_owned(),
                endpoint: owned(expect.2),
                region: owned(expect.3),
            };
            assert_eq!(location, expect);
            assert_eq!(location.to_string(), written);
        };
        check("s3://data", ("data", "", None, None), "s3://data");
        check("s3://data/", ("data", "", None, None), "s3://data");
        check("s3://my.data/a/b.c/", ("my.data", "a/b.c", None, None), "s3://my.data/a/b.c");
        check(
            "s3://data?region=eu-west-1",
            ("data", "", None, Some("eu-west-1")),
            "s3://data?region=eu-west-1",
        );
        let local = "s3://data/aft?endpoint=http://127.0.0.1:9000&region=us-east-1";
        let expect = ("data", "aft", Some("http://127.0.0.1:9000"), Some("us-east-1"));
        check(local, expect, local);
        check("s3://data/aft?region=us-east-1&endpoint=http%3A%2F%2F127.0.0.1%3A9000/", expect, local);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |url: &str, part: &str| {
            let (problem, _) = mistake(url);
            assert!(problem.contains(part), "{url}: {problem}");
        };
        check("s3:data", "s3://");
        check("s3://", "no name");
        check("s3://data//x", "empty segment");
        check("s3://data/a/../b", "empty segment");
        check("s3://data/a b", "letters");
        check(&format!("s3://data/{}", "p".repeat(129)), "129 bytes");
        check("s3://data?endpiont=http://h", "\"endpiont\"");
        check("s3://data?region=a&region=b", "twice");
        check("s3://data?region=", "region");
        check("s3://data?endpoint=127.0.0.1:9000", "http://");
        check("s3://data?endpoint=http://", "not of the form http://HOST:PORT");
        check("s3://data?endpoint=http%3", "%-escape");
    }

    #[test]
    fn a_secret_in_a_url_is_not_repeated() {
        for url in
            ["s3://data?endpoint=http://user:hunter2@host", "s3://user:hunter2@data", "s3://data?key=hunter2"]
        {
            let (problem, shown) = mistake(url);
            assert!(!problem.contains("hunter2") && !shown.contains("hunter2"), "{shown}: {problem}");
        }
    }
}
