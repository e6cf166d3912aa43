//! The kinds of objects that say where requests go and how, how many there may be, whose tokens count for them, and what is told of
//! them. They reach agents as they were written, and one reader serves files and ADS alike.

use super::gateway_api::{GatewayRoute, grpc_route, http_route};
use super::kind::Kind;
use super::metadata::Metadata;
use super::networking::{DestinationRule, Sidecar, VirtualService, destination_rule, sidecar, virtual_service};
use super::reading::Fields;
use super::reading::yaml::Node;
use super::security::{RequestAuthentication, request_authentication};
use super::telemetry::resource as telemetry;
use super::weir::{RateLimit, rate_limit};
use crate::model::telemetry::objects::TelemetrySpec;

/// An object about requests, checked.
#[derive(Debug, Clone, PartialEq)]
pub enum HttpObject {
    VirtualService(Box<VirtualService>),
    DestinationRule(Box<DestinationRule>),
    HttpRoute(Box<GatewayRoute>),
    GrpcRoute(Box<GatewayRoute>),
    Sidecar(Box<Sidecar>),
    /// About connections without requests, too.
    Telemetry(Box<TelemetrySpec>),
    RateLimit(Box<RateLimit>),
    RequestAuthentication(Box<RequestAuthentication>),
}

/// An object of a file, and its `spec` as it was written, which agents are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenHttpObject {
    pub object: HttpObject,
    pub(super) spec: Node,
}

impl HttpObject {
    /// Reads and checks `spec`; `None` for other kinds.
    pub(super) fn read(kind: Kind, spec: Fields<'_>, metadata: &Metadata) -> Option<Self> {
        let namespace = &metadata.namespace;
        Some(match kind {
            Kind::VirtualService => Self::VirtualService(Box::new(virtual_service::read(spec, metadata))),
            Kind::DestinationRule => Self::DestinationRule(Box::new(destination_rule::read(spec))),
            Kind::HttpRoute => Self::HttpRoute(Box::new(http_route::read(spec, namespace))),
            Kind::GrpcRoute => Self::GrpcRoute(Box::new(grpc_route::read(spec, namespace))),
            Kind::Sidecar => Self::Sidecar(Box::new(sidecar::read(spec))),
            Kind::Telemetry => Self::Telemetry(Box::new(telemetry::read(spec))),
            Kind::RateLimit => Self::RateLimit(Box::new(rate_limit::read(spec, metadata))),
            Kind::RequestAuthentication => Self::RequestAuthentication(Box::new(request_authentication::read(spec))),
            _ => return None,
        })
    }
}
