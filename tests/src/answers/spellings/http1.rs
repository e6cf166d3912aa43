//! Changes that only HTTP/1 can say, most of them not valid.

use crate::answers::ask::{Ask, Content};
use crate::smuggling::random::Random;

pub(super) fn chunks(ask: &mut Ask, random: &mut Random) -> bool {
    ask.content = Content::InChunks("in chunks".repeat(random.of_these(&[1, 50])));
    true
}

/// A target that is no path, or not wholly one.
pub(super) fn odd_target(ask: &mut Ask, random: &mut Random) -> bool {
    let path = &ask.target;
    let changed = [
        "*".to_owned(),
        "?only=query".to_owned(),
        path.trim_start_matches('/').to_owned(),
        format!("{path}#part"),
        format!("{path}%"),
        format!("{path}%zz"),
        format!("{path}\\..\\q"),
        format!("{path}/\u{e9}"),
        format!("{path} q"),
        format!("{path}\tq"),
        format!("{path}/\"<>^`{{|}}"),
        String::new(),
    ];
    ask.target = changed[random.below(changed.len())].clone();
    if ask.target == "*" && random.below(2) == 0 {
        "OPTIONS".clone_into(&mut ask.method);
    }
    true
}

/// Hosts that are missing, several, or none.
pub(super) fn odd_host(ask: &mut Ask, random: &mut Random) -> bool {
    let full = ask.group().host();
    let all = [
        vec![],
        vec![full.clone(), full.clone()],
        vec![full.clone(), "other.example".to_owned()],
        vec![String::new()],
        vec![format!("user@{full}")],
        vec![format!("{full} x")],
        vec![format!("{full}/x")],
        vec![format!("{full}:")],
        vec![format!("{full}:port")],
        vec![format!("{full},other")],
    ];
    ask.hosts = all[random.below(all.len())].clone();
    true
}

pub(super) fn absolute(ask: &mut Ask, random: &mut Random) -> bool {
    let full = ask.group().host();
    let path = if ask.target.starts_with('/') { ask.target.clone() } else { format!("/{}", ask.target) };
    let changed = [
        format!("http://{full}{path}"),
        format!("HTTP://{full}{path}"),
        format!("http://{full}:80{path}"),
        format!("https://{full}{path}"),
        format!("http://{full}"),
        format!("http://{full}?only=query"),
        format!("http://user@{full}{path}"),
        format!("ftp://{full}{path}"),
    ];
    ask.target = changed[random.below(changed.len())].clone();
    // The target's authority counts, whatever the field says.
    if random.below(2) == 0 {
        ask.hosts = vec!["other.example".to_owned()];
    }
    true
}

pub(super) fn connection(ask: &mut Ask, random: &mut Random) -> bool {
    let value = random.of_these(&["close, x-user", "x-there, close", "close, te", "close, keep-alive", "CLOSE"]);
    ask.fields.push(("connection".to_owned(), value.to_owned()));
    let (name, value) = random.of_these(&[("keep-alive", "timeout=5"), ("proxy-connection", "close"), ("te", "gzip")]);
    ask.fields.push((name.to_owned(), value.to_owned()));
    true
}

pub(super) fn expect(ask: &mut Ask, random: &mut Random) -> bool {
    let value = random.of_these(&["100-continue", "100-Continue", "200-ok"]);
    ask.fields.push(("expect".to_owned(), value.to_owned()));
    "POST".clone_into(&mut ask.method);
    ask.content = Content::OfLength("expected".to_owned());
    true
}

/// A line among the fields that should not be there.
pub(super) fn odd_line(ask: &mut Ask, random: &mut Random) -> bool {
    let line = random.of_these(&[
        "x bad: 1\r\n",
        "x-bad : 1\r\n",
        "x-folded: a\r\n b\r\n",
        "no colon\r\n",
        ": no name\r\n",
        "x-feed: a\n",
        "x-return: a\rb\r\n",
        "x-control: a\u{1}b\r\n",
        "x-tab: a\tb\r\n",
        "x-high: \u{e9}\r\n",
        "x(y): 1\r\n",
        "content-length: 3\r\ncontent-length: 4\r\n",
        "content-length: +3\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: identity\r\n",
    ]);
    ask.lines += line;
    true
}

pub(super) fn old(ask: &mut Ask, random: &mut Random) -> bool {
    ask.is_http10 = true;
    if random.below(2) == 0 {
        ask.hosts.clear();
    }
    true
}
