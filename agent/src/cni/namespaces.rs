//! Keeps the file that speaks for an absent agent: the namespaces whose pods must be in the mesh.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_cni::namespaces::MeshNamespaces;

use crate::kubernetes::Directory;
use crate::whole_file;

/// The file's name, below the state directory. The plugin reads it when nobody listens on the socket: after a reboot a node
/// starts its pods before the agent.
pub const FILE_NAME: &str = "mesh-namespaces.json";
/// The file holds no secret.
const FILE_MODE: u32 = 0o644;
/// Pause before a file that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Writes the file whenever the namespaces of the mesh are others. Until all namespaces are known the file of a former
/// agent stays. Runs for ever.
pub async fn keep(directory: Directory, path: PathBuf) {
    let mut changes = directory.watch();
    let mut written = None;
    loop {
        changes.mark_unchanged();
        let wanted = directory.mesh_namespaces().map(|namespaces| MeshNamespaces { namespaces });
        let mut is_failed = false;
        if wanted.is_some() && wanted != written {
            match write(wanted.clone(), path.clone()).await {
                Ok(()) => written = wanted,
                Err(error) => {
                    is_failed = true;
                    tracing::warn!(path = %path.display(), %error, "the namespaces of the mesh cannot be written");
                }
            }
        }
        if is_failed {
            tokio::time::sleep(RETRY).await;
        } else if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn write(namespaces: Option<MeshNamespaces>, path: PathBuf) -> io::Result<()> {
    let Some(namespaces) = namespaces else { return Ok(()) };
    let writing = tokio::task::spawn_blocking(move || replace(&namespaces, &path));
    writing.await.map_err(io::Error::other)?
}

fn replace(namespaces: &MeshNamespaces, path: &Path) -> io::Result<()> {
    // Two agents write at the same time while one takes over from the other, perhaps with the same process id.
    let instant = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let new = path.with_extension(format!("{}-{instant}.new", std::process::id()));
    whole_file::replace(path, &new, FILE_MODE, &[&serde_json::to_vec_pretty(namespaces)?]).map(drop)
}
