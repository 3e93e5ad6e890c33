//! Listings of keys, page by page.

use std::collections::VecDeque;

use aft_api::Listed;

use crate::error::Error;
use crate::path::encode;
use crate::transaction::Transaction;

/// A listing of the keys of a transaction's snapshot that begin with a prefix, in the order of
/// their bytes. Each page is one call.
#[derive(Debug)]
pub struct Keys {
    transaction: Transaction,
    prefix: String,
    page_len: u32,
    /// The text after which the next page begins; `None` after the last page.
    after: Option<String>,
    page: VecDeque<Listed>,
}

/// The most keys on a page, as the server has it.
const PAGE_LEN_MAX: u32 = 1_000;

impl Keys {
    pub(crate) fn new(transaction: Transaction, prefix: String) -> Keys {
        let after = Some(String::new());
        Keys { transaction, prefix, page_len: PAGE_LEN_MAX, after, page: VecDeque::new() }
    }

    /// Sets the number of keys on a page: 1 to 1,000, and 1,000 by default.
    pub fn page_len(mut self, keys: u32) -> Keys {
        self.page_len = keys.clamp(1, PAGE_LEN_MAX);
        self
    }

    /// Skips the keys up to and including `text`.
    pub fn after(mut self, text: impl Into<String>) -> Keys {
        self.after = Some(text.into());
        self
    }

    /// Returns the next key; `None` after the last one.
    ///
    /// # Errors
    /// Returns the errors of [`Transaction::get`]. A call after an error asks for the same page
    /// again.
    pub async fn next(&mut self) -> Result<Option<Listed>, Error> {
        while self.page.is_empty() {
            match self.next_page().await? {
                Some(page) => self.page.extend(page),
                None => return Ok(None),
            }
        }
        Ok(self.page.pop_front())
    }

    /// Returns the next page, or the rest of a page that [`Keys::next`] has begun; `None` after the
    /// last page.
    ///
    /// # Errors
    /// Returns the errors of [`Keys::next`].
    pub async fn next_page(&mut self) -> Result<Option<Vec<Listed>>, Error> {
        if !self.page.is_empty() {
            return Ok(Some(self.page.drain(..).collect()));
        }
        let Some(after) = &self.after else { return Ok(None) };
        let query =
            format!("?prefix={}&after={}&limit={}", encode(&self.prefix), encode(after), self.page_len);
        let page = self.transaction.list_page(&query).await?;
        self.after = page.next;
        Ok(Some(page.keys))
    }

    /// Returns all remaining keys, in memory at once.
    ///
    /// # Errors
    /// Returns the errors of [`Keys::next`].
    pub async fn all(mut self) -> Result<Vec<Listed>, Error> {
        let mut keys = Vec::new();
        while let Some(page) = self.next_page().await? {
            keys.extend(page);
        }
        Ok(keys)
    }
}
