//! The images that the nodes of a test get: Weir's, the one that pods of tests run, and the one that holds pods together.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::image::archive::Image;
use crate::image::layer::{FILE, Layer, PROGRAM};
use crate::image::libraries;
use crate::image::programs::{Profile, stripped};
use crate::{image, step, workspace};

/// As `daemonset.yaml` names it, in the full form that a node looks for.
const WEIR: &str = "docker.io/library/weir:dev";
const APP: &str = "weir.test/app:1";
const PAUSE: &str = "weir.test/pause:1";
/// What of busybox pods of tests have.
const COMMANDS: &[&str] = &[
    "sh", "cat", "echo", "env", "false", "grep", "head", "hostname", "httpd", "id", "ip", "kill", "ls", "mkdir",
    "mount", "nc", "netstat", "nsenter", "nslookup", "ping", "ps", "rm", "sed", "sleep", "tail", "test", "timeout",
    "touch", "true", "wget", "wc",
];

/// Makes the archives; returns their folder.
pub(super) fn make(parts: &Path) -> Result<PathBuf> {
    let folder = workspace::target().join("k8s");
    fs::create_dir_all(&folder)?;
    let programs = workspace::target().join("release");
    step::announced(&format!("packing {APP} and {PAUSE}"), || {
        let mut app = Layer::new();
        let test_app = stripped(&programs.join("weir-test-app"), Profile::Release)?;
        libraries::add_program(&mut app, "/bin/weir-test-app", &test_app)?;
        app.file("/bin/busybox", busybox(parts), PROGRAM);
        for name in COMMANDS {
            app.link(&format!("/bin/{name}"), "busybox");
        }
        app.bytes("/etc/passwd", "root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n", FILE);
        app.bytes("/etc/group", "root:x:0:\nuser:x:1000:\n", FILE);
        app.directory("/tmp", 0o1777);
        app.directory("/www", 0o755);
        pack(&folder.join("app.tar"), APP, app, "/bin/weir-test-app")?;
        let mut pause = Layer::new();
        let holder = stripped(&programs.join("weir-pause"), Profile::Release)?;
        libraries::add_program(&mut pause, "/bin/weir-pause", &holder)?;
        pack(&folder.join("pause.tar"), PAUSE, pause, "/bin/weir-pause")
    })?;
    image::weir(&folder.join("weir.tar"), WEIR, Profile::Release)?;
    Ok(folder)
}

fn pack(archive: &Path, name: &str, layer: Layer, entrypoint: &str) -> Result<()> {
    let environment = vec!["PATH=/bin".to_owned()];
    let image = Image {
        name: name.to_owned(),
        layer,
        entrypoint: vec![entrypoint.to_owned()],
        environment,
        labels: Vec::new(),
    };
    image.write(archive, 0).map(drop)
}

fn busybox(parts: &Path) -> PathBuf {
    let usual = parts.join("root/bin/busybox");
    if usual.exists() { usual } else { parts.join("root/usr/bin/busybox") }
}
