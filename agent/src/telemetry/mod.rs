//! What the agent tells about itself: log, metrics, one record per connection.

pub mod access_log;
pub mod log;
pub mod metrics;
