//! Which address a host in a URL means to a pod: what its resolver would say, by what the mesh knows.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::question::Host;
use crate::model::mesh::Mesh;
use crate::model::service::{Service, Vip};
use crate::model::workload::Workload;

/// An address, and how a host came to it.
pub(super) struct Found {
    pub(super) address: Option<SocketAddr>,
    pub(super) because: String,
    /// The service that the name is of.
    pub(super) service: Option<Arc<Service>>,
}

/// The address of a host and a port, as a pod of `source`'s namespace has it.
pub(super) fn address_of(mesh: &Mesh, source: &Workload, host: &Host, port: u16) -> Found {
    let name = match host {
        Host::Address(ip) => {
            let address = Some(SocketAddr::new(ip.to_canonical(), port));
            return Found { address, because: "the URL has this address".to_owned(), service: None };
        }
        Host::Name(name) => name,
    };
    let Some(service) = service_named(mesh, source, name) else {
        let because = format!(
            "no service that namespace {} sees has the name {name}, in its short or full form: the resolver of the pod decides",
            source.namespace
        );
        return Found { address: None, because, service: None };
    };
    let (full, text) = (&service.key.hostname, |ip: IpAddr, how: &str| Found {
        address: Some(SocketAddr::new(ip, port)),
        because: format!("{name} is {}{how}", service.key.hostname),
        service: Some(service.clone()),
    });
    if let Some(vip) = own_vip(&service, source) {
        return text(vip, &format!(" with the address {vip}"));
    }
    let mut endpoints: Vec<&Arc<Workload>> = mesh.endpoints(&service.key).collect();
    endpoints.sort_by_key(|endpoint| &endpoint.uid);
    match endpoints.iter().find_map(|endpoint| endpoint.addresses.first()) {
        Some(ip) => text(*ip, &format!(", which has no address of its own (headless); {ip} is an endpoint's")),
        None => {
            let because =
                format!("{name} is {full}, for which the mesh knows no address: the resolver of the pod decides");
            Found { address: None, because, service: Some(service) }
        }
    }
}

/// The service of a name, in the order in which the resolver of a pod tries them: with the search domains of Kubernetes
/// (`namespace.svc.domain`, `svc.domain`, `domain`), then as it is.
fn service_named(mesh: &Mesh, source: &Workload, name: &str) -> Option<Arc<Service>> {
    let beginnings = [format!("{name}.{}.svc.", source.namespace), format!("{name}.svc."), format!("{name}.")];
    let by_search = beginnings.iter().find_map(|beginning| {
        let is_it = |service: &&Arc<Service>| {
            service.is_kubernetes()
                && service.key.hostname.starts_with(&**beginning)
                // The rest is the domain of the cluster, not a further part of the name.
                && beginning.matches('.').count() >= 3
        };
        mesh.services().filter(is_it).min_by_key(|service| &service.key)
    });
    let by_search = by_search.map(|service| service.key.hostname.clone());
    let full = by_search.as_deref().unwrap_or(name);
    mesh.service_by_hostname(full, &source.namespace).cloned()
}

/// The virtual address that the pod's resolver returns first: of the pod's own family where there is one.
fn own_vip(service: &Service, source: &Workload) -> Option<IpAddr> {
    let own = || service.vips.iter().filter(|vip| vip.network == source.network).filter_map(Vip::single);
    let is_v4 = source.addresses.first().is_none_or(IpAddr::is_ipv4);
    own().find(|ip| ip.is_ipv4() == is_v4).or_else(|| own().next())
}
