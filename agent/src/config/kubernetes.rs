//! Settings of enrolment from Kubernetes.

use std::path::PathBuf;

use clap::Args;

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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Settings {
        #[command(flatten)]
        kubernetes: KubernetesConfig,
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
}
