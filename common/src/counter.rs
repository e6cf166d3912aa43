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
    /// A connect of a captured pod goes to the agent.
    Redirected => "connect_redirected",
    /// Its namespace is not that of a captured pod.
    NotEnrolled => "connect_not_enrolled",
    /// Not TCP.
    NotTcp => "connect_not_tcp",
    /// The agent's own.
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
    /// The pod has no address of the destination's family: the kernel gives the native error.
    NoSourceAddress => "connect_without_source_address",
    /// The socket is bound to an address that is not the pod's.
    ForeignSource => "connect_from_foreign_source",
    /// The pod's address could not be bound, such as a tentative one.
    SourceUnavailable => "connect_source_unavailable",
    /// The socket is bound to a device, and its owner may not undo that.
    BoundToDevice => "connect_bound_to_device",
    /// Refused: no memory to remember the destination.
    NoMemory => "connect_refused_no_memory",
    /// A connection's address is on its way to the accepting side.
    FlowPublished => "flow_published",
    /// It could not be; the connection will be refused.
    FlowNotPublished => "flow_not_published",
    /// The accepted socket has it.
    FlowClaimed => "flow_claimed",
    /// The accepted socket could not get it.
    FlowNotClaimed => "flow_not_claimed",
    /// No room to note on which port an application listens: from now on, all ports seem open.
    ListeningOverflowed => "listening_overflowed",
    /// The connection ended before it was accepted.
    FlowAbandoned => "flow_abandoned",
    /// The kubelet connects to a captured pod: let through as it is.
    ProbeExpected => "probe_expected",
    /// It could not be noted; the connection will be handled like any plaintext.
    ProbeNotExpected => "probe_not_expected",
    /// A redirected connection reached the agent.
    SteeredOutbound => "lookup_steered_outbound",
    SteeredPlaintext => "lookup_steered_plaintext",
    SteeredHbone => "lookup_steered_hbone",
    /// Within the pod.
    LookupLoopback => "lookup_passed_loopback",
    /// To an address that is no captured pod's.
    LookupNotPod => "lookup_passed_not_pod",
    LookupExcludedPort => "lookup_passed_excluded_port",
    /// From the kubelet.
    LookupProbe => "lookup_passed_probe",
    /// No application listens on the port: refused as without capture.
    RefusedClosedPort => "lookup_refused_closed_port",
    /// No agent listens, and the pod is open without one.
    LookupWithoutAgent => "lookup_passed_without_agent",
    /// No agent listens.
    RefusedWithoutAgent => "lookup_refused_without_agent",
}

const _: () = {
    let mut i = 0;
    while i < Counter::ALL.len() {
        assert!(Counter::ALL[i] as usize == i);
        i += 1;
    }
};
