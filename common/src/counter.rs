//! What the kernel programs count: every verdict, and every reason not to capture.

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)+) => {
        /// Index of a count, one per verdict and reason.
        #[repr(u32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Counter {
            $($(#[$doc])* $variant,)+
        }

        impl Counter {
            /// All counters in the order of their indices.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name under which the count is shown; stable.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

counters! {
    /// A connect of a captured pod was redirected to the agent.
    Redirected => "connect_redirected",
    /// A connect of a socket in another namespace than a captured pod's, but of the pod's cgroup, goes to the pod's agent.
    RedirectedInner => "connect_redirected_inner",
    /// A connect of a captured pod goes directly to a captured pod of the same node.
    Direct => "connect_direct",
    /// Neither the socket's network namespace nor its cgroup is a captured pod's.
    NotEnrolled => "connect_not_enrolled",
    /// Not TCP.
    NotTcp => "connect_not_tcp",
    /// A connect of the agent itself.
    OfAgent => "connect_of_agent",
    ToLoopback => "connect_to_loopback",
    ToUnspecified => "connect_to_unspecified",
    ToLinkLocal => "connect_to_link_local",
    ToMulticast => "connect_to_multicast",
    ToBroadcast => "connect_to_broadcast",
    /// To an address of the same pod.
    ToOwnAddress => "connect_to_own_address",
    ToExcludedCidr => "connect_to_excluded_cidr",
    ToExcludedPort => "connect_to_excluded_port",
    /// Uncapturable: the pod has no address of the destination's family.
    NoSourceAddress => "connect_without_source_address",
    /// Uncapturable: the socket is bound to an address that the pod was not enrolled with, such as that of a second interface.
    ForeignSource => "connect_from_foreign_source",
    /// Uncapturable: the pod's address could not be bound, such as a tentative one.
    SourceUnavailable => "connect_source_unavailable",
    /// Uncapturable: the socket is bound to another device (`SO_BINDTODEVICE`) than that of the pod's addresses, or the process
    /// may not unbind it.
    BoundToDevice => "connect_bound_to_device",
    /// Refused: no memory for the original destination.
    NoMemory => "connect_refused_no_memory",
    /// The address of a connection was published under its flow.
    FlowPublished => "flow_published",
    /// The address could not be published; the connection will be refused.
    FlowNotPublished => "flow_not_published",
    /// The accepted socket has claimed the address.
    FlowClaimed => "flow_claimed",
    /// The accepted socket could not claim the address.
    FlowNotClaimed => "flow_not_claimed",
    /// A port found no room in the map of listening ports: until the agent has swept, all ports of that pod count as open.
    ListeningOverflowed => "listening_overflowed",
    /// The connection ended before it was accepted.
    FlowAbandoned => "flow_abandoned",
    /// The kubelet connects to a captured pod: the connection will bypass capture.
    ProbeExpected => "probe_expected",
    /// The kubelet connects to a port of a captured pod that no probe or hook of that pod names; handled as plaintext.
    ProbePortNotNamed => "probe_port_not_named",
    /// The probe's 4-tuple could not be stored; the connection is handled as plaintext.
    ProbeNotExpected => "probe_not_expected",
    /// A redirected connection reached the agent.
    SteeredOutbound => "lookup_steered_outbound",
    SteeredPlaintext => "lookup_steered_plaintext",
    SteeredHbone => "lookup_steered_hbone",
    /// A connection over the pod's loopback.
    LookupLoopback => "lookup_passed_loopback",
    /// The namespace is no captured pod's any more.
    LookupNotPod => "lookup_passed_not_pod",
    LookupExcludedPort => "lookup_passed_excluded_port",
    /// A probe of the kubelet.
    LookupProbe => "lookup_passed_probe",
    /// A direct connection of a pod of the same node.
    LookupDirect => "lookup_passed_direct",
    /// A direct connection that is no longer permitted.
    RefusedDirect => "lookup_refused_direct",
    /// A direct connection was cut off before it carried anything: it did not lead to whom it was permitted to, or was no longer permitted.
    DirectCut => "direct_cut_off",
    /// No application listens on the port: refused as without capture.
    RefusedClosedPort => "lookup_refused_closed_port",
    /// The mesh has no endpoint for the destination, or not that port of it: refused as by kube-proxy.
    RefusedService => "lookup_refused_service",
    /// The mesh does not know the destination, and says that such are refused.
    RefusedNotInRegistry => "lookup_refused_not_in_registry",
    /// The destination is a pod of this node that does not listen on the port.
    RefusedPodPort => "lookup_refused_pod_port",
    /// No agent listens: passed to the application, as configured for the pod.
    LookupWithoutAgent => "lookup_passed_without_agent",
    /// No agent listens: refused, as configured for the pod.
    RefusedWithoutAgent => "lookup_refused_without_agent",
}

const _: () = {
    let mut i = 0;
    while i < Counter::ALL.len() {
        assert!(Counter::ALL[i] as usize == i);
        i += 1;
    }
};
