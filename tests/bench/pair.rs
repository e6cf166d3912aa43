//! Where a pair of proxies listens that are not Weir: the one in the client's pod and the other in the server's, in the places of Weir's
//! agents, as sidecars would be.

use std::net::SocketAddr;

use weir_tests::program::Program;

use crate::subject::{Proxies, Subject, address};
use crate::testbed::{Dial, GRPC, HTTP, IPERF, Routed, Testbed};

/// What is added to the server's ports at the second proxy of a pair, and twice that at the first. Pairs run side by side, and each opens
/// its listeners with SO_REUSEPORT: on one port, they would share what comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Apart(u16);

pub(crate) const ENVOY: Apart = Apart(1_000);
pub(crate) const HAPROXY: Apart = Apart(3_000);

/// What is added to a port where requests are read, so that it differs from the one where connections are carried.
const ROUTED: u16 = 5;

/// Port of the server, what is added to it at both proxies of any pair, and what is carried there.
const SERVERS: [(u16, u16, Carried); 4] = [
    (HTTP, 0, Carried::Bytes),
    (IPERF, 0, Carried::Bytes),
    (HTTP, ROUTED, Carried::Http1),
    (GRPC, ROUTED, Carried::Http2),
];

/// What a listener makes of what it accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    Bytes,
    Http1,
    Http2,
}

/// From the client by both proxies to a server: each address hands on to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) first: SocketAddr,
    pub(crate) second: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) carried: Carried,
}

/// The ways of a pair that are measured: bytes to both servers, and requests of either version.
pub(crate) fn ways(testbed: &Testbed, Apart(apart): Apart) -> [Way; 4] {
    SERVERS.map(|(port, more, carried)| Way {
        first: address(&testbed.client, port + more + 2 * apart),
        second: address(&testbed.far, port + more + apart),
        server: address(&testbed.far, port),
        carried,
    })
}

/// A pair that runs and has these ways.
pub(crate) fn subject(name: &str, testbed: &Testbed, ways: [Way; 4], first: Program, second: Program) -> Subject {
    let [http, iperf, routed, grpc] = ways.map(|way| way.first);
    let proxies = Proxies::Processes(vec![vec![first.id()], vec![second.id()]]);
    let subject = Subject::across(name, testbed, Dial { http, iperf }, proxies);
    subject.routing(Routed { http: routed, grpc }).keeping([first, second])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_proxies_listen_on_one_port() {
        let shifts = [ENVOY, HAPROXY].into_iter().flat_map(|Apart(apart)| [apart, 2 * apart]);
        let ports: HashSet<u16> = shifts.flat_map(|shift| SERVERS.map(|(port, more, _)| port + more + shift)).collect();
        assert_eq!(ports.len(), 2 * 2 * SERVERS.len());
    }
}
