//! The bill of materials: every crate that is linked into a program of the image, with version, licence and checksum,
//! and every shared library beside them, with the distribution's package. SPDX 2.3, as JSON. cargo, dpkg and date are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
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
    let checksums = checksums(&fs::read_to_string(workspace::root().join("Cargo.lock"))?);
    let mut packages = BTreeMap::new();
    let mut relations = Vec::new();
    let mut relate = |from: &str, kind: &str, to: &str| {
        relations.push(json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to}));
    };
    for (package, path, from) in programs {
        let id = identifier("program", package, "");
        let mut described = described(&id, package, env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_LICENSE"));
        described["packageFileName"] = json!(path);
        described["checksums"] = json!([{"algorithm": "SHA256", "checksumValue": sha256(from)?}]);
        described["primaryPackagePurpose"] = json!("APPLICATION");
        packages.insert(id.clone(), described);
        relate("SPDXRef-DOCUMENT", "DESCRIBES", &id);
        for (name, version, licence) in crates_of(package)? {
            let crate_id = identifier("crate", &name, &version);
            relate(&id, "STATIC_LINK", &crate_id);
            let checksum = checksums.get(&(name.clone(), version.clone()));
            packages
                .entry(crate_id.clone())
                .or_insert_with(|| of_crate(&crate_id, &name, &version, &licence, checksum));
        }
    }
    let weir = identifier("program", programs.first().context("an image has a program")?.0, "");
    let mut owned: BTreeMap<[String; 3], Vec<String>> = BTreeMap::new();
    for library in libraries {
        owned.entry(owner(library)).or_default().push(library.display().to_string());
    }
    for ([name, version, architecture], files) in owned {
        let id = identifier("library", &name, &version);
        relate(&weir, "DYNAMIC_LINK", &id);
        let mut described = described(&id, &name, &version, "NOASSERTION");
        described["comment"] = json!(format!("of it, the image holds {}", files.join(", ")));
        let escaped = version.replace('+', "%2B").replace(':', "%3A");
        if !version.is_empty() {
            described["externalRefs"] = purl(&format!("pkg:deb/debian/{name}@{escaped}?arch={architecture}"));
        }
        packages.insert(id, described);
    }
    let packages: Vec<Value> = packages.into_values().collect();
    let created =
        step::output(Command::new("date").args(["--utc", "+%Y-%m-%dT%H:%M:%SZ", "--date"]).arg(format!("@{seconds}")))?;
    let content = workspace::target().join("sbom.json");
    fs::write(&content, json!(packages).to_string())?;
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": image,
        // Two documents have the same name only if they say the same.
        "documentNamespace": format!("urn:weir:sbom:{}", sha256(&content)?),
        "creationInfo": {"created": created.trim(), "creators": ["Tool: weir-xtask"]},
        "packages": packages,
        "relationships": relations,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// A package, with what is known of all of them.
fn described(id: &str, name: &str, version: &str, licence: &str) -> Value {
    let mut described = json!({
        "SPDXID": id, "name": name, "filesAnalyzed": false, "downloadLocation": "NOASSERTION",
        "licenseConcluded": "NOASSERTION", "licenseDeclared": licence, "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "LIBRARY",
    });
    if !version.is_empty() {
        described["versionInfo"] = json!(version);
    }
    described
}

/// A crate; those of the workspace itself are in no registry and have no checksum.
fn of_crate(id: &str, name: &str, version: &str, licence: &str, checksum: Option<&String>) -> Value {
    let mut described = described(id, name, version, licence);
    if let Some(checksum) = checksum {
        described["downloadLocation"] = json!(format!("https://static.crates.io/crates/{name}/{name}-{version}.crate"));
        described["checksums"] = json!([{"algorithm": "SHA256", "checksumValue": checksum}]);
        described["externalRefs"] = purl(&format!("pkg:cargo/{name}@{version}"));
    }
    described
}

fn purl(url: &str) -> Value {
    json!([{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url}])
}

/// An identifier as SPDX allows it: letters, digits, dots and hyphens.
fn identifier(kind: &str, name: &str, version: &str) -> String {
    let allowed = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => character,
        '_' => '.',
        _ => '-',
    };
    let text = format!("SPDXRef-{kind}-{name}-{version}");
    text.trim_end_matches('-').chars().map(allowed).collect()
}

/// Name, version and licence of every crate that is linked into a package's program. What only runs during the build is
/// not among them.
fn crates_of(package: &str) -> Result<BTreeSet<(String, String, String)>> {
    let mut crates = BTreeSet::new();
    let embedded =
        EMBEDDED.iter().filter(|(outer, ..)| *outer == package).map(|(_, inner, target)| (*inner, Some(*target)));
    for (package, target) in [(package, None)].into_iter().chain(embedded) {
        let mut tree = workspace::cargo();
        tree.args(["tree", "--locked", "--package", package, "--edges", "normal,no-proc-macro"]);
        tree.args(["--prefix", "none", "--format", "{p}|{l}"])
            .args(target.into_iter().flat_map(|target| ["--target", target]));
        crates.extend(step::output(&mut tree)?.lines().filter_map(crate_of));
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

/// The checksums that Cargo.lock holds, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").filter_map(|package| {
        Some(((value(package, "name")?, value(package, "version")?), value(package, "checksum")?))
    });
    packages.collect()
}

/// Name, version and architecture of the distribution's package that a shared library is from. One that no package owns
/// gives its own name and nothing else.
fn owner(library: &Path) -> [String; 3] {
    // /lib is a link to /usr/lib nowadays, and the package may have registered either.
    let mut spellings = BTreeSet::from([library.to_owned()]);
    spellings.extend(library.canonicalize());
    for path in spellings.clone() {
        spellings.extend(path.strip_prefix("/usr").map(|below| Path::new("/").join(below)));
    }
    let known = spellings.into_iter().find_map(|path| {
        let said = step::output(Command::new("dpkg").arg("--search").arg(path)).ok()?;
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat", "${Package}|${Version}|${Architecture}"]).arg(said.split_once(": ")?.0);
        let said = step::output(&mut query).ok()?;
        said.trim().split('|').map(str::to_owned).collect::<Vec<_>>().try_into().ok()
    });
    known.unwrap_or_else(|| {
        [library.file_name().unwrap_or_default().display().to_string(), String::new(), String::new()]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_read_with_licences_as_expressions_and_the_registrys_checksums() {
        let read = |line: &str| crate_of(line).map(|(name, version, licence)| format!("{name} {version} {licence}"));
        for (line, expected) in [
            ("weir v0.1.0 (/x/agent)|Apache-2.0", "weir 0.1.0 Apache-2.0"),
            ("log v0.4.1|MIT/Apache-2.0 (*)", "log 0.4.1 MIT OR Apache-2.0"),
            ("x v1.0.0|", "x 1.0.0 NOASSERTION"),
        ] {
            assert_eq!(read(line).as_deref(), Some(expected));
        }
        let lock = "[[package]]\nname = \"weir\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"log\"\nversion = \"0.4.1\"\n\
                    source = \"registry\"\nchecksum = \"abc\"\n";
        let expected = BTreeMap::from([(("log".to_owned(), "0.4.1".to_owned()), "abc".to_owned())]);
        assert_eq!(checksums(lock), expected);
    }

    #[test]
    fn weir_is_linked_from_its_own_crates_and_its_kernel_programs() {
        let names: BTreeSet<String> = crates_of("weir").unwrap().into_iter().map(|(name, ..)| name).collect();
        for expected in ["weir", "weir-common", "weir-ebpf", "aya-ebpf", "rustls", "tokio"] {
            assert!(names.contains(expected), "{expected}");
        }
        for only_builds in ["protox", "aya-build", "clap_derive"] {
            assert!(!names.contains(only_builds), "{only_builds}");
        }
    }

    #[test]
    fn identifiers_hold_only_what_the_format_allows_and_an_unowned_library_has_only_its_name() {
        assert_eq!(identifier("crate", "aws_lc-rs", "1.0.0+x"), "SPDXRef-crate-aws.lc-rs-1.0.0-x");
        assert_eq!(identifier("program", "weir", ""), "SPDXRef-program-weir");
        assert_eq!(owner(Path::new("/nowhere/libown.so.1")), ["libown.so.1", "", ""]);
    }
}
