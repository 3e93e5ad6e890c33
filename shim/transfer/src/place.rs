//! Buckets and directories, as the command line names them.

use std::fmt;
use std::path::PathBuf;

use aft_store::unescaped;

use crate::Failed;

/// The form of a bucket's URL, for messages.
const FORM: &str = "s3://BUCKET/PREFIX?endpoint=URL&region=R";

/// A place outside the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A directory.
    Directory(PathBuf),
    /// The objects of a bucket below a prefix.
    Bucket {
        /// The URL without the prefix.
        url: String,
        /// The name of the bucket.
        bucket: String,
        /// The prefix; empty, or with a `/` at its end.
        prefix: String,
    },
}

impl Place {
    /// Parses the text of a command line: a URL of the form `s3://…`, or a path. A prefix is a
    /// folder, as for `aws s3 sync`, with or without a `/` at its end; %-escapes in it are decoded.
    ///
    /// # Errors
    /// Returns an error if it is a URL of another form.
    pub fn parse(text: &str) -> Result<Place, Failed> {
        let Some(rest) = text.strip_prefix("s3://") else {
            return match text.split_once("://") {
                _ if text.is_empty() => Err(format!("the name of a directory is empty: write it, or {FORM}")),
                Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                    Err(format!("{scheme}://… is neither a directory nor a bucket: write {FORM}"))
                }
                _ => Ok(Place::Directory(PathBuf::from(text))),
            };
        };
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let wrong = "has a % without two hexadecimal digits: write %25 for a percent sign";
        let mut prefix = unescaped(prefix).ok_or_else(|| format!("the prefix of s3://{bucket}/… {wrong}"))?;
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let url = format!("s3://{bucket}{query}");
        Ok(Place::Bucket { url, bucket: bucket.to_owned(), prefix })
    }
}

/// Writes the place for messages, without the query of a URL.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Directory(path) => path.display().fmt(f),
            Place::Bucket { bucket, prefix, .. } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_parsed() {
        let bucket = |url: &str, bucket: &str, prefix: &str| Place::Bucket {
            url: url.to_owned(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        for (text, place) in [
            ("s3://data", bucket("s3://data", "data", "")),
            ("s3://data/", bucket("s3://data", "data", "")),
            ("s3://data/a/b", bucket("s3://data", "data", "a/b/")),
            ("s3://data/a b%3F/?region=r", bucket("s3://data?region=r", "data", "a b?/")),
            ("./there", Place::Directory("./there".into())),
            ("a:b", Place::Directory("a:b".into())),
        ] {
            assert_eq!(Place::parse(text), Ok(place), "{text}");
        }
        for (text, part) in [("", "empty"), ("gs://data", "gs://"), ("s3://data/%", "%25")] {
            let why = Place::parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
