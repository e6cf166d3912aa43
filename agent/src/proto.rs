//! Wire types, generated from `proto/` at build time. Only what reads from a wire or writes to one names them: `xds`,
//! `control_plane`, `control_channel`, `otlp`, the enrolment API, and in `objects` the files `protobuf.rs`. Everything else speaks
//! `model`.
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

use serde::Serializer;

/// `envoy.*`: delta discovery, external authorization, and the rate limit service.
pub mod envoy {
    pub mod config {
        pub mod core {
            pub mod v3 {
                tonic::include_proto!("envoy.config.core.v3");
            }
        }
    }
    pub mod r#type {
        pub mod v3 {
            tonic::include_proto!("envoy.r#type.v3");
        }
    }
    pub mod service {
        pub mod auth {
            pub mod v3 {
                tonic::include_proto!("envoy.service.auth.v3");
            }
        }
        pub mod discovery {
            pub mod v3 {
                tonic::include_proto!("envoy.service.discovery.v3");
            }
        }
        pub mod ratelimit {
            pub mod v3 {
                tonic::include_proto!("envoy.service.ratelimit.v3");
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

/// `opentelemetry.proto`: spans.
pub mod opentelemetry {
    pub mod proto {
        pub mod collector {
            pub mod trace {
                pub mod v1 {
                    tonic::include_proto!("opentelemetry.proto.collector.trace.v1");
                }
            }
        }
        pub mod common {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.common.v1");
            }
        }
        pub mod resource {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.resource.v1");
            }
        }
        pub mod trace {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.trace.v1");
            }
        }
    }
}

/// `weir.enrollment.v1`: the agent's own API.
pub mod enrollment {
    tonic::include_proto!("weir.enrollment.v1");
}

/// An action by its name, as files have it.
fn action_name<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    use istio::security::v1beta1::authorization_policy::Action;
    name(Action::try_from(*value).map(|action| action.as_str_name()), *value, serializer)
}

/// A mode by its name, as files have it.
fn mtls_mode_name<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    use istio::security::v1beta1::peer_authentication::mutual_tls::Mode;
    name(Mode::try_from(*value).map(|mode| mode.as_str_name()), *value, serializer)
}

fn name<S: Serializer, E>(name: Result<&str, E>, value: i32, serializer: S) -> Result<S::Ok, S::Error> {
    match name {
        Ok(name) => serializer.serialize_str(name),
        Err(_) => serializer.serialize_i32(value),
    }
}
