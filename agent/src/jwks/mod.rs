//! The keys with which tokens are verified, by where objects say that they are: in the object itself, or at a provider that the agent
//! asks in the background. A provider that is away, slow or wrong costs the tokens of its issuers and nothing else.
//!
//! - `addresses`: which addresses are never asked, whatever name leads to them;
//! - `fetch`: asks a provider once, within bounds of size and time, and follows no redirect;
//! - `provider`: keeps one provider's keys up to date: at intervals, early where a token names a key that is not known, and with
//!   growing pauses while it is away, when the keys that it gave last count on;
//! - `key_sets`: all key sets in use. Rules with one source share its keys, and a source that nobody uses is asked no more.
//!
//! A set of keys that is fetched again and has not changed stays the same set: tokens that were verified with it stay verified.
//! Secrets count only where they are in an object: what anybody may fetch is none.
//!
//! The agent asks from the node's own network, on behalf of whoever may write a RequestAuthentication. That is why the address that
//! is dialled is the one that was looked at, and why private addresses have to be allowed by a setting (`--jwks-allow`).
//!
//! Bounds, each a constant where it is kept:
//!
//! - 1,024 providers are asked, of which each may be named by many rules;
//! - 4 addresses of a provider are tried, each for 2 seconds;
//! - an answer has 1 MiB at most;
//! - a provider that was asked within the last 10 seconds is not asked early;
//! - an address that is not everybody's is dialled only where a setting allows the block that it is in;
//! - a token with an unknown key has the provider asked once, however many such tokens come, and waits no longer than its rule says;
//! - after a failure it is asked again in 2 seconds, then in 4, up to 5 minutes.
//!
//! For people, `weir status --config` says of each issuer that a pod of the node needs when its keys came and what is wrong with its
//! server, and `weir_jwks_fetches_total` counts.
//!
//! Times, from the outside in:
//!
//! - a request that needs keys which are not there yet waits for them as long as its rule says (`timeout`, 5 seconds);
//! - a fetch takes 5 seconds at most, for each of the two that discovery needs;
//! - keys count for 20 minutes (`--jwks-refresh-seconds`) until they are fetched again.

mod addresses;
mod fetch;
mod key_sets;
mod provider;
#[cfg(test)]
mod tests;

pub use self::fetch::FetchOptions;
pub use self::key_sets::{IssuerKeys, KeySets, KeySetsOptions};
pub use self::provider::describe;
