//! How a worker ends: after a signal to stop or when a successor serves, and how long it serves its open connections.

use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::admin::Endpoints;
use super::handover::{NodeOwnership, ServingSuccessor};
use crate::enrollment::Enrollment;
use crate::lifecycle::DrainTrigger;
use crate::supervisor::SupervisorLink;

/// How often it is checked whether any connection is open, while the agent waits for a successor.
const OPEN_CONNECTIONS_INTERVAL: Duration = Duration::from_millis(200);

/// Why the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// A signal, or the admin endpoint `/quitquitquit`.
    Requested,
    /// A successor serves.
    Superseded(ServingSuccessor),
}

/// Which stop signal ends a drain at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AbortOn {
    NextSignal,
    /// The agent drains because it has a successor: one signal to stop is to be expected.
    SecondSignal,
}

/// Resolves when the agent has to end.
pub(super) async fn stop_reason(quit: &Notify, ownership: &NodeOwnership) -> anyhow::Result<StopReason> {
    tokio::select! {
        signal = stop_signal() => signal.map(|()| StopReason::Requested),
        () = quit.notified() => Ok(StopReason::Requested),
        successor = ownership.superseded() => Ok(StopReason::Superseded(successor)),
    }
}

/// Serves on after a signal to stop while no other agent serves the node, as happens to a pod that was deleted before its
/// replacement exists. Ends when a successor serves, when no connection is open, at another signal, or after
/// `longest`. Returns why the agent ends after all, and how much of the time is left for its drain.
pub(super) async fn serve_until_superseded(
    ownership: &NodeOwnership,
    enrollment: &Enrollment,
    longest: Duration,
) -> anyhow::Result<(StopReason, Duration)> {
    let start = Instant::now();
    tracing::info!(
        seconds = longest.as_secs(),
        "signal to stop: no other agent serves this node, this one serves on meanwhile"
    );
    let nothing_open = async {
        while enrollment.pods().iter().any(|pod| pod.connections_open() > 0) {
            tokio::time::sleep(OPEN_CONNECTIONS_INTERVAL).await;
        }
    };
    let reason = tokio::select! {
        successor = ownership.superseded() => StopReason::Superseded(successor),
        signal = stop_signal() => signal.map(|()| StopReason::Requested)?,
        () = nothing_open => StopReason::Requested,
        () = tokio::time::sleep(longest) => StopReason::Requested,
    };
    Ok((reason, longest.saturating_sub(start.elapsed())))
}

/// Accepts nothing new, lets open connections finish until the deadline, and then closes the rest. The admin endpoints go
/// on meanwhile, unless a successor needs their ports.
pub(super) async fn drain(
    reason: StopReason,
    supervisor: &SupervisorLink,
    endpoints: Endpoints,
    drain: DrainTrigger,
    deadline: Duration,
) -> anyhow::Result<()> {
    let (endpoints, abort_on) = match reason {
        StopReason::Requested => {
            supervisor.report_draining();
            (Some(endpoints), AbortOn::NextSignal)
        }
        StopReason::Superseded(successor) => ((!successor.same_network).then_some(endpoints), AbortOn::SecondSignal),
    };
    drain_or_abort(drain, deadline, abort_on).await?;
    drop(endpoints);
    Ok(())
}

async fn drain_or_abort(drain: DrainTrigger, deadline: Duration, abort_on: AbortOn) -> anyhow::Result<()> {
    tracing::info!(seconds = deadline.as_secs(), "agent drains");
    let abort = async {
        if abort_on == AbortOn::SecondSignal {
            stop_signal().await?;
            tracing::info!("signal to stop: the agent drains already");
        }
        stop_signal().await
    };
    tokio::select! {
        whole = drain.run(deadline) => tracing::info!(cut_off = !whole, "agent stops"),
        signal = abort => {
            signal?;
            tracing::warn!("second signal to stop: the agent stops at once");
        }
    }
    Ok(())
}

/// Resolves at SIGTERM or SIGINT.
async fn stop_signal() -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
    }
}
