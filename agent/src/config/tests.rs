use clap::Parser;

use super::AgentConfig;

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
        ("--xds-address=istiod:15012", "expected https://host:port"),
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
        "--xds-address=http://127.0.0.1:15010",
        "--xds-address=https://[fd00::1]:15012",
        "--exclude-cidrs=10.0.0.0/8,fd00::/8",
    ] {
        Cli::try_parse_from(["weir", flag]).expect(flag);
    }
}
