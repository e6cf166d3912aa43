//! Tokens that were verified, so that each is verified once on a node, whichever of its pods it is sent to: remembered until the keys
//! of its issuer change. What one pod's clients have remembered is bounded, and pushes out nothing of another pod's.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::jwt::{KeySet, TokenDigest, VerifiedToken};
use crate::limits::{Held, Limit};

/// A longer token is verified each time: a few would fill the memory of many.
const LONGEST_REMEMBERED: usize = 8 * 1024;
/// Each with a lock of its own.
const SHARDS: usize = 16;

/// The tokens that were verified on this node. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct VerifiedTokens(Arc<[Mutex<HashMap<TokenDigest, Remembered>>; SHARDS]>);

/// A token, and the keys that it was verified with.
#[derive(Debug)]
struct Remembered {
    keys: Arc<KeySet>,
    token: Arc<VerifiedToken>,
}

/// What a pod's clients have had remembered, the oldest first. Dropped, it is forgotten.
#[derive(Debug)]
pub(super) struct PodTokens {
    tokens: VerifiedTokens,
    limit: Limit,
    own: Mutex<VecDeque<(TokenDigest, Held)>>,
}

impl VerifiedTokens {
    /// The share of one pod.
    pub(super) fn of_pod(&self, limit: Limit) -> PodTokens {
        PodTokens { tokens: self.clone(), limit, own: Mutex::default() }
    }

    fn shard(&self, digest: &TokenDigest) -> &Mutex<HashMap<TokenDigest, Remembered>> {
        &self.0[digest.first_byte() as usize % SHARDS]
    }
}

impl PodTokens {
    /// A token that was verified with these keys, by any pod.
    pub(super) fn verified_with(&self, digest: &TokenDigest, keys: &Arc<KeySet>) -> Option<Arc<VerifiedToken>> {
        let shard = self.tokens.shard(digest).lock();
        let known = shard.get(digest)?;
        Arc::ptr_eq(&known.keys, keys).then(|| known.token.clone())
    }

    /// Remembers a token that was `length` bytes long, at the cost of the oldest one of this pod where there is no place.
    pub(super) fn remember(&self, digest: TokenDigest, length: usize, keys: Arc<KeySet>, token: Arc<VerifiedToken>) {
        if length > LONGEST_REMEMBERED {
            return;
        }
        let mut own = self.own.lock();
        let place = self.limit.try_take().or_else(|| {
            let (oldest, place) = own.pop_front()?;
            self.tokens.shard(&oldest).lock().remove(&oldest);
            Some(place)
        });
        let Some(place) = place else { return };
        let former = self.tokens.shard(&digest).lock().insert(digest, Remembered { keys, token });
        // One that is verified again, with other keys, has its place already; it may be another pod's.
        if former.is_none() || !own.iter().any(|(known, _)| *known == digest) {
            own.push_back((digest, place));
        }
    }
}

impl Drop for PodTokens {
    fn drop(&mut self) {
        for (digest, _) in self.own.get_mut() {
            self.tokens.shard(digest).lock().remove(digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::{Token, base64url};
    use crate::limits::{LimitKind, NodeLimits};

    const SECRET: &str = r#"{"kty": "oct", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}"#;

    fn keys() -> Arc<KeySet> {
        Arc::new(KeySet::read(SECRET.as_bytes()).expect("a key"))
    }

    fn verified(keys: &KeySet, text: &str) -> Arc<VerifiedToken> {
        let token = Token::parse(text).expect("a token");
        let claims = token.claims().expect("claims");
        Arc::new(keys.verify(token, claims).expect("it is signed"))
    }

    #[test]
    fn a_token_is_known_to_all_pods_with_these_keys_and_each_pod_forgets_its_own() {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"0123456789abcdef0123456789abcdef");
        let token = |subject: u32| {
            let header = base64url(br#"{"alg":"HS256"}"#);
            let text = format!("{header}.{}", base64url(format!(r#"{{"sub":"{subject}"}}"#).as_bytes()));
            let signature = aws_lc_rs::hmac::sign(&key, text.as_bytes());
            format!("{text}.{}", base64url(signature.as_ref()))
        };
        let limits = NodeLimits::new(|_| 2);
        let (tokens, keys_now) = (VerifiedTokens::default(), keys());
        let pod = || tokens.of_pod(limits.for_pod().of(LimitKind::RememberedTokens).clone());
        let (one, other) = (pod(), pod());
        let texts = [1, 2, 3, 4].map(token);
        let digests = texts.each_ref().map(|text| TokenDigest::of(text));
        let remember = |pod: &PodTokens, at: usize, keys: &Arc<KeySet>| {
            pod.remember(digests[at], texts[at].len(), keys.clone(), verified(keys, &texts[at]));
        };
        let known = |keys: &Arc<KeySet>| digests.map(|digest| one.verified_with(&digest, keys).is_some());
        remember(&other, 3, &keys_now);
        remember(&one, 0, &keys_now);
        assert_eq!(known(&keys_now), [true, false, false, true], "one pod's token is known to the other");
        remember(&one, 1, &keys_now);
        remember(&one, 2, &keys_now);
        assert_eq!(known(&keys_now), [false, true, true, true], "the oldest of the pod's own had to go");
        let rotated = keys();
        assert_eq!(known(&rotated), [false; 4], "with other keys nothing is verified");
        remember(&one, 1, &rotated);
        assert_eq!(known(&rotated), [false, true, false, false]);
        one.remember(digests[0], LONGEST_REMEMBERED + 1, keys_now.clone(), verified(&keys_now, &texts[0]));
        assert_eq!(known(&keys_now), [false, false, true, true], "a long one is not remembered");
        drop(other);
        assert_eq!(known(&keys_now), [false, false, true, false], "what a pod had goes with it");
    }
}
