//! The file that speaks for an agent that is not there: the namespaces whose pods must be in the mesh, as the agent saw
//! them last. It lies with what outlives a reboot, since a node starts its pods in any order.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The content of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshNamespaces {
    /// Namespaces that are labelled for the mesh.
    pub namespaces: BTreeSet<String>,
}

impl MeshNamespaces {
    /// Reads the file; a missing one knows of none.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn read(path: &Path) -> io::Result<Self> {
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("mesh-namespaces.json");
        assert_eq!(MeshNamespaces::read(&path).expect("none yet"), MeshNamespaces::default());
        let some = MeshNamespaces { namespaces: ["shop".to_owned(), "bank".to_owned()].into() };
        std::fs::write(&path, serde_json::to_vec_pretty(&some).expect("JSON")).expect("written");
        assert_eq!(MeshNamespaces::read(&path).expect("written just now"), some);
        std::fs::write(&path, "{").expect("written");
        assert!(MeshNamespaces::read(&path).is_err());
    }
}
