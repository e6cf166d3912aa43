//! The data path of enrolled pods: outbound connections, inbound ones, and how their bytes move.
//!
//! It resolves destinations in the mesh, asks policy for permits, and moves bytes; it decides nothing about policy by
//! itself. HBONE, which most of its connections travel on, has a room of its own.

mod already_read;
mod budget;
mod certificates;
mod client;
pub mod connector;

mod direct {
    //! Connections between two pods of this node that never come to the agent: it says which may begin, ends those that may not go on,
    //! and tells of them as of its own.

    mod counting;
    mod decide;
    mod lossy;
    mod path;
    mod records;
    mod suggestions;
    mod table;
    mod vouched;
    mod watch;

    pub(super) use self::suggestions::Suggestions;
    pub(super) use self::watch::{Sources, keep};
}

mod found_by;
mod hbone_probes;
mod heartbeat;

mod http {
    //! What both ends of a request have in common.

    mod answer;
    mod first_bytes;

    pub(super) use self::answer::{Answer, flag_of, refuse};
    pub(super) use self::first_bytes::FirstBytes;
}

mod inbound {
    //! Connections to a pod: HBONE from peers, plaintext from everybody else. Each is admitted by policy, then joined with
    //! the pod's application, or served request by request.

    mod admission;
    mod authentication;
    mod beside;
    mod client;
    mod connection;
    mod error;
    mod foreseen;
    mod hbone;

    mod http {
        //! Connections to a pod whose requests policy decides about: each is parsed and judged, and reaches the application as it
        //! was judged.

        mod application;
        mod authenticate;
        mod connection;
        mod content;
        mod decide;
        mod downstream;
        mod external;
        mod forward;
        mod global_limit;
        mod limit;
        mod opening;
        mod request;
        mod serve;
        mod streams;
        mod watcher;

        pub(super) use self::authenticate::{Authenticated, foresee};
        pub(super) use self::downstream::{HttpDownstream, serve};
        pub(super) use self::streams::RequestStreams;
    }

    mod peers;
    mod plaintext;
    mod request;
    mod spliced;

    pub(super) use self::admission::{allows_unasked, still_allows};
    pub(super) use self::authentication::PodAuthenticator;
    pub(super) use self::beside::serve_link;
    pub(super) use self::connection::direct_ends;
    pub use self::foreseen::ForeseenRequest;
    pub(super) use self::hbone::serve as serve_hbone;
    pub(super) use self::peers::{AuthenticatedPeer, InboundPeers};
    pub(super) use self::plaintext::serve as serve_plaintext;
}

mod late_plaintext;
mod listener;
mod node;
mod origin;

mod outbound {
    //! A pod's own connections: from the address that the application dialled to an upstream, over HBONE or in plaintext.

    mod bytes;
    mod candidate;
    mod direct;
    mod error;
    mod happy_eyeballs;

    mod http {
        //! A pod's connections that carry HTTP: each request takes its own route to an endpoint, over connections that requests
        //! share.

        mod agent_request;
        mod balancing;
        mod breakers;
        mod changes;
        mod choose;
        mod connection;
        mod downstream;
        mod endpoints;
        mod failure;
        mod forward;
        mod grpc_call;
        mod io;
        mod mirror;
        mod plan;
        mod port;
        mod request;
        mod serve;
        mod streams;
        mod upstream;
        mod watcher;
        mod whole_request;

        pub(in crate::proxy) use self::agent_request::{AgentRequest, AgentRequestError};
        pub(in crate::proxy) use self::balancing::{Turns, Warmups};
        pub(in crate::proxy) use self::breakers::Breakers;
        pub(super) use self::downstream::serve_connection;
        pub use self::endpoints::SeenOfEndpoint;
        pub(in crate::proxy) use self::endpoints::{Endpoints, PodEndpoints};
        pub(in crate::proxy) use self::grpc_call::{GrpcCall, GrpcCallError};
        pub(super) use self::io::UpstreamIo;
        pub(in crate::proxy) use self::io::{HttpPool, sweep};
        pub(super) use self::port::{HttpPort, Opened};
    }

    mod names {
        //! Addresses of endpoints that only have a name (`resolution: DNS`, `DYNAMIC_DNS`).
        //!
        //! Names are looked up in `/etc/hosts` and in DNS, and what came of it is used for its TTL, within bounds. All connections to a
        //! name share one lookup, and only so many run at once: in all, and of one pod. Each pod has one lookup that no other can take
        //! ([`PodLookups`]). Whoever waits too long for an answer, or gets a failure, goes by the last good one: DNS servers that are
        //! silent for some names, which others ask for, stop no name that was known.
        //!
        //! A pod that was enrolled with a resolver configuration of its own has its own servers asked, and what they answer counts for
        //! it alone. All other pods share what the agent's servers answer for names of the mesh.

        mod answer;
        mod cache;
        mod configuration;
        mod pod_configuration;
        mod resolver;
        mod system_files;

        pub(in crate::proxy) use self::answer::LookupError;
        pub(in crate::proxy) use self::cache::{Names, PodLookups};
    }

    mod own_tls;
    mod reach;
    mod tcp;
    mod undeclared;
    mod upstream;

    pub(super) use self::direct::untouched_upstreams;
    pub use self::http::SeenOfEndpoint;
    pub(super) use self::http::{AgentRequest, AgentRequestError, GrpcCall, GrpcCallError};
    pub(super) use self::http::{Breakers, Endpoints, HttpPool, PodEndpoints, Turns, Warmups, sweep};
    pub(super) use self::names::{Names, PodLookups};
    pub(super) use self::tcp::serve;
}

mod peer_trust;
mod pod;
mod pod_policies;
mod rate_limits;
mod revocation;

mod same_node {
    //! Requests between two pods of this node, which never leave the process: handed over as they were read, or as the bytes of a
    //! connection.

    mod hand_over;
    mod join;
    mod links;
    mod neighbours;
    mod open;
    mod pipe;
    mod request;

    pub(super) use self::join::join;
    pub(super) use self::links::{LinkServer, Links, NotAdmitted, ServesRequest};
    pub(super) use self::neighbours::{Ends, Neighbours};
    pub(super) use self::pipe::PipeEnd;
    pub(super) use self::request::{OpenedBeside, PipeRequest};
}

mod serve;
mod splice;
mod tokens;
pub mod workers;

pub use self::inbound::ForeseenRequest;
pub use self::late_plaintext::LatePlaintext;
pub use self::node::{DirectSetting, NodeInfo, Proxy, ProxyParts, Timeouts};
pub use self::outbound::SeenOfEndpoint;
pub use self::revocation::as_destination;
pub use crate::hbone::PoolOptions;
