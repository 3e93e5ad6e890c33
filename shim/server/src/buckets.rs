//! The buckets of the S3 endpoint that `aft serve` is told of, with their origins.

use aft_door_s3::origin::Mapped;
use aft_transfer::{Place, open_origin};

use tracing::info;

use crate::{Failed, stores};

/// The form of a bucket with an origin, for messages.
const FORM: &str = "NAME=s3://BUCKET/PREFIX?endpoint=URL&region=R&mirror=on";

/// Separates the buckets without an origin from the others, and opens the origins of those.
///
/// # Errors
/// Returns an error if a text has another form, or an origin cannot be opened; the text names it.
pub(crate) async fn split(texts: &[String], store: &str) -> Result<(Vec<String>, Vec<Mapped>), Failed> {
    let (mut own, mut mapped) = (Vec::new(), Vec::new());
    for text in texts {
        let Some((bucket, url)) = text.split_once('=') else {
            own.push(text.clone());
            continue;
        };
        let named = |why: Failed| format!("the bucket {bucket:?}: {why}");
        let (url, mirror) = take_mirror(url).map_err(named)?;
        if !url.starts_with("s3://") {
            return Err(named(format!(
                "an origin is a bucket, and {url:?} is not the URL of one: write {FORM}"
            )));
        }
        let place = Place::parse(&url).map_err(named)?;
        refuse_own_store(&place, store).map_err(named)?;
        info!("asking the origin {place} of the bucket {bucket:?}");
        // Boxed because the future is large.
        let opened = Box::pin(open_origin(bucket, &place, mirror)).await;
        mapped.push(
            opened.map_err(|why| {
                named(why.replace("use endpoint or region", "use endpoint, region or mirror"))
            })?,
        );
    }
    Ok((own, mapped))
}

/// Refuses an origin that holds the server's own store: clients of the bucket would see and change
/// the store's objects.
fn refuse_own_store(origin: &Place, store: &str) -> Result<(), Failed> {
    let halves = stores::halves(store)?;
    let store = halves.as_ref().map_or(store, |halves| &halves.blobs);
    let (Place::Bucket { bucket, prefix, .. }, true) = (origin, store.starts_with("s3://")) else {
        return Ok(());
    };
    let Ok(Place::Bucket { bucket: of_store, prefix: within, .. }) = Place::parse(store) else {
        return Ok(());
    };
    match *bucket == of_store && (within.starts_with(prefix.as_str()) || prefix.starts_with(&within)) {
        true => Err(format!(
            "the origin {origin} and this server's own store, s3://{of_store}/{within}, are within each other: give \
             the origin a prefix beside the store, or keep the store in another bucket"
        )),
        false => Ok(()),
    }
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
    fn an_origin_does_not_hold_the_store() {
        let check =
            |origin: &str, store: &str| refuse_own_store(&Place::parse(origin).unwrap(), store).is_ok();
        for (origin, store, is_allowed) in [
            ("s3://real", "s3://real/store", false),
            ("s3://real/store/below", "s3://real/store?region=r", false),
            ("s3://real/store", "s3://real/store", false),
            ("s3://real/photos", "s3://real/store", true),
            ("s3://real", "s3://other/store", true),
            ("s3://real", "local:./data", true),
            ("s3://real/store", "dynamodb://real/store", true),
            ("s3://real", "dynamodb://t?blobs=s3://real/store", false),
            ("s3://real/photos", "dynamodb://t?blobs=s3://real/store", true),
        ] {
            assert_eq!(check(origin, store), is_allowed, "{origin} {store}");
        }
    }

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
        for wrong in
            ["photos=./here", "photos=", "photos=http://host/photos", "s3://photos?endpoint=http://host"]
        {
            let why = split(&[wrong.into()], "memory:").await.unwrap_err();
            assert!(why.contains("is not the URL") && why.contains("NAME=s3://"), "{why}");
        }
        let why = split(&["photos=s3://real?region=r".into()], "s3://real/store?region=r").await.unwrap_err();
        assert!(why.contains("\"photos\"") && why.contains("within each other"), "{why}");
        let (own, mapped) = split(&["photos".into()], "memory:").await.unwrap();
        assert_eq!((own, mapped.len()), (vec!["photos".to_owned()], 0));
    }
}
