//! Has the kernel programs follow what the mesh knows of destinations, for as long as this agent serves the node and has a mesh.
//! Only one agent may: what a draining one knew would stay.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::capture::{Capture, Destinations};
use crate::state::SharedMesh;

/// See the module.
#[derive(Debug)]
pub(super) struct KnownDestinations {
    mesh: SharedMesh,
    capture: Arc<Capture>,
    node: Arc<str>,
    /// Tells the direct path whether the conditions are met.
    met: watch::Sender<bool>,
    conditions: Mutex<Conditions>,
}

/// What has to be so before the programs are told anything.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Conditions {
    /// There is a mesh: an empty one knows nobody.
    synced: bool,
    /// The node is this agent's.
    serves: bool,
}

impl KnownDestinations {
    pub(super) fn new(mesh: SharedMesh, capture: Arc<Capture>, node: &str, met: watch::Sender<bool>) -> Self {
        Self { mesh, capture, node: node.into(), met, conditions: Mutex::default() }
    }

    /// There is a mesh.
    pub(super) fn synced(&self) {
        self.change(|conditions| conditions.synced = true);
    }

    /// The node is this agent's now, or no longer.
    pub(super) fn serves(&self, serves: bool) {
        self.change(|conditions| conditions.serves = serves);
    }

    fn change(&self, change: impl FnOnce(&mut Conditions)) {
        let mut conditions = self.conditions.lock();
        let met = |conditions: &Conditions| conditions.synced && conditions.serves;
        let had = met(&conditions);
        change(&mut conditions);
        self.met.send_replace(met(&conditions));
        match (had, met(&conditions)) {
            (false, true) => match Destinations::open(&self.capture, self.node.clone()) {
                Ok(destinations) => self.mesh.set_follower(Some(Box::new(destinations))),
                Err(error) => {
                    tracing::warn!(%error, "destinations that refuse are found out about as connections are accepted")
                }
            },
            (true, false) => self.mesh.set_follower(None),
            _ => {}
        }
    }
}
