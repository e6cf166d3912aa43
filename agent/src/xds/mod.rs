//! The only door to the control plane: one delta ADS stream, decoded into the mesh. The same decoder serves
//! configuration that was made in this process ([`Intake::apply_local`]). Nothing outside sees a wire type.

mod client;
pub mod decode;
mod held;
mod intake;
mod last_good;
mod status;
mod stream;

pub use client::{NodeDescription, XdsOptions, run};
pub use intake::Intake;
pub use status::{XdsReport, XdsStatus};
