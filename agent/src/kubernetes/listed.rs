//! Objects of one kind by key, as lists and watches report them. What is known stays known while the API server is away: only
//! a complete list or the watch makes an object disappear.

use std::collections::{HashMap, HashSet};

use super::watch::Change;

/// See the module.
#[derive(Debug)]
pub(super) struct Listed<T> {
    pub(super) by_key: HashMap<String, T>,
    /// The keys that the list that is under way has named.
    named: Option<HashSet<String>>,
    /// A list was complete once.
    pub(super) is_complete: bool,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), named: None, is_complete: false }
    }
}

impl<T: PartialEq> Listed<T> {
    /// Applies a change. True if anything is different now.
    pub(super) fn apply(&mut self, change: Change<(String, T)>) -> bool {
        match change {
            Change::Listing => {
                self.named = Some(HashSet::new());
                false
            }
            Change::Put((key, value)) => {
                if let Some(named) = &mut self.named {
                    named.insert(key.clone());
                }
                let is_new = self.by_key.get(&key) != Some(&value);
                self.by_key.insert(key, value);
                is_new
            }
            Change::Removed((key, _)) => self.by_key.remove(&key).is_some(),
            Change::Listed => {
                let (named, before) = (self.named.take().unwrap_or_default(), self.by_key.len());
                self.by_key.retain(|key, _| named.contains(key));
                !std::mem::replace(&mut self.is_complete, true) || self.by_key.len() != before
            }
        }
    }
}

#[cfg(test)]
mod tests;
