//! The order of updates does not matter: any order that ends in the same resources gives the same answers.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::model::address::OriginalDst;
use crate::model::authorization::{AccessRequest, Action, Destination, Group, PolicyScope};
use crate::model::mesh::{Mesh, MeshUpdate, VipKind};
use crate::model::sample::{Draw, gateway_named, mesh, policy, service, serving, text, workload};
use crate::model::service::{Service, ServiceKey, Visibility};
use crate::model::workload::{HealthStatus, NetworkMode, Workload};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "waypoint"];

fn pod_ip(number: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(number).unwrap()).into()
}

fn random_workload(draw: &mut Draw) -> Workload {
    let name = format!("pod-{}", draw.below(8));
    let services: Vec<(&str, u16, u16)> =
        (0..draw.below(4)).map(|_| (*draw.one_of(&NAMES), *draw.one_of(&[80, 81, 15008]), 8080)).collect();
    let mut workload = serving(workload(&name, &[]), &services);
    workload.addresses = (0..draw.below(3)).map(|_| pod_ip(draw.below(6))).collect();
    workload.network_mode = *draw.one_of(&[NetworkMode::Standard, NetworkMode::Standard, NetworkMode::HostNetwork]);
    workload.status = *draw.one_of(&[HealthStatus::Healthy, HealthStatus::Healthy, HealthStatus::Unhealthy]);
    workload.waypoint = (draw.below(4) == 0).then(|| gateway_named("waypoint").into());
    workload.authorization_policies = (0..draw.below(2)).map(|_| random_key(draw)).collect();
    workload
}

fn random_service(draw: &mut Draw) -> Service {
    let name = *draw.one_of(&NAMES);
    let vips: Vec<String> = (0..draw.below(3))
        .map(|_| {
            let last = draw.below(4);
            draw.one_of(&[format!("10.1.0.{last}"), format!("10.1.{last}.0/24"), "10.0.0.0/9".to_owned()]).clone()
        })
        .collect();
    let vips: Vec<&str> = vips.iter().map(String::as_str).collect();
    let mut service = service(name, &vips, &[(80, 0), (81, 0)]);
    service.key = ServiceKey::new(draw.one_of::<&str>(&["bookinfo", "shop"]), name);
    service.canonical = draw.below(2) == 0;
    service.visibility = *draw.one_of(&[Visibility::Public, Visibility::Public, Visibility::Namespace]);
    service.waypoint = (draw.below(4) == 0).then(|| gateway_named("waypoint"));
    service
}

fn random_key(draw: &mut Draw) -> std::sync::Arc<str> {
    format!("bookinfo/policy-{}", draw.below(3)).into()
}

fn random_update(draw: &mut Draw) -> MeshUpdate {
    match draw.below(16) {
        0..7 => random_workload(draw).into(),
        7..11 => random_service(draw).into(),
        11 => MeshUpdate::RemoveAddress(format!("Kubernetes//Pod/bookinfo/pod-{}", draw.below(8)).into()),
        12 => MeshUpdate::RemoveAddress(format!("bookinfo/{}", draw.one_of(&NAMES)).into()),
        13 => MeshUpdate::RemoveAuthorization(random_key(draw)),
        _ => {
            let scope = *draw.one_of(&[PolicyScope::Global, PolicyScope::Namespace, PolicyScope::WorkloadSelector]);
            let action = *draw.one_of(&[Action::Allow, Action::Allow, Action::Deny]);
            let groups = vec![Group::default(); draw.below(2)];
            policy(&format!("policy-{}", draw.below(3)), scope, action, groups).into()
        }
    }
}

/// Everything the mesh holds, as updates that would make it.
fn contents(mesh: &Mesh) -> Vec<MeshUpdate> {
    let workloads = mesh.workloads().map(|workload| Workload::clone(workload).into());
    let services = mesh.services().map(|service| Service::clone(service).into());
    let policies = mesh.authorizations().map(|policy| MeshUpdate::Authorization(Box::new((**policy).clone())));
    workloads.chain(services).chain(policies).collect()
}

/// What the mesh answers to every question of this small world; choices by chance as the set of what may be chosen.
fn answers(mesh: &Mesh) -> Vec<String> {
    let mut answers = Vec::new();
    let source = Workload { authorization_policies: vec![], ..workload("source", &["10.9.9.9"]) };
    let addresses = (0..6).map(pod_ip).chain((0..16).map(|n| Ipv4Addr::new(10, 1, n / 4, n % 4).into()));
    for ip in addresses {
        answers.push(format!("{ip} owner {:?}", mesh.workload_by_address("", ip).map(|workload| &workload.uid)));
        for namespace in ["bookinfo", "shop"] {
            let service = [VipKind::Single, VipKind::Block]
                .into_iter()
                .find_map(|kind| mesh.services.by_vip("", ip, namespace, kind))
                .map(|service| &service.key);
            answers.push(format!("{ip} service from {namespace} {service:?}"));
        }
        for port in [80, 81, 82] {
            let destination = OriginalDst((ip, port).into());
            let outcomes: BTreeSet<String> = (0..16)
                .map(|step| match mesh.resolve(&source, destination, || step << 60) {
                    Ok(upstream) => {
                        format!("{:?} {:?}", upstream.transport, upstream.workload.map(|found| found.uid.clone()))
                    }
                    Err(unresolved) => format!("{unresolved:?}"),
                })
                .collect();
            answers.push(format!("{ip}:{port} {outcomes:?}"));
        }
    }
    for name in NAMES {
        let endpoints: BTreeSet<_> =
            mesh.endpoints(&ServiceKey::new("bookinfo", name)).map(|workload| &workload.uid).collect();
        answers.push(format!("{name} {:?} {endpoints:?}", mesh.service_by_hostname(name, "x").map(|found| &found.key)));
    }
    let request = AccessRequest { source: None, source_ip: pod_ip(1), destination: (pod_ip(2), 80).into() };
    let mut decisions: Vec<String> = mesh
        .workloads()
        .map(|workload| format!("{} {:?}", workload.uid, mesh.authorize(&Destination::of(workload), &request)))
        .collect();
    decisions.sort();
    answers.extend(decisions);
    answers
}

#[test]
fn any_order_gives_the_same_answers() {
    let mut draw = Draw(2);
    for round in 0..30 {
        let mut history = Mesh::default();
        for _ in 0..60 {
            history.apply(random_update(&mut draw));
            if draw.below(16) == 0 {
                // Choices must stay right when they were made before the next update, too.
                answers(&history);
            }
        }
        let expected = answers(&history);
        let mut updates = contents(&history);
        for _ in 0..3 {
            draw.shuffle(&mut updates);
            assert_eq!(answers(&mesh(updates.iter().cloned())), expected, "round {round}");
        }
        // The same again, as after a reconnect, changes nothing; removing everything leaves nothing.
        for update in updates {
            history.apply(update);
        }
        assert_eq!(answers(&history), expected, "round {round}");
        let names: Vec<String> = history
            .workloads()
            .map(|workload| workload.uid.to_string())
            .chain(history.services().map(|service| service.key.to_string()))
            .collect();
        for name in names {
            history.apply(MeshUpdate::RemoveAddress(text(&name)));
        }
        for key in history.authorizations().map(|policy| policy.key.clone()).collect::<Vec<_>>() {
            history.apply(MeshUpdate::RemoveAuthorization(key));
        }
        assert_eq!(answers(&history), answers(&Mesh::default()), "round {round}");
    }
}
