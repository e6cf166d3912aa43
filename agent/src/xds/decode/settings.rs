//! `istio.mesh.v1alpha1.MeshConfig` to the model's settings, on top of what this agent was started with.

use prost::Message;

use super::fields::known;
use super::{Malformed, not_protobuf};
use crate::model::identity::TrustDomain;
use crate::model::mesh::MeshSettings;
use crate::model::resolve::OutboundTrafficPolicy;
use crate::proto::istio::mesh::v1alpha1 as pb;

/// Decodes mesh-wide configuration. A field that it does not set keeps the agent's own value; trust domain aliases of
/// both count.
///
/// # Errors
/// The first field that is malformed.
pub(in crate::xds) fn settings(own: &MeshSettings, body: &[u8]) -> Result<MeshSettings, Malformed> {
    let wire = pb::MeshConfig::decode(body).map_err(|error| not_protobuf(&error))?;
    let mut settings = own.clone();
    if !wire.trust_domain.is_empty() {
        settings.trust_domain = TrustDomain::new(&wire.trust_domain);
    }
    if !wire.root_namespace.is_empty() {
        settings.root_namespace = wire.root_namespace.into();
    }
    if let Some(policy) = wire.outbound_traffic_policy {
        settings.outbound_traffic_policy = outbound_traffic_policy(policy.mode)?;
    }
    // An empty alias would be read as the default trust domain, which nobody has named.
    for alias in wire.trust_domain_aliases.iter().filter(|alias| !alias.is_empty()) {
        let alias = TrustDomain::new(alias);
        if !settings.trust_domain_aliases.contains(&alias) {
            settings.trust_domain_aliases.push(alias);
        }
    }
    Ok(settings)
}

fn outbound_traffic_policy(value: i32) -> Result<OutboundTrafficPolicy, Malformed> {
    use pb::mesh_config::outbound_traffic_policy::Mode;
    Ok(match known("outboundTrafficPolicy.mode", value)? {
        Mode::RegistryOnly => OutboundTrafficPolicy::RegistryOnly,
        Mode::AllowAny => OutboundTrafficPolicy::AllowAny,
    })
}
