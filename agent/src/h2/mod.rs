//! HTTP/2 (RFC 9113): frames and header compression.

pub(crate) mod frame;
pub(crate) mod hpack;
