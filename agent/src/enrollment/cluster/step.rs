//! What to do next about one pod, given what Kubernetes, the kernel and the mesh say of it: a pure decision. It acts on
//! nothing, and knows no API.

use std::time::{Duration, Instant};

/// A pod that was enrolled by the CNI plugin's call may be ahead of the watch: so long nothing is concluded from its
/// being unknown.
const UNKNOWN_GRACE: Duration = Duration::from_secs(10);
/// The same, for labels that the watch has not told of yet.
const LABEL_GRACE: Duration = Duration::from_secs(2);
/// How long a pod that leaves goes on being captured while the mesh still says that it speaks HBONE.
const LEAVING_BOUND: Duration = Duration::from_secs(30);
/// How long it does after the mesh has ceased to say so here: other nodes may hear of it later.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// The watch tells of what was written to a pod a little later. So long what was written counts.
const WRITTEN_COUNTS: Duration = Duration::from_secs(5);

/// What Kubernetes says about whether a pod is in the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    In,
    Out,
    /// All its containers have ended for good.
    Finished,
    /// There is no such pod.
    Gone,
    /// Not enough is known yet.
    Undecided,
}

/// Whether a pod is enrolled, and on whose word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enrolled {
    No,
    ByKubernetes,
    /// By somebody on this node: it stays enrolled until he says otherwise.
    ByNode,
}

/// One pod, now.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) wanted: Wanted,
    pub(super) is_annotated: bool,
    pub(super) has_addresses: bool,
    /// It is being deleted: what it has stays, but it is given nothing new.
    pub(super) is_ending: bool,
    pub(super) enrolled: Enrolled,
    /// It is enrolled with other addresses than it has now.
    pub(super) is_moved: bool,
    pub(super) mesh_says_hbone: bool,
}

/// What has happened about the pod so far.
#[derive(Debug, Default, Clone)]
pub(super) struct Memory {
    /// A step is under way.
    pub(super) is_busy: bool,
    /// The last step that was begun.
    pub(super) begun: Option<Step>,
    /// After its failure: when it is tried again. What is to be done instead need not wait.
    pub(super) retry_at: Option<Instant>,
    /// When it was first seen to be enrolled; `None` if a former agent had enrolled it.
    pub(super) enrolled_at: Option<Instant>,
    /// What was written last to its annotation.
    pub(super) written: Option<(bool, Instant)>,
    leaving_since: Option<Instant>,
    silent_since: Option<Instant>,
}

impl Memory {
    /// Of a pod that is first seen now.
    pub(super) fn since(now: Instant) -> Self {
        Self { enrolled_at: Some(now), ..Self::default() }
    }

    /// A step is under way from now on.
    pub(super) fn begin(&mut self, step: Step) {
        (self.is_busy, self.begun) = (true, Some(step));
    }

    /// It has left, or come back: should it leave, it begins anew.
    pub(super) fn forget_leaving(&mut self) {
        (self.leaving_since, self.silent_since) = (None, None);
    }

    /// True while the pod leaves the mesh in order.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving_since.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Capture it, then say so on it.
    Enroll,
    /// Say on it that it is captured, or that it is not.
    Annotate(bool),
    /// End its capture.
    Release,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// Ask again then, if nothing else happens before.
    At(Instant),
    Do(Step),
}

/// The next step for a pod.
pub(super) fn next(view: &View, memory: &mut Memory, now: Instant) -> Next {
    if memory.is_busy {
        return Next::Nothing;
    }
    match (due(view, memory, now), memory.retry_at) {
        (Next::Do(step), Some(retry_at)) if memory.begun == Some(step) && now < retry_at => Next::At(retry_at),
        (next, _) => next,
    }
}

fn due(view: &View, memory: &mut Memory, now: Instant) -> Next {
    let is_annotated = match memory.written {
        Some((written, at)) if now < at + WRITTEN_COUNTS => written,
        _ => view.is_annotated,
    };
    match view.wanted {
        Wanted::Undecided => Next::Nothing,
        Wanted::In => stay(view, memory, is_annotated),
        Wanted::Out | Wanted::Finished | Wanted::Gone => match view.enrolled {
            Enrolled::ByNode => Next::Nothing,
            // A word that is no longer true, from an agent that could not take it back.
            Enrolled::No if is_annotated => Next::Do(Step::Annotate(false)),
            Enrolled::No => Next::Nothing,
            Enrolled::ByKubernetes => leave(view, memory, is_annotated, now),
        },
    }
}

fn stay(view: &View, memory: &mut Memory, is_annotated: bool) -> Next {
    memory.forget_leaving();
    match view.enrolled {
        Enrolled::No if view.has_addresses && !view.is_ending => Next::Do(Step::Enroll),
        Enrolled::No => Next::Nothing,
        _ if view.is_moved && !view.is_ending => Next::Do(Step::Enroll),
        _ if !is_annotated => Next::Do(Step::Annotate(true)),
        _ => Next::Nothing,
    }
}

/// In this order nobody is refused: the control plane learns that the pod speaks no HBONE, and tells everybody; HBONE is
/// served until all have heard; then capture ends.
fn leave(view: &View, memory: &mut Memory, is_annotated: bool, now: Instant) -> Next {
    let grace = match view.wanted {
        Wanted::Gone => UNKNOWN_GRACE,
        Wanted::Finished => Duration::ZERO,
        _ => LABEL_GRACE,
    };
    if let Some(until) = memory.enrolled_at.map(|at| at + grace).filter(|until| now < *until) {
        return Next::At(until);
    }
    if view.wanted != Wanted::Out {
        // Nobody is there to be talked to.
        return Next::Do(Step::Release);
    }
    let since = *memory.leaving_since.get_or_insert(now);
    if is_annotated {
        return Next::Do(Step::Annotate(false));
    }
    if view.mesh_says_hbone {
        memory.silent_since = None;
        let until = since + LEAVING_BOUND;
        return if now < until { Next::At(until) } else { Next::Do(Step::Release) };
    }
    let until = *memory.silent_since.get_or_insert(now) + LAST_MOMENT;
    if now < until { Next::At(until) } else { Next::Do(Step::Release) }
}

#[cfg(test)]
mod tests;
