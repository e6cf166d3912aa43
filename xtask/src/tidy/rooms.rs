//! The direction of use inside the agent, and who may name which foreign crate.
//!
//! `agent/src/lib.rs` lists the root modules in layers, a blank line between them; a module uses only modules of layers
//! above its own in that list.

use std::collections::BTreeSet;
use std::path::Path;

use syn::Item;
use syn::spanned::Spanned;

use super::rust::Crate;

/// Paths that only some places may name: their beginnings, those places below `agent/src`, and why.
const DOORS: &[(&[&str], &[&str], &str)] = &[
    (&["aya", "aya_log"], &["capture"], "only capture knows the kernel programs"),
    (&["rustls", "webpki", "x509_parser"], &["tls"], "only tls knows the crypto provider"),
    (&["tokio_rustls"], &["control_channel"], "peers handshake in tls, by rustls alone"),
    (&["kube", "k8s_openapi"], &["kubernetes"], "only kubernetes knows the API server"),
    (&["rcgen"], &["tls", "control_plane/authority"], "only tls and the embedded CA make certificates"),
    (
        &["prost", "prost_types", "tonic", "tonic_prost"],
        &["proto", "xds", "control_plane", "control_channel", "enrollment", "nri"],
        "wire types end where messages come in",
    ),
    (
        &["crate::proto"],
        &[
            "proto",
            "xds",
            "control_plane",
            "control_channel",
            "enrollment/api",
            "objects/protobuf",
            "objects/networking/protobuf",
            "objects/security/protobuf",
        ],
        "wire types end where messages come in",
    ),
    (&["h2"], &[], "the agent has its own HTTP/2"),
    (
        &["hyper", "hyper_util"],
        &["admin", "control_channel", "enrollment"],
        "hyper serves and asks for what is no traffic of pods",
    ),
    (&["prometheus_client"], &["telemetry"], "all metrics are made in one place"),
];

/// Paths that a place below `agent/src` may not name at all, and why.
const KEPT_OUT: &[(&[&str], &str, &str)] = &[
    (&["tokio", "nix", "libc", "socket2", "tracing"], "model", "model is pure: no I/O, no runtime, no log"),
    (
        &["rand", "std::time::Instant::now", "std::time::SystemTime::now"],
        "model",
        "model is pure: chance and time are parameters",
    ),
    (&["tokio", "tokio_util", "rustls", "tokio_rustls"], "h2", "h2 is a state machine: it has no sockets"),
    (&["tokio", "tokio_util"], "supervisor", "the supervisor outlives what fails: no runtime"),
    (&["tokio"], "objects", "objects are data; who reads files waits elsewhere"),
];

/// The root modules of the agent by layer, lowest first.
#[derive(Debug)]
pub(super) struct Layers(Vec<BTreeSet<String>>);

impl Layers {
    /// Reads them from the agent's lib.rs.
    pub(super) fn parse(lib: &str) -> syn::Result<Self> {
        let lines: Vec<&str> = lib.lines().collect();
        let mut layers: Vec<BTreeSet<String>> = Vec::new();
        let mut end = 0;
        for item in syn::parse_file(lib)?.items {
            let Item::Mod(module) = item else { continue };
            let begins = module.span().start().line;
            if layers.is_empty() || lines[end..begins - 1].iter().any(|line| line.trim().is_empty()) {
                layers.push(BTreeSet::new());
            }
            layers.last_mut().expect("there is one by now").insert(module.ident.to_string());
            end = module.span().end().line;
        }
        Ok(Self(layers))
    }

    fn of(&self, module: &str) -> Option<usize> {
        self.0.iter().position(|layer| layer.contains(module))
    }
}

/// Uses against the direction of the layers.
pub(super) fn layer_faults(agent: &Crate, layers: &Layers) -> Vec<String> {
    let mut faults = Vec::new();
    for (index, module) in agent.modules.iter().enumerate() {
        let Some(own) = module.names.first() else { continue };
        let file = module.file.display();
        for (target, line) in agent.named(index) {
            let path = agent.path_of(&target);
            let mut names = path.split("::");
            let (Some("crate"), Some(other)) = (names.next(), names.next()) else { continue };
            if other != own && layers.of(other).is_some_and(|other| Some(other) >= layers.of(own)) {
                faults.push(format!("{file}:{line}: {own} must not use {path}: its layer is not below"));
            }
        }
    }
    faults.dedup();
    faults
}

/// Paths outside the places that may name them, and places that may and do not.
pub(super) fn door_faults(agent: &Crate) -> Vec<String> {
    let mut faults = Vec::new();
    let mut closed: BTreeSet<(&str, &str)> =
        DOORS.iter().flat_map(|(names, places, _)| places.iter().map(|place| (names[0], *place))).collect();
    for (index, module) in agent.modules.iter().enumerate() {
        let Ok(place) = module.file.strip_prefix("agent/src") else { continue };
        let mut told = BTreeSet::new();
        for (target, line) in agent.named(index) {
            let path = agent.path_of(&target);
            for (name, reason) in forbidden(place, &path).filter(|found| told.insert(*found)) {
                faults.push(format!("{}:{line}: {name} must not be named here: {reason}", module.file.display()));
            }
            for (names, places, _) in DOORS.iter().filter(|(names, ..)| names.iter().any(|name| begins(&path, name))) {
                for room in places.iter().filter(|room| within(place, room)) {
                    closed.remove(&(names[0], *room));
                }
            }
        }
    }
    faults.extend(closed.iter().map(|(name, place)| format!("agent/src/{place} may name {name} and does not")));
    faults
}

/// Whether a file is a place of a rule, or in it.
fn within(file: &Path, place: &str) -> bool {
    file.starts_with(place) || file == Path::new(&format!("{place}.rs"))
}

fn begins(path: &str, name: &str) -> bool {
    path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The rules that a path breaks in a place: the beginning that is forbidden there, and why.
fn forbidden<'p>(place: &'p Path, path: &'p str) -> impl Iterator<Item = (&'static str, &'static str)> + 'p {
    let doors = DOORS.iter().filter(|(_, places, _)| !places.iter().any(|name| within(place, name)));
    let closed = doors.map(|(names, _, reason)| (names, reason));
    let kept_out = KEPT_OUT.iter().filter(|(_, room, _)| within(place, room)).map(|(names, _, reason)| (names, reason));
    let broken = closed.chain(kept_out);
    broken.filter_map(|(names, reason)| Some((*names.iter().find(|name| begins(path, name))?, *reason)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::crate_of;
    use super::*;

    const LIB: &str =
        "//! Map.\n\npub mod model;\n\npub mod config;\nmod state;\n\n/// Sockets.\npub(crate) mod proxy;\n";

    #[test]
    fn a_module_uses_only_layers_below_its_own() {
        let layers = Layers::parse(LIB).unwrap();
        for (file, text, expected) in [
            ("proxy/outbound.rs", "use crate::model::workload::Workload;", 0),
            ("proxy/outbound.rs", "use crate::proxy::splice;", 0),
            ("state.rs", "use crate::config::AgentConfig;", 1),
            ("state.rs", "use crate::model::{mesh, resolve}; // crate::proxy", 0),
            ("model/mesh.rs", "fn f() { crate::proxy::f(crate::state::g()) }", 2),
            ("config.rs", "use crate::{model::a, proxy::{b, model}, state};", 3),
            ("model/mesh.rs", "#[cfg(test)] use crate::proxy::y;", 0),
        ] {
            let modules = ["model/mod.rs", "proxy/mod.rs", "config.rs", "state.rs"].map(|file| (file, ""));
            let files: Vec<_> = modules.into_iter().filter(|(other, _)| *other != file).chain([(file, text)]).collect();
            let faults = layer_faults(&crate_of(&files), &layers);
            assert_eq!(faults.len(), expected, "{file}: {text}: {faults:?}");
        }
    }

    #[test]
    fn a_path_is_named_behind_its_door_only() {
        for (place, path, expected) in [
            ("capture/mod.rs", "aya::maps::HashMap", 0),
            ("proxy/mod.rs", "aya::maps::HashMap", 1),
            ("proxy/mod.rs", "aya", 1),
            ("proxy/mod.rs", "ayatana::X", 0),
            ("proxy/mod.rs", "crate::capture::aya::X", 0),
            ("model/mesh.rs", "tokio::sync::watch", 1),
            ("model/mesh.rs", "std::time::Instant", 0),
            ("model/mesh.rs", "std::time::Instant::now", 1),
            ("state.rs", "tokio::sync::watch", 0),
            ("control_plane/authority.rs", "rcgen::KeyPair", 0),
            ("control_plane/server.rs", "rcgen::KeyPair", 1),
            ("state.rs", "crate::proto::istio", 1),
            ("h2/frame.rs", "tokio::io::AsyncRead", 1),
        ] {
            assert_eq!(forbidden(Path::new(place), path).count(), expected, "{place}: {path}");
        }
    }
}
