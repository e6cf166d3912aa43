//! The kit of the tests on the real kernel and of the demo: nodes and pods made of network namespaces, veth pairs and
//! cgroups; Weir's processes on them; real programs in them; captures of what went over the wire.
//!
//! Everything is named after a [`run::Run`], and all that carries its name goes when it ends, also after a panic, a
//! Ctrl-C, or (at the next start) a SIGKILL. Nothing here has a route out of its namespaces: a machine's own namespace
//! may answer any connect(), so a test that leaves it proves nothing.
//!
//! Modules are listed lowest first; each uses only those above it.

pub mod any_server;
pub mod wait;

pub mod cgroup;
pub mod namespace;
pub mod run;

pub mod table;
pub mod workers;

pub mod disk;

pub mod selection;
pub mod suite_output;

pub mod certificates;
pub mod folder;
pub mod http;
pub mod metrics;
pub mod packet_capture;
pub mod place;
pub mod program;
pub mod raw_http2;
pub mod rules;

pub mod objects;
pub mod world;

pub mod agent;

pub mod bad_link;
pub mod cni;
pub mod control_plane;
pub mod envoy;
pub mod fake_kubernetes;
pub mod nginx;
pub mod peers;
pub mod test_app;
pub mod tokens;
pub mod tomcat;
pub mod websocket;

pub mod origins;
pub mod smuggling;

pub mod load;
pub mod mesh;

pub mod http_mesh;

pub mod answers;

pub mod attack;
pub mod collector;

pub mod fake_ca;
pub mod partial_ads;

pub mod cluster;

pub mod prometheus;
