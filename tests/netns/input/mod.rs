//! Bad input wherever an agent reads what others write: each is refused as its protocol asks, counted, and disturbs nobody.
//! `docs/input.md` lists the places.

use crate::harness::Case;

mod http2;
mod local_interfaces;

/// All cases, in the order they run.
pub(crate) fn cases() -> Vec<Case> {
    [local_interfaces::CASES.to_vec(), http2::cases()].concat()
}
