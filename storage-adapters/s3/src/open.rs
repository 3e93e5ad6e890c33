//! Opening a store: settings for the SDK, and first requests to the server that turn each mistake
//! of configuration into a message.
//!
//! ```text
//!   credentials and region    found in the URL, the options, the environment or a profile
//!   LIST of one key           bucket, endpoint, key and signature are right
//!   PUT, PUT if unchanged     writes are allowed; how are ETags quoted in a condition?
//!   DELETE if stale, if so    is the condition of a delete checked?
//!   PUT, DELETE batch, GET    are batched deletes carried out?
//! ```
//!
//! A server's abilities are tested, not guessed from its name: MinIO carries out a conditional
//! delete without its condition, Ceph's radosgw never matches an ETag that is quoted as HTTP
//! requires, and some servers want another checksum with a batch than the SDK sends.

use aft_store::{Error, Space};
use aft_store_aws::{Settings, Times, settings};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use bytes::Bytes;

use crate::failure::Failure;
use crate::layout::{GROUP_END, Layout};
use crate::link::{Link, Only, Page};
use crate::location::FORM;
use crate::meter::Meter;
use crate::{OpenError, Options};

/// The directory of the objects with which the opening tests the server.
const PROBE: &str = "probe";
/// An ETag that no known content has: an MD5 of zeros.
const STALE: &str = "\"00000000000000000000000000000000\"";

/// The abilities that the server showed when the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// A delete with `If-Match` checks its condition.
    pub(crate) delete_if: bool,
    /// A batched delete is carried out.
    pub(crate) delete_batch: bool,
    /// The way in which the server takes an ETag in a condition.
    pub(crate) quotes: Quotes,
}

/// The quotes around the ETag in `If-Match` of a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// Sent, as HTTP and S3 require.
    Kept,
    /// Left out: Ceph's radosgw (16.2) compares with the bare ETag, so that a quoted one never
    /// matches.
    LeftOut,
}

/// The parts of an opened store.
pub(crate) struct Opened {
    pub(crate) link: Link,
    pub(crate) layout: Layout,
    pub(crate) abilities: Abilities,
    /// A warning about the store's location, for the operator.
    pub(crate) caution: Option<String>,
}

/// Opens the store at `url`: connects, checks the bucket, and tests the server's abilities.
pub(crate) async fn open(url: &str, options: &Options) -> Result<Opened, OpenError> {
    let (link, layout, _) = connect(url, options).await?;
    look(&link, &layout).await?;
    let caution = caution(&link, &layout).await;
    let abilities = try_out(&link, &layout).await?;
    Ok(Opened { link, layout, abilities, caution })
}

/// Makes the store at `url` without a request, with the abilities that can be known without one.
pub(crate) async fn attach(url: &str, options: &Options) -> Result<Opened, OpenError> {
    let (link, layout, Place { is_amazon, .. }) = connect(url, options).await?;
    let abilities = Abilities { delete_if: is_amazon, delete_batch: is_amazon, quotes: Quotes::Kept };
    Ok(Opened { link, layout, abilities, caution: None })
}

/// Opens the store at `url`, and creates its bucket if there is none. Rejects a location among
/// other objects, or within or around another store, unless `among_others` is set.
pub(crate) async fn init(
    url: &str,
    options: &Options,
    among_others: bool,
) -> Result<(Opened, Prepared), OpenError> {
    let (link, layout, place) = connect(url, options).await?;
    let (bucket, region) = (link.bucket().to_owned(), place.region);
    let mut prepared = Prepared { bucket, region, ..Prepared::default() };
    match look(&link, &layout).await {
        Ok(()) => {}
        Err(OpenError::NoBucket(_)) => {
            link.create_bucket(&prepared.region).await?;
            prepared.bucket_is_new = true;
            look(&link, &layout).await?;
        }
        Err(other) => return Err(other),
    }
    survey(&link, &layout, &mut prepared).await?;
    if !prepared.store_was_there && !among_others {
        prepared.refuse_others(&link.url)?;
    }
    let abilities = try_out(&link, &layout).await?;
    Ok((Opened { link, layout, abilities, caution: None }, prepared))
}

/// The findings of [`S3Store::init`](crate::S3Store::init), and what it created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepared {
    /// The bucket's name.
    pub bucket: String,
    /// The region that requests were sent to.
    pub region: String,
    /// True if the bucket was created.
    pub bucket_is_new: bool,
    /// True if objects of a store were there already.
    pub store_was_there: bool,
    /// Other things at the same place: objects, and directories with a `/` at their end. Only some
    /// of them, if there are many; empty if the store was there already, since then nothing looks
    /// for them.
    pub others: Vec<String>,
    /// The prefix of another store that encloses this place, or that lies directly within it; empty
    /// if that store has the whole bucket.
    pub other_store: Option<String>,
}

/// The number of entries of a place that are examined.
const SURVEY_LEN: usize = 100;
/// The number of entries that a message names, and of directories that are examined for a store.
const NAMED_LEN: usize = 3;

/// Fills in `prepared` what lies at the store's place and above it. A new store among other
/// objects, within another store, or around one most often means that somebody forgot the prefix.
async fn survey(link: &Link, layout: &Layout, prepared: &mut Prepared) -> Result<(), OpenError> {
    let root = layout.aside("");
    prepared.store_was_there = is_store(link, &root).await?;
    if prepared.store_was_there {
        return Ok(());
    }
    let page = list(link, &root, true, SURVEY_LEN).await?;
    // Directories of a store's own layout do not count, such as the probe of an opening that was
    // interrupted.
    let own: Vec<String> = Space::ALL
        .iter()
        .map(|space| space.as_str())
        .chain([PROBE])
        .map(|name| format!("{root}{name}/"))
        .collect();
    prepared.others = page
        .directories
        .into_iter()
        .chain(page.objects.into_iter().map(|object| object.key))
        .filter(|other| !own.contains(other))
        .collect();
    // Every directory above the place, the bucket's root included, may be a store that encloses it;
    // a directory within the place may be a store that it would enclose.
    let above = root.match_indices('/').map(|(at, _)| &root[..=at]).filter(|above| above.len() < root.len());
    let above = above.chain((!root.is_empty()).then_some("")).map(str::to_owned);
    let within = prepared.others.iter().filter(|other| other.ends_with('/')).take(NAMED_LEN).cloned();
    for place in above.chain(within).collect::<Vec<_>>() {
        if is_store(link, &place).await? {
            prepared.other_store = Some(place);
            break;
        }
    }
    Ok(())
}

/// Returns a warning if the store does not exist yet and its location looks like a mistake;
/// otherwise `None`. Also `None` if these credentials may not list the places above it.
async fn caution(link: &Link, layout: &Layout) -> Option<String> {
    let mut found = Prepared { bucket: link.bucket().to_owned(), ..Prepared::default() };
    survey(link, layout, &mut found).await.ok()?;
    let what = found.in_the_way()?;
    let url = &link.url;
    Some(format!(
        "{url}: there is no store here yet, and AFT would begin a new one here; but {what}; check the prefix"
    ))
}

/// Returns true if something under the prefix `root` looks like a store's: a store's description of
/// itself, which is written as soon as the store is created, or commit records.
async fn is_store(link: &Link, root: &str) -> Result<bool, OpenError> {
    for space in [Space::Store, Space::Commit] {
        let page = list(link, &format!("{root}{}/", space.as_str()), false, 1).await?;
        if page.objects.first().is_some_and(|object| object.key.contains(GROUP_END)) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn list(link: &Link, prefix: &str, by_directory: bool, limit: usize) -> Result<Page, OpenError> {
    let page = link.list(prefix, by_directory, None, limit).await;
    page.map_err(|failure| failure.into_error(&link.asked("list", prefix)).into())
}

impl Prepared {
    /// Returns [`OpenError::Occupied`] if something suggests that a new store here is a mistake.
    fn refuse_others(&self, url: &str) -> Result<(), OpenError> {
        let bucket = &self.bucket;
        self.in_the_way().map_or(Ok(()), |what| {
            Err(OpenError::Occupied(format!(
                "{url}: cannot make a new store here: {what}; nothing was created. Name a prefix of its own (s3://{bucket}/PREFIX), or, if you want the store here all the same, add --among-others"
            )))
        })
    }

    /// Returns the reason why a new store here is most likely a mistake; `None` if there is none.
    fn in_the_way(&self) -> Option<String> {
        let bucket = &self.bucket;
        Some(match (&self.other_store, &self.others[..]) {
            (Some(store), _) if store.is_empty() => {
                format!("it lies within the store that has all of s3://{bucket}")
            }
            (Some(store), others) if others.contains(store) => {
                format!("the store s3://{bucket}/{store} lies within it")
            }
            (Some(store), _) => format!("it lies within the store s3://{bucket}/{store}"),
            (None, []) => return None,
            (None, others) => {
                let named: Vec<_> = others.iter().take(NAMED_LEN).map(|other| format!("{other:?}")).collect();
                let more = if others.len() > NAMED_LEN { ", …" } else { "" };
                format!("the bucket {bucket} has other objects there: {}{more}", named.join(", "))
            }
        })
    }
}

/// The place that requests go to.
struct Place {
    region: String,
    /// True for Amazon's own servers.
    is_amazon: bool,
}

/// Returns a client for the store's bucket, the store's layout, and the place that requests go to.
/// Nothing is sent yet.
async fn connect(url: &str, options: &Options) -> Result<(Link, Layout, Place), OpenError> {
    let Settings { location, region, sdk } = settings(&FORM, url, options.keys.as_ref()).await?;
    let url = location.to_string();
    let mut config = aws_sdk_s3::config::Builder::from(&sdk);
    // Requests go where the URL shows, even if the environment names another endpoint for this
    // service.
    config.set_endpoint_url(location.endpoint.clone());
    if location.endpoint.is_some() {
        config = config
            // Servers other than Amazon's have no host name for each bucket.
            .force_path_style(true)
            // Older servers do not understand the checksums that the SDK sends by default. The
            // signature covers the body anyway.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    }
    let times = Times::default();
    let client = Client::from_conf(config.interceptor(times.clone()).build());
    let layout = Layout::new(&location.prefix);
    let place = Place { region, is_amazon: location.endpoint.is_none() };
    Ok((Link::new(client, location.name, url, Meter::new(options.prices), times), layout, place))
}

/// Checks that the bucket exists and may be listed.
async fn look(link: &Link, layout: &Layout) -> Result<(), OpenError> {
    let root = layout.aside("");
    match link.list(&root, false, None, 1).await {
        Ok(_) => Ok(()),
        Err(Failure::NoBucket(text)) => Err(OpenError::NoBucket(text)),
        Err(failure) => Err(failure.into_error(&link.asked("list", &root)).into()),
    }
}

/// Tests the server's abilities on an object outside the spaces: writes it, replaces it, and
/// deletes it in every way.
async fn try_out(link: &Link, layout: &Layout) -> Result<Abilities, OpenError> {
    let key = layout.aside(&format!("{PROBE}/{:032x}", rand::random::<u128>()));
    let asked = link.asked("try out", &key);
    let body = Bytes::from_static(b"aft");
    let failed = |failure: Failure| failure.into_error(&asked);
    let tag = link.put(&key, body.clone(), Only::Always).await.map_err(failed)?;
    let quotes = try_quotes(link, &key, &tag, &body).await.map_err(failed)?;
    // The server checks the condition only if it rejects the stale tag and then accepts the right
    // one.
    let stale_kept = match link.delete(&key, Some(STALE)).await {
        Err(Failure::Precondition) => true,
        // The condition was ignored, or rejected as unknown.
        Ok(()) | Err(Failure::Missing | Failure::Failed(Error::Refused(_))) => false,
        Err(other) => return Err(failed(other).into()),
    };
    let delete_if = stale_kept && link.delete(&key, Some(&tag)).await.is_ok();

    link.put(&key, body, Only::Always).await.map_err(failed)?;
    let deleted = match link.delete_batch(std::slice::from_ref(&key)).await {
        Ok(()) => true,
        // For instance because the server wants another checksum than the SDK's.
        Err(Error::Refused(_)) => false,
        Err(other) => return Err(other.into()),
    };
    // Some servers accept a batch without carrying it out: look whether the object is gone.
    let delete_batch = deleted && link.get_start(&key, 1).await?.is_none();
    if !delete_batch {
        link.delete(&key, None).await.map_err(failed)?;
    }
    Ok(Abilities { delete_if, delete_batch, quotes })
}

/// Writes the object again, on the condition that it still has its tag, to learn how the server
/// takes the tag. Assumes quotes if neither form works.
async fn try_quotes(link: &Link, key: &str, tag: &str, body: &Bytes) -> Result<Quotes, Failure> {
    match link.put(key, body.clone(), Only::IfTag(tag)).await {
        Err(Failure::Precondition) => {}
        // A server without the condition is not detected here: the first replace fails with its
        // message.
        Ok(_) | Err(Failure::Missing | Failure::Failed(Error::Refused(_))) => return Ok(Quotes::Kept),
        Err(other) => return Err(other),
    }
    match link.put(key, body.clone(), Only::IfTag(Quotes::LeftOut.write(tag))).await {
        Ok(_) => Ok(Quotes::LeftOut),
        Err(Failure::Precondition | Failure::Missing | Failure::Failed(Error::Refused(_))) => {
            Ok(Quotes::Kept)
        }
        Err(other) => Err(other),
    }
}

impl Quotes {
    /// Returns `tag`, which has its quotes, in the form that this server takes in a condition.
    pub(crate) fn write(self, tag: &str) -> &str {
        match self {
            Quotes::Kept => tag,
            Quotes::LeftOut => tag.trim_matches('"'),
        }
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> OpenError {
        OpenError::Store(error)
    }
}
