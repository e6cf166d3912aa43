//! What expressions come to, and which are refused.

use std::borrow::Cow;

use super::attribute::{Facts, NumberAttribute, TextAttribute};
use super::expression::Expression;

/// `GET /cart?id=7` of `shop.example:80` that was answered 503.
struct Request;

impl Facts for Request {
    fn text(&self, attribute: &TextAttribute) -> Option<Cow<'_, str>> {
        Some(match attribute {
            TextAttribute::Request(name) => match &**name {
                ":method" => "GET".into(),
                ":authority" => "shop.example:80".into(),
                ":path" => "/cart?id=7".into(),
                "x-tenant" => "blue".into(),
                "x-number" => "42".into(),
                _ => return None,
            },
            TextAttribute::UrlPath => "/cart".into(),
            TextAttribute::OwnLabel(name) if &**name == "app" => "client".into(),
            _ => return None,
        })
    }

    fn number(&self, attribute: NumberAttribute) -> Option<i64> {
        match attribute {
            NumberAttribute::ResponseCode => Some(503),
            NumberAttribute::DestinationPort => Some(80),
            _ => None,
        }
    }

    fn is_mutual_tls(&self) -> bool {
        true
    }
}

#[test]
fn filters_hold_or_do_not() {
    for (source, holds) in [
        ("response.code >= 400", true),
        ("response.code < 400", false),
        ("response.code == 503 && request.method == 'GET'", true),
        ("response.code == 200 || request.method == \"GET\"", true),
        ("!(response.code == 200)", true),
        ("!!(response.code == 200)", false),
        ("request.method in ['POST', 'GET']", true),
        ("response.code in [200, 404,]", false),
        ("'x-tenant' in request.headers", true),
        ("'X-Other' in request.headers", false),
        ("has(request.headers['X-Tenant'])", true),
        ("has(request.headers.x_other)", false),
        ("request.url_path.startsWith('/ca') && request.path.endsWith('=7')", true),
        ("request.host.contains('example')", true),
        ("request.url_path.matches('^/c.rt$')", true),
        ("request.url_path.matches('art')", true),
        ("request.url_path.matches('^art')", false),
        ("connection.mtls", true),
        ("true ? connection.mtls : false", true),
        ("destination.port + 1 == 81", true),
        ("int(request.headers['x-number']) == 42", true),
        ("string(response.code).startsWith('5')", true),
        ("'b' + 'lue' == request.headers['x-tenant']", true),
        ("response.code > -1", true),
        // What does not exist decides nothing, and what the other side decides holds.
        ("request.headers['absent'] == 'a'", false),
        ("request.headers['absent'] != 'a'", false),
        ("!(request.headers['absent'] == 'a')", false),
        ("request.headers['absent'] == 'a' || response.code == 503", true),
        ("request.headers['absent'] == 'a' && response.code == 503", false),
        ("!(request.headers['absent'] == 'a' && response.code == 200)", true),
        ("int(request.method) == 1", false),
        ("9223372036854775807 + 1 > 0", false),
    ] {
        let filter = Expression::filter(source).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(filter.holds(&Request), holds, "{source}");
    }
}

#[test]
fn tags_have_text() {
    for (source, expected) in [
        ("request.host", Some("shop.example:80")),
        ("response.code", Some("503")),
        ("string(destination.port)", Some("80")),
        ("connection.mtls", Some("true")),
        ("node.metadata['LABELS']['app']", Some("client")),
        ("node.metadata['LABELS']['other']", None),
        ("filter_state.upstream_peer.labels['app']", None),
        ("'fixed'", Some("fixed")),
        ("'it\\'s'", Some("it's")),
        ("has(request.headers['x-tenant']) ? request.headers['x-tenant'] : 'none'", Some("blue")),
        ("has(request.headers['absent']) ? request.headers['absent'] : 'none'", Some("none")),
        ("request.method + ' ' + request.url_path", Some("GET /cart")),
    ] {
        let tag = Expression::tag(source).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(tag.text(&Request).as_deref(), expected, "{source}");
    }
}

#[test]
fn what_is_not_supported_is_named() {
    let deep = "(".repeat(100) + "true" + &")".repeat(100);
    let long = "a".repeat(3000);
    for (source, reason) in [
        ("", "it ends where a value is expected"),
        ("request.", "after a dot, a name is expected"),
        ("request.header['a']", "the attribute request.header.a is not known here"),
        ("response.code >= ", "it ends where a value is expected"),
        ("response.code >= '400'", ">= compares a number with text"),
        ("response.code 400", "400 is not expected"),
        ("response.code = 400", "'=' is not supported"),
        ("request.method", "a filter must be true or false, but this is text"),
        ("request.method && true", "&& is about true and false, not text"),
        ("request.method.size() > 1", "size is not supported here"),
        ("duration('1s') == 1", "the function duration() is not supported"),
        ("response.code.startsWith('5')", "startsWith() is asked of text, not of a number"),
        ("request.method.matches(request.host)", "matches() takes a text"),
        ("request.method.matches('(')", "\"(\" is no regular expression"),
        ("'open", "a text without its closing quote"),
        ("response.code > 1.5", "only whole decimal numbers are supported"),
        ("99999999999999999999 > 1", "99999999999999999999 is too large"),
        ("'a' + 1 == 'a1'", "+ joins text and a number: use string()"),
        ("request.method in request.host", "in is supported over lists of literals and over headers only"),
        ("true ? 1 : 'a'", "? : chooses between a number and text"),
        ("request.headers[1] == 'a'", "between [ and ], a text is expected"),
        ("-request.size > 1", "- is supported before a literal number only"),
        (&deep, "its parts lie too deep in each other"),
        (&long, "is longer than 2048 bytes"),
    ] {
        let error = Expression::filter(source).expect_err(source).to_string();
        let expected = format!("expression {source:?}: {reason}");
        assert!(error.starts_with(&expected), "{error}\nexpected {expected}");
    }
}

#[test]
fn no_text_is_too_strange() {
    let pieces = [
        "request", ".", "headers", "[", "'a'", "]", "(", ")", "!", "&&", "||", "?", ":", "+", "-", "in", "1", "has",
        "é",
    ];
    // Every sequence of four pieces, and each cut in the middle of a text.
    for number in 0..pieces.len().pow(4) {
        let piece = |place: u32| pieces[number / pieces.len().pow(place) % pieces.len()];
        let source = [piece(0), piece(1), piece(2), piece(3)].join(" ");
        if let Ok(expression) = Expression::tag(&source) {
            let _ = expression.text(&Request);
        }
    }
    for source in [format!("{}true", "!".repeat(2000)), format!("1{}", "+1".repeat(1000)), "a?".repeat(500)] {
        if let Ok(expression) = Expression::tag(&source) {
            let _ = expression.text(&Request);
        }
    }
}
