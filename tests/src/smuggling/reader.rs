//! Responses of HTTP/1 read strictly (RFC 9112): what a client may rely on that a proxy sends.

/// A response as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub content: Vec<u8>,
    /// Whether all of its content came.
    pub is_whole: bool,
}

/// All final responses that a connection carried up to its end, to requests of which `is_head` says whether they were HEAD.
///
/// # Errors
/// If some bytes are not exactly one response each.
pub fn responses(mut bytes: &[u8], is_head: impl Fn(usize) -> bool) -> Result<Vec<Response>, String> {
    let mut responses = Vec::new();
    while !bytes.is_empty() {
        let (response, rest) = response(bytes, is_head(responses.len()))?;
        bytes = rest;
        if response.status >= 200 {
            responses.push(response);
        }
    }
    Ok(responses)
}

/// What the fields of a head say of the content.
#[derive(Debug, Default)]
struct Framing {
    length: Option<usize>,
    is_chunked: bool,
}

fn response(bytes: &[u8], is_head: bool) -> Result<(Response, &[u8]), String> {
    let end =
        bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| said("a head without an end", bytes))?;
    let (head, rest) = (&bytes[..end], &bytes[end + 4..]);
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    // A line that ended in LF alone is told by the head as a whole.
    if head.iter().filter(|byte| **byte == b'\n').count() != head.windows(2).filter(|two| two == b"\r\n").count() {
        return Err(said("a line that ends in LF alone", head));
    }
    let status = status(lines.next().unwrap_or_default()).ok_or_else(|| said("no status line", head))?;
    let mut framing = Framing::default();
    for line in lines {
        field(line, &mut framing).map_err(|why| said(why, line))?;
    }
    if framing.is_chunked && framing.length.is_some() {
        return Err(said("a length beside chunks", head));
    }
    let has_none = is_head || (100..200).contains(&status) || matches!(status, 204 | 304);
    let (content, is_whole, rest) = match framing {
        _ if has_none => (Vec::new(), true, rest),
        Framing { is_chunked: true, .. } => chunks(rest)?,
        Framing { length: Some(length), .. } => {
            let count = length.min(rest.len());
            (rest[..count].to_vec(), count == length, &rest[count..])
        }
        _ => (rest.to_vec(), true, &[][..]),
    };
    Ok((Response { status, content, is_whole }, rest))
}

/// `HTTP/1.1 200 OK`
fn status(line: &[u8]) -> Option<u16> {
    let (code, reason) = line.strip_prefix(b"HTTP/1.1 ")?.split_at_checked(3)?;
    let is_reason = reason.first() == Some(&b' ') && reason.iter().all(|byte| *byte >= b' ' && *byte != 0x7f);
    (is_reason && code.iter().all(u8::is_ascii_digit)).then(|| str::from_utf8(code).ok()?.parse().ok())?
}

fn field(line: &[u8], framing: &mut Framing) -> Result<(), &'static str> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("a line that is no field")?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let is_of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(is_of_token) {
        return Err("a name that is no token");
    }
    if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
        return Err("a value with control characters");
    }
    match &name.to_ascii_lowercase()[..] {
        b"content-length" => {
            let digits = str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|digits| digits.parse().ok()).ok_or("a length that is none")?;
            if framing.length.replace(length).is_some() {
                return Err("two lengths");
            }
        }
        b"transfer-encoding" if !value.eq_ignore_ascii_case(b"chunked") || framing.is_chunked => {
            return Err("another transfer coding than chunked");
        }
        b"transfer-encoding" => framing.is_chunked = true,
        _ => {}
    }
    Ok(())
}

/// Content in chunks, whether all of it came, and what is behind it.
fn chunks(mut rest: &[u8]) -> Result<(Vec<u8>, bool, &[u8]), String> {
    let mut content = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok((content, false, &[])) };
        let size = str::from_utf8(&rest[..end]).ok().filter(|size| size.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.ok_or_else(|| said("a size of a chunk that is none", &rest[..end]))?;
        rest = &rest[end + 2..];
        if size == 0 {
            break;
        }
        let Some((chunk, after)) = rest.split_at_checked(size) else {
            content.extend(rest);
            return Ok((content, false, &[]));
        };
        content.extend(chunk);
        match after {
            [b'\r', b'\n', after @ ..] => rest = after,
            [] | [b'\r'] => return Ok((content, false, &[])),
            _ => return Err(said("a chunk that does not end", after)),
        }
    }
    let mut ignored = Framing::default();
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok((content, false, &[])) };
        let (line, after) = (&rest[..end], &rest[end + 2..]);
        rest = after;
        if line.is_empty() {
            return Ok((content, true, rest));
        }
        field(line, &mut ignored).map_err(|why| said(why, line))?;
    }
}

fn said(why: &str, bytes: &[u8]) -> String {
    format!("{why}: {}", bytes[..bytes.len().min(200)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(u16, String, bool)>, String> {
        let seen = |response: Response| {
            let content = String::from_utf8_lossy(&response.content).into_owned();
            (response.status, content, response.is_whole)
        };
        Ok(responses(text.as_bytes(), |place| place == 1)?.into_iter().map(seen).collect())
    }

    #[test]
    fn responses_are_told_apart() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\
                    HTTP/1.1 404 \r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest";
        let expected = [(200, "ab"), (200, ""), (404, "abc"), (200, "rest")];
        assert_eq!(read(text), Ok(expected.map(|(status, text)| (status, text.to_owned(), true)).to_vec()));
        let cut = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab";
        assert_eq!(read(cut), Ok(vec![(200, "ab".to_owned(), false)]));
    }

    #[test]
    fn what_is_no_response_is_an_error() {
        for text in [
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\nx: y\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx y: z\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: \u{1}\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
            "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\na",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\na",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\na",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
