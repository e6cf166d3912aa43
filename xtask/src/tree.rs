//! A root file system in the making: a folder with what an image or a guest has, with the modes that it has there.
//! Owners and times do not matter: tar and cpio are told what to write.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::step;

/// The folder. Paths below are those of the root file system; directories above them are made, for everybody to read.
#[derive(Debug)]
pub(crate) struct Tree(PathBuf);

impl Tree {
    /// An empty one, in place of what the folder held.
    pub(crate) fn new(folder: PathBuf) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    /// Adds a directory.
    pub(crate) fn directory(&self, path: &str, mode: u32) -> Result<()> {
        let mut install = Command::new("install");
        step::output(install.args(["--directory", &format!("--mode={mode:o}")]).arg(self.place(path))).map(drop)
    }

    /// Adds a file with this content, which everybody may read.
    pub(crate) fn text(&self, path: &str, content: &str) -> Result<()> {
        self.file(path, Path::new("/dev/null"))?;
        fs::write(self.place(path), content)?;
        Ok(fs::set_permissions(self.place(path), Permissions::from_mode(0o644))?)
    }

    /// Adds a copy of a file of this machine, which everybody may run. Links to it are followed.
    pub(crate) fn file(&self, path: &str, from: &Path) -> Result<()> {
        let mut install = Command::new("install");
        step::output(install.args(["-D", "--mode=755"]).arg(from).arg(self.place(path))).map(drop)
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&self, path: &str, target: &str) -> Result<()> {
        self.directory(path.rsplit_once('/').map_or("/", |(above, _)| above), 0o755)?;
        symlink(target, self.place(path)).with_context(|| format!("linking {path}"))
    }

    /// Adds a program and what it needs to be loaded, at the same paths as here: the loader, which comes along, looks where
    /// this machine's distribution put them. Returns the paths of the libraries.
    pub(crate) fn program(&self, path: &str, from: &Path) -> Result<BTreeSet<PathBuf>> {
        self.file(path, from)?;
        let ldd = Command::new("ldd").arg(from).output().context("running ldd")?;
        let (said, complained) = (String::from_utf8_lossy(&ldd.stdout), String::from_utf8_lossy(&ldd.stderr));
        // A static program is no failure, though ldd says so with its status for some of them.
        if said.contains("statically linked") || complained.contains("not a dynamic executable") {
            return Ok(BTreeSet::new());
        }
        ensure!(ldd.status.success(), "ldd {}: {}", from.display(), complained.trim());
        let libraries = libraries(&said)?;
        for library in &libraries {
            self.file(library.to_str().with_context(|| format!("{} is not text", library.display()))?, library)?;
        }
        Ok(libraries)
    }

    /// Where a path is on this machine.
    fn place(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }
}

/// The loader and the shared libraries that ldd lists, by the paths under which the loader looks for them:
/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, or the loader's path alone. glibc's own name lookup is inside libc
/// since 2.34, and the kernel's page of code has no file.
fn libraries(said: &str) -> Result<BTreeSet<PathBuf>> {
    let mut libraries = BTreeSet::new();
    for line in said.lines().map(str::trim) {
        let found = line.split_once(" => ").map_or(line, |(_, path)| path);
        ensure!(!found.starts_with("not found"), "a shared library is not on this machine: {line}");
        libraries.extend(found.split(' ').next().filter(|path| path.starts_with('/')).map(PathBuf::from));
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_and_the_libraries_are_found_and_the_kernels_page_is_not() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f00)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f11)\n";
        let paths = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(libraries(said).unwrap(), BTreeSet::from(paths));
        let error = libraries("\tlibmissing.so.1 => not found\n").unwrap_err().to_string();
        assert!(error.contains("libmissing.so.1"), "{error}");
    }

    #[test]
    fn a_program_comes_with_its_libc_and_a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree::new(folder.path().join("root")).unwrap();
        let libraries = tree.program("/bin/this", &std::env::current_exe().unwrap()).unwrap();
        let libc = libraries.iter().find(|path| path.display().to_string().contains("libc.so")).unwrap();
        assert!(tree.folder().join(libc.strip_prefix("/").unwrap()).exists());
        let error = format!("{:#}", tree.file("/bin/weir", Path::new("/nowhere/weir")).unwrap_err());
        assert!(error.contains("/nowhere/weir"), "{error}");
    }
}
