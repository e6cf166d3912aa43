//! The agent's settings and version.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::config::{
    AgentConfig, CaptureConfig, CniArg, CniConfig, DirectoryConfig, EndpointConfig, FilesConfig, IstiodConfig,
    KubernetesConfig, LogConfig, LogFormat, MeshConfig, NodeConfig, ObjectsFrom, OutboundPolicyArg,
    PlaintextWithoutAgent, ProxyConfig, TokensConfig, TracingConfig,
};
use crate::limits::LimitKind;

/// The settings as started. Every field by name, so that none is forgotten: files are named, never read.
pub(super) fn settings(config: &AgentConfig) -> Value {
    let AgentConfig {
        node: NodeConfig { node, cluster_id, network, pod_name, pod_namespace, instance_ip },
        directories: DirectoryConfig { bpf_dir, run_dir, state_dir },
        mesh: MeshConfig { trust_domain, trust_domain_aliases, outbound_traffic_policy },
        files: FilesConfig { config: objects, ca_dir, certificates_dir, crl },
        istiod,
        capture:
            CaptureConfig {
                cgroup_root,
                pods_cgroup,
                kubelet_cgroup,
                host_proc,
                exclude_cidrs,
                exclude_ports,
                exclude_inbound_ports,
                uncapturable_outbound,
            },
        proxy:
            ProxyConfig {
                worker_threads,
                drain_seconds,
                hang_seconds,
                connect_timeout_seconds,
                handshake_timeout_seconds,
                request_timeout_seconds,
                pool_max_streams,
                pool_idle_seconds,
                optimistic_data,
                native_request_streams,
                same_node,
                inbound_idle_seconds,
                hbone_max_age_seconds,
                end_late_plaintext_after_seconds,
                destination_tls_dir,
            },
        tokens,
        limits,
        kubernetes,
        cni,
        nri,
        endpoints: EndpointConfig { admin_address, metrics_address, readiness_address },
        log: LogConfig { log, log_format },
        tracing: TracingConfig { otlp, trace_sampling_percent },
    } = config;
    let settings = json!({
        "node": node, "clusterId": cluster_id, "network": network, "trustDomain": trust_domain,
        "cgroupRoot": cgroup_root.as_deref().map(text), "podsCgroup": pods_cgroup.as_deref().map(text),
        "kubeletCgroup": kubelet_cgroup.text(), "hostProc": host_proc.as_deref().map(text), "bpfDir": text(bpf_dir), "runDir": text(run_dir), "stateDir": text(state_dir),
        "config": objects.as_deref().map(text), "caDir": ca_dir.as_deref().map(text), "certificatesDir": certificates_dir.as_deref().map(text),
        "crl": crl.as_deref().map(text), "podName": pod_name, "podNamespace": pod_namespace, "instanceIp": instance_ip,
        "cni": installation(cni), "nriSocket": nri.nri_socket.text(), "kubernetes": kubernetes_settings(kubernetes),
    });
    let more = json!({
        "xdsAddress": istiod.xds_address, "caAddress": istiod.ca_address, "xdsRootCa": text(&istiod.xds_root_ca),
        "xdsServerName": istiod.xds_server_name, "authToken": text(&istiod.auth_token), "certificateSeconds": istiod.certificate_seconds,
        "trustDomainAliases": trust_domain_aliases, "outboundTrafficPolicy": policy_name(*outbound_traffic_policy),
        "excludeCidrs": exclude_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "excludePorts": exclude_ports, "excludeInboundPorts": exclude_inbound_ports,
        "uncapturableOutbound": uncapturable_outbound.text(),
        "adminAddress": admin_address, "metricsAddress": metrics_address, "readinessAddress": readiness_address,
        "drainSeconds": drain_seconds, "hangSeconds": hang_seconds, "connectTimeoutSeconds": connect_timeout_seconds,
        "handshakeTimeoutSeconds": handshake_timeout_seconds, "requestTimeoutSeconds": request_timeout_seconds,
        "poolMaxStreams": pool_max_streams, "poolIdleSeconds": pool_idle_seconds, "optimisticData": optimistic_data,
        "nativeRequestStreams": native_request_streams, "sameNode": same_node.text(), "hboneMaxAgeSeconds": hbone_max_age_seconds,
        "inboundIdleSeconds": inbound_idle_seconds, "destinationTlsDir": text(destination_tls_dir), "endLatePlaintextAfterSeconds": end_late_plaintext_after_seconds, "workerThreads": worker_threads,
        "limits": LimitKind::ALL.map(|kind| (kind.label(), limits.maximum(kind))).into_iter().collect::<BTreeMap<_, _>>(),
        "otlp": otlp, "traceSamplingPercent": trace_sampling_percent,
        "log": log, "logFormat": form_name(*log_format), "istiod": way_to_istiod(istiod),
    });
    together([settings, more, token_settings(tokens)])
}

/// One object with the members of all.
fn together(parts: [Value; 3]) -> Value {
    let members = parts.into_iter().filter_map(|part| match part {
        Value::Object(members) => Some(members),
        _ => None,
    });
    Value::Object(members.flatten().collect())
}

fn token_settings(config: &TokensConfig) -> Value {
    let TokensConfig { jwks_allow, jwks_roots, jwks_refresh_seconds } = config;
    json!({
        "jwksAllow": jwks_allow.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "jwksRoots": jwks_roots.as_deref().map(text), "jwksRefreshSeconds": jwks_refresh_seconds,
    })
}

fn form_name(form: LogFormat) -> &'static str {
    match form {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    }
}

fn policy_name(policy: OutboundPolicyArg) -> &'static str {
    match policy {
        OutboundPolicyArg::AllowAny => "ALLOW_ANY",
        OutboundPolicyArg::RegistryOnly => "REGISTRY_ONLY",
    }
}

fn installation(config: &CniConfig) -> Value {
    let CniConfig { cni, cni_bin_dir, cni_conf_dir, cni_plugin, cni_timeout_seconds, cni_others_timeout_seconds } =
        config;
    json!({
        "isOn": *cni == CniArg::On, "binDir": cni_bin_dir.as_deref().map(text), "confDir": cni_conf_dir.as_deref().map(text),
        "plugin": cni_plugin.as_deref().map(text), "timeoutSeconds": cni_timeout_seconds,
        "othersTimeoutSeconds": cni_others_timeout_seconds,
    })
}

fn kubernetes_settings(config: &KubernetesConfig) -> Value {
    let KubernetesConfig {
        enroll_from_kubernetes: _,
        kubernetes_service_host,
        kubeconfig,
        exclude_namespaces,
        netns_dir,
        daemon_set,
    } = config;
    json!({
        "enrollFromKubernetes": config.is_on(), "kubernetesServiceHost": kubernetes_service_host,
        "kubeconfig": kubeconfig.as_deref().map(text), "excludeNamespaces": exclude_namespaces,
        "netnsDir": text(netns_dir), "daemonSet": daemon_set,
    })
}

/// Where the mesh is described, when no control plane describes it.
pub(super) fn static_config(config: &AgentConfig) -> Value {
    config.files.config.as_ref().map_or_else(|| json!({}), |path| json!({ "path": text(path) }))
}

pub(super) fn version() -> Value {
    json!({ "component": "weir", "version": env!("CARGO_PKG_VERSION") })
}

/// A path need not be UTF-8; JSON must.
fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Headers are named, never shown: they may hold secrets.
fn way_to_istiod(config: &IstiodConfig) -> Value {
    let IstiodConfig {
        xds_address: _,
        xds_server_name: _,
        xds_root_ca: _,
        ca_address: _,
        auth_token: _,
        certificate_seconds: _,
        service_account,
        ca_root_ca,
        ca_server_name,
        objects,
        plaintext_without_agent,
        secret_ttl: _,
        connection_termination_deadline: _,
        termination_grace_period_seconds: _,
        environment,
    } = config;
    let names = |headers: &[(String, String)]| headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    json!({
        "serviceAccount": service_account, "caRootCa": ca_root_ca, "caServerName": ca_server_name,
        "objects": match objects {
            ObjectsFrom::Xds => "xds",
            ObjectsFrom::Kubernetes => "kubernetes",
            ObjectsFrom::Off => "off",
        },
        "plaintextWithoutAgent": match plaintext_without_agent {
            PlaintextWithoutAgent::Deny => "deny",
            PlaintextWithoutAgent::AllowPermissive => "allow-permissive",
        },
        "xdsHeaders": names(&environment.xds_headers), "caHeaders": names(&environment.ca_headers),
        "metadata": environment.metadata, "withoutMeaning": environment.without_meaning,
    })
}
