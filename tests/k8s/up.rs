//! A cluster for developers: it stays up until it is told to end.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use weir_tests::cluster::mode::{Containerd, Mode, Proxy};
use weir_tests::cluster::{Cluster, Settings, images};
use weir_tests::run;

#[derive(Debug, Args)]
#[command(after_long_help = "\
Prints, when all is ready, the paths of two scripts:
  k ARGUMENT…         kubectl with an administrator's rights
  ne NODE COMMAND…    runs a command in a node (na or nb): its namespaces, mounts and cgroups

Every image (*.tar, OCI) in target/k8s is on both nodes; `cargo xtask test k8s --prepare` makes them, and the real parts
of Kubernetes and Istio. To give a node another image:
  ne na ctr -n k8s.io images import /path/to/image.tar

Pods of tests run weir.test/app:1 (busybox and weir-test-app) with imagePullPolicy IfNotPresent. Without --dns there
is no name server in the cluster: Services are reached by address, or by the variables that the kubelet sets.
istiod's output is among the logs, whose folder is printed too. Several clusters can be up beside each other.")]
pub(crate) struct Up {
    /// How nodes see cgroups.
    #[arg(long, value_enum, default_value_t = Mode::V2)]
    mode: Mode,
    /// What kube-proxy programs.
    #[arg(long, value_enum, default_value = "nftables")]
    proxy: Proxy,
    /// Which containerd.
    #[arg(long, value_enum, default_value = "debian")]
    containerd: Containerd,
    /// Leave istiod out.
    #[arg(long)]
    without_istiod: bool,
    /// Have a name server in the cluster; `cargo xtask test conformance` builds it.
    #[arg(long)]
    dns: bool,
}

/// Starts a cluster, tells how to use it, and waits for a signal.
pub(crate) fn keep(up: &Up) -> Result<ExitCode> {
    run::take_down_on_signal()?;
    let gone = run::take_down_leftovers()?;
    if !gone.is_empty() {
        println!("took down what killed runs left: {}", gone.join(" "));
    }
    let settings = Settings {
        purpose: "up".to_owned(),
        mode: up.mode,
        proxy: up.proxy,
        containerd: up.containerd,
        istiod: !up.without_istiod,
        dns: up.dns,
        images: images::all()?,
    };
    let cluster = Cluster::start(settings)?;
    let (k, ne) = cluster.write_scripts()?;
    println!("kubectl: {}", k.display());
    println!("node:    {} na|nb COMMAND…", ne.display());
    println!("logs:    {}", cluster.run().logs().display());
    let times = cluster.times;
    println!(
        "ready after {:.1} s (API server {:.1} s, nodes {:.1} s); ends by Ctrl-C or kill {}",
        times.all_ready.as_secs_f64(),
        times.api_ready.as_secs_f64(),
        times.nodes_ready.as_secs_f64(),
        std::process::id()
    );
    loop {
        std::thread::park();
    }
}
