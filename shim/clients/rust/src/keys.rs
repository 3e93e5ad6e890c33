//! Listings, page by page.

use std::collections::VecDeque;

use aft_api::Listed;

use crate::error::Error;
use crate::path::encode;
use crate::transaction::Transaction;

/// The keys of a transaction's snapshot that begin with a prefix, in the order of their bytes; each page is a call.
#[derive(Debug)]
pub struct Keys {
    transaction: Transaction,
    prefix: String,
    page_len: u32,
    /// The next page's start; `None` after the last one.
    after: Option<String>,
    page: VecDeque<Listed>,
}

/// Keys on a page: the most that a server gives.
const PAGE_LEN_MAX: u32 = 1_000;

impl Keys {
    pub(crate) fn new(transaction: Transaction, prefix: String) -> Keys {
        let after = Some(String::new());
        Keys { transaction, prefix, page_len: PAGE_LEN_MAX, after, page: VecDeque::new() }
    }

    /// Keys on a page (1,000, which is the most).
    pub fn page_len(mut self, keys: u32) -> Keys {
        self.page_len = keys.clamp(1, PAGE_LEN_MAX);
        self
    }

    /// Only keys after this text.
    pub fn after(mut self, text: impl Into<String>) -> Keys {
        self.after = Some(text.into());
        self
    }

    /// The next key; `None` after the last one.
    ///
    /// # Errors
    /// Any that a read has. After one, the same page is asked for again.
    pub async fn next(&mut self) -> Result<Option<Listed>, Error> {
        while self.page.is_empty() {
            match self.next_page().await? {
                Some(page) => self.page.extend(page),
                None => return Ok(None),
            }
        }
        Ok(self.page.pop_front())
    }

    /// The next page, or what [`Keys::next`] has left of one; `None` after the last one.
    ///
    /// # Errors
    /// As [`Keys::next`].
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

    /// All that is left, in memory at once.
    ///
    /// # Errors
    /// As [`Keys::next`].
    pub async fn all(mut self) -> Result<Vec<Listed>, Error> {
        let mut keys = Vec::new();
        while let Some(page) = self.next_page().await? {
            keys.extend(page);
        }
        Ok(keys)
    }
}
