//! Listings: ListObjects and ListObjectsV2.

use aft_access::Right;
use aft_core::message::{ListKeys, ListedKey};
use aft_desk::large::size_of;
use aft_desk::{Opened, Version};
use aft_node::Page;

use crate::call::{Call, Runs};
use crate::failure::{Failure, Result};
use crate::object::{etag, modified_ms, name};
use crate::operations::now_ms;

/// The most keys and common prefixes of one page, as S3 has it.
pub(crate) const PAGE_LEN_MAX: i32 = 1_000;

/// The keys and common prefixes of one page of the endpoint's own listings.
const PAGE_LEN: u32 = 1_000;

/// The arguments of a listing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) delimiter: Option<String>,
    /// The key, or common prefix, after which the listing begins, exclusive.
    pub(crate) after: Option<String>,
    pub(crate) max_keys: Option<i32>,
}

/// An object of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) size: u64,
    /// The entity tag, without quotes.
    pub(crate) etag: String,
    pub(crate) modified_ms: u64,
}

/// A page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) objects: Vec<Listed>,
    pub(crate) prefixes: Vec<String>,
    /// The text after which the next page begins; `None` at the end.
    pub(crate) next: Option<String>,
    /// The most entries that a page may have.
    pub(crate) max_keys: i32,
}

/// All keys and common prefixes of a listing, each in order.
#[derive(Debug, Default)]
pub(crate) struct All {
    pub(crate) keys: Vec<ListedKey>,
    pub(crate) prefixes: Vec<String>,
}

/// Returns the object that a key of a listing is. `first` is what the keys of its bucket begin
/// with.
pub(crate) fn listed_of(listed: &ListedKey, first: &str) -> Listed {
    let version = listed.txn.map_or(Version::Uncommitted, Version::Committed);
    Listed {
        key: listed.key.as_str().strip_prefix(first).expect("a listing has its prefix").to_owned(),
        size: size_of(&listed.meta.etag, listed.meta.size),
        etag: etag(&listed.meta.etag, version),
        modified_ms: modified_ms(version, now_ms()),
    }
}

impl Call {
    /// Lists objects of a bucket.
    pub(crate) async fn list(&self, asked: &Asked) -> Result<Listing> {
        let Asked { bucket, prefix, .. } = asked;
        let max_keys = match asked.max_keys {
            None => PAGE_LEN_MAX,
            Some(max_keys @ 0..) => max_keys.min(PAGE_LEN_MAX),
            Some(_) => return Err(Failure::invalid_argument("max-keys must not be negative")),
        };
        let whole = name(bucket, prefix);
        // A credential sees a part of the keys, and must name it.
        self.caller.need(Right::Read)?;
        if self.caller.listed(&whole)? != whole {
            let prefix = self.caller.credential().map_or("", |credential| credential.prefix.as_str());
            let why =
                format!("the credential is limited to what begins with {prefix:?}: list with that prefix");
            return Err(Failure::new("AccessDenied", 403, why));
        }
        let limit = u32::try_from(max_keys).expect("it is not negative");
        if limit == 0 {
            self.need_bucket(bucket).await?;
            return Ok(Listing { max_keys, ..Listing::default() });
        }
        if let Some(mapped) = self.origins.as_ref().and_then(|origins| origins.get(bucket)).cloned() {
            return self.list_merged(&mapped, asked, limit).await;
        }
        if let Some(mapping) = self.origins.as_ref().and_then(|origins| origins.unknown(bucket)) {
            return Err(Failure::unknown_origin(bucket, &mapping));
        }
        // The bucket's marker comes before all its objects, and is none of them.
        let first = name(bucket, "");
        let after = name(bucket, asked.after.as_deref().unwrap_or_default());
        let delimiter = asked.delimiter.clone().filter(|delimiter| !delimiter.is_empty());
        let page = self.page(ListKeys { prefix: whole, after: Some(after), limit, delimiter }).await?;
        if page.keys.is_empty() && page.prefixes.is_empty() {
            self.need_bucket(bucket).await?;
        }
        // A page goes on after its last entry; a common prefix stands for all keys below it.
        let last_key = page.keys.last().map(|listed| listed.key.as_str());
        let last = last_key.max(page.prefixes.last().map(String::as_str));
        let next = page.next.as_ref().and(last);
        let of_bucket = |text: &str| text.strip_prefix(&first).expect("a listing has its prefix").to_owned();
        let objects = page.keys.iter().map(|listed| listed_of(listed, &first));
        Ok(Listing {
            objects: objects.collect(),
            prefixes: page.prefixes.iter().map(|prefix| of_bucket(prefix)).collect(),
            next: next.map(of_bucket),
            max_keys,
        })
    }

    /// Lists all keys with a prefix, and all common prefixes if there is a delimiter.
    pub(crate) async fn list_all(&self, prefix: &str, delimiter: Option<&str>) -> Result<All> {
        let (mut all, mut after) = (All::default(), None);
        loop {
            let delimiter = delimiter.map(str::to_owned);
            let page =
                self.page(ListKeys { prefix: prefix.to_owned(), after, limit: PAGE_LEN, delimiter }).await?;
            all.keys.extend(page.keys);
            all.prefixes.extend(page.prefixes);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Lists keys in the call's transaction.
    pub(crate) async fn page(&self, ask: ListKeys) -> Result<Page> {
        if let Some(attempt) = self.within {
            return Ok(self.caller.list(attempt, ask).await?);
        }
        let mut runs = Runs::default();
        loop {
            let page = self.page_alone(ask.clone()).await;
            if let Some(page) = runs.end(page).await {
                return page;
            }
        }
    }

    /// Lists keys in a transaction of its own.
    async fn page_alone(&self, ask: ListKeys) -> Result<Page> {
        let ready = Call::reading().prepare(&self.caller, None)?;
        let open = match ready.open(&self.caller, Vec::new()).await? {
            Opened::Open { open, .. } => open,
            Opened::Replayed(replayed) => unreachable!("a request without an ID has no {replayed:?}"),
        };
        // The transaction has nothing to commit: dropping it ends it.
        Ok(self.caller.list(open.attempt(), ask).await?)
    }
}
