//! The decision whether a connection or a request may reach a workload of this node, and [`Permit`], the proof that it was taken.
//!
//! [`admit`] decides about a connection of which nothing is read, and says whether its requests have to be asked about, one by
//! one: first whether somebody else has to answer ([`authorizer_needed`]), then with [`decide_request`]. [`decide`] decides about what
//! does not carry HTTP. What policies say together is in `findings`.

use std::cell::LazyCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::denial::{Denied, RequestDenied};
use super::findings::{DryRun, Findings};
use super::principal::TrustDomains;
use super::request::{AccessRequest, Destination, HttpRequest, InForce};
use super::subject::{Content, Subject};
use crate::model::identity::Identity;
use crate::model::workload::TunnelProtocol;

/// Proof that policy allowed a connection, or a request that one carries, and which: from this source, to this address of this
/// workload. That of a request is for that one alone.
///
/// Only this file makes one (fields and constructor are private). The proxy opens a connection to an application from a
/// permit, and to no other address than [`Permit::destination`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    request: AccessRequest,
    workload: Arc<str>,
    policy: Option<Arc<str>>,
}

impl Permit {
    fn new(destination: &Destination<'_>, request: &AccessRequest, policy: Option<&Arc<str>>) -> Self {
        Self { request: request.clone(), workload: destination.workload.uid.clone(), policy: policy.cloned() }
    }

    /// The client's identity from its certificate; `None` where plaintext is permitted.
    #[must_use]
    pub fn source(&self) -> Option<&Identity> {
        self.request.source.as_ref()
    }

    /// The direct peer's address.
    #[must_use]
    pub fn source_ip(&self) -> IpAddr {
        self.request.source_ip
    }

    /// The pod's address and port that may be reached.
    #[must_use]
    pub fn destination(&self) -> SocketAddr {
        self.request.destination
    }

    /// The uid of the workload that may be reached.
    #[must_use]
    pub fn workload(&self) -> &Arc<str> {
        &self.workload
    }

    /// The ALLOW policy that matched, by key; `None` where no ALLOW policy is in force.
    #[must_use]
    pub fn policy(&self) -> Option<&Arc<str>> {
        self.policy.as_ref()
    }
}

/// What policy says about one connection, and what dry-run policies would have said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Result<Permit, Denied>,
    /// An AUDIT policy that matches.
    pub audited_by: Option<Arc<str>>,
    pub dry_run: DryRun,
}

/// What policy says about a connection before anything that it carries is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionVerdict {
    pub outcome: Result<Admission, Denied>,
    /// An AUDIT policy that matches; `None` where requests are asked about: each has its own.
    pub audited_by: Option<Arc<str>>,
    /// Empty where requests are asked about: each has its own.
    pub dry_run: DryRun,
}

/// What may be done with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Policy says the same whatever it carries: nobody has to look.
    Bytes(Permit),
    /// Policy depends on its requests, of which some may be allowed.
    Requests,
}

/// What policy says about one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestVerdict {
    pub outcome: Result<Permit, RequestDenied>,
    /// An AUDIT policy that matches.
    pub audited_by: Option<Arc<str>>,
    pub dry_run: DryRun,
}

/// Decides about a connection that does not carry HTTP, or whose content nobody reads, over the policies in force, each of
/// which `in_force` must yield once.
pub(in crate::model) fn decide<'a>(
    destination: &Destination<'_>,
    request: &AccessRequest,
    domains: TrustDomains<'_>,
    in_force: impl Iterator<Item = InForce<'a>>,
) -> Verdict {
    if is_open(destination) {
        let outcome = Ok(Permit::new(destination, request, None));
        return Verdict { outcome, audited_by: None, dry_run: DryRun::default() };
    }
    let findings = Findings::of(&Subject::new(request, domains, Content::Bytes), in_force);
    let outcome = findings.outcome().map(|policy| Permit::new(destination, request, policy));
    let (outcome, audited_by) = (outcome.map_err(|denied| denied.why), findings.audited_by());
    Verdict { outcome, audited_by, dry_run: findings.into_dry_run() }
}

/// Decides about a connection before anything that it carries is read.
pub(in crate::model) fn admit<'a>(
    destination: &Destination<'_>,
    request: &AccessRequest,
    domains: TrustDomains<'_>,
    in_force: impl Iterator<Item = InForce<'a>>,
) -> AdmissionVerdict {
    if is_open(destination) {
        let admission = Admission::Bytes(Permit::new(destination, request, None));
        return AdmissionVerdict { outcome: Ok(admission), audited_by: None, dry_run: DryRun::default() };
    }
    let findings = Findings::of(&Subject::new(request, domains, Content::Unread), in_force);
    let outcome = match findings.depends_on_requests() {
        Ok(true) => {
            let outcome = Ok(Admission::Requests);
            return AdmissionVerdict { outcome, audited_by: None, dry_run: DryRun::default() };
        }
        Ok(false) => findings.outcome().map(|policy| Admission::Bytes(Permit::new(destination, request, policy))),
        Err(denied) => Err(denied),
    };
    let (outcome, audited_by) = (outcome.map_err(|denied| denied.why), findings.audited_by());
    AdmissionVerdict { outcome, audited_by, dry_run: findings.into_dry_run() }
}

/// Decides about one request that a connection carries.
pub(in crate::model) fn decide_request<'a>(
    destination: &Destination<'_>,
    request: &AccessRequest,
    http: &HttpRequest<'_>,
    domains: TrustDomains<'_>,
    in_force: impl Iterator<Item = InForce<'a>>,
) -> RequestVerdict {
    if is_open(destination) {
        let outcome = Ok(Permit::new(destination, request, None));
        return RequestVerdict { outcome, audited_by: None, dry_run: DryRun::default() };
    }
    let subject = Subject::new(request, domains, Content::Request(http));
    let without_token = http.without_token();
    let to_authorizers = LazyCell::new(|| Subject::new(request, domains, Content::Request(&without_token)));
    let findings = Findings::of_request(&subject, || &to_authorizers, in_force);
    let outcome = findings.outcome().map(|policy| Permit::new(destination, request, policy));
    RequestVerdict { outcome, audited_by: findings.audited_by(), dry_run: findings.into_dry_run() }
}

/// Whose answer a request needs before its token is verified and the other policies are asked; `None` where nobody's is missing.
pub(in crate::model) fn authorizer_needed<'a>(
    destination: &Destination<'_>,
    request: &AccessRequest,
    http: &HttpRequest<'_>,
    domains: TrustDomains<'_>,
    in_force: impl Iterator<Item = InForce<'a>>,
) -> Option<RequestDenied> {
    if is_open(destination) {
        return None;
    }
    let without_token = http.without_token();
    let subject = Subject::new(request, domains, Content::Request(&without_token));
    Findings::of_authorizers(&subject, in_force).needed_authorizer()
}

/// Whether a request may be allowed whose authorizers have not all answered, and whose token is not verified.
///
/// # Errors
/// Why it is not, whatever they say and whoever sent it.
pub(in crate::model) fn may_be_allowed<'a>(
    destination: &Destination<'_>,
    request: &AccessRequest,
    http: &HttpRequest<'_>,
    domains: TrustDomains<'_>,
    in_force: impl Iterator<Item = InForce<'a>>,
) -> Result<(), RequestDenied> {
    if is_open(destination) {
        return Ok(());
    }
    let subject = Subject::new(request, domains, Content::Unsettled(http));
    Findings::of(&subject, in_force).may_be_allowed()
}

/// A workload that is leaving, and that the mesh itself no longer has inside, is reached by everybody in plaintext: no
/// policy holds for it any more, although its capture has not ended.
fn is_open(destination: &Destination<'_>) -> bool {
    destination.is_leaving && destination.workload.protocol == TunnelProtocol::None
}
