//! An error together with what caused it, on one line: the outermost error rarely says what happened.

use std::error::Error;

/// The error's text, then those of its causes, outermost first, separated by ": ". A cause that the text before it already
/// ends with is not repeated.
#[must_use]
pub(crate) fn with_causes(error: &dyn Error) -> String {
    append_causes(error.to_string(), error.source())
}

/// As [`with_causes`], for an error whose own text is not what its `Display` says (a gRPC status).
#[must_use]
pub(crate) fn append_causes(mut text: String, mut cause: Option<&dyn Error>) -> String {
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let (text, below) = texts.split_first().unwrap();
        Layer { text, source: (!below.is_empty()).then(|| Box::new(layers(below))) }
    }

    #[test]
    fn causes_follow_in_order_and_none_is_repeated() {
        for (texts, line) in [
            (["a", "b", "c"].as_slice(), "a: b: c"),
            (&["a"], "a"),
            (&["request: refused", "refused"], "request: refused"),
            (&["refused, request", "refused"], "refused, request: refused"),
        ] {
            assert_eq!(with_causes(&layers(texts)), line);
        }
        assert_eq!(append_causes("x".to_owned(), Some(&layers(&["a", "b"]))), "x: a: b");
    }
}
