//! What reaches an agent while connections come and go.

use std::fs;
use std::time::Duration;

use weir::api::resources::{ADDRESS_TYPE_URL, AUTHORIZATION_TYPE_URL, ResourceType};
use weir::api::xds::XdsOptions;

use crate::kit::{Agent, Home, Running, deny_port, options, uid, until, workload};
use crate::partial::Partial;

/// Every type that an agent asks for is answered once.
const TYPES: u64 = ResourceType::COUNT as u64;

#[tokio::test]
async fn changes_arrive_and_only_they() {
    let home = Home::new();
    home.put("web", &workload("web", "n1", "10.1.0.1"));
    home.put("deny", &deny_port("deny", 81));
    let control_plane = Running::start(&home, 0).await;
    let agent = Agent::start(options(&home, control_plane.port));
    agent.synced().await;
    assert_eq!((agent.workloads(), agent.policies()), (vec!["web".to_owned()], vec!["demo/deny".to_owned()]));
    assert_eq!(&*agent.mesh.read().workload(&uid("web")).unwrap().node, "n1");
    assert!(agent.status.report().connected);
    let first = control_plane.counters.read();
    assert_eq!((first.agents, first.resources), (1, 3), "workload, policy, mesh configuration");

    home.put("api", &workload("api", "n2", "10.1.0.2"));
    let took = until("the new workload", || agent.workloads() == ["api", "web"]).await;
    assert!(took < Duration::from_millis(500), "a change took {took:?}");
    home.remove("deny");
    until("the removal", || agent.policies().is_empty()).await;
    let then = control_plane.counters.read();
    assert_eq!((then.resources - first.resources, then.removals), (1, 1));
    assert_eq!(then.nacks, 0);
    control_plane.stop().await;
    until("the loss is noticed", || !agent.status.report().connected).await;
}

#[tokio::test]
async fn an_agent_that_returns_is_sent_what_it_missed() {
    let home = Home::new();
    for i in 1..=5 {
        home.put(&format!("w{i}"), &workload(&format!("w{i}"), "n1", &format!("10.1.0.{i}")));
    }
    let control_plane = Running::start(&home, 0).await;
    let port = control_plane.port;
    let agent = Agent::start(options(&home, port));
    agent.synced().await;
    control_plane.stop().await;
    until("the loss is noticed", || !agent.status.report().connected).await;
    assert_eq!(agent.workloads().len(), 5, "an agent keeps what it has");

    let control_plane = Running::start(&home, port).await;
    until("it is back", || agent.status.report().connected).await;
    until("all types are answered", || control_plane.counters.read().responses == TYPES).await;
    assert_eq!(control_plane.counters.read().resources, 0, "nothing changed, nothing is sent");
    control_plane.stop().await;

    home.remove("w1");
    home.put("w2", &workload("w2", "n2", "10.1.0.2"));
    let control_plane = Running::start(&home, port).await;
    until("the removal while it was away", || agent.workloads() == ["w2", "w3", "w4", "w5"]).await;
    assert_eq!(&*agent.mesh.read().workload(&uid("w2")).unwrap().node, "n2");
    let counted = control_plane.counters.read();
    assert_eq!((counted.resources, counted.removals), (1, 1));
    control_plane.stop().await;
}

#[tokio::test]
async fn an_agent_serves_the_last_good_mesh_without_its_control_plane() {
    let home = Home::new();
    home.put("web", &workload("web", "n1", "10.1.0.1"));
    home.put("deny", &deny_port("deny", 81));
    let control_plane = Running::start(&home, 0).await;
    let port = control_plane.port;
    let agent = Agent::start(options(&home, port));
    agent.synced().await;
    let file = home.path().join("agent/last-good/mesh");
    until("it is on disk", || file.exists()).await;
    drop(agent);
    control_plane.stop().await;

    let agent = Agent::start(options(&home, port));
    agent.synced().await;
    assert!(agent.status.report().from_disk);
    assert_eq!((agent.workloads(), agent.policies()), (vec!["web".to_owned()], vec!["demo/deny".to_owned()]));
    let control_plane = Running::start(&home, port).await;
    until("it is back", || control_plane.counters.read().responses == TYPES).await;
    assert_eq!(control_plane.counters.read().resources, 0, "what was on disk is not sent again");
    drop(agent);

    let mut damaged = fs::read(&file).unwrap();
    damaged[20] ^= 1;
    fs::write(&file, damaged).unwrap();
    let agent = Agent::start(options(&home, port));
    agent.synced().await;
    assert!(!agent.status.report().from_disk, "a damaged file is ignored");
    assert_eq!(agent.workloads(), ["web"]);
    control_plane.stop().await;
}

#[tokio::test]
async fn an_agent_waits_for_a_control_plane_that_comes_later() {
    let home = Home::new();
    home.put("web", &workload("web", "n1", "10.1.0.1"));
    // Takes a port and gives it back, and leaves the root certificate.
    let control_plane = Running::start(&home, 0).await;
    let port = control_plane.port;
    control_plane.stop().await;
    let agent = Agent::start(options(&home, port));
    until("it has tried", || agent.status.report().last_error.is_some()).await;
    let error = agent.status.report().last_error.unwrap();
    assert!(error.contains("refused"), "{error}");
    assert_eq!(agent.ready.waiting_for(), ["xds"]);
    let control_plane = Running::start(&home, port).await;
    agent.synced().await;
    assert_eq!(agent.workloads(), ["web"]);
    control_plane.stop().await;
}

#[tokio::test]
async fn the_status_says_which_types_an_agent_serves_without() {
    let home = Home::new();
    let control_plane = Partial::start(&[ADDRESS_TYPE_URL, AUTHORIZATION_TYPE_URL]).await;
    let address = format!("http://127.0.0.1:{}", control_plane.port);
    let agent = Agent::start(XdsOptions { address, ..options(&home, control_plane.port) });
    until("it waits for more", || agent.status.report().connected).await;
    assert_eq!(agent.status.report().unanswered, [""; 0], "it does not serve yet");
    agent.synced().await;
    let policies = ["mesh_config", "authorization_policy", "peer_authentication", "request_authentication"];
    let routes = ["virtual_service", "destination_rule", "sidecar", "telemetry", "http_route", "grpc_route"];
    assert_eq!(agent.status.report().unanswered, [&policies[..], &routes, &["rate_limit"]].concat());
    control_plane.answer_all();
    until("all is answered", || agent.status.report().unanswered.is_empty()).await;
}
