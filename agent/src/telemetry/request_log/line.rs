//! The access line of a request: with the target `access`, and in the form that its notes were taken for.

use std::cell::RefCell;
use std::fmt::{self, Debug, Formatter};

use tracing::Level;

use super::ends_fields::EndsFields;
use super::form::RequestLogForm;
use super::notes::{EndedRequest, LogLine, Place, RequestNotes};
use super::values::{RequestValues, version};
use crate::telemetry::line_ends::{sent_and_received, whole_milliseconds};
use crate::telemetry::log::{FieldWriter, LogFormat, RAW_ACCESS_TARGET, WHOLE_ACCESS_TARGET};

thread_local! {
    /// The line that is being written. It has a hundred pieces, each of which would be a call through the formatter's table. It is no
    /// longer than a head may be.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Writes one line of a request that has ended, badly where there is an error. `known`: what its lines say of its ends.
pub(in crate::telemetry) fn write(
    notes: &RequestNotes,
    line: &LogLine,
    request: &EndedRequest<'_>,
    known: &EndsFields,
) {
    match (&*line.form, &notes.error) {
        (RequestLogForm::Fields, error) => {
            let line = FieldsLine { notes, line, request, known };
            // The level of an event is fixed where it is written.
            if error.is_some() {
                tracing::event!(target: WHOLE_ACCESS_TARGET, parent: None, Level::ERROR, line = ?line);
            } else {
                tracing::event!(target: WHOLE_ACCESS_TARGET, parent: None, Level::INFO, line = ?line);
            }
        }
        (RequestLogForm::Istio { format, .. }, _) => {
            let text = format.line(&RequestValues::new(notes, line, request));
            tracing::event!(target: RAW_ACCESS_TARGET, parent: None, Level::INFO, "{text}");
        }
    }
}

/// Message and fields of a line, which the log has write themselves: each request has thirty of them, and the log would take each by
/// itself.
struct FieldsLine<'a> {
    notes: &'a RequestNotes,
    line: &'a LogLine,
    request: &'a EndedRequest<'a>,
    known: &'a EndsFields,
}

impl Debug for FieldsLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let format = if f.alternate() { LogFormat::Json } else { LogFormat::Text };
        LINE.with_borrow_mut(|line| {
            line.clear();
            self.write(line, format)?;
            f.write_str(line)
        })
    }
}

impl FieldsLine<'_> {
    fn write(&self, line: &mut String, format: LogFormat) -> fmt::Result {
        self.known.write(line, format, self.request.ends, self.request.peer)?;
        let mut to = FieldWriter::new(line, format);
        self.asked_and_answered(&mut to)?;
        self.moved(&mut to)
    }

    fn asked_and_answered<W: fmt::Write>(&self, to: &mut FieldWriter<'_, W>) -> fmt::Result {
        let Self { notes, line, request: EndedRequest { outcome, .. }, .. } = self;
        let optional = |to: &mut FieldWriter<'_, W>, name, value: Option<&str>| match value {
            Some(value) => to.text(name, value),
            None => Ok(()),
        };
        to.text("protocol", version(notes.version))?;
        for (name, place) in [("method", Place::Method), ("path", Place::Path), ("authority", Place::Authority)] {
            optional(to, name, line.field(place).as_deref())?;
        }
        to.number("status", outcome.status.into())?;
        if let Some(status) = outcome.grpc_status {
            to.number("grpc_status", status.into())?;
        }
        to.shown("response_flags", outcome.flags)?;
        optional(to, "details", notes.details.as_deref())?;
        optional(to, "route", notes.route.as_deref())?;
        optional(to, "request_id", line.field(Place::RequestId).as_deref())?;
        optional(to, "user_agent", line.field(Place::UserAgent).as_deref())?;
        optional(to, "audited_by", notes.audited_by.as_deref())
    }

    fn moved<W: fmt::Write>(&self, to: &mut FieldWriter<'_, W>) -> fmt::Result {
        let EndedRequest { ends, attempts, request_bytes, response_bytes, duration, .. } = self.request;
        let (bytes_sent, bytes_recv) = sent_and_received(ends.reporter, *request_bytes, *response_bytes);
        to.number("attempts", (*attempts).into())?;
        to.number("bytes_sent", bytes_sent)?;
        to.number("bytes_recv", bytes_recv)?;
        to.milliseconds("duration", whole_milliseconds(*duration))?;
        if let Some(after) = self.notes.first_upstream_byte {
            to.milliseconds("upstream_duration", whole_milliseconds(after))?;
        }
        match &self.notes.error {
            Some(error) => to.text("error", error),
            None => Ok(()),
        }
    }
}
