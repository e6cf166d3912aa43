//! Fields of a log line, one behind the other, in the form of the line. Whatever a peer managed to put into a value, it cannot start
//! a line of its own.
//!
//! A line of the access log has thirty fields: each kind of value takes the shortest way to the same text.

use std::fmt::{self, Display, Write};

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `field=value field=value`.
    Text,
    /// Members of a JSON object.
    Json,
}

/// The most digits that a number of 64 bits has.
const MOST_DIGITS: usize = 20;

/// Appends fields to a line.
pub(in crate::telemetry) struct FieldWriter<'w, W> {
    to: &'w mut W,
    format: LogFormat,
    /// What stands before the next field of a line of text.
    separator: char,
}

impl<'w, W: Write> FieldWriter<'w, W> {
    /// Behind other fields.
    pub(in crate::telemetry) fn new(to: &'w mut W, format: LogFormat) -> Self {
        Self { to, format, separator: ' ' }
    }

    /// The message of the line, which comes first: it has no name in a line of text, and stands between tabs.
    pub(in crate::telemetry) fn message(&mut self, text: &str) -> fmt::Result {
        self.separator = '\t';
        match self.format {
            LogFormat::Text => {
                self.to.write_char('\t')?;
                Escaping::in_text(self.to).write_str(text)
            }
            LogFormat::Json => self.text("message", text),
        }
    }

    /// A text, between quotes.
    pub(in crate::telemetry) fn text(&mut self, name: &str, value: &str) -> fmt::Result {
        self.begin(name)?;
        match self.format {
            LogFormat::Text => quoted_text(self.to, value),
            LogFormat::Json => quoted_json(self.to, value),
        }
    }

    /// A value by what it displays: between quotes only where every text is.
    pub(in crate::telemetry) fn shown(&mut self, name: &str, value: impl Display) -> fmt::Result {
        self.begin(name)?;
        match self.format {
            LogFormat::Text => write!(Escaping::in_text(self.to), "{value}"),
            LogFormat::Json => write!(self.to, "{}", Quoted(value)),
        }
    }

    pub(in crate::telemetry) fn number(&mut self, name: &str, value: u64) -> fmt::Result {
        self.begin(name)?;
        number(self.to, value)
    }

    /// A duration in whole milliseconds, as ztunnel writes it: `12ms`.
    pub(in crate::telemetry) fn milliseconds(&mut self, name: &str, value: u64) -> fmt::Result {
        self.begin(name)?;
        let quote = if self.format == LogFormat::Json { "\"" } else { "" };
        self.to.write_str(quote)?;
        number(self.to, value)?;
        self.to.write_str("ms")?;
        self.to.write_str(quote)
    }

    fn begin(&mut self, name: &str) -> fmt::Result {
        match self.format {
            LogFormat::Text => {
                self.to.write_char(std::mem::replace(&mut self.separator, ' '))?;
                self.to.write_str(name)?;
                self.to.write_char('=')
            }
            LogFormat::Json => {
                self.to.write_str(",\"")?;
                Escaping::in_json(self.to).write_str(name)?;
                self.to.write_str("\":")
            }
        }
    }
}

/// Writes a number without the machinery of `format_args!`.
fn number(to: &mut impl Write, number: u64) -> fmt::Result {
    let mut digits = [b'0'; MOST_DIGITS];
    let (mut rest, mut first) = (number, MOST_DIGITS);
    loop {
        first -= 1;
        digits[first] += u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
        if rest == 0 {
            return to.write_str(std::str::from_utf8(&digits[first..]).expect("digits"));
        }
    }
}

/// Writes a text between quotes, as Rust shows it.
pub(super) fn quoted_text(to: &mut impl Write, text: &str) -> fmt::Result {
    if !is_plain(text) {
        return write!(Escaping::in_text(to), "{text:?}");
    }
    to.write_char('"')?;
    to.write_str(text)?;
    to.write_char('"')
}

/// Writes a text as a JSON string.
fn quoted_json(to: &mut impl Write, text: &str) -> fmt::Result {
    to.write_char('"')?;
    Escaping::in_json(to).write_str(text)?;
    to.write_char('"')
}

/// Whether a text stands for itself between quotes: printed ASCII without quotes and backslashes. Most texts are.
#[inline]
fn is_plain(text: &str) -> bool {
    // Without a branch per byte, so that the compiler looks at many at once.
    !text.bytes().fold(false, |other, byte| other | !matches!(byte, b' '..=b'~') | (byte == b'"') | (byte == b'\\'))
}

/// A value with its control characters escaped.
pub(super) struct OneLine<T>(pub(super) T);

impl<T: Display> Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping::in_text(f), "{}", self.0)
    }
}

/// A value as a JSON string.
pub(super) struct Quoted<T>(pub(super) T);

impl<T: Display> Display for Quoted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        write!(Escaping::in_json(f), "{}", self.0)?;
        f.write_char('"')
    }
}

/// Escapes control characters; also quotes and tabs, where it says so.
pub(super) struct Escaping<'a, W> {
    to: &'a mut W,
    quotes: bool,
    tabs: bool,
}

impl<'a, W: Write> Escaping<'a, W> {
    /// Of a value in a line of text.
    pub(super) fn in_text(to: &'a mut W) -> Self {
        Self { to, quotes: false, tabs: true }
    }

    /// Of a value in a JSON string.
    pub(super) fn in_json(to: &'a mut W) -> Self {
        Self { to, quotes: true, tabs: true }
    }

    /// Of a line that is one value.
    pub(super) fn in_line(to: &'a mut W) -> Self {
        Self { to, quotes: false, tabs: false }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: LogFormat, write: impl FnOnce(&mut FieldWriter<'_, String>) -> fmt::Result) -> String {
        let mut line = String::new();
        write(&mut FieldWriter::new(&mut line, format)).expect("a string takes everything");
        line
    }

    #[test]
    fn fields_in_either_form() {
        let all = |fields: &mut FieldWriter<'_, String>| {
            fields.message("request complete")?;
            fields.text("plain", "/cart?id=7")?;
            fields.text("other", "a\tb\n\"c\"\\\u{7f}é")?;
            fields.shown("shown", "x\ny z")?;
            fields.number("none", 0)?;
            fields.number("most", u64::MAX)?;
            fields.milliseconds("took", 1205)
        };
        assert_eq!(
            written(LogFormat::Text, all),
            "\trequest complete\tplain=\"/cart?id=7\" other=\"a\\tb\\n\\\"c\\\"\\\\\\u{7f}é\" shown=x\\ny z none=0 \
             most=18446744073709551615 took=1205ms"
        );
        let json = written(LogFormat::Json, all);
        let json: serde_json::Value = serde_json::from_str(&format!("{{{}}}", &json[1..])).expect("it is JSON");
        assert_eq!(
            json,
            serde_json::json!({
                "message": "request complete", "plain": "/cart?id=7", "other": "a\tb\n\"c\"\\\u{7f}é", "shown": "x\ny z",
                "none": 0, "most": u64::MAX, "took": "1205ms",
            })
        );
    }
}
