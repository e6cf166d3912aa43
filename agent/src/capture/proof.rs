//! Proof that a pod is captured, read from the kernel and not from the agent's own state. Changes nothing.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::cgroup::Cgroup;
use super::error::NotCaptured;
use super::pins::Pins;
use super::pod::NetnsCookie;
use super::programs::Programs;
use super::{kernel, netns_program};

/// Proves that every program is attached to its cgroup, and is this agent's.
pub(super) fn of_cgroups(pins: &Pins, programs: &Programs, pods: &Cgroup, agent: &Cgroup) -> Result<(), NotCaptured> {
    programs.cgroup_links(pods, agent).iter().try_for_each(|link| {
        let to = || link.cgroup.path.display().to_string();
        attached(&pins.link(&link.name), link.program, Some(link.cgroup.id), &link.name, to)
    })
}

/// Proves that a program is attached to the pod's namespace, and that the program that it calls is this agent's.
pub(super) fn of_pod(pins: &Pins, programs: &Programs, pod: NetnsCookie) -> Result<(), NotCaptured> {
    let (program, to) = (|| netns_program::NAME.to_owned(), || pod.to_string());
    let link = kernel::open_pin(&pins.pod(pod)).and_then(|link| kernel::link(&link));
    if !link.is_ok_and(|link| link.target.is_some()) {
        return Err(NotCaptured::NotAttached { program: program(), to: to() });
    }
    match (programs.serving_pods(), kernel::program_id(&programs.sk_lookup)) {
        (Ok(Some(serving)), Ok(own)) if serving == own => Ok(()),
        _ => Err(NotCaptured::OtherProgram { program: program(), to: to() }),
    }
}

fn attached(
    pin: &Path,
    expected: &OwnedFd,
    target: Option<u64>,
    name: &str,
    to: impl Fn() -> String,
) -> Result<(), NotCaptured> {
    let missing = || NotCaptured::NotAttached { program: name.to_owned(), to: to() };
    let link = kernel::open_pin(pin).and_then(|link| kernel::link(&link)).map_err(|_| missing())?;
    let is_there = link.target.is_some_and(|found| target.is_none_or(|target| target == found));
    if !is_there {
        return Err(missing());
    }
    match kernel::program_id(expected) {
        Ok(program) if program == link.program => Ok(()),
        _ => Err(NotCaptured::OtherProgram { program: name.to_owned(), to: to() }),
    }
}
