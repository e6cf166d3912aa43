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

/// Makes the packages' files be in `root`.
pub(super) fn unpack(folder: &Path) -> Result<()> {
    let versions = format!("{}\n", PACKAGES.join(" "));
    let what = format!("fetching {} Debian packages (60 MB) and unpacking them", PACKAGES.len());
    stamp::once(folder, "debian", &versions, &what, || {
        let known = setup::in_path("apt-get").is_some() && setup::in_path("dpkg-deb").is_some();
        ensure!(known, "containerd and its companions come from Debian, by apt-get and dpkg-deb, which are not here");
        let (packages, fresh) = (folder.join("debs"), folder.join("root.unfinished"));
        for emptied in [&packages, &fresh] {
            if emptied.exists() {
                fs::remove_dir_all(emptied)?;
            }
            fs::create_dir_all(emptied)?;
        }
        download(&packages)?;
        for package in fs::read_dir(&packages)? {
            let package = package?.path();
            step::output(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&fresh))?;
        }
        for name in IPTABLES {
            let link = fresh.join("usr/sbin").join(name);
            let _ = fs::remove_file(&link);
            symlink("xtables-nft-multi", &link).with_context(|| format!("linking {}", link.display()))?;
        }
        let root = folder.join("root");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        fs::rename(&fresh, &root)?;
        Ok(fs::remove_dir_all(&packages)?)
    })
}

/// With the package lists there are, or else with new ones.
fn download(into: &Path) -> Result<()> {
    let fetch = || step::output(Command::new("apt-get").current_dir(into).args(["-qq", "download"]).args(PACKAGES));
    if fetch().is_ok() {
        return Ok(());
    }
    step::output(workspace::as_root("apt-get").args(["-qq", "update"])).context("fetching Debian's package lists")?;
    fetch().map(drop)
}
