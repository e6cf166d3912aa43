//! What a node's programs are configured by: text for containerd, the container network, the kubelet, kube-proxy.

use std::path::Path;

use super::mode::{Mode, Proxy};
use super::network;

/// What containers get their network by. In the folder and by the names of every distribution, so that an agent that
/// chains itself in finds it where it looks.
pub(super) fn container_network(index: usize) -> String {
    format!(
        r#"{{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [
    {{
      "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
      "ipam": {{
        "type": "host-local",
        "ranges": [[{{"subnet": "{}"}}]],
        "routes": [{{"dst": "0.0.0.0/0"}}]
      }}
    }},
    {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
  ]
}}
"#,
        network::pods_of(index)
    )
}

/// The runtime. Without control over resources in mode `v2`, see [`Mode`].
pub(super) fn containerd(mode: Mode, runtime: &Path, pause_image: &str) -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  disable_cgroup = {no_limits}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "{runtime}"
"#,
        no_limits = mode == Mode::V2,
        runtime = runtime.display(),
    )
}

/// The same for a containerd 2: other names, and the shim by its path, since the one in the path is Debian's.
pub(super) fn recent_containerd(mode: Mode, runtime: &Path, shim: &Path, pause_image: &str) -> String {
    format!(
        r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{pause_image}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  disable_cgroup = {no_limits}
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/opt/cni/bin"]
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      runtime_path = "{shim}"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "{runtime}"
"#,
        no_limits = mode == Mode::V2,
        runtime = runtime.display(),
        shim = shim.display(),
    )
}

/// The kubelet. It evicts nobody: how full this machine is says nothing about a test. Logs stay whole for those who read
/// them to their end. With `dns`, pods ask the cluster's name server.
pub(super) fn kubelet(mode: Mode, index: usize, dns: bool) -> String {
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupsPerQOS: {limits}
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
oomScoreAdj: 0
maxPods: 250
evictionHard:
  memory.available: "0%"
  nodefs.available: "0%"
  nodefs.inodesFree: "0%"
  imagefs.available: "0%"
  imagefs.inodesFree: "0%"
imageGCHighThresholdPercent: 100
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
resolvConf: /etc/resolv.conf
clusterDomain: cluster.local
clusterDNS: [{dns}]
nodeStatusUpdateFrequency: 4s
syncFrequency: 10s
registryPullQPS: 0
kubeAPIQPS: 200
kubeAPIBurst: 400
eventRecordQPS: 0
containerLogMaxSize: 200Mi
podCIDR: {pods}
volumePluginDir: /var/lib/kubelet/volume-plugins
"#,
        limits = mode == Mode::Hybrid,
        dns = if dns { network::CLUSTER_DNS } else { "" },
        pods = network::pods_of(index),
    )
}

/// What makes Services work. The limits of connection tracking are the machine's and stay as they are.
pub(super) fn proxy(proxy: Proxy, node: &str, kubeconfig: &Path) -> String {
    format!(
        r#"apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {proxy}
clientConnection: {{kubeconfig: {kubeconfig}}}
hostnameOverride: {node}
clusterCIDR: {pods}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
healthzBindAddress: ""
metricsBindAddress: 127.0.0.1:10249
"#,
        kubeconfig = kubeconfig.display(),
        pods = network::PODS,
    )
}
