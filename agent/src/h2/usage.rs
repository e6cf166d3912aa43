//! What a connection is used for, which decides how much its peer may have open, send and cause.

use crate::parsed_heads::HeadProtocol;

/// What the window of a stream between agents may grow to while its reader keeps up: enough for 32 Gbit/s over a millisecond, and
/// the most that one slow reader can make us hold.
const LARGEST_HBONE_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// The same of a stream that is a request, and of one between agents that carries requests. With what the agents hold elsewhere of
/// a message, a reader that stops makes them hold less than 1 MiB.
pub(crate) const LARGEST_MESSAGE_WINDOW_BYTES: u32 = 512 * 1024;

/// Units of work that a request and its response earn a peer once both are whole.
pub(super) const WORK_EARNED_PER_MESSAGE: u32 = 8;

/// The bounds of one use of HTTP/2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Streams that a peer may have open on one connection (SETTINGS_MAX_CONCURRENT_STREAMS).
    pub(super) max_streams: u32,
    /// Streams of a peer that has not acknowledged our settings: what it may have had waiting for a connection.
    pub(super) max_streams_before_settings_ack: u32,
    /// The largest header list that is accepted, in the measure of SETTINGS_MAX_HEADER_LIST_SIZE.
    pub(super) max_header_list_bytes: u32,
    /// The same of CONNECT, and of its response.
    pub(super) max_tunnel_list_bytes: u32,
    /// The longest field block, over all its frames.
    pub(super) max_field_block_bytes: usize,
    /// Frames of ours that may wait while the network takes nothing. A peer that makes us owe it more does not read its
    /// answers.
    pub(super) max_outgoing_bytes: usize,
    /// Units of work (see [`Pace`](super::pace::Pace)) that a peer may cause in addition for each tunnel that both sides end. For a request
    /// that is no tunnel it is always [`WORK_EARNED_PER_MESSAGE`].
    pub(super) work_earned_per_tunnel: u32,
    /// Whether interim responses to CONNECT are of interest. Those to other requests always are.
    pub(super) keeps_interim: bool,
    /// Whether the streams' own tasks lay down data, and are woken once their windows allow more of it.
    pub(super) wakes_for_window: bool,
    /// Whether streams are tunnels: those of ours begin with windows as large as the budget has for them, and are denied where the pod
    /// has as many as may begin with what the connection has announced; those of the peer begin with the smallest, and get a larger
    /// one as they are granted. Otherwise streams of either side begin with one of the smaller windows, count as far as
    /// the budget goes, and none is denied.
    pub(super) has_ample_windows: bool,
    /// What the window of a stream may grow to while its reader keeps up.
    pub(super) largest_stream_window: u32,
    /// Whether requests may come, and are sent, as streams of their own beside those of CONNECT, where the peer says the same.
    pub(super) has_request_streams: bool,
    /// As what heads are counted; those of CONNECT, and those of all others.
    pub(super) tunnels: HeadProtocol,
    pub(super) messages: HeadProtocol,
}

impl Usage {
    /// As what the head of a request, or of its response, is counted.
    pub(super) fn counted_as(&self, is_tunnel: bool) -> HeadProtocol {
        if is_tunnel { self.tunnels } else { self.messages }
    }

    /// CONNECT streams of HBONE, between agents. Header sections are short, and a list of that size never needs a longer block.
    pub(crate) const HBONE: Self = Self {
        max_streams: 200,
        max_streams_before_settings_ack: 1000,
        max_header_list_bytes: 16 * 1024,
        max_tunnel_list_bytes: 16 * 1024,
        max_field_block_bytes: 64 * 1024,
        max_outgoing_bytes: 256 * 1024,
        work_earned_per_tunnel: 0,
        keeps_interim: false,
        wakes_for_window: true,
        has_ample_windows: true,
        largest_stream_window: LARGEST_HBONE_WINDOW_BYTES,
        has_request_streams: false,
        tunnels: HeadProtocol::Hbone,
        messages: HeadProtocol::RequestStream,
    };

    /// The same, with requests of applications as streams of their own: their heads may be as long as those of [`Self::REQUESTS`].
    pub(crate) const HBONE_WITH_REQUESTS: Self = Self {
        max_header_list_bytes: Self::REQUESTS.max_header_list_bytes,
        max_field_block_bytes: Self::REQUESTS.max_field_block_bytes,
        has_request_streams: true,
        ..Self::HBONE
    };

    /// Requests of applications. A client that has one connection for all its calls opens no second one when streams run out,
    /// so there are as many as Envoy allows. Heads may be as long as Envoy allows (60 KiB), whatever measure it is told in.
    /// Who drives such a connection does not read from a client that leaves much unread, so that what waits is bounded by what
    /// the open streams have for it.
    pub(crate) const REQUESTS: Self = Self {
        max_streams: 1024,
        max_streams_before_settings_ack: 1024,
        max_header_list_bytes: 64 * 1024,
        max_tunnel_list_bytes: 64 * 1024,
        max_field_block_bytes: 128 * 1024,
        max_outgoing_bytes: 4 * 1024 * 1024,
        work_earned_per_tunnel: WORK_EARNED_PER_MESSAGE,
        keeps_interim: true,
        wakes_for_window: false,
        has_ample_windows: false,
        largest_stream_window: LARGEST_MESSAGE_WINDOW_BYTES,
        has_request_streams: false,
        tunnels: HeadProtocol::Http2,
        messages: HeadProtocol::Http2,
    };
}
