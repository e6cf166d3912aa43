//! Where workload certificates come from: a CA over gRPC, a CA key in this process, or ready files.
