//! A Sidecar to the scope of the pods that it is for.

use crate::model::http::scope::{Import, ImportedNamespace, SidecarScope};
use crate::model::http::visibility::HostPattern;
use crate::objects::{EgressHost, EgressListener, Metadata, Sidecar};

/// Compiles a Sidecar.
pub(super) fn scope(metadata: &Metadata, sidecar: &Sidecar) -> SidecarScope {
    SidecarScope {
        namespace: metadata.namespace.as_str().into(),
        name: metadata.name.as_str().into(),
        selector: sidecar.selector.clone(),
        imports: sidecar.egress.iter().flat_map(imports).collect(),
        outbound_traffic_policy: sidecar.outbound_traffic_policy,
    }
}

fn imports(listener: &EgressListener) -> impl Iterator<Item = Import> {
    let import = |host: &EgressHost| Import {
        namespace: match host.namespace.as_str() {
            "*" => ImportedNamespace::Any,
            "." => ImportedNamespace::Own,
            name => ImportedNamespace::Named(name.into()),
        },
        host: HostPattern::parse(&host.host),
        port: listener.port,
        excludes: host.excludes,
    };
    listener.hosts.iter().map(import)
}
