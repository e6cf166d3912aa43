//! What pods accept, by policies that kubectl applies and a real istiod sends: Istio's own tasks about authorization, tokens and
//! external authorizers, step by step, and what is told of a policy afterwards. Policies whose meaning a table of requests shows
//! are in `http::policies`.

use crate::harness::Case;

mod authorizer;
mod bookinfo;
mod published_keys;
mod stage;
mod tokens;
mod told;

/// All cases, in the order they run.
pub(crate) fn cases() -> Vec<Case> {
    [bookinfo::CASES, tokens::CASES, published_keys::CASES, authorizer::CASES, told::CASES].concat()
}
