//! What each side allows the other (RFC 9113 §6.5): our own settings, which the [usage](Usage) decides, and those of the peer.

use super::budget::{FirstWindow, WindowBudget};
use super::frame::{self, setting};
use super::usage::Usage;
use super::window::DEFAULT_WINDOW;

/// Which end of a connection a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// By how much a stream's window is multiplied as it grows.
pub(super) const STREAM_WINDOW_GROWTH: u32 = 4;
/// Window of a connection. Always given back as soon as data is here: it must never wait for the reader of one stream.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Largest frame we accept.
pub(super) const MAX_FRAME_BYTES: u32 = 64 * 1024;

/// What the peer allows us, and whether it knows what we allow it.
#[derive(Debug)]
pub(super) struct PeerSettings {
    /// Whether its first SETTINGS frame came.
    pub(super) received: bool,
    pub(super) max_streams: u32,
    pub(super) initial_window: i64,
    /// The largest header list that it accepts (RFC 9113 §6.5.2).
    pub(super) max_header_list: u32,
    /// Whether it takes part in requests as streams of their own.
    pub(super) has_request_streams: bool,
    /// Whether it acknowledged ours: they bind it from then on (RFC 9113 §6.5.3).
    pub(super) acknowledged_ours: bool,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            received: false,
            max_streams: u32::MAX,
            initial_window: DEFAULT_WINDOW,
            max_header_list: u32::MAX,
            has_request_streams: false,
            acknowledged_ours: false,
        }
    }
}

impl PeerSettings {
    /// Streams that the peer may have open at once, as far as it can know.
    pub(super) fn max_peer_streams(&self, usage: &Usage) -> usize {
        let limit = if self.acknowledged_ours { usage.max_streams } else { usage.max_streams_before_settings_ack };
        limit as usize
    }
}

/// The window with which the streams of a new connection begin. What it has announced, neither side can take back: tunnels get a
/// larger one each, as far as that is bounded, with their CONNECT request or as they are granted.
pub(super) fn first_stream_window(role: Role, usage: &Usage, budget: &WindowBudget) -> FirstWindow {
    match role {
        Role::Server if usage.has_ample_windows => FirstWindow::Small,
        _ => budget.first_window(),
    }
}

/// Appends what a side sends first: the client's preface, our settings, and the connection's larger window.
pub(super) fn append_preface(out: &mut Vec<u8>, role: Role, usage: &Usage, first_stream_window: FirstWindow) {
    if role == Role::Client {
        out.extend_from_slice(frame::PREFACE);
    }
    let of_role = match role {
        Role::Client => (setting::ENABLE_PUSH, 0),
        Role::Server => (setting::MAX_CONCURRENT_STREAMS, usage.max_streams),
    };
    let settings = [
        of_role,
        (setting::INITIAL_WINDOW_SIZE, first_stream_window.bytes()),
        (setting::MAX_FRAME_SIZE, MAX_FRAME_BYTES),
        (setting::MAX_HEADER_LIST_SIZE, usage.max_header_list_bytes),
        (setting::REQUEST_STREAMS, 1),
    ];
    let announced = if usage.has_request_streams { settings.len() } else { settings.len() - 1 };
    frame::append_settings(out, &settings[..announced]);
    let more = CONNECTION_WINDOW_BYTES - u32::try_from(DEFAULT_WINDOW).expect("a constant");
    frame::append_window_update(out, 0, more);
}
