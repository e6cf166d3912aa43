//! HTTP: what routes, policies of destinations and the protocol itself promise, as clients and servers see it. Each case
//! has a service of its own, so none sees another one's objects.

use crate::harness::Case;

mod balancing;
mod carriage;
mod changes;
mod choice;
mod clients;
mod conformance;
mod dashboards;
mod egress;
mod external_as_envoy;
mod external_authorization;
mod from_kubernetes;
mod gateway_api;
mod grpc;
mod handed_over;
mod hosts;
mod http2;
mod inbound;
mod inbound_changes;
mod inbound_matrix;
mod limits;
mod load;
mod login;
mod matching;
mod messages;
mod mixed;
mod once;
mod overload;
mod pressure;
mod rate_limit_changes;
mod rate_limit_service;
mod rate_limit_status;
mod rate_limits;
mod recovery;
mod same_node;
mod sanitizing;
mod smuggling;
mod spellings;
mod split;
mod streams;
mod telemetry_objects;
mod tls;
mod tokens;
mod told;
mod tunnels;
mod unanswered;
mod undeclared;
mod upstreams;
mod visibility;
mod websockets;
mod why;

/// All cases, in the order they run.
pub(crate) fn cases() -> Vec<Case> {
    [
        [split::CASES, matching::CASES, visibility::CASES, changes::CASES].concat(),
        [recovery::CASES, balancing::CASES, overload::CASES, choice::CASES, messages::CASES, tunnels::CASES].concat(),
        [
            load::CASES,
            http2::CASES,
            gateway_api::CASES,
            told::CASES,
            why::CASES,
            egress::CASES,
            tls::CASES,
            hosts::CASES,
            upstreams::CASES,
        ]
        .concat(),
        [from_kubernetes::CASES, telemetry_objects::CASES, dashboards::CASES, unanswered::CASES, undeclared::CASES]
            .concat(),
        [inbound::CASES, inbound_changes::CASES, inbound_matrix::CASES, spellings::CASES].concat(),
        [external_authorization::CASES, external_as_envoy::CASES, tokens::CASES, login::CASES].concat(),
        [rate_limits::CASES, rate_limit_changes::CASES, rate_limit_service::CASES, rate_limit_status::CASES].concat(),
        limits::CASES.to_vec(),
        [conformance::CASES, smuggling::CASES, clients::CASES, websockets::CASES, grpc::CASES, streams::CASES].concat(),
        [
            once::CASES,
            pressure::CASES,
            mixed::CASES,
            carriage::CASES,
            same_node::CASES,
            handed_over::CASES,
            sanitizing::CASES,
        ]
        .concat(),
    ]
    .concat()
}

/// Forms that take minutes; the name of each says how many.
pub(crate) fn long() -> Vec<Case> {
    [pressure::LONG, mixed::LONG, smuggling::LONG].concat()
}
