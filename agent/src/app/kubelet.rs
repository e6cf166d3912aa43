//! Follows the node's kubelet, which may be restarted at any time, and says when it cannot be found.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::capture::{Capture, KubeletStatus};

/// How soon it is noticed that the kubelet went. A new one probes only after it has learnt of its pods.
const INTERVAL: Duration = Duration::from_millis(500);
/// How seldom it is looked for where there is none: every look reads all processes of the node.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);

/// Finds the kubelet, and goes on doing so. Gives what was found last.
pub(super) fn follow(capture: Arc<Capture>) -> watch::Receiver<KubeletStatus> {
    let first = capture.follow_kubelet();
    tell(&first);
    let (sender, receiver) = watch::channel(first);
    tokio::spawn(async move {
        let mut interval = INTERVAL;
        loop {
            let is_missing = match &*sender.borrow() {
                KubeletStatus::Off => return,
                KubeletStatus::Found(_) => false,
                KubeletStatus::Missing(_) => true,
            };
            interval = if is_missing { LONGEST_INTERVAL.min(interval * 2) } else { INTERVAL };
            tokio::time::sleep(interval).await;
            let now = capture.follow_kubelet();
            sender.send_if_modified(|status| {
                let is_new = *status != now;
                if is_new {
                    tell(&now);
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

fn tell(status: &KubeletStatus) {
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
