//! An agent with its own files: the same source and the same decoder, without a connection.

use weir::api::control_plane::{FileSource, FileSourceOptions, translate};
use weir::api::state::SharedMesh;
use weir::api::xds::{ConfigReceiver, XdsStatus};

use crate::kit::{Home, deny_port, own_settings, until, workload};

fn source(home: &Home) -> FileSourceOptions {
    FileSourceOptions {
        path: home.path().join("objects"),
        translate: translate::Options::default(),
        state_dir: home.path().join("state"),
    }
}

#[tokio::test]
async fn files_become_the_mesh_and_stay_it() {
    let home = Home::new();
    home.put("web", &workload("web", "n1", "10.1.0.1"));
    home.put("deny", &deny_port("deny", 81));
    let files = FileSource::open(source(&home)).await.unwrap();
    let mut snapshots = files.subscribe();
    let (mesh, status) = (SharedMesh::default(), XdsStatus::default());
    let receiver = ConfigReceiver::new(mesh.clone(), status.clone(), own_settings());
    receiver.apply_snapshot(&snapshots.borrow_and_update().resources);
    status.first_sync().await;
    let following = tokio::spawn(files.run());
    let applying = tokio::spawn(async move {
        while snapshots.changed().await.is_ok() {
            receiver.apply_snapshot(&snapshots.borrow_and_update().resources);
        }
    });
    let count = || (mesh.read().workloads().count(), mesh.read().authorizations().count());
    assert_eq!(count(), (1, 1));

    home.put("web", "this: [is no YAML");
    home.put("api", &workload("api", "n1", "10.1.0.2"));
    until("the good file counts, the bad one does not", || count() == (2, 1)).await;
    home.remove("web");
    home.remove("deny");
    until("what is gone goes", || count() == (1, 0)).await;
    following.abort();
    applying.abort();
}

#[tokio::test]
async fn handed_out_addresses_outlive_a_restart() {
    let home = Home::new();
    let host = |name: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: {name}\n  namespace: demo\nspec:\n  \
             hosts: [{name}.example]\n  resolution: DNS\n  ports:\n  - {{number: 80, name: http, protocol: HTTP}}\n"
        )
    };
    home.put("m", &host("m"));
    let before = FileSource::open(source(&home)).await.unwrap().subscribe().borrow().clone();
    home.put("a", &host("a"));
    let after = FileSource::open(source(&home)).await.unwrap().subscribe().borrow().clone();
    let of = |snapshot: &weir::api::control_plane::Snapshot| {
        snapshot.resources.of(weir::api::resources::ResourceType::Address)["demo/m.example"].clone()
    };
    assert_eq!(of(&before), of(&after), "another host that sorts first takes nothing away");
}
