//! The check: from time to time, all mirrored objects are compared with what the mirror has left.
//! A key that differs becomes due, and the mirror decides.
//!
//! It finds objects that others have overwritten or deleted. It also finds what a process left that
//! stopped for long between its look and its request, where the request held again by chance, and
//! then ended.

use aft_core::ids::Key;
use aft_core::message::{ListKeys, ListedKey, Op};
use aft_desk::value_of;
use bytes::Bytes;

use crate::failure::Result;
use crate::mirror::Mirror;
use crate::object::{inline, name};
use crate::origin::mapping::{behind, due, hidden, plain};
use crate::origin::{PlainEntry, PlainRange};

/// The keys of one page, on both sides.
const PAGE_LEN: u32 = 1_000;

/// A listing of what the mirror has left, or of the origin, key by key.
struct Pages<T> {
    ahead: std::collections::VecDeque<T>,
    after: Option<String>,
}

impl<T> Pages<T> {
    fn new() -> Pages<T> {
        Pages { ahead: std::collections::VecDeque::new(), after: Some(String::new()) }
    }
}

impl Mirror {
    /// Puts all keys of the bucket on the list, if the mirror was switched on since that was done:
    /// what was committed while it was off has no entries.
    pub(super) async fn catch_up(&self) -> Result<()> {
        let bucket = &self.bucket.name;
        let flag = behind(bucket);
        if value_of(self.call.read(flag.clone()).await?.found).is_none() {
            return Ok(());
        }
        for first in [name(bucket, ""), hidden(bucket, "").as_str().to_owned()] {
            let mut after = Some(first.clone());
            while let Some(from) = after.take() {
                let ask =
                    ListKeys { prefix: first.clone(), after: Some(from), limit: PAGE_LEN, delimiter: None };
                let page = self.call.page(ask).await?;
                let key = |listed: &ListedKey| listed.key.as_str()[first.len()..].to_owned();
                self.make_due(page.keys.iter().map(key).collect()).await?;
                after = page.next;
            }
        }
        // Had it gone before the entries were there, a process that ends would leave keys behind.
        self.call.run_alone(vec![Op::Delete(flag)]).await
    }

    /// Compares every object that the mirror has left. Returns the number of those that differ.
    pub(super) async fn check(&self) -> Result<usize> {
        let (mut left, mut there) = (Pages::<(String, String)>::new(), Pages::<PlainEntry>::new());
        let mut found = 0;
        let mut different: Vec<String> = Vec::new();
        while let Some((key, etag)) = self.next_left(&mut left).await? {
            let now = loop {
                match self.peek_there(&mut there).await? {
                    Some(entry) if entry.key < key => drop(there.ahead.pop_front()),
                    Some(entry) if entry.key == key => break entry.etag.clone(),
                    Some(_) | None => break String::new(),
                }
            };
            if now != etag {
                different.push(key);
            }
            if different.len() >= PAGE_LEN as usize {
                found += different.len();
                self.make_due(std::mem::take(&mut different)).await?;
            }
        }
        found += different.len();
        self.make_due(different).await?;
        Ok(found)
    }

    /// Returns the next key that the mirror has recorded, with the entity tag that it left.
    async fn next_left(&self, pages: &mut Pages<(String, String)>) -> Result<Option<(String, String)>> {
        let first = plain(&self.bucket.name, "");
        while pages.ahead.is_empty() {
            let Some(after) = pages.after.take() else { return Ok(None) };
            let ask = ListKeys {
                prefix: first.as_str().to_owned(),
                after: Some(format!("{first}{after}")),
                limit: PAGE_LEN,
                delimiter: None,
            };
            let page = self.call.page(ask).await?;
            let of_bucket = |text: &str| text[first.as_str().len()..].to_owned();
            let left = |listed: ListedKey| {
                let etag = String::from_utf8_lossy(&listed.meta.etag).into_owned();
                (of_bucket(listed.key.as_str()), etag)
            };
            pages.after = page.next.as_deref().map(of_bucket);
            pages.ahead.extend(page.keys.into_iter().map(left));
        }
        Ok(pages.ahead.pop_front())
    }

    /// Returns the next object of the origin, which stays the next one.
    async fn peek_there<'a>(&self, pages: &'a mut Pages<PlainEntry>) -> Result<Option<&'a PlainEntry>> {
        while pages.ahead.is_empty() {
            let Some(after) = pages.after.take() else { return Ok(None) };
            let range = PlainRange { after, limit: PAGE_LEN, ..PlainRange::default() };
            let page = self.bucket.origin.list(range).await.map_err(|why| self.bucket.failure(why))?;
            pages.after = page.objects.last().filter(|_| page.more).map(|last| last.key.clone());
            pages.ahead.extend(page.objects);
        }
        Ok(pages.ahead.front())
    }

    /// Puts keys on the mirror's list.
    async fn make_due(&self, keys: Vec<String>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let entries: Vec<Key> = keys.iter().map(|key| due(&self.bucket.name, key)).collect();
        self.bucket.expect_due(entries.clone());
        self.call
            .run_alone(entries.into_iter().map(|entry| Op::Put(entry, inline(Bytes::new()))).collect())
            .await
    }
}
