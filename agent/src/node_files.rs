//! The files that Weir makes below its run and state directories, by name. An uninstallation removes these and nothing else:
//! either directory may be one that other programs use too.

use std::io;
use std::path::{Path, PathBuf};

use crate::tls::certificates::is_key_file;
use crate::{cni, control_plane, enrollment, supervisor, xds};

/// The directory of keys and certificates, below the run directory.
pub const KEYS_DIR: &str = "certificates";

/// What Weir makes in a directory.
enum Made {
    /// A file of this name, and the temporary ones beside it from which it is renamed.
    File(&'static str),
    /// The files of keys: their names hold the parts of an identity.
    KeyFiles,
    /// A directory, in which it makes these.
    Directory(&'static str, &'static [Made]),
}

const RUN_DIR: &[Made] = &[
    Made::File(enrollment::api::SOCKET_NAME),
    Made::File(supervisor::SOCKET_NAME),
    Made::File(cni::SOCKET_NAME),
    Made::Directory(KEYS_DIR, &[Made::KeyFiles]),
];

const STATE_DIR: &[Made] = &[
    Made::File(enrollment::store::FILE_NAME),
    Made::File(cni::NAMESPACES_NAME),
    Made::File(control_plane::VIRTUAL_ADDRESSES_NAME),
    Made::Directory(xds::LAST_GOOD_DIR, &[Made::File(xds::LAST_GOOD_NAME)]),
];

/// Removes what Weir made below its run and state directories, and each directory that is empty then. A directory that is
/// missing, or a mount, is fine. Returns what was left because Weir did not make it.
///
/// # Errors
/// The first error, after all the rest was removed.
pub fn remove(run_dir: &Path, state_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    let removed = remove_made(run_dir, RUN_DIR, &mut left);
    removed.and(remove_made(state_dir, STATE_DIR, &mut left)).map(|()| left)
}

fn remove_made(directory: &Path, made: &[Made], left: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut result = Ok(());
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let found = name.to_str().and_then(|name| made.iter().find(|made| made.is_name(name)));
        let is_directory = entry.file_type()?.is_dir();
        let removed = match found {
            Some(Made::Directory(_, inside)) if is_directory => remove_made(&path, inside, left),
            Some(Made::File(_) | Made::KeyFiles) if !is_directory => match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            _ => {
                left.push(path);
                Ok(())
            }
        };
        result = result.and(removed);
    }
    // Fails where something is left in it, or where it is a mount.
    let _ = std::fs::remove_dir(directory);
    result
}

impl Made {
    fn is_name(&self, name: &str) -> bool {
        match self {
            Self::File(file) => name == *file || is_temporary(name, file),
            Self::KeyFiles => is_key_file(name),
            Self::Directory(directory, _) => name == *directory,
        }
    }
}

/// Whether a name is one that a file has before it is renamed: `mesh.new`, `cni.7-1700000000`.
fn is_temporary(name: &str, file: &str) -> bool {
    let stem = file.split_once('.').map_or(file, |(stem, _)| stem);
    let Some(extension) = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix('.')) else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let by_process = extension.strip_suffix(".new").unwrap_or(extension).split_once('-');
    extension == "new"
        || name.strip_suffix(".new") == Some(file)
        || by_process.is_some_and(|(process, instant)| is_number(process) && is_number(instant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_weir_made_goes_and_all_else_stays() {
        let home = tempfile::tempdir().expect("a directory");
        let (run, state) = (home.path().join("run"), home.path().join("state"));
        let ours = [
            "run/agent.sock",
            "run/keeper.sock",
            "run/keeper.sock.new",
            "run/cni.sock",
            "run/cni.17-1700000000",
            "run/certificates/cluster.local~shop~web.pem",
            "run/certificates/cluster.local~shop~web.new",
            "state/enrolled-pods.json",
            "state/enrolled-pods.json.new",
            "state/mesh-namespaces.json",
            "state/mesh-namespaces.17-1700000000.new",
            "state/virtual-addresses.json",
            "state/virtual-addresses.new",
            "state/last-good/mesh",
            "state/last-good/mesh.new",
        ];
        let others =
            ["run/dbus.sock", "run/certificates/ca.pem", "run/cni.conf", "state/mesh", "state/other/last-good/mesh"];
        let make = |names: &[&str]| {
            for name in names {
                let path = home.path().join(name);
                std::fs::create_dir_all(path.parent().expect("below the home")).expect("made");
                std::fs::write(path, "x").expect("written");
            }
        };
        make(&ours);
        make(&others);
        let mut left = remove(&run, &state).expect("removed");
        left.sort();
        let expected = ["run/certificates/ca.pem", "run/cni.conf", "run/dbus.sock", "state/mesh", "state/other"];
        assert_eq!(left, expected.map(|name| home.path().join(name)));
        assert!(others.iter().all(|name| home.path().join(name).exists()));
        assert!(ours.iter().all(|name| !home.path().join(name).exists()));
    }

    #[test]
    fn directories_that_are_empty_then_go_too() {
        let home = tempfile::tempdir().expect("a directory");
        let (run, state) = (home.path().join("run"), home.path().join("state"));
        std::fs::create_dir_all(run.join(KEYS_DIR)).expect("made");
        std::fs::write(run.join("agent.sock"), "x").expect("written");
        assert_eq!(remove(&run, &state).expect("the state directory is missing"), Vec::<PathBuf>::new());
        assert!(!run.exists());
    }
}
