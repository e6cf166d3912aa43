//! `weir-pause`: the first process of a pod. It holds the pod's namespaces and reaps orphans, until it is told to end.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

fn main() {
    let mut awaited = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM] {
        awaited.add(signal);
    }
    awaited.thread_block().expect("these signals can be blocked");
    while let Ok(Signal::SIGCHLD) = awaited.wait() {
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive) {}
    }
}
