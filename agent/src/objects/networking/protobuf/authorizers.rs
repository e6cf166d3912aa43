//! External authorizers of MeshConfig, as they come over ADS.

use crate::model::telemetry::providers::ProviderKind;
use crate::objects::telemetry::authorizers::{WrittenAuthorizer, WrittenHttpCheck};
use crate::proto::istio::mesh::v1alpha1::mesh_config::extension_provider::{
    EnvoyExternalAuthorizationGrpcProvider, EnvoyExternalAuthorizationHttpProvider,
    EnvoyExternalAuthorizationRequestBody,
};

/// `envoyExtAuthzGrpc` of a provider of this name.
pub(super) fn over_grpc(wire: &EnvoyExternalAuthorizationGrpcProvider, name: &str) -> ProviderKind {
    let written = WrittenAuthorizer {
        service: wire.service.clone(),
        port: wire.port,
        timeout: wire.timeout.and_then(|timeout| timeout.try_into().ok()),
        fails_open: wire.fail_open,
        status_on_error: wire.status_on_error.clone(),
        content: wire.include_request_body_in_check.as_ref().map(content),
        http: None,
    };
    checked(written, name, "envoyExtAuthzGrpc")
}

/// `envoyExtAuthzHttp` of a provider of this name.
pub(super) fn over_http(wire: &EnvoyExternalAuthorizationHttpProvider, name: &str) -> ProviderKind {
    let shown = &wire.include_request_headers_in_check;
    let added = wire.include_additional_headers_in_check.iter().map(|(name, value)| (name.clone(), value.clone()));
    let written = WrittenAuthorizer {
        service: wire.service.clone(),
        port: wire.port,
        timeout: wire.timeout.and_then(|timeout| timeout.try_into().ok()),
        fails_open: wire.fail_open,
        status_on_error: wire.status_on_error.clone(),
        content: wire.include_request_body_in_check.as_ref().map(content),
        http: Some(WrittenHttpCheck {
            path_prefix: wire.path_prefix.clone(),
            shown: if shown.is_empty() { wire.include_headers_in_check.clone() } else { shown.clone() },
            added: added.collect(),
            to_upstream: wire.headers_to_upstream_on_allow.clone(),
            to_client_on_allow: wire.headers_to_downstream_on_allow.clone(),
            to_client_on_deny: wire.headers_to_downstream_on_deny.clone(),
        }),
    };
    checked(written, name, "envoyExtAuthzHttp")
}

fn content(wire: &EnvoyExternalAuthorizationRequestBody) -> (u32, bool, bool) {
    (wire.max_request_bytes, wire.allow_partial_message, wire.pack_as_bytes)
}

/// One that is not valid is one that policies cannot name.
fn checked(written: WrittenAuthorizer, name: &str, kind: &str) -> ProviderKind {
    match written.checked(name) {
        Ok(authorizer) => ProviderKind::Authorizer(authorizer.into()),
        Err((field, reason)) => ProviderKind::Unsupported(format!("{kind}.{field}: {reason}").into()),
    }
}
