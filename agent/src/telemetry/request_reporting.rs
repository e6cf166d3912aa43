//! Where requests are reported to: the metrics of the process, its access log, and its spans.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::metrics::Metrics;
use super::request_log::RequestLogForm;
use super::spans::Tracing;
use crate::model::mesh::IstioAccessLog;

/// What all requests of the process are reported to. One per process.
#[derive(Debug)]
pub struct RequestReporting {
    pub(super) metrics: Arc<Metrics>,
    log_form: ArcSwap<RequestLogForm>,
    /// `None` where no spans are exported: contexts of traces then pass as they come.
    pub(super) tracing: Option<Tracing>,
}

impl RequestReporting {
    #[must_use]
    pub fn new(metrics: &Arc<Metrics>, tracing: Option<Tracing>) -> Arc<Self> {
        Arc::new(Self { metrics: metrics.clone(), log_form: ArcSwap::from_pointee(RequestLogForm::Fields), tracing })
    }

    /// Has the lines of further requests be as MeshConfig asks; `None` where it asks for none, which leaves them in the form of the
    /// lines of connections. What of a format is not understood is logged once.
    pub fn set_access_log(&self, settings: Option<&IstioAccessLog>) {
        let form = settings.map_or(RequestLogForm::Fields, |settings| {
            let (form, problems) = RequestLogForm::of(settings);
            problems
                .iter()
                .for_each(|problem| tracing::warn!(%problem, "the access log is not quite as MeshConfig asks"));
            form
        });
        self.log_form.store(Arc::new(form));
    }

    pub(super) fn log_form(&self) -> Arc<RequestLogForm> {
        self.log_form.load_full()
    }
}
