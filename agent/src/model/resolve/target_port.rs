//! The port at which an endpoint serves TCP connections to a service port.
//!
//! The workload API does not say whether a port is one of TCP or of UDP, and istiod sends both. A Service with both on one
//! number thus has two entries with that number, in the order in which its author wrote them.

use crate::model::service::{AppProtocol, Service, ServicePort};
use crate::model::workload::Workload;

/// The port of `endpoint` for connections to `port` of `service`; `None` where the service has no such port.
///
/// What the endpoint says itself comes before what the service says; where neither names a port, it is the service's own.
pub(super) fn target_port(service: &Service, endpoint: &Workload, port: u16) -> Option<u16> {
    let listed = |known: &&ServicePort| known.service_port == port;
    let mut entries = service.ports.iter().filter(listed);
    let entry = match (entries.next()?, entries.next()) {
        (only, None) => only,
        (_, Some(_)) => return Some(tcp_target(service, endpoint, port)),
    };
    Some(targets(endpoint, service, port).next().or_else(|| named(entry.target_port)).unwrap_or(port))
}

/// The target of the TCP entry among several entries of one number. istiod tells an application protocol for ports of TCP
/// alone. It finds a named target among an endpoint's TCP ports alone, so an entry without a target (a named one) is of TCP
/// where the endpoint has a further target for it. If nothing tells the entries apart, the last one counts, as in ztunnel.
fn tcp_target(service: &Service, endpoint: &Workload, port: u16) -> u16 {
    let entries = || service.ports.iter().filter(|known| known.service_port == port);
    let told = entries().find(|entry| entry.app_protocol != AppProtocol::Unknown);
    let is_mapped = |target| targets(endpoint, service, port).any(|mapped| mapped == target);
    let of_another =
        |target| entries().any(|entry| told.is_none_or(|tcp| !std::ptr::eq(tcp, entry)) && entry.target_port == target);
    if let Some(target) = told.and_then(|tcp| named(tcp.target_port)).filter(|target| is_mapped(*target)) {
        return target;
    }
    // A named target, or an endpoint with a port of its own: it is nobody's number.
    let own = targets(endpoint, service, port).find(|target| !of_another(*target));
    own.or_else(|| targets(endpoint, service, port).last())
        .or_else(|| named(told.or_else(|| entries().next_back())?.target_port))
        .unwrap_or(port)
}

/// The ports at which an endpoint says that it serves a service port.
fn targets(endpoint: &Workload, service: &Service, port: u16) -> impl Iterator<Item = u16> {
    let mapped = endpoint.services.get(&service.key).into_iter().flatten();
    mapped.filter(move |mapping| mapping.service_port == port).filter_map(|mapping| named(mapping.target_port))
}

/// 0 stands for no port.
fn named(port: u16) -> Option<u16> {
    (port != 0).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::{service, serving, workload};

    fn entry(target_port: u16, app_protocol: AppProtocol) -> ServicePort {
        ServicePort { service_port: 53, target_port, app_protocol }
    }

    #[test]
    fn of_tcp_and_udp_on_one_number_tcp_counts_whichever_comes_first() {
        const TCP: AppProtocol = AppProtocol::Tcp;
        const UDP: AppProtocol = AppProtocol::Unknown;
        /// Entries of the service, targets that the endpoint has, and the one of TCP.
        type Row = (&'static str, [(u16, AppProtocol); 2], &'static [u16], u16);
        let rows: [Row; 9] = [
            ("told by the protocol", [(1, UDP), (2, TCP)], &[1, 2], 2),
            ("UDP has a named target that no TCP port has", [(0, UDP), (2, UDP)], &[2], 2),
            ("TCP has a named target", [(1, UDP), (0, UDP)], &[1, 7], 7),
            ("TCP has a named target and a protocol", [(1, UDP), (0, TCP)], &[1, 7], 7),
            ("TCP has a named target with the number of UDP", [(1, UDP), (0, TCP)], &[1, 1], 1),
            ("the endpoint has a port of its own", [(1, UDP), (2, TCP)], &[1, 7], 7),
            ("the endpoint has the target of UDP alone", [(1, UDP), (2, TCP)], &[1], 1),
            ("the endpoint names no target", [(1, UDP), (2, TCP)], &[], 2),
            ("one target for both", [(3, UDP), (3, UDP)], &[3, 3], 3),
        ];
        for (what, entries, targets, expected) in rows {
            for swapped in [false, true] {
                let (mut entries, mut targets) = (entries, targets.to_vec());
                if swapped {
                    entries.reverse();
                    targets.reverse();
                }
                let mappings: Vec<_> = targets.iter().map(|target| ("dns", 53, *target)).collect();
                let endpoint = serving(workload("dns", &["10.0.0.1"]), &mappings);
                let ports = entries.map(|(target, protocol)| entry(target, protocol)).to_vec();
                let service = Service { ports, ..service("dns", &["10.1.0.1"], &[]) };
                assert_eq!(target_port(&service, &endpoint, 53), Some(expected), "{what}, swapped: {swapped}");
                assert_eq!(target_port(&service, &endpoint, 54), None);
            }
        }
    }

    #[test]
    fn where_nothing_tells_them_apart_the_last_counts() {
        let endpoint = serving(workload("x", &["10.0.0.1"]), &[("x", 53, 1), ("x", 53, 2)]);
        let ports = vec![entry(1, AppProtocol::Unknown), entry(2, AppProtocol::Unknown)];
        let service = Service { ports, ..service("x", &["10.1.0.1"], &[]) };
        assert_eq!(target_port(&service, &endpoint, 53), Some(2));
    }
}
