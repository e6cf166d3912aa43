//! The part of a request's line that names both ends. It is the same for all requests between them, but for what the peer has proven,
//! and is made once.

use std::fmt::{self, Write};
use std::sync::OnceLock;

use crate::model::identity::Identity;
use crate::telemetry::ends::ConnectionEnds;
use crate::telemetry::line_ends::{DESTINATION_IDENTITY, before_identity, behind_identity, proven_identities};
use crate::telemetry::log::{FieldWriter, LogFormat};

/// What every line of a request says first.
const MESSAGE: &str = "request complete";

/// See the module. Each form is made with the first line that has it.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct EndsFields {
    text: OnceLock<Box<Written>>,
    json: OnceLock<Box<Written>>,
}

/// The message, and the fields in their order, around the identity of the destination.
#[derive(Debug)]
struct Written {
    before: Box<str>,
    /// The field of the identity that the destination is expected to have.
    expected: Box<str>,
    behind: Box<str>,
}

impl EndsFields {
    /// Appends message and fields. `peer`: the identity that the HBONE peer of an outbound request has proven.
    pub(super) fn write(
        &self,
        to: &mut impl Write,
        format: LogFormat,
        ends: &ConnectionEnds,
        peer: Option<&Identity>,
    ) -> fmt::Result {
        let known = if format == LogFormat::Json { &self.json } else { &self.text };
        let written = known.get_or_init(|| Box::new(Written::of(format, ends)));
        to.write_str(&written.before)?;
        let [_, destination] = proven_identities(ends, peer);
        match (destination, &ends.destination_identity) {
            (Some(proven), Some(expected)) if proven == expected => to.write_str(&written.expected)?,
            (Some(proven), _) => FieldWriter::new(to, format).shown(DESTINATION_IDENTITY, proven)?,
            (None, _) => {}
        }
        to.write_str(&written.behind)
    }
}

impl Written {
    fn of(format: LogFormat, ends: &ConnectionEnds) -> Self {
        let (mut before, mut expected, mut behind) = (String::new(), String::new(), String::new());
        let outcome = before_identity(&mut FieldWriter::new(&mut before, format), MESSAGE, ends)
            .and_then(|()| match &ends.destination_identity {
                Some(identity) => FieldWriter::new(&mut expected, format).shown(DESTINATION_IDENTITY, identity),
                None => Ok(()),
            })
            .and_then(|()| behind_identity(&mut FieldWriter::new(&mut behind, format), ends));
        outcome.expect("a string takes everything");
        Self { before: before.into(), expected: expected.into(), behind: behind.into() }
    }
}
