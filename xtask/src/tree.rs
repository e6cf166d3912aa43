//! A root file system in the making: a folder with what an image or a guest has, with the modes that it has there.
//! Owners and times do not matter: tar and cpio are told what to write.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The mode of a program: everybody reads and runs it.
const PROGRAM: u32 = 0o755;
/// The mode of a file: everybody reads it.
const FILE: u32 = 0o644;

/// The folder. Paths below are those of the root file system.
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

    /// Adds a directory, with those above it.
    pub(crate) fn directory(&self, path: &str, mode: u32) -> Result<()> {
        let place = self.place(path)?;
        fs::create_dir_all(&place)?;
        Ok(fs::set_permissions(&place, Permissions::from_mode(mode))?)
    }

    /// Adds a file with this content.
    pub(crate) fn text(&self, path: &str, content: &str) -> Result<()> {
        let place = self.place(path)?;
        fs::write(&place, content)?;
        Ok(fs::set_permissions(&place, Permissions::from_mode(FILE))?)
    }

    /// Adds a copy of a file of this machine, which everybody may run. Links to it are followed.
    pub(crate) fn file(&self, path: &str, from: &Path) -> Result<()> {
        let place = self.place(path)?;
        fs::copy(from, &place).with_context(|| format!("copying {} to /{path}", from.display()))?;
        Ok(fs::set_permissions(&place, Permissions::from_mode(PROGRAM))?)
    }

    /// Lets everybody run a file that was added.
    pub(crate) fn run_by_all(&self, path: &str) -> Result<()> {
        Ok(fs::set_permissions(self.place(path)?, Permissions::from_mode(PROGRAM))?)
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&self, path: &str, target: &str) -> Result<()> {
        symlink(target, self.place(path)?).with_context(|| format!("linking /{path}"))
    }

    /// Adds a program and what it needs to be loaded, at the same paths as here: the loader, which comes along, looks where
    /// this machine's distribution put them. Returns the paths of the libraries.
    pub(crate) fn program(&self, path: &str, from: &Path) -> Result<BTreeSet<PathBuf>> {
        self.file(path, from)?;
        let libraries = libraries(from)?;
        for library in &libraries {
            self.file(library.to_str().with_context(|| format!("{} is not text", library.display()))?, library)?;
        }
        Ok(libraries)
    }

    /// Where a path is on this machine; the directory above it exists.
    fn place(&self, path: &str) -> Result<PathBuf> {
        let place = self.0.join(path.trim_matches('/'));
        let above = place.parent().context("a path is below the root")?;
        for missing in above.ancestors().take_while(|above| !above.exists()).collect::<Vec<_>>().into_iter().rev() {
            fs::create_dir(missing)?;
            fs::set_permissions(missing, Permissions::from_mode(PROGRAM))?;
        }
        Ok(place)
    }
}

/// The loader and the shared libraries of a program, by the paths under which the loader looks for them. A program that is
/// linked statically needs none; glibc's own name lookup is inside libc since 2.34.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("running ldd")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    // A static program is no failure, though ldd says so with its status for some of them.
    if said.contains("statically linked") || complained.contains("not a dynamic executable") {
        return Ok(BTreeSet::new());
    }
    ensure!(output.status.success(), "ldd {}: {}", program.display(), complained.trim());
    parse(&said)
}

/// Reads what ldd prints: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, or the loader's path alone.
fn parse(said: &str) -> Result<BTreeSet<PathBuf>> {
    let mut libraries = BTreeSet::new();
    for line in said.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let found = line.split_once(" => ").map_or(line, |(_, path)| path);
        ensure!(!found.starts_with("not found"), "a shared library is not on this machine: {line}");
        // The kernel's own page of code has no file.
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
        assert_eq!(parse(said).unwrap(), BTreeSet::from(paths));
        let error = parse("\tlibmissing.so.1 => not found\n").unwrap_err().to_string();
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
