//! Istio objects to the workload API, as istiod does it: pure functions, but for the allocated addresses.
//!
//! Where Weir differs from istiod 1.31, because istiod fails open or does what no author of an object can have meant:
//! - `source.trustDomains` and `notTrustDomains` of an AuthorizationPolicy are enforced, as prefixes of principals; istiod
//!   drops them, which widens an ALLOW. A leading star in them cannot be enforced and is an error.
//! - A policy with `selector: {}` stands for its whole namespace, as it does with sidecars; istiod's has no effect.
//! - A workload without labels lists no selector policy; istiod's lists them all, of which an ALLOW may open it.
//! - The labels that select policies for an endpoint of a ServiceEntry include the endpoint's own; istiod's do not.
//! - A rule of a DENY policy whose source, operation or condition needs HTTP denies whatever the rest of the rule matches;
//!   istiod's is a no-op where a part is left with nothing. A CUSTOM policy is such a DENY; istiod's is dropped.
//! - An `istio.io/dry-run` annotation that is no boolean is an error; istiod enforces the policy. A dry-run policy is sent
//!   as such; istiod drops it unless configured otherwise.
//! - PeerAuthentication: the policy a workload lists always exists. istiod lists ones it never makes, where the mesh is
//!   STRICT, the namespace is UNSET or absent, and ports differ. A port that is DISABLE is an exception from STRICT just
//!   as PERMISSIVE is.
//! - A policy that is not valid denies its scope until it is (`objects::Objects::update` keeps its last valid version).
//! - The root namespace always belongs to the mesh, whatever discoverySelectors select.
//! - An endpoint's `network` counts for that endpoint alone; istiod's counts for those after it too.
//!
//! Weir's own readings, where istiod has none: the label `kubernetes.io/hostname` on a WorkloadEntry or endpoint is the node
//! it is on; the annotation `weir.dev/addresses` lists all addresses of a WorkloadEntry; objects without a creation time
//! are younger than those with one and rank by file, document and name (`objects::Object::age`); a waypoint's addresses
//! are those its Gateway asks for where its status has none.
//!
//! Not translated: EndpointSlice, WorkloadGroup, network gateways, canary waypoints, policies for waypoints.

mod authorization;
mod context;
mod fields;
mod kubernetes_service;
mod names;
mod peer_authentication;
mod pod;
mod policies;
mod service;
mod translation;
mod vips;
mod waypoint;
mod workload;

#[cfg(test)]
mod tests;

pub use context::Options;
pub use translation::{Resources, translate};
pub use vips::VipAllocations;
