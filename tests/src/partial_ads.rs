//! A control plane on the fabric that answers addresses and L4 policies, of which there are none, and nothing else until it is told
//! to; see `tests/app/partial_ads.rs`.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::agent::binary;
use crate::certificates::{CertificateFiles, Presented};
use crate::control_plane::SERVER_NAME;
use crate::mesh::Mesh;
use crate::program::Program;
use crate::world::FABRIC;

/// Its port, beside the control plane's and that of the authority that answers as it is told.
const PORT: u16 = 15_014;

/// The control plane. Dropping it kills it.
#[derive(Debug)]
pub struct PartialAds {
    all: PathBuf,
    _program: Program,
}

impl PartialAds {
    /// Starts one that proves to be the mesh's own.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(mesh: &Mesh) -> Result<Self> {
        let folder = mesh.world.run().folder().join("partial-ads");
        let CertificateFiles { chain, key } =
            mesh.control_plane.authority()?.write(Presented::DnsName(SERVER_NAME), &folder, "server")?;
        let all = folder.join("all");
        let mut program = mesh.world.fabric.spawn(&[
            binary("weir-test-app")?.display().to_string(),
            "partial-ads".into(),
            format!("{FABRIC}:{PORT}"),
            format!("--chain={}", chain.display()),
            format!("--key={}", key.display()),
            format!("--all={}", all.display()),
        ])?;
        program.listens_on(PORT)?;
        Ok(Self { all, _program: program })
    }

    /// Where it serves.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{FABRIC}:{PORT}")
    }

    /// Makes it answer every type from now on.
    ///
    /// # Errors
    /// If it cannot be told.
    pub fn answers_all(&self) -> Result<()> {
        Ok(fs::write(&self.all, "")?)
    }
}
