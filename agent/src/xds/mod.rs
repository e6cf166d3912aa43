//! The only door to the control plane: one delta ADS stream, decoded into the mesh. The same decoder serves
//! configuration that was made in this process ([`Intake::apply_local`]). Nothing outside sees a wire type.

mod backoff;
mod client;
mod decode;
mod held;
mod intake;
mod last_good;
mod node;
mod status;
mod stream;

pub use client::{XdsOptions, run};
pub use intake::Intake;
pub use node::NodeDescription;
pub use status::{XdsReport, XdsStatus};
pub use stream::Outcome;
