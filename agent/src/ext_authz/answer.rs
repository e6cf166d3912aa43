//! What an external authorizer says of a request; and what one that allows it changes about it, and about its response.

use bytes::Bytes;

use crate::model::authorization::is_token_byte;
use crate::model::http::head::{HttpFields, RequestHead};

/// Fields that say how a message is framed, or what its connection is to do: they are written by who sends it.
const OF_CONNECTION: [&str; 8] =
    ["connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// What an authorizer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Allowed(Box<Changes>),
    Denied(Refusal),
    /// It says that it could not decide; its configuration says what becomes of the request. `None`: it says nothing of the answer
    /// that the client is to get.
    Failed(Option<Refusal>),
}

/// The answer that a client gets in the place of the application's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusal {
    /// `None`: the one of the configuration.
    pub status: Option<u16>,
    pub fields: Vec<FieldChange>,
    pub body: Bytes,
}

/// Why an answer cannot be used: the authorizer counts as one that could not decide.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableAnswer {
    #[error("its answer is no CheckResponse")]
    Malformed,
    #[error("its answer has the status {0}, which is none of a final response")]
    Status(i32),
    #[error("its answer changes {0:?}, which is no field that it may change, or has a value that no field has")]
    Field(String),
}

/// What an authorizer that allows a request changes. Names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    pub request: Vec<FieldChange>,
    pub removed: Vec<String>,
    /// Parameters of the query, by name; they take the place of others of the name.
    pub query_set: Vec<(String, String)>,
    pub query_removed: Vec<String>,
    pub response: Vec<FieldChange>,
}

/// One field that is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    name: String,
    value: Vec<u8>,
    how: How,
}

/// How a field changes that may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It takes the place of all of its name.
    Set,
    /// The same, where there is one already.
    SetIfThere,
    /// It comes behind those that are there.
    Add,
    /// The same, where there is none yet.
    AddIfAbsent,
    /// Its value comes behind that of one that is there, after a comma.
    AppendIfThere,
}

impl FieldChange {
    /// A change that can be made.
    ///
    /// # Errors
    /// When there is no such field, or it is none that anybody may change.
    pub(super) fn new(name: &str, value: &[u8], how: How) -> Result<Self, UnusableAnswer> {
        let name = name.to_ascii_lowercase();
        let is_name = !name.is_empty() && name.bytes().all(is_token_byte) && !is_of_connection(&name);
        let is_value = value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
        if is_name && is_value {
            let value = value.trim_ascii().to_vec();
            Ok(Self { name, value, how })
        } else {
            Err(UnusableAnswer::Field(name))
        }
    }

    /// Whether it is about the field of a name, which is in lower case.
    pub(super) fn is_of(&self, name: &str) -> bool {
        self.name == name
    }

    /// Makes the change.
    pub fn apply(&self, fields: &mut HttpFields) {
        let Self { name, value, how } = self;
        match how {
            How::Set => fields.set(name, value),
            How::SetIfThere if fields.contains(name) => fields.set(name, value),
            How::AddIfAbsent if fields.contains(name) => {}
            How::Add | How::AddIfAbsent => fields.append(name.as_bytes(), value),
            How::AppendIfThere => {
                if let Some(first) = fields.first(name) {
                    let joined = [first, b",", value].concat();
                    fields.set(name, &joined);
                }
            }
            How::SetIfThere => {}
        }
    }
}

/// Whether a field, by its name in lower case, is one that only who sends a message may write.
pub(super) fn is_of_connection(name: &str) -> bool {
    OF_CONNECTION.contains(&name)
}

impl Changes {
    /// Changes the request, in Envoy's order.
    pub fn apply(&self, head: &mut RequestHead) {
        for change in &self.request {
            change.apply(&mut head.fields);
        }
        // Those of the connection are not among the fields, or are what the message is.
        for name in self.removed.iter().filter(|name| !is_of_connection(name)) {
            head.fields.remove(name);
        }
        self.change_query(&mut head.target);
    }

    fn change_query(&self, target: &mut Vec<u8>) {
        if self.query_set.is_empty() && self.query_removed.is_empty() {
            return;
        }
        let at = target.iter().position(|byte| *byte == b'?');
        let (path, query) = target.split_at(at.unwrap_or(target.len()));
        let changed = |name: &[u8]| {
            let is = |changed: &String| escaped(changed) == name;
            self.query_removed.iter().any(is) || self.query_set.iter().any(|(changed, _)| is(changed))
        };
        let name_of = |parameter: &[u8]| parameter.split(|byte| *byte == b'=').next().unwrap_or_default().to_vec();
        let before = query.get(1..).unwrap_or_default().split(|byte| *byte == b'&').map(<[u8]>::to_vec);
        let kept = before.filter(|parameter| !parameter.is_empty() && !changed(&name_of(parameter)));
        let set = self.query_set.iter().map(|(name, value)| [&escaped(name)[..], b"=", &escaped(value)].concat());
        let parameters: Vec<Vec<u8>> = kept.chain(set).collect();
        let mut changed_target = path.to_vec();
        if !parameters.is_empty() {
            changed_target.push(b'?');
            changed_target.extend(parameters.join(&b'&'));
        }
        *target = changed_target;
    }
}

/// A part of a query, with what would end it, or cannot stand in a target, percent-encoded.
fn escaped(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'#' | b'&' | 0..=b' ' | 0x7f.. => {
                escaped.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            }
            _ => escaped.push(byte),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&'static str, &'static str)]) -> HttpFields {
        fields.iter().copied().collect()
    }

    #[test]
    fn a_field_changes_by_what_is_there() {
        for (how, there, absent) in [
            (How::Set, &[("x", "new")][..], &[("x", "new")][..]),
            (How::SetIfThere, &[("x", "new")], &[]),
            (How::Add, &[("x", "old"), ("x", "new")], &[("x", "new")]),
            (How::AddIfAbsent, &[("x", "old")], &[("x", "new")]),
            (How::AppendIfThere, &[("x", "old,new")], &[]),
        ] {
            let change = FieldChange::new("X", b" new ", how).expect("it can be made");
            let (mut with, mut without) = (fields(&[("x", "old")]), HttpFields::default());
            change.apply(&mut with);
            change.apply(&mut without);
            assert_eq!((with, without), (fields(there), fields(absent)), "{how:?}");
        }
    }

    #[test]
    fn what_no_field_is_or_who_sends_writes_cannot_change() {
        for (name, value) in [
            ("", "v"),
            ("a b", "v"),
            (":path", "/admin"),
            ("Host", "elsewhere"),
            ("Transfer-Encoding", "chunked"),
            ("content-length", "1"),
            ("x", "a\r\nb: c"),
            ("x", "a\0"),
        ] {
            assert!(FieldChange::new(name, value.as_bytes(), How::Set).is_err(), "{name:?}: {value:?}");
        }
    }

    #[test]
    fn parameters_of_the_query_are_replaced_and_removed() {
        let changes = Changes {
            query_set: vec![("user".into(), "a b#".into())],
            query_removed: vec!["token".into()],
            removed: vec!["authorization".into(), "host".into()],
            ..Changes::default()
        };
        for (before, after) in [
            ("/p", "/p?user=a%20b%23"),
            ("/p?x=1&token=t&y", "/p?x=1&y&user=a%20b%23"),
            ("/p?user=me&user=you", "/p?user=a%20b%23"),
            ("/p?", "/p?user=a%20b%23"),
        ] {
            let mut head = RequestHead { target: before.into(), ..RequestHead::default() };
            head.fields = fields(&[("authorization", "secret"), ("accept", "a")]);
            changes.apply(&mut head);
            assert_eq!(String::from_utf8_lossy(&head.target), after, "{before}");
            assert_eq!(head.fields, fields(&[("accept", "a")]));
        }
    }
}
