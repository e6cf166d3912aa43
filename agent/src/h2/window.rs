//! Flow control (RFC 9113 §5.2 and §6.9) of one stream, or of the connection.

use super::error::SessionError;

/// The window of a stream and of the connection until somebody changes it (RFC 9113 §6.9.2).
pub(super) const DEFAULT_WINDOW: i64 = 65_535;
/// A window never grows beyond this (RFC 9113 §6.9.1).
pub(super) const LARGEST_WINDOW: i64 = (1 << 31) - 1;

/// Both directions' windows, in bytes of DATA payload.
#[derive(Debug)]
pub(super) struct Windows {
    /// What we may still send. Below zero after the peer lowered its initial window (RFC 9113 §6.9.2).
    send: i64,
    /// What the peer may still send.
    receive: i64,
    /// What the peer may send again, and has not been granted by WINDOW_UPDATE yet.
    credit: u32,
    /// What the peer may send now and not again: the window becomes smaller by so much while what was sent is consumed.
    withheld: u32,
}

impl Windows {
    pub(super) fn new(send: i64, receive: u32) -> Self {
        Self { send, receive: receive.into(), credit: 0, withheld: 0 }
    }

    pub(super) fn send(&self) -> i64 {
        self.send
    }

    /// Counts bytes that we send.
    pub(super) fn count_sent(&mut self, bytes: i64) {
        self.send -= bytes;
    }

    /// Changes what we may send, as the peer says.
    ///
    /// # Errors
    /// When the window becomes larger than a window may be.
    pub(super) fn grow_send(&mut self, by: i64) -> Result<(), SessionError> {
        self.send += by;
        if self.send > LARGEST_WINDOW { Err(SessionError::window_overrun()) } else { Ok(()) }
    }

    /// Counts bytes that the peer sent.
    ///
    /// # Errors
    /// When the peer sent more than it may.
    pub(super) fn count_received(&mut self, bytes: u32) -> Result<(), SessionError> {
        self.receive -= i64::from(bytes);
        if self.receive < 0 { Err(SessionError::window_overrun()) } else { Ok(()) }
    }

    /// Lets the peer send so many bytes more than before. The caller announces it by WINDOW_UPDATE.
    pub(super) fn grow_receive(&mut self, by: u32) {
        self.receive += i64::from(by);
    }

    /// Makes the receive window smaller by so much. What the peer may send already cannot be taken back, so the next bytes that are
    /// consumed make no credit.
    pub(super) fn shrink_receive(&mut self, by: u32) {
        self.withheld += by;
    }

    /// Lets the peer send as many bytes again, once [granted](Self::grant).
    pub(super) fn add_credit(&mut self, bytes: u32) {
        let withheld = self.withheld.min(bytes);
        self.withheld -= withheld;
        self.credit += bytes - withheld;
    }

    /// The increment of the WINDOW_UPDATE frame that is due once the credit has reached `least`.
    pub(super) fn grant(&mut self, least: u32) -> Option<u32> {
        if self.credit < least {
            return None;
        }
        let credit = std::mem::take(&mut self.credit);
        self.receive += i64::from(credit);
        Some(credit)
    }
}
