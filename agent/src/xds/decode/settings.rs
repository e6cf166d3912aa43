//! `istio.mesh.v1alpha1.MeshConfig` to the model's settings, on top of what this agent was started with.

use std::sync::Arc;

use prost::Message;

use super::fields::known;
use super::malformed::Malformed;
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
    let wire = pb::MeshConfig::decode(body)?;
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
    settings.ca_certificates.extend(ca_certificates(&wire.ca_certificates, &settings.trust_domain));
    Ok(settings)
}

/// The roots that are meant for this trust domain, as PEM. A bundle to be fetched from elsewhere is not followed.
fn ca_certificates(wire: &[pb::mesh_config::CertificateData], own: &TrustDomain) -> Vec<Arc<str>> {
    use pb::mesh_config::certificate_data::CertificateData;
    let meant = |data: &&pb::mesh_config::CertificateData| {
        data.trust_domains.is_empty() || data.trust_domains.iter().any(|domain| TrustDomain::new(domain) == *own)
    };
    let pem = |data: &pb::mesh_config::CertificateData| match &data.certificate_data {
        Some(CertificateData::Pem(text)) => Some(Arc::from(text.as_str())),
        Some(CertificateData::SpiffeBundleUrl(_)) | None => None,
    };
    wire.iter().filter(meant).filter_map(pem).collect()
}

fn outbound_traffic_policy(value: i32) -> Result<OutboundTrafficPolicy, Malformed> {
    use pb::mesh_config::outbound_traffic_policy::Mode;
    Ok(match known("outboundTrafficPolicy.mode", value)? {
        Mode::RegistryOnly => OutboundTrafficPolicy::RegistryOnly,
        Mode::AllowAny => OutboundTrafficPolicy::AllowAny,
    })
}
