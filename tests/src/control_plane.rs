//! `weir control-plane` on the fabric: serves a folder of objects to the agents of all nodes, and is their CA.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agent::binary;
use crate::certificates::Authority;
use crate::objects::ObjectFolder;
use crate::place::Place;
use crate::program::Program;
use crate::wait;
use crate::world::{FABRIC, World};

/// Port of ADS and of the CA, as istiod's.
pub const PORT: u16 = 15012;
/// A name its certificate carries.
pub const SERVER_NAME: &str = "istiod.istio-system.svc";

/// A control plane and its folder of objects. Dropping it kills it.
#[derive(Debug)]
pub struct ControlPlane {
    pub objects: ObjectFolder,
    place: Place,
    state: PathBuf,
    tokens: PathBuf,
    program: Option<Program>,
}

impl ControlPlane {
    /// Starts a control plane for all nodes of a world and waits until it serves.
    ///
    /// # Errors
    /// If it ends or does not listen in time.
    pub fn start(world: &World) -> Result<Self> {
        let folder = world.run().folder().join("control-plane");
        let (state, tokens) = (folder.join("state"), folder.join("tokens"));
        fs::create_dir_all(&state)?;
        let lines: Vec<String> =
            world.nodes.iter().map(|node| format!("{} {}\n", node.name(), token(node.name()))).collect();
        fs::write(&tokens, lines.concat())?;
        let objects = ObjectFolder::create(&folder.join("objects"))?;
        let mut control_plane = Self { objects, place: world.fabric.clone(), state, tokens, program: None };
        control_plane.resume()?;
        Ok(control_plane)
    }

    /// Starts it (again) with the same state, and waits until it serves.
    ///
    /// # Errors
    /// If it ends or does not listen in time.
    pub fn resume(&mut self) -> Result<()> {
        self.resume_with(&[])
    }

    /// As [`ControlPlane::resume`], with further flags.
    ///
    /// # Errors
    /// If it ends or does not listen in time.
    pub fn resume_with(&mut self, flags: &[&str]) -> Result<()> {
        let mut command = vec![
            binary("weir")?.display().to_string(),
            "control-plane".into(),
            format!("--config={}", self.objects.path().display()),
            format!("--listen={FABRIC}:{PORT}"),
            format!("--state-dir={}", self.state.display()),
            format!("--tokens={}", self.tokens.display()),
            format!("--server-name={SERVER_NAME}"),
            format!("--server-name={FABRIC}"),
        ];
        command.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let mut program = self.place.spawn(&command)?;
        program.listens_on(PORT)?;
        wait::until("the control plane has a root certificate", Duration::from_secs(5), || {
            ensure!(self.root().exists(), "there is no {}", self.root().display());
            Ok(())
        })?;
        self.program = Some(program);
        Ok(())
    }

    /// Stops it; its state stays.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop(&mut self) -> Result<()> {
        self.program.take().context("the control plane is not running")?.stop(Duration::from_secs(10))?;
        Ok(())
    }

    /// The flags that make a node's agent take its mesh and certificates from here.
    ///
    /// # Errors
    /// If the node's token cannot be written.
    pub fn flags_for(&self, node: &str) -> Result<Vec<String>> {
        let token_file = self.state.with_file_name(format!("token-{node}"));
        fs::write(&token_file, token(node))?;
        Ok(vec![
            format!("--xds-address=https://{FABRIC}:{PORT}"),
            format!("--xds-root-ca={}", self.root().display()),
            format!("--xds-server-name={SERVER_NAME}"),
            format!("--auth-token={}", token_file.display()),
        ])
    }

    /// Its root certificate.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.state.join("ca-cert.pem")
    }

    /// Its certificate authority, to make certificates that the mesh trusts.
    ///
    /// # Errors
    /// If its state cannot be read.
    pub fn authority(&self) -> Result<Authority> {
        Authority::load(&self.state)
    }

    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// What it has logged since it was started the last time.
    #[must_use]
    pub fn log(&self) -> String {
        self.program.as_ref().map(|program| program.stdout() + &program.stderr()).unwrap_or_default()
    }

    /// The end of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        self.program.as_ref().map(Program::tail).unwrap_or_default()
    }
}

/// A node's bearer token: any text will do that only node and control plane know.
fn token(node: &str) -> String {
    format!("token-of-{node}")
}
