//! The ways in which servers may read one path. Policy sees the path that the server gets, but servers go on from there, each in its
//! own way: they decode escapes, also of slashes, merge slashes, take `\` for a slash, and leave out what follows a `;` in a segment
//! (nginx, Go's and Java's servers, to name a few). A policy that closes must hold for each of these readings, and one that opens
//! only for all of them.

/// The readings of a path that differ from the path as it is; none for most paths.
pub(super) fn other_readings(path: &[u8]) -> Vec<Vec<u8>> {
    let mut readings = Vec::new();
    if path.first() != Some(&b'/') || !is_ambiguous(path) {
        return readings;
    }
    for text in [path.to_vec(), without_parameters(path)] {
        let decoded = decoded(&text);
        let mut merged = decoded.clone();
        merged.dedup_by(|next, previous| *next == b'/' && *previous == b'/');
        for reading in [decoded, merged] {
            let reading = without_dot_segments(&reading);
            if reading != path && !readings.contains(&reading) {
                readings.push(reading);
            }
        }
    }
    readings
}

/// Whether a path, or a text that a policy compares paths with, may be read in more than one way.
pub(super) fn is_ambiguous(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().any(|byte| {
        let is_pair = previous == b'/' && matches!(byte, b'/' | b'.');
        previous = *byte;
        is_pair || matches!(byte, b'%' | b';' | b'\\')
    })
}

/// Each segment up to its first `;`.
fn without_parameters(path: &[u8]) -> Vec<u8> {
    let mut is_in_parameters = false;
    let kept = path.iter().filter(|byte| {
        is_in_parameters = match byte {
            b'/' | b'\\' => false,
            b';' => true,
            _ => is_in_parameters,
        };
        !is_in_parameters
    });
    kept.copied().collect()
}

/// Every escape as the byte that it stands for, and every `\` as a slash.
fn decoded(path: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, behind)) = rest.split_first() {
        let escaped = match rest {
            [b'%', high, low, ..] => digit(high).zip(digit(low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        rest = if escaped.is_some() { &rest[3..] } else { behind };
        let byte = escaped.unwrap_or(*byte);
        decoded.push(if byte == b'\\' { b'/' } else { byte });
    }
    decoded
}

/// As RFC 3986 §5.2.4 removes `.` and `..`.
fn without_dot_segments(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut ends_with_slash = false;
    for segment in path[1..].split(|byte| *byte == b'/') {
        ends_with_slash = matches!(segment, b"." | b"..");
        match segment {
            b"." => {}
            b".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    if ends_with_slash {
        segments.push(b"");
    }
    [&b"/"[..], &segments.join(&b'/')].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_servers_may() {
        let rows: [(&str, &[&str]); 16] = [
            ("/admin", &[]),
            ("/a.b/c~d", &[]),
            ("*", &[]),
            ("", &[]),
            ("/.well-known/x", &[]),
            ("//admin", &["/admin"]),
            ("/%2Fadmin", &["//admin", "/admin"]),
            ("/admin%2fx", &["/admin/x"]),
            ("/a\\b", &["/a/b"]),
            ("/admin;x=1/y", &["/admin/y"]),
            ("/..;/admin", &["/admin"]),
            ("/x/%2e%2e%2fadmin", &["/admin"]),
            ("/x%2F%2F..%2Fadmin", &["/x/admin", "/admin"]),
            ("/a%3Bb", &["/a;b"]),
            ("/a%", &[]),
            ("/a/%2E", &["/a/"]),
        ];
        for (path, expected) in rows {
            let readings = other_readings(path.as_bytes());
            let found: Vec<_> = readings.iter().map(|reading| String::from_utf8_lossy(reading)).collect();
            assert_eq!(found, expected, "{path}");
        }
    }
}
