//! What leaves the crate: the names that the `weir` binary, the fuzz targets, the benches and the tests in `agent/tests` use.
//!
//! Every other module is private, so that the compiler finds what nothing uses any more. Each module here is named after the
//! one whose items it passes on.

/// For the binary: the two roles of the agent, and the control plane.
pub mod app {
    pub use crate::app::{run_agent, run_control_plane, supervise_agent};
}

/// For the fuzz targets: replies of sock_diag.
pub mod capture {
    pub mod listening {
        pub use crate::capture::listening::read_answer;
    }
}

/// For the binary: the commands that talk to a running agent.
pub mod cli {
    pub use crate::cli::{
        EnrollArgs, PlaintextArgs, PodsArgs, StatusArgs, UnenrollArgs, UninstallArgs, WhyArgs, enroll, plaintext, pods,
        status, unenroll, uninstall, why,
    };
}

/// For the binary: the agent's settings.
pub mod config {
    pub use crate::config::{AgentConfig, LogFormat};
}

/// For tests that run a control plane or a CA and connect to it.
pub mod control_channel {
    pub use crate::control_channel::{ControlAddress, ControlHeaders, GrpcIssuer, OwnServices, RootSource, channel};

    pub mod listener {
        pub use crate::control_channel::listener::{ServerIdentity, incoming};
    }
}

/// The control plane, whole and in parts.
pub mod control_plane {
    pub use crate::control_plane::{
        ControlPlane, ControlPlaneConfig, Counters, FileSource, FileSourceOptions, Snapshot,
    };

    pub mod authority {
        pub use crate::control_plane::authority::Authority;
    }

    pub mod translate {
        pub use crate::control_plane::translate::{Options, VipAllocations, translate};
    }
}

/// For the fuzz targets and benches of HBONE.
pub mod hbone {
    #[cfg(fuzzing)]
    pub use crate::hbone::fuzzed;
    pub use crate::hbone::{Authority, client_of, forwarded, parse_authority, service_of};
}

/// For the fuzz targets of header blocks, and of messages that go from one version of HTTP to the other.
#[cfg(fuzzing)]
pub mod h2 {
    pub use crate::h2::fuzzed;
}

/// For the fuzz targets of HTTP/1.
#[cfg(fuzzing)]
pub mod http {
    pub use crate::http::h1::fuzzed;
}

/// For the fuzz target and the bench of tokens.
pub mod jwt {
    pub use crate::jwt::{KeySet, Token, TokenDigest, base64url};
}

/// For tests that run an xDS client.
pub mod lifecycle {
    pub use crate::lifecycle::Ready;
}

/// For benches, tests and fuzz targets of decisions.
pub mod model {
    pub mod address {
        pub use crate::model::address::OriginalDst;
    }

    pub mod authorization {
        pub use crate::model::authorization::{
            AccessRequest, Admission, ClaimValue, Claims, Destination, HttpRequest, RequestDenied,
        };
    }

    pub mod http {
        pub use crate::model::http::config::HttpConfig;
        pub use crate::model::http::field_changes::FieldChanges;
        pub use crate::model::http::head::RequestHead;
        pub use crate::model::http::objects::{HttpObjects, PathNormalization, RouteObject};
        pub use crate::model::http::pattern::Pattern;
        pub use crate::model::http::route::{
            Action, Applicability, Cluster, Destination, Forward, Origin, OriginKind, PathMatch, RequestMatch, Route,
            Rule, Semantics, Target,
        };
        pub use crate::model::http::service_routes::ServiceRoutes;
        pub use crate::model::http::visibility::{ExportTo, HostPattern, SourceView};
    }

    pub mod identity {
        pub use crate::model::identity::{Identity, TrustDomain};
    }

    pub mod mesh {
        pub use crate::model::mesh::{Mesh, MeshSettings, OutboundTrafficPolicy};
    }

    pub mod peer_authentication {
        pub use crate::model::peer_authentication::Labels;
    }

    pub mod rate_limit {
        pub use crate::model::rate_limit::config::CountingLimit;
        pub use crate::model::rate_limit::objects::{
            CountedBy, LimitResponse, LimitRule, LimitTarget, Measure, RateLimitObject,
        };
        pub use crate::model::rate_limit::{LimitStates, LimitedRequest, Moment, NodeStates, Rate};
    }

    pub mod service {
        pub use crate::model::service::ServiceKey;
    }

    pub mod workload {
        pub use crate::model::workload::Workload;
    }
}

/// For the fuzz targets of objects.
pub mod objects {
    pub use crate::objects::{Loaded, Objects};
}

/// For tests and benches that speak xDS themselves: the generated wire types.
pub mod proto {
    pub use crate::proto::{envoy, istio};
}

/// Resources as they travel by xDS.
pub mod resources {
    pub use crate::resources::{
        ADDRESS_TYPE_URL, AUTHORIZATION_TYPE_URL, MESH_CONFIG_TYPE_URL, ObjectKind, Resource, ResourceSet, ResourceType,
    };
}

/// The mesh that an xDS client fills.
pub mod state {
    pub use crate::state::SharedMesh;
}

/// For the binary: whether this process is the worker.
pub mod supervisor {
    pub use crate::supervisor::SupervisorLink;
}

/// For tests that count.
pub mod telemetry {
    pub mod metrics {
        pub use crate::telemetry::metrics::Metrics;
    }
}

/// For tests of certificates and benches of the record layer.
pub mod tls {
    pub mod ca {
        pub use crate::tls::ca::{IssueError, Issuer};
    }

    pub mod certificates {
        pub use crate::tls::certificates::{CertificateOptions, CertificateSource, Certificates};
    }

    pub mod handshake {
        pub use crate::tls::handshake::{TrustedDomains, accept, connect};
    }

    pub mod records {
        pub use crate::tls::records::{HEADER_BYTES, Opened, RecordLayer, TRAILER_BYTES, body_length};
    }
}

/// The xDS client.
pub mod xds {
    pub use crate::resources::WantedObjects;
    pub use crate::xds::{ConfigReceiver, NodeDescription, XdsOptions, XdsStatus, decode_address, run};
}
