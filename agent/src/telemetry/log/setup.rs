//! Setting up the log of the process, and changing its filter while it runs.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, subscriber};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::{Layer, fmt as lines, reload};

use super::fields::LogFormat;
use super::format::LineFormat;
use super::writer::{Direct, LineWriter};

/// How long the end of the process waits for the last lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the log cannot be as asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log filter {filter:?} cannot be understood: {reason}")]
    Filter { filter: String, reason: String },
    #[error("the thread that writes the log cannot be started")]
    Thread(#[source] io::Error),
    #[error("a log is set up already")]
    AlreadySetUp,
}

/// A handle to the process's log. Cheap to clone; the last lines are written when [`LogHandle::flush`] is called.
#[derive(Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    /// The filter in force, as it was asked for.
    current: Arc<Mutex<String>>,
    writer: LineWriter,
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHandle").field("filter", &self.filter()).finish_non_exhaustive()
    }
}

impl LogHandle {
    /// The filter in force.
    #[must_use]
    pub fn filter(&self) -> String {
        self.current.lock().clone()
    }

    /// Replaces the filter (tracing's syntax: `info`, `info,weir::xds=debug`).
    ///
    /// # Errors
    /// When the filter cannot be understood; the old one then stays in force.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let parsed = parse(filter)?;
        let mut current = self.current.lock();
        self.filter.reload(parsed).map_err(|error| not_understood(filter, &error))?;
        filter.clone_into(&mut current);
        limit_log_crate();
        Ok(())
    }

    /// Lines dropped so far because the log could not be written fast enough.
    #[must_use]
    pub fn dropped_lines(&self) -> u64 {
        self.writer.dropped()
    }

    /// Waits, for at most two seconds, until everything logged so far is written. Call it at the end of the process.
    pub fn flush(&self) {
        self.writer.flush(FLUSH_TIMEOUT);
    }
}

/// Sets up the log of the process: `tracing` and `log` records on standard output.
///
/// # Errors
/// When the filter cannot be understood, or a log is set up already.
pub fn init(filter: &str, format: LogFormat) -> Result<LogHandle, LogError> {
    let (subscriber, handle) = build(filter, format, io::stdout())?;
    subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadySetUp)?;
    tracing_log::LogTracer::init().map_err(|_| LogError::AlreadySetUp)?;
    limit_log_crate();
    Ok(handle)
}

/// Sets up the log of a process that must never wait and starts no thread: what is worth knowing (`info`), written at
/// once or not at all.
///
/// # Errors
/// When a log is set up already.
pub fn init_direct(format: LogFormat) -> Result<(), LogError> {
    let lines = lines::layer().event_format(LineFormat(format)).with_ansi(false).with_writer(Direct);
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO).with(lines);
    subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadySetUp)
}

fn build(
    filter: &str,
    format: LogFormat,
    sink: impl io::Write + Send + 'static,
) -> Result<(impl Subscriber + Send + Sync, LogHandle), LogError> {
    let writer = LineWriter::start(sink).map_err(LogError::Thread)?;
    let (filter_layer, reload_filter) = reload::Layer::new(parse(filter)?);
    let lines = lines::layer().event_format(LineFormat(format)).with_ansi(false).with_writer(writer.clone());
    let handle = LogHandle { filter: reload_filter, current: Arc::new(Mutex::new(filter.to_owned())), writer };
    let subscriber = tracing_subscriber::registry().with(filter_layer.and_then(lines));
    Ok((subscriber, handle))
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder().parse(filter).map_err(|error| not_understood(filter, &error))
}

fn not_understood(filter: &str, reason: &dyn fmt::Display) -> LogError {
    LogError::Filter { filter: filter.to_owned(), reason: reason.to_string() }
}

/// Tells the `log` crate the filter's most verbose level: records beyond it are dropped before they are made.
fn limit_log_crate() {
    let level = match LevelFilter::current().into_level() {
        None => log::LevelFilter::Off,
        Some(tracing::Level::ERROR) => log::LevelFilter::Error,
        Some(tracing::Level::WARN) => log::LevelFilter::Warn,
        Some(tracing::Level::INFO) => log::LevelFilter::Info,
        Some(tracing::Level::DEBUG) => log::LevelFilter::Debug,
        Some(tracing::Level::TRACE) => log::LevelFilter::Trace,
    };
    log::set_max_level(level);
}

#[cfg(test)]
pub(crate) mod tests;
