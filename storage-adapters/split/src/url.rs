//! The URL of a store made of two: `RECORDS?…&blobs=BLOBS`.
//!
//! The value of `blobs` is a URL itself. In it a `&` is written `%26`, and a `%` is written `%25`;
//! all else may stand as it is.

use aft_store::unescaped;

/// The parameter that names the store of parts.
const BLOBS: &str = "blobs=";

/// The URLs of the two stores of which a store is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halves {
    /// The store of everything but parts of large values.
    pub records: String,
    /// The store of parts.
    pub blobs: String,
}

/// The reason why the URL of a store made of two cannot be read. The text does not repeat the URL,
/// which may contain a password by mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The parameter is there twice.
    #[error("the parameter \"blobs\" is given twice")]
    Twice,
    /// The parameter has no value.
    #[error("the parameter \"blobs\" names no store: write blobs=s3://BUCKET/PREFIX, or leave it out")]
    Empty,
    /// The value has a malformed escape.
    #[error("the parameter \"blobs\" has a broken %-escape: write %26 for a & in it, and %25 for a %")]
    BrokenEscape,
}

impl Halves {
    /// Takes a URL apart. Returns `None` if it has no parameter `blobs`, and so names one store.
    ///
    /// # Errors
    /// Returns a [`UrlError`] if the parameter is given twice, or its value cannot be read.
    pub fn of(url: &str) -> Result<Option<Halves>, UrlError> {
        let Some((path, query)) = url.split_once('?') else { return Ok(None) };
        let (blobs, others): (Vec<&str>, Vec<&str>) =
            query.split('&').partition(|parameter| parameter.starts_with(BLOBS));
        let blobs = match blobs[..] {
            [] => return Ok(None),
            [parameter] => &parameter[BLOBS.len()..],
            _ => return Err(UrlError::Twice),
        };
        if blobs.is_empty() {
            return Err(UrlError::Empty);
        }
        let blobs = unescaped(blobs).ok_or(UrlError::BrokenEscape)?;
        let records = match others.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{}", others.join("&")),
        };
        Ok(Some(Halves { records, blobs }))
    }

    /// Returns the URL of the store that is made of both.
    pub fn joined(&self) -> String {
        let Halves { records, blobs } = self;
        let separator = if records.contains('?') { '&' } else { '?' };
        let blobs = blobs.replace('%', "%25").replace('&', "%26");
        format!("{records}{separator}{BLOBS}{blobs}")
    }
}

/// Returns the place of the store at `url`: the URL without the region, by which requests are
/// signed, and which says nothing about where the store is that its name does not say.
pub fn place(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let kept: Vec<&str> = query.split('&').filter(|parameter| !parameter.starts_with("region=")).collect();
    match kept.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", kept.join("&")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_joined() {
        let check = |url: &str, records: &str, blobs: &str, joined: &str| {
            let halves = Halves { records: records.to_owned(), blobs: blobs.to_owned() };
            assert_eq!(Halves::of(url), Ok(Some(halves.clone())), "{url}");
            assert_eq!(halves.joined(), joined);
            assert_eq!(Halves::of(joined), Ok(Some(halves)), "{joined}");
        };
        let plain = "dynamodb://t/p?region=r&blobs=s3://b/q";
        check(plain, "dynamodb://t/p?region=r", "s3://b/q", plain);
        check("dynamodb://t?blobs=s3://b", "dynamodb://t", "s3://b", "dynamodb://t?blobs=s3://b");
        check(
            "dynamodb://t?blobs=s3://b/q?endpoint=http://h:1%26region=r&region=x&endpoint=http://h:2",
            "dynamodb://t?region=x&endpoint=http://h:2",
            "s3://b/q?endpoint=http://h:1&region=r",
            "dynamodb://t?region=x&endpoint=http://h:2&blobs=s3://b/q?endpoint=http://h:1%26region=r",
        );
        let escaped = "dynamodb://t?blobs=s3%3A%2F%2Fb%3Fendpoint%3Dhttp%3A%2F%2Fh%2525";
        check(escaped, "dynamodb://t", "s3://b?endpoint=http://h%25", {
            "dynamodb://t?blobs=s3://b?endpoint=http://h%2525"
        });
    }

    #[test]
    fn a_url_without_the_parameter_names_one_store() {
        for url in ["", "memory:", "dynamodb://t/p?region=r", "dynamodb://blobs=x", "s3://b?blob=s3://c"] {
            assert_eq!(Halves::of(url), Ok(None), "{url}");
        }
    }

    #[test]
    fn mistakes_are_named_and_not_repeated() {
        let check = |url: &str, expect: UrlError| {
            assert_eq!(Halves::of(url), Err(expect), "{url}");
            assert!(!expect.to_string().contains("hunter2"));
        };
        check("dynamodb://t?blobs=s3://hunter2&blobs=s3://c", UrlError::Twice);
        check("dynamodb://t?blobs=&region=hunter2", UrlError::Empty);
        check("dynamodb://t?blobs=s3://hunter2%2", UrlError::BrokenEscape);
    }

    #[test]
    fn a_place_has_no_region() {
        assert_eq!(place("s3://b/p"), "s3://b/p");
        assert_eq!(place("s3://b/p?region=r"), "s3://b/p");
        assert_eq!(place("s3://b/p?endpoint=http://h:1&region=r"), "s3://b/p?endpoint=http://h:1");
    }
}
