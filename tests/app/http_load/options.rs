//! What is to be sent, and how.

use std::net::SocketAddr;

use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct HttpLoad {
    /// Where to connect to.
    pub(super) address: SocketAddr,
    /// The authority of the requests; the address if there is none.
    #[arg(long)]
    pub(super) host: Option<String>,
    /// Path and query; several are taken in turn. `{n}` in one becomes the number of the request.
    #[arg(long = "target", default_value = "/")]
    pub(super) targets: Vec<String>,
    #[arg(long, default_value = "GET")]
    pub(super) method: String,
    /// Fields, as `name: value`.
    #[arg(long = "field", value_parser = field)]
    pub(super) fields: Vec<(String, String)>,
    /// Bytes of the pattern that each request carries.
    #[arg(long, default_value_t = 0)]
    pub(super) bytes: u64,
    /// HTTP/2 with prior knowledge.
    #[arg(long)]
    pub(super) http2: bool,
    /// Connections that are kept.
    #[arg(long, default_value_t = 1)]
    pub(super) connections: u64,
    /// Requests at a time on each connection, over HTTP/2.
    #[arg(long, default_value_t = 1, requires = "http2")]
    pub(super) streams: u64,
    /// A connection for each request.
    #[arg(long, conflicts_with = "http2")]
    pub(super) reconnect: bool,
    /// How many requests in all; until SIGTERM if not given.
    #[arg(long)]
    pub(super) requests: Option<u64>,
    /// Requests that all workers together begin in a second, as long as one of them is free.
    #[arg(long)]
    pub(super) rate: Option<f64>,
    /// Pause of a worker between two requests.
    #[arg(long, default_value_t = 0)]
    pub(super) pause_ms: u64,
    /// After how many seconds without an answer a request counts as failed.
    #[arg(long, default_value_t = 10)]
    pub(super) patience: u64,
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("{text:?} is not written name: value"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
