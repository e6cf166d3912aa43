//! Enrolment before a pod's first process runs, on the container runtime's own word: where containerd or CRI-O offers NRI,
//! the agent registers there as a plugin and is asked about every new pod before any of its containers is made. What it
//! answers is `cni`'s to know, and whoever is first enrols the pod.
//!
//! A plugin that is not there is not waited for: only the CNI plugin holds pods back while no agent runs.

mod messages;
mod mux;
mod plugin;
mod pods;
mod report;
mod ttrpc;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

pub use self::plugin::NriError;
pub use self::pods::{Limits, Pods};
pub use self::report::{NriReport, NriStatus};
use crate::pauses::Pauses;

/// Pauses before the container runtime is connected to again, once it was there: it starts pods soon after it started.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// Pauses where there never was one: most of them will not come to have one.
const AT_ALL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Is a plugin of the container runtime whenever there is one, until `stop`.
pub async fn keep(socket: PathBuf, pods: Arc<Pods>, status: NriStatus, stop: CancellationToken) {
    let mut pauses = Pauses::new(AT_ALL.0, AT_ALL.1);
    loop {
        let mut is_taken = false;
        let ended = {
            let connected = |runtime: &str| {
                is_taken = true;
                status.connected(runtime);
            };
            once(&socket, &pods, connected, &stop).await
        };
        match ended {
            Ok(()) => return status.stopped(),
            Err(error) => status.failed(&error),
        }
        if is_taken {
            pauses = Pauses::new(AGAIN.0, AGAIN.1);
        }
        if stop.run_until_cancelled(tokio::time::sleep(pauses.take())).await.is_none() {
            return status.stopped();
        }
    }
}

/// One connection, until it ends; well only if that was wanted.
async fn once(
    path: &Path,
    pods: &Arc<Pods>,
    connected: impl FnMut(&str),
    stop: &CancellationToken,
) -> Result<(), NriError> {
    let stream = UnixStream::connect(path).await?;
    let answer = |event, pod, timeout| {
        let pods = pods.clone();
        async move { pods.answer(event, pod, timeout).await }
    };
    plugin::converse(stream, answer, connected, stop.cancelled()).await
}
