//! Takes spans out of their queue in batches, and sends one batch after the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Channel, Endpoint};

use super::encode;
use crate::proto::opentelemetry::proto::collector::trace::v1::trace_service_client::TraceServiceClient;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::Span;

/// Spans that are sent together, at most.
const MAX_BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const GATHERING: Duration = Duration::from_secs(1);
/// How long a collector may take for a batch; so long at most the queue is not emptied.
pub(super) const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is logged that spans could not be exported.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// Why a collector cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{address:?} is no address of a collector: {source}")]
pub struct CollectorError {
    address: String,
    source: tonic::transport::Error,
}

/// Sends spans to one collector.
#[derive(Debug)]
pub struct Exporter {
    client: TraceServiceClient<Channel>,
    metrics: Arc<Metrics>,
    logged: Option<Instant>,
}

impl Exporter {
    /// An exporter to `http://host:port`. It connects when there is something to send, and again whenever it has to.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(address: &str, metrics: Arc<Metrics>) -> Result<Self, CollectorError> {
        let endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|source| CollectorError { address: address.to_owned(), source })?;
        let channel = endpoint.connect_timeout(EXPORT_TIMEOUT).timeout(EXPORT_TIMEOUT).connect_lazy();
        Ok(Self::over(channel, metrics))
    }

    /// An exporter to whatever a channel leads to.
    pub(super) fn over(channel: Channel, metrics: Arc<Metrics>) -> Self {
        Self { client: TraceServiceClient::new(channel), metrics, logged: None }
    }

    /// Sends what comes out of the queue, for as long as spans may come.
    pub async fn run(mut self, mut waiting: mpsc::Receiver<Box<Span>>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while waiting.recv_many(&mut batch, MAX_BATCH).await > 0 {
            let until = Instant::now() + GATHERING;
            while batch.len() < MAX_BATCH {
                let room = MAX_BATCH - batch.len();
                match timeout_at(until, waiting.recv_many(&mut batch, room)).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                }
            }
            self.export(&batch).await;
            batch.clear();
        }
    }

    async fn export(&mut self, batch: &[Box<Span>]) {
        let sending = self.client.export(encode::request(batch.iter().map(|span| &**span)));
        let spans = batch.len() as u64;
        match timeout_at(Instant::now() + EXPORT_TIMEOUT, sending).await {
            Ok(Ok(answer)) => {
                let refused = answer.into_inner().partial_success.map_or(0, |partial| partial.rejected_spans);
                let refused = u64::try_from(refused).unwrap_or(0).min(spans);
                self.metrics.spans_exported(spans - refused);
                self.metrics.spans_dropped(refused);
            }
            Ok(Err(status)) => self.failed(spans, &status.to_string()),
            Err(_) => self.failed(spans, "the collector does not answer"),
        }
    }

    fn failed(&mut self, spans: u64, error: &str) {
        self.metrics.spans_dropped(spans);
        let now = Instant::now();
        if self.logged.is_none_or(|logged| now.duration_since(logged) >= LOG_PAUSE) {
            self.logged = Some(now);
            tracing::warn!(spans, error, "spans could not be exported");
        }
    }
}

#[cfg(test)]
mod tests;
