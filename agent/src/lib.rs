//! Weir: the agent and its embedded control plane, one binary.
//!
//! Modules are listed in layers, lowest first, a blank line between layers. A module may import only from layers above
//! its own in this list; `cargo xtask tidy` reads this file and holds the code to it.
//!
//! All of them are private, so that the compiler finds what nothing uses; `api`, the last, passes on what the binary, the fuzz
//! targets, the benches and the tests in `agent/tests` name. Within a module `pub` says what it offers to other modules.
// `json!` with every setting of the agent.
#![recursion_limit = "256"]
#![allow(
    unreachable_pub,
    reason = "every root module is private and `api` alone names what leaves the crate, so that `pub` and `pub(crate)` mean the \
              same below it: `pub` says what a module offers to others, `pub(super)` and `pub(in …)` what it does not"
)]

mod proto;

mod model;

mod jwt;

mod limits;

mod causes;
mod config;
mod lifecycle;
mod parsed_heads;
mod pauses;
mod resources;
mod whole_file;

mod net;

mod h2;

mod http;

mod objects;
mod state;
mod supervisor;
mod telemetry;

mod tls;

mod compile;

mod control_channel;

mod hbone;

mod capture;
mod control_plane;
mod ext_authz;
mod jwks;
mod kubernetes;
mod otlp;
mod rate_limit_service;
mod xds;

mod enrollment;

mod cni;

mod node_files;
mod nri;

mod proxy;

mod why;

mod admin;

mod app;
mod cli;

pub mod api;
