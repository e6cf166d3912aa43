//! Every metric: name, help, labels. Istio's names and labels, so that existing dashboards work; ours begin with `weir_`.

/// All metrics of the process. Shared as `Arc<Metrics>`.
#[derive(Debug, Default)]
pub struct Metrics {}
