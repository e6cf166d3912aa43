//! A pod of this node as its enrolment names and describes it, where its workload is looked up or stood in for.

use std::net::IpAddr;
use std::sync::Arc;

use super::identity::Identity;
use super::naming;
use super::peer_authentication::Labels;
use super::workload::{TunnelProtocol, Workload, WorkloadType};

/// What the workload of a pod is found by.
#[derive(Debug, Clone, Copy)]
pub struct PodKey<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub addresses: &'a [IpAddr],
}

/// What is known of a pod that the mesh does not know (yet).
#[derive(Debug, Clone, Copy)]
pub struct PodDescription<'a> {
    pub key: PodKey<'a>,
    /// What the pod's traffic carries.
    pub identity: &'a Identity,
    pub labels: &'a Labels,
    /// The name of the workload that made the pod; `None` where only the pod's own name and labels are known.
    pub workload_name: Option<&'a str>,
    pub network: &'a Arc<str>,
    pub cluster_id: &'a Arc<str>,
    pub node: &'a Arc<str>,
}

impl Workload {
    /// The workload that istiod would describe for a pod in the mesh, without services and policies.
    #[must_use]
    pub fn of_pod(pod: &PodDescription<'_>) -> Self {
        let PodKey { namespace, name, addresses } = pod.key;
        let workload_name =
            pod.workload_name.map_or_else(|| naming::workload_name(name, pod.labels, None, false), str::to_owned);
        Self {
            trust_domain: pod.identity.trust_domain.clone(),
            service_account: pod.identity.service_account.clone(),
            addresses: addresses.to_vec(),
            network: pod.network.clone(),
            cluster_id: pod.cluster_id.clone(),
            node: pod.node.clone(),
            protocol: TunnelProtocol::Hbone,
            workload_type: WorkloadType::Pod,
            canonical_name: naming::canonical_name(pod.labels, &workload_name).into(),
            canonical_revision: naming::canonical_revision(pod.labels).into(),
            workload_name: workload_name.into(),
            ..Self::new(&workload_uid(pod.cluster_id, namespace, name), namespace, name)
        }
    }
}

/// The uid that istiod gives the workload of a pod.
#[must_use]
pub fn workload_uid(cluster_id: &str, namespace: &str, name: &str) -> String {
    format!("{cluster_id}//Pod/{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::workload::HealthStatus;

    #[test]
    fn a_described_pod_is_named_as_istiod_would() {
        let labels = Labels::from([("app".to_owned(), "cart".to_owned()), ("version".to_owned(), "v2".to_owned())]);
        let identity = "spiffe://example.org/ns/shop/sa/cart-sa".parse().unwrap();
        let (network, cluster_id, node) = ("net1".into(), "east".into(), "node1".into());
        let addresses = ["10.0.0.1".parse().unwrap()];
        let pod = PodDescription {
            key: PodKey { namespace: "shop", name: "cart-1", addresses: &addresses },
            identity: &identity,
            labels: &labels,
            workload_name: None,
            network: &network,
            cluster_id: &cluster_id,
            node: &node,
        };
        let workload = Workload::of_pod(&pod);
        assert!(workload.is_pod());
        assert_eq!(&*workload.uid, "east//Pod/shop/cart-1");
        assert_eq!(workload.identity(), identity);
        assert_eq!(
            (&*workload.workload_name, &*workload.canonical_name, &*workload.canonical_revision),
            ("cart-1", "cart", "v2")
        );
        assert_eq!((workload.protocol, workload.status), (TunnelProtocol::Hbone, HealthStatus::Healthy));
        assert_eq!((&*workload.network, &*workload.node, &*workload.addresses), ("net1", "node1", &addresses[..]));
        let named = Workload::of_pod(&PodDescription { workload_name: Some("cart-v2"), labels: &Labels::new(), ..pod });
        assert_eq!(
            (&*named.workload_name, &*named.canonical_name, &*named.canonical_revision),
            ("cart-v2", "cart-v2", "latest")
        );
    }
}
