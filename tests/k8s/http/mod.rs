//! HTTP through a real API server and a real istiod: each case is a table of objects and of requests, so that what a user
//! applies and what a client sees stand side by side. The same promises by YAML, and in more detail, are in
//! `tests/netns/http/`.
//!
//! `case` is the language of the tables, `manifest` what is applied, `requests` what is sent; `pods` is what they run on.

use crate::harness::Case;

mod case;
mod changes;
mod destinations;
mod from_kubernetes;
mod manifest;
mod matching;
mod pods;
mod policies;
mod rate_limit_status;
mod recovery;
mod requests;
mod visibility;

pub(crate) use case::HttpCase;
pub(crate) use from_kubernetes::CASES as FROM_KUBERNETES;
pub(crate) use pods::HttpPods;
pub(crate) use rate_limit_status::CASES as RATE_LIMIT_STATUS;

/// All cases, in the order they run.
pub(crate) fn cases() -> Vec<Case> {
    let files =
        [matching::CASES, visibility::CASES, destinations::CASES, changes::CASES, recovery::CASES, policies::CASES];
    files.concat()
}
