//! The bill of materials: every crate that is linked into a program of the image, with version, licence and checksum,
//! and every shared library beside them, with the distribution's package. SPDX 2.3, as JSON. cargo, dpkg and date are asked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::oci::sha256;
use crate::{step, workspace};

/// The kernel programs are a file inside of Weir, built from a package of their own for a target of their own.
const EMBEDDED: &[(&str, &str, &str)] = &[("weir", "weir-ebpf", "bpfel-unknown-none")];

/// A program of the image: the package that it is built from, its path in the image, and where it is here.
pub(super) type Program<'a> = (&'static str, &'static str, &'a Path);

/// Makes the document, as text. Its time is `seconds` since 1970. The first program is the one that the libraries are for.
pub(super) fn document(
    image: &str,
    programs: &[Program<'_>],
    libraries: &BTreeSet<PathBuf>,
    seconds: u64,
) -> Result<String> {
    let (mut packages, mut relations) = (Vec::new(), Vec::new());
    let mut add = |from: &str, relation: &str, mut package: Value| {
        let id = format!("SPDXRef-{}", packages.len());
        relations.push(json!({"spdxElementId": from, "relationshipType": relation, "relatedSpdxElement": id}));
        package["SPDXID"] = json!(id);
        packages.push(package);
        id
    };
    let mut ids = Vec::new();
    for (name, path, from) in programs {
        let mut program = package(name, env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_LICENSE"), None);
        program["packageFileName"] = json!(path);
        program["checksums"] = json!([{"algorithm": "SHA256", "checksumValue": sha256(from)?}]);
        program["primaryPackagePurpose"] = json!("APPLICATION");
        let id = add("SPDXRef-DOCUMENT", "DESCRIBES", program);
        for (name, version, licence) in crates_of(name)? {
            // Those of the workspace itself are in no registry.
            let url = (!name.starts_with("weir")).then(|| format!("pkg:cargo/{name}@{version}"));
            add(&id, "STATIC_LINK", package(&name, &version, &licence, url));
        }
        ids.push(id);
    }
    let owners: BTreeSet<[String; 3]> = libraries.iter().map(|library| owner(library)).collect();
    for [name, version, architecture] in owners {
        let escaped = version.replace('+', "%2B").replace(':', "%3A");
        let url = (!version.is_empty()).then(|| format!("pkg:deb/debian/{name}@{escaped}?arch={architecture}"));
        add(&ids[0], "DYNAMIC_LINK", package(&name, &version, "NOASSERTION", url));
    }
    let date = ["--utc", "+%Y-%m-%dT%H:%M:%SZ", &format!("--date=@{seconds}")];
    let created = step::output(Command::new("date").args(date))?;
    let content = workspace::target().join("sbom.json");
    fs::write(&content, json!(packages).to_string())?;
    let document = json!({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": image,
        // Two documents have the same name only if they say the same.
        "documentNamespace": format!("urn:weir:sbom:{}", sha256(&content)?),
        "creationInfo": {"created": created.trim(), "creators": ["Tool: weir-xtask"]},
        "packages": packages, "relationships": relations,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// A package. A library that nobody knows has no version; what is in a registry has a package URL.
fn package(name: &str, version: &str, licence: &str, url: Option<String>) -> Value {
    let urls = url
        .map(|url| json!({"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url}));
    json!({
        "name": name, "versionInfo": version, "filesAnalyzed": false, "downloadLocation": "NOASSERTION",
        "licenseConcluded": "NOASSERTION", "licenseDeclared": licence, "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "LIBRARY", "externalRefs": urls.into_iter().collect::<Vec<_>>(),
    })
}

/// Name, version and licence of every crate that is linked into a package's program. What only runs during the build is
/// not among them.
fn crates_of(package: &str) -> Result<BTreeSet<(String, String, String)>> {
    let mut trees = vec![vec!["--package", package]];
    let embedded = EMBEDDED.iter().filter(|(outer, ..)| *outer == package);
    trees.extend(embedded.map(|(_, inner, target)| vec!["--package", inner, "--target", target]));
    let mut crates = BTreeSet::new();
    for what in trees {
        let mut tree = workspace::cargo();
        tree.args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}|{l}"]);
        crates.extend(step::output(tree.args(what))?.lines().filter_map(crate_of));
    }
    Ok(crates)
}

/// Reads one of `cargo tree`'s lines, such as `rustls v0.23.46|Apache-2.0 OR ISC OR MIT (*)`.
fn crate_of(line: &str) -> Option<(String, String, String)> {
    let (package, licence) = line.trim_end_matches(" (*)").split_once('|')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?.to_owned(), words.next()?.trim_start_matches('v').to_owned());
    // Before SPDX, a slash meant "or".
    let licence = licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ");
    Some((name, version, if licence.is_empty() { "NOASSERTION".to_owned() } else { licence }))
}

/// Name, version and architecture of the distribution's package that a shared library is from. One that no package owns
/// gives its own name and nothing else.
fn owner(library: &Path) -> [String; 3] {
    let name = library.file_name().unwrap_or_default().display().to_string();
    // /lib is a link to /usr/lib nowadays, and the package may have registered either.
    let ask = "package=$(dpkg --search \"*$(basename \"$1\")\" | grep --max-count=1 -F \"$1\")
               dpkg-query --show --showformat '${Package}|${Version}|${Architecture}' \"${package%%: *}\"";
    let library = library.display().to_string();
    let said = step::output(Command::new("sh").args(["-c", ask, "sh", library.trim_start_matches("/usr")]));
    let known = said.ok().and_then(|said| said.split('|').map(str::to_owned).collect::<Vec<_>>().try_into().ok());
    known.unwrap_or([name, String::new(), String::new()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_read_with_licences_as_expressions() {
        for (line, expected) in [
            ("weir v0.1.0 (/x/agent)|Apache-2.0", ["weir", "0.1.0", "Apache-2.0"]),
            ("log v0.4.1|MIT/Apache-2.0 (*)", ["log", "0.4.1", "MIT OR Apache-2.0"]),
            ("x v1.0.0|", ["x", "1.0.0", "NOASSERTION"]),
        ] {
            assert_eq!(
                crate_of(line).map(|(name, version, licence)| [name, version, licence]),
                Some(expected.map(str::to_owned))
            );
        }
    }

    #[test]
    fn weir_is_linked_from_its_own_crates_and_its_kernel_programs() {
        let names: BTreeSet<String> = crates_of("weir").unwrap().into_iter().map(|(name, ..)| name).collect();
        let (linked, builds) =
            (["weir-common", "weir-ebpf", "aya-ebpf", "rustls"], ["protox", "aya-build", "clap_derive"]);
        assert_eq!(linked.map(|name| names.contains(name)), [true; 4]);
        assert_eq!(builds.map(|name| names.contains(name)), [false; 3]);
    }

    #[test]
    fn a_library_is_known_by_its_package_and_an_unowned_one_by_its_name() {
        assert_eq!(owner(Path::new("/nowhere/libown.so.1")), ["libown.so.1", "", ""]);
        assert!(owner(Path::new("/lib/x86_64-linux-gnu/libc.so.6"))[0].starts_with("libc6"));
    }
}
