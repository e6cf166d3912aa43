//! Finds the node's kubelet, whose probes are exempt from capture, again whenever it was restarted, and reports when it cannot
//! be found.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::capture::{Capture, KubeletStatus};

/// How often it is checked that the kubelet is where it was. A new one probes only after it has learnt of its pods.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// The longest pause between two searches where there is no kubelet: a search reads all processes of the node.
const LONGEST_SEARCH_INTERVAL: Duration = Duration::from_secs(30);

/// Looks for the kubelet now, and goes on doing so. Returns what was found last.
pub(super) fn watch_kubelet(capture: Arc<Capture>) -> watch::Receiver<KubeletStatus> {
    let first = capture.follow_kubelet();
    log_status(&first);
    let (sender, receiver) = watch::channel(first);
    tokio::spawn(async move {
        let mut interval = CHECK_INTERVAL;
        loop {
            let is_missing = match &*sender.borrow() {
                KubeletStatus::Off => return,
                KubeletStatus::Found(_) => false,
                KubeletStatus::Missing(_) => true,
            };
            interval = if is_missing { LONGEST_SEARCH_INTERVAL.min(interval * 2) } else { CHECK_INTERVAL };
            tokio::time::sleep(interval).await;
            let looking = capture.clone();
            // Reads processes, and waits while a pod is being enrolled.
            let Ok(now) = tokio::task::spawn_blocking(move || looking.follow_kubelet()).await else { continue };
            sender.send_if_modified(|status| {
                let is_new = *status != now;
                if is_new {
                    log_status(&now);
                    *status = now;
                }
                is_new
            });
        }
    });
    receiver
}

/// What an operator must know of it, if anything.
pub(super) fn warning(status: &KubeletStatus) -> Option<String> {
    match status {
        KubeletStatus::Missing(reason) => Some(format!(
            "the kubelet's probes count as plaintext, which STRICT pods refuse: the kubelet is not found: {reason} \
             (--kubelet-cgroup names its cgroup)"
        )),
        KubeletStatus::Off | KubeletStatus::Found(_) => None,
    }
}

fn log_status(status: &KubeletStatus) {
    match status {
        KubeletStatus::Off => tracing::info!("the kubelet's probes count as plaintext"),
        KubeletStatus::Found(cgroup) => {
            tracing::info!(cgroup = %cgroup.display(), "the kubelet's probes reach applications as they are");
        }
        KubeletStatus::Missing(_) => {
            tracing::warn!("{}", warning(status).unwrap_or_default());
        }
    }
}
