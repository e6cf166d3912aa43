//! Which endpoint serves one request of HTTP, once its route has named a service.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::endpoint::{Resolution, Subject};
use super::upstream::{Transport, Unresolved, Upstream};
use crate::model::address::{OriginalDst, canonical};
use crate::model::balance::Choice;
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
    pub choice: Choice<'a>,
}

/// An endpoint that was picked for a request: a workload, and the service by which it was found.
#[derive(Debug, Clone, Copy)]
pub struct Picked<'a> {
    pub service: &'a Arc<Service>,
    pub endpoint: &'a Arc<Workload>,
}

impl Mesh {
    /// Picks the endpoint of one request, as [`resolve_request`](Self::resolve_request) does, without saying how it is reached. `None`
    /// where none of the service's endpoints serves the request, or not plainly: how else it is served, or why not, says that one.
    pub fn pick_for_request(
        &self,
        source: &Workload,
        request: EndpointRequest<'_>,
        excluded: impl Fn(&Workload) -> bool,
        random: impl FnMut() -> u64,
    ) -> Option<Picked<'_>> {
        let service = self.service(request.service)?;
        let endpoint = self.resolution(source, request, service, &excluded, random).pick_plainly(service)?;
        Some(Picked { service, endpoint })
    }

    /// How an endpoint is reached that was picked for a request.
    ///
    /// # Errors
    /// As of [`resolve_request`](Self::resolve_request).
    pub fn reach_picked(
        &self,
        source: &Workload,
        request: EndpointRequest<'_>,
        Picked { service, endpoint }: Picked<'_>,
    ) -> Result<Upstream, Unresolved> {
        self.resolution(source, request, service, &|_: &Workload| false, || 0).reach_endpoint(service, endpoint)
    }

    /// Resolves one request of an enrolled pod. Endpoints that are `excluded` do not serve it: it was offered to them, they are
    /// not of its subset, or they are ejected. `random` must be uniform.
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
        let EndpointRequest { service: key, port, .. } = request;
        let unknown = || Unresolved::NoSuchPort(key.to_string(), port);
        let service = self.service(key).ok_or_else(unknown)?;
        if !service.ports.iter().any(|known| known.service_port == port) {
            return Err(unknown());
        }
        self.resolution(source, request, service, &excluded, random).reach_service(service)
    }

    fn resolution<'a, 'r, R: FnMut() -> u64>(
        &'a self,
        source: &'r Workload,
        request: EndpointRequest<'r>,
        service: &Service,
        excluded: &'r dyn Fn(&Workload) -> bool,
        random: R,
    ) -> Resolution<'a, 'r, R> {
        let destination = address_of(service, source, canonical(request.dialled.0), request.port);
        let policy = self.settings().outbound_traffic_policy;
        let (subject, choice) = (Subject::Request, request.choice);
        Resolution { mesh: self, source, destination, subject, choice, policy, excluded, random }
    }
}

impl Mesh {
    /// The service that the host of a request names to sources of a namespace, among those that only their host tells apart:
    /// the one with this host, else the one with the longest wildcard for it.
    pub fn service_of_host(&self, from_namespace: &str, host: &str, port: u16) -> Option<&Arc<Service>> {
        let has_port = |service: &&Arc<Service>| {
            service.is_known_by_host() && service.ports.iter().any(|known| known.service_port == port)
        };
        let find = |host: &str| self.service_by_hostname(host, from_namespace).filter(has_port);
        let wildcards = host.match_indices('.').map(|(at, _)| format!("*{}", &host[at..]));
        find(host).or_else(|| wildcards.chain(["*".to_owned()]).find_map(|wildcard| find(&wildcard)))
    }

    /// The upstream of a request to a service with a wildcard that has no endpoints (`resolution: DYNAMIC_DNS`): whatever the host of
    /// the request is. `None` for other services.
    ///
    /// # Errors
    /// When the service does not stand for the host.
    pub fn resolve_host(&self, key: &ServiceKey, port: u16, host: &str) -> Result<Option<Upstream>, Unresolved> {
        let Some(end) = key.hostname.strip_prefix('*') else { return Ok(None) };
        let Some(service) = self.service(key).filter(|service| !service.is_passthrough()) else { return Ok(None) };
        let Some(listed) = service.ports.iter().find(|known| known.service_port == port) else { return Ok(None) };
        if self.endpoints(key).next().is_some() {
            return Ok(None);
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let is_name = !host.is_empty() && host.parse::<IpAddr>().is_err();
        if !is_name || !host.ends_with(&end.to_ascii_lowercase()) {
            return Err(Unresolved::WrongHost(key.to_string(), host));
        }
        let port = if listed.target_port == 0 { port } else { listed.target_port };
        let transport = Transport::ResolveHostname { hostname: host.into(), port };
        Ok(Some(Upstream { transport, workload: None, service: Some(service.clone()) }))
    }

    /// Resolves a request to the address that its application dialled (`loadBalancer.simple: PASSTHROUGH`), as one of a service.
    ///
    /// # Errors
    /// When the address may not be reached, or the service is not there.
    pub fn resolve_dialled(
        &self,
        source: &Workload,
        service: &ServiceKey,
        dialled: OriginalDst,
    ) -> Result<Upstream, Unresolved> {
        let destination = canonical(dialled.0);
        let unknown = || Unresolved::NoSuchPort(service.to_string(), destination.port());
        let service = self.service(service).ok_or_else(unknown)?;
        let (subject, choice, policy) = (Subject::Request, Choice::default(), self.settings().outbound_traffic_policy);
        let (excluded, random) = (&|_: &Workload| false, || 0);
        Resolution { mesh: self, source, destination, subject, choice, policy, excluded, random }.pass_through(service)
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
    use crate::model::balance::Order;
    use crate::model::sample::{mesh, service, serving, workload};
    use crate::model::service::{AppProtocol, BalancingMode, LoadBalancing, ServicePort};

    /// The endpoint and the authority that a request comes to, in one step; in two it is the same, where it has an endpoint.
    fn endpoint(mesh: &Mesh, request: EndpointRequest<'_>, excluded: &[&str]) -> String {
        let source = workload("productpage", &["10.0.0.1"]);
        let is_excluded = |endpoint: &Workload| excluded.contains(&&*endpoint.name);
        let resolved = mesh.resolve_request(&source, request, is_excluded, || 0);
        let picked = mesh.pick_for_request(&source, request, is_excluded, || 0);
        let reached = picked.and_then(|picked| mesh.reach_picked(&source, request, picked).ok());
        let transport = |upstream: &Upstream| upstream.transport.clone();
        assert_eq!(reached.as_ref().map(transport), resolved.as_ref().ok().map(transport), "{request:?}");
        match resolved {
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
        let request = EndpointRequest {
            service: &reviews,
            port: 80,
            dialled: dialled("10.96.0.9:8080"),
            choice: Choice::default(),
        };
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
        let request = |hash| {
            let choice = Choice { order: Order::Hash(hash), ..Choice::default() };
            EndpointRequest { service: &key, port: 80, dialled, choice }
        };
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

    #[test]
    fn a_host_names_the_service_of_a_service_entry_that_has_no_address() {
        let passthrough = LoadBalancing { mode: BalancingMode::Passthrough, ..LoadBalancing::default() };
        let with = |host: &str, vips: &[&str]| {
            let ports = vec![ServicePort { service_port: 80, target_port: 8080, app_protocol: AppProtocol::Http11 }];
            Service { ports, ..service(host, vips, &[]) }
        };
        let mesh = mesh([
            with("a.example.com", &[]).into(),
            with("*.example.com", &[]).into(),
            Service { load_balancing: Some(passthrough), ..with("*.b.example.com", &["240.240.0.1"]) }.into(),
            with("dialled.org", &["192.0.2.1"]).into(),
        ]);
        let found = |host: &str, port| {
            let service = mesh.service_of_host("shop", host, port)?;
            let upstream = mesh.resolve_host(&service.key, port, host);
            let upstream = upstream.map(|upstream| upstream.map(|upstream| upstream.transport));
            Some((service.key.hostname.to_string(), upstream))
        };
        let to = |host: &str| Ok(Some(Transport::ResolveHostname { hostname: host.into(), port: 8080 }));
        let named = |service: &str, upstream| Some((service.to_owned(), upstream));
        for (host, port, expected) in [
            ("a.example.com", 80, named("a.example.com", Ok(None))),
            ("A.Example.com", 80, named("a.example.com", Ok(None))),
            ("c.example.com", 80, named("*.example.com", to("c.example.com"))),
            ("X.c.example.com.", 80, named("*.example.com", to("x.c.example.com"))),
            ("x.b.example.com", 80, named("*.b.example.com", Ok(None))),
            ("example.com", 80, None),
            ("c.example.com", 81, None),
            ("dialled.org", 80, None),
            ("", 80, None),
        ] {
            assert_eq!(found(host, port), expected, "{host}:{port}");
        }
        let wildcard = ServiceKey::new("bookinfo", "*.example.com");
        for host in ["internal.svc", "", "10.0.0.1"] {
            assert!(matches!(mesh.resolve_host(&wildcard, 80, host), Err(Unresolved::WrongHost(..))), "{host:?}");
        }
        assert!(mesh.is_host_port(80) && !mesh.is_host_port(81));
    }

    #[test]
    fn a_request_may_go_to_the_address_that_was_dialled() {
        let v1 = serving(workload("v1", &["10.0.0.2"]), &[("s.example.com", 80, 8080)]);
        let v2 = workload("v2", &["10.0.0.3"]);
        let service = service("s.example.com", &["10.96.0.7", "10.0.0.3"], &[(80, 8080)]);
        let (mesh, source) = (mesh([v1.into(), v2.into(), service.into()]), workload("productpage", &["10.0.0.1"]));
        let key = ServiceKey::new("bookinfo", "s.example.com");
        let resolved =
            |dialled: &str| mesh.resolve_dialled(&source, &key, OriginalDst(dialled.parse().expect("an address")));
        let plain = resolved("10.96.0.7:80").expect("any address may be reached");
        assert_eq!(plain.transport, Transport::Passthrough("10.96.0.7:80".parse().expect("an address")));
        let of_pod = resolved("10.0.0.3:80").expect("a workload's address");
        assert!(
            matches!(&of_pod.transport, Transport::Hbone { authority, .. } if authority == "10.0.0.3:80"),
            "{of_pod:?}"
        );
        assert_eq!(of_pod.service.map(|service| service.key.clone()), Some(key.clone()));
        let unknown = ServiceKey::new("bookinfo", "none");
        assert!(mesh.resolve_dialled(&source, &unknown, OriginalDst("10.0.0.3:80".parse().expect("it is"))).is_err());
    }
}
