//! containerd, runc, network plugins, etcd and what they call, from Debian's packages: downloaded by apt, which checks
//! their signatures, and unpacked into a folder. Nothing is installed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::stamp;
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

/// Downloads the packages that are its arguments and unpacks them into the folder that is its name.
const UNPACK: &str = r#"
set -e
rm -rf "$0" "$0.debs"
mkdir "$0" "$0.debs"
cd "$0.debs"
apt-get -qq download "$@"
for archive in *.deb; do dpkg-deb --extract "$archive" "../$0"; done
rm -r "../$0.debs"
"#;

/// Makes Prometheus be in `prometheus`: apart from the others, as it is large and no part of a cluster.
pub(super) fn prometheus(folder: &Path) -> Result<()> {
    let what = "fetching Prometheus (20 MB) from Debian and unpacking it";
    stamp::once(folder, "prometheus", "prometheus\n", what, || unpack(&["prometheus"], folder, "prometheus"))
}

/// Makes the packages' files be in `root`.
pub(super) fn root(folder: &Path) -> Result<()> {
    let versions = format!("{}\n", PACKAGES.join(" "));
    let what = format!("fetching {} Debian packages (60 MB) and unpacking them", PACKAGES.len());
    stamp::once(folder, "debian", &versions, &what, || {
        unpack(PACKAGES, folder, "root")?;
        for name in IPTABLES {
            let link = folder.join("root/usr/sbin").join(name);
            let _ = fs::remove_file(&link);
            symlink("xtables-nft-multi", &link).with_context(|| format!("linking {}", link.display()))?;
        }
        Ok(())
    })
}

/// Downloads packages, with the lists of them there are or else with new ones, and unpacks them into `name`.
fn unpack(packages: &[&str], folder: &Path, name: &str) -> Result<()> {
    let debian = setup::in_path("apt-get").is_some() && setup::in_path("dpkg-deb").is_some();
    ensure!(debian, "{name} comes from Debian, by apt-get and dpkg-deb, which are not here");
    let fetch = || step::output(Command::new("sh").current_dir(folder).args(["-c", UNPACK, name]).args(packages));
    if fetch().is_err() {
        step::output(workspace::as_root("apt-get").args(["-qq", "update"]))
            .context("fetching Debian's package lists")?;
        fetch()?;
    }
    Ok(())
}
