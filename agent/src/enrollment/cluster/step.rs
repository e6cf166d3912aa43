//! The next step for one pod, given what Kubernetes, the kernel and the mesh say of it: a pure decision.

use std::time::{Duration, Instant};

/// The container runtime's call may enrol a pod before the watch reports it: for this time after the enrolment, a pod that the
/// watch does not know is not taken for gone.
const UNKNOWN_POD_GRACE: Duration = Duration::from_secs(10);
/// For this time after the enrolment, labels by which a pod is out of the mesh may be older than those at its enrolment.
const STALE_LABELS_GRACE: Duration = Duration::from_secs(2);
/// How long a pod that leaves the mesh is captured at most while the mesh still says that it accepts HBONE.
const HBONE_WITHDRAWAL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it is captured after the mesh has ceased to say so on this node: other nodes learn it later.
const HBONE_WITHDRAWAL_SPREAD: Duration = Duration::from_secs(1);
/// The watch reports a written annotation a little later. For this time what was written counts, not what the watch says.
const ANNOTATION_WATCH_LAG: Duration = Duration::from_secs(5);

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

/// Whether a pod is enrolled, and who had it enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enrolled {
    No,
    ByKubernetes,
    /// Through the enrolment API: only that API ends it.
    ByNode,
}

/// What is known of one pod now.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) wanted: Wanted,
    pub(super) is_annotated: bool,
    pub(super) has_addresses: bool,
    /// It is being deleted: its capture stays, but it is not enrolled any more.
    pub(super) is_ending: bool,
    pub(super) enrolled: Enrolled,
    /// It has addresses that it is not enrolled with.
    pub(super) has_new_addresses: bool,
    pub(super) mesh_says_hbone: bool,
}

/// What was done for the pod so far.
#[derive(Debug, Default, Clone)]
pub(super) struct Memory {
    /// A step is under way.
    pub(super) is_busy: bool,
    /// The last step that was begun.
    pub(super) last_step: Option<EnrollmentStep>,
    /// If it failed: when it is tried again. Another step need not wait.
    pub(super) retry_at: Option<Instant>,
    /// When it was first seen to be enrolled; `None` if a former agent had enrolled it.
    pub(super) enrolled_at: Option<Instant>,
    /// What was written to its annotation last, and when.
    pub(super) written: Option<(bool, Instant)>,
    leaving_since: Option<Instant>,
    /// While it leaves: since when the mesh no longer says that it accepts HBONE.
    not_hbone_since: Option<Instant>,
}

impl Memory {
    /// For a pod that is first seen now.
    pub(super) fn since(now: Instant) -> Self {
        Self { enrolled_at: Some(now), ..Self::default() }
    }

    /// A step is under way from now on.
    pub(super) fn begin(&mut self, step: EnrollmentStep) {
        (self.is_busy, self.last_step) = (true, Some(step));
    }

    /// The pod has left, or come back: if it leaves again, it does so from the start.
    pub(super) fn forget_leaving(&mut self) {
        (self.leaving_since, self.not_hbone_since) = (None, None);
    }

    /// True while the pod leaves the mesh.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving_since.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EnrollmentStep {
    /// Capture it, then annotate it.
    Enroll,
    /// Write to its annotation that it is captured, or that it is not.
    Annotate(bool),
    /// End its capture.
    Release,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// Decide again then, if nothing changes before.
    At(Instant),
    Do(EnrollmentStep),
}

/// The next step for a pod.
pub(super) fn next(view: &View, memory: &mut Memory, now: Instant) -> Next {
    if memory.is_busy {
        return Next::Nothing;
    }
    match (due(view, memory, now), memory.retry_at) {
        (Next::Do(step), Some(retry_at)) if memory.last_step == Some(step) && now < retry_at => Next::At(retry_at),
        (next, _) => next,
    }
}

fn due(view: &View, memory: &mut Memory, now: Instant) -> Next {
    let is_annotated = match memory.written {
        Some((written, at)) if now < at + ANNOTATION_WATCH_LAG => written,
        _ => view.is_annotated,
    };
    match view.wanted {
        Wanted::Undecided => Next::Nothing,
        Wanted::In => stay(view, memory, is_annotated),
        Wanted::Out | Wanted::Finished | Wanted::Gone => match view.enrolled {
            Enrolled::ByNode => Next::Nothing,
            // Written by an agent that ended before it could remove it.
            Enrolled::No if is_annotated => Next::Do(EnrollmentStep::Annotate(false)),
            Enrolled::No => Next::Nothing,
            Enrolled::ByKubernetes => leave(view, memory, is_annotated, now),
        },
    }
}

fn stay(view: &View, memory: &mut Memory, is_annotated: bool) -> Next {
    memory.forget_leaving();
    match view.enrolled {
        Enrolled::No if view.has_addresses && !view.is_ending => Next::Do(EnrollmentStep::Enroll),
        Enrolled::No => Next::Nothing,
        _ if view.has_new_addresses && !view.is_ending => Next::Do(EnrollmentStep::Enroll),
        _ if !is_annotated => Next::Do(EnrollmentStep::Annotate(true)),
        _ => Next::Nothing,
    }
}

/// In this order no connection is refused: the annotation is removed, from which the control plane learns that the pod does not
/// accept HBONE, and announces that to all peers; HBONE is accepted until they know; then capture ends.
fn leave(view: &View, memory: &mut Memory, is_annotated: bool, now: Instant) -> Next {
    let grace = match view.wanted {
        Wanted::Gone => UNKNOWN_POD_GRACE,
        Wanted::Finished => Duration::ZERO,
        _ => STALE_LABELS_GRACE,
    };
    if let Some(until) = memory.enrolled_at.map(|at| at + grace).filter(|until| now < *until) {
        return Next::At(until);
    }
    if view.wanted != Wanted::Out {
        // No process of the pod runs any more.
        return Next::Do(EnrollmentStep::Release);
    }
    let since = *memory.leaving_since.get_or_insert(now);
    if is_annotated {
        return Next::Do(EnrollmentStep::Annotate(false));
    }
    if view.mesh_says_hbone {
        memory.not_hbone_since = None;
        let until = since + HBONE_WITHDRAWAL_TIMEOUT;
        return if now < until { Next::At(until) } else { Next::Do(EnrollmentStep::Release) };
    }
    let until = *memory.not_hbone_since.get_or_insert(now) + HBONE_WITHDRAWAL_SPREAD;
    if now < until { Next::At(until) } else { Next::Do(EnrollmentStep::Release) }
}

#[cfg(test)]
mod tests;
