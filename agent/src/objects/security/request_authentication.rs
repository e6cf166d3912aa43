//! RequestAuthentication: whose tokens count for requests, where they are, and what applications learn of them. One reader serves files
//! and ADS, since one decides about both; its rules are the model's own.

use std::sync::Arc;
use std::time::Duration;

use super::authorization_policy::{TargetReference, target};
use super::yaml;
use crate::jwt::KeySet;
use crate::model::authentication::{ClaimHeader, JwtRule, KeySource, TokenHeader, TokenPlaces};
use crate::model::authorization::is_token_byte;
use crate::model::policy_object::PolicyTarget;
use crate::objects::networking::values;
use crate::objects::reading::{Fields, Item, Place};

/// How long a request waits for keys that are not known yet, unless the rule says so: Istio's own time limit for fetching them.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most that a rule may ask for: a request waits so long.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// Where an issuer's configuration is (OpenID Connect Discovery 1.0 §4).
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
/// Items of a list of a rule, at most.
const ITEMS_MAX: usize = 64;

/// `istio.security.v1beta1.RequestAuthentication`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestAuthentication {
    /// Which workloads it is about; with `targetRefs`, which a waypoint or gateway enforces, none.
    pub target: PolicyTarget,
    pub rules: Vec<Arc<JwtRule>>,
    /// Why it is not valid: then it refuses the requests that it is about. Only what came from a control plane is kept in that state.
    pub invalid: Option<String>,
}

impl RequestAuthentication {
    /// What stands for an object of which nothing can be read: it refuses the requests of its whole namespace.
    pub(in crate::objects) fn unreadable(reason: String) -> Self {
        Self { target: PolicyTarget::Namespace, rules: Vec::new(), invalid: Some(reason) }
    }
}

/// Reads and checks `spec`. What is returned along with errors serves only to know what it is about.
pub(in crate::objects) fn read<'n>(mut fields: Fields<'n>) -> RequestAuthentication {
    let (report, spec) = (fields.report(), fields.place());
    let reference = |item: Item<'n>| Some((item.place(report), yaml::target_reference(item.fields(report)?)));
    let target_refs: Vec<(Place<'n>, TargetReference)> =
        fields.items("targetRefs").into_iter().filter_map(reference).collect();
    let target_ref = fields.get("targetRef").and_then(reference);
    let target = target(yaml::selector(&mut fields), target_ref, target_refs, &spec);
    let rules = fields.items("jwtRules");
    let rules = rules.iter().filter_map(|item| rule(item.fields(report)?)).map(Arc::new).collect();
    fields.finish();
    RequestAuthentication { target, rules, invalid: None }
}

fn rule(mut fields: Fields<'_>) -> Option<JwtRule> {
    let issuer = fields.text("issuer").filter(|issuer| !issuer.is_empty());
    if issuer.is_none() {
        fields.error("issuer", "a rule needs the issuer of its tokens");
    }
    let keys = keys(&mut fields, issuer.as_deref());
    let timeout = values::duration(&mut fields, "timeout").unwrap_or(DEFAULT_TIMEOUT);
    if timeout > MAX_TIMEOUT {
        fields.error("timeout", format!("requests would wait longer than {MAX_TIMEOUT:?}: use a shorter one"));
    }
    let rule = JwtRule {
        audiences: shared(bounded(&mut fields, "audiences")),
        places: places(&mut fields),
        payload_header: header_name(&mut fields, "outputPayloadToHeader"),
        claim_headers: claim_headers(&mut fields),
        forwards_token: fields.flag("forwardOriginalToken").unwrap_or(false),
        space_delimited: shared(bounded(&mut fields, "spaceDelimitedClaims")),
        issuer: issuer.unwrap_or_default().into(),
        keys: keys.unwrap_or_else(|| KeySource::Inline("".into())),
        timeout,
    };
    fields.finish();
    Some(rule)
}

fn shared(texts: Vec<String>) -> Vec<Arc<str>> {
    texts.into_iter().map(Arc::from).collect()
}

/// The strings of a list: none is empty, and there are not too many.
fn bounded(fields: &mut Fields<'_>, name: &'static str) -> Vec<String> {
    let texts = fields.texts(name);
    if texts.iter().any(String::is_empty) {
        fields.error(name, "must not have an empty value: remove it");
    }
    if texts.len() > ITEMS_MAX {
        fields.error(name, format!("must not have more than {ITEMS_MAX} values"));
    }
    texts
}

/// Where the keys of the issuer come from: `jwks`, else `jwksUri`, else what the issuer publishes.
fn keys(fields: &mut Fields<'_>, issuer: Option<&str>) -> Option<KeySource> {
    let inline = fields.text("jwks").filter(|text| !text.is_empty());
    // Kubernetes' definition of the object knows both spellings.
    let (url, older) = (fields.text("jwksUri"), fields.text("jwks_uri"));
    let url = url.or(older).filter(|url| !url.is_empty());
    match (inline, url) {
        (Some(_), Some(_)) => {
            fields.error("jwks", "only one of jwks and jwksUri is allowed: remove one of the two");
            None
        }
        (Some(text), None) => match KeySet::read(text.as_bytes()) {
            Ok(_) => Some(KeySource::Inline(text.into())),
            Err(error) => {
                fields.error("jwks", error.to_string());
                None
            }
        },
        (None, Some(url)) => match check_url(&url) {
            Ok(()) => Some(KeySource::Url(url.into())),
            Err(reason) => {
                fields.error("jwksUri", reason);
                None
            }
        },
        (None, None) => {
            let url = format!("{}{DISCOVERY_PATH}", issuer?.trim_end_matches('/'));
            match check_url(&url) {
                Ok(()) => Some(KeySource::Discovery(url.into())),
                Err(_) => {
                    fields.error("jwksUri", "the issuer is no URL that would tell its keys: add jwks or jwksUri");
                    None
                }
            }
        }
    }
}

fn check_url(url: &str) -> Result<(), String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let rest = rest.ok_or_else(|| format!("{url:?} must begin with https:// or http://"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.contains('@') || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{url:?} is no URL of a host: write https://host/path, without user and white space"));
    }
    Ok(())
}

fn places(fields: &mut Fields<'_>) -> TokenPlaces {
    let report = fields.report();
    let items = fields.items("fromHeaders");
    if items.len() > ITEMS_MAX {
        fields.error("fromHeaders", format!("must not have more than {ITEMS_MAX} items"));
    }
    let headers = items.iter().filter_map(|item| {
        let mut header = item.fields(report)?;
        let name = header_name(&mut header, "name");
        if name.is_none() && header.get("name").is_none() {
            header.error("name", "a place needs the name of its header");
        }
        let prefix = header.text("prefix").unwrap_or_default();
        header.finish();
        Some(TokenHeader { name: name?, prefix: prefix.into() })
    });
    let places = TokenPlaces {
        headers: headers.collect(),
        params: shared(bounded(fields, "fromParams")),
        cookies: shared(bounded(fields, "fromCookies")),
    };
    let is_anywhere = places.headers.is_empty() && places.params.is_empty() && places.cookies.is_empty();
    if is_anywhere { TokenPlaces::default() } else { places }
}

/// The name of a field, in lower case.
fn header_name(fields: &mut Fields<'_>, name: &'static str) -> Option<Arc<str>> {
    let text = fields.text(name).filter(|text| !text.is_empty())?;
    if !text.bytes().all(is_token_byte) {
        fields.error(name, format!("{text:?} is no name of a header"));
        return None;
    }
    Some(text.to_ascii_lowercase().into())
}

fn claim_headers(fields: &mut Fields<'_>) -> Vec<ClaimHeader> {
    let report = fields.report();
    let items = fields.items("outputClaimToHeaders");
    if items.len() > ITEMS_MAX {
        fields.error("outputClaimToHeaders", format!("must not have more than {ITEMS_MAX} items"));
    }
    let read = items.iter().filter_map(|item| {
        let mut output = item.fields(report)?;
        let name = header_name(&mut output, "header");
        if name.is_none() && output.get("header").is_none() {
            output.error("header", "a claim needs the name of its header");
        }
        let claim = output.text("claim").filter(|claim| !claim.is_empty());
        if claim.is_none() {
            output.error("claim", "a header needs the name of its claim");
        }
        output.finish();
        Some(ClaimHeader { name: name?, claim: claim?.split('.').map(Arc::from).collect() })
    });
    read.collect()
}
