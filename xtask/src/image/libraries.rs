//! What a program needs to be loaded: its loader and shared libraries, as this machine's loader finds them. A program
//! that is linked statically needs none. glibc's own name lookup is inside libc since 2.34 and needs no file of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::layer::{self, Layer};

/// Adds a program and everything it needs to be loaded. Returns the paths of the libraries.
pub(crate) fn add_program(layer: &mut Layer, path: &str, from: &Path) -> Result<BTreeSet<PathBuf>> {
    let libraries = of(from)?;
    layer.file(path, from, layer::PROGRAM);
    for library in &libraries {
        // At the same path as here: the loader, which comes along, looks where this machine's distribution put them.
        let path = library.to_str().with_context(|| format!("{} is not text", library.display()))?;
        layer.file(path, library, layer::PROGRAM);
    }
    Ok(libraries)
}

/// The loader and the shared libraries of a program, by the paths under which the loader looks for them.
pub(crate) fn of(program: &Path) -> Result<BTreeSet<PathBuf>> {
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
        if let Some(path) = found.split(' ').next().filter(|path| path.starts_with('/')) {
            libraries.insert(PathBuf::from(path));
        }
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
        let paths: Vec<PathBuf> = parse(said).unwrap().into_iter().collect();
        assert_eq!(
            paths,
            [PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6"), PathBuf::from("/lib64/ld-linux-x86-64.so.2")]
        );
        let error = parse("\tlibmissing.so.1 => not found\n").unwrap_err().to_string();
        assert!(error.contains("libmissing.so.1"), "{error}");
    }

    #[test]
    fn this_test_itself_needs_a_libc() {
        let libraries = of(&std::env::current_exe().unwrap()).unwrap();
        assert!(libraries.iter().any(|path| path.display().to_string().contains("libc.so")), "{libraries:?}");
    }
}
