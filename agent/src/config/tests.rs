use clap::{CommandFactory, Parser};

use super::{AgentConfig, Environment};

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    config: AgentConfig,
}

#[test]
fn values_that_cannot_be_meant_are_refused_by_name() {
    let rows: &[(&str, &str)] = &[
        ("--node=a~b", "'~' is not allowed in a name"),
        ("--node=a b", "' ' is not allowed in a name"),
        ("--pod-namespace=a/b", "'/' is not allowed"),
        ("--trust-domain=Cluster.Local", "'C' is not allowed in a trust domain"),
        ("--trust-domain=a/b", "'/' is not allowed in a trust domain"),
        ("--trust-domain-aliases=a,b c", "' ' is not allowed in a trust domain"),
        ("--xds-address=istiod 15012", "expected https://host:port"),
        ("--xds-address=https://", "expected https://host:port"),
        ("--xds-address=https://istiod:15012/path", "expected https://host:port"),
        ("--ca-address=ftp://istiod", "expected https://host:port"),
        ("--drain-seconds=-1", "invalid digit"),
        ("--drain-seconds=18446744073709551615", "not in 0..=86400"),
        ("--drain-seconds=5s", "invalid digit"),
        ("--connect-timeout-seconds=0", "not in 1..=86400"),
        ("--hang-seconds=0", "not in 1..=86400"),
        ("--handshake-timeout-seconds=0", "not in 1..=86400"),
        ("--request-timeout-seconds=86401", "not in 1..=86400"),
        ("--pool-idle-seconds=0", "not in 1..=86400"),
        ("--certificate-seconds=0", "not in 1..="),
        ("--pool-max-streams=0", "not in 1.."),
        ("--max-outbound-connections-per-pod=0", "not in 1..=1048576"),
        ("--max-handshakes-per-pod=many", "invalid digit"),
        ("--worker-threads=100000", "not in 0..=1024"),
        ("--worker-threads=101%", "expected 1% to 100%"),
        ("--worker-threads=many", "expected a number"),
        ("--secret-ttl=soon", "is not a duration"),
        ("--objects=files", "possible values: xds, kubernetes, off"),
        ("--exclude-cidrs=10.0.0.0/33", "invalid IP address syntax"),
        ("--exclude-cidrs=10.0.0.0", "invalid IP address syntax"),
        ("--exclude-ports=80,65536", "not in 0..=65535"),
        ("--exclude-inbound-ports=http", "invalid digit"),
        ("--admin-address=localhost:15000", "expected an IP address with a port"),
        ("--admin-address=0.0.0.0:15000", "must listen on loopback"),
        ("--metrics-address=15020", "invalid socket address"),
        ("--instance-ip=10.0.0", "invalid IP address"),
        ("--log-format=xml", "possible values: text, json"),
        ("--otlp=https://collector:4317", "expected http://host:port"),
        ("--otlp=http://collector/v1/traces", "expected http://host:port"),
        ("--trace-sampling-percent=101", "expected a number from 0 to 100"),
        ("--trace-sampling-percent=NaN", "expected a number from 0 to 100"),
        ("--outbound-traffic-policy=deny", "possible values: allow-any, registry-only"),
        ("--unknown-setting=1", "unexpected argument"),
    ];
    for (flag, reason) in rows {
        let error = Cli::try_parse_from(["weir", flag]).expect_err(flag).to_string();
        let name = flag.split('=').next().expect("a flag has a name");
        assert!(error.contains(name) && error.contains(reason), "{flag}: {error}");
    }
}

#[test]
fn values_at_their_limits_are_taken() {
    for flag in [
        "--node=",
        "--node=ip-10-0-0-1.eu_1",
        "--trust-domain=",
        "--trust-domain=td_1.example-2",
        "--drain-seconds=0",
        "--drain-seconds=86400",
        "--certificate-seconds=315360000",
        "--worker-threads=0",
        "--worker-threads=25%",
        "--xds-address=istiod-canary.istio-system.svc:15012",
        "--xds-address=http://127.0.0.1:15010",
        "--xds-address=https://[fd00::1]:15012",
        "--exclude-cidrs=10.0.0.0/8,fd00::/8",
    ] {
        Cli::try_parse_from(["weir", flag]).expect(flag);
    }
}

#[test]
fn ztunnels_names_count_where_ours_are_left_at_their_defaults() {
    let settled = |flags: &[&str], environment: &[(&str, &str)]| {
        let config = Cli::try_parse_from(["weir"].iter().chain(flags)).unwrap().config;
        let owned = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        config.with_environment(Environment::of(owned))
    };
    let chart = settled(
        &["--secret-ttl=12h", "--termination-grace-period-seconds=30"],
        &[("ISTIO_META_CLUSTER_ID", "west"), ("ISTIO_META_NETWORK", "net-1")],
    );
    assert_eq!((chart.istiod.certificate_seconds, chart.proxy.drain_seconds), (43_200, 25));
    assert_eq!((chart.node.cluster_id.as_str(), chart.node.network.as_str()), ("west", "net-1"));
    let both = settled(
        &["--secret-ttl=12h", "--certificate-seconds=60", "--connection-termination-deadline=7s", "--cluster-id=east"],
        &[("ISTIO_META_CLUSTER_ID", "west")],
    );
    assert_eq!((both.istiod.certificate_seconds, both.proxy.drain_seconds), (60, 7));
    assert_eq!(both.node.cluster_id, "east");
    let explicit = settled(&["--termination-grace-period-seconds=30"], &[("WEIR_DRAIN_SECONDS", "300")]);
    assert_eq!(explicit.proxy.drain_seconds, 300, "said so, be it the default");
    assert_eq!(both.ca_root(), "/var/run/secrets/istio/root-cert.pem");
    assert_eq!(settled(&["--ca-root-ca=SYSTEM"], &[]).ca_root(), "SYSTEM");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of all settings")]
fn flags_and_environment_variables_keep_their_names() {
    let expected = [
        ("admin-address", "WEIR_ADMIN_ADDRESS"),
        ("auth-token", "AUTH_TOKEN"),
        ("bpf-dir", "WEIR_BPF_DIR"),
        ("ca-address", "CA_ADDRESS"),
        ("ca-dir", "WEIR_CA_DIR"),
        ("ca-root-ca", "CA_ROOT_CA"),
        ("ca-server-name", "ALT_CA_HOSTNAME"),
        ("certificate-seconds", "WEIR_CERTIFICATE_SECONDS"),
        ("certificates-dir", "WEIR_CERTIFICATES_DIR"),
        ("cgroup-root", "WEIR_CGROUP_ROOT"),
        ("cluster-id", "CLUSTER_ID"),
        ("cni", "WEIR_CNI"),
        ("cni-bin-dir", "WEIR_CNI_BIN_DIR"),
        ("cni-conf-dir", "WEIR_CNI_CONF_DIR"),
        ("cni-others-timeout-seconds", "WEIR_CNI_OTHERS_TIMEOUT_SECONDS"),
        ("cni-plugin", "WEIR_CNI_PLUGIN"),
        ("cni-timeout-seconds", "WEIR_CNI_TIMEOUT_SECONDS"),
        ("config", "WEIR_CONFIG"),
        ("connect-timeout-seconds", "WEIR_CONNECT_TIMEOUT_SECONDS"),
        ("connection-termination-deadline", "CONNECTION_TERMINATION_DEADLINE"),
        ("crl", "CRL_PATH"),
        ("daemon-set", "WEIR_DAEMONSET"),
        ("destination-tls-dir", "WEIR_DESTINATION_TLS_DIR"),
        ("drain-seconds", "WEIR_DRAIN_SECONDS"),
        ("end-late-plaintext-after-seconds", "WEIR_END_LATE_PLAINTEXT_AFTER_SECONDS"),
        ("enroll-from-kubernetes", "WEIR_KUBERNETES"),
        ("exclude-cidrs", "WEIR_EXCLUDE_CIDRS"),
        ("exclude-inbound-ports", "WEIR_EXCLUDE_INBOUND_PORTS"),
        ("exclude-namespaces", "WEIR_EXCLUDE_NAMESPACES"),
        ("exclude-ports", "WEIR_EXCLUDE_PORTS"),
        ("handshake-timeout-seconds", "WEIR_HANDSHAKE_TIMEOUT_SECONDS"),
        ("hang-seconds", "WEIR_HANG_SECONDS"),
        ("hbone-max-age-seconds", "WEIR_HBONE_MAX_AGE_SECONDS"),
        ("host-proc", "WEIR_HOST_PROC"),
        ("inbound-idle-seconds", "WEIR_INBOUND_IDLE_SECONDS"),
        ("instance-ip", "INSTANCE_IP"),
        ("jwks-allow", "WEIR_JWKS_ALLOW"),
        ("jwks-refresh-seconds", "WEIR_JWKS_REFRESH_SECONDS"),
        ("jwks-roots", "WEIR_JWKS_ROOTS"),
        ("kubeconfig", "WEIR_KUBECONFIG"),
        ("kubelet-cgroup", "WEIR_KUBELET_CGROUP"),
        ("kubernetes-service-host", "KUBERNETES_SERVICE_HOST"),
        ("log", "RUST_LOG"),
        ("log-format", "LOG_FORMAT"),
        ("max-agent-requests-per-pod", "WEIR_MAX_AGENT_REQUESTS_PER_POD"),
        ("max-connections-per-peer", "WEIR_MAX_CONNECTIONS_PER_PEER"),
        ("max-handshakes-per-pod", "WEIR_MAX_HANDSHAKES_PER_POD"),
        ("max-hbone-connections-per-pod", "WEIR_MAX_HBONE_CONNECTIONS_PER_POD"),
        ("max-held-kib", "WEIR_MAX_HELD_KIB"),
        ("max-held-kib-per-pod", "WEIR_MAX_HELD_KIB_PER_POD"),
        ("max-http-streams-per-pod", "WEIR_MAX_HTTP_STREAMS_PER_POD"),
        ("max-http-upstreams-per-pod", "WEIR_MAX_HTTP_UPSTREAMS_PER_POD"),
        ("max-inbound-connections-per-pod", "WEIR_MAX_INBOUND_CONNECTIONS_PER_POD"),
        ("max-inbound-per-peer", "WEIR_MAX_INBOUND_PER_PEER"),
        ("max-log-bytes-per-pod", "WEIR_MAX_LOG_BYTES_PER_POD"),
        ("max-metric-series-per-pod", "WEIR_MAX_METRIC_SERIES_PER_POD"),
        ("max-mirrored-requests-per-pod", "WEIR_MAX_MIRRORED_REQUESTS_PER_POD"),
        ("max-name-lookups-per-pod", "WEIR_MAX_NAME_LOOKUPS_PER_POD"),
        ("max-outbound-connections-per-pod", "WEIR_MAX_OUTBOUND_CONNECTIONS_PER_POD"),
        ("max-pending-connects-per-pod", "WEIR_MAX_PENDING_CONNECTS_PER_POD"),
        ("max-rate-limit-sources-per-pod", "WEIR_MAX_RATE_LIMIT_SOURCES_PER_POD"),
        ("max-remembered-tokens-per-pod", "WEIR_MAX_REMEMBERED_TOKENS_PER_POD"),
        ("max-waiting-spans-per-pod", "WEIR_MAX_WAITING_SPANS_PER_POD"),
        ("metrics-address", "WEIR_METRICS_ADDRESS"),
        ("native-request-streams", "WEIR_NATIVE_REQUEST_STREAMS"),
        ("netns-dir", "WEIR_NETNS_DIR"),
        ("network", "NETWORK"),
        ("node", "NODE_NAME"),
        ("nri-socket", "WEIR_NRI_SOCKET"),
        ("objects", "WEIR_OBJECTS"),
        ("optimistic-data", "WEIR_OPTIMISTIC_DATA"),
        ("otlp", "WEIR_OTLP"),
        ("outbound-traffic-policy", "WEIR_OUTBOUND_TRAFFIC_POLICY"),
        ("plaintext-without-agent", "WEIR_PLAINTEXT_WITHOUT_AGENT"),
        ("pod-name", "POD_NAME"),
        ("pod-namespace", "POD_NAMESPACE"),
        ("pods-cgroup", "WEIR_PODS_CGROUP"),
        ("pool-idle-seconds", "WEIR_POOL_IDLE_SECONDS"),
        ("pool-max-streams", "POOL_MAX_STREAMS_PER_CONNECTION"),
        ("readiness-address", "WEIR_READINESS_ADDRESS"),
        ("request-timeout-seconds", "WEIR_REQUEST_TIMEOUT_SECONDS"),
        ("run-dir", "WEIR_RUN_DIR"),
        ("same-node", "WEIR_SAME_NODE"),
        ("secret-ttl", "SECRET_TTL"),
        ("service-account", "SERVICE_ACCOUNT"),
        ("state-dir", "WEIR_STATE_DIR"),
        ("termination-grace-period-seconds", "TERMINATION_GRACE_PERIOD_SECONDS"),
        ("trace-sampling-percent", "WEIR_TRACE_SAMPLING_PERCENT"),
        ("trust-domain", "TRUST_DOMAIN"),
        ("trust-domain-aliases", "WEIR_TRUST_DOMAIN_ALIASES"),
        ("uncapturable-outbound", "WEIR_UNCAPTURABLE_OUTBOUND"),
        ("worker-threads", "ZTUNNEL_WORKER_THREADS"),
        ("xds-address", "XDS_ADDRESS"),
        ("xds-root-ca", "XDS_ROOT_CA"),
        ("xds-server-name", "ALT_XDS_HOSTNAME"),
    ];
    let command = Cli::command();
    let mut seen: Vec<(&str, &str)> = command
        .get_arguments()
        .filter_map(|argument| Some((argument.get_long()?, argument.get_env()?.to_str()?)))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, expected);
}
