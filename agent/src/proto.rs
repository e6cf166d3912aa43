//! Wire types, generated from `proto/` at build time. They stay at the doors (`xds`, `control_plane`, `tls::ca`,
//! `enrollment`): everything inside speaks `model`.
#![allow(
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    elided_lifetimes_in_paths,
    clippy::all,
    clippy::wildcard_imports,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]

/// `envoy.*`: delta discovery.
pub mod envoy {
    pub mod config {
        pub mod core {
            pub mod v3 {
                tonic::include_proto!("envoy.config.core.v3");
            }
        }
    }
    pub mod service {
        pub mod discovery {
            pub mod v3 {
                tonic::include_proto!("envoy.service.discovery.v3");
            }
        }
    }
}

/// `google.rpc`: the status in a NACK.
pub mod google {
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

/// `istio.*`: the workload API, L4 authorization, the mesh-wide configuration, and the certificate service.
pub mod istio {
    pub mod workload {
        tonic::include_proto!("istio.workload");
    }
    pub mod security {
        tonic::include_proto!("istio.security");

        pub mod v1beta1 {
            tonic::include_proto!("istio.security.v1beta1");
        }
    }
    pub mod r#type {
        pub mod v1beta1 {
            tonic::include_proto!("istio.r#type.v1beta1");
        }
    }
    pub mod mesh {
        pub mod v1alpha1 {
            tonic::include_proto!("istio.mesh.v1alpha1");
        }
    }
    pub mod mcp {
        pub mod v1alpha1 {
            tonic::include_proto!("istio.mcp.v1alpha1");
        }
    }
    pub mod v1 {
        pub mod auth {
            tonic::include_proto!("istio.v1.auth");
        }
    }
}

/// `weir.enrollment.v1`: the agent's own API.
pub mod enrollment {
    tonic::include_proto!("weir.enrollment.v1");
}

/// Type URL of workloads and services.
pub const ADDRESS_TYPE_URL: &str = "type.googleapis.com/istio.workload.Address";
/// Type URL of L4 authorization policies.
pub const AUTHORIZATION_TYPE_URL: &str = "type.googleapis.com/istio.security.Authorization";
/// Type URL of the mesh-wide configuration on a discovery stream.
pub const MESH_CONFIG_TYPE_URL: &str = "core/v1alpha1/MeshConfig";
/// Type URL of the message that carries the mesh-wide configuration.
pub const MESH_CONFIG_BODY_TYPE_URL: &str = "type.googleapis.com/istio.mesh.v1alpha1.MeshConfig";
/// Type URL of the envelope in which Istio objects travel.
pub const ENVELOPE_TYPE_URL: &str = "type.googleapis.com/istio.mcp.v1alpha1.Resource";
