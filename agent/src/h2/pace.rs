//! How much work a peer may cause that carries no data: frames of control, and the streams that one of them touches.
//!
//! A peer that keeps to its purpose needs little of it: a request, its end, a window now and then. One that floods is told
//! to be calm (RFC 9113 §10.5) before it holds its worker for long.

use std::time::{Duration, Instant};

use super::error::SessionError;

/// Units of work that a peer may cause within [`PERIOD`]. A unit is a frame, or a stream that a frame touches: well below a
/// microsecond, so that this is a small part of a worker's time, and several times of what ten thousand requests cost.
pub(super) const MAX_WORK_PER_PERIOD: u32 = 100_000;
const PERIOD: Duration = Duration::from_secs(1);
/// How long a peer may take to acknowledge our settings. Until it does, it is allowed more streams than they say.
pub(super) const SETTINGS_ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// What a peer has caused.
#[derive(Debug)]
pub(super) struct Pace {
    /// Units in the current period.
    pub(super) work: u32,
    pub(super) period_began: Instant,
    /// When our settings were sent; `None` once the peer has acknowledged them.
    pub(super) settings_sent: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { work: 0, period_began: now, settings_sent: Some(now) }
    }

    /// Counts work that the peer has caused.
    ///
    /// # Errors
    /// When it was too much in too short a time.
    pub(super) fn count(&mut self, units: usize) -> Result<(), SessionError> {
        self.work = self.work.saturating_add(u32::try_from(units).unwrap_or(u32::MAX));
        // The clock is only read once per so much work.
        if self.work <= MAX_WORK_PER_PERIOD {
            return Ok(());
        }
        let now = Instant::now();
        if now.duration_since(self.period_began) < PERIOD {
            return Err(SessionError::enhance_your_calm("too many frames that carry no data"));
        }
        (self.work, self.period_began) = (0, now);
        Ok(())
    }

    /// Allows so much work more, for what the peer did that serves its purpose.
    pub(super) fn earn(&mut self, units: u32) {
        self.work = self.work.saturating_sub(units);
    }

    /// Checks that our settings are acknowledged, where that is due.
    ///
    /// # Errors
    /// When the peer had the time to.
    pub(super) fn check_settings_ack(&self) -> Result<(), SessionError> {
        match self.settings_sent {
            Some(sent) if sent.elapsed() >= SETTINGS_ACK_TIMEOUT => Err(SessionError::settings_timeout()),
            _ => Ok(()),
        }
    }
}
