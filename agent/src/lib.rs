//! Weir: the agent and its embedded control plane, one binary.
//!
//! Modules are listed in layers, lowest first, a blank line between layers. A module may import only from layers above
//! its own in this list; `cargo xtask tidy` reads this file and holds the code to it.
// `json!` with every setting of the agent.
#![recursion_limit = "256"]

pub mod proto;

pub mod model;

mod causes;
pub mod config;
pub mod lifecycle;
pub mod pauses;
pub mod resources;

pub mod net;

pub mod h2;

pub mod objects;
pub mod state;
pub mod supervisor;
pub mod telemetry;

pub mod tls;

pub mod compile;

pub mod control_channel;

pub mod hbone;

pub mod capture;
pub mod control_plane;
pub mod kubernetes;
pub mod xds;

pub mod enrollment;

pub mod cni;

pub mod nri;

pub mod proxy;

pub mod admin;

pub mod app;
pub mod cli;
