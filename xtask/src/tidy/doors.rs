//! Foreign crates that only some modules of the agent may name: each has a door, and nobody else knows it is there.

use std::path::Path;

use super::Source;
use super::layers::code;

/// Crates and the places that may name them, as beginnings of paths below `agent/src`.
const DOORS: &[(&[&str], &[&str], &str)] = &[
    (&["aya", "aya_log"], &["capture"], "only capture knows the kernel programs"),
    (&["rustls", "webpki", "x509_parser"], &["tls"], "only tls knows the crypto provider"),
    (&["tokio_rustls"], &["tls", "proxy", "control_plane"], "only tls handshakes; these move bytes over its streams"),
    (&["kube", "k8s_openapi"], &["kubernetes"], "only kubernetes knows the API server"),
    (&["rcgen"], &["tls", "control_plane/authority"], "only tls and the embedded CA make certificates"),
    (
        &["prost", "prost_types", "tonic", "tonic_prost"],
        &["proto.rs", "xds", "control_plane", "tls", "enrollment", "nri", "app/commands.rs"],
        "wire types end at the doors",
    ),
    (&["h2"], &["proxy", "admin", "tls"], "HTTP/2 is the proxy's"),
    (&["hyper", "hyper_util"], &["proxy", "admin", "tls", "enrollment"], "HTTP is served by proxy and admin"),
    (&["prometheus_client"], &["telemetry"], "all metrics are made in one place"),
];

/// Crates that a module may not name at all: pure code has no runtime.
const KEPT_OUT: &[(&[&str], &str, &str)] = &[
    (&["tokio", "nix", "libc", "socket2", "tracing"], "model", "model is pure: no I/O, no runtime, no log"),
    (&["tokio", "tokio_util"], "supervisor", "the supervisor outlives what fails: no runtime"),
    (&["tokio"], "objects", "objects are data; who reads files waits elsewhere"),
];

/// Names of crates outside their doors in a file, whose path is relative to `agent/src`.
pub(super) fn faults(source: &Source, path: &Path) -> Vec<String> {
    let below = |place: &str| path.to_str().is_some_and(|path| path.starts_with(place));
    let mut faults = Vec::new();
    for (number, line) in source.product_lines() {
        let line = code(line);
        for (crates, places, reason) in DOORS {
            let named = crates.iter().filter(|name| names(line, name) && !places.iter().any(|place| below(place)));
            faults.extend(named.map(|name| source.fault(number, format_args!("{name} outside its door: {reason}"))));
        }
        for (crates, place, reason) in KEPT_OUT {
            let named = crates.iter().filter(|name| names(line, name) && below(place));
            faults.extend(named.map(|name| source.fault(number, format_args!("{name} is kept out of here: {reason}"))));
        }
    }
    faults
}

/// True if a line names a crate: `name::` that continues no other path or word.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let continues =
            before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == ':' || letter == '"');
        let global = line[..at].ends_with(" ::") || line[..at].ends_with("(::");
        line[at + name.len()..].starts_with("::") && (!continues || global)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_in(path: &str, line: &str) -> usize {
        let source = Source { path: path.into(), text: format!("//! x\n{line}\n") };
        faults(&source, Path::new(path)).len()
    }

    #[test]
    fn a_crate_is_named_behind_its_door_only() {
        for (path, line, expected) in [
            ("capture/mod.rs", "use aya::maps::HashMap;", 0),
            ("proxy/mod.rs", "use aya::maps::HashMap;", 1),
            ("proxy/mod.rs", "fn f(x: aya::Ebpf) {}", 1),
            ("proxy/mod.rs", "/// As aya::Ebpf does.", 0),
            ("proxy/mod.rs", "use crate::capture::aya::X;", 0),
            ("model/mesh.rs", "use tokio::sync::watch;", 1),
            ("state.rs", "use tokio::sync::watch;", 0),
            ("control_plane/authority.rs", "use rcgen::KeyPair;", 0),
            ("control_plane/server.rs", "use rcgen::KeyPair;", 1),
            ("proxy/splice.rs", "use tokio_rustls::server::TlsStream;", 0),
        ] {
            assert_eq!(faults_in(path, line), expected, "{path}: {line}");
        }
    }
}
