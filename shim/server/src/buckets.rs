//! The buckets of the S3 endpoint that `aft serve` is told of, with their origins.

use aft_door_s3::origin::Mapped;
use aft_transfer::{Place, open_origin};

use tracing::info;

use crate::Failed;

/// The form of a bucket with an origin, for messages.
const FORM: &str = "NAME=s3://BUCKET/PREFIX?endpoint=URL&region=R&mirror=on";

/// Separates the buckets without an origin from the others, and opens the origins of those.
///
/// # Errors
/// Returns an error if a text has another form, or an origin cannot be opened; the text names it.
pub(crate) async fn split(texts: &[String]) -> Result<(Vec<String>, Vec<Mapped>), Failed> {
    let (mut own, mut mapped) = (Vec::new(), Vec::new());
    for text in texts {
        let Some((bucket, url)) = text.split_once('=') else {
            own.push(text.clone());
            continue;
        };
        let named = |why: Failed| format!("the bucket {bucket:?}: {why}");
        let (url, mirror) = take_mirror(url).map_err(named)?;
        let place = Place::parse(&url).map_err(named)?;
        info!("asking the origin {place} of the bucket {bucket:?}");
        // Boxed because the future is large.
        mapped.push(Box::pin(open_origin(bucket, &place, mirror)).await.map_err(named)?);
    }
    Ok((own, mapped))
}

/// Takes the option `mirror` out of a URL.
fn take_mirror(url: &str) -> Result<(String, bool), Failed> {
    let Some((path, query)) = url.split_once('?') else { return Ok((url.to_owned(), false)) };
    let (mut kept, mut mirror) = (Vec::new(), false);
    for option in query.split('&') {
        match option.strip_prefix("mirror=") {
            None => kept.push(option),
            Some("on") => mirror = true,
            Some("off") => mirror = false,
            Some(other) => return Err(format!("mirror={other} is neither on nor off: the form is {FORM}")),
        }
    }
    let query = kept.join("&");
    Ok((if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }, mirror))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_an_option_of_the_url() {
        for (url, rest, mirror) in [
            ("s3://real", "s3://real", false),
            ("s3://real/p?mirror=on", "s3://real/p", true),
            ("s3://real?region=r&mirror=on&endpoint=e", "s3://real?region=r&endpoint=e", true),
            ("s3://real?mirror=off", "s3://real", false),
        ] {
            assert_eq!(take_mirror(url), Ok((rest.to_owned(), mirror)), "{url}");
        }
        assert!(take_mirror("s3://real?mirror=yes").unwrap_err().contains("mirror=yes"));
    }

    #[tokio::test]
    async fn an_origin_is_a_bucket() {
        let why = split(&["photos=./here".into()]).await.unwrap_err();
        assert!(why.contains("\"photos\"") && why.contains("s3://"), "{why}");
        let (own, mapped) = split(&["photos".into()]).await.unwrap();
        assert_eq!((own, mapped.len()), (vec!["photos".to_owned()], 0));
    }
}
