//! A demo that is left up, and the commands to play with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use weir_tests::agent::{Agent, binary};
use weir_tests::http_mesh::HttpMesh;
use weir_tests::world::{N1, Pod};

use crate::shop::{Shop, WEB, Weir};

/// Prints commands that work as they stand.
pub(crate) fn invite(shop: &Shop, weir: &Weir) -> Result<()> {
    let folder = shop.world.run().folder();
    let pod = write_script([&shop.client, &shop.blue, &shop.green], &folder)?;
    let pod = pod.display();
    let weir_binary = binary("weir")?;
    let name = shop.world.run().name();
    print_commands(&[
        ("ask the service", format!("{pod} client curl -s http://{}/", WEB[0])),
        ("ask one pod", format!("{pod} client curl -s http://{}:8080/", shop.green.ipv4())),
        ("load", format!("{pod} client wrk -t1 -c16 -d5s http://{}/", WEB[0])),
        ("enrolled pods of n1", format!("{} pods --socket {}", weir_binary.display(), weir.agents[N1].socket())),
        ("metrics of n1", format!("nsenter --net=/run/netns/{name}-n1 curl -s http://127.0.0.1:15020/metrics")),
        ("what n1 knows", format!("nsenter --net=/run/netns/{name}-n1 curl -s http://127.0.0.1:15000/config_dump")),
        ("the wire", format!("nsenter --net=/run/netns/{name}-fabric tcpdump -ni n2 -A tcp")),
        ("the mesh: edit, add, remove files", format!("ls {}", weir.control_plane.objects.path().display())),
    ]);
    print_logs(&weir.agents);
    Ok(())
}

/// As [`invite`], for the mesh of the second story.
pub(crate) fn invite_to_http(mesh: &HttpMesh) -> Result<()> {
    let pods = mesh.versions.iter().chain([&mesh.client]);
    let pod = write_script(pods, &mesh.world.run().folder())?;
    let (pod, v1) = (pod.display(), mesh.version("v1"));
    let name = mesh.world.run().name();
    print_commands(&[
        ("ask v1", format!("{pod} client curl -si -H 'Host: {}' 'http://{}/?status=201'", v1.host(), v1.vip())),
        ("load", format!("{pod} client wrk -t1 -c16 -d5s http://{}/", v1.vip())),
        ("metrics of n1", format!("nsenter --net=/run/netns/{name}-n1 curl -s http://127.0.0.1:15020/metrics")),
        ("the mesh: edit, add, remove files", format!("ls {}", mesh.control_plane.objects.path().display())),
    ]);
    print_logs(&mesh.agents);
    Ok(())
}

fn print_commands(commands: &[(&str, String)]) {
    println!("\n▌ It is yours until Ctrl-C (or `cargo xtask demo --down` elsewhere). As root:");
    for (what, command) in commands {
        println!("    # {what}\n    {command}");
    }
}

fn print_logs(agents: &[Agent]) {
    for agent in agents {
        if let Some(log) = agent.log_file() {
            println!("    # log of {}'s agent\n    tail -f {}", agent.place().name(), log.display());
        }
    }
}

/// A script that runs a command in a pod: in its cgroup and its network namespace, as a container runtime would.
fn write_script<'a>(pods: impl IntoIterator<Item = &'a Pod>, folder: &Path) -> Result<PathBuf> {
    let mut cases = String::new();
    for pod in pods {
        let (cgroup, netns) = (pod.place.cgroup().display(), pod.netns().path());
        cases += &format!("{}) cgroup={cgroup}; netns={} ;;\n", pod.name(), netns.display());
    }
    let script = format!(
        "#!/bin/sh\n# pod NAME COMMAND…: runs a command in a pod of the demo.\nname=$1; shift\ncase \"$name\" in\n{cases}\
         *) echo \"no such pod: $name\" >&2; exit 1 ;;\nesac\necho $$ > \"$cgroup/cgroup.procs\"\nexec nsenter \"--net=$netns\" \"$@\"\n"
    );
    let path = folder.join("pod");
    fs::write(&path, script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
