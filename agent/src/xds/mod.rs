//! The only door to the control plane: one delta ADS stream, decoded into the mesh.
