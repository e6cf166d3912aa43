//! MeshConfig's external authorizers, as they travel.

use crate::model::authorization::{Authorizer, AuthorizerProtocol, HttpCheck, ShownContent};
use crate::proto::istio::mesh::v1alpha1::mesh_config::extension_provider::{
    EnvoyExternalAuthorizationGrpcProvider, EnvoyExternalAuthorizationHttpProvider,
    EnvoyExternalAuthorizationRequestBody, Provider as Kind,
};

/// `envoyExtAuthzGrpc` or `envoyExtAuthzHttp`.
pub(super) fn provider(authorizer: &Authorizer) -> Kind {
    let include_request_body_in_check = authorizer.content.map(content);
    let (timeout, status_on_error) = (authorizer.timeout.try_into().ok(), authorizer.status_on_error.to_string());
    match &authorizer.protocol {
        AuthorizerProtocol::Grpc => Kind::EnvoyExtAuthzGrpc(EnvoyExternalAuthorizationGrpcProvider {
            service: authorizer.service.to_string(),
            port: authorizer.port.into(),
            timeout,
            fail_open: authorizer.fails_open,
            status_on_error,
            include_request_body_in_check,
        }),
        AuthorizerProtocol::Http(http) => {
            let HttpCheck { path_prefix, shown, added, to_upstream, to_client_on_allow, to_client_on_deny } = &**http;
            let added = added.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            Kind::EnvoyExtAuthzHttp(EnvoyExternalAuthorizationHttpProvider {
                service: authorizer.service.to_string(),
                port: authorizer.port.into(),
                timeout,
                path_prefix: path_prefix.to_string(),
                fail_open: authorizer.fails_open,
                status_on_error,
                include_headers_in_check: Vec::new(),
                include_request_headers_in_check: shown.texts().collect(),
                include_additional_headers_in_check: added.collect(),
                include_request_body_in_check,
                headers_to_upstream_on_allow: to_upstream.texts().collect(),
                headers_to_downstream_on_deny: to_client_on_deny.texts().collect(),
                headers_to_downstream_on_allow: to_client_on_allow.texts().collect(),
            })
        }
    }
}

fn content(content: ShownContent) -> EnvoyExternalAuthorizationRequestBody {
    let ShownContent { max_bytes, allows_part, is_raw } = content;
    EnvoyExternalAuthorizationRequestBody {
        max_request_bytes: u32::try_from(max_bytes).unwrap_or(u32::MAX),
        allow_partial_message: allows_part,
        pack_as_bytes: is_raw,
    }
}
