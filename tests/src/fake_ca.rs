//! A certificate authority on the fabric that answers as a test tells it; see `tests/app/ca.rs`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::agent::{Agent, binary};
use crate::certificates::{CertificateFiles, Presented};
use crate::control_plane::SERVER_NAME;
use crate::mesh::Mesh;
use crate::place::Place;
use crate::program::Program;
use crate::world::FABRIC;

/// Its port, beside the control plane's.
const PORT: u16 = 15_013;

/// The authority. Dropping it kills it.
#[derive(Debug)]
pub struct FakeCa {
    place: Place,
    command: Vec<String>,
    answers: PathBuf,
    program: Option<Program>,
}

impl FakeCa {
    /// Starts one that signs as the mesh's own and answers so.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(mesh: &Mesh, answer: &str) -> Result<Self> {
        let folder = mesh.world.run().folder().join("fake-ca");
        let CertificateFiles { chain, key } =
            mesh.control_plane.authority()?.write(Presented::DnsName(SERVER_NAME), &folder, "server")?;
        let answers = folder.join("answers");
        let command = vec![
            binary("weir-test-app")?.display().to_string(),
            "ca".into(),
            format!("{FABRIC}:{PORT}"),
            format!("--chain={}", chain.display()),
            format!("--key={}", key.display()),
            format!("--signer={}", mesh.control_plane.state().display()),
            format!("--answers={}", answers.display()),
        ];
        let mut ca = Self { place: mesh.world.fabric.clone(), command, answers, program: None };
        ca.answers(answer)?;
        ca.resume()?;
        Ok(ca)
    }

    /// Makes it answer like this from now on.
    ///
    /// # Errors
    /// If it cannot be told.
    pub fn answers(&self, answer: &str) -> Result<()> {
        let new = self.answers.with_extension("new");
        fs::write(&new, answer)?;
        Ok(fs::rename(&new, &self.answers)?)
    }

    /// Ends it: from now on its port is closed.
    ///
    /// # Errors
    /// If it was away already.
    pub fn goes_away(&mut self) -> Result<()> {
        self.program.take().context("it is away already")?.stop(Duration::from_secs(5))?;
        Ok(())
    }

    /// Starts it again.
    ///
    /// # Errors
    /// If it does not listen in time.
    pub fn resume(&mut self) -> Result<()> {
        let mut program = self.place.spawn(&self.command)?;
        program.listens_on(PORT)?;
        self.program = Some(program);
        Ok(())
    }

    /// Makes a running agent start anew with this authority, without any certificate from before.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn takes_over(&self, agent: &mut Agent) -> Result<()> {
        agent.kill()?;
        fs::remove_dir_all(agent.folders().run.join("certificates")).context("removing kept certificates")?;
        agent.add_flags([format!("--ca-address=https://{FABRIC}:{PORT}")]);
        agent.launch()?;
        agent.becomes_ready()
    }
}
