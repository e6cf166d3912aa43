//! The pin directory, which outlives the agent: its paths, and how it is made, locked and removed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::error::CaptureError;
use super::pod::NetnsCookie;

/// Paths below the pin directory. Names have no dots: the BPF file system refuses them.
#[derive(Debug, Clone)]
pub(super) struct Pins {
    root: PathBuf,
}

const DIRECTORIES: [&str; 4] = ["pods", "links", "programs", "maps"];
/// Where the directories of another version go until this one has taken over its pods.
const FORMER: &str = "former";

impl Pins {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.root.join("maps").join(name)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.root.join("programs").join(name)
    }

    pub(super) fn link(&self, name: &str) -> PathBuf {
        self.root.join("links").join(name)
    }

    /// The link that attaches `sk_lookup` to a pod's namespace.
    pub(super) fn pod(&self, cookie: NetnsCookie) -> PathBuf {
        self.root.join("pods").join(cookie.0.to_string())
    }

    /// Names of the pinned links to cgroups.
    pub(super) fn link_names(&self) -> Vec<String> {
        names(&self.root.join("links"))
    }

    /// The pods that have a link.
    pub(super) fn pod_cookies(&self) -> Vec<NetnsCookie> {
        names(&self.root.join("pods")).iter().filter_map(|name| name.parse().ok().map(NetnsCookie)).collect()
    }

    /// Makes the directories, and mounts the BPF file system if it is not there.
    pub(super) fn make(&self) -> Result<(), CaptureError> {
        let existing = self.root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        if !is_bpf_file_system(existing)
            .map_err(CaptureError::because(|| format!("cannot read {}", existing.display())))?
        {
            let parent = self.root.parent().unwrap_or(Path::new("/"));
            mount_bpf_file_system(parent)
                .map_err(CaptureError::because(|| format!("cannot mount a BPF file system on {}", parent.display())))?;
        }
        for directory in DIRECTORIES {
            let path = self.root.join(directory);
            fs::create_dir_all(&path).map_err(CaptureError::because(|| format!("cannot make {}", path.display())))?;
        }
        Ok(())
    }

    /// Keeps other agents from installing meanwhile, until the file is dropped.
    pub(super) fn lock(&self) -> Result<File, CaptureError> {
        let lock = || -> io::Result<File> {
            let directory = File::open(&self.root)?;
            directory.lock()?;
            Ok(directory)
        };
        lock().map_err(CaptureError::because(|| format!("cannot lock {}", self.root.display())))
    }

    /// Moves all pins aside, still attached, and makes the directories anew. If pins are aside already, those capture the pods
    /// and the pins here belong to an installation that was never completed: they are removed.
    pub(super) fn set_aside(&self) -> io::Result<()> {
        let former = self.root.join(FORMER);
        if former.exists() {
            return self.clear();
        }
        fs::create_dir(&former)?;
        for directory in DIRECTORIES {
            fs::rename(self.root.join(directory), former.join(directory))?;
            fs::create_dir(self.root.join(directory))?;
        }
        Ok(())
    }

    /// Detaches and removes the pins that were moved aside; no error if there are none.
    pub(super) fn remove_aside(&self) -> io::Result<()> {
        Self::new(&self.root.join(FORMER)).remove_here()
    }

    /// Removes all pins, links first, so that no program runs whose maps no process can write to any more. Continues after
    /// an error and returns the first.
    fn clear(&self) -> io::Result<()> {
        let mut result = Ok(());
        for directory in DIRECTORIES {
            let directory = self.root.join(directory);
            for name in names(&directory) {
                let removed = remove(&directory.join(name));
                result = result.and(removed);
            }
        }
        result
    }

    /// Removes all pins and the directory itself; no error if it is not there.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.remove_aside().and(self.remove_here())
    }

    fn remove_here(&self) -> io::Result<()> {
        let mut result = self.clear();
        for directory in DIRECTORIES.iter().map(|name| self.root.join(name)).chain([self.root.clone()]) {
            match fs::remove_dir(&directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => result = result.and(Err(error)),
                _ => {}
            }
        }
        result
    }
}

/// Removes a pin; no error if it is not there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

fn is_bpf_file_system(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.filesystem_type() == BPF_FS_MAGIC)
}

fn mount_bpf_file_system(target: &Path) -> io::Result<()> {
    fs::create_dir_all(target)?;
    nix::mount::mount(Some("bpf"), target, Some("bpf"), MsFlags::empty(), Some("mode=0700"))?;
    Ok(())
}
