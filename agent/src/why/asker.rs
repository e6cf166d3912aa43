//! Who asks, and what there is to ask: everything that an answer depends on, as it is at one moment.

use std::sync::Arc;

use crate::model::authorization::{AccessRequest, Permit};
use crate::model::http::config::HttpConfig;
use crate::model::http::head::RequestHead;
use crate::model::http::visibility::SourceView;
use crate::model::identity::Identity;
use crate::model::mesh::Mesh;
use crate::model::peer_authentication::Labels;
use crate::model::service::ServiceKey;
use crate::model::workload::Workload;
use crate::proxy::SeenOfEndpoint;

/// What is known here of what a workload would make of a connection, or of a request on it.
#[derive(Debug, Clone, Default)]
pub struct AtDestination {
    /// What policy says: a permit, or why there is none. `None` where it is no pod of this node.
    pub decided: Option<Result<Permit, String>>,
    /// What becomes of the request's token; `None` where nobody looks at tokens.
    pub token: Option<String>,
    /// Who is asked about requests, and by which policy.
    pub authorizers: Vec<String>,
}

/// Says it of a connection to a workload.
type TellOfDestination<'a> = &'a dyn Fn(&Workload, &AccessRequest, Option<&RequestHead>) -> AtDestination;

/// The pod that asks, and what its agent decides with.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// Its name.
    pub pod: &'a str,
    /// Its labels, as they are now.
    pub labels: &'a Labels,
    /// What its peers verify.
    pub identity: &'a Identity,
    /// The pod as a workload.
    pub source: &'a Workload,
    /// Whether the mesh knows it as one.
    pub is_known: bool,
    pub mesh: &'a Mesh,
    pub config: &'a HttpConfig,
    /// What this node has seen of an endpoint, by its uid.
    pub seen: &'a dyn Fn(&Arc<str>, &ServiceKey, u16) -> SeenOfEndpoint,
    pub at_destination: TellOfDestination<'a>,
    /// The labels of a workload that is a pod of this node.
    pub labels_of: &'a dyn Fn(&Workload) -> Option<Labels>,
    /// The request as the destination gets it; `None` where that is not known, or it is none of HTTP.
    pub request: Option<&'a RequestHead>,
}

/// What is added where a policy decides whose status, as istiod writes it, is about an L4 form that is not in force here.
#[must_use]
pub fn as_written(mesh: &Mesh, policy: &str) -> &'static str {
    if mesh.is_enforced_as_written(policy) {
        "; it is enforced as it is written, whatever its status says of ztunnel and waypoints"
    } else {
        ""
    }
}

impl Asker<'_> {
    /// What routes and policies of destinations depend on of the pod.
    pub(super) fn view(&self) -> SourceView<'_> {
        SourceView { namespace: &self.source.namespace, labels: self.labels }
    }
}
