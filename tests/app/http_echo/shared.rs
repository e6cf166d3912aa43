//! What all connections of `http-echo` share: the pod's name, and how many requests of each key have arrived.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub(super) struct Shared {
    /// Which pod answers.
    pub(super) pod: String,
    connections: AtomicU64,
    /// How many requests of each key have arrived.
    arrived: Mutex<HashMap<String, u64>>,
}

impl Shared {
    pub(super) fn new(pod: String) -> Self {
        Self { pod, connections: AtomicU64::new(0), arrived: Mutex::default() }
    }

    /// The number of a new connection, from 1.
    pub(super) fn connects(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a request of a key; how many there have been, with this one.
    pub(super) fn arrives(&self, key: &str) -> u64 {
        let mut arrived = self.arrived.lock().expect("no holder panics");
        let count = arrived.entry(key.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// How many requests of a key there have been.
    pub(super) fn count(&self, key: &str) -> u64 {
        self.arrived.lock().expect("no holder panics").get(key).copied().unwrap_or_default()
    }
}
