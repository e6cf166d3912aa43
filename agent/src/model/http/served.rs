//! Whether the connections of a pod to an address are looked into for HTTP, and why.

use std::fmt;
use std::sync::Arc;

use crate::model::address::OriginalDst;
use crate::model::mesh::Mesh;
use crate::model::peer_authentication::Labels;
use crate::model::service::{AppProtocol, BalancingMode, Service, ServiceKey};
use crate::model::workload::Workload;

/// The label of a pod that says which of its connections are looked into: see [`HttpWish`]. With Kubernetes it is also an annotation of
/// the pod, and a label or an annotation of its namespace.
pub const HTTP_LABEL: &str = "weir.dev/http";

/// Which of its own connections a pod wants to have looked into for HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpWish {
    /// None (`off`).
    Off,
    /// Those to ports that declare HTTP, or that declare nothing and that an object about HTTP names (`on`, or anything else).
    #[default]
    On,
    /// Also those to other ports of services that declare nothing (`detect`).
    Detect,
}

impl HttpWish {
    /// What a value of the label says.
    #[must_use]
    pub fn said(value: &str) -> Self {
        match value {
            "off" => Self::Off,
            "detect" => Self::Detect,
            _ => Self::On,
        }
    }

    /// What the labels of a pod say.
    #[must_use]
    pub fn of(labels: &Labels) -> Self {
        labels.get(HTTP_LABEL).map_or(Self::On, |value| Self::said(value))
    }

    /// The value of the label that says it.
    #[must_use]
    pub fn value(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Detect => "detect",
        }
    }
}

/// How connections to one address are served.
#[derive(Debug, Clone)]
pub enum Served {
    /// The first bytes decide whether they carry requests.
    Http {
        service: Arc<Service>,
        port: u16,
        because: HttpBecause,
    },
    Tcp(TcpBecause),
}

/// Why a port carries HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpBecause {
    Declared(AppProtocol),
    /// The port declares nothing, and an object about HTTP is about the service.
    Named,
    /// The port declares nothing, and the pod wants to have that detected.
    Detected,
}

impl HttpBecause {
    /// Whether nobody has declared what the port carries: it may as well be a protocol whose server speaks first.
    #[must_use]
    pub fn is_guess(self) -> bool {
        matches!(self, Self::Named | Self::Detected)
    }
}

/// Why a connection is moved as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpBecause {
    NoService,
    NoSuchPort,
    Waypoint,
    Passthrough,
    SwitchedOff,
    Declared(AppProtocol),
    NothingDeclared,
}

impl Served {
    /// What the connections of a source to an address are. A service whose requests a waypoint handles is TCP here. Asked only
    /// where it matters: `wish`, what the pod wants, and `is_named`, whether an object about HTTP is about the port of the service
    /// for this source.
    #[must_use]
    pub fn of(
        mesh: &Mesh,
        source: &Workload,
        dialled: OriginalDst,
        wish: impl FnOnce() -> HttpWish,
        is_named: impl FnOnce(&ServiceKey, u16) -> bool,
    ) -> Self {
        let Some(service) = mesh.service_at(source, dialled) else { return Self::Tcp(TcpBecause::NoService) };
        let port = dialled.0.port();
        let Some(known) = service.ports.iter().find(|known| known.service_port == port) else {
            return Self::Tcp(TcpBecause::NoSuchPort);
        };
        if service.waypoint.is_some() {
            return Self::Tcp(TcpBecause::Waypoint);
        }
        if service.load_balancing.as_ref().is_some_and(|balancing| balancing.mode == BalancingMode::Passthrough) {
            return Self::Tcp(TcpBecause::Passthrough);
        }
        let wish = wish();
        if wish == HttpWish::Off {
            return Self::Tcp(TcpBecause::SwitchedOff);
        }
        let http = |because| Self::Http { service: service.clone(), port, because };
        match known.app_protocol {
            declared @ (AppProtocol::Http11 | AppProtocol::Http2 | AppProtocol::Grpc) => {
                http(HttpBecause::Declared(declared))
            }
            declared @ (AppProtocol::Tcp | AppProtocol::Tls) => Self::Tcp(TcpBecause::Declared(declared)),
            AppProtocol::Unknown => {
                if is_named(&service.key, port) {
                    http(HttpBecause::Named)
                } else if wish == HttpWish::Detect {
                    http(HttpBecause::Detected)
                } else {
                    Self::Tcp(TcpBecause::NothingDeclared)
                }
            }
        }
    }
}

/// What a port of a workload carries, as far as its services declare that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Something else than HTTP: its connections are not looked into, and policies about requests have their meaning for TCP there.
    Bytes,
    /// HTTP: the client speaks first.
    Http,
    /// Nobody says, or one says this and another that.
    Unknown,
}

/// What all services that a workload serves at one of its ports declare of it.
#[must_use]
pub fn carries(mesh: &Mesh, workload: &Workload, port: u16) -> Carries {
    let served = workload.services.iter().flat_map(|(key, mappings)| {
        let here = mappings.iter().filter(|mapping| mapping.target_port == port);
        here.map(move |mapping| (key, mapping.service_port))
    });
    let mut declared = served.map(|(key, service_port)| {
        let service = mesh.service(key);
        let known = service.and_then(|service| service.ports.iter().find(|known| known.service_port == service_port));
        match known.map_or(AppProtocol::Unknown, |port| port.app_protocol) {
            AppProtocol::Tcp | AppProtocol::Tls => Carries::Bytes,
            AppProtocol::Http11 | AppProtocol::Http2 | AppProtocol::Grpc => Carries::Http,
            AppProtocol::Unknown => Carries::Unknown,
        }
    });
    let first = declared.next().unwrap_or(Carries::Unknown);
    if declared.all(|other| other == first) { first } else { Carries::Unknown }
}

impl fmt::Display for HttpBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared(protocol) => write!(f, "the port declares {protocol}"),
            Self::Named => f.write_str("the port declares nothing, and an object about HTTP names the service"),
            Self::Detected => {
                write!(f, "the port declares nothing, and {HTTP_LABEL} of the pod or its namespace is detect")
            }
        }
    }
}

impl fmt::Display for TcpBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoService => f.write_str("the address is that of no service"),
            Self::NoSuchPort => f.write_str("the service has no such port"),
            Self::Waypoint => f.write_str("the service has a waypoint, which sees to its requests"),
            Self::Passthrough => f.write_str("connections to the service go to the address that was dialled"),
            Self::SwitchedOff => write!(f, "{HTTP_LABEL} of the pod or its namespace is off"),
            Self::Declared(protocol) => write!(f, "the port declares {protocol}"),
            Self::NothingDeclared => f.write_str(
                "the port declares no protocol (appProtocol, or its name), and no object about HTTP names the service",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mesh::MeshUpdate;
    use crate::model::sample::{gateway_named, mesh, service, serving, workload};
    use crate::model::service::LoadBalancing;

    #[test]
    fn the_port_the_service_and_the_pod_decide() {
        let with = |protocol| {
            let mut service = service("s.example.com", &["10.96.0.7"], &[(80, 80)]);
            service.ports[0].app_protocol = protocol;
            service
        };
        let http = with(AppProtocol::Http11);
        let passthrough = Some(LoadBalancing { mode: BalancingMode::Passthrough, ..LoadBalancing::default() });
        let (source, labels) =
            (workload("client", &["10.0.0.1"]), |value: &str| [(HTTP_LABEL.to_owned(), value.to_owned())].into());
        type Row = (Service, &'static str, &'static str, bool, &'static str);
        let rows: [Row; 12] = [
            (http.clone(), "10.96.0.7:80", "on", false, "HTTP: the port declares HTTP"),
            (with(AppProtocol::Grpc), "10.96.0.7:80", "", false, "HTTP: the port declares gRPC"),
            (
                with(AppProtocol::Unknown),
                "10.96.0.7:80",
                "",
                true,
                "HTTP: the port declares nothing, and an object about HTTP names the service",
            ),
            (
                with(AppProtocol::Unknown),
                "10.96.0.7:80",
                "",
                false,
                "TCP: the port declares no protocol (appProtocol, or its name), and no object about HTTP names the service",
            ),
            (
                with(AppProtocol::Unknown),
                "10.96.0.7:80",
                "detect",
                false,
                "HTTP: the port declares nothing, and weir.dev/http of the pod or its namespace is detect",
            ),
            (with(AppProtocol::Tcp), "10.96.0.7:80", "detect", true, "TCP: the port declares TCP"),
            (with(AppProtocol::Tls), "10.96.0.7:80", "", true, "TCP: the port declares TLS"),
            (http.clone(), "10.96.0.7:81", "", true, "TCP: the service has no such port"),
            (http.clone(), "10.96.0.8:80", "", true, "TCP: the address is that of no service"),
            (http.clone(), "10.96.0.7:80", "off", true, "TCP: weir.dev/http of the pod or its namespace is off"),
            (
                Service { waypoint: Some(gateway_named("w.example.com")), ..http.clone() },
                "10.96.0.7:80",
                "",
                true,
                "TCP: the service has a waypoint, which sees to its requests",
            ),
            (
                Service { load_balancing: passthrough, ..http },
                "10.96.0.7:80",
                "",
                true,
                "TCP: connections to the service go to the address that was dialled",
            ),
        ];
        for (service, dialled, value, is_named, expected) in rows {
            let mesh = mesh([service.into()]);
            let dialled = OriginalDst(dialled.parse().expect("an address"));
            let served = Served::of(&mesh, &source, dialled, || HttpWish::of(&labels(value)), |_, _| is_named);
            let text = match served {
                Served::Http { because, .. } => format!("HTTP: {because}"),
                Served::Tcp(because) => format!("TCP: {because}"),
            };
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_port_of_a_pod_carries_what_all_of_its_services_declare() {
        let with = |host: &str, protocol| {
            let mut service = service(host, &[], &[(80, 8080)]);
            service.ports[0].app_protocol = protocol;
            MeshUpdate::from(service)
        };
        let server = serving(
            workload("server", &["10.0.0.1"]),
            &[("one.example", 80, 8080), ("two.example", 80, 8080), ("strange.example", 80, 9090)],
        );
        for (one, two, expected) in [
            (AppProtocol::Tcp, AppProtocol::Tls, Carries::Bytes),
            (AppProtocol::Http11, AppProtocol::Grpc, Carries::Http),
            (AppProtocol::Tcp, AppProtocol::Unknown, Carries::Unknown),
            (AppProtocol::Http11, AppProtocol::Tcp, Carries::Unknown),
            (AppProtocol::Unknown, AppProtocol::Unknown, Carries::Unknown),
        ] {
            let mesh = mesh([with("one.example", one), with("two.example", two)]);
            assert_eq!(carries(&mesh, &server, 8080), expected, "{one:?} {two:?}");
            // A service that is not known, and a port of no service.
            assert!([9090, 1].iter().all(|port| carries(&mesh, &server, *port) == Carries::Unknown));
        }
    }
}
