//! Bad HTTP/2 and bad HBONE requests from a peer whose certificate is good.

use crate::harness::Case;

mod floods;
mod peer;
mod requests;
mod rules;

/// All cases, in the order they run.
pub(crate) fn cases() -> Vec<Case> {
    [rules::CASES, requests::CASES, floods::CASES].concat()
}
