//! The roots that the agent trusts besides those that come with certificates: those of the CA, wherever that is, and those that
//! the mesh's configuration names.

use std::io;

use tokio::sync::watch;

use crate::config::AgentConfig;
use crate::control_channel::RootSource;
use crate::control_plane::authority::Authority;
use crate::lifecycle::essential;
use crate::state::SharedMesh;
use crate::tls::certificates::{Certificates, ready_roots, trust_bundle};
use crate::tls::pem;

const TASK: &str = "follow trusted roots";

/// Keeps what is trusted up to date for as long as the process runs. `authority`: the CA of this process, if it has one.
pub(super) fn follow(
    config: &AgentConfig,
    authority: Option<&Authority>,
    certificates: &Certificates,
    mesh: &SharedMesh,
) {
    let named = follow_named(mesh.clone());
    let certificates = certificates.clone();
    if let Some(authority) = authority {
        let own = pem::certificate_blocks(authority.root_pem());
        tokio::spawn(essential(TASK, trust_bundle::update(certificates, move || Ok(own.clone()), named)));
    } else if let Some(folder) = config.files.certificates_dir.clone() {
        let read = move || -> io::Result<Vec<String>> { ready_roots(&folder) };
        tokio::spawn(essential(TASK, trust_bundle::update(certificates, read, named)));
    } else {
        let root = RootSource::new(&config.ca_root());
        let read = move || root.read_for_peers();
        tokio::spawn(essential(TASK, trust_bundle::update(certificates, read, named)));
    }
}

/// The roots that the mesh's configuration names, as it changes.
fn follow_named(mesh: SharedMesh) -> watch::Receiver<Vec<String>> {
    let (named, roots) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut changes = mesh.watch();
        loop {
            let now: Vec<String> = mesh.read().settings().ca_certificates.iter().map(ToString::to_string).collect();
            named.send_if_modified(|known| {
                let is_news = *known != now;
                *known = now;
                is_news
            });
            if changes.changed().await.is_err() {
                return;
            }
        }
    });
    roots
}
