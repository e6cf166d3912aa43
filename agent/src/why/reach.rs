//! Whether the pod may reach what it dials, and whom a request is for that it sends to an address of no service, as the data path
//! decides both.

use std::sync::Arc;

use super::asker::Asker;
use crate::model::address::OriginalDst;
use crate::model::http::head::RequestHead;
use crate::model::http::plan::Planner;
use crate::model::http::served::HttpWish;
use crate::model::mesh::OutboundTrafficPolicy;
use crate::model::resolve::{Unresolved, Upstream};
use crate::model::service::Service;

/// What a pod may reach.
pub(super) struct Reach {
    policy: OutboundTrafficPolicy,
    /// The service that it dialled, where that is hidden from it: its `Sidecar` does not import it.
    hidden: Option<String>,
}

/// Whom a request to an address is for that the mesh does not know, or that is hidden from the pod.
pub(super) enum Elsewhere {
    /// The service that its host names.
    Service(Arc<Service>),
    /// Nobody that the pod may reach.
    Blocked,
}

impl Reach {
    pub(super) fn of(asker: &Asker<'_>, dialled: OriginalDst) -> Self {
        let Asker { mesh, config, source, .. } = asker;
        let own = config.outbound_traffic_policy(asker.view());
        let policy = own.unwrap_or(mesh.settings().outbound_traffic_policy);
        let is_hidden = |service: &&Arc<Service>| {
            policy == OutboundTrafficPolicy::RegistryOnly
                && !config.is_imported(asker.view(), &service.key, dialled.0.port())
        };
        let hidden = mesh.service_at(source, dialled).filter(is_hidden).map(|service| service.key.to_string());
        Self { policy, hidden }
    }

    /// Whom a request to the address is for; `None` where that is not decided by its host, or where it goes to the address.
    pub(super) fn elsewhere(&self, asker: &Asker<'_>, head: &RequestHead, dialled: OriginalDst) -> Option<Elsewhere> {
        let Asker { mesh, config, source, labels, .. } = asker;
        let port = dialled.0.port();
        let may_carry_http = match self.policy {
            OutboundTrafficPolicy::AllowAny => mesh.is_host_port(port),
            OutboundTrafficPolicy::RegistryOnly => mesh.is_http_port(port),
        };
        let is_elsewhere = self.hidden.is_some() || mesh.is_unknown(source, dialled);
        if !may_carry_http || HttpWish::of(labels) == HttpWish::Off || !is_elsewhere {
            return None;
        }
        let planner = Planner { mesh, config, source: asker.view(), dialled_port: port };
        match planner.service_of_host(self.policy, head) {
            Some(service) => Some(Elsewhere::Service(service.clone())),
            None if self.policy == OutboundTrafficPolicy::RegistryOnly => Some(Elsewhere::Blocked),
            None => None,
        }
    }

    /// Where a connection goes, and how.
    pub(super) fn resolve(&self, asker: &Asker<'_>, dialled: OriginalDst) -> Result<Upstream, Unresolved> {
        if self.hidden.is_some() {
            return Err(Unresolved::RegistryOnly);
        }
        asker.mesh.resolve_under(self.policy, asker.source, dialled, || 0)
    }

    /// Whose address it is.
    pub(super) fn whose(&self) -> String {
        match &self.hidden {
            Some(service) => format!("the address is that of {service}, which is hidden from the pod"),
            None => "the mesh does not know the address".to_owned(),
        }
    }

    /// Why the pod may not reach it.
    pub(super) fn refusal(&self, asker: &Asker<'_>) -> String {
        let sidecar = asker.config.sidecar(asker.view()).map(|name| format!("Sidecar {name}"));
        let says = match (&sidecar, asker.config.outbound_traffic_policy(asker.view())) {
            (Some(sidecar), Some(_)) => sidecar.as_str(),
            _ => "MeshConfig",
        };
        let why = match &self.hidden {
            Some(service) => {
                let sidecar = sidecar.as_deref().unwrap_or("no Sidecar");
                format!("{sidecar} does not import {service} (egress)")
            }
            None => "no service of the mesh has the address".to_owned(),
        };
        format!("{why}, and {says} has the outboundTrafficPolicy REGISTRY_ONLY")
    }
}
