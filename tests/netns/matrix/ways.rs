//! The ways into a pod: the rows of the matrix, with what is expected of each under each policy.
//!
//! The expectations follow Istio's meaning. A connection has an identity only if its client proved one by the certificate of an
//! HBONE connection, also between pods of one node. Everything else is plaintext, whoever sent it and from whatever address. STRICT refuses plaintext. `principals` never holds for plaintext, so an ALLOW by principals
//! refuses it and a DENY by principals does not touch it; `notPrincipals: ["*"]` holds for it. Ports in a policy are the pod's
//! own, not those of a service. `ipBlocks` hold for the address that the pod's node sees. A policy that cannot be read
//! refuses everybody.

use weir_tests::test_app::Seen;

use super::columns::COLUMNS;

/// What a cell must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Served,
    Refused,
    /// Served though policy says otherwise: a limit that `docs/capture.md` states and `weir status` tells of.
    Past,
}

/// What became of one way under one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The application's answer came back, whole.
    Served,
    /// No byte came back, and the connection ended.
    Refused,
    /// Anything else, such as an end that never came.
    Neither(String),
}

impl Outcome {
    pub(super) fn of(seen: &Seen, sent: &str) -> Self {
        if seen.received == sent {
            Self::Served
        } else if seen.refused() {
            Self::Refused
        } else {
            Self::Neither(format!("{seen:?}"))
        }
    }

    pub(super) fn is(&self, expected: Expected) -> bool {
        match expected {
            Expected::Served | Expected::Past => *self == Self::Served,
            Expected::Refused => *self == Self::Refused,
        }
    }
}

/// Who dials.
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    /// A pod of the mesh on another node, on the same node, and the pod itself.
    MemberElsewhere,
    MemberBeside,
    Itself,
    /// A container with a network namespace of its own within a pod of the mesh on another node.
    ContainerOfMember,
    /// A pod that the mesh does not know, on the same node.
    Outsider,
    /// A pod without capture on another node, of which the mesh knows that it has the service account of a member.
    Stranger,
    /// A process of a node: the pod's own, another one.
    OwnNode,
    OtherNode,
    /// A machine that is no node.
    OutsideCluster,
    /// The kubelet of the pod's node.
    Kubelet,
}

/// What is dialled.
#[derive(Debug, Clone, Copy)]
pub(super) enum To {
    /// An address of the pod.
    V4,
    V6,
    /// The IPv4 address, from an IPv6 socket.
    Mapped,
    /// Another port of the pod than those that its probes name.
    UnnamedPort,
    /// The virtual address of the service; whatever has no capture needs kube-proxy for it.
    VipV4,
    VipV6,
    /// A port of the pod's node, of another node, and of the pod's node for which the node does not set its own address.
    NodePort,
    NodePortV6,
    NodePortElsewhere,
    NodePortLocal,
    /// An address of the second interface.
    SecondV4,
    SecondV6,
    SecondLinkLocal,
    /// A port that the pod forwards to a container within it.
    Published,
}

/// A row.
pub(super) struct Way {
    pub(super) name: &'static str,
    /// Why that is expected, where it is not obvious.
    pub(super) why: &'static str,
    pub(super) from: From,
    pub(super) to: To,
    pub(super) expected: [Expected; COLUMNS.len()],
}

const S: Expected = Expected::Served;
const R: Expected = Expected::Refused;
const P: Expected = Expected::Past;

//  PERMISSIVE, STRICT, STRICT-port, ALLOW-them, -none, -port, -vport, -pods, DENY-them, -none, -anon, -addr, bad-AP, bad-PA
/// The client proved the identity of a member.
const IDENTITY: [Expected; 14] = [S, S, S, S, R, S, R, S, R, S, S, R, R, R];
/// Plaintext from the address of a pod.
const PLAIN_POD: [Expected; 14] = [S, R, S, R, R, S, R, S, S, S, R, R, R, R];
/// Plaintext from the address of a node.
const PLAIN_NODE: [Expected; 14] = [S, R, S, R, R, S, R, R, S, S, R, R, R, R];
/// What is exempt from policy.
const EXEMPT: [Expected; 14] = [S; 14];
/// What no hook sees.
const UNSEEN: [Expected; 14] = [S, P, P, P, P, P, P, P, S, S, P, P, P, P];

/// Every way in.
#[rustfmt::skip]
pub(super) const WAYS: &[Way] = &[
    way("HBONE from another node", From::MemberElsewhere, To::V4, IDENTITY, ""),
    way("HBONE from another node, IPv6", From::MemberElsewhere, To::V6, IDENTITY, ""),
    way("HBONE from another node, v4-mapped", From::MemberElsewhere, To::Mapped, IDENTITY, "the wire has IPv4: ipBlocks compare that"),
    way("HBONE by the service VIP", From::MemberElsewhere, To::VipV4, IDENTITY, "ports of a policy are the pod's, not the service's"),
    way("HBONE by the service VIP, IPv6", From::MemberElsewhere, To::VipV6, IDENTITY, "as IPv4"),
    way("mesh pod of the same node", From::MemberBeside, To::V4, IDENTITY, "bytes go over HBONE there, too"),
    way("mesh pod of the same node, IPv6", From::MemberBeside, To::V6, IDENTITY, ""),
    way("mesh pod of the same node, VIP", From::MemberBeside, To::VipV4, IDENTITY, ""),
    way("container within a mesh pod", From::ContainerOfMember, To::V4, IDENTITY, "its cgroup is the pod's, so it is captured as the pod"),
    way("mesh pod to the second interface", From::MemberElsewhere, To::SecondV4, PLAIN_POD, "the mesh knows no workload at that address: it passes in plaintext"),
    way("mesh pod to a node port", From::MemberElsewhere, To::NodePort, PLAIN_NODE, "the mesh knows no workload at the node's address; the node sets its own"),
    way("plaintext, same node", From::Outsider, To::V4, PLAIN_POD, ""),
    way("plaintext, same node, IPv6", From::Outsider, To::V6, PLAIN_POD, ""),
    way("plaintext, same node, v4-mapped", From::Outsider, To::Mapped, PLAIN_POD, ""),
    way("plaintext of a known workload", From::Stranger, To::V4, PLAIN_POD, "its address leads to a workload with a member's account: no address is an identity"),
    way("plaintext of a known workload, IPv6", From::Stranger, To::V6, PLAIN_POD, "as IPv4"),
    way("plaintext by the service VIP", From::Stranger, To::VipV4, PLAIN_POD, "kube-proxy leaves the client's address in place for pods"),
    way("NodePort of the pod's node", From::Stranger, To::NodePort, PLAIN_NODE, "kube-proxy sets the node's address, which is exempt from nothing"),
    way("NodePort of the pod's node, IPv6", From::Stranger, To::NodePortV6, PLAIN_NODE, "as IPv4"),
    way("NodePort of another node", From::Outsider, To::NodePortElsewhere, PLAIN_NODE, "the same"),
    way("NodePort, client's address kept", From::Stranger, To::NodePortLocal, PLAIN_POD, "externalTrafficPolicy: Local"),
    way("hostNetwork, the pod's node", From::OwnNode, To::V4, PLAIN_NODE, "the kubelet's address, but not the kubelet"),
    way("hostNetwork, the pod's node, IPv6", From::OwnNode, To::V6, PLAIN_NODE, "as IPv4"),
    way("hostNetwork, the pod's node, v4-mapped", From::OwnNode, To::Mapped, PLAIN_NODE, "as IPv4"),
    way("hostNetwork, another node", From::OtherNode, To::V4, PLAIN_NODE, ""),
    way("outside the cluster", From::OutsideCluster, To::V4, PLAIN_NODE, ""),
    way("LoadBalancer, client's address kept", From::OutsideCluster, To::NodePortLocal, PLAIN_NODE, "what a load balancer sends to a node port"),
    way("second interface", From::OwnNode, To::SecondV4, PLAIN_NODE, "policy holds at whatever address of the pod's namespace"),
    way("second interface, IPv6", From::OwnNode, To::SecondV6, PLAIN_NODE, "as IPv4"),
    way("second interface, link-local", From::OwnNode, To::SecondLinkLocal, PLAIN_NODE, "as IPv4"),
    way("probe of the kubelet", From::Kubelet, To::V4, EXEMPT, "the kubelet's connection to a port that the pod's probes name"),
    way("probe of the kubelet, IPv6", From::Kubelet, To::V6, EXEMPT, "as IPv4"),
    way("probe with the host of another pod", From::Kubelet, To::UnnamedPort, PLAIN_NODE, "a port that the pod's own probes do not name: plaintext from the node"),
    way("the pod itself", From::Itself, To::V4, EXEMPT, "it never leaves the pod's namespace"),
    way("the pod itself by the service VIP", From::Itself, To::VipV4, EXEMPT, "its client could have dialled the pod's own address: there is nothing that policy could keep from it"),
    way("forwarded inwards by DNAT", From::Outsider, To::Published, UNSEEN, "no socket of the pod's namespace receives it, and no hook of the programs sees it"),
];

const fn way(name: &'static str, from: From, to: To, expected: [Expected; COLUMNS.len()], why: &'static str) -> Way {
    Way { name, why, from, to, expected }
}
