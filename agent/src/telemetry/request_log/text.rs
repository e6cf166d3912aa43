//! What the log line of a request says of its heads: they are gone by the time the line is written.

use std::borrow::Cow;

use crate::model::http::head::{RequestHead, ResponseHead};

/// Room for the values of most requests, so that taking them allocates once.
const USUAL_TEXT_BYTES: usize = 256;

/// Values of a few fields of a request's head, and then of its response's, in one buffer.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct RequestText {
    text: Vec<u8>,
    /// Where each value ends in the text, and whether there is one.
    values: Vec<(usize, bool)>,
    of_request: usize,
}

impl RequestText {
    /// Takes the values of these fields, which may be `:method`, `:path`, `:authority` and `:scheme`. Forgets all before.
    pub(in crate::telemetry) fn take_request<'a>(&mut self, head: &RequestHead, names: impl Iterator<Item = &'a str>) {
        self.text.clear();
        self.values.clear();
        self.text.reserve(USUAL_TEXT_BYTES);
        self.values.reserve(names.size_hint().0);
        for name in names {
            let value = match name {
                ":method" => Some(&*head.method),
                ":path" => Some(&*head.target),
                ":authority" | "host" => Some(&*head.authority),
                ":scheme" => Some(head.scheme.text().as_bytes()),
                name => head.fields.first(name),
            };
            self.push(value.filter(|value| !value.is_empty()));
        }
        self.of_request = self.values.len();
    }

    /// Takes the values of these fields of the response. Those of an earlier one are forgotten.
    pub(in crate::telemetry) fn take_response<'a>(
        &mut self,
        head: &ResponseHead,
        names: impl Iterator<Item = &'a str>,
    ) {
        self.values.truncate(self.of_request);
        self.text.truncate(self.values.last().map_or(0, |(end, _)| *end));
        names.for_each(|name| self.push(head.fields.first(name)));
    }

    /// The value of a field of the request, by the place of its name among those that were asked for.
    pub(in crate::telemetry) fn request(&self, place: usize) -> Option<Cow<'_, str>> {
        self.value(Some(place).filter(|place| *place < self.of_request)?)
    }

    /// The same of the response.
    pub(in crate::telemetry) fn response(&self, place: usize) -> Option<Cow<'_, str>> {
        self.value(self.of_request + place)
    }

    fn push(&mut self, value: Option<&[u8]>) {
        self.text.extend_from_slice(value.unwrap_or_default());
        self.values.push((self.text.len(), value.is_some()));
    }

    fn value(&self, place: usize) -> Option<Cow<'_, str>> {
        let (end, _) = self.values.get(place).filter(|(_, is_there)| *is_there)?;
        let start = place.checked_sub(1).map_or(0, |before| self.values[before].0);
        Some(String::from_utf8_lossy(&self.text[start..*end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_by_the_place_of_their_names() {
        let request = |target: &str| RequestHead {
            method: b"GET".to_vec(),
            target: target.into(),
            fields: [("user-agent", "curl"), ("empty", "")].into_iter().collect(),
            ..RequestHead::default()
        };
        let response =
            |value: &str| ResponseHead { fields: [("x-a", value)].into_iter().collect(), ..Default::default() };
        let mut text = RequestText::default();
        for target in ["/a", "/b?c=d"] {
            text.take_request(&request(target), [":method", ":path", "absent", "user-agent", ":authority"].into_iter());
            assert_eq!(text.response(0), None);
            for value in ["1", "22"] {
                text.take_response(&response(value), ["absent", "x-a"].into_iter());
                let all: Vec<_> = (0..5).map(|place| text.request(place)).collect();
                let expected =
                    [Some("GET"), Some(target), None, Some("curl"), None].map(|value| value.map(Cow::Borrowed));
                assert_eq!(all, expected);
                assert_eq!([0, 1, 2].map(|place| text.response(place)), [None, Some(value.into()), None]);
            }
        }
        assert_eq!(text.request(5), None, "a value of the response is none of the request");
    }
}
