//! What the mesh is, and every decision about it. Pure: no tokio, no I/O, no wire types; time and randomness are parameters.
//!
//! The shape is that of Istio's workload API: workloads and services, joined by ports, and authorization policies.

pub mod address;

pub mod authentication {
    //! Authentication of requests by the tokens that they carry (RequestAuthentication): what is asked of an issuer's tokens (`rule`),
    //! where they are in a request (`places`), and which objects are about a pod (`config`). The signatures are looked at elsewhere.

    mod config;
    mod places;
    mod rule;

    pub use config::{AuthenticationConfig, AuthenticationObject, PodAuthentication, RefusingObject, SelectedPod};
    pub use places::{TOKENS_MAX, TokenHeader, TokenPlaces};
    pub use rule::{ClaimHeader, JwtRule, KeySource};
}

pub mod authorization {
    //! Authorization with Istio's semantics: what a policy is (`policy`, what its rules ask for, `group`, and of requests, `condition`),
    //! which of its rules may match (`rule_filter`), whether it matches (`matching`), and the decision over all policies in force
    //! (`decide`), which alone makes a [`Permit`].
    //!
    //! Which policies are in force for a workload is looked up in the index of `mesh::policies`.

    mod authorizer;
    mod claims;
    mod condition;
    mod decide;
    mod denial;
    #[cfg(test)]
    mod filter_tests;
    mod findings;
    mod group;
    mod matching;
    #[cfg(test)]
    mod oracle_tests;
    mod path_match;
    mod path_readings;
    mod policy;
    mod principal;
    mod request;
    #[cfg(test)]
    mod request_tests;
    mod rule_filter;
    #[cfg(test)]
    mod spelling_tests;
    mod string_match;
    mod subject;
    #[cfg(test)]
    mod tests;
    mod truth;

    pub use authorizer::{
        Authorizer, AuthorizerProtocol, DEFAULT_STATUS_ON_ERROR, DEFAULT_TIMEOUT, FieldNames, HttpCheck, ShownContent,
    };
    pub use claims::{ClaimValue, Claims};
    pub use condition::{HeaderName, RequestCondition, RequestPrincipalMatch, Values};
    pub use decide::{Admission, AdmissionVerdict, Permit, RequestVerdict, Verdict};
    pub(super) use decide::{admit, authorizer_needed, decide, decide_request, may_be_allowed};
    pub use denial::{Denied, RequestDenied};
    pub use findings::DryRun;
    pub use group::{Clause, Group, Match, ServiceAccountMatch};
    pub use path_match::PathMatch;
    pub use policy::{Action, Authorization, Groups, PolicyScope};
    pub(super) use principal::TrustDomains;
    pub use principal::can_be_a_name;
    pub(super) use request::InForce;
    pub use request::{AccessRequest, Destination, HttpRequest};
    pub use string_match::{StringMatch, is_token_byte};
    pub(super) use subject::Subject;
}

pub mod balance {
    //! Which endpoint of a service serves the next connection.
    //!
    //! Health, the port, where endpoints are (the scopes of the modes STRICT and FAILOVER, or what a client's policy prefers), and
    //! capacity weights decide. A change of one endpoint and a pick both cost O(log n); a pick in turn (ROUND_ROBIN), one by a
    //! hash, and one among endpoints that warm up cost O(n). What a pick needs is built the first time a source of a certain place asks
    //! for a port, and kept up to date from then on: an agent's sources all live on one node, so such views are few.

    mod affinity;
    mod choice;
    mod endpoints;
    mod locality;
    mod overload;
    #[cfg(test)]
    mod tests;
    mod view;
    mod weights;

    pub(super) use affinity::{fnv, mixed};
    pub use choice::{Choice, Order, Warming, Warmup};
    pub(super) use endpoints::{ByUid, Endpoints};
    pub use locality::{Distribution, FailoverLabel, LocalityPattern, LocalityPreference, LocalityRule};
    pub use overload::Overload;
    pub(super) use view::{RequestedPort, may_serve};
}

pub mod http {
    //! What is decided about a request, and the heads of messages that these decisions read and change.
    //!
    //! Objects come in as `objects` has them; `config` makes a snapshot of them and decides which count for a source and
    //! a destination. What rules consist of is in `route`, `policies` and `destination`.

    mod candidate;
    pub mod client_cert;
    pub mod config;
    pub mod control_fields;
    mod cors;
    pub mod destination;
    mod destination_rules;
    pub mod field_changes;
    mod field_format;
    mod gateway_order;
    pub mod grpc;
    pub mod hash_key;
    pub mod head;
    pub mod hop;
    mod inheritance;
    pub mod limits;
    pub mod local_reply;
    mod matching;
    pub mod objects;
    pub mod outlier;
    pub mod path;
    mod path_index;
    pub mod pattern;
    pub mod plan;
    pub mod policies;
    pub mod proxy_headers;
    mod re2;
    pub mod recent;
    mod redirect;
    pub mod reply;
    mod request_values;
    pub mod response_flags;
    pub mod retry;
    pub mod retry_fields;
    mod rewrite;
    pub mod route;
    mod route_table;
    #[cfg(test)]
    mod sample;
    pub mod scope;
    pub mod served;
    pub mod service_routes;
    pub mod standing;
    #[cfg(test)]
    mod tests;
    pub mod timeouts;
    pub mod trace;
    pub mod visibility;
}

pub mod identity;

pub mod mesh {
    //! The mesh: workloads, services and policies, indexed for the questions the proxy asks.
    //!
    //! Every index answers from what is known now, whatever the order of updates that led there. An update of a
    //! workload, a service or an authorization policy costs what it touches: its own addresses, services and ports,
    //! never the size of the mesh. Only PeerAuthentications, of which a mesh has few, are gathered anew with each one
    //! that changes.

    mod claims;
    mod decisions;
    mod destinations;
    mod interner;
    mod pod_policies;
    mod policies;
    mod policy_objects;
    mod selector_index;
    mod services;
    mod shards;
    mod store;
    #[cfg(test)]
    mod tests;
    mod update;
    mod workloads;

    pub use destinations::Answers;
    pub use pod_policies::PodPolicies;
    pub use policy_objects::Listing;
    pub(super) use services::VipKind;
    pub use store::Mesh;
    pub use update::{AccessLogEncoding, IstioAccessLog, MeshSettings, MeshUpdate, OutboundTrafficPolicy, Touched};
}

pub mod naming;
pub mod peer_authentication;
pub mod pod;
pub mod policy_object;

pub mod rate_limit {
    //! Rate limits, as RateLimit objects (`weir.dev`) ask for them, at the pod that is called: which count for it (`config`), and whether
    //! a request is within all of them (`pod_limits`). What is counted is in `cell`: `tokens` of a rate, or the requests under way.

    pub mod answer;
    mod cell;
    pub mod config;
    pub mod descriptor;
    pub mod objects;
    mod pod_limits;
    mod sources;
    #[cfg(test)]
    mod tests;
    mod tokens;

    pub use cell::UnderWay;
    pub use pod_limits::{Decision, LimitStates, LimitedRequest, NodeStates, PodLimits};
    pub use tokens::{Beyond, Moment, Quota, Rate};
}

pub mod resolve {
    //! Where an outbound connection goes: from a source workload and the address it asked for to an [`Upstream`].
    //!
    //! `endpoint` decides, `target_port` at which of an endpoint's ports; `upstream` is what comes out. `request` does the same
    //! for one request of HTTP, whose route names the service. `by_chance` tells of all that a connection may be resolved to.

    mod by_chance;
    mod endpoint;
    mod request;
    mod target_port;
    #[cfg(test)]
    mod tests;
    mod upstream;

    pub use request::{EndpointRequest, Picked};
    pub use upstream::{Transport, Unresolved, Upstream};
}

#[cfg(test)]
mod sample;
pub mod service;
pub mod serving;
pub mod shared;
pub mod telemetry {
    //! What is told of a pod's requests and connections: metrics, access logs and spans, as Telemetry objects and MeshConfig say.
    //! `config` decides which objects count for a pod; `expression` is the part of CEL that they may use.

    mod attribute;
    pub mod config;
    mod expression;
    #[cfg(test)]
    mod expression_tests;
    mod node;
    pub mod objects;
    pub mod providers;
    pub mod setting;
    mod syntax;
    #[cfg(test)]
    mod tests;
    mod token;

    pub use attribute::{Facts, NumberAttribute, PeerSide, TextAttribute, WorkloadField};
    pub use expression::{Expression, UNKNOWN};
}

pub mod workload;
