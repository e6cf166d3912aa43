//! The bill of materials: every crate that is linked into a program of the image, with version, licence and checksum,
//! and every shared library beside them, with the distribution's package. SPDX 2.3, as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::archive;
use super::programs::Program;
use crate::workspace;

mod crates;
mod debian;

use crates::Crate;
use debian::Package;

/// Makes the document, as text. Its time is `seconds` since 1970.
pub(super) fn document(
    image: &str,
    programs: &[Program],
    libraries: &BTreeSet<PathBuf>,
    seconds: u64,
) -> Result<String> {
    let checksums = crates::checksums(&fs::read_to_string(workspace::root().join("Cargo.lock"))?);
    let mut packages = BTreeMap::new();
    let mut relations = Vec::new();
    for program in programs {
        let content = fs::read(&program.from).with_context(|| format!("reading {}", program.from.display()))?;
        let id = identifier("program", program.package, "");
        packages.insert(id.clone(), of_program(&id, program, &archive::digest(&content)));
        relations.push(relation("SPDXRef-DOCUMENT", "DESCRIBES", &id));
        for linked in crates::of(program.package)? {
            let crate_id = identifier("crate", &linked.name, &linked.version);
            relations.push(relation(&id, "STATIC_LINK", &crate_id));
            packages.entry(crate_id.clone()).or_insert_with(|| of_crate(&crate_id, &linked, &checksums));
        }
    }
    let weir = identifier("program", programs.first().context("an image has a program")?.package, "");
    for (package, files) in debian::packages(libraries) {
        let id = identifier("library", &package.name, &package.version);
        relations.push(relation(&weir, "DYNAMIC_LINK", &id));
        packages.insert(id.clone(), of_library(&id, &package, &files));
    }
    let packages: Vec<Value> = packages.into_values().collect();
    let content = json!(packages).to_string();
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": image,
        // Two documents have the same name only if they say the same.
        "documentNamespace": format!("urn:weir:sbom:{}", archive::digest(content.as_bytes())),
        "creationInfo": {"created": rfc3339(seconds), "creators": ["Tool: weir-xtask"]},
        "packages": packages,
        "relationships": relations,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn of_program(id: &str, program: &Program, sha256: &str) -> Value {
    json!({
        "SPDXID": id, "name": program.package, "versionInfo": env!("CARGO_PKG_VERSION"),
        "packageFileName": program.path, "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
        "checksums": [{"algorithm": "SHA256", "checksumValue": sha256}],
        "licenseConcluded": "NOASSERTION", "licenseDeclared": env!("CARGO_PKG_LICENSE"),
        "copyrightText": "NOASSERTION", "primaryPackagePurpose": "APPLICATION",
    })
}

fn of_crate(id: &str, linked: &Crate, checksums: &BTreeMap<(String, String), String>) -> Value {
    let Crate { name, version, licence } = linked;
    let mut package = json!({
        "SPDXID": id, "name": name, "versionInfo": version, "filesAnalyzed": false,
        "downloadLocation": "NOASSERTION", "licenseConcluded": "NOASSERTION",
        "licenseDeclared": licence, "copyrightText": "NOASSERTION", "primaryPackagePurpose": "LIBRARY",
    });
    // The crates of the workspace itself are in no registry.
    if let Some(checksum) = checksums.get(&(name.clone(), version.clone())) {
        package["downloadLocation"] = json!(format!("https://static.crates.io/crates/{name}/{name}-{version}.crate"));
        package["checksums"] = json!([{"algorithm": "SHA256", "checksumValue": checksum}]);
        package["externalRefs"] = json!([located(&format!("pkg:cargo/{name}@{version}"))]);
    }
    package
}

fn of_library(id: &str, package: &Package, files: &[String]) -> Value {
    let Package { name, version, architecture } = package;
    let mut described = json!({
        "SPDXID": id, "name": name, "filesAnalyzed": false, "downloadLocation": "NOASSERTION",
        "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "LIBRARY", "comment": format!("of it, the image holds {}", files.join(", ")),
    });
    if !version.is_empty() {
        described["versionInfo"] = json!(version);
        let escaped = version.replace('+', "%2B").replace(':', "%3A");
        described["externalRefs"] = json!([located(&format!("pkg:deb/debian/{name}@{escaped}?arch={architecture}"))]);
    }
    described
}

fn located(url: &str) -> Value {
    json!({"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url})
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to})
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

/// A time in seconds since 1970 as SPDX writes it.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The date so many days after 1970-01-01.
fn date(mut days: u64) -> (u64, usize, u64) {
    let is_leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_format_wants_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn identifiers_hold_only_what_the_format_allows() {
        assert_eq!(identifier("crate", "aws_lc-rs", "1.0.0+x"), "SPDXRef-crate-aws.lc-rs-1.0.0-x");
        assert_eq!(identifier("program", "weir", ""), "SPDXRef-program-weir");
    }
}
