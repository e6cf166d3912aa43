//! MeshConfig as it comes over ADS. The control plane has checked it, and fields that matter to a control plane only do not
//! come: see `proto/istio/mesh/v1alpha1/config.proto`.

use super::mesh_config::{CaCertificate, MeshConfig};
use crate::model::mesh::OutboundTrafficPolicy;
use crate::objects::reading::UnknownValue;
use crate::proto::istio::mesh::v1alpha1 as pb;

/// Reads a MeshConfig.
///
/// # Errors
/// When its outbound traffic policy is not known.
pub(in crate::objects) fn mesh_config(wire: &pb::MeshConfig) -> Result<MeshConfig, UnknownValue> {
    let pb::MeshConfig { outbound_traffic_policy, trust_domain, root_namespace, trust_domain_aliases, ca_certificates } =
        wire;
    let set = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let mode = outbound_traffic_policy.as_ref().map(|policy| self::outbound_traffic_policy(policy.mode));
    Ok(MeshConfig {
        root_namespace: set(root_namespace),
        trust_domain: set(trust_domain),
        // An empty alias would be read as the default trust domain, which nobody has named.
        trust_domain_aliases: trust_domain_aliases.iter().filter_map(set).collect(),
        outbound_traffic_policy: mode.transpose()?,
        ca_certificates: ca_certificates.iter().filter_map(ca_certificate).collect(),
        ..MeshConfig::default()
    })
}

fn ca_certificate(wire: &pb::mesh_config::CertificateData) -> Option<CaCertificate> {
    use pb::mesh_config::certificate_data::CertificateData;
    let pb::mesh_config::CertificateData { trust_domains, certificate_data } = wire;
    match certificate_data {
        Some(CertificateData::Pem(pem)) => {
            Some(CaCertificate { pem: pem.clone(), trust_domains: trust_domains.clone() })
        }
        Some(CertificateData::SpiffeBundleUrl(_)) | None => None,
    }
}

fn outbound_traffic_policy(value: i32) -> Result<OutboundTrafficPolicy, UnknownValue> {
    use pb::mesh_config::outbound_traffic_policy::Mode;
    match Mode::try_from(value) {
        Ok(Mode::RegistryOnly) => Ok(OutboundTrafficPolicy::RegistryOnly),
        Ok(Mode::AllowAny) => Ok(OutboundTrafficPolicy::AllowAny),
        Err(_) => Err(UnknownValue { field: "outboundTrafficPolicy.mode", value }),
    }
}
