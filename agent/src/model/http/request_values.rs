//! What a request says under a name: as a field, as a part of its control data, or as a parameter of its query.

use std::borrow::Cow;

use super::head::RequestHead;

/// The parts of a request that have fields of their own in HTTP/2, and `host`, which is the authority.
fn control_data<'a>(request: &'a RequestHead, name: &str) -> Option<&'a [u8]> {
    match name {
        ":method" => Some(&request.method),
        ":path" => Some(&request.target),
        ":authority" | "host" => Some(&request.authority),
        ":scheme" => Some(request.scheme.text().as_bytes()),
        _ => None,
    }
}

/// The value of the first field of a name, or of a part of the request.
pub(super) fn first_value<'a>(request: &'a RequestHead, name: &str) -> Option<&'a [u8]> {
    control_data(request, name).or_else(|| request.fields.first(name))
}

/// The values of all fields of a name, or a part of the request.
pub(super) fn values_of<'a>(request: &'a RequestHead, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let part = control_data(request, name).filter(|part| !part.is_empty());
    part.into_iter().chain(request.fields.values(name))
}

/// The values of all fields of a name as one text, or a part of the request.
pub(super) fn value_of<'a>(request: &'a RequestHead, name: &str) -> Option<Cow<'a, [u8]>> {
    if let Some(value) = control_data(request, name) {
        return (!value.is_empty()).then_some(Cow::Borrowed(value));
    }
    let mut values = request.fields.values(name);
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
    let mut joined = [first, second].join(&b',');
    for value in values {
        joined.push(b',');
        joined.extend_from_slice(value);
    }
    Some(Cow::Owned(joined))
}

/// The value of the first parameter of a name, as it is written; empty where it has no `=`.
pub(super) fn parameter<'a>(query: &'a [u8], name: &str) -> Option<&'a [u8]> {
    query.split(|byte| *byte == b'&').find_map(|pair| match pair.strip_prefix(name.as_bytes())? {
        [] => Some(&[][..]),
        [b'=', value @ ..] => Some(value),
        _ => None,
    })
}
