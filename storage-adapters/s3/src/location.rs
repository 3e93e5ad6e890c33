//! Where a store is: its URL, `s3://BUCKET/PREFIX?endpoint=URL&region=R`; all but the bucket may be left out.

use aft_store_aws::Form;

use crate::layout::PREFIX_BYTES_MAX;

/// S3's own bounds of a bucket's name.
const BUCKET_CHARS: std::ops::RangeInclusive<usize> = 3..=63;

/// What a URL is.
pub(crate) const FORM: Form =
    Form { scheme: "s3", check_name: check_bucket, prefix_bytes_max: PREFIX_BYTES_MAX };

fn check_bucket(bucket: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = bucket.starts_with(['-', '.']) || bucket.ends_with(['-', '.']);
    if BUCKET_CHARS.contains(&bucket.chars().count()) && bucket.chars().all(known) && !ends {
        return Ok(());
    }
    Err(format!(
        "{bucket:?} is no name of a bucket: those have 3 to 63 lower-case letters, digits, hyphens and dots"
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
    fn names_are_taken() {
        for url in ["s3://data", "s3://my.data/a/b.c/"] {
            Location::parse(&FORM, url).unwrap();
        }
    }
}
