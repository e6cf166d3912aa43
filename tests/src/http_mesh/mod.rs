//! A mesh whose services speak HTTP: three versions of one application behind services whose ports declare HTTP, and the
//! means to ask them and to write routes for them.

mod answer;
mod load;
mod pods;
mod service;

pub use answer::{Answer, Echo};
pub use load::{HttpLoad, HttpSeen};
pub use pods::{HttpMesh, Relabelled, VERSIONS, serve};
pub use service::{HttpService, PORTS, Port};
