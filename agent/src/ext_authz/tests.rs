//! Questions and answers in both protocols.

use std::time::{Duration, SystemTime};

use prost::Message as _;

use super::*;
use crate::model::authorization::{FieldNames, HttpCheck};
use crate::model::http::head::{HttpFields, HttpVersion, RequestHead, ResponseHead};
use crate::proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption, QueryParameter};
use crate::proto::envoy::service::auth::v3::check_response::HttpResponse;
use crate::proto::envoy::service::auth::v3::{CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse};
use crate::proto::envoy::r#type::v3::HttpStatus;
use crate::proto::google::rpc::Status;

fn fields(fields: &[(&'static str, &'static str)]) -> HttpFields {
    fields.iter().copied().collect()
}

fn head() -> RequestHead {
    RequestHead {
        version: HttpVersion::Http2,
        method: b"PUT".to_vec(),
        target: b"/a?b=c".to_vec(),
        authority: b"web.shop:80".to_vec(),
        fields: fields(&[
            ("x-request-id", "r-1"),
            ("accept", "a"),
            ("accept", "b"),
            ("authorization", "Bearer t"),
            ("content-length", "3"),
            ("x-envoy-auth-partial-body", "forged"),
        ]),
        ..RequestHead::default()
    }
}

fn question<'a>(head: &'a RequestHead, content: Option<Content<'a>>) -> Question<'a> {
    let peer = |address: &str, principal| Peer { address: address.parse().expect("an address"), principal };
    Question {
        head,
        source: peer("10.0.0.1:4000", Some("spiffe://cluster.local/ns/shop/sa/client")),
        destination: peer("10.0.0.2:8080", Some("spiffe://cluster.local/ns/shop/sa/web")),
        time: SystemTime::UNIX_EPOCH + Duration::from_secs(7),
        content,
    }
}

#[test]
fn an_authorizer_is_told_of_the_request_as_envoy_tells_it() {
    let head = head();
    let content = Content { bytes: b"a\xffb", is_part: true, is_raw: false };
    let message = CheckRequest::decode(&*message(&question(&head, Some(content)))).expect("it is one");
    let attributes = message.attributes.expect("it has them");
    let source = attributes.source.expect("a source");
    assert_eq!(source.principal, "spiffe://cluster.local/ns/shop/sa/client");
    assert!(format!("{:?}", source.address).contains(r#"address: "10.0.0.1", port_specifier: Some(PortValue(4000))"#));
    let request = attributes.request.expect("a request");
    assert_eq!(request.time.map(|time| time.seconds), Some(7));
    let http = request.http.expect("of HTTP");
    assert_eq!((&*http.id, &*http.method, &*http.path, &*http.host), ("r-1", "PUT", "/a?b=c", "web.shop:80"));
    assert_eq!((&*http.scheme, &*http.protocol, http.size), ("http", "HTTP/2", 3));
    assert_eq!((&*http.body, &*http.raw_body), ("a!b", &b""[..]));
    let field = |name: &str| http.headers.get(name).map(String::as_str);
    assert_eq!((field("accept"), field(":path"), field(":method")), (Some("a,b"), Some("/a?b=c"), Some("PUT")));
    assert_eq!(field("x-envoy-auth-partial-body"), Some("true"), "and not what the client says");
}

#[test]
fn over_http_it_is_shown_what_its_provider_names() {
    let head = head();
    let check = HttpCheck {
        path_prefix: "/check".into(),
        shown: FieldNames::written(["ACCEPT"]),
        added: vec![("x-mesh".into(), "weir".into())],
        ..HttpCheck::default()
    };
    let asked = request(&check, &question(&head, None));
    assert_eq!(
        (&*asked.method, &*asked.target, &*asked.authority),
        (&b"PUT"[..], &b"/check/a?b=c"[..], &b"web.shop:80"[..])
    );
    let expected = [("accept", "a"), ("accept", "b"), ("authorization", "Bearer t"), ("x-mesh", "weir")];
    assert_eq!(asked.fields, fields(&expected));
}

fn option(name: &str, value: &str, append: Option<bool>, append_action: i32) -> HeaderValueOption {
    let header = HeaderValue { key: name.to_owned(), value: value.to_owned(), raw_value: Vec::new() };
    HeaderValueOption { header: Some(header), append, append_action }
}

fn said(code: i32, http_response: Option<HttpResponse>) -> Result<Answer, UnusableAnswer> {
    let status = Some(Status { code, ..Status::default() });
    answer_of_message(&CheckResponse { status, http_response }.encode_to_vec())
}

#[test]
fn what_is_allowed_is_changed_as_the_answer_says() {
    let ok = OkHttpResponse {
        headers: vec![
            option("X-User", "me", None, 0),
            option("accept", "c", Some(true), 0),
            option("x-absent", "never", Some(true), 0),
            option("x-request-id", "never", None, 1),
        ],
        headers_to_remove: vec!["Authorization".into(), ":path".into(), "Host".into()],
        response_headers_to_add: vec![option("x-seen", "2", None, 0), option("server", "authz", Some(false), 0)],
        query_parameters_to_set: vec![QueryParameter { key: "b".into(), value: "d".into() }],
        query_parameters_to_remove: Vec::new(),
    };
    let Ok(Answer::Allowed(changes)) = said(0, Some(HttpResponse::OkResponse(ok))) else { panic!("it is allowed") };
    let mut changed =
        RequestHead { fields: fields(&[("x-request-id", "r-1"), ("accept", "a"), ("authorization", "t")]), ..head() };
    changes.apply(&mut changed);
    assert_eq!(changed.fields, fields(&[("x-request-id", "r-1"), ("x-user", "me"), ("accept", "a,c")]));
    assert_eq!(changed.target, b"/a?b=d");
    let mut response = fields(&[("x-seen", "1"), ("server", "app")]);
    changes.response.iter().for_each(|change| change.apply(&mut response));
    assert_eq!(response, fields(&[("x-seen", "1"), ("x-seen", "2"), ("server", "authz")]));
}

#[test]
fn an_answer_allows_denies_or_says_that_nobody_knows() {
    let denied = |status: Option<i32>| {
        let (status, headers) = (status.map(|code| HttpStatus { code }), vec![option("x-why", "w", None, 0)]);
        DeniedHttpResponse { status, headers, body: "no".into() }
    };
    let status = |answer: Result<Answer, UnusableAnswer>| match answer {
        Ok(Answer::Allowed(_)) => "allowed".to_owned(),
        Ok(Answer::Denied(Refusal { status, fields, body })) => format!("denied {status:?} {} {body:?}", fields.len()),
        Ok(Answer::Failed(refusal)) => format!("failed {:?}", refusal.map(|refusal| refusal.status)),
        Err(error) => error.to_string(),
    };
    use HttpResponse::{DeniedResponse, ErrorResponse, OkResponse};
    for (code, response, expected) in [
        (0, None, "allowed"),
        (0, Some(OkResponse(OkHttpResponse::default())), "allowed"),
        (7, None, r#"denied None 0 b"""#),
        (7, Some(OkResponse(OkHttpResponse::default())), r#"denied None 0 b"""#),
        (7, Some(DeniedResponse(denied(Some(401)))), r#"denied Some(401) 1 b"no""#),
        (7, Some(DeniedResponse(denied(None))), r#"denied None 1 b"no""#),
        (
            7,
            Some(DeniedResponse(denied(Some(101)))),
            "its answer has the status 101, which is none of a final response",
        ),
        (0, Some(ErrorResponse(denied(Some(500)))), "failed Some(Some(500))"),
    ] {
        assert_eq!(status(said(code, response)), expected, "{code}");
    }
    assert_eq!(answer_of_message(b"\xff\xff"), Err(UnusableAnswer::Malformed));
    let hostile = OkHttpResponse { headers: vec![option(":path", "/admin", None, 0)], ..OkHttpResponse::default() };
    assert_eq!(said(0, Some(OkResponse(hostile))), Err(UnusableAnswer::Field(":path".into())));
}

#[test]
fn over_http_the_status_decides() {
    let check = HttpCheck {
        to_upstream: FieldNames::written(["x-user", "*-length"]),
        to_client_on_allow: FieldNames::written(["x-seen"]),
        to_client_on_deny: FieldNames::written(["x-why"]),
        ..HttpCheck::default()
    };
    let of = |check: &HttpCheck, status| {
        let said = [
            ("content-length", "2"),
            ("x-user", "me"),
            ("x-seen", "1"),
            ("x-why", "w"),
            ("location", "/login"),
            ("x-envoy-auth-headers-to-remove", "cookie, Authorization"),
        ];
        let head = ResponseHead { status, fields: fields(&said), ..ResponseHead::default() };
        answer_of_response(check, &head, "no".into())
    };
    let Ok(Answer::Allowed(changes)) = of(&check, 200) else { panic!("it is allowed") };
    assert_eq!((changes.request.len(), changes.response.len()), (1, 1), "{changes:?}");
    assert_eq!(changes.removed, ["cookie", "authorization"]);
    let count = |answer| match answer {
        Ok(Answer::Denied(Refusal { status, fields, .. })) => (status, fields.len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(count(of(&check, 302)), (Some(302), 2));
    assert_eq!(count(of(&HttpCheck::default(), 401)), (Some(401), 4), "all but what is about the answer itself");
    assert_eq!(of(&check, 503), Ok(Answer::Failed(None)));
    assert_eq!(of(&check, 101), Err(UnusableAnswer::Status(101)));
}
