//! Settings that follow from others: what ztunnel's names say about a setting that was left at its default, and the first state
//! of the mesh.

use std::time::Duration;

use super::agent::{AgentConfig, DEFAULT_CLUSTER_ID, DEFAULT_DRAIN_SECONDS, OutboundPolicyArg};
use super::environment::Environment;
use super::istiod::DEFAULT_CERTIFICATE_SECONDS;
use crate::model::identity::TrustDomain;
use crate::model::mesh::{MeshSettings, OutboundTrafficPolicy};

/// The part of a termination grace period that is left to the process after the drain, as ztunnel leaves it.
const AFTER_DRAIN: Duration = Duration::from_secs(5);

impl AgentConfig {
    /// The settings with what ztunnel's settings and environment variables say about those that were left at their defaults.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        if self.node.cluster_id == DEFAULT_CLUSTER_ID
            && let Some(cluster_id) = environment.metadata_text("CLUSTER_ID")
        {
            cluster_id.clone_into(&mut self.node.cluster_id);
        }
        if self.node.network.is_empty()
            && let Some(network) = environment.metadata_text("NETWORK")
        {
            network.clone_into(&mut self.node.network);
        }
        let is_default = self.istiod.certificate_seconds == DEFAULT_CERTIFICATE_SECONDS
            && !environment.has_own("WEIR_CERTIFICATE_SECONDS");
        if let Some(ttl) = self.istiod.secret_ttl.filter(|_| is_default) {
            self.istiod.certificate_seconds = ttl.as_secs().max(1);
        }
        let grace = self.istiod.termination_grace_period_seconds.map(Duration::from_secs);
        let before_grace = grace.map(|grace| grace.saturating_sub(AFTER_DRAIN));
        let drain = self.istiod.connection_termination_deadline.or(before_grace);
        let is_default =
            self.proxy.drain_seconds == DEFAULT_DRAIN_SECONDS && !environment.has_own("WEIR_DRAIN_SECONDS");
        if let Some(drain) = drain.filter(|_| is_default) {
            self.proxy.drain_seconds = drain.as_secs();
        }
        self.istiod.environment = environment;
        self
    }

    /// What the mesh is before a control plane has said anything.
    #[must_use]
    pub fn mesh_settings(&self) -> MeshSettings {
        MeshSettings {
            trust_domain: TrustDomain::new(&self.mesh.trust_domain),
            trust_domain_aliases: Vec::new(),
            outbound_traffic_policy: match self.mesh.outbound_traffic_policy {
                OutboundPolicyArg::AllowAny => OutboundTrafficPolicy::AllowAny,
                OutboundPolicyArg::RegistryOnly => OutboundTrafficPolicy::RegistryOnly,
            },
            network: self.node.network.as_str().into(),
            ..MeshSettings::default()
        }
    }

    /// Where the root certificates of the CA are: `ca_root_ca`, or the control plane's.
    #[must_use]
    pub fn ca_root(&self) -> String {
        let own = self.istiod.ca_root_ca.clone().filter(|own| !own.is_empty());
        own.unwrap_or_else(|| self.istiod.xds_root_ca.to_string_lossy().into_owned())
    }
}
