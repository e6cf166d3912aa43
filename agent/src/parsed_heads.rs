//! How many heads of messages this process has parsed: each message costs one parse, and tests hold the data path to that.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What the heads were read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadProtocol {
    Http1,
    Http2,
    /// CONNECT requests between agents, and their responses.
    Hbone,
    /// Requests that are streams of their own between agents, and their responses.
    RequestStream,
}

/// Whether a head began a request or a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadKind {
    Request,
    /// Interim responses count, too.
    Response,
}

const PROTOCOLS: [(HeadProtocol, &str); 4] = [
    (HeadProtocol::Http1, "http1"),
    (HeadProtocol::Http2, "http2"),
    (HeadProtocol::Hbone, "hbone"),
    (HeadProtocol::RequestStream, "request_stream"),
];
const KINDS: [(HeadKind, &str); 2] = [(HeadKind::Request, "request"), (HeadKind::Response, "response")];
/// Counters that threads share, so that two seldom write to the same cache line.
const SHARDS: usize = 16;

/// The counters of some threads, on cache lines of their own.
#[repr(align(128))]
struct Shard([[AtomicU64; KINDS.len()]; PROTOCOLS.len()]);

static COUNTED: [Shard; SHARDS] =
    [const { Shard([const { [const { AtomicU64::new(0) }; KINDS.len()] }; PROTOCOLS.len()]) }; SHARDS];
static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: Cell<usize> = Cell::new(NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS);
}

/// Counts one head.
pub fn count(protocol: HeadProtocol, kind: HeadKind) {
    COUNTED[SHARD.get()].0[protocol as usize][kind as usize].fetch_add(1, Ordering::Relaxed);
}

/// All counts, with the labels of the protocol and the kind.
#[must_use]
pub fn counted() -> Vec<([&'static str; 2], u64)> {
    let of = |protocol: HeadProtocol, kind: HeadKind| {
        COUNTED.iter().map(|shard| shard.0[protocol as usize][kind as usize].load(Ordering::Relaxed)).sum()
    };
    let all = PROTOCOLS.into_iter().flat_map(|protocol| KINDS.into_iter().map(move |kind| (protocol, kind)));
    all.map(|((protocol, name), (kind, kind_name))| ([name, kind_name], of(protocol, kind))).collect()
}
