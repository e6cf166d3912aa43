//! Plaintext connections between pods of the mesh. A connection that was opened in the moment before the mesh knew its other end,
//! or before that end was captured, is plaintext for as long as it lasts. These are counted, listed, and ended on request or
//! after a time that a setting says; the application connects again, over HBONE.
//!
//! They are looked for at intervals, so that a change of the mesh costs nothing for the connections that are open.

use std::sync::Arc;
use std::time::Duration;

use crate::model::workload::Workload;
use crate::state::SharedMesh;
use crate::telemetry::connection::LiveConnection;
use crate::telemetry::metrics::Metrics;

/// How often they are looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LatePlaintext {
    mesh: SharedMesh,
    metrics: Arc<Metrics>,
}

impl LatePlaintext {
    #[must_use]
    pub fn new(mesh: SharedMesh, metrics: Arc<Metrics>) -> Self {
        Self { mesh, metrics }
    }

    /// Those that are open now, in no order.
    #[must_use]
    pub fn list(&self) -> Vec<LiveConnection> {
        let mut list = Vec::new();
        for part in 0..Metrics::PARTS {
            self.metrics.late_plaintext(part, &self.mesh.read(), |late| list.push(late.snapshot()));
        }
        list
    }

    /// Ends those that are open now: of one pod of this node (`namespace/name`), or all. Returns how many.
    #[must_use]
    pub fn end(&self, pod: Option<&str>) -> usize {
        let is_meant = |own: &Workload| pod.is_none_or(|pod| is_named(own, pod));
        self.look(|own, _| own.is_some_and(&is_meant) || pod.is_none()).1
    }

    /// Keeps the count, and ends those that have been known for longer than `end_after`; runs forever.
    pub async fn watch(self, end_after: Option<Duration>) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let (open, ended) = self.look(|_, known_for| end_after.is_some_and(|limit| known_for >= limit));
            self.metrics.set_late_plaintext(open - ended);
            if ended > 0 {
                tracing::info!(
                    connections = ended,
                    "plaintext connections between pods of the mesh end: they are too old"
                );
            }
        }
    }

    /// How many there are, and how many of them were ended, because `is_to_end` said so of their own workload and of the time
    /// since they are known.
    fn look(&self, is_to_end: impl Fn(Option<&Workload>, Duration) -> bool) -> (usize, usize) {
        let (mut open, mut ended) = (0, 0);
        for part in 0..Metrics::PARTS {
            self.metrics.late_plaintext(part, &self.mesh.read(), |late| {
                open += 1;
                if is_to_end(late.ends().own_workload().map(|own| &**own), late.known_for()) {
                    late.end();
                    ended += 1;
                }
            });
        }
        self.metrics.late_plaintext_ended(ended);
        (open, ended)
    }
}

fn is_named(workload: &Workload, pod: &str) -> bool {
    pod.split_once('/').is_some_and(|(namespace, name)| *workload.namespace == *namespace && *workload.name == *name)
}
