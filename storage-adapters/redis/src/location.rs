//! The location of a store: its URL, parsed once.
//!
//! `redis://USER:PASSWORD@HOST:PORT/PREFIX?db=N`, or `rediss://` with TLS and then also `ca=FILE`;
//! everything but the host is optional. An unknown parameter is an error that names it, since
//! ignoring a mistyped one would open another store.

use std::fmt;

use aft_store::unescaped;

use crate::OpenError;
use crate::layout::PREFIX_BYTES_MAX;
use crate::tls::TlsWanted;

const PORT_DEFAULT: u16 = 6379;
const PREFIX_DEFAULT: &str = "aft";

/// A server, one of its databases, and a prefix in that.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) db: u32,
    pub(crate) prefix: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    /// TLS, if the scheme is `rediss`.
    pub(crate) tls: Option<TlsWanted>,
}

impl Location {
    /// Parses a URL.
    ///
    /// # Errors
    /// [`OpenError::Url`] if the URL is wrong; it says which part, and shows the form.
    pub(crate) fn parse(url: &str) -> Result<Location, OpenError> {
        Location::read(url).map_err(|problem| OpenError::Url { url: without_secrets(url), problem })
    }

    fn read(url: &str) -> Result<Location, String> {
        let (rest, mut tls) = match (url.strip_prefix("redis://"), url.strip_prefix("rediss://")) {
            (Some(rest), _) => (rest, None),
            (None, Some(rest)) => (rest, Some(TlsWanted::default())),
            (None, None) => return Err("it does not start with redis:// or rediss://".into()),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if query.contains('@') {
            return Err("there is an @ after the ?: write a ? in a password as %3F".into());
        }
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials), rest),
            None => (None, rest),
        };
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = read_authority(authority)?;
        let prefix = match prefix.strip_suffix('/').unwrap_or(prefix) {
            "" => PREFIX_DEFAULT.to_owned(),
            prefix => unescaped(prefix).ok_or("the prefix has a broken %-escape")?,
        };
        check_prefix(&prefix)?;
        let mut location = Location { host, port, db: 0, prefix, user: None, password: None, tls: None };
        if let Some(credentials) = credentials {
            // The password may be given alone, with or without the colon.
            let (user, password) = credentials.split_once(':').unwrap_or(("", credentials));
            let read = |text: &str| unescaped(text).ok_or("the user or the password has a broken %-escape");
            location.user = Some(read(user)?).filter(|user| !user.is_empty());
            location.password = Some(read(password)?).filter(|password| !password.is_empty());
        }
        let mut given = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if given.contains(&name) {
                return Err(format!("the parameter {name:?} is given twice"));
            }
            given.push(name);
            match (name, &mut tls) {
                ("db", _) => {
                    location.db =
                        value.parse().map_err(|_| format!("{value:?} is not the number of a database"))?;
                }
                ("ca", Some(tls)) => {
                    let path = unescaped(value).filter(|path| !path.is_empty());
                    let path = path.ok_or("ca names no file, or has a broken %-escape")?;
                    tls.ca = Some(path.into());
                }
                ("ca", None) => return Err("ca is for TLS: write rediss:// before it".into()),
                (_, None) => return Err(format!("unknown parameter {name:?}: use db")),
                (_, Some(_)) => return Err(format!("unknown parameter {name:?}: use db or ca")),
            }
        }
        location.tls = tls;
        Ok(location)
    }
}

/// Writes the URL, without secrets.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location { host, port, db, prefix, tls, .. } = self;
        let scheme = if tls.is_some() { "rediss" } else { "redis" };
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}/{prefix}")?,
            false => write!(f, "{scheme}://{host}:{port}/{prefix}")?,
        }
        let mut separator = '?';
        if *db != 0 {
            write!(f, "{separator}db={db}")?;
            separator = '&';
        }
        match tls.as_ref().and_then(|tls| tls.ca.as_ref()) {
            // Only what would end the parameter is escaped.
            Some(ca) => {
                let ca = ca.display().to_string().replace('%', "%25").replace('&', "%26").replace('@', "%40");
                write!(f, "{separator}ca={ca}")
            }
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Location").field(&self.to_string()).finish()
    }
}

fn read_authority(authority: &str) -> Result<(String, u16), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the host has a [ without a ]")?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let known = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if host.is_empty() || !host.chars().all(known) {
        return Err(format!("{host:?} is not the name of a host"));
    }
    let port = match port {
        None | Some("") => PORT_DEFAULT,
        // The message does not repeat the port: it may be a password whose host was forgotten.
        Some(digits) => digits.parse().map_err(|_| "the port is not a number")?,
    };
    Ok((host.to_owned(), port))
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix.chars().all(|c| c.is_ascii_digit()) {
        // In other programs' URLs a number is a database. A user who means that would get a store
        // in database 0.
        return Err(format!(
            "{prefix:?} is a number: write ?db={prefix} for a database, or use a prefix that is not only digits"
        ));
    }
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if !prefix.is_empty() && prefix.len() <= PREFIX_BYTES_MAX && prefix.chars().all(known) {
        return Ok(());
    }
    Err(format!(
        "the prefix {prefix:?} is not 1 to {PREFIX_BYTES_MAX} letters, digits, hyphens, underscores, dots and colons"
    ))
}

/// Returns a rejected URL for a message, without the parts that may hold a secret.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", ""));
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    match rest.split_once(['?', ':']) {
        Some((host, _)) => format!("{scheme}://{host}…"),
        None => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written() {
        let check = |url: &str, user: Option<&str>, password: Option<&str>, written: &str| {
            let location = Location::parse(url).unwrap();
            assert_eq!(location.to_string(), written);
            assert_eq!((location.user.as_deref(), location.password.as_deref()), (user, password), "{url}");
            assert!(!format!("{location:?}").contains("hunter2"));
        };
        check("redis://h", None, None, "redis://h:6379/aft");
        check("redis://h:7000/", None, None, "redis://h:7000/aft");
        check("redis://h/shop:1?db=3", None, None, "redis://h:6379/shop:1?db=3");
        check("redis://[::1]:7000?db=3", None, None, "redis://[::1]:7000/aft?db=3");
        check("redis://:hunter2@h", None, Some("hunter2"), "redis://h:6379/aft");
        check("redis://hunter2@h", None, Some("hunter2"), "redis://h:6379/aft");
        check("redis://me:a%40hunter2@h/one", Some("me"), Some("a@hunter2"), "redis://h:6379/one");
        check("redis://me:@h?db=0", Some("me"), None, "redis://h:6379/aft");
        check("rediss://h", None, None, "rediss://h:6379/aft");
        check("rediss://me:hunter2@h/x?db=3", Some("me"), Some("hunter2"), "rediss://h:6379/x?db=3");
        check("rediss://h?ca=/a%26b/ca.pem", None, None, "rediss://h:6379/aft?ca=/a%26b/ca.pem");
        check("rediss://h?ca=ca.pem&db=3", None, None, "rediss://h:6379/aft?db=3&ca=ca.pem");
    }

    #[test]
    fn mistakes_are_named_without_secrets() {
        let check = |url: &str, part: &str| {
            let why = Location::parse(url).unwrap_err().to_string();
            assert!(why.contains(part) && why.contains("redis://USER"), "{url}: {why}");
            assert!(!why.contains("hunter2"), "{why}");
        };
        check("redis:h", "redis://");
        check("redis://", "not the name of a host");
        check("redis://me:hunter2@", "not the name of a host");
        check("redis://me:hunter2@a b", "not the name of a host");
        check("redis://me:hunter2%4@h", "%-escape");
        check("redis://h:port", "the port");
        check("redis://me:hunter2", "the port");
        check("redis://me:a?hunter2@h", "%3F");
        check("redis://h/0", "?db=0");
        check("redis://h/a/b", "prefix");
        check("redis://h/a?prefix=b", "\"prefix\"");
        check("redis://h/a?db=", "not the number");
        check("redis://h/a?db=1&db=1", "twice");
        check("redis://me:hunter2@h/a?password=hunter2", "\"password\"");
        check("redis://h?ca=ca.pem", "rediss://");
        check("rediss://h?ca=", "no file");
        check("rediss://h?ca=a&ca=b", "twice");
        check("rediss://me:hunter2@h?cert=a", "\"cert\": use db or ca");
        check("rediss:me:hunter2@h", "rediss://");
    }
}
