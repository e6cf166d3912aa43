//! The form of a log line: `time level scope message field=value …` separated by tabs, or one JSON object, with the
//! field names that Istio's tools know. Whatever a peer managed to put into a value, it cannot start a line of its own.

use std::fmt::{self, Debug, Write};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::fields::{Escaping, LogFormat, OneLine, Quoted, quoted_text};
use crate::telemetry::utc_time::write_rfc3339_microseconds;

/// The target of access lines that have a form of their own: nothing is put before or behind such a message. A filter of `access`
/// is one of these too.
pub(in crate::telemetry) const RAW_ACCESS_TARGET: &str = "access::istio";

/// The scope of access lines.
const ACCESS_SCOPE: &str = "access";

/// The target of access lines whose message and fields are one value, which writes them by itself: with `{:?}` as a line of text has
/// them behind its scope, and with `{:#?}` as a JSON object has them. Such a line is of [`ACCESS_SCOPE`].
pub(in crate::telemetry) const WHOLE_ACCESS_TARGET: &str = "access::whole";

/// Formats events; spans contribute their name and fields.
pub(super) struct LineFormat(pub(super) LogFormat);

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // Records of the `log` crate carry their own level and target in fields.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        if metadata.target() == RAW_ACCESS_TARGET {
            return raw_line(&mut to, event);
        }
        if metadata.target() == WHOLE_ACCESS_TARGET {
            return whole_line(self.0, &mut to, level(*metadata.level()), event);
        }
        let scope = Scope { target: metadata.target(), spans: spans(context)? };
        match self.0 {
            LogFormat::Text => text_line(&mut to, level(*metadata.level()), &scope, event),
            LogFormat::Json => json_line(&mut to, level(*metadata.level()), &scope, event),
        }
    }
}

/// Where an event happened: its module, and the spans it happened in with their fields.
struct Scope<'a> {
    target: &'a str,
    spans: String,
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.target)?;
        f.write_str(&self.spans)
    }
}

/// `:name{fields}` of every span, outermost first.
fn spans<S, N>(context: &FmtContext<'_, S, N>) -> Result<String, fmt::Error>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let mut text = String::new();
    for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
        write!(text, ":{}", span.name())?;
        if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
            && !fields.is_empty()
        {
            write!(text, "{{{fields}}}")?;
        }
    }
    Ok(text)
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn text_line(to: &mut Writer<'_>, level: &str, scope: &Scope<'_>, event: &Event<'_>) -> fmt::Result {
    write_rfc3339_microseconds(SystemTime::now(), to)?;
    write!(to, "\t{level}\t{}", OneLine(scope))?;
    let mut fields = TextFields { to, written: Written::All, separator: '\t', result: Ok(()) };
    // The message comes first. Where it is recorded first, as macros do, one visit suffices.
    if event.metadata().fields().iter().next().is_none_or(|first| first.name() != "message") {
        fields.written = Written::Message;
        event.record(&mut fields);
        fields.written = Written::Rest;
    }
    event.record(&mut fields);
    fields.result?;
    to.write_char('\n')
}

/// The message alone.
fn raw_line(to: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let mut message = RawMessage { to, result: Ok(()) };
    event.record(&mut message);
    message.result?;
    to.write_char('\n')
}

/// Time, level and scope, and what the one field of the event writes.
fn whole_line(format: LogFormat, to: &mut Writer<'_>, level: &str, event: &Event<'_>) -> fmt::Result {
    match format {
        LogFormat::Text => {
            write_rfc3339_microseconds(SystemTime::now(), to)?;
            ["\t", level, "\t", ACCESS_SCOPE].into_iter().try_for_each(|part| to.write_str(part))?;
        }
        LogFormat::Json => {
            ["{\"level\":\"", level, "\",\"time\":\""].into_iter().try_for_each(|part| to.write_str(part))?;
            write_rfc3339_microseconds(SystemTime::now(), to)?;
            ["\",\"scope\":\"", ACCESS_SCOPE, "\""].into_iter().try_for_each(|part| to.write_str(part))?;
        }
    }
    let mut fields = WholeFields { format, to, result: Ok(()) };
    event.record(&mut fields);
    fields.result?;
    to.write_str(if format == LogFormat::Json { "}\n" } else { "\n" })
}

struct WholeFields<'a, 'w> {
    format: LogFormat,
    to: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Visit for WholeFields<'_, '_> {
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        self.result = match self.format {
            LogFormat::Text => write!(self.to, "{value:?}"),
            LogFormat::Json => write!(self.to, "{value:#?}"),
        };
    }
}

fn json_line(to: &mut Writer<'_>, level: &str, scope: &Scope<'_>, event: &Event<'_>) -> fmt::Result {
    write!(to, "{{\"level\":\"{level}\",\"time\":\"")?;
    write_rfc3339_microseconds(SystemTime::now(), to)?;
    write!(to, "\",\"scope\":{}", Quoted(scope))?;
    let mut fields = JsonFields { to, result: Ok(()) };
    event.record(&mut fields);
    fields.result?;
    to.write_str("}\n")
}

/// What the `tracing-log` bridge adds to an event; its metadata says it already.
fn is_of_bridge(field: &Field) -> bool {
    field.name().starts_with("log.")
}

/// Which fields of an event one visit writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    All,
    Message,
    Rest,
}

struct TextFields<'a, 'w> {
    to: &'a mut Writer<'w>,
    written: Written,
    /// What to write before the next one.
    separator: char,
    result: fmt::Result,
}

impl TextFields<'_, '_> {
    /// Writes what stands before a value, unless the field is not written now. Returns whether it is.
    fn begin(&mut self, field: &Field) -> bool {
        let is_message = field.name() == "message";
        let other = if is_message { Written::Rest } else { Written::Message };
        if self.result.is_err() || self.written == other || is_of_bridge(field) {
            return false;
        }
        // Tabs around the message, and spaces between what follows it.
        let separator = std::mem::replace(&mut self.separator, if is_message { '\t' } else { ' ' });
        self.result = self.to.write_char(separator);
        if !is_message {
            self.result =
                self.result.and_then(|()| self.to.write_str(field.name())).and_then(|()| self.to.write_char('='));
        }
        self.result.is_ok()
    }

    /// Writes a value that cannot end its line.
    fn put(&mut self, field: &Field, value: impl fmt::Display) {
        if self.begin(field) {
            self.result = write!(self.to, "{value}");
        }
    }
}

impl Visit for TextFields<'_, '_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else if self.begin(field) {
            self.result = quoted_text(self.to, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.begin(field) {
            self.result = write!(Escaping::in_text(self.to), "{value:?}");
        }
    }
}

struct RawMessage<'a, 'w> {
    to: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Visit for RawMessage<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.result = write!(Escaping::in_line(self.to), "{value:?}");
        }
    }
}

struct JsonFields<'a, 'w> {
    to: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl JsonFields<'_, '_> {
    fn put(&mut self, field: &Field, value: impl fmt::Display) {
        if self.result.is_ok() && !is_of_bridge(field) {
            self.result = write!(self.to, ",{}:{value}", Quoted(field.name()));
        }
    }
}

impl Visit for JsonFields<'_, '_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Quoted(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, Quoted(DebugAsDisplay(value)));
    }
}

struct DebugAsDisplay<'a>(&'a dyn Debug);

impl fmt::Display for DebugAsDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
