//! Opening: settings for the SDK, and a first look at the server that turns each mistake into a sentence.
//!
//! ```text
//!   URL ─► credentials? ─► region? ─► LIST one key ─► PUT, PUT if so ─► DELETE if stale, DELETE if so ─► PUT, DELETE in a batch, GET
//!                                     bucket, endpoint,  may write; with    is a delete's condition     are batches carried out?
//!                                     key, signature     which quotes?      kept?
//! ```
//!
//! What a server can do is tried and not guessed from its name: MinIO takes a conditional delete for an unconditional one, Ceph's radosgw finds no
//! ETag that is written as HTTP has it, and some servers want another checksum with a batch than the SDK sends.

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

/// The directory of what the opening tries out.
const PROBE: &str = "probe";
/// An ETag that no content is known to have: an MD5 of zeros.
const STALE: &str = "\"00000000000000000000000000000000\"";

/// What the server was seen to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abilities {
    pub(crate) delete_if: bool,
    pub(crate) delete_batch: bool,
    /// How a condition on an ETag is to be written.
    pub(crate) quotes: Quotes,
}

/// Around the ETag in `If-Match` of a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// As HTTP and S3 have it.
    Kept,
    /// Ceph's radosgw (16.2) compares with the bare ETag: with quotes nothing ever matches.
    LeftOut,
}

/// The parts of an opened store.
pub(crate) struct Opened {
    pub(crate) link: Link,
    pub(crate) layout: Layout,
    pub(crate) abilities: Abilities,
    /// What people should know of the place.
    pub(crate) caution: Option<String>,
}

pub(crate) async fn open(url: &str, options: &Options) -> Result<Opened, OpenError> {
    let (link, layout, _) = connect(url, options).await?;
    look(&link, &layout).await?;
    let caution = caution(&link, &layout).await;
    let abilities = try_out(&link, &layout).await?;
    Ok(Opened { link, layout, abilities, caution })
}

pub(crate) async fn init(
    url: &str,
    options: &Options,
    among_others: bool,
) -> Result<(Opened, Prepared), OpenError> {
    let (link, layout, region) = connect(url, options).await?;
    let mut prepared = Prepared { bucket: link.bucket().to_owned(), region, ..Prepared::default() };
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

/// What `init` found and made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepared {
    /// The bucket.
    pub bucket: String,
    /// The region that was spoken to.
    pub region: String,
    /// The bucket was made.
    pub bucket_is_new: bool,
    /// Objects of a store are there already.
    pub store_was_there: bool,
    /// What else stands there: objects, and directories with a `/` at their end. Some of it, if it is much; none, where the store was there already: then nobody looks.
    pub others: Vec<String>,
    /// The prefix of a store that the place lies within, or that lies directly within the place.
    pub other_store: Option<String>,
}

/// How many entries of a place are looked at, and how many are named.
const SURVEY_LEN: usize = 100;
const NAMED_LEN: usize = 3;

/// What stands where a store is to be, and above it. A new store among other people's objects, within another store, or around one is most often a
/// prefix that was forgotten.
async fn survey(link: &Link, layout: &Layout, prepared: &mut Prepared) -> Result<(), OpenError> {
    let root = layout.aside("");
    prepared.store_was_there = is_store(link, &root).await?;
    if prepared.store_was_there {
        return Ok(());
    }
    let page = list(link, &root, true, SURVEY_LEN).await?;
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

/// What should worry whoever opens a store that has not begun yet. Places above it may be forbidden to look at: then nothing is said.
async fn caution(link: &Link, layout: &Layout) -> Option<String> {
    let mut found = Prepared { bucket: link.bucket().to_owned(), ..Prepared::default() };
    survey(link, layout, &mut found).await.ok()?;
    let what = found.in_the_way()?;
    let url = &link.url;
    Some(format!("{url}: there is no store yet, and a new one begins here; but {what}. Is the prefix right?"))
}

/// Says whether something under a prefix looks like a store's: one says of itself what it is as soon
/// as it is made, and commits leave records.
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
    fn refuse_others(&self, url: &str) -> Result<(), OpenError> {
        let bucket = &self.bucket;
        self.in_the_way().map_or(Ok(()), |what| {
            Err(OpenError::Occupied(format!(
                "{url}: this is no place for a new store: {what}; nothing was made. Name a prefix of its own (s3://{bucket}/PREFIX), or, if it is meant to stand among them, say --among-others"
            )))
        })
    }

    /// Why a new store there is most often a mistake.
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
                format!("the bucket {bucket} holds other things there: {}{more}", named.join(", "))
            }
        })
    }
}

/// A client, and the region that it speaks to.
async fn connect(url: &str, options: &Options) -> Result<(Link, Layout, String), OpenError> {
    let Settings { location, region, sdk } = settings(&FORM, url, options.keys.as_ref()).await?;
    let url = location.to_string();
    let mut config = aws_sdk_s3::config::Builder::from(&sdk);
    // What the URL shows is where requests go, whatever else the environment names for this one service.
    config.set_endpoint_url(location.endpoint.clone());
    if location.endpoint.is_some() {
        config = config
            // A bucket's name is no host name on a server of one's own.
            .force_path_style(true)
            // Older servers do not understand the checksums that the SDK sends unasked. The signature covers the body all the same.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    }
    let times = Times::default();
    let client = Client::from_conf(config.interceptor(times.clone()).build());
    let layout = Layout::new(&location.prefix);
    Ok((Link::new(client, location.name, url, Meter::new(options.prices), times), layout, region))
}

/// Is the bucket there, and may it be listed?
async fn look(link: &Link, layout: &Layout) -> Result<(), OpenError> {
    let root = layout.aside("");
    match link.list(&root, false, None, 1).await {
        Ok(_) => Ok(()),
        Err(Failure::NoBucket(text)) => Err(OpenError::NoBucket(text)),
        Err(failure) => Err(failure.into_error(&link.asked("list", &root)).into()),
    }
}

/// Writes an object beside the spaces, and deletes it in every way.
async fn try_out(link: &Link, layout: &Layout) -> Result<Abilities, OpenError> {
    let key = layout.aside(&format!("{PROBE}/{:032x}", rand::random::<u128>()));
    let asked = link.asked("try out", &key);
    let body = Bytes::from_static(b"aft");
    let failed = |failure: Failure| failure.into_error(&asked);
    let tag = link.put(&key, body.clone(), Only::Always).await.map_err(failed)?;
    let quotes = try_quotes(link, &key, &tag, &body).await.map_err(failed)?;
    // Only a refusal of the stale tag followed by a deletion with the right one is a condition that was looked at.
    let stale_kept = match link.delete(&key, Some(STALE)).await {
        Err(Failure::Precondition) => true,
        // Ignored, or refused as something that the server does not know.
        Ok(()) | Err(Failure::Missing | Failure::Failed(Error::Refused(_))) => false,
        Err(other) => return Err(failed(other).into()),
    };
    let delete_if = stale_kept && link.delete(&key, Some(&tag)).await.is_ok();

    link.put(&key, body, Only::Always).await.map_err(failed)?;
    let deleted = match link.delete_batch(std::slice::from_ref(&key)).await {
        Ok(()) => true,
        // For instance for another checksum than the SDK's.
        Err(Error::Refused(_)) => false,
        Err(other) => return Err(other.into()),
    };
    let delete_batch = deleted && link.get_start(&key, 1).await?.is_none();
    if !delete_batch {
        link.delete(&key, None).await.map_err(failed)?;
    }
    Ok(Abilities { delete_if, delete_batch, quotes })
}

/// Writes the object again, on the condition that it still has its tag.
async fn try_quotes(link: &Link, key: &str, tag: &str, body: &Bytes) -> Result<Quotes, Failure> {
    match link.put(key, body.clone(), Only::IfTag(tag)).await {
        Err(Failure::Precondition) => {}
        // A server without the condition is no business of this one: the first replace tells.
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
    /// An ETag with its quotes, as this server takes it in a condition.
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
