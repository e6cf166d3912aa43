//! Whose token a request carries. It is verified once external authorizers have answered, of which one may have added it, and before
//! the other policies are asked, which then know its claims. A request without a token goes on without claims; one with a token that
//! does not count is refused (Envoy's `jwt_authn`, as Istio configures it).

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use super::connection::HttpConnection;
use crate::jwt::{JwtError, Token, TokenClaims, TokenDigest, VerifiedToken, base64url};
use crate::model::authentication::{JwtRule, TOKENS_MAX};
use crate::model::authorization::{Claims, HttpRequest};
use crate::model::http::config::HttpConfig;
use crate::model::http::head::RequestHead;
use crate::proxy::inbound::authentication::{IssuerRule, IssuerRules};
use crate::proxy::inbound::error::RefusedRequest;
use crate::proxy::tokens::PodTokens;

/// Bytes of the request's URI that an answer repeats, at most; as Envoy has it.
const REALM_BYTES_MAX: usize = 256;

/// What is known of who sent a request.
#[derive(Default)]
pub(in crate::proxy::inbound) struct Authenticated {
    principal: Option<Principal>,
    /// The request before; `None` where no object is about its tokens.
    before: Option<Box<RequestHead>>,
}

/// The token of a request.
struct Principal {
    token: Arc<VerifiedToken>,
    /// As policies read them, where that is another way.
    split: Option<Claims>,
}

impl Authenticated {
    /// Whose token it is, as policies name it: `<issuer>/<subject>`; `None` without one.
    pub(in crate::proxy::inbound) fn principal(&self) -> Option<String> {
        let claims = self.principal.as_ref()?.claims();
        Some(format!("{}/{}", claims.text("iss").unwrap_or_default(), claims.text("sub").unwrap_or_default()))
    }

    /// The request as policies are asked about it, given how it is now and which external authorizers allow it.
    pub(in crate::proxy::inbound) fn request<'r>(
        &'r self,
        head: &'r RequestHead,
        allowed_by_providers: &'r [Arc<str>],
    ) -> HttpRequest<'r> {
        let claims = self.principal.as_ref().map(Principal::claims);
        HttpRequest { head, before_token: self.before.as_deref().unwrap_or(head), claims, allowed_by_providers }
    }

    /// Makes the request what it was before.
    pub(super) fn undo(self, head: &mut RequestHead) {
        if let Some(before) = self.before {
            *head = *before;
        }
    }
}

impl Principal {
    fn claims(&self) -> &Claims {
        self.split.as_ref().unwrap_or_else(|| self.token.claims())
    }
}

/// Verifies the token of a request. From here on its fields say what the agent knows of it.
///
/// # Errors
/// When it has a token that does not count, or an object about the pod cannot be understood.
pub(super) async fn authenticate(
    connection: &HttpConnection,
    config: &HttpConfig,
    head: &mut RequestHead,
) -> Result<Authenticated, RefusedRequest> {
    let Some(rules) = connection.authentication(config) else { return Ok(Authenticated::default()) };
    verified(&rules, Some(&connection.pod_proxy.authenticator.tokens), head).await
}

/// The same, with the keys that are known now: nobody is asked for any, and nothing is remembered.
///
/// # Errors
/// As [`authenticate`].
pub(in crate::proxy::inbound) fn foresee(
    rules: &IssuerRules,
    head: &mut RequestHead,
) -> Result<Authenticated, RefusedRequest> {
    let mut at_once = std::pin::pin!(verified(rules, None, head));
    match at_once.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(authenticated) => authenticated,
        Poll::Pending => Err(JwtError::NoKeys.into()),
    }
}

/// Verifies the token of a request. Without a place where tokens are remembered, it waits for nothing.
async fn verified(
    rules: &IssuerRules,
    tokens: Option<&PodTokens>,
    head: &mut RequestHead,
) -> Result<Authenticated, RefusedRequest> {
    if let Some(refusing) = &rules.refusing {
        return Err(RefusedRequest::Unreadable(refusing.clone()));
    }
    let mut authenticated = Authenticated { principal: None, before: Some(Box::new(head.clone())) };
    rules.remove_forged(&mut head.fields);
    if !is_preflight(head)
        && let Some((rule, token)) = first_accepted(rules, tokens, head).await?
    {
        pass_on(rule, &token, head);
        let split = rule.split_claims(token.claims());
        authenticated.principal = Some(Principal { token, split });
    }
    Ok(authenticated)
}

/// The first rule that a token of the request meets. Where there is none, the request must have no token at all: every rule allows that.
async fn first_accepted<'r>(
    rules: &'r IssuerRules,
    tokens: Option<&PodTokens>,
    head: &RequestHead,
) -> Result<Option<(&'r JwtRule, Arc<VerifiedToken>)>, JwtError> {
    let mut failure = None;
    for issuer in &rules.rules {
        match of_rule(issuer, tokens, head).await {
            Ok(Some(token)) => return Ok(Some((&issuer.rule, token))),
            Ok(None) => {}
            Err(error) => failure = Some(worse(failure, error)),
        }
    }
    failure.map_or(Ok(None), Err)
}

/// Of what several rules say of a token, that of the rule for its issuer counts, as in Envoy.
fn worse(before: Option<JwtError>, now: JwtError) -> JwtError {
    match before {
        Some(before) if now == JwtError::UnknownIssuer => before,
        _ => now,
    }
}

/// The token in the places of a rule; `None` without one. Of several, all must count: an application may read any of them.
async fn of_rule(
    issuer: &IssuerRule,
    tokens: Option<&PodTokens>,
    head: &RequestHead,
) -> Result<Option<Arc<VerifiedToken>>, JwtError> {
    let texts = issuer.rule.places.tokens(head);
    if texts.len() > TOKENS_MAX {
        return Err(JwtError::Form);
    }
    let mut accepted = None;
    for text in &texts {
        accepted = Some(verified_text(issuer, tokens, text).await?);
    }
    Ok(accepted)
}

async fn verified_text(
    IssuerRule { rule, keys }: &IssuerRule,
    tokens: Option<&PodTokens>,
    text: &str,
) -> Result<Arc<VerifiedToken>, JwtError> {
    let check = |claims: &TokenClaims| claims.check(&rule.issuer, &rule.audiences, now());
    let digest = TokenDigest::of(text);
    let known = |tokens: &PodTokens| tokens.verified_with(&digest, &keys.as_ref()?.now()?);
    if let Some(known) = tokens.and_then(known) {
        check(known.token_claims())?;
        return Ok(known);
    }
    let token = Token::parse(text)?;
    let claims = token.claims()?;
    check(&claims)?;
    let keys = keys.as_ref().ok_or(JwtError::NoKeys)?;
    let Some(tokens) = tokens else {
        let set = keys.now().ok_or(JwtError::NoKeys)?;
        return Ok(Arc::new(set.verify(token, claims)?));
    };
    let mut set = keys.first(rule.timeout).await.ok_or(JwtError::NoKeys)?;
    if !set.has_key_for(&token) {
        // The issuer may have a new key.
        set = keys.newer(&set, rule.timeout).await.unwrap_or(set);
    }
    let token = Arc::new(set.verify(token, claims)?);
    tokens.remember(digest, text.len(), set, token.clone());
    Ok(token)
}

/// Says in the request what the rule wants the application to know of the token.
fn pass_on(rule: &JwtRule, token: &VerifiedToken, head: &mut RequestHead) {
    if !rule.forwards_token {
        rule.places.remove(head);
    }
    if let Some(name) = &rule.payload_header {
        head.fields.append(name.as_bytes(), base64url(token.payload()).as_bytes());
    }
    for header in &rule.claim_headers {
        if let Some(value) = header.value(token.claims()) {
            head.fields.append(header.name.as_bytes(), &value);
        }
    }
}

/// A preflight of CORS never has a token (Fetch §3.3.5); it is decided about without.
fn is_preflight(head: &RequestHead) -> bool {
    let fields = &head.fields;
    head.method == b"OPTIONS" && fields.contains("origin") && fields.contains("access-control-request-method")
}

/// The challenge of an answer that refuses a request (RFC 6750 §3), in Envoy's words.
pub(super) fn challenge(head: &RequestHead) -> Vec<u8> {
    let scheme = head.fields.first("x-forwarded-proto").unwrap_or(head.scheme.text().as_bytes());
    let uri = [scheme, b"://", &head.authority, &head.target].concat();
    // What a client writes does not end the quoted text.
    let is_quotable = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let realm: Vec<u8> = uri.into_iter().filter(is_quotable).take(REALM_BYTES_MAX).collect();
    [&b"Bearer realm=\""[..], &realm, b"\", error=\"invalid_token\""].concat()
}

/// Seconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_rule_for_the_issuer_says_counts() {
        use JwtError::{Audience, Expired, UnknownIssuer};
        for (said, expected) in [
            (&[UnknownIssuer, UnknownIssuer][..], UnknownIssuer),
            (&[UnknownIssuer, Expired], Expired),
            (&[Expired, UnknownIssuer], Expired),
            (&[Expired, Audience], Audience),
        ] {
            let found = said.iter().fold(None, |before, now| Some(worse(before, *now)));
            assert_eq!(found, Some(expected), "{said:?}");
        }
    }

    #[test]
    fn a_challenge_names_the_resource_and_nothing_breaks_out_of_it() {
        let head = |authority: &str, target: &str| RequestHead {
            authority: authority.into(),
            target: target.into(),
            ..RequestHead::default()
        };
        let long = format!("/{}", "a".repeat(300));
        for (authority, target, realm) in [
            ("web.shop:80", "/p?q=1", "http://web.shop:80/p?q=1".to_owned()),
            ("web", "/\", error=\"none\\", "http://web/,error=none".to_owned()),
            ("web", &*long, format!("http://web/{}", "a".repeat(245))),
        ] {
            let expected = format!("Bearer realm=\"{realm}\", error=\"invalid_token\"");
            assert_eq!(String::from_utf8(challenge(&head(authority, target))).unwrap(), expected);
        }
    }
}
