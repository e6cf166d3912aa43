//! Frames of the last good configuration: each holds the changes of one moment, and its checksum builds on the one before.

use std::io;

use xxhash_rust::xxh64::xxh64;

use super::records::Records;

/// Length and its check.
pub(super) const HEADER_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 8;

/// Why there is no usable file.
#[derive(Debug, thiserror::Error)]
pub(in crate::xds) enum LastGoodError {
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error("it was written by another version")]
    Version,
    #[error("it is damaged")]
    Damaged,
}

/// A frame after one with the checksum `before`: length, its check, changes, checksum.
pub(super) fn frame(records: &Records, before: u64) -> (Vec<u8>, u64) {
    let body = records.as_bytes();
    let length = (body.len() as u64).to_le_bytes();
    let checksum = xxh64(body, before);
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len() + CHECKSUM_BYTES);
    frame.extend_from_slice(&length);
    frame.extend_from_slice(&check_of(length, before));
    frame.extend_from_slice(body);
    frame.extend_from_slice(&checksum.to_le_bytes());
    (frame, checksum)
}

fn check_of(length: [u8; 8], before: u64) -> [u8; 4] {
    let [first, second, third, fourth, ..] = xxh64(&length, !before).to_le_bytes();
    [first, second, third, fourth]
}

/// A frame's changes, its checksum and what follows it.
pub(super) type Frame<'a> = (&'a [u8], u64, &'a [u8]);

/// The next whole frame; `None` where the file breaks off before its end.
pub(super) fn next_frame(rest: &[u8], before: u64) -> Result<Option<Frame<'_>>, LastGoodError> {
    let Some((header, after)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let (length, check) = header.split_first_chunk::<8>().expect("a header begins with a length");
    if check != check_of(*length, before) {
        // Zeros are what a lost machine leaves of a write that never reached the disk.
        return if rest.iter().all(|byte| *byte == 0) { Ok(None) } else { Err(LastGoodError::Damaged) };
    }
    let split = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|length| after.split_at_checked(length));
    let Some((body, after)) = split else { return Ok(None) };
    let Some((checksum, after)) = after.split_first_chunk::<CHECKSUM_BYTES>() else { return Ok(None) };
    let checksum = u64::from_le_bytes(*checksum);
    match (xxh64(body, before) == checksum, after.is_empty()) {
        (true, _) => Ok(Some((body, checksum, after))),
        (false, true) => Ok(None),
        (false, false) => Err(LastGoodError::Damaged),
    }
}
