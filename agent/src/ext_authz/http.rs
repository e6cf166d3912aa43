//! An authorizer that speaks HTTP: it is sent the head of the request, and its status decides.

use bytes::Bytes;

use super::answer::{Answer, Changes, FieldChange, How, Refusal, UnusableAnswer, is_of_connection};
use super::question::Question;
use crate::model::authorization::HttpCheck;
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};

/// Fields of a request that an authorizer is always shown.
const ALWAYS_SHOWN: [&[u8]; 1] = [b"authorization"];
/// Fields of an answer that a client always gets, where the configuration names some.
const ALWAYS_TO_CLIENT: [&[u8]; 2] = [b"location", b"www-authenticate"];
/// The field of an answer that names fields which the request is to lose.
const TO_REMOVE: &str = "x-envoy-auth-headers-to-remove";

/// The head of the authorizer's request: that of the request, as far as the configuration shows it. Method, authority and path are
/// always the request's own.
#[must_use]
pub fn request(check: &HttpCheck, question: &Question<'_>) -> RequestHead {
    let mut fields = HttpFields::default();
    for (name, value) in question.fields() {
        let is_part_of_line = name.first() == Some(&b':');
        let is_shown =
            ALWAYS_SHOWN.contains(&name) || check.shown.has(name) || name == super::question::PARTIAL_BODY.as_bytes();
        if is_shown && !is_part_of_line && name != b"content-length" && name != b"expect" {
            fields.append(name, value);
        }
    }
    for (name, value) in &check.added {
        fields.set(name, value.as_bytes());
    }
    RequestHead {
        method: question.head.method.clone(),
        target: [check.path_prefix.as_bytes(), &question.head.target].concat(),
        authority: question.head.authority.clone(),
        scheme: question.head.scheme,
        fields,
        ..RequestHead::default()
    }
}

/// What its response says: 200 allows, a status of the server's own failures says nothing, and every other one denies.
///
/// # Errors
/// When it is no response that a client could be given.
pub fn answer_of_response(check: &HttpCheck, head: &ResponseHead, body: Bytes) -> Result<Answer, UnusableAnswer> {
    match head.status {
        200 => allowed(check, head).map(|changes| Answer::Allowed(Box::new(changes))),
        500..=599 => Ok(Answer::Failed(None)),
        201..=499 => {
            let is_for_client = |name: &[u8]| {
                check.to_client_on_deny.is_empty()
                    || check.to_client_on_deny.has(name)
                    || ALWAYS_TO_CLIENT.contains(&name)
            };
            let fields = taken(head, is_for_client, How::Add)?;
            Ok(Answer::Denied(Refusal { status: Some(head.status), fields, body }))
        }
        status => Err(UnusableAnswer::Status(status.into())),
    }
}

fn allowed(check: &HttpCheck, head: &ResponseHead) -> Result<Changes, UnusableAnswer> {
    let removed = head.fields.values(TO_REMOVE).flat_map(|value| value.split(|byte| *byte == b','));
    let name = |name: &[u8]| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
    Ok(Changes {
        request: taken(head, |name| check.to_upstream.has(name), How::Set)?,
        removed: removed.map(name).filter(|name| !name.is_empty()).collect(),
        response: taken(head, |name| check.to_client_on_allow.has(name), How::Add)?,
        ..Changes::default()
    })
}

/// The fields of a response that are wanted, but for those that are about the response itself.
fn taken(head: &ResponseHead, is_wanted: impl Fn(&[u8]) -> bool, how: How) -> Result<Vec<FieldChange>, UnusableAnswer> {
    let mut taken: Vec<FieldChange> = Vec::new();
    for (name, value) in head.fields.iter().filter(|(name, _)| is_wanted(name)) {
        let name = String::from_utf8_lossy(name);
        if is_of_connection(&name) || name == TO_REMOVE {
            continue;
        }
        // Of several values of one name the first takes the place of what is there.
        let is_further = taken.iter().any(|change| change.is_of(&name));
        taken.push(FieldChange::new(&name, value, if is_further { How::Add } else { how })?);
    }
    Ok(taken)
}
