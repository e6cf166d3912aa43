//! istiod's authority gets another root while pods talk, as Istio's documentation has it done: both roots are trusted before the
//! new one signs, and the old one goes when nobody needs it any more.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::certificates::Authority;
use weir_tests::cluster::Cluster;
use weir_tests::cluster::istiod::Istiod;
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::istiod::{certifies, with_istiod};
use crate::mesh;
use crate::pair::{IN_MESH, Pair};

pub(crate) const LONG: &[Case] = &[Case {
    name: "root rotation: istiod's root is replaced by another while pods talk, in 3 minutes",
    check: Check::OwnMesh(root),
}];

/// How long a kubelet may take to bring a changed ConfigMap, and an agent to read it.
const BROUGHT: Duration = Duration::from_secs(150);
/// The variable that tells istiod where the files of its authority are.
const AUTHORITY: &str = "ROOT_CA_DIR";
/// How long load flows: more than all of it takes.
const LOAD: u64 = 150;
const KEPT: u64 = 16;
const RATE: u64 = 50;

/// A root and its key, in PEM.
struct Signer {
    certificate: String,
    key: String,
}

impl Signer {
    /// The one that istiod made for itself, where it keeps it.
    fn of_istiod(cluster: &Cluster) -> Result<Self> {
        let read = |name: &str| -> Result<String> {
            let template = format!("go-template={{{{index .data \"{name}\" | base64decode}}}}");
            let words = ["get", "secret", "istio-ca-secret", "--namespace", mesh::NAMESPACE, "--output", &template];
            cluster.kubectl.run(&words)
        };
        Ok(Self { certificate: read("ca-cert.pem")?, key: read("ca-key.pem")? })
    }

    fn another(cluster: &Cluster) -> Result<Self> {
        let folder = cluster.run().bulk()?.join("another-root");
        fs::create_dir_all(&folder)?;
        Authority::generate()?.store(&folder)?;
        let read = |name: &str| fs::read_to_string(folder.join(name)).with_context(|| name.to_owned());
        Ok(Self { certificate: read("ca-cert.pem")?, key: read("ca-key.pem")? })
    }
}

/// Writes the files that istiod is given an authority by: `signer` signs, and `roots` are trusted.
fn write_authority(folder: &Path, signer: &Signer, roots: &[&Signer]) -> Result<()> {
    let bundle: String = roots.iter().map(|root| root.certificate.as_str()).collect();
    let files = [
        ("ca-cert.pem", &signer.certificate),
        ("ca-key.pem", &signer.key),
        ("cert-chain.pem", &signer.certificate),
        ("root-cert.pem", &bundle),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

fn root(cluster: &mut Cluster) -> Result<()> {
    with_istiod(cluster, replaced)
}

fn replaced(cluster: &Cluster, istiod: &mut Istiod) -> Result<()> {
    let pair = Pair::create(cluster, "rotating", &[IN_MESH])?;
    pair.is_meshed()?;
    let load = pair.begin(&pair.echo(), KEPT, RATE, LOAD)?;
    let (old, new) = (Signer::of_istiod(cluster)?, Signer::another(cluster)?);
    let folder = cluster.run().bulk()?.join("authority");
    fs::create_dir_all(&folder)?;
    istiod.set(AUTHORITY, Some(folder.as_os_str()));
    let start = Instant::now();
    let mut step = |said: &str, signer: &Signer, roots: &[&Signer], issued: usize| -> Result<()> {
        write_authority(&folder, signer, roots)?;
        istiod.restart()?;
        wait::until(&format!("{said}: agents trust {} roots", roots.len()), BROUGHT, || trusted(cluster, roots.len()))?;
        // A pod of an identity that nobody had asked for, so its certificate is of now.
        certifies(&pair, &format!("new-{issued}")).with_context(|| said.to_owned())?;
        pair.echoes()?;
        note(format!("{said}: after {:.0} s", start.elapsed().as_secs_f64()));
        Ok(())
    };
    step("the new root is trusted too", &old, &[&old, &new], 1)?;
    step("the new root signs", &new, &[&old, &new], 2)?;
    step("the old root is gone", &new, &[&new], 3)?;
    ensure!(start.elapsed() < Duration::from_secs(LOAD), "the load was over before");
    let report = load.report(Duration::from_secs(LOAD + 60))?;
    ["new", "kept"].into_iter().for_each(|sort| note(report.line(sort)));
    report.none_failed("new").and_then(|()| report.none_failed("kept"))
}

/// Whoever presents a certificate of any agent holds its peers to so many roots.
fn trusted(cluster: &Cluster, roots: usize) -> Result<()> {
    for agent in mesh::agents(cluster)? {
        let dump = cluster.istioctl(&[
            "ztunnel-config",
            "all",
            &format!("{}.{}", agent.name, mesh::NAMESPACE),
            "--output=json",
        ])?;
        let dump: Value = serde_json::from_str(&dump)?;
        for certificate in dump["certificates"].as_array().context("certificates are shown")? {
            let shown = certificate["rootCerts"].as_array().map_or(0, Vec::len);
            ensure!(shown == roots, "{} of {} has {shown} roots", certificate["identity"], agent.name);
        }
    }
    Ok(())
}
