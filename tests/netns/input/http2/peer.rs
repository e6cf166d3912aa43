//! A peer with a good certificate, beside an agent: opens connections to it over mutual TLS, and what is sent on them is the
//! test's.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::certificates::{CertificateFiles, Presented};
use weir_tests::mesh::Mesh;
use weir_tests::raw_http2::RawHttp2;
use weir_tests::test_app::ECHO;

const HBONE: u16 = 15008;
/// How long the agent may take to answer.
pub(super) const REACTION: Duration = Duration::from_secs(5);

/// A peer on the outsider with a good certificate, in front of the far pod's agent.
pub(super) struct HbonePeer<'a> {
    pub(super) mesh: &'a Mesh,
    certificate: CertificateFiles,
    address: SocketAddr,
    /// The far pod's echo.
    pub(super) echo: String,
}

impl<'a> HbonePeer<'a> {
    pub(super) fn new(mesh: &'a Mesh) -> Result<Self> {
        let folder = mesh.world.run().folder().join("raw-http2");
        let presented = Presented::Identity("spiffe://cluster.local/ns/shop/sa/client");
        let certificate = mesh.control_plane.authority()?.write(presented, &folder, "peer")?;
        let address = SocketAddr::new(mesh.far.ipv4(), HBONE);
        let echo = SocketAddr::new(mesh.far.ipv4(), ECHO).to_string();
        Ok(Self { mesh, certificate, address, echo })
    }

    pub(super) fn handshake(&self) -> Result<RawHttp2> {
        RawHttp2::handshake(self.mesh.outsider.place.netns(), self.address, &self.certificate)
    }

    pub(super) fn connect(&self) -> Result<RawHttp2> {
        RawHttp2::connect(self.mesh.outsider.place.netns(), self.address, &self.certificate)
    }

    /// A connection with stream 1 open to the echo.
    pub(super) fn open(&self) -> Result<RawHttp2> {
        let mut connection = self.connect()?;
        let status = connection.request(1, &self.echo)?;
        ensure!(status == 200, "CONNECT {} answered {status}", self.echo);
        Ok(connection)
    }

    /// Bytes of memory that the agent holds now.
    pub(super) fn memory(&self) -> Result<u64> {
        self.mesh.agent_of(&self.mesh.far).resident_bytes()
    }
}
