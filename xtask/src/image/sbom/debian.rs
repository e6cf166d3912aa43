//! Which of the distribution's packages a shared library is from. A library that no package owns, or a machine without
//! dpkg, gives the library's own name and no version.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step;

/// A package of the distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    /// Empty if unknown.
    pub(super) version: String,
    pub(super) architecture: String,
}

/// The packages that own these libraries, each with those of them that it owns.
pub(super) fn packages(libraries: &BTreeSet<PathBuf>) -> BTreeMap<Package, Vec<String>> {
    let mut packages: BTreeMap<Package, Vec<String>> = BTreeMap::new();
    for library in libraries {
        packages.entry(owner(library)).or_default().push(library.display().to_string());
    }
    packages
}

fn owner(library: &Path) -> Package {
    let known = spellings(library).into_iter().find_map(|path| {
        let said = step::output(Command::new("dpkg").arg("--search").arg(path)).ok()?;
        let package = said.split_once(": ")?.0.to_owned();
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat", "${Package}|${Version}|${Architecture}"]).arg(package);
        parse(&step::output(&mut query).ok()?)
    });
    known.unwrap_or_else(|| Package {
        name: library.file_name().unwrap_or_default().display().to_string(),
        version: String::new(),
        architecture: String::new(),
    })
}

/// The paths under which the package may have registered it: /lib is a link to /usr/lib nowadays, and either is used.
fn spellings(library: &Path) -> BTreeSet<PathBuf> {
    let mut spellings = BTreeSet::from([library.to_owned()]);
    spellings.extend(library.canonicalize());
    for path in spellings.clone() {
        spellings.extend(path.strip_prefix("/usr").map(|below| Path::new("/").join(below)));
    }
    spellings
}

fn parse(said: &str) -> Option<Package> {
    let mut fields = said.trim().split('|').map(str::to_owned);
    Some(Package { name: fields.next()?, version: fields.next()?, architecture: fields.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_read_and_an_unowned_library_has_only_its_name() {
        let package = parse("libc6|2.36-9+deb12u13|amd64").unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str()), ("libc6", "2.36-9+deb12u13"));
        let unowned = owner(Path::new("/nowhere/libown.so.1"));
        assert_eq!((unowned.name.as_str(), unowned.version.as_str()), ("libown.so.1", ""));
    }
}
