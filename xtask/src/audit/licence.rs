//! Licence expressions (SPDX): is there a way to satisfy one with what we may use?

/// Licences under which a dependency may come. All of them let us ship Weir under Apache-2.0.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // Data, not code: root certificates.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// True if the expression can be satisfied. What cannot be read cannot.
pub(super) fn is_allowed(expression: &str) -> bool {
    // Before SPDX, a slash meant "or".
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    let allowed = alternatives(&mut rest);
    allowed == Some(true) && rest.is_empty()
}

fn alternatives(rest: &mut &[&str]) -> Option<bool> {
    let mut allowed = conjunction(rest)?;
    while let Some((&"OR", tail)) = rest.split_first() {
        *rest = tail;
        allowed |= conjunction(rest)?;
    }
    Some(allowed)
}

fn conjunction(rest: &mut &[&str]) -> Option<bool> {
    let mut allowed = term(rest)?;
    while let Some((&"AND", tail)) = rest.split_first() {
        *rest = tail;
        allowed &= term(rest)?;
    }
    Some(allowed)
}

fn term(rest: &mut &[&str]) -> Option<bool> {
    match **rest {
        ["(", ref inside @ ..] => {
            *rest = inside;
            let allowed = alternatives(rest)?;
            let (&")", tail) = rest.split_first()? else { return None };
            *rest = tail;
            Some(allowed)
        }
        [name, "WITH", exception, ref tail @ ..] => {
            *rest = tail;
            Some(ALLOWED.contains(&format!("{name} WITH {exception}").as_str()))
        }
        [name, ref tail @ ..] if !matches!(name, ")" | "OR" | "AND") => {
            *rest = tail;
            Some(ALLOWED.contains(&name))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_satisfied_or_not() {
        for (expression, expected) in [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0-only", false),
            ("GPL-3.0-only OR MIT", true),
            ("GPL-3.0-only AND MIT", false),
            ("(MIT OR GPL-3.0-only) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true),
            ("GPL-2.0 WITH Linux-syscall-note", false),
            ("ISC AND (Apache-2.0 OR ISC) AND OpenSSL", false),
            ("", false),
            ("(MIT", false),
            ("MIT MIT", false),
        ] {
            assert_eq!(is_allowed(expression), expected, "{expression:?}");
        }
    }
}
