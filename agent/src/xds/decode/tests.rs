//! What decodes to what, and which field of a resource is blamed when it does not.

use prost::Message;

use super::*;
use crate::model::authorization::{Action, PolicyScope, StringMatch};
use crate::model::http::objects::PathNormalization;
use crate::model::identity::TrustDomain;
use crate::model::mesh::{AccessLogEncoding, IstioAccessLog, MeshSettings, MeshUpdate, OutboundTrafficPolicy};
use crate::model::service::GatewayDestination;
use crate::model::workload::LABELS_EXTENSION;
use crate::model::workload::TunnelProtocol;
use crate::proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use crate::proto::istio::mesh::v1alpha1 as mesh_pb;
use crate::proto::istio::security as policy_pb;
use crate::proto::istio::workload as pb;

fn recorded(file: &str) -> DeltaDiscoveryResponse {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/istiod-1.31/node");
    let bytes = std::fs::read(format!("{folder}/{file}.pb")).expect("the recording is in the repository");
    DeltaDiscoveryResponse::decode(bytes.as_slice()).expect("it is a response")
}

fn own_settings() -> MeshSettings {
    MeshSettings {
        trust_domain: TrustDomain::new("own.example"),
        trust_domain_aliases: vec![TrustDomain::new("old.example")],
        outbound_traffic_policy: OutboundTrafficPolicy::AllowAny,
        access_log: None,
        root_namespace: "istio-system".into(),
        ca_certificates: Vec::new(),
        network: "net1".into(),
    }
}

#[test]
fn all_that_a_real_istiod_sent_decodes() {
    let (mut workloads, mut services) = (Vec::new(), Vec::new());
    for resource in recorded("istio.workload.Address").resources {
        match address(&resource.name, &resource.resource.expect("a body").value).expect(&resource.name) {
            MeshUpdate::Workload(workload) => workloads.push(workload),
            MeshUpdate::Service(service) => services.push(service),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((workloads.len(), services.len()), (18, 8));
    let details = workloads.iter().find(|workload| &*workload.name == "details-v1-1").expect("recorded");
    assert_eq!(details.identity().to_string(), "spiffe://cluster.local/ns/bookinfo/sa/bookinfo-details");
    assert_eq!(details.protocol, TunnelProtocol::Hbone);
    assert_eq!((&*details.node, details.capacity), ("node-1", 1));
    let waypoint = details.waypoint.as_ref().expect("recorded");
    assert!(matches!(&waypoint.destination, GatewayDestination::Hostname(key) if &*key.namespace == "istio-system"));

    let mut policies = Vec::new();
    for resource in recorded("istio.security.Authorization").resources {
        policies.push(authorization(&resource.name, &resource.resource.expect("a body").value).expect(&resource.name));
    }
    let strict =
        policies.iter().find(|policy| policy.key.ends_with("/istio_converted_static_strict")).expect("recorded");
    assert_eq!((strict.scope, strict.action), (PolicyScope::WorkloadSelector, Action::Deny));
    assert_eq!(strict.groups[0].clauses[0].matches[0].not_principals, [StringMatch::Presence]);

    let config = recorded("core_v1alpha1_MeshConfig").resources.remove(0).resource.expect("a body");
    assert_eq!(config.type_url, crate::resources::MESH_CONFIG_BODY_TYPE_URL);
    let (decoded, read) = mesh_config(&own_settings(), &config.value).expect("it decodes");
    assert_eq!(read.without_effect, [] as [String; 0], "Istio's defaults are nobody's wish");
    // Its accessLogFile is /dev/stdout, as that of `tests/src/cluster/istiod.rs`.
    let access_log = Some(IstioAccessLog::default());
    let expected = MeshSettings { trust_domain: TrustDomain::new("cluster.local"), access_log, ..own_settings() };
    assert_eq!(decoded, expected);
}

fn workload(change: impl FnOnce(&mut pb::Workload)) -> Result<MeshUpdate, String> {
    let port = pb::Port { service_port: 80, target_port: 8080, app_protocol: 0 };
    let mut wire = pb::Workload {
        uid: "uid".into(),
        addresses: vec![vec![10, 0, 0, 1].into()],
        services: [("ns/host".to_owned(), pb::PortList { ports: vec![port] })].into(),
        ..Default::default()
    };
    change(&mut wire);
    let wire = pb::Address { r#type: Some(pb::address::Type::Workload(wire)) };
    address("uid", &wire.encode_to_vec()).map_err(|malformed| malformed.to_string())
}

#[test]
fn a_malformed_workload_is_refused_by_its_field() {
    type Change = fn(&mut pb::Workload);
    let rows: &[(Change, &str)] = &[
        (|w| w.uid.clear(), "workload.uid: empty"),
        (|w| w.uid = "other".into(), r#"workload.uid: "other" where the resource is named "uid""#),
        (|w| w.addresses.push(vec![1, 2, 3].into()), "workload.addresses[1]: an IP address has 4 or 16 bytes, not 3"),
        (|w| w.tunnel_protocol = 2, "workload.tunnel_protocol: LEGACY_ISTIO_MTLS is not supported"),
        (|w| w.tunnel_protocol = 9, "workload.tunnel_protocol: value 9 is not known"),
        (|w| w.workload_type = 9, "workload.workload_type: value 9 is not known"),
        (|w| w.status = -1, "workload.status: value -1 is not known"),
        (|w| w.network_mode = 2, "workload.network_mode: value 2 is not known"),
        (|w| w.waypoint = Some(pb::GatewayAddress::default()), "workload.waypoint.destination: not set"),
        (
            |w| w.network_gateway = Some(gateway(&[1], 15008)),
            "workload.network_gateway.address: an IP address has 4 or 16 bytes, not 1",
        ),
        (|w| w.waypoint = Some(gateway(&[10, 0, 0, 1], 65_536)), "workload.waypoint.hbone_mtls_port: 65536 is no port"),
        (
            |w| w.application_tunnel = Some(pb::ApplicationTunnel { protocol: 5, port: 1 }),
            "workload.application_tunnel.protocol: value 5 is not known",
        ),
        (
            |w| w.services.get_mut("ns/host").unwrap().ports[0].target_port = 70_000,
            "workload.services[ns/host].ports[0].target_port: 70000 is no port",
        ),
        (
            |w| drop(w.services.insert("host".into(), pb::PortList::default())),
            r#"workload.services[host]: "host" is not of the form namespace/hostname"#,
        ),
    ];
    for (change, expected) in rows {
        assert_eq!(workload(change).expect_err(expected), *expected);
    }
    let nothing = address("uid", &[]).expect_err("nothing is set");
    assert_eq!(nothing.to_string(), "type: not set");
    let garbage = address("uid", &[0xff]).expect_err("no message begins like this");
    assert!(matches!(garbage.flaw, Flaw::NotProtobuf(_)), "{garbage}");
}

fn gateway(ip: &[u8], port: u32) -> pb::GatewayAddress {
    let address = pb::NetworkAddress { address: ip.to_vec(), ..Default::default() };
    pb::GatewayAddress { destination: Some(pb::gateway_address::Destination::Address(address)), hbone_mtls_port: port }
}

#[test]
fn what_a_workload_leaves_open_has_its_meaning() {
    let Ok(MeshUpdate::Workload(decoded)) = workload(|w| {
        w.addresses = vec![[&[0; 10][..], &[255, 255, 10, 0, 0, 7]].concat().into()];
        w.waypoint = Some(gateway(&[10, 0, 0, 1], 0));
    }) else {
        panic!("it is a workload")
    };
    assert_eq!(decoded.addresses, ["10.0.0.7".parse::<std::net::IpAddr>().unwrap()], "mapped addresses are IPv4");
    assert_eq!((decoded.trust_domain.as_str(), &*decoded.service_account), ("cluster.local", "default"));
    assert_eq!(decoded.waypoint.unwrap().hbone_mtls_port, 15008);
}

fn service(change: impl FnOnce(&mut pb::Service)) -> Result<MeshUpdate, String> {
    let mut wire = pb::Service { namespace: "ns".into(), hostname: "host".into(), ..Default::default() };
    change(&mut wire);
    let wire = pb::Address { r#type: Some(pb::address::Type::Service(wire)) };
    address("ns/host", &wire.encode_to_vec()).map_err(|malformed| malformed.to_string())
}

fn vip(address: &[u8], length: Option<u32>) -> pb::NetworkAddress {
    pb::NetworkAddress { network: String::new(), address: address.to_vec(), length }
}

#[test]
fn a_malformed_service_is_refused_by_its_field() {
    type Change = fn(&mut pb::Service);
    let rows: &[(Change, &str)] = &[
        (|s| s.hostname.clear(), "service.hostname: empty"),
        (|s| s.namespace = "other".into(), r#"service: "other/host" where the resource is named "ns/host""#),
        (|s| s.addresses.push(vip(&[], None)), "service.addresses[0]: an IP address has 4 or 16 bytes, not 0"),
        (
            |s| s.addresses.push(vip(&[10, 0, 0, 0], Some(33))),
            "service.addresses[0]: prefix length 33 for an address of 32 bits",
        ),
        (
            |s| s.ports.push(pb::Port { service_port: 65_536, ..Default::default() }),
            "service.ports[0].service_port: 65536 is no port",
        ),
        (
            |s| s.ports.push(pb::Port { app_protocol: 6, ..Default::default() }),
            "service.ports[0].app_protocol: value 6 is not known",
        ),
        (|s| s.ip_families = 4, "service.ip_families: value 4 is not known"),
        (|s| s.visibility = 2, "service.visibility: value 2 is not known"),
        (
            |s| s.load_balancing = Some(pb::LoadBalancing { mode: 4, ..Default::default() }),
            "service.load_balancing.mode: value 4 is not known",
        ),
        (
            |s| s.load_balancing = Some(pb::LoadBalancing { routing_preference: vec![0], ..Default::default() }),
            "service.load_balancing.routing_preference: UNSPECIFIED_SCOPE is not supported",
        ),
    ];
    for (change, expected) in rows {
        assert_eq!(service(change).expect_err(expected), *expected);
    }
}

#[test]
fn blocks_are_read_without_their_host_bits() {
    let mapped = [&[0; 10][..], &[255, 255, 10, 1, 2, 3]].concat();
    let rows: &[(&[u8], Option<u32>, &str)] = &[
        (&[10, 1, 2, 3], None, "10.1.2.3/32"),
        (&[10, 1, 2, 3], Some(24), "10.1.2.0/24"),
        (&[10, 1, 2, 3], Some(0), "0.0.0.0/0"),
        (&mapped, None, "10.1.2.3/32"),
        (&mapped, Some(104), "10.0.0.0/8"),
        (&mapped, Some(64), "::/64"),
        (&[0x20; 16], Some(16), "2020::/16"),
    ];
    for (bytes, length, expected) in rows {
        let Ok(MeshUpdate::Service(service)) = service(|s| s.addresses.push(vip(bytes, *length))) else {
            panic!("it is a service")
        };
        assert_eq!(service.vips[0].block.to_string(), *expected);
    }
}

fn policy(change: impl FnOnce(&mut policy_pb::Match)) -> policy_pb::Authorization {
    let mut one = policy_pb::Match::default();
    change(&mut one);
    let rules = policy_pb::Rules { matches: vec![policy_pb::Match::default(), one] };
    policy_pb::Authorization {
        name: "name".into(),
        namespace: "ns".into(),
        groups: vec![policy_pb::Group { rules: vec![rules] }],
        ..Default::default()
    }
}

fn refused(policy: &policy_pb::Authorization) -> String {
    authorization("ns/name", &policy.encode_to_vec()).expect_err("it is malformed").to_string()
}

#[test]
fn a_principal_that_matches_nobody_must_not_open_anything() {
    use policy_pb::string_match::MatchType;
    let exact = |text: &str| policy_pb::StringMatch { match_type: Some(MatchType::Exact(text.into())) };
    let bad = || vec![exact("*/ns/a/sa/b"), exact("spiffe://td/ns/a/sa/b")];
    let why = "Exact(\"*/ns/a/sa/b\") matches nobody: a principal is <trust domain>/ns/<namespace>/sa/<service account>, without spiffe://";
    // Action, the positive values, the negative ones, the field that is blamed.
    let rows = [
        (policy_pb::Action::Deny, bad(), Vec::new(), Some("principals")),
        (policy_pb::Action::Deny, Vec::new(), bad(), None),
        (policy_pb::Action::Allow, bad(), Vec::new(), None),
        (policy_pb::Action::Allow, Vec::new(), bad(), Some("not_principals")),
    ];
    for (action, principals, not_principals, blamed) in rows {
        let mut policy = policy(|m| (m.principals, m.not_principals) = (principals, not_principals));
        policy.action = action.into();
        let found = authorization("ns/name", &policy.encode_to_vec()).err().map(|malformed| malformed.to_string());
        let expected = blamed.map(|field| format!("groups[0].rules[0].matches[1].{field}: {why}"));
        assert_eq!(found, expected, "{action:?}");
    }
}

#[test]
fn a_service_account_that_nobody_has_must_not_open_anything() {
    let bad = |m: &mut policy_pb::Match| {
        let service_account = "system:serviceaccount:shop:web".to_owned();
        m.service_accounts.push(policy_pb::ServiceAccountMatch { namespace: "shop".into(), service_account });
    };
    for (action, is_refused) in [(policy_pb::Action::Deny, true), (policy_pb::Action::Allow, false)] {
        let mut policy = policy(bad);
        policy.action = action.into();
        let found = authorization("ns/name", &policy.encode_to_vec()).err().map(|malformed| malformed.to_string());
        let why =
            "groups[0].rules[0].matches[1].service_accounts: \"shop/system:serviceaccount:shop:web\" matches nobody";
        assert_eq!(found.is_some_and(|found| found.starts_with(why)), is_refused, "{action:?}");
    }
}

#[test]
fn a_port_that_no_connection_has_must_not_open_anything() {
    // Action, the positive values, the negative ones, the field that is blamed.
    let rows = [
        (policy_pb::Action::Deny, vec![80, 0], Vec::new(), Some("destination_ports")),
        (policy_pb::Action::Deny, Vec::new(), vec![0], None),
        (policy_pb::Action::Allow, vec![0], Vec::new(), None),
        (policy_pb::Action::Allow, Vec::new(), vec![0], Some("not_destination_ports")),
    ];
    for (action, ports, not_ports, blamed) in rows {
        let mut policy = policy(|m| (m.destination_ports, m.not_destination_ports) = (ports, not_ports));
        policy.action = action.into();
        let found = authorization("ns/name", &policy.encode_to_vec()).err().map(|malformed| malformed.to_string());
        let expected = blamed.map(|field| format!("groups[0].rules[0].matches[1].{field}: 0 is no port"));
        assert_eq!(found, expected, "{action:?}");
    }
}

#[test]
fn a_namespace_that_nobody_has_must_not_open_anything() {
    use policy_pb::string_match::MatchType;
    let bad = || vec![policy_pb::StringMatch { match_type: Some(MatchType::Prefix("ns/shop".into())) }];
    let why = "Prefix(\"ns/shop\") matches nobody: a namespace is a name such as shop";
    // Action, the positive values, the negative ones, the field that is blamed.
    let rows = [
        (policy_pb::Action::Deny, bad(), Vec::new(), Some("namespaces")),
        (policy_pb::Action::Deny, Vec::new(), bad(), None),
        (policy_pb::Action::Allow, bad(), Vec::new(), None),
        (policy_pb::Action::Allow, Vec::new(), bad(), Some("not_namespaces")),
    ];
    for (action, namespaces, not_namespaces, blamed) in rows {
        let mut policy = policy(|m| (m.namespaces, m.not_namespaces) = (namespaces, not_namespaces));
        policy.action = action.into();
        let found = authorization("ns/name", &policy.encode_to_vec()).err().map(|malformed| malformed.to_string());
        let expected = blamed.map(|field| format!("groups[0].rules[0].matches[1].{field}: {why}"));
        assert_eq!(found, expected, "{action:?}");
    }
}

#[test]
fn a_malformed_policy_is_refused_by_its_field() {
    use policy_pb::string_match::MatchType;
    type Change = fn(&mut policy_pb::Match);
    let exact = |text: &str| policy_pb::StringMatch { match_type: Some(MatchType::Exact(text.into())) };
    assert!(authorization("ns/name", &policy(|m| m.principals.push(exact("a"))).encode_to_vec()).is_ok());
    let rows: &[(Change, &str)] = &[
        (|m| m.principals.push(policy_pb::StringMatch::default()), "principals: not set"),
        (
            |m| m.not_namespaces.push(policy_pb::StringMatch { match_type: Some(MatchType::Prefix(String::new())) }),
            "not_namespaces: empty",
        ),
        (
            |m| m.source_ips.push(policy_pb::Address { address: vec![1; 5], length: 8 }),
            "source_ips: an IP address has 4 or 16 bytes, not 5",
        ),
        (
            |m| m.not_destination_ips.push(policy_pb::Address { address: vec![1; 16], length: 129 }),
            "not_destination_ips: prefix length 129 for an address of 128 bits",
        ),
        (|m| m.destination_ports.push(65_536), "destination_ports: 65536 is no port"),
        (|m| m.service_accounts.push(policy_pb::ServiceAccountMatch::default()), "service_accounts: empty"),
        (|m| m.extensions.push(Vec::new()), "extensions: a condition of an extension is not supported"),
    ];
    for (change, expected) in rows {
        assert_eq!(refused(&policy(change)), format!("groups[0].rules[0].matches[1].{expected}"));
    }
    assert_eq!(refused(&policy_pb::Authorization { action: 2, ..policy(|_| ()) }), "action: value 2 is not known");
    assert_eq!(refused(&policy_pb::Authorization { scope: 3, ..policy(|_| ()) }), "scope: value 3 is not known");
    let elsewhere = policy_pb::Authorization { namespace: "other".into(), ..policy(|_| ()) };
    assert_eq!(refused(&elsewhere), r#"name: "other/name" where the resource is named "ns/name""#);
}

#[test]
fn a_policy_that_cannot_be_read_denies_as_far_as_it_may_have_reached() {
    let bytes =
        |scope: i32| policy_pb::Authorization { scope, ..policy(|m| m.destination_ports.push(99_999)) }.encode_to_vec();
    let broken = |scope: i32| [bytes(scope), vec![0xff]].concat();
    let rows: &[(&str, Vec<u8>, PolicyScope, &str)] = &[
        ("ns/name", bytes(2), PolicyScope::WorkloadSelector, "ns"),
        ("ns/name", bytes(1), PolicyScope::Namespace, "ns"),
        ("ns/name", bytes(0), PolicyScope::Global, "ns"),
        ("ns/name", bytes(7), PolicyScope::Namespace, "ns"),
        // The end is missing: what was read stands, what may not have been read does not.
        ("ns/name", broken(2), PolicyScope::WorkloadSelector, "ns"),
        ("ns/name", broken(0), PolicyScope::Namespace, "ns"),
        // Nothing is readable but the name.
        ("ns/name", vec![0xff], PolicyScope::Namespace, "ns"),
        ("ns/name", vec![], PolicyScope::Namespace, "ns"),
        ("istio-system/name", vec![0xff], PolicyScope::Global, "istio-system"),
        ("name", vec![0xff], PolicyScope::Global, ""),
    ];
    for (name, body, scope, namespace) in rows {
        let denial = denial_of_unreadable(name, body, "why", "istio-system");
        assert_eq!((denial.scope, &*denial.namespace), (*scope, *namespace), "{name} {body:?}");
        assert_eq!((denial.action, denial.dry_run, &*denial.key), (Action::Deny, false, *name));
        assert_eq!(denial.invalid.as_deref(), Some("why"));
    }
}

#[test]
fn mesh_configuration_counts_where_it_speaks() {
    let decode = |config: &mesh_pb::MeshConfig| {
        mesh_config(&own_settings(), &config.encode_to_vec()).map(|(settings, _)| settings)
    };
    assert_eq!(decode(&mesh_pb::MeshConfig::default()), Ok(own_settings()));
    let spoken = mesh_pb::MeshConfig {
        outbound_traffic_policy: Some(outbound_mode(0)),
        trust_domain: "mesh.example".into(),
        root_namespace: "root".into(),
        trust_domain_aliases: vec!["older.example".into(), String::new(), "old.example".into()],
        ca_certificates: [("own", ""), ("listed", "mesh.example"), ("other", "other.example")]
            .map(|(pem, domain)| mesh_pb::mesh_config::CertificateData {
                trust_domains: [domain].iter().filter(|domain| !domain.is_empty()).map(ToString::to_string).collect(),
                certificate_data: Some(mesh_pb::mesh_config::certificate_data::CertificateData::Pem(pem.into())),
            })
            .into(),
        access_log_file: "/dev/stdout".into(),
        access_log_format: "%PROTOCOL%".into(),
        access_log_encoding: 1,
        ..mesh_pb::MeshConfig::default()
    };
    let expected = MeshSettings {
        trust_domain: TrustDomain::new("mesh.example"),
        trust_domain_aliases: vec![TrustDomain::new("old.example"), TrustDomain::new("older.example")],
        outbound_traffic_policy: OutboundTrafficPolicy::RegistryOnly,
        access_log: Some(IstioAccessLog { format: "%PROTOCOL%".into(), encoding: AccessLogEncoding::Json }),
        root_namespace: "root".into(),
        ca_certificates: vec!["own".into(), "listed".into()],
        network: "net1".into(),
    };
    assert_eq!(decode(&spoken), Ok(expected));
    let without_file = mesh_pb::MeshConfig { access_log_format: "%PROTOCOL%".into(), ..Default::default() };
    assert_eq!(decode(&without_file), Ok(own_settings()), "lines are asked for by the file");
}

fn outbound_mode(mode: i32) -> mesh_pb::mesh_config::OutboundTrafficPolicy {
    mesh_pb::mesh_config::OutboundTrafficPolicy { mode, tls: None }
}

#[test]
fn a_value_of_mesh_configuration_that_is_not_known_affects_its_field_alone() {
    use OutboundTrafficPolicy::{AllowAny, RegistryOnly};
    let decode = |config: &mesh_pb::MeshConfig| {
        let config = mesh_pb::MeshConfig { trust_domain: "mesh.example".into(), ..config.clone() };
        let (settings, config) = mesh_config(&own_settings(), &config.encode_to_vec()).expect("it decodes");
        assert_eq!(settings.trust_domain, TrustDomain::new("mesh.example"));
        (settings, config)
    };
    let tls = |mode| Some(mesh_pb::mesh_config::outbound_traffic_policy::ClientTls { mode });
    for (mode, tls, expected, note) in [
        (1, None, AllowAny, ""),
        (3, None, AllowAny, "outboundTrafficPolicy.mode: counts as ALLOW_ANY:"),
        (3, tls(0), AllowAny, "outboundTrafficPolicy.mode: counts as ALLOW_ANY:"),
        (3, tls(1), RegistryOnly, "outboundTrafficPolicy.mode: counts as REGISTRY_ONLY:"),
        (4, None, RegistryOnly, "outboundTrafficPolicy.mode: value 4 is not known here and counts as REGISTRY_ONLY"),
    ] {
        let policy = mesh_pb::mesh_config::OutboundTrafficPolicy { tls, ..outbound_mode(mode) };
        let (settings, config) =
            decode(&mesh_pb::MeshConfig { outbound_traffic_policy: Some(policy), ..Default::default() });
        assert_eq!(settings.outbound_traffic_policy, expected, "{mode}");
        let told = config.without_effect.concat();
        assert!(told.starts_with(note) && (told.is_empty() == note.is_empty()), "{mode}: {told}");
    }
    let normalization = mesh_pb::mesh_config::ProxyPathNormalization { normalization: 9 };
    let (_, config) = decode(&mesh_pb::MeshConfig {
        access_log_encoding: 2,
        path_normalization: Some(normalization),
        h2_upgrade_policy: 7,
        ..Default::default()
    });
    assert_eq!(config.http.path_normalization, Some(PathNormalization::DecodeAndMergeSlashes));
    assert_eq!((config.http.upgrades_to_http2, config.telemetry.log_form.encoding), (false, AccessLogEncoding::Text));
    let expected = [
        "accessLogEncoding: value 2 is not known here and counts as TEXT",
        "pathNormalization.normalization: value 9 is not known here and counts as DECODE_AND_MERGE_SLASHES",
        "h2UpgradePolicy: value 7 is not known here and counts as DO_NOT_UPGRADE",
    ];
    assert_eq!(config.without_effect, expected);
}

#[test]
fn labels_come_in_an_extension() {
    let extension = |config: Option<Vec<u8>>| pb::Extension {
        name: LABELS_EXTENSION.to_owned(),
        config: config.map(|value| prost_types::Any { value, ..prost_types::Any::default() }),
    };
    let fields = [("tier".to_owned(), "gold".into()), ("number".to_owned(), 5.0.into())].into();
    let labels = prost_types::Struct { fields }.encode_to_vec();
    let decoded = |config| match workload(|wire| wire.extensions.push(extension(config)))? {
        MeshUpdate::Workload(workload) => Ok(workload.labels.sent.clone()),
        other => panic!("{other:?} is no workload"),
    };
    assert_eq!(decoded(Some(labels)), Ok([("tier".to_owned(), "gold".to_owned())].into()));
    assert_eq!(decoded(None), Err("workload.extensions[weir.dev/labels]: not set".to_owned()));
    assert!(
        decoded(Some(vec![255]))
            .is_err_and(|error| error.starts_with("workload.extensions[weir.dev/labels]: not a protobuf"))
    );
}
