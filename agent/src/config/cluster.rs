//! Settings of enrolment in a cluster: from Kubernetes, and before a pod's first process by the CNI plugin and by the container
//! runtime's NRI.

use std::path::{Path, PathBuf};

use clap::Args;

use super::capture::Location;

/// Where container runtimes have the NRI socket by default.
const DEFAULT_NRI_SOCKET: &str = "/var/run/nri/nri.sock";
/// The file name of the CNI plugin, beside the agent's own program.
const CNI_PLUGIN: &str = "weir-cni";

/// Where Kubernetes is, and which pods it may enrol.
#[derive(Debug, Clone, Args)]
pub struct KubernetesConfig {
    /// Enrol the pods of this node that Kubernetes says are in the mesh (label istio.io/dataplane-mode: ambient); auto is
    /// on where KUBERNETES_SERVICE_HOST is set.
    #[arg(long, env = "WEIR_KUBERNETES", value_enum, default_value_t = KubernetesArg::Auto)]
    pub enroll_from_kubernetes: KubernetesArg,
    /// Address of the API server, as the kubelet names it to every pod. Only asked whether it is there.
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", hide = true)]
    pub kubernetes_service_host: Option<String>,
    /// Kubeconfig by which the API server is reached; the pod's own service account unless given.
    #[arg(long, env = "WEIR_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespaces whose pods are never enrolled, besides the agent's own.
    #[arg(long, env = "WEIR_EXCLUDE_NAMESPACES", value_delimiter = ',', default_value = "istio-system,kube-system")]
    pub exclude_namespaces: Vec<String>,
    /// Directory in which the container runtime names the network namespaces of pods.
    #[arg(long, env = "WEIR_NETNS_DIR", default_value = "/run/netns")]
    pub netns_dir: PathBuf,
    /// Name of the agent's DaemonSet, whose end is the end of Weir on this node; that of the agent's own pod unless given.
    #[arg(long, env = "WEIR_DAEMONSET")]
    pub daemon_set: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KubernetesArg {
    Auto,
    On,
    Off,
}

impl KubernetesConfig {
    /// Whether pods are enrolled from Kubernetes.
    #[must_use]
    pub fn is_on(&self) -> bool {
        match self.enroll_from_kubernetes {
            KubernetesArg::On => true,
            KubernetesArg::Off => false,
            KubernetesArg::Auto => self.kubeconfig.is_some() || self.kubernetes_service_host.is_some(),
        }
    }
}

/// Enrolment of pods before their first process runs.
#[derive(Debug, Clone, Args)]
pub struct CniConfig {
    /// Keep the CNI plugin installed on this node while both directories are given; off touches neither, but what is there
    /// of ours goes when Weir is uninstalled.
    #[arg(long, env = "WEIR_CNI", value_enum, default_value_t = CniArg::On)]
    pub cni: CniArg,
    /// The node's directory of CNI plugins, such as /host/opt/cni/bin.
    #[arg(long, env = "WEIR_CNI_BIN_DIR", requires = "cni_conf_dir")]
    pub cni_bin_dir: Option<PathBuf>,
    /// The node's directory of CNI configurations, such as /host/etc/cni/net.d.
    #[arg(long, env = "WEIR_CNI_CONF_DIR", requires = "cni_bin_dir")]
    pub cni_conf_dir: Option<PathBuf>,
    /// The plugin to install; the file weir-cni beside the agent's own program unless given.
    #[arg(long, env = "WEIR_CNI_PLUGIN")]
    pub cni_plugin: Option<PathBuf>,
    /// Seconds that a new pod of a mesh namespace waits for an agent. Then its sandbox fails, and the kubelet tries again.
    #[arg(long, env = "WEIR_CNI_TIMEOUT_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub cni_timeout_seconds: u64,
    /// Seconds that any other new pod waits for an agent. Then it starts all the same: it is not known to be for the mesh.
    #[arg(long, env = "WEIR_CNI_OTHERS_TIMEOUT_SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub cni_others_timeout_seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CniArg {
    On,
    Off,
}

impl CniConfig {
    /// The directories of plugins and of configurations, if the plugin is to be installed there.
    #[must_use]
    pub fn directories(&self) -> Option<(&Path, &Path)> {
        self.given().filter(|_| self.cni == CniArg::On)
    }

    /// The directories of plugins and of configurations, where the plugin may be from an agent with other settings.
    #[must_use]
    pub fn given(&self) -> Option<(&Path, &Path)> {
        self.cni_bin_dir.as_deref().zip(self.cni_conf_dir.as_deref())
    }

    /// The plugin that came with the agent.
    ///
    /// # Errors
    /// When the agent's own program cannot be found.
    pub fn plugin(&self) -> std::io::Result<PathBuf> {
        match &self.cni_plugin {
            Some(plugin) => Ok(plugin.clone()),
            None => Ok(std::env::current_exe()?.with_file_name(CNI_PLUGIN)),
        }
    }
}

/// Enrolment of pods before their first process runs, on the word of the container runtime.
#[derive(Debug, Clone, Args)]
pub struct NriConfig {
    /// Socket of the container runtime's NRI (containerd since 1.7, CRI-O), which asks the agent about every new pod before
    /// it makes its containers; `auto` is /var/run/nri/nri.sock while there is one; `off` asks nobody to ask.
    #[arg(long, env = "WEIR_NRI_SOCKET", default_value = "auto")]
    pub nri_socket: Location,
}

impl NriConfig {
    /// The socket to connect to, if any.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match &self.nri_socket {
            Location::Auto => Some(Path::new(DEFAULT_NRI_SOCKET)),
            Location::Off => None,
            Location::At(path) => Some(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Settings {
        #[command(flatten)]
        kubernetes: KubernetesConfig,
        #[command(flatten)]
        cni: CniConfig,
    }

    #[test]
    fn auto_is_on_where_there_is_a_cluster() {
        for (settings, expected) in [
            (&[][..], false),
            (&["--kubernetes-service-host=10.0.0.1"][..], true),
            (&["--kubeconfig=/k"][..], true),
            (&["--enroll-from-kubernetes=on"][..], true),
            (&["--enroll-from-kubernetes=off", "--kubernetes-service-host=10.0.0.1", "--kubeconfig=/k"][..], false),
        ] {
            let parsed = Settings::parse_from(std::iter::once("weir").chain(settings.iter().copied()));
            assert_eq!(parsed.kubernetes.is_on(), expected, "{settings:?}");
        }
    }

    #[test]
    fn the_plugin_is_installed_where_both_directories_are_given() {
        let parse = |flags: &[&str]| Settings::try_parse_from(std::iter::once("weir").chain(flags.iter().copied()));
        for (flags, expected) in [
            (&[][..], Some(false)),
            (&["--cni-bin-dir=/b", "--cni-conf-dir=/c"][..], Some(true)),
            (&["--cni-bin-dir=/b", "--cni-conf-dir=/c", "--cni=off"][..], Some(false)),
            (&["--cni=on"][..], Some(false)),
            (&["--cni-bin-dir=/b"][..], None),
            (&["--cni-conf-dir=/c"][..], None),
            (&["--cni-timeout-seconds=0"][..], None),
            (&["--cni-timeout-seconds=101"][..], None),
        ] {
            let installed = parse(flags).ok().map(|settings| settings.cni.directories().is_some());
            assert_eq!(installed, expected, "{flags:?}");
        }
        let beside = parse(&[]).expect("nothing is required").cni.plugin().expect("we are a program");
        assert_eq!(beside.file_name().and_then(|name| name.to_str()), Some(CNI_PLUGIN));
    }

    #[test]
    fn a_word_or_a_path_is_what_it_was_written_as() {
        for (text, path, written) in [
            ("auto", Some(DEFAULT_NRI_SOCKET), "auto"),
            ("", Some(DEFAULT_NRI_SOCKET), "auto"),
            ("off", None, "off"),
            ("/run/other.sock", Some("/run/other.sock"), "/run/other.sock"),
        ] {
            let Ok(nri_socket) = text.parse::<Location>();
            let config = NriConfig { nri_socket };
            let seen = (config.socket(), config.nri_socket.text());
            assert_eq!(seen, (path.map(Path::new), written.to_owned()), "{text:?}");
        }
    }
}
