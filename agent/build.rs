//! Generates the wire types from `proto/` (no protoc needed) and builds the kernel programs that the agent embeds.

#[path = "build/kernel_programs.rs"]
mod kernel_programs;

use std::path::Path;

const PROTOS: &[&str] = &[
    "envoy/service/discovery/v3/discovery.proto",
    "envoy/service/ratelimit/v3/rls.proto",
    "envoy/service/auth/v3/external_auth.proto",
    "istio/workload/workload.proto",
    "istio/security/authorization.proto",
    "istio/security/v1beta1/authorization_policy.proto",
    "istio/security/v1beta1/peer_authentication.proto",
    "istio/v1/auth/ca.proto",
    "istio/mesh/v1alpha1/config.proto",
    "istio/mesh/v1alpha1/resource.proto",
    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
    "weir/enrollment/v1/enrollment.proto",
];

/// Messages that are read by their descriptors: those of objects that one reader serves, in files and on the wire.
const OBJECT_PROTOS: &[&str] = &[
    "istio/networking/v1alpha3/virtual_service.proto",
    "istio/networking/v1alpha3/destination_rule.proto",
    "istio/networking/v1alpha3/sidecar.proto",
    "istio/mesh/v1alpha1/default_traffic_policy.proto",
    "istio/telemetry/v1alpha1/telemetry.proto",
    "istio/security/v1beta1/authorization_policy.proto",
    "istio/security/v1beta1/request_authentication.proto",
];

const SERIALIZE: &str = "#[derive(serde::Serialize)] #[serde(rename_all = \"camelCase\")]";

fn main() -> anyhow::Result<()> {
    generate_wire_types(Path::new("../proto"))?;
    write_object_descriptors(Path::new("../proto"))?;
    kernel_programs::build(Path::new(".."))
}

fn generate_wire_types(root: &Path) -> anyhow::Result<()> {
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(PROTOS.iter().map(|p| root.join(p)), [root])?;
    tonic_prost_build::configure()
        .bytes(".istio.workload.Workload.addresses")
        .btree_map(".istio.workload.Workload.services")
        .btree_map(".istio.mesh.v1alpha1.MeshConfig.LocalityLoadBalancerSetting.Distribute.to")
        .btree_map(".istio.mesh.v1alpha1.Tracing.custom_tags")
        .btree_map(
            ".istio.mesh.v1alpha1.MeshConfig.ExtensionProvider.EnvoyExternalAuthorizationHttpProvider.include_additional_headers_in_check",
        )
        // For people who ask what the agent holds: in the shape that the objects have in files.
        .type_attribute(".istio.security.v1beta1", SERIALIZE)
        .type_attribute(".istio.type.v1beta1", SERIALIZE)
        .field_attribute("AuthorizationPolicy.action", "#[serde(serialize_with = \"crate::proto::action_name\")]")
        .field_attribute("AuthorizationPolicy.action_detail", "#[serde(flatten)]")
        .field_attribute("MutualTLS.mode", "#[serde(serialize_with = \"crate::proto::mtls_mode_name\")]")
        .compile_fds(descriptors)?;
    Ok(())
}

fn write_object_descriptors(root: &Path) -> anyhow::Result<()> {
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).open_files(OBJECT_PROTOS.iter().map(|proto| root.join(proto)))?;
    let out = Path::new(&std::env::var("OUT_DIR")?).join("object_descriptors.bin");
    std::fs::write(out, compiler.encode_file_descriptor_set())?;
    Ok(())
}
