//! The words and signs of an expression.

/// A word or a sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    Number(i64),
    /// One of [`SIGNS`].
    Sign(&'static str),
}

/// Longer ones before their beginnings.
const SIGNS: [&str; 19] =
    ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "?", ":", "+", "-", "(", ")", "[", "]", ",", "."];

/// The tokens of an expression.
///
/// # Errors
/// With what is not understood.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, String> {
    let (mut found, mut rest) = (Vec::new(), source.trim_start());
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '\'' | '"' => text(rest, first)?,
            '0'..='9' => number(rest)?,
            'a'..='z' | 'A'..='Z' | '_' => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                (Token::Name(rest[..end].to_owned()), &rest[end..])
            }
            _ => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
                let sign = sign.ok_or_else(|| format!("{first:?} is not supported"))?;
                (Token::Sign(sign), &rest[sign.len()..])
            }
        };
        found.push(token);
        rest = after.trim_start();
    }
    Ok(found)
}

fn number(rest: &str) -> Result<(Token, &str), String> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    if after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') || after.starts_with('.') {
        return Err(format!("only whole decimal numbers are supported, not {digits:?} and what follows"));
    }
    digits.parse().map(|number| (Token::Number(number), after)).map_err(|_| format!("{digits} is too large"))
}

/// A text in quotes, with CEL's escapes of one character.
fn text(rest: &str, quote: char) -> Result<(Token, &str), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((Token::Text(text), &rest[at + 1..])),
            '\\' => text.push(match chars.next().map(|(_, escaped)| escaped) {
                Some(escaped @ ('\\' | '\'' | '"' | '`' | '?')) => escaped,
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                other => return Err(format!("the escape \\{} is not supported", other.unwrap_or(' '))),
            }),
            c => text.push(c),
        }
    }
    Err("a text without its closing quote".to_owned())
}
