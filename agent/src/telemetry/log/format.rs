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

use crate::telemetry::utc_time::write_rfc3339_microseconds;

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// The target of access lines that have a form of their own: nothing is put before or behind such a message. A filter of `access`
/// is one of these too.
pub(in crate::telemetry) const RAW_ACCESS_TARGET: &str = "access::istio";

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

/// A line of the access log has thirty fields: each kind takes the shortest way to the same text.
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
        } else if !is_plain(value) {
            self.record_debug(field, &value);
        } else if self.begin(field) {
            let quote = |to: &mut Writer<'_>| to.write_char('"');
            self.result = quote(self.to).and_then(|()| self.to.write_str(value)).and_then(|()| quote(self.to));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.begin(field) {
            self.result = write!(Escaping { to: self.to, quotes: false, tabs: true }, "{value:?}");
        }
    }
}

/// Whether a text stands for itself between quotes: printed ASCII without quotes and backslashes. Most texts are.
fn is_plain(text: &str) -> bool {
    // Without a branch per byte, so that the compiler looks at many at once.
    !text.bytes().fold(false, |other, byte| other | !matches!(byte, b' '..=b'~') | (byte == b'"') | (byte == b'\\'))
}

struct RawMessage<'a, 'w> {
    to: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Visit for RawMessage<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.result = write!(Escaping { to: self.to, quotes: false, tabs: false }, "{value:?}");
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

/// A value with its control characters escaped.
struct OneLine<T>(T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping { to: f, quotes: false, tabs: true }, "{}", self.0)
    }
}

/// A value as a JSON string.
struct Quoted<T>(T);

impl<T: fmt::Display> fmt::Display for Quoted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        write!(Escaping { to: f, quotes: true, tabs: true }, "{}", self.0)?;
        f.write_char('"')
    }
}

/// Escapes control characters; also quotes and tabs, where it says so.
struct Escaping<'a, W> {
    to: &'a mut W,
    quotes: bool,
    tabs: bool,
}

impl<W: Write> Escaping<'_, W> {
    fn escapes(&self, c: char) -> bool {
        match c {
            '"' | '\\' => self.quotes,
            '\t' => self.tabs,
            c => c.is_control(),
        }
    }
}

impl<W: Write> Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if is_plain(text) {
            return self.to.write_str(text);
        }
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| self.escapes(c)) {
            self.to.write_str(&rest[..at])?;
            let mut after = rest[at..].chars();
            match after.next() {
                Some('\n') => self.to.write_str("\\n")?,
                Some(quote @ ('"' | '\\')) => write!(self.to, "\\{quote}")?,
                Some(control) => write!(self.to, "\\u{:04x}", u32::from(control))?,
                None => {}
            }
            rest = after.as_str();
        }
        self.to.write_str(rest)
    }
}
