//! containerd, runc, network plugins, etcd and what they call, from Debian's packages: downloaded by apt, which checks
//! their signatures, and unpacked into a folder. Nothing is installed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::stamp;
use crate::{setup, step, workspace};

const PACKAGES: &[&str] = &[
    "containerd",
    "runc",
    "containernetworking-plugins",
    "etcd-server",
    // What pods of tests have for a shell.
    "busybox-static",
    // What kube-proxy calls, and the libraries of these.
    "nftables",
    "iptables",
    "conntrack",
    "libnftnl11",
    "libnftables1",
    "libnfnetlink0",
    "libnetfilter-conntrack3",
    "libip4tc2",
    "libip6tc2",
    "libxtables12",
    "libmnl0",
    "libjansson4",
    // What containerd forwards ports with.
    "socat",
];
/// What a package's own installation would link to the form of iptables that is in use.
const IPTABLES: &[&str] =
    &["iptables", "ip6tables", "iptables-save", "ip6tables-save", "iptables-restore", "ip6tables-restore"];

/// Makes Prometheus be in `prometheus`: apart from the others, as it is large and no part of a cluster.
pub(super) fn prometheus(folder: &Path) -> Result<()> {
    let what = "fetching Prometheus (20 MB) from Debian and unpacking it";
    stamp::once(folder, "prometheus", "prometheus\n", what, || {
        unpacked(&["prometheus"], folder, "prometheus", |_| Ok(()))
    })
}

/// Makes the packages' files be in `root`.
pub(super) fn unpack(folder: &Path) -> Result<()> {
    let versions = format!("{}\n", PACKAGES.join(" "));
    let what = format!("fetching {} Debian packages (60 MB) and unpacking them", PACKAGES.len());
    stamp::once(folder, "debian", &versions, &what, || {
        let known = setup::in_path("apt-get").is_some() && setup::in_path("dpkg-deb").is_some();
        ensure!(known, "containerd and its companions come from Debian, by apt-get and dpkg-deb, which are not here");
        unpacked(PACKAGES, folder, "root", link_iptables)
    })
}

fn link_iptables(root: &Path) -> Result<()> {
    for name in IPTABLES {
        let link = root.join("usr/sbin").join(name);
        let _ = fs::remove_file(&link);
        symlink("xtables-nft-multi", &link).with_context(|| format!("linking {}", link.display()))?;
    }
    Ok(())
}

/// Downloads packages and unpacks them into `name`, which is replaced as a whole once all is there.
fn unpacked(packages: &[&str], folder: &Path, name: &str, finish: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let (archives, fresh) = (folder.join(format!("{name}.debs")), folder.join(format!("{name}.unfinished")));
    for emptied in [&archives, &fresh] {
        if emptied.exists() {
            fs::remove_dir_all(emptied)?;
        }
        fs::create_dir_all(emptied)?;
    }
    download(packages, &archives)?;
    for archive in fs::read_dir(&archives)? {
        let archive = archive?.path();
        step::output(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&fresh))?;
    }
    finish(&fresh)?;
    let root = folder.join(name);
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::rename(&fresh, &root)?;
    Ok(fs::remove_dir_all(&archives)?)
}

/// With the package lists there are, or else with new ones.
fn download(packages: &[&str], into: &Path) -> Result<()> {
    let fetch = || step::output(Command::new("apt-get").current_dir(into).args(["-qq", "download"]).args(packages));
    if fetch().is_ok() {
        return Ok(());
    }
    step::output(workspace::as_root("apt-get").args(["-qq", "update"])).context("fetching Debian's package lists")?;
    fetch().map(drop)
}
