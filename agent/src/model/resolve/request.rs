//! Which endpoint serves one request of HTTP, once its route has named a service.

use std::net::SocketAddr;

use super::endpoint::Resolution;
use super::upstream::{Unresolved, Upstream};
use crate::model::address::{OriginalDst, canonical};
use crate::model::balance::Client;
use crate::model::mesh::Mesh;
use crate::model::service::{Service, ServiceKey};
use crate::model::workload::Workload;

/// What a request needs an endpoint for.
#[derive(Debug, Clone, Copy)]
pub struct EndpointRequest<'a> {
    pub service: &'a ServiceKey,
    /// A port of the service.
    pub port: u16,
    /// The address that the application dialled: an endpoint's address of the same family is preferred.
    pub dialled: OriginalDst,
    /// Requests of one hash go to the same endpoint, as long as it is there and not excluded.
    pub hash: Option<u64>,
}

impl Mesh {
    /// Resolves one request of an enrolled pod. Endpoints that are `excluded` do not serve it: it was offered to them, they are
    /// not of its subset, or they are ejected. `random` must be uniform; without a hash an endpoint is chosen by it.
    ///
    /// # Errors
    /// When no endpoint may serve it. [`Unresolved::NoSuchPort`] where the service is not there, or has no such port.
    pub fn resolve_request(
        &self,
        source: &Workload,
        request: EndpointRequest<'_>,
        excluded: impl Fn(&Workload) -> bool,
        random: impl FnMut() -> u64,
    ) -> Result<Upstream, Unresolved> {
        let EndpointRequest { service: key, port, dialled, hash } = request;
        let unknown = || Unresolved::NoSuchPort(key.to_string(), port);
        let service = self.service(key).ok_or_else(unknown)?;
        if !service.ports.iter().any(|known| known.service_port == port) {
            return Err(unknown());
        }
        let destination = address_of(service, source, canonical(dialled.0), port);
        let client = hash.map(Client::of_hash);
        Resolution { mesh: self, source, destination, client, excluded: &excluded, random }.reach_service(service)
    }
}

/// The address of a service that stands for it in the place of the dialled one, of the same family where it has one: waypoints
/// are told it, and kube-proxy answers at it.
fn address_of(service: &Service, source: &Workload, dialled: SocketAddr, port: u16) -> SocketAddr {
    let own = || service.vips.iter().filter(|vip| vip.network == source.network).filter_map(|vip| vip.single());
    let is_own = service.vips.iter().any(|vip| vip.network == source.network && vip.block.contains(&dialled.ip()));
    let other = || own().find(|ip| ip.is_ipv4() == dialled.is_ipv4()).or_else(|| own().next());
    let ip = if is_own { dialled.ip() } else { other().unwrap_or(dialled.ip()) };
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::resolve::Transport;
    use crate::model::sample::{mesh, service, serving, workload};

    /// The endpoint and the authority that a request comes to.
    fn endpoint(mesh: &Mesh, request: EndpointRequest<'_>, excluded: &[&str]) -> String {
        let source = workload("productpage", &["10.0.0.1"]);
        let is_excluded = |endpoint: &Workload| excluded.contains(&&*endpoint.name);
        match mesh.resolve_request(&source, request, is_excluded, || 0) {
            Ok(upstream) => {
                let name = upstream.workload.map_or("-".into(), |workload| workload.name.to_string());
                let Transport::Hbone { authority, .. } = upstream.transport else {
                    return format!("{name} in plaintext");
                };
                format!("{name} {authority}")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_request_goes_to_an_endpoint_of_the_service_that_its_route_names() {
        let v1 = serving(workload("reviews-v1", &["10.0.0.2"]), &[("reviews.example.com", 80, 9080)]);
        let v2 = serving(workload("reviews-v2", &["10.0.0.3", "fd00::3"]), &[("reviews.example.com", 80, 9080)]);
        let reviews = service("reviews.example.com", &["10.96.0.7", "fd96::7"], &[(80, 9080)]);
        let mesh = mesh([v1.into(), v2.into(), reviews.into()]);
        let reviews = ServiceKey::new("bookinfo", "reviews.example.com");
        let unknown = ServiceKey::new("bookinfo", "ratings.example.com");
        let dialled = |address: &str| OriginalDst(address.parse().expect("an address"));
        let request = EndpointRequest { service: &reviews, port: 80, dialled: dialled("10.96.0.9:8080"), hash: None };
        for (request, excluded, expected) in [
            (request, &[][..], "reviews-v1 10.0.0.2:9080"),
            (request, &["reviews-v1"], "reviews-v2 10.0.0.3:9080"),
            (
                EndpointRequest { dialled: dialled("[fd96::9]:8080"), ..request },
                &["reviews-v1"],
                "reviews-v2 [fd00::3]:9080",
            ),
            (
                request,
                &["reviews-v1", "reviews-v2"],
                "service bookinfo/reviews.example.com has no healthy endpoint for port 80",
            ),
            (EndpointRequest { port: 81, ..request }, &[], "service bookinfo/reviews.example.com has no port 81"),
            (
                EndpointRequest { service: &unknown, ..request },
                &[],
                "service bookinfo/ratings.example.com has no port 80",
            ),
        ] {
            assert_eq!(endpoint(&mesh, request, excluded), expected, "{request:?} without {excluded:?}");
        }
    }

    #[test]
    fn requests_of_one_hash_go_to_one_endpoint_and_different_hashes_to_all() {
        let endpoints =
            ["a", "b", "c"].map(|name| serving(workload(name, &["10.0.0.2"]), &[("s.example.com", 80, 80)]));
        let service = service("s.example.com", &["10.96.0.7"], &[(80, 80)]);
        let mesh = mesh(endpoints.map(Into::into).into_iter().chain([service.into()]));
        let key = ServiceKey::new("bookinfo", "s.example.com");
        let dialled = OriginalDst("10.96.0.7:80".parse().expect("an address"));
        let request = |hash| EndpointRequest { service: &key, port: 80, dialled, hash: Some(hash) };
        let chosen: Vec<String> = (0..64).map(|hash| endpoint(&mesh, request(hash), &[])).collect();
        let again: Vec<String> = (0..64).map(|hash| endpoint(&mesh, request(hash), &[])).collect();
        assert_eq!(chosen, again);
        let mut different = chosen.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), 3);
        for (hash, before) in (0..64).zip(&chosen) {
            let without_a = endpoint(&mesh, request(hash), &["a"]);
            assert_eq!(without_a == *before, !before.starts_with("a "), "only those of an excluded endpoint move");
        }
    }
}
