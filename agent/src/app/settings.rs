//! From the agent's settings to what each part of it is configured with.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::capture::CaptureOptions;
use crate::config::{AgentConfig, LogFormat, SameNode, TokensConfig, UncapturableOutbound};
use crate::hbone::AgeLimit;
use crate::jwks::{FetchOptions, KeySetsOptions};
use crate::kubernetes::{ClusterAccess, MembershipRules};
use crate::model::identity::TrustDomain;
use crate::proxy::{NodeInfo, PoolOptions, Timeouts};
use crate::telemetry::log;
use crate::xds::NodeDescription;

/// Stands for the agent's address where nothing says it, as in ztunnel.
const UNKNOWN_INSTANCE_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1));

pub(super) fn log_format(format: LogFormat) -> log::LogFormat {
    match format {
        LogFormat::Text => log::LogFormat::Text,
        LogFormat::Json => log::LogFormat::Json,
    }
}

pub(super) fn capture_options(config: &AgentConfig) -> CaptureOptions {
    CaptureOptions {
        cgroup_root: config.capture.cgroup_root.clone(),
        pods_cgroup: config.capture.pods_cgroup.clone(),
        kubelet_cgroup: config.capture.kubelet_cgroup.clone(),
        host_proc: config.capture.host_proc.clone(),
        bpf_dir: config.directories.bpf_dir.clone(),
        exclude_cidrs: config.capture.exclude_cidrs.clone(),
        exclude_ports: config.capture.exclude_ports.clone(),
        exclude_inbound_ports: config.capture.exclude_inbound_ports.clone(),
        pass_uncapturable: config.capture.uncapturable_outbound == UncapturableOutbound::Pass,
        is_direct: config.proxy.same_node == SameNode::Direct,
    }
}

pub(super) fn timeouts(config: &AgentConfig) -> Timeouts {
    let seconds = |n: u64| Duration::from_secs(n.max(1));
    Timeouts {
        connect: seconds(config.proxy.connect_timeout_seconds),
        handshake: seconds(config.proxy.handshake_timeout_seconds),
        request: seconds(config.proxy.request_timeout_seconds),
        age: AgeLimit { max: seconds(config.proxy.hbone_max_age_seconds), drain: seconds(config.proxy.drain_seconds) },
        inbound_idle: seconds(config.proxy.inbound_idle_seconds),
    }
}

pub(super) fn key_sets(config: &AgentConfig) -> KeySetsOptions {
    let TokensConfig { jwks_allow, jwks_roots, jwks_refresh_seconds } = &config.tokens;
    KeySetsOptions {
        fetch: FetchOptions { allowed: jwks_allow.clone(), roots: jwks_roots.clone() },
        refresh: Duration::from_secs(*jwks_refresh_seconds),
    }
}

pub(super) fn pool_options(config: &AgentConfig) -> PoolOptions {
    PoolOptions {
        max_streams: config.proxy.pool_max_streams.max(1),
        idle: Duration::from_secs(config.proxy.pool_idle_seconds.max(1)),
        optimistic_data: config.proxy.optimistic_data,
        request_streams: config.proxy.native_request_streams,
        in_process: config.proxy.same_node != SameNode::Hbone,
    }
}

pub(super) fn node_info(config: &AgentConfig) -> NodeInfo {
    NodeInfo {
        node: config.node.node.as_str().into(),
        cluster_id: config.node.cluster_id.as_str().into(),
        extra_trust_domains: config.mesh.trust_domain_aliases.iter().map(|name| TrustDomain::new(name)).collect(),
    }
}

/// What the agent says about itself on the control plane's stream.
pub(super) fn node_description(config: &AgentConfig) -> NodeDescription {
    let pod = if config.node.pod_name.is_empty() {
        format!("weir-{}", config.node.node)
    } else {
        config.node.pod_name.clone()
    };
    NodeDescription {
        node: config.node.node.clone(),
        pod,
        namespace: config.node.pod_namespace.clone(),
        service_account: config.istiod.service_account.clone(),
        ip: config.node.instance_ip.unwrap_or(UNKNOWN_INSTANCE_IP),
        cluster_id: config.node.cluster_id.clone(),
        network: config.node.network.clone(),
        mesh_id: config.mesh.trust_domain.clone(),
        metadata: config.istiod.environment.metadata.clone(),
    }
}

/// Where the credentials for the API server are.
pub(super) fn cluster_access(config: &AgentConfig) -> ClusterAccess {
    match &config.kubernetes.kubeconfig {
        Some(path) => ClusterAccess::Kubeconfig(path.clone()),
        None => ClusterAccess::InCluster,
    }
}

/// Which pods are left out of the mesh, whatever labels say.
pub(super) fn membership_rules(config: &AgentConfig) -> MembershipRules {
    let excluded = config.kubernetes.exclude_namespaces.iter().chain([&config.node.pod_namespace]);
    MembershipRules {
        excluded_namespaces: excluded.filter(|name| !name.is_empty()).cloned().collect(),
        own_pod: (config.node.pod_namespace.clone(), config.node.pod_name.clone()),
    }
}
