//! What the mesh decides about connections to workloads of this node, and about requests on them: with the policies in force for the
//! workload and the trust domains that count as the mesh's own.

use std::borrow::Cow;
use std::sync::Arc;

use super::pod_policies::PodPolicies;
use super::store::Mesh;
use crate::model::authorization::{
    self, AccessRequest, Action, AdmissionVerdict, Authorization, Destination, HttpRequest, InForce, RequestDenied,
    RequestVerdict, Subject, Verdict,
};
use crate::model::rate_limit::{Decision, LimitedRequest, PodLimits};

impl Mesh {
    /// Decides whether a connection may reach a workload of this node that does not carry HTTP, or that nobody reads.
    pub fn authorize(&self, destination: &Destination<'_>, request: &AccessRequest) -> Verdict {
        authorization::decide(destination, request, self.trust_domains(), self.in_force(destination))
    }

    /// Decides about a connection of which nothing has been read: whether it may reach a workload of this node whatever it
    /// carries, or each of its requests is to be asked about.
    pub fn admit(&self, destination: &Destination<'_>, request: &AccessRequest) -> AdmissionVerdict {
        authorization::admit(destination, request, self.trust_domains(), self.in_force(destination))
    }

    /// Decides whether a request that a connection carries may reach a workload of this node.
    pub fn authorize_request(
        &self,
        destination: &Destination<'_>,
        request: &AccessRequest,
        http: &HttpRequest<'_>,
    ) -> RequestVerdict {
        authorization::decide_request(destination, request, http, self.trust_domains(), self.in_force(destination))
    }

    /// The policies that are in force for a workload of this node.
    pub fn pod_policies(&self, destination: &Destination<'_>) -> PodPolicies {
        PodPolicies::new(self.policy_version(), self.in_force(destination))
    }

    /// Whether no policy has changed since these were found.
    pub fn has_policies(&self, found: &PodPolicies) -> bool {
        found.version == self.policy_version()
    }

    /// The same as [`Self::authorize_request`] where `found` are the policies in force for the very same destination. Those that were
    /// found before a change of policy do not count, here and below.
    pub fn authorize_request_under(
        &self,
        found: &PodPolicies,
        destination: &Destination<'_>,
        request: &AccessRequest,
        http: &HttpRequest<'_>,
    ) -> RequestVerdict {
        let found = self.renewed(found, destination);
        authorization::decide_request(destination, request, http, self.trust_domains(), found.in_force())
    }

    /// Which external authorizer a request needs the answer of, before its token is verified and the other policies are asked about
    /// it; `None` where none is missing.
    pub fn authorizer_needed(
        &self,
        found: &PodPolicies,
        destination: &Destination<'_>,
        request: &AccessRequest,
        http: &HttpRequest<'_>,
    ) -> Option<RequestDenied> {
        let found = self.renewed(found, destination);
        authorization::authorizer_needed(destination, request, http, self.trust_domains(), found.in_force())
    }

    /// Whether a request may be allowed whose authorizers have not all answered, and whose token is not verified.
    ///
    /// # Errors
    /// Why it is not, whatever they say and whoever sent it.
    pub fn may_be_allowed(
        &self,
        found: &PodPolicies,
        destination: &Destination<'_>,
        request: &AccessRequest,
        http: &HttpRequest<'_>,
    ) -> Result<(), RequestDenied> {
        let found = self.renewed(found, destination);
        authorization::may_be_allowed(destination, request, http, self.trust_domains(), found.in_force())
    }

    /// The same policies, unless any policy has changed since they were found: then those that are in force now.
    fn renewed<'f>(&self, found: &'f PodPolicies, destination: &Destination<'_>) -> Cow<'f, PodPolicies> {
        if self.has_policies(found) { Cow::Borrowed(found) } else { Cow::Owned(self.pod_policies(destination)) }
    }

    /// Counts a request for each limit of a pod that it is about, unless it is beyond one of them. `place` is asked for a place for a
    /// source that is to be counted by itself.
    pub fn take_limits<P>(
        &self,
        limits: &PodLimits<P>,
        request: LimitedRequest<'_>,
        place: impl Fn() -> Option<P>,
    ) -> Decision {
        limits.take(request, &Subject::of_request(request.connection, self.trust_domains(), request.http), place)
    }

    /// True where any policy is in force for a workload of this node, whatever it says.
    pub fn is_restricted(&self, destination: &Destination<'_>) -> bool {
        self.in_force(destination).next().is_some()
    }

    /// The policies that have external authorizers asked about requests to a workload.
    pub fn asking_policies<'a>(
        &'a self,
        destination: &Destination<'a>,
    ) -> impl Iterator<Item = &'a Arc<Authorization>> {
        self.in_force(destination).filter_map(|entry| match entry {
            InForce::Policy(policy) if policy.action == Action::Custom && !policy.dry_run => Some(policy),
            InForce::Policy(_) | InForce::Unknown(_) => None,
        })
    }
}
