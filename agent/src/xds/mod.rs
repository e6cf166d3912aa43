//! The only door to the control plane: one delta ADS stream, decoded into the mesh. The same decoder serves
//! configuration that was made in this process ([`Intake::apply_local`]). Nothing else of the agent sees a wire type.

mod client;
mod decode;
mod held;
mod intake;
mod last_good;
mod node;
mod records;
mod shown;
mod status;
mod stream;
mod version;

pub use client::{XdsOptions, run};
pub use decode::{Malformed, address as decode_address};
pub use intake::Intake;
pub use node::NodeDescription;
pub use status::{Link, XdsReport, XdsStatus};
pub use stream::Outcome;
