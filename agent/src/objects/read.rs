//! One YAML document to one object, or to the objects of a `List`.

use std::collections::BTreeMap;

use super::gateway_api::gateway;
use super::http_object::{HttpObject, WrittenHttpObject};
use super::kind::{Kind, Recognised, recognise};
use super::kubernetes::{endpoint_slice, pod, service};
use super::loaded::Loaded;
use super::metadata::{self, Metadata};
use super::networking::{mesh_config, service_entry_yaml, workload_entry};
use super::reading::yaml::{Node, Value};
use super::reading::{Fields, Problem, Report, SourceLocation, names};
use super::security::{self, PolicyTarget};
use super::store::{Body, RejectedPolicy, Stored, WrittenPolicy};

/// Stands for an absent `spec` or `metadata`.
static EMPTY: Node = Node { line: 1, value: Value::Map(Vec::new()) };

/// Name of the ConfigMap that holds the mesh's configuration.
const MESH_CONFIG_MAP: &str = "istio";

/// Reads a document into `loaded`. `first_line` is its line in the file.
pub(super) fn document(loaded: &mut Loaded, node: &Node, location: &SourceLocation, first_line: usize) {
    let report = Report::default();
    object(loaded, node, "", location, first_line, &report);
    if report.errors() > 0 {
        loaded.has_unnamed(&location.file);
    }
    file_findings(loaded, report, None, location, first_line);
}

/// Reads the object at `path`. Findings about what it is go to `outer`, those about its content are filed with its name.
fn object(loaded: &mut Loaded, node: &Node, path: &str, location: &SourceLocation, first_line: usize, outer: &Report) {
    let Some(mut fields) = Fields::of(node, path, outer) else { return };
    let api_version = fields.text("apiVersion").unwrap_or_default();
    let kind = fields.text("kind").unwrap_or_default();
    match recognise(&api_version, &kind) {
        Recognised::WrongVersion(kind, reason) => {
            known_object(loaded, node, path, kind, location, first_line, Some(reason));
        }
        _ if api_version.is_empty() || kind.is_empty() => fields.error("kind", "an object needs apiVersion and kind"),
        Recognised::Unknown(reason) => fields.error("kind", reason),
        Recognised::NotActedOn => fields.notice("kind", format!("{kind} objects are not acted on yet")),
        Recognised::ActedOn(kind) => known_object(loaded, node, path, kind, location, first_line, None),
        Recognised::ConfigMap => config_map(loaded, fields, location, first_line),
        Recognised::List if path.is_empty() => {
            for (at, item) in fields.items("items").iter().enumerate() {
                let location = SourceLocation { item: at, ..location.clone() };
                object(loaded, item.node, &item.path, &location, first_line, outer);
            }
        }
        Recognised::List => fields.error("kind", "a list within a list is not supported"),
    }
}

fn known_object(
    loaded: &mut Loaded,
    node: &Node,
    path: &str,
    kind: Kind,
    location: &SourceLocation,
    first_line: usize,
    wrong_version: Option<String>,
) {
    let report = Report::default();
    let Some(mut fields) = Fields::of(node, path, &report) else { return };
    fields.skip("apiVersion");
    if let Some(reason) = wrong_version {
        fields.error("apiVersion", reason);
    }
    fields.skip("kind");
    let head = fields.get("metadata").map_or(&EMPTY, |item| item.node);
    let errors = report.errors();
    let metadata = Fields::of(head, "metadata", &report).map(|head| metadata::read(head, kind)).unwrap_or_default();
    if report.errors() > errors {
        loaded.has_unnamed(&location.file);
    }
    let spec = fields.get("spec").map_or(&EMPTY, |item| item.node);
    let status = fields.get("status").map(|item| item.node);
    let body = if kind == Kind::EndpointSlice {
        Some(Body::EndpointSlice(Box::new(endpoint_slice::read(&mut fields))))
    } else {
        Fields::of(spec, "spec", &report).and_then(|fields| read_spec(fields, spec, status, kind, &metadata))
    };
    fields.finish();

    let object = kind.key(&metadata.namespace, &metadata.name).to_string();
    let rejected = file_findings(loaded, report, Some(&object), location, first_line);
    store(loaded, kind, metadata, location, body, rejected);
}

/// Reads `spec`, whose fields are `fields`.
fn read_spec(
    mut fields: Fields<'_>,
    spec: &Node,
    status: Option<&Node>,
    kind: Kind,
    metadata: &Metadata,
) -> Option<Body> {
    let report = fields.report();
    Some(match kind {
        Kind::MeshConfig => Body::MeshConfig(Box::new(mesh_config::read(fields))),
        Kind::Namespace => {
            // Its labels and annotations are inherited by what lives in it; its spec has no effect.
            fields.skip("finalizers");
            fields.finish();
            Body::Namespace
        }
        // A Node counts by its labels.
        Kind::Node => Body::Node,
        Kind::EndpointSlice => unreachable!("an EndpointSlice has no spec"),
        Kind::Gateway => Body::Gateway(Box::new(gateway::read(fields, status))),
        Kind::Service => Body::Service(Box::new(service::read(fields))),
        Kind::Pod => Body::Pod(Box::new(pod::read(fields, status))),
        Kind::ServiceEntry => {
            let allocated = status.and_then(|node| service_entry_yaml::allocated(node, report));
            Body::ServiceEntry(Box::new(service_entry_yaml::read(fields, allocated.unwrap_or_default(), metadata)))
        }
        Kind::WorkloadEntry => {
            let entry = workload_entry::read(fields, metadata);
            workload_entry::check(&entry, "spec", report);
            Body::WorkloadEntry(Box::new(entry))
        }
        Kind::AuthorizationPolicy => {
            let policy = security::yaml::authorization_policy(fields, metadata);
            Body::AuthorizationPolicy(Box::new(WrittenPolicy { policy, spec: spec.clone() }))
        }
        Kind::PeerAuthentication => Body::PeerAuthentication(Box::new(security::yaml::peer_authentication(fields))),
        Kind::VirtualService
        | Kind::DestinationRule
        | Kind::HttpRoute
        | Kind::GrpcRoute
        | Kind::Sidecar
        | Kind::Telemetry
        | Kind::RateLimit
        | Kind::RequestAuthentication => {
            let object = HttpObject::read(kind, fields, metadata)?;
            Body::Http(Box::new(WrittenHttpObject { object, spec: spec.clone() }))
        }
    })
}

/// Stores a valid object; of an invalid one its name, and the refusal that stands for a policy.
fn store(
    loaded: &mut Loaded,
    kind: Kind,
    mut metadata: Metadata,
    location: &SourceLocation,
    body: Option<Body>,
    rejected: Option<String>,
) {
    if rejected.is_some() && metadata.name.is_empty() {
        metadata.name = format!("unnamed-{}-{}", location.document, location.item);
    }
    if rejected.is_some() && metadata.namespace.is_empty() && !kind.is_cluster_scoped() {
        metadata.namespace = "default".to_owned();
    }
    let key = kind.key(&metadata.namespace, &metadata.name);
    let location = location.clone();
    match (rejected, body) {
        (None, Some(body)) => loaded.add(key, Stored { metadata, location, body }),
        // No pod is in a namespace of a name that none has: there is nothing that it could deny.
        _ if !kind.is_cluster_scoped() && names::label(&metadata.namespace).is_err() => {
            loaded.add_invalid(key, &location);
        }
        (reason, body) if kind.is_policy() => {
            // A policy for waypoints is not enforced at the workloads themselves: without it nothing here opens.
            let Some(selector) = refused_selector(body.as_ref()) else {
                return loaded.add_invalid(key, &location);
            };
            let reason = reason.unwrap_or_default();
            loaded.add(key, Stored { metadata, location, body: Body::Rejected(RejectedPolicy { selector, reason }) });
        }
        _ => loaded.add_invalid(key, &location),
    }
}

/// The labels of the workloads a policy was about, empty for its whole namespace; `None` if it was about no workload.
fn refused_selector(body: Option<&Body>) -> Option<BTreeMap<String, String>> {
    match body {
        Some(Body::AuthorizationPolicy(written)) => labels_of(&written.policy.target),
        Some(Body::Http(written)) => match &written.object {
            HttpObject::RequestAuthentication(authentication) => labels_of(&authentication.target),
            _ => Some(BTreeMap::new()),
        },
        Some(Body::PeerAuthentication(policy)) => Some(policy.selector.clone()),
        _ => Some(BTreeMap::new()),
    }
}

fn labels_of(target: &PolicyTarget) -> Option<BTreeMap<String, String>> {
    match target {
        PolicyTarget::Selector(labels) => Some(labels.clone()),
        PolicyTarget::Namespace => Some(BTreeMap::new()),
        PolicyTarget::Elsewhere => None,
    }
}

fn config_map(loaded: &mut Loaded, mut fields: Fields<'_>, location: &SourceLocation, first_line: usize) {
    let mut head = fields.fields("metadata");
    let [name, namespace] = ["name", "namespace"].map(|key| head.as_mut().and_then(|head| head.text(key)));
    let name = name.unwrap_or_default();
    let mesh = fields.fields("data").and_then(|mut data| data.get("mesh"));
    let (MESH_CONFIG_MAP, Some(mesh)) = (name.as_str(), mesh) else {
        return fields.notice("kind", "ConfigMap objects other than istio, with data.mesh, are not acted on");
    };
    // Whoever may write a ConfigMap of that name into a namespace of their own does not configure the mesh.
    if namespace.is_some_and(|namespace| namespace != mesh_config::DEFAULT_ROOT_NAMESPACE) {
        let reason = "the ConfigMap istio of istio-system, or one without a namespace, is the mesh configuration; this one is not";
        return fields.notice("metadata.namespace", reason);
    }
    let report = Report::default();
    let body = mesh_config::read_config_map(&mesh, &report).map(|config| Body::MeshConfig(Box::new(config)));
    let rejected = file_findings(loaded, report, Some("ConfigMap istio"), location, first_line);
    let metadata = Metadata { name, ..Metadata::default() };
    store(loaded, Kind::MeshConfig, metadata, location, body, rejected);
}

/// Turns findings into problems and notices; returns the first error, if there is one.
fn file_findings(
    loaded: &mut Loaded,
    report: Report,
    object: Option<&str>,
    location: &SourceLocation,
    first_line: usize,
) -> Option<String> {
    let first_error = report.first_error();
    for finding in report.into_findings() {
        let problem = Problem {
            file: location.file.clone(),
            document: location.document,
            line: (finding.line > 0).then(|| first_line + finding.line - 1),
            object: object.map(str::to_owned),
            field: finding.field,
            reason: finding.reason,
        };
        if finding.rejects { loaded.problems.push(problem) } else { loaded.notices.push(problem) }
    }
    first_error
}
