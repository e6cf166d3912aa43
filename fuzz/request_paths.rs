//! The plainest reading of what a policy says about a path: every way in which a server may read it, written out.

/// Whether `paths` and `notPaths` hold for a path that was normalised: for all of its readings where the policy opens, else for any.
pub(crate) fn meets(values: &[String], not_values: &[String], path: &str, opens: bool) -> bool {
    let holds = |reading: &str| {
        let is = |wanted: &String| matches(wanted, reading) || (is_ambiguous(wanted) && matches(wanted, path));
        (values.is_empty() || values.iter().any(is)) && !not_values.iter().any(is)
    };
    let readings = readings(path);
    if opens { readings.iter().all(|one| holds(one)) } else { readings.iter().any(|one| holds(one)) }
}

/// The path as it is, and all others that it may stand for.
fn readings(path: &str) -> Vec<String> {
    let mut all = vec![path.to_owned()];
    if path.starts_with('/') && is_ambiguous(path) {
        for keeps_parameters in [true, false] {
            for merges in [true, false] {
                let text = if keeps_parameters { path.to_owned() } else { without_parameters(path) };
                let mut text = decoded(&text);
                while merges && text.contains("//") {
                    text = text.replacen("//", "/", 1);
                }
                all.push(without_dots(&text));
            }
        }
    }
    all
}

/// Whether servers read a text in more than one way.
fn is_ambiguous(text: &str) -> bool {
    ["//", "/.", "%", ";", "\\"].iter().any(|part| text.contains(part))
}

fn without_parameters(path: &str) -> String {
    let mut out = String::new();
    let mut skips = false;
    for c in path.chars() {
        skips = !matches!(c, '/' | '\\') && (skips || c == ';');
        if !skips {
            out.push(c);
        }
    }
    out
}

fn decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let code =
            path.get(at + 1..at + 3).filter(|code| bytes[at] == b'%' && code.bytes().all(|c| c.is_ascii_hexdigit()));
        let byte = match code {
            Some(code) => u8::from_str_radix(code, 16).expect("two digits"),
            None => bytes[at],
        };
        at += if code.is_some() { 3 } else { 1 };
        out.push(if byte == b'\\' { b'/' } else { byte });
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// RFC 3986 §5.2.4.
fn without_dots(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let mut kept = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        match *segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => {
                kept.push(other);
                continue;
            }
        }
        if at + 1 == segments.len() {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// Whether a value of `paths` is met by one reading.
fn matches(pattern: &str, path: &str) -> bool {
    if !pattern.contains('{') {
        if pattern == "*" {
            return !path.is_empty();
        }
        let Some((front, back)) = pattern.split_once('*') else { return pattern == path };
        return path.len() >= front.len() + back.len() && path.starts_with(front) && path.ends_with(back);
    }
    let splits = |operator: &str| pattern.split_once(operator);
    if let Some((front, back)) = splits("{*}") {
        // One segment, not empty, is filled in, whichever length it has.
        return (0..=path.len()).any(|end| {
            let (Some(head), Some(rest)) = (path.get(..end), path.get(end..)) else { return false };
            let segment = head.strip_prefix(front);
            segment.is_some_and(|segment| !segment.is_empty() && !segment.contains('/')) && matches_rest(back, rest)
        });
    }
    splits("{**}").is_some_and(|(front, back)| {
        path.len() >= front.len() + back.len() && path.starts_with(front) && path.ends_with(back)
    })
}

/// The same behind a segment that was filled in, which ends where the next slash is.
fn matches_rest(pattern: &str, rest: &str) -> bool {
    (rest.is_empty() || rest.starts_with('/'))
        && if pattern.contains('{') { matches(pattern, rest) } else { pattern == rest }
}
