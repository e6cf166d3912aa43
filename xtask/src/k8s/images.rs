//! The images that the nodes of a test get: Weir's, the one that pods of tests run, and the one that holds pods together.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use serde_json::json;

use crate::image::oci::Image;
use crate::tree::Tree;
use crate::{image, peers, programs, step, workspace};

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
pub(crate) fn make(parts: &Path) -> Result<PathBuf> {
    let folder = workspace::target().join("k8s");
    fs::create_dir_all(&folder)?;
    step::announced(&format!("packing {APP} and {PAUSE}"), || {
        let app = Tree::new(folder.join("app.root"))?;
        app.program("/bin/weir-test-app", &programs::stripped(&programs::release("weir-test-app"), "release")?)?;
        app.program("/bin/curl", Path::new("/usr/bin/curl"))?;
        app.program("/bin/extauthz", &peers::folder().join("extauthz"))?;
        app.file("/bin/busybox", &busybox(parts))?;
        for name in COMMANDS {
            app.link(&format!("/bin/{name}"), "busybox")?;
        }
        app.text("/etc/passwd", "root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n")?;
        app.text("/etc/group", "root:x:0:\nuser:x:1000:\n")?;
        app.directory("/tmp", 0o1777)?;
        app.directory("/www", 0o755)?;
        pack(&folder.join("app.tar"), APP, &app, "/bin/weir-test-app")?;
        let pause = Tree::new(folder.join("pause.root"))?;
        pause.program("/bin/weir-pause", &programs::stripped(&programs::release("weir-pause"), "release")?)?;
        pack(&folder.join("pause.tar"), PAUSE, &pause, "/bin/weir-pause")
    })?;
    image::weir(&folder.join("weir.tar"), WEIR, "release")?;
    Ok(folder)
}

fn pack(archive: &Path, name: &str, root: &Tree, entrypoint: &str) -> Result<()> {
    Image { name, entrypoint, path: "/bin", labels: json!({}) }.pack(root, archive, 0).map(drop)
}

fn busybox(parts: &Path) -> PathBuf {
    let usual = parts.join("root/bin/busybox");
    if usual.exists() { usual } else { parts.join("root/usr/bin/busybox") }
}
