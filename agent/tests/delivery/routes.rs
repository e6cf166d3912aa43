//! Objects about requests, from files to the routes that an agent decides with.

use std::collections::BTreeMap;

use weir::api::control_plane::{FileSource, FileSourceOptions, translate};
use weir::api::model::http::SourceView;
use weir::api::model::service::ServiceKey;
use weir::api::state::SharedMesh;
use weir::api::xds::{ConfigReceiver, XdsStatus};

use crate::kit::{Agent, Home, Running, options, own_settings, until};

/// A VirtualService for `web` of `demo` with one rule of this name.
fn virtual_service(rule: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: web, namespace: demo}}\nspec:\n  hosts: [web]\n  \
         http:\n  - name: {rule}\n    route: [{{destination: {{host: web}}}}]\n"
    )
}

/// An HTTPRoute for `api` of `demo`, whose one rule is called by the route's name.
const HTTP_ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: demo}\nspec:\n  \
                          parentRefs: [{group: '', kind: Service, name: api}]\n  rules: [{backendRefs: [{name: api, port: 80}]}]\n";

/// The names of the routes of a service of `demo`, as a client of `demo` sees them; none where no object is about it.
fn routes(mesh: &SharedMesh, service: &str) -> Vec<String> {
    let labels = BTreeMap::new();
    let source = SourceView { namespace: "demo", labels: &labels };
    let service = ServiceKey::new("demo", &format!("{service}.demo.svc.cluster.local"));
    let found = mesh.routes().current().routes(source, &service, 80);
    found.map(|routes| routes.routes().iter().map(|route| route.name.to_string()).collect()).unwrap_or_default()
}

/// Changes files, and expects what an agent makes of each change.
async fn follows(home: &Home, mesh: &SharedMesh) {
    until("a route is there", || routes(mesh, "web") == ["one"]).await;
    home.put("route", HTTP_ROUTE);
    until("a route of the Gateway API is there", || routes(mesh, "api") == ["demo.r.0"]).await;
    home.put("web", &virtual_service("two"));
    until("it is another one", || routes(mesh, "web") == ["two"]).await;
    home.put("web", &virtual_service("three").replace("[web]", "['*']"));
    home.put("route", &HTTP_ROUTE.replace("name: r,", "name: s,"));
    until("the bad file changes nothing, the good one counts", || routes(mesh, "api") == ["demo.s.0"]).await;
    assert_eq!(routes(mesh, "web"), ["two"]);
    home.remove("web");
    home.remove("route");
    until("both are gone", || routes(mesh, "web").is_empty() && routes(mesh, "api").is_empty()).await;
}

#[tokio::test]
async fn an_agent_of_a_control_plane_follows_files() {
    let home = Home::new();
    home.put("web", &virtual_service("one"));
    let control_plane = Running::start(&home, 0).await;
    let agent = Agent::start(options(&home, control_plane.port));
    agent.synced().await;
    follows(&home, &agent.mesh).await;
    control_plane.stop().await;
}

#[tokio::test]
async fn an_agent_with_files_of_its_own_follows_them() {
    let home = Home::new();
    home.put("web", &virtual_service("one"));
    let files = FileSource::open(FileSourceOptions {
        path: home.path().join("objects"),
        translate: translate::Options::default(),
        state_dir: home.path().join("state"),
    });
    let files = files.await.unwrap();
    let mut snapshots = files.subscribe();
    let mesh = SharedMesh::default();
    let receiver = ConfigReceiver::new(mesh.clone(), XdsStatus::default(), own_settings());
    receiver.apply_snapshot(&snapshots.borrow_and_update().resources);
    let following = tokio::spawn(files.run());
    let applying = tokio::spawn(async move {
        while snapshots.changed().await.is_ok() {
            receiver.apply_snapshot(&snapshots.borrow_and_update().resources);
        }
    });
    follows(&home, &mesh).await;
    following.abort();
    applying.abort();
}
