//! What the agent reports about itself: its log, its metrics, and one record per connection.

pub mod access_log;
pub mod connection;
pub mod ends;
pub mod log;
pub mod metrics;
pub mod record;

#[cfg(test)]
pub(crate) mod fixture;
