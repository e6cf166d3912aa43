//! An authorizer that speaks gRPC: `envoy.service.auth.v3.Authorization/Check`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use prost::Message as _;

use super::answer::{Answer, Changes, FieldChange, How, Refusal, UnusableAnswer};
use super::question::{Content, Peer, Question};
use crate::proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use crate::proto::envoy::config::core::v3::socket_address::PortSpecifier;
use crate::proto::envoy::config::core::v3::{Address, HeaderValueOption, SocketAddress, address};
use crate::proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer as WirePeer, Request};
use crate::proto::envoy::service::auth::v3::check_response::HttpResponse;
use crate::proto::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};

/// The method, as the path of a request has it.
pub const CHECK_METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The question as an encoded `CheckRequest`.
#[must_use]
pub fn message(question: &Question<'_>) -> Vec<u8> {
    let Question { head, source, destination, time, content } = question;
    let id = head.fields.first("x-request-id").map(text).unwrap_or_default();
    let (body, raw_body) = match content {
        Some(Content { bytes, is_raw: true, .. }) => (String::new(), bytes.to_vec()),
        Some(Content { bytes, .. }) => (text(bytes), Vec::new()),
        None => (String::new(), Vec::new()),
    };
    let http = HttpRequest {
        id,
        method: text(&head.method),
        headers: fields(question).into_iter().collect(),
        path: text(&head.target),
        host: text(&head.authority),
        scheme: head.scheme.text().to_owned(),
        size: content.map_or(0, |content| i64::try_from(content.bytes.len()).unwrap_or(i64::MAX)),
        protocol: question.protocol().to_owned(),
        body,
        raw_body,
    };
    let attributes = AttributeContext {
        source: Some(peer(source)),
        destination: Some(peer(destination)),
        request: Some(Request { time: Some((*time).into()), http: Some(http) }),
    };
    CheckRequest { attributes: Some(attributes) }.encode_to_vec()
}

fn peer(peer: &Peer<'_>) -> WirePeer {
    let address = peer.address.ip().to_canonical().to_string();
    let port_specifier = Some(PortSpecifier::PortValue(peer.address.port().into()));
    let address = address::Address::SocketAddress(SocketAddress { address, port_specifier });
    WirePeer {
        address: Some(Address { address: Some(address) }),
        service: String::new(),
        principal: peer.principal.unwrap_or_default().to_owned(),
    }
}

/// One entry for each name; several values are joined (RFC 9110 §5.3).
fn fields(question: &Question<'_>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, value) in question.fields() {
        match all.entry(text(name)) {
            Entry::Vacant(entry) => drop(entry.insert(text(value))),
            Entry::Occupied(mut entry) => {
                entry.get_mut().push(',');
                entry.get_mut().push_str(&text(value));
            }
        }
    }
    all
}

/// What is not UTF-8 becomes `!`, as with Envoy: strings of protobuf have to be UTF-8.
fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n('!', chunk.invalid().len()));
    }
    text
}

/// What an encoded `CheckResponse` says.
///
/// # Errors
/// When it is none, or asks for what cannot be done.
pub fn answer_of_message(message: &[u8]) -> Result<Answer, UnusableAnswer> {
    let CheckResponse { status, http_response } =
        CheckResponse::decode(message).map_err(|_| UnusableAnswer::Malformed)?;
    let is_ok = status.is_none_or(|status| status.code == 0);
    match (is_ok, http_response) {
        (_, Some(HttpResponse::ErrorResponse(error))) => Ok(Answer::Failed(Some(refusal(&error)?))),
        (true, Some(HttpResponse::OkResponse(ok))) => Ok(Answer::Allowed(Box::new(changes(ok)?))),
        (true, _) => Ok(Answer::Allowed(Box::default())),
        (false, Some(HttpResponse::DeniedResponse(denied))) => Ok(Answer::Denied(refusal(&denied)?)),
        (false, _) => Ok(Answer::Denied(Refusal::default())),
    }
}

fn refusal(denied: &DeniedHttpResponse) -> Result<Refusal, UnusableAnswer> {
    let status = denied.status.as_ref().map(|status| status.code).filter(|status| *status != 0);
    let status = status.map(|status| {
        let final_status = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
        final_status.ok_or(UnusableAnswer::Status(status))
    });
    let fields = denied.headers.iter().map(|option| field(option, How::Add)).collect::<Result<_, _>>()?;
    Ok(Refusal { status: status.transpose()?, fields, body: denied.body.clone().into() })
}

fn changes(ok: OkHttpResponse) -> Result<Changes, UnusableAnswer> {
    let OkHttpResponse {
        headers,
        headers_to_remove,
        response_headers_to_add,
        query_parameters_to_set,
        query_parameters_to_remove,
    } = ok;
    let response = |option: &HeaderValueOption| {
        // Where the answer does not say how, a field of a response is added, and one of a request is set.
        let says_nothing = option.append.is_none() && option.append_action == 0;
        let append = if says_nothing { Some(true) } else { option.append };
        field(&HeaderValueOption { append, ..option.clone() }, How::Add)
    };
    Ok(Changes {
        request: headers.iter().map(|option| field(option, How::AppendIfThere)).collect::<Result<_, _>>()?,
        removed: headers_to_remove.into_iter().map(|name| name.to_ascii_lowercase()).collect(),
        query_set: query_parameters_to_set.into_iter().map(|parameter| (parameter.key, parameter.value)).collect(),
        query_removed: query_parameters_to_remove,
        response: response_headers_to_add.iter().map(response).collect::<Result<_, _>>()?,
    })
}

/// A field that changes; it is set where its option says nothing. `appended`: how one changes whose option says `append`.
fn field(option: &HeaderValueOption, appended: How) -> Result<FieldChange, UnusableAnswer> {
    let header = option.header.clone().unwrap_or_default();
    let how = match (option.append, HeaderAppendAction::try_from(option.append_action)) {
        (Some(true), _) => appended,
        (Some(false), _) | (None, Ok(HeaderAppendAction::AppendIfExistsOrAdd)) => How::Set,
        (None, Ok(HeaderAppendAction::AddIfAbsent)) => How::AddIfAbsent,
        (None, Ok(HeaderAppendAction::OverwriteIfExistsOrAdd)) => How::Set,
        (None, Ok(HeaderAppendAction::OverwriteIfExists)) => How::SetIfThere,
        (None, Err(_)) => return Err(UnusableAnswer::Field(header.key)),
    };
    let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
    FieldChange::new(&header.key, value, how)
}
