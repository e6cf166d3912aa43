//! What all policies in force say together.
//!
//! Istio's order holds: a CUSTOM policy that matches needs its authorizer to allow it; a DENY policy that matches denies; without
//! any ALLOW policy what is left is allowed; otherwise one ALLOW policy must match. AUDIT and dry-run policies are reported
//! and decide nothing. A policy that cannot be understood denies, and so does one that the workload lists and the agent does
//! not have.

use std::sync::Arc;

use super::denial::{Denied, RequestDenied};
use super::matching::Matched;
use super::policy::{Action, Authorization};
use super::request::InForce;
use super::subject::{Content, Subject};

/// What policies with `istio.io/dry-run` would have decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DryRun {
    /// DENY policies that match, and policies that cannot be understood.
    pub would_deny: Vec<Arc<str>>,
    /// ALLOW policies that match.
    pub would_allow: Vec<Arc<str>>,
    /// There are dry-run ALLOW policies and none of them matches.
    pub no_allow_matched: bool,
}

/// The first policy of each kind that says something.
#[derive(Debug, Default)]
pub(super) struct Findings<'a> {
    needs_provider: Option<(&'a Authorization, usize)>,
    denied_by: Option<(&'a Authorization, usize)>,
    invalid: Option<(&'a Arc<str>, &'a Arc<str>)>,
    unknown: Option<&'a Arc<str>>,
    has_allow: bool,
    allowed_by: Option<&'a Arc<str>>,
    audited_by: Option<&'a Arc<str>>,
    /// An ALLOW policy matches some requests.
    may_allow: bool,
    /// A policy other than ALLOW says of one request something else than of another.
    asks_requests: bool,
    dry_run: DryRun,
    has_dry_run_allow: bool,
}

impl<'a> Findings<'a> {
    /// Asks each of the policies, each of which `in_force` must yield once.
    pub(super) fn of(subject: &Subject<'_>, in_force: impl Iterator<Item = InForce<'a>>) -> Self {
        Self::of_request(subject, || subject, in_force)
    }

    /// The same about a request that those of CUSTOM see as it was before its token was verified, which is asked for only where there
    /// is one.
    pub(super) fn of_request<'s, 'r: 's>(
        subject: &Subject<'_>,
        to_authorizers: impl Fn() -> &'s Subject<'r>,
        in_force: impl Iterator<Item = InForce<'a>>,
    ) -> Self {
        let mut findings = Self::default();
        for entry in in_force {
            match entry {
                InForce::Policy(policy) if policy.dry_run => findings.consider_dry_run(policy, subject),
                InForce::Policy(policy) if policy.action == Action::Custom => {
                    findings.consider(policy, to_authorizers());
                }
                InForce::Policy(policy) => findings.consider(policy, subject),
                InForce::Unknown(key) => findings.unknown = findings.unknown.or(Some(key)),
            }
        }
        findings.dry_run.no_allow_matched = findings.has_dry_run_allow && findings.dry_run.would_allow.is_empty();
        findings
    }

    /// Asks the policies of CUSTOM alone.
    pub(super) fn of_authorizers(subject: &Subject<'_>, in_force: impl Iterator<Item = InForce<'a>>) -> Self {
        let mut findings = Self::default();
        for entry in in_force {
            if let InForce::Policy(policy) = entry
                && policy.action == Action::Custom
                && !policy.dry_run
            {
                findings.consider(policy, subject);
            }
        }
        findings
    }

    fn consider(&mut self, policy: &'a Authorization, subject: &Subject<'_>) {
        if let Some(reason) = &policy.invalid {
            self.invalid = self.invalid.or(Some((&policy.key, reason)));
            return;
        }
        let is_decided = match policy.action {
            Action::Allow => {
                self.has_allow = true;
                self.allowed_by.is_some()
            }
            Action::Deny => self.denied_by.is_some(),
            Action::Audit => self.audited_by.is_some(),
            Action::Custom => self.needs_provider.is_some() || is_allowed_by_provider(policy, subject),
        };
        if is_decided {
            return;
        }
        match (policy.matching(subject), policy.action) {
            (Matched::No, _) => {}
            (Matched::Maybe, Action::Allow) => self.may_allow = true,
            (Matched::Maybe, _) => self.asks_requests = true,
            (Matched::Rule(_), Action::Allow) => self.allowed_by = Some(&policy.key),
            (Matched::Rule(rule), Action::Deny) => self.denied_by = Some((policy, rule)),
            (Matched::Rule(_), Action::Audit) => self.audited_by = Some(&policy.key),
            (Matched::Rule(rule), Action::Custom) => self.needs_provider = Some((policy, rule)),
        }
    }

    fn consider_dry_run(&mut self, policy: &'a Authorization, subject: &Subject<'_>) {
        if policy.invalid.is_some() {
            // In force, it would deny whatever its action says.
            self.dry_run.would_deny.push(policy.key.clone());
            return;
        }
        let matched = match policy.action {
            Action::Allow | Action::Deny => policy.matching(subject),
            // A dry run of either would be seen nowhere.
            Action::Audit | Action::Custom => return,
        };
        self.has_dry_run_allow |= policy.action.is_allow();
        match matched {
            Matched::No => {}
            Matched::Maybe => self.asks_requests = true,
            Matched::Rule(_) if policy.action.is_allow() => self.dry_run.would_allow.push(policy.key.clone()),
            Matched::Rule(_) => self.dry_run.would_deny.push(policy.key.clone()),
        }
    }

    /// The policy that allows what was asked, `None` where none has to; or why it is denied.
    pub(super) fn outcome(&self) -> Result<Option<&'a Arc<str>>, RequestDenied> {
        if let Some(denied) = self.needed_authorizer() {
            return Err(denied);
        }
        self.closes_all()?;
        if self.has_allow && self.allowed_by.is_none() {
            return Err(Denied::NoAllowMatched.into());
        }
        Ok(self.allowed_by)
    }

    /// Whose answer is needed before anything else is decided.
    pub(super) fn needed_authorizer(&self) -> Option<RequestDenied> {
        let (policy, rule) = self.needs_provider?;
        let (policy, provider) = (policy.key.clone(), policy.provider.clone());
        Some(RequestDenied { why: Denied::NotAllowedByProvider { policy, provider }, rule: Some(rule) })
    }

    /// What is known before any request is read: `Ok(true)` where that depends on the request.
    ///
    /// # Errors
    /// Why no request can be allowed.
    pub(super) fn depends_on_requests(&self) -> Result<bool, RequestDenied> {
        self.may_be_allowed()?;
        let must_ask = self.has_allow && self.allowed_by.is_none();
        Ok(must_ask || self.asks_requests || self.needs_provider.is_some())
    }

    /// Whether what was asked may be allowed, with what is not known of it yet.
    ///
    /// # Errors
    /// Why it is not, whatever comes.
    pub(super) fn may_be_allowed(&self) -> Result<(), RequestDenied> {
        self.closes_all()?;
        if self.has_allow && self.allowed_by.is_none() && !self.may_allow {
            return Err(Denied::NoAllowMatched.into());
        }
        Ok(())
    }

    /// Whether a policy denies whatever ALLOW policies say.
    fn closes_all(&self) -> Result<(), RequestDenied> {
        if let Some((policy, rule)) = self.denied_by {
            Err(RequestDenied { why: Denied::ByPolicy(policy.key.clone()), rule: Some(rule) })
        } else if let Some((key, reason)) = self.invalid {
            Err(Denied::InvalidPolicy { policy: key.clone(), reason: reason.clone() }.into())
        } else if let Some(key) = self.unknown {
            Err(Denied::UnknownPolicy(key.clone()).into())
        } else {
            Ok(())
        }
    }

    pub(super) fn audited_by(&self) -> Option<Arc<str>> {
        self.audited_by.cloned()
    }

    pub(super) fn into_dry_run(self) -> DryRun {
        self.dry_run
    }
}

fn is_allowed_by_provider(policy: &Authorization, subject: &Subject<'_>) -> bool {
    match subject.content {
        Content::Request(request) => request.allowed_by_providers.contains(&policy.provider),
        Content::Unread | Content::Bytes | Content::Unsettled(_) => false,
    }
}

impl From<Denied> for RequestDenied {
    /// Where no single rule did.
    fn from(why: Denied) -> Self {
        Self { why, rule: None }
    }
}
