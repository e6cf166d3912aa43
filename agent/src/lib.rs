//! Weir: the agent and its embedded control plane, one binary.
//!
//! Modules are listed in layers, lowest first, a blank line between layers. A module may import only from layers above
//! its own in this list; `cargo xtask tidy` reads this file and holds the code to it.
//!
//! `pub` modules are those that the binary, the fuzz targets, the benches or the tests in `agent/tests` name. Within a
//! module `pub` says what it offers to other modules.
// `json!` with every setting of the agent.
#![recursion_limit = "256"]
#![allow(unreachable_pub, reason = "`pub` is what a module offers to others; this file says what leaves the crate")]

pub mod proto;

pub mod model;

mod causes;
pub mod config;
pub mod lifecycle;
mod pauses;
pub mod resources;

mod net;

mod h2;

pub mod objects;
pub mod state;
pub mod supervisor;
pub mod telemetry;

pub mod tls;

mod compile;

pub mod control_channel;

pub mod hbone;

pub mod capture;
pub mod control_plane;
mod kubernetes;
pub mod xds;

mod enrollment;

mod cni;

mod nri;

mod proxy;

mod admin;

pub mod app;
pub mod cli;
