//! Changes that both versions of HTTP can say.

use crate::answers::ask::{Ask, Content};
use crate::answers::group::NAMESPACE;
use crate::smuggling::random::Random;

/// Another spelling of the path, or another path beside it.
pub(super) fn path(ask: &mut Ask, random: &mut Random) -> bool {
    let (path, query) = ask.split();
    let (path, query) = (path.to_owned(), query.map(|query| format!("?{query}")).unwrap_or_default());
    let first = path.get(..2).unwrap_or("/").to_owned();
    let last = path.bytes().last().filter(u8::is_ascii_alphanumeric);
    let encoded = last.map_or_else(|| format!("{path}%41"), |last| format!("{}%{last:02x}", &path[..path.len() - 1]));
    let changed = [
        format!("{path}/"),
        format!("{path}x"),
        format!("{path}/y"),
        format!("/{path}"),
        format!("{path}//z"),
        format!("{path}/./"),
        format!("{path}/../q"),
        format!("{path}/q/.."),
        format!("/..{path}"),
        format!("/a/..{path}"),
        format!("/.{path}"),
        format!("{path}%2fz"),
        format!("{path}%2Fz"),
        format!("{path}/%2e%2e/q"),
        format!("{path}/%2E/q"),
        format!("{path}/..%2fq"),
        format!("{path}%00"),
        format!("{path};v=1"),
        format!("{path}%20b"),
        format!("{path}/%E2%82%AC"),
        format!("{path}+:@!$&'()*,=~"),
        path.to_uppercase(),
        path.replacen(&first, &first.to_uppercase(), 1),
        encoded,
    ];
    let chosen = random.below(changed.len());
    ask.target = format!("{}{query}", changed[chosen]);
    true
}

pub(super) fn query(ask: &mut Ask, random: &mut Random) -> bool {
    let more =
        random.of_these(&["", "a=1", "a=2", "b=xyz", "a=1&a=2", "a", "A=1", "a=%31", "b=x%2fy", "/../x", "d", "c=pq"]);
    let join = if ask.target.contains('?') { '&' } else { '?' };
    ask.target = format!("{}{join}{more}", ask.target);
    true
}

pub(super) fn method(ask: &mut Ask, random: &mut Random) -> bool {
    let method = random.of_these(&["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "FOO", "get", "GET"]);
    if ask.is_grpc {
        return false;
    }
    method.clone_into(&mut ask.method);
    if matches!(method, "POST" | "PUT" | "PATCH") && ask.content == Content::None {
        ask.content = Content::OfLength(String::new());
    }
    true
}

/// A name of the same Service, as clients write it.
pub(super) fn host(ask: &mut Ask, random: &mut Random) -> bool {
    let name = ask.group().name;
    let full = ask.group().host();
    let names = [
        name.to_owned(),
        format!("{name}.{NAMESPACE}"),
        format!("{name}.{NAMESPACE}.svc"),
        format!("{full}."),
        full.to_uppercase(),
        format!("{full}:80"),
        format!("{full}:9999"),
        format!("{full}.:80"),
        ask.address.ip().to_string(),
        ask.address.to_string(),
        format!("{}:80", name.to_uppercase()),
    ];
    ask.hosts = vec![names[random.below(names.len())].clone()];
    true
}

pub(super) fn field(ask: &mut Ask, random: &mut Random) -> bool {
    let (name, value) = random.of_these(&[
        ("X-There", "anything"),
        ("x-there", ""),
        ("x-gone", "gone"),
        ("x-set", "sent"),
        ("x-add", "sent"),
        ("accept-encoding", "gzip"),
        ("cookie", "a=1; b=2"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "front.example"),
        ("x-forwarded-proto", "https"),
        ("x-envoy-force-trace", "1"),
        ("x-envoy-original-path", "/forged"),
        ("x-envoy-decorator-operation", "forged"),
        ("x-envoy-internal", "true"),
        ("x-envoy-attempt-count", "7"),
        ("x_underscore", "1"),
        ("te", "trailers"),
        ("via", "1.1 front"),
        ("user-agent", "generated"),
        ("forwarded", "for=192.0.2.1"),
        ("x-original-host", "front.example"),
        ("authorization", "Bearer x.y.z"),
        ("content-type", "text/plain; charset=utf-8"),
        ("range", "bytes=0-3"),
        ("if-none-match", "\"a\""),
        ("max-forwards", "0"),
    ]);
    ask.fields.push((name.to_owned(), value.to_owned()));
    true
}

pub(super) fn user(ask: &mut Ask, random: &mut Random) -> bool {
    let values: &[&str] = random.of_these(&[
        &["eve"],
        &["Eve"],
        &["eve", "adam"],
        &["adam", "eve"],
        &["eve,adam"],
        &[""],
        &["", "eve"],
        &["bob7"],
        &["adam"],
        &["eve "],
    ]);
    ask.fields.retain(|(name, _)| !name.eq_ignore_ascii_case("x-user"));
    ask.fields.extend(values.iter().map(|value| ("x-user".to_owned(), (*value).to_owned())));
    true
}

pub(super) fn origin(ask: &mut Ask, random: &mut Random) -> bool {
    let origin = random.of_these(&["https://shop.example", "https://SHOP.example", "http://a.test", "null", ""]);
    ask.fields.retain(|(name, _)| name != "origin");
    ask.fields.push(("origin".to_owned(), origin.to_owned()));
    if random.below(3) == 0 && !ask.is_grpc {
        "OPTIONS".clone_into(&mut ask.method);
        ask.fields
            .push(("access-control-request-method".to_owned(), random.of_these(&["PUT", "GET", "FOO"]).to_owned()));
    }
    true
}

pub(super) fn content(ask: &mut Ask, random: &mut Random) -> bool {
    if ask.is_grpc {
        return false;
    }
    ask.content = Content::OfLength("some content".repeat(random.of_these(&[0, 1, 100, 2000])));
    true
}
