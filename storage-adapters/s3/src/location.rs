//! The location of a store: its URL, `s3://BUCKET/PREFIX?endpoint=URL&region=R`; everything but the
//! bucket is optional.

use aft_store_aws::Form;

use crate::layout::PREFIX_BYTES_MAX;

/// The length of a bucket's name, as S3 bounds it.
const BUCKET_CHARS: std::ops::RangeInclusive<usize> = 3..=63;

/// The form of a store's URL.
pub(crate) const FORM: Form =
    Form { scheme: "s3", check_name: check_bucket, prefix_bytes_max: PREFIX_BYTES_MAX };

fn check_bucket(bucket: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = bucket.starts_with(['-', '.']) || bucket.ends_with(['-', '.']);
    if BUCKET_CHARS.contains(&bucket.chars().count()) && bucket.chars().all(known) && !ends {
        return Ok(());
    }
    Err(format!(
        "{bucket:?} is not a valid name of a bucket: use 3 to 63 lower-case letters, digits, hyphens and dots, with a letter or digit at both ends"
    ))
}

#[cfg(test)]
mod tests {
    use aft_store_aws::Location;

    use super::*;
    use crate::OpenError;

    #[test]
    fn mistakes_are_named() {
        let check = |url: &str, part: &str| {
            let why = OpenError::from(Location::parse(&FORM, url).unwrap_err()).to_string();
            assert!(why.contains(part) && why.contains("s3://BUCKET/PREFIX"), "{url}: {why}");
        };
        check("s3:data", "s3://");
        check("s3://", "name of a bucket");
        check("s3://Data", "name of a bucket");
        check("s3://-data", "name of a bucket");
        check(&format!("s3://data/{}", "p".repeat(129)), "129 bytes");
        check("s3://data?endpiont=http://h", "\"endpiont\"");
    }

    #[test]
    fn valid_urls_are_accepted() {
        for url in ["s3://data", "s3://my.data/a/b.c/"] {
            Location::parse(&FORM, url).unwrap();
        }
    }
}
