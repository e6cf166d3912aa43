//! From what users wrote (`objects`) to what the data plane decides with (`model`): AuthorizationPolicy in `policy`,
//! objects about requests in `http`, MeshConfig here.

mod http {
    //! Objects about requests, each by itself: its names become full names, its rules routes. `store` keeps what was compiled;
    //! which of the objects count for a request is the model's to decide.

    mod client_view;
    mod delegation;
    mod destinations;
    mod effects;
    mod gateway_route;
    mod matching;
    mod rate_limit;
    mod rule;
    mod settings;
    mod store;
    #[cfg(test)]
    mod tests;
    mod virtual_service;

    pub use effects::Hostnames;
    pub use rate_limit::MissingReferences;
    pub use settings::HttpSettings;
    pub use store::HttpStore;
}

mod l4_form;
mod matches;
mod policy;
#[cfg(test)]
mod policy_cases;

use std::sync::Arc;

pub use self::http::{Hostnames, HttpSettings, HttpStore, MissingReferences};
pub use self::l4_form::l4_form;
pub use self::policy::{CompiledPolicy, denial_of_rejected, policy};
use crate::model::identity::TrustDomain;
use crate::model::mesh::MeshSettings;
use crate::objects::{CaCertificate, MeshConfig};

/// The settings in force: what the configuration does not set stays as this agent was started with (`own`); trust domain
/// aliases and root certificates of both count.
#[must_use]
pub fn mesh_settings(own: &MeshSettings, config: &MeshConfig) -> MeshSettings {
    let mut settings = own.clone();
    if let Some(trust_domain) = &config.trust_domain {
        settings.trust_domain = TrustDomain::new(trust_domain);
    }
    if let Some(namespace) = &config.root_namespace {
        settings.root_namespace = namespace.as_str().into();
    }
    if let Some(policy) = config.outbound_traffic_policy {
        settings.outbound_traffic_policy = policy;
    }
    if let Some(access_log) = &config.access_log {
        settings.access_log = Some(access_log.clone());
    }
    for alias in config.trust_domain_aliases.iter().map(|alias| TrustDomain::new(alias)) {
        if !settings.trust_domain_aliases.contains(&alias) {
            settings.trust_domain_aliases.push(alias);
        }
    }
    let own_domain = &settings.trust_domain;
    let is_for_us = |certificate: &&CaCertificate| {
        let domains = &certificate.trust_domains;
        domains.is_empty() || domains.iter().any(|domain| TrustDomain::new(domain) == *own_domain)
    };
    let certificates = config.ca_certificates.iter().filter(is_for_us);
    settings.ca_certificates.extend(certificates.map(|certificate| Arc::from(certificate.pem.as_str())));
    settings
}
