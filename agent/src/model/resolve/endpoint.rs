//! Which service or workload an outbound connection asks for, which endpoint serves it, and over which transport.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::target_port::target_port;
use super::upstream::{Transport, Unresolved, Upstream};
use crate::model::address::{OriginalDst, canonical, is_allocated};
use crate::model::balance::{Choice, RequestedPort};
use crate::model::mesh::{Mesh, OutboundTrafficPolicy, VipKind};
use crate::model::service::{BalancingMode, GatewayAddress, GatewayDestination, Service};
use crate::model::workload::{NetworkMode, TunnelProtocol, Workload};

impl Mesh {
    /// Resolves an outbound connection of an enrolled pod. `random` must be uniform; an endpoint is chosen by it.
    ///
    /// # Errors
    /// When it may go nowhere; the connection is then refused.
    pub fn resolve(
        &self,
        source: &Workload,
        destination: OriginalDst,
        random: impl FnMut() -> u64,
    ) -> Result<Upstream, Unresolved> {
        self.resolve_elsewhere(source, destination, &[], random)
    }

    /// As [`Self::resolve`], with endpoints, by their uids, that a service is not to be served by: this connection was
    /// offered to them already.
    ///
    /// # Errors
    /// As of [`Self::resolve`]; no healthy endpoint also where all of them are among those.
    pub fn resolve_elsewhere(
        &self,
        source: &Workload,
        destination: OriginalDst,
        tried: &[Arc<str>],
        random: impl FnMut() -> u64,
    ) -> Result<Upstream, Unresolved> {
        let excluded = |endpoint: &Workload| tried.contains(&endpoint.uid);
        let destination = canonical(destination.0);
        let policy = self.settings().outbound_traffic_policy;
        let choice = Choice::default();
        let subject = Subject::Connection;
        Resolution { mesh: self, source, destination, subject, choice, policy, excluded: &excluded, random }.upstream()
    }

    /// As [`Self::resolve`], for a source to which another policy applies than the mesh's.
    ///
    /// # Errors
    /// As of [`Self::resolve`].
    pub fn resolve_under(
        &self,
        policy: OutboundTrafficPolicy,
        source: &Workload,
        destination: OriginalDst,
        random: impl FnMut() -> u64,
    ) -> Result<Upstream, Unresolved> {
        let (destination, excluded) = (canonical(destination.0), &|_: &Workload| false);
        let choice = Choice::default();
        let subject = Subject::Connection;
        Resolution { mesh: self, source, destination, subject, choice, policy, excluded, random }.upstream()
    }
}

impl Mesh {
    /// The service that an address means to a source, where it means one.
    pub fn service_at(&self, source: &Workload, destination: OriginalDst) -> Option<&Arc<Service>> {
        match Destination::of(self, source, canonical(destination.0).ip()) {
            Destination::Service(service) => Some(service),
            Destination::Workload(_) | Destination::Unknown => None,
        }
    }

    /// Whether an address means nothing to a source that the mesh knows.
    pub fn is_unknown(&self, source: &Workload, destination: OriginalDst) -> bool {
        matches!(Destination::of(self, source, canonical(destination.0).ip()), Destination::Unknown)
    }
}

/// Which service or workload an address means to a source, most specific first: a virtual address, a workload's own
/// address, a block of virtual addresses.
#[derive(Debug, Clone, Copy)]
pub(super) enum Destination<'a> {
    Service(&'a Arc<Service>),
    Workload(&'a Arc<Workload>),
    /// The mesh does not know the address.
    Unknown,
}

impl<'a> Destination<'a> {
    /// Looks an address up as it is seen from the source's network and namespace.
    pub(super) fn of(mesh: &'a Mesh, source: &Workload, ip: IpAddr) -> Self {
        let service = |kind| mesh.services.by_vip(&source.network, ip, &source.namespace, kind).map(Self::Service);
        let workload = || mesh.workloads.owners(&source.network, ip).next().map(Self::Workload);
        let found = service(VipKind::Single).or_else(workload).or_else(|| service(VipKind::Block));
        found.unwrap_or(Self::Unknown)
    }
}

/// What is being resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Connection,
    /// One request of HTTP, which can be answered where nobody serves it.
    Request,
}

/// One connection, or one request, that is being resolved.
pub(super) struct Resolution<'a, 'r, R> {
    pub(super) mesh: &'a Mesh,
    pub(super) source: &'r Workload,
    pub(super) destination: SocketAddr,
    pub(super) subject: Subject,
    /// How an endpoint of a service is chosen.
    pub(super) choice: Choice<'r>,
    /// What becomes of a destination that the mesh does not know.
    pub(super) policy: OutboundTrafficPolicy,
    /// Endpoints that a service is not to be served by.
    pub(super) excluded: &'r dyn Fn(&Workload) -> bool,
    pub(super) random: R,
}

impl<'a, R: FnMut() -> u64> Resolution<'a, '_, R> {
    fn upstream(&mut self) -> Result<Upstream, Unresolved> {
        match Destination::of(self.mesh, self.source, self.destination.ip()) {
            Destination::Service(service) => self.reach_service(service),
            Destination::Workload(workload) => self.reach_workload(workload),
            Destination::Unknown => self.reach_unknown(),
        }
    }

    /// The endpoint of a service for this connection.
    fn pick(&mut self, service: &Arc<Service>, port: RequestedPort) -> Option<&'a Arc<Workload>> {
        let endpoints = self.mesh.services.endpoints(&service.key)?;
        endpoints.pick(service, port, self.source, self.choice, self.excluded, &mut self.random)
    }

    pub(super) fn reach_service(&mut self, service: &Arc<Service>) -> Result<Upstream, Unresolved> {
        if let Some(waypoint) = service.waypoint.as_ref().filter(|waypoint| !self.source_is(waypoint)) {
            return self.reach_waypoint(waypoint, Some(service));
        }
        let port = self.destination.port();
        if !service.ports.iter().any(|known| known.service_port == port) {
            return self.reach_unlisted_port(service);
        }
        if is_passthrough(service) {
            return Ok(upstream(Transport::Passthrough(self.destination), None, Some(service)));
        }
        match self.pick(service, RequestedPort::Service(port)) {
            Some(endpoint) => self.reach_endpoint(service, endpoint),
            None => self.reach_without_endpoint(service),
        }
    }

    /// The endpoint of a service where one serves the port and nothing is between: no waypoint, no other way.
    pub(super) fn pick_plainly(&mut self, service: &Arc<Service>) -> Option<&'a Arc<Workload>> {
        let port = self.destination.port();
        if self.is_plain(service) { self.pick(service, RequestedPort::Service(port)) } else { None }
    }

    /// Whether the service has the port, and nothing is between: no waypoint, no other way.
    pub(super) fn is_plain(&self, service: &Service) -> bool {
        service.waypoint.is_none()
            && !is_passthrough(service)
            && service.ports.iter().any(|known| known.service_port == self.destination.port())
    }

    /// An endpoint that was picked for a service. What this comes to depends on the three objects, the source one of them, and
    /// on the destination alone.
    pub(super) fn reach_endpoint(
        &self,
        service: &Arc<Service>,
        endpoint: &Arc<Workload>,
    ) -> Result<Upstream, Unresolved> {
        let port = self.destination.port();
        let target_port = target_port(service, endpoint, port)
            .ok_or_else(|| Unresolved::NoSuchPort(service.key.to_string(), port))?;
        let Some(ip) = self.address_of(endpoint)? else {
            let transport = Transport::ResolveHostname { hostname: endpoint.hostname.clone(), port: target_port };
            return Ok(upstream(transport, Some(endpoint), Some(service)));
        };
        let transport = self.direct(endpoint, SocketAddr::new(ip, target_port), Some(service));
        Ok(upstream(transport, Some(endpoint), Some(service)))
    }

    /// The address itself that was dialled for a service, whatever endpoints it has: a workload's, or one that the network knows.
    pub(super) fn pass_through(&mut self, service: &Arc<Service>) -> Result<Upstream, Unresolved> {
        match self.mesh.workloads.owners(&self.source.network, self.destination.ip()).next() {
            Some(workload) => Ok(Upstream { service: Some(service.clone()), ..self.reach_workload(workload)? }),
            None => Ok(upstream(Transport::Passthrough(self.destination), None, Some(service))),
        }
    }

    /// A port that the service does not have. The mesh does not know this destination, though it knows the address, unless
    /// the address is a workload's own as well. An address that was allocated for the mesh has nobody else behind it.
    fn reach_unlisted_port(&mut self, service: &Service) -> Result<Upstream, Unresolved> {
        let (ip, port) = (self.destination.ip(), self.destination.port());
        if let Some(workload) = self.mesh.workloads.owners(&self.source.network, ip).next() {
            return self.reach_workload(workload);
        }
        if is_allocated(ip) {
            return Err(Unresolved::NoSuchPort(service.key.to_string(), port));
        }
        self.reach_unknown()
    }

    /// A service of which no endpoint may be picked. Where no control plane of the mesh knows any endpoint of a Kubernetes
    /// Service, kube-proxy may: it refuses a connection where it does not. Endpoints that are there, but not healthy, are no reason.
    /// A request is answered at once: its client has an answer then that says what is missing.
    fn reach_without_endpoint(&self, service: &Arc<Service>) -> Result<Upstream, Unresolved> {
        let is_unknown = self.mesh.endpoints(&service.key).next().is_none();
        let is_left = self.subject == Subject::Connection && self.policy == OutboundTrafficPolicy::AllowAny;
        if is_unknown && is_left && service.is_kubernetes() {
            return Ok(upstream(Transport::Passthrough(self.destination), None, Some(service)));
        }
        Err(Unresolved::NoHealthyEndpoint(service.key.to_string(), self.destination.port()))
    }

    fn reach_workload(&mut self, workload: &Arc<Workload>) -> Result<Upstream, Unresolved> {
        if workload.network_mode == NetworkMode::HostNetwork {
            // The address is the node's: it does not say which workload answers, so none is claimed.
            return Ok(upstream(Transport::Passthrough(self.destination), None, None));
        }
        // Only a waypoint has an application tunnel: what it sends to a workload has been through a waypoint.
        let from_waypoint = self.source.application_tunnel.is_some();
        if let Some(waypoint) = &workload.waypoint
            && !from_waypoint
            && !self.is_self(workload, self.destination.ip())
            && !self.source_is(waypoint)
        {
            return self.reach_waypoint(waypoint, None);
        }
        Ok(upstream(self.direct(workload, self.destination, None), Some(workload), None))
    }

    fn reach_unknown(&self) -> Result<Upstream, Unresolved> {
        match self.policy {
            OutboundTrafficPolicy::AllowAny => Ok(upstream(Transport::Passthrough(self.destination), None, None)),
            OutboundTrafficPolicy::RegistryOnly => Err(Unresolved::RegistryOnly),
        }
    }

    /// To the waypoint, with the original destination as the authority: the waypoint goes on from there.
    fn reach_waypoint(
        &mut self,
        waypoint: &GatewayAddress,
        service: Option<&Arc<Service>>,
    ) -> Result<Upstream, Unresolved> {
        let (workload, ip) = self.gateway(waypoint)?;
        let transport = Transport::Hbone {
            peer: SocketAddr::new(ip, waypoint.hbone_mtls_port),
            authority: self.destination.to_string(),
            identities: vec![workload.identity()],
        };
        Ok(upstream(transport, Some(workload), service))
    }

    /// A workload that serves as this gateway, and the address to reach it at.
    fn gateway(&mut self, gateway: &GatewayAddress) -> Result<(&'a Arc<Workload>, IpAddr), Unresolved> {
        let unknown = || Unresolved::UnknownGateway(name_of(gateway));
        let service = match &gateway.destination {
            GatewayDestination::Hostname(key) => Some(self.mesh.service(key).ok_or_else(unknown)?),
            GatewayDestination::Address(at) => {
                self.mesh.services.by_vip(&at.network, at.ip, &self.source.namespace, VipKind::Single)
            }
        };
        if let Some(service) = service {
            let workload = self
                .pick(service, RequestedPort::Any)
                .ok_or_else(|| Unresolved::NoHealthyEndpoint(service.key.to_string(), gateway.hbone_mtls_port))?;
            // The peer's identity is all that HBONE needs; but without an address there is nothing to dial.
            let ip = self.address_of(workload)?.ok_or_else(|| Unresolved::NoAddress(workload.uid.to_string()))?;
            return Ok((workload, ip));
        }
        match &gateway.destination {
            GatewayDestination::Address(at) => {
                let workload = self.mesh.workload_by_address(&at.network, at.ip).ok_or_else(unknown)?;
                self.check_network(workload)?;
                Ok((workload, at.ip))
            }
            GatewayDestination::Hostname(_) => Err(unknown()),
        }
    }

    /// The address to dial an endpoint at, of the family that was asked for if it has one; `None` where it only has a name.
    fn address_of(&self, endpoint: &Workload) -> Result<Option<IpAddr>, Unresolved> {
        self.check_network(endpoint)?;
        let same_family = |ip: &&IpAddr| ip.is_ipv4() == self.destination.is_ipv4();
        let ip = endpoint.addresses.iter().find(same_family).or_else(|| endpoint.addresses.first());
        if ip.is_none() && endpoint.hostname.is_empty() {
            return Err(Unresolved::NoAddress(endpoint.uid.to_string()));
        }
        Ok(ip.copied())
    }

    fn check_network(&self, workload: &Workload) -> Result<(), Unresolved> {
        match &workload.network_gateway {
            Some(gateway) if workload.network != self.source.network => Err(Unresolved::UnknownGateway(format!(
                "{} of network {:?} (connections between networks are not supported)",
                name_of(gateway),
                &*workload.network
            ))),
            _ => Ok(()),
        }
    }

    /// To a workload without anything between. A pod that calls itself needs no mTLS, and could not route to itself twice.
    fn direct(&self, workload: &Workload, address: SocketAddr, service: Option<&Service>) -> Transport {
        if self.is_self(workload, address.ip()) || workload.protocol == TunnelProtocol::None {
            return Transport::Passthrough(address);
        }
        Transport::hbone(workload, address, service)
    }

    /// Also where the source's address is known under a second name, such as an endpoint of a ServiceEntry.
    fn is_self(&self, workload: &Workload, ip: IpAddr) -> bool {
        workload.uid == self.source.uid
            || (workload.network == self.source.network && self.source.addresses.contains(&ip))
    }

    /// Whether the source is this very gateway, which would send the connection in a circle.
    fn source_is(&self, gateway: &GatewayAddress) -> bool {
        match &gateway.destination {
            GatewayDestination::Hostname(key) => self.source.services.contains_key(key),
            GatewayDestination::Address(at) => {
                let own = self.source.network == at.network && self.source.addresses.contains(&at.ip);
                let service = self.mesh.services.by_vip(&at.network, at.ip, &self.source.namespace, VipKind::Single);
                own || service.is_some_and(|service| self.source.services.contains_key(&service.key))
            }
        }
    }
}

fn is_passthrough(service: &Service) -> bool {
    service.load_balancing.as_ref().is_some_and(|balancing| balancing.mode == BalancingMode::Passthrough)
}

fn upstream(transport: Transport, workload: Option<&Arc<Workload>>, service: Option<&Arc<Service>>) -> Upstream {
    Upstream { transport, workload: workload.cloned(), service: service.cloned() }
}

fn name_of(gateway: &GatewayAddress) -> String {
    match &gateway.destination {
        GatewayDestination::Hostname(key) => key.to_string(),
        GatewayDestination::Address(at) => format!("{}/{}", at.network, at.ip),
    }
}
