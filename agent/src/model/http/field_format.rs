//! Values of fields that are filled in for each message: Envoy's `%COMMAND%` formats, as far as they make sense in a rule.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::head::{HttpVersion, RequestHead, ResponseHead};
use super::request_values::first_value;

/// A value of a field with what is to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldFormat {
    parts: Box<[Part]>,
}

/// What is filled in besides what messages say themselves.
#[derive(Debug, Clone, Copy)]
pub struct FormatContext<'a> {
    /// The client's address.
    pub remote: SocketAddr,
    /// The address that it dialled.
    pub local: SocketAddr,
    /// When the request began.
    pub start: SystemTime,
    /// The name of the pod that sends the request.
    pub hostname: &'a str,
    pub route: &'a str,
    /// The endpoint, once there is one.
    pub upstream: Option<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Command(Command),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Command {
    /// The first field of a name in the request, or of another one where it does not have it; at most so many bytes of it.
    Request {
        name: Box<str>,
        otherwise: Option<Box<str>>,
        max: usize,
    },
    /// The same of the response.
    Response {
        name: Box<str>,
        otherwise: Option<Box<str>>,
        max: usize,
    },
    Protocol,
    ResponseCode,
    StartTime,
    StartTimeSeconds,
    Remote(Address),
    Local(Address),
    Upstream(Address),
    Hostname,
    RouteName,
}

/// Which part of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Address {
    Whole,
    WithoutPort,
    Port,
}

/// Why a value is no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("{value:?}: %{command}% is not supported; a % that is text is written %%")]
    UnknownCommand { value: String, command: String },
    #[error("{0:?}: a % without an end; a % that is text is written %%")]
    Unfinished(String),
    #[error("{0:?} has a character that no value of a field may have")]
    Character(String),
}

impl FieldFormat {
    /// Reads a value in Envoy's syntax.
    ///
    /// # Errors
    /// For a command that is not known, for a `%` that has no end, and for control characters.
    pub fn parse(value: &str) -> Result<Self, FormatError> {
        if value.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) {
            return Err(FormatError::Character(value.into()));
        }
        let mut parts = Vec::new();
        let mut text = Vec::new();
        let mut rest = value;
        while let Some((before, behind)) = rest.split_once('%') {
            text.extend_from_slice(before.as_bytes());
            if let Some(behind) = behind.strip_prefix('%') {
                text.push(b'%');
                rest = behind;
                continue;
            }
            let (command, behind) = split_command(behind).ok_or_else(|| FormatError::Unfinished(value.into()))?;
            let unknown = || FormatError::UnknownCommand { value: value.into(), command: command.into() };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text).into()));
            }
            parts.push(Part::Command(Command::parse(command).ok_or_else(unknown)?));
            rest = behind;
        }
        text.extend_from_slice(rest.as_bytes());
        if !text.is_empty() || parts.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        Ok(Self { parts: parts.into() })
    }

    /// The value, where it is the same for all messages.
    pub(super) fn text(&self) -> Option<&[u8]> {
        match &*self.parts {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the value for a message. What is not known is empty.
    pub(super) fn write(
        &self,
        context: &FormatContext<'_>,
        request: &RequestHead,
        response: Option<&ResponseHead>,
        out: &mut Vec<u8>,
    ) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Command(command) => command.write(context, request, response, out),
            }
        }
    }
}

/// What is up to the next `%`, and what follows it. Within parentheses a `%` is no end.
fn split_command(text: &str) -> Option<(&str, &str)> {
    let mut is_within = false;
    let end = text.find(|character| {
        is_within = (is_within || character == '(') && character != ')';
        character == '%' && !is_within
    })?;
    Some((&text[..end], &text[end + 1..]))
}

impl Command {
    fn parse(command: &str) -> Option<Self> {
        if let Some(field) = command.strip_prefix("REQ(") {
            let (name, otherwise, max) = field_of(field)?;
            return Some(Self::Request { name, otherwise, max });
        }
        if let Some(field) = command.strip_prefix("RESP(") {
            let (name, otherwise, max) = field_of(field)?;
            return Some(Self::Response { name, otherwise, max });
        }
        Some(match command {
            "PROTOCOL" => Self::Protocol,
            "RESPONSE_CODE" => Self::ResponseCode,
            "START_TIME" => Self::StartTime,
            "START_TIME(%s)" => Self::StartTimeSeconds,
            "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Self::Remote(Address::Whole),
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => {
                Self::Remote(Address::WithoutPort)
            }
            "DOWNSTREAM_REMOTE_PORT" | "DOWNSTREAM_DIRECT_REMOTE_PORT" => Self::Remote(Address::Port),
            "DOWNSTREAM_LOCAL_ADDRESS" => Self::Local(Address::Whole),
            "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Self::Local(Address::WithoutPort),
            "DOWNSTREAM_LOCAL_PORT" => Self::Local(Address::Port),
            "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Self::Upstream(Address::Whole),
            "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Self::Upstream(Address::WithoutPort),
            "UPSTREAM_REMOTE_PORT" => Self::Upstream(Address::Port),
            "HOSTNAME" => Self::Hostname,
            "ROUTE_NAME" => Self::RouteName,
            _ => return None,
        })
    }

    fn write(
        &self,
        context: &FormatContext<'_>,
        request: &RequestHead,
        response: Option<&ResponseHead>,
        out: &mut Vec<u8>,
    ) {
        let text = |out: &mut Vec<u8>, text: &str| out.extend_from_slice(text.as_bytes());
        match self {
            Self::Request { name, otherwise, max } => {
                let value = first_value(request, name).or_else(|| first_value(request, otherwise.as_deref()?));
                let value = value.unwrap_or_default();
                out.extend_from_slice(&value[..value.len().min(*max)]);
            }
            Self::Response { name, otherwise, max } => {
                let fields = response.map(|response| &response.fields);
                let of = |name: &str| fields.and_then(|fields| fields.first(name));
                let value = of(name).or_else(|| of(otherwise.as_deref()?)).unwrap_or_default();
                out.extend_from_slice(&value[..value.len().min(*max)]);
            }
            Self::Protocol => text(out, protocol(request.version)),
            Self::ResponseCode => text(out, &response.map_or(0, |response| response.status).to_string()),
            Self::StartTime => text(out, &rfc3339(context.start)),
            Self::StartTimeSeconds => text(out, &since_epoch(context.start).as_secs().to_string()),
            Self::Remote(part) => text(out, &part.of(context.remote)),
            Self::Local(part) => text(out, &part.of(context.local)),
            Self::Upstream(part) => text(out, &context.upstream.map(|upstream| part.of(upstream)).unwrap_or_default()),
            Self::Hostname => text(out, context.hostname),
            Self::RouteName => text(out, context.route),
        }
    }
}

/// `X?Y):Z`, of which only `X)` must be there: a name, another one, and a length.
fn field_of(text: &str) -> Option<(Box<str>, Option<Box<str>>, usize)> {
    let (names, length) = text.split_once(')')?;
    let (name, otherwise) = names.split_once('?').map_or((names, None), |(name, otherwise)| (name, Some(otherwise)));
    let lower = |name: &str| Some(name.to_ascii_lowercase().into()).filter(|_| !name.is_empty());
    let max = match length.strip_prefix(':') {
        Some(max) => max.parse().ok()?,
        None if length.is_empty() => usize::MAX,
        None => return None,
    };
    Some((lower(name)?, otherwise.map_or(Some(None), |name| lower(name).map(Some))?, max))
}

impl Address {
    fn of(self, address: SocketAddr) -> String {
        match (self, address.ip()) {
            (Self::Whole, _) => address.to_string(),
            (Self::WithoutPort, IpAddr::V4(ip)) => ip.to_string(),
            (Self::WithoutPort, IpAddr::V6(ip)) => ip.to_string(),
            (Self::Port, _) => address.port().to_string(),
        }
    }
}

fn protocol(version: HttpVersion) -> &'static str {
    match version {
        HttpVersion::Http10 => "HTTP/1.0",
        HttpVersion::Http11 => "HTTP/1.1",
        HttpVersion::Http2 => "HTTP/2",
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// A time as Envoy writes it: `2026-01-31T23:59:59.123Z`.
fn rfc3339(time: SystemTime) -> String {
    let since = since_epoch(time);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days are counted from 1 March of year 0, so that a leap day is the last one of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second, milli) = (second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http::sample::{context, get};

    #[test]
    fn commands_are_filled_in_and_percent_signs_are_doubled() {
        let mut request = get("/p?q");
        request.fields = [("x-a", "hello"), ("x-b", "1"), ("x-b", "2")].into_iter().collect();
        let fields = [("server", "y")].into_iter().collect();
        let response = ResponseHead { status: 404, fields, ..ResponseHead::default() };
        for (format, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("100%% sure %%", "100% sure %"),
            ("%REQ(X-A)%", "hello"),
            ("[%REQ(x-none)%]", "[]"),
            ("%REQ(x-none?X-B)%", "1"),
            ("%REQ(x-a):2%", "he"),
            ("%REQ(:AUTHORITY)%%REQ(:PATH)%", "reviews/p?q"),
            ("%REQ(:METHOD)% %PROTOCOL%", "GET HTTP/1.1"),
            ("%RESP(Server)% %RESP(none?server):1% %RESPONSE_CODE%", "y y 404"),
            ("%DOWNSTREAM_REMOTE_ADDRESS%", "10.0.0.1:1234"),
            ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%:%DOWNSTREAM_REMOTE_PORT%", "10.0.0.1:1234"),
            ("%DOWNSTREAM_LOCAL_ADDRESS%", "[fd00::1]:80"),
            ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "fd00::1"),
            ("%DOWNSTREAM_LOCAL_PORT%", "80"),
            ("<%UPSTREAM_HOST%>", "<>"),
            ("%HOSTNAME% %ROUTE_NAME%", "client-1 main"),
            ("%START_TIME% %START_TIME(%s)%", "2024-02-29T12:34:56.789Z 1709210096"),
        ] {
            let mut out = Vec::new();
            let parsed = FieldFormat::parse(format).expect(format);
            parsed.write(&context(), &request, Some(&response), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected, "{format}");
            assert_eq!(parsed.text().is_some(), !format.replace("%%", "").contains('%'), "{format}");
        }
    }

    #[test]
    fn what_is_no_format_is_refused_with_what_to_write() {
        for (format, expected) in [
            ("100%", "\"100%\": a % without an end; a % that is text is written %%"),
            ("%REQ(x", "\"%REQ(x\": a % without an end; a % that is text is written %%"),
            ("%NONE%", "\"%NONE%\": %NONE% is not supported; a % that is text is written %%"),
            ("a %REQ()%", "\"a %REQ()%\": %REQ()% is not supported; a % that is text is written %%"),
            ("%REQ(a)b%", "\"%REQ(a)b%\": %REQ(a)b% is not supported; a % that is text is written %%"),
            ("a\nb", "\"a\\nb\" has a character that no value of a field may have"),
        ] {
            assert_eq!(FieldFormat::parse(format).map_err(|error| error.to_string()), Err(expected.into()));
        }
    }

    #[test]
    fn dates_of_all_years_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
