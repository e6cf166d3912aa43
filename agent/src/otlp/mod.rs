//! Spans of requests go to a collector of OpenTelemetry, over OTLP and gRPC. A collector that is dead or slow costs spans and nothing
//! else: nobody waits for it, and what waits for it is bounded.
//!
//! `encode` makes the messages, and `exporter` sends them.

mod encode;
mod exporter;

pub use self::exporter::Exporter;
