//! Requests and responses that two readers might understand in two ways, made from the grammar of HTTP with a fixed seed: what
//! a proxy and the server behind it must agree about. Nothing here knows Weir.
//!
//! [`requests`] makes what a client sends on a connection of HTTP/1, from a `draft` and the changes in `lines` and `bodies`; [`heads`]
//! the same over HTTP/2, [`responses`] what a server sends. Each says which fate the strict reading of RFC 9112 and RFC 9113 has for
//! it. [`reader`] reads responses strictly.

mod bodies;
mod draft;
mod fate;
pub mod heads;
mod lines;
pub mod random;
pub mod reader;
pub mod requests;
pub mod responses;

pub use fate::Fate;
