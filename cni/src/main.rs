//! `weir-cni`: the last plugin of the node's CNI chain. It asks the node's agent to enrol a pod before the pod's first
//! process runs, and adds nothing to the network itself.
//!
//! The contract is CNI's (spec 0.3.0 to 1.1.0): the command comes in the environment, the configuration on standard input,
//! the result or the error goes to standard output. No access to the Kubernetes API, no state of its own.

use std::process::ExitCode;

mod plugin;

fn main() -> ExitCode {
    plugin::run()
}
