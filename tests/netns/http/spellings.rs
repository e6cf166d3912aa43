//! DENY for a path, and every way to spell that path, against servers that each read paths in their own way.

use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::http_mesh::HttpMesh;
use weir_tests::place::Place;
use weir_tests::world::Pod;
use weir_tests::{nginx, peers, test_app, tomcat, wait};

use super::inbound::policy;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[Case {
    name: "http policy: no spelling of a denied path reaches it, as nginx, Go and Tomcat read paths",
    check: Check::Http(spellings),
}];

/// What servers answer at `/admin/x`.
const REACHED: &str = "REACHED";
/// A port that nothing else in a pod of the HTTP mesh serves on.
const GO_PORT: u16 = 9107;

/// `/admin/x`, and what some server may take for it.
const SPELLINGS: &[&str] = &[
    "/admin/x",
    "/admin/x?y",
    "/admin/x#y",
    "/admin/./x",
    "/./admin/x",
    "/admin/y/../x",
    "/../admin/x",
    "/x/../admin/x",
    "/x/%2e%2e/admin/x",
    "/x/.%2E/admin/x",
    "/%2e/admin/x",
    "//admin/x",
    "///admin/x",
    "/admin//x",
    "/x//../admin/x",
    "/%61dmin/x",
    "/%61%64%6d%69%6e/%78",
    "/admin%2Fx",
    "/admin%2fx",
    "/%2Fadmin/x",
    "/%2fadmin%2fx",
    "/x%2f..%2fadmin/x",
    "/..%2fadmin/x",
    "/%2e%2e%2fadmin/x",
    "/x%2F%2F..%2Fadmin/x",
    "/\\admin/x",
    "/admin\\x",
    "/x\\..\\admin\\x",
    "/admin%5Cx",
    "/x%5c..%5cadmin%5cx",
    "/;/admin/x",
    "/;a=b/admin/x",
    "/admin;/x",
    "/admin;v=1/x",
    "/admin/x;v=1",
    "/admin/;/x",
    "/..;/admin/x",
    "/x/..;/admin/x",
    "/x;/../admin/x",
    "/.;/admin/x",
    "/x/..;a/;b/admin;c/x;d",
    "/%3B/admin/x",
    "/admin%3Bv=1/x",
    "/ADMIN/x",
    "/%41DMIN/x",
    "/admin./x",
    "/admin%20/x",
    "/admin%09/x",
    "/admin%00/x",
    "/%252e%252e/admin/x",
    "/%2561dmin/x",
    "/%c0%ae%c0%ae/admin/x",
    "/%c0%afadmin/x",
    "/%e0%80%afadmin/x",
    "/%u002fadmin/x",
];

fn spellings(mesh: &HttpMesh) -> Result<()> {
    let (pod, run) = (mesh.pod("v2"), mesh.world.run());
    let _nginx = nginx::serve_at(&pod.place, run, "index", nginx::PORT_IN_MESH)?;
    let _tomcat = tomcat::serve(&pod.place, run)?;
    let mut go = pod.place.spawn(&[peers::go("web")?, "serve".to_owned(), GO_PORT.to_string()])?;
    go.listens_on(GO_PORT)?;
    let servers = [("nginx", nginx::PORT_IN_MESH, 10), ("Go", GO_PORT, 3), ("Tomcat", tomcat::PORT, 10)];
    for (server, port, at_least) in servers {
        let reaching = reaching(&mesh.client.place, pod, port)?;
        ensure!(reaching.len() >= at_least, "without a policy only {reaching:?} reach what {server} serves");
        note(format!("{} of {} spellings reach {server}'s page without a policy", reaching.len(), SPELLINGS.len()));
    }
    let _denying = policy(mesh, "v2", "DENY", "[{to: [{operation: {paths: [/admin, \"/admin/*\"]}}]}]")?;
    for (server, port, _) in servers {
        wait::until(&format!("DENY counts for {server}"), Duration::from_secs(10), || {
            let answer = ask(&mesh.client.place, pod, port, "/admin/x")?;
            ensure!(answer.starts_with("HTTP/1.1 403"), "{answer}");
            Ok(())
        })?;
        let reaching = reaching(&mesh.client.place, pod, port)?;
        ensure!(reaching.is_empty(), "past a DENY of /admin/* {reaching:?} reach what {server} serves");
        let other = ask(&mesh.client.place, pod, port, "/administrator")?;
        ensure!(!other.starts_with("HTTP/1.1 403"), "another path is denied: {other}");
    }
    Ok(())
}

/// The spellings by which a server's page is reached.
fn reaching(client: &Place, pod: &Pod, port: u16) -> Result<Vec<&'static str>> {
    let mut reaching = Vec::new();
    for spelling in SPELLINGS {
        if ask(client, pod, port, spelling)?.contains(REACHED) {
            reaching.push(*spelling);
        }
    }
    Ok(reaching)
}

/// The answer to a path that nobody rewrites on its way.
fn ask(client: &Place, pod: &Pod, port: u16, path: &str) -> Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: v2\r\nConnection: close\r\n\r\n");
    Ok(test_app::probe(client, pod.ipv4(), port, &request)?.received)
}
