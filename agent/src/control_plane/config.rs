//! Every setting of `weir control-plane` once: its name, its environment variable, its default and the reason for it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::config::LogFormat;

/// Settings of `weir control-plane`.
#[derive(Debug, Clone, Args)]
pub struct ControlPlaneConfig {
    /// File or folder of Istio objects in YAML; followed as it changes.
    #[arg(long, env = "WEIR_CONFIG")]
    pub config: PathBuf,
    /// Where agents connect, for configuration and for certificates.
    #[arg(long, env = "WEIR_CONTROL_PLANE_LISTEN", default_value = "[::]:15012")]
    pub listen: SocketAddr,
    /// Directory of what must outlive a restart: the CA (`ca-key.pem`, and `ca-cert.pem` for agents to trust) and the
    /// virtual addresses handed out.
    #[arg(long, env = "WEIR_CONTROL_PLANE_STATE_DIR", default_value = "/var/lib/weir-control-plane")]
    pub state_dir: PathBuf,
    /// Bearer tokens of the nodes: a file with a line `<node> <token>` for each, or a folder of files `<node>.token`.
    /// Reread when it changes.
    #[arg(long, env = "WEIR_TOKENS")]
    pub tokens: PathBuf,
    /// Name or address that agents expect in the server's certificate; may be given several times.
    #[arg(
        long = "server-name",
        env = "WEIR_SERVER_NAMES",
        value_delimiter = ',',
        default_values = ["istiod.istio-system.svc", "localhost"]
    )]
    pub server_names: Vec<String>,
    /// Cluster that the workloads belong to.
    #[arg(long, env = "CLUSTER_ID", default_value = "Kubernetes")]
    pub cluster_id: String,
    /// Istio network of everything that names none; empty is the default network.
    #[arg(long, env = "NETWORK", default_value = "")]
    pub network: String,
    /// The largest request that is accepted, in bytes. An agent names every resource it has when it connects, some 100 bytes
    /// each; one that is refused connects without.
    #[arg(long, env = "WEIR_CONTROL_PLANE_MAX_REQUEST_BYTES", default_value_t = 64 * 1024 * 1024)]
    pub max_request_bytes: usize,
    /// Log filter, in tracing's syntax.
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub log: String,
    /// Form of log lines.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        config: ControlPlaneConfig,
    }

    fn parse(flags: &[&str]) -> ControlPlaneConfig {
        let line = ["weir", "--config=objects", "--tokens=tokens"].iter().chain(flags);
        Line::try_parse_from(line).map(|line| line.config).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn every_flag_reads() {
        let defaults = parse(&[]);
        assert_eq!(defaults.listen, "[::]:15012".parse().unwrap());
        assert_eq!(defaults.server_names, ["istiod.istio-system.svc", "localhost"]);
        let given =
            parse(&["--server-name=a.example", "--server-name=10.0.0.1", "--listen=10.0.0.1:1", "--state-dir=s"]);
        assert_eq!(given.server_names, ["a.example", "10.0.0.1"]);
        assert_eq!((given.listen.port(), given.state_dir), (1, "s".into()));
    }
}
