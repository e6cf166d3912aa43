//! How a worker ends: told to, or because a successor serves; and how long it goes on for those who are connected.

use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::observation::Endpoints;
use super::succession::Standing;
use crate::enrollment::Enrollment;
use crate::lifecycle::DrainTrigger;
use crate::supervisor::SupervisorLink;

/// Pause between two looks at what is open.
const LOOK: Duration = Duration::from_millis(200);

/// Why the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Told,
    /// A successor serves.
    Relieved {
        same_network: bool,
    },
}

/// How often a draining agent may be told to stop before it ends at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    None,
    /// It drains because it has a successor; being told to stop is to be expected.
    Once,
}

/// Resolves when the agent is to end, by what anybody says.
pub(super) async fn begun(quit: &Notify, standing: &Standing) -> anyhow::Result<Ending> {
    tokio::select! {
        told = told_to_stop() => told.map(|()| Ending::Told),
        () = quit.notified() => Ok(Ending::Told),
        same_network = standing.relieved() => Ok(Ending::Relieved { same_network }),
    }
}

/// Told to stop where nobody serves the node yet: as a pod that was deleted, and another is only being made. Goes on for all
/// who are connected and who come, until a successor serves, nothing is open, it is told so again, or `longest` is over.
/// Gives why it ends after all, and how much of the time is left.
pub(super) async fn serve_on(
    standing: &Standing,
    enrollment: &Enrollment,
    longest: Duration,
) -> anyhow::Result<(Ending, Duration)> {
    let start = Instant::now();
    tracing::info!(seconds = longest.as_secs(), "told to stop, and nobody else serves this node: serving on meanwhile");
    let nothing_open = async {
        while enrollment.pods().iter().any(|pod| pod.connections_open() > 0) {
            tokio::time::sleep(LOOK).await;
        }
    };
    let ending = tokio::select! {
        same_network = standing.relieved() => Ending::Relieved { same_network },
        again = told_to_stop() => again.map(|()| Ending::Told)?,
        () = nothing_open => Ending::Told,
        () = tokio::time::sleep(longest) => Ending::Told,
    };
    Ok((ending, longest.saturating_sub(start.elapsed())))
}

/// Takes nothing new and finishes what is open, for as long as that may take; then closes the rest.
pub(super) async fn end(
    ending: Ending,
    supervisor: &SupervisorLink,
    endpoints: Endpoints,
    drain: DrainTrigger,
    deadline: Duration,
) -> anyhow::Result<()> {
    let (kept, patience) = match ending {
        Ending::Told => {
            supervisor.report_draining();
            (Some(endpoints), Patience::None)
        }
        // Ports can be had only once.
        Ending::Relieved { same_network } => ((!same_network).then_some(endpoints), Patience::Once),
    };
    stop(drain, deadline, patience).await?;
    drop(kept);
    Ok(())
}

/// Lets live connections finish; told to stop in between, ends at once, or the next time.
async fn stop(drain: DrainTrigger, deadline: Duration, patience: Patience) -> anyhow::Result<()> {
    tracing::info!(seconds = deadline.as_secs(), "agent drains");
    let told = async {
        if patience == Patience::Once {
            told_to_stop().await?;
            tracing::info!("told to stop: the agent drains already");
        }
        told_to_stop().await
    };
    tokio::select! {
        whole = drain.run(deadline) => tracing::info!(cut_off = !whole, "agent stops"),
        again = told => {
            again?;
            tracing::warn!("agent stops at once: told so twice");
        }
    }
    Ok(())
}

/// Resolves at SIGTERM or SIGINT.
async fn told_to_stop() -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
    }
}
