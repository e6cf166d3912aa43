//! What a rule removes, sets and adds among the fields of a message.

use super::head::{HttpFields, RequestHead, ResponseHead};

pub use super::field_format::{FieldFormat, FormatContext, FormatError};

/// What changes about the fields of a message: first what is removed, then what is set, then what is added.
///
/// Values are filled in from the message as it is before anything is set. An empty value changes nothing. Fields about the
/// connection, the framing of the body or the control data are left alone, whatever a rule says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldChanges {
    /// Names in lower case.
    pub remove: Box<[Box<str>]>,
    /// Replaces all fields of the name.
    pub set: Box<[(Box<str>, FieldFormat)]>,
    /// Stands behind fields of the same name that are there already.
    pub add: Box<[(Box<str>, FieldFormat)]>,
}

impl FieldChanges {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Changes the fields of a request.
    pub fn apply_to_request(&self, request: &mut RequestHead, context: &FormatContext<'_>) {
        self.remove_from(&mut request.fields);
        let values = self.values(|format, value| format.write(context, request, None, value));
        self.put(&mut request.fields, &values);
    }

    /// Changes the fields of the response to a request.
    pub fn apply_to_response(&self, response: &mut ResponseHead, request: &RequestHead, context: &FormatContext<'_>) {
        self.remove_from(&mut response.fields);
        let values = self.values(|format, value| format.write(context, request, Some(response), value));
        self.put(&mut response.fields, &values);
    }

    fn remove_from(&self, fields: &mut HttpFields) {
        for name in self.remove.iter().filter(|name| !is_protected(name)) {
            fields.remove(name);
        }
    }

    /// The values that differ from message to message, in order, those to set first. Text needs no copy.
    fn values(&self, write: impl Fn(&FieldFormat, &mut Vec<u8>)) -> Vec<Vec<u8>> {
        let changing = self.set.iter().chain(&self.add).filter(|(_, format)| format.text().is_none());
        let filled = changing.map(|(_, format)| {
            let mut value = Vec::new();
            write(format, &mut value);
            value
        });
        filled.collect()
    }

    fn put(&self, fields: &mut HttpFields, values: &[Vec<u8>]) {
        let mut values = values.iter();
        let set = self.set.iter().map(|(name, format)| (name, format, true));
        for (name, format, replaces) in set.chain(self.add.iter().map(|(name, format)| (name, format, false))) {
            let value = format.text().or_else(|| values.next().map(Vec::as_slice)).unwrap_or_default();
            if value.is_empty() || is_protected(name) {
                continue;
            }
            if replaces {
                fields.set(name, value);
            } else {
                fields.append(name.as_bytes(), value);
            }
        }
    }
}

/// Whether a field is not a rule's to change: a codec writes it, or it says how long the body is.
#[must_use]
pub fn is_protected(name: &str) -> bool {
    name.starts_with(':')
        || matches!(
            name,
            "connection"
                | "content-length"
                | "host"
                | "keep-alive"
                | "proxy-connection"
                | "te"
                | "transfer-encoding"
                | "upgrade"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http::sample::{context, get};

    fn changes(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> FieldChanges {
        let formats = |fields: &[(&str, &str)]| {
            let format = |(name, value): &(&str, &str)| ((*name).into(), FieldFormat::parse(value).expect("valid"));
            fields.iter().map(format).collect()
        };
        FieldChanges {
            remove: remove.iter().map(|name| (*name).into()).collect(),
            set: formats(set),
            add: formats(add),
        }
    }

    fn text(fields: &HttpFields) -> String {
        let field = |(name, value): (&[u8], &[u8])| {
            format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
        };
        fields.iter().map(field).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let rows = [
            (changes(&[], &[], &[]), "a=1 a=2 b=3"),
            (changes(&["a", "c"], &[], &[]), "b=3"),
            (changes(&[], &[("a", "x")], &[]), "b=3 a=x"),
            (changes(&[], &[], &[("a", "x")]), "a=1 a=2 b=3 a=x"),
            (changes(&["a"], &[("a", "x")], &[("a", "y")]), "b=3 a=x a=y"),
            (changes(&[], &[("a", "")], &[("b", "")]), "a=1 a=2 b=3"),
            (changes(&[], &[("a", "%REQ(b)%"), ("b", "%REQ(a)%")], &[("c", "%REQ(b)%%%")]), "a=3 b=1 c=3%"),
            (changes(&["b"], &[], &[("c", "<%REQ(b)%>")]), "a=1 a=2 c=<>"),
            (
                changes(
                    &["content-length", "host"],
                    &[("transfer-encoding", "x"), (":path", "/")],
                    &[("upgrade", "y")],
                ),
                "a=1 a=2 b=3",
            ),
        ];
        for (changes, expected) in rows {
            let mut request = get("/");
            request.fields = [("a", "1"), ("a", "2"), ("b", "3")].into_iter().collect();
            changes.apply_to_request(&mut request, &context());
            assert_eq!(text(&request.fields), expected, "{changes:?}");
        }
    }

    #[test]
    fn a_response_knows_its_request() {
        let request = get("/x");
        let fields = [("server", "y")].into_iter().collect();
        let mut response = ResponseHead { status: 204, fields, ..ResponseHead::default() };
        let set = [("a", "%REQ(:PATH)% %RESP(server)% %RESPONSE_CODE%"), ("server", "z")];
        changes(&[], &set, &[]).apply_to_response(&mut response, &request, &context());
        assert_eq!(text(&response.fields), "a=/x y 204 server=z");
    }
}
