//! Frames that cost their receiver much and their sender little.

use super::frame::{DATA, frame, settings};

/// SETTINGS frames, of which each must be applied and acknowledged (RFC 9113 §6.5.3).
#[must_use]
pub fn settings_frames(count: u32) -> Vec<u8> {
    (0..count).flat_map(|number| settings(&[(3, number)])).collect()
}

/// DATA of one byte for each of the first streams of a connection in turn.
#[must_use]
pub fn tiny_data(streams: u32) -> Vec<u8> {
    (0..streams).flat_map(|number| frame(DATA, 0, 2 * number + 1, b"x")).collect()
}
