//! The only door to the control plane: one delta ADS stream, decoded into the mesh. The same decoder serves
//! configuration that was made in this process. Nothing outside this module sees a wire type.

pub mod decode;
