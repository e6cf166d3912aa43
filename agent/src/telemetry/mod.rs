//! What the agent tells about itself: log, metrics, one record per connection.

pub mod access_log;
pub mod connection;
pub mod log;
pub mod metrics;

#[cfg(test)]
pub(crate) mod fixture;
