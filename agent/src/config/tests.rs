use clap::Parser;

use super::AgentConfig;
use super::istiod::Environment;

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
        ("--handshake-timeout-seconds=0", "not in 1..=86400"),
        ("--request-timeout-seconds=86401", "not in 1..=86400"),
        ("--pool-idle-seconds=0", "not in 1..=86400"),
        ("--certificate-seconds=0", "not in 1..="),
        ("--pool-max-streams=0", "not in 1.."),
        ("--worker-threads=100000", "not in 0..=1024"),
        ("--worker-threads=101%", "expected 1% to 100%"),
        ("--worker-threads=many", "expected a number"),
        ("--secret-ttl=soon", "is not a duration"),
        ("--objects=files", "possible values: xds, off"),
        ("--exclude-cidrs=10.0.0.0/33", "invalid IP address syntax"),
        ("--exclude-cidrs=10.0.0.0", "invalid IP address syntax"),
        ("--exclude-ports=80,65536", "not in 0..=65535"),
        ("--exclude-inbound-ports=http", "invalid digit"),
        ("--admin-address=localhost:15000", "expected an IP address with a port"),
        ("--admin-address=0.0.0.0:15000", "must listen on loopback"),
        ("--metrics-address=15020", "invalid socket address"),
        ("--instance-ip=10.0.0", "invalid IP address"),
        ("--log-format=xml", "possible values: text, json"),
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
        config.settled(Environment::of(owned))
    };
    let chart = settled(
        &["--secret-ttl=12h", "--termination-grace-period-seconds=30"],
        &[("ISTIO_META_CLUSTER_ID", "west"), ("ISTIO_META_NETWORK", "net-1")],
    );
    assert_eq!((chart.certificate_seconds, chart.drain_seconds), (43_200, 25));
    assert_eq!((chart.cluster_id.as_str(), chart.network.as_str()), ("west", "net-1"));
    let both = settled(
        &["--secret-ttl=12h", "--certificate-seconds=60", "--connection-termination-deadline=7s", "--cluster-id=east"],
        &[("ISTIO_META_CLUSTER_ID", "west")],
    );
    assert_eq!((both.certificate_seconds, both.drain_seconds), (60, 7));
    assert_eq!(both.cluster_id, "east");
    let explicit = settled(&["--termination-grace-period-seconds=30"], &[("WEIR_DRAIN_SECONDS", "300")]);
    assert_eq!(explicit.drain_seconds, 300, "said so, be it the default");
    assert_eq!(both.ca_root(), "/var/run/secrets/istio/root-cert.pem");
    assert_eq!(settled(&["--ca-root-ca=SYSTEM"], &[]).ca_root(), "SYSTEM");
}
