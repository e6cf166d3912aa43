//! Spans of requests go to a collector of OpenTelemetry, over OTLP and gRPC. A collector that is dead or slow costs spans and nothing
//! else: nobody waits for it, and what waits for it is bounded.
//!
//! `encode` makes the messages, and `exporter` sends them: to the collector that the agent was started with, and to the `providers` that
//! MeshConfig names.

mod encode;
mod exporter;
mod providers;

pub use self::exporter::Exporter;
pub use self::providers::SpanProviders;
