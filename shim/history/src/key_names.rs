//! A table that numbers named keys, because a history holds only numbers.
//!
//! Numbers are assigned in the order of first use, so the same run gives the same numbers.

use std::collections::BTreeMap;

use crate::Key;

/// A two-way table of names and keys.
#[derive(Clone, Debug, Default)]
pub struct KeyNames {
    keys: BTreeMap<String, Key>,
    names: Vec<String>,
}

impl KeyNames {
    /// Creates an empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the key of a name. A new name gets the next number.
    pub fn key(&mut self, name: &str) -> Key {
        if let Some(key) = self.keys.get(name) {
            return *key;
        }
        let key = Key(self.names.len() as u64);
        self.keys.insert(name.to_owned(), key);
        self.names.push(name.to_owned());
        key
    }

    /// Returns the name of a key, or `None` if the key is not in this table.
    #[must_use]
    pub fn name(&self, key: Key) -> Option<&str> {
        let place = usize::try_from(key.0).ok()?;
        self.names.get(place).map(String::as_str)
    }
}
