//! Expressions of Telemetry objects: the part of CEL that filters of access logs and values of tags are written in. They are
//! compiled once, with their types checked; evaluating one can neither fail nor take long.
//!
//! Supported are text, whole numbers, `true` and `false`, [attributes](super::attribute), `== != < <= > >=`, `&& || !`, `? :`, `+`,
//! `in` over a list of literals or over headers, `has()`, `string()`, `int()`, and of text `startsWith`, `endsWith`, `contains` and
//! `matches`. As in CEL, an attribute that does not exist makes what depends on it an error: such a filter does not hold, and such a
//! tag is `unknown`.

use std::borrow::Cow;
use std::sync::Arc;

use super::attribute::{Facts, TextAttribute};
use super::node::{Node, Value, text_of};
use super::syntax::{Parser, Type};

/// The value of a tag that has none, as everywhere in Istio.
pub const UNKNOWN: &str = "unknown";

/// An expression, compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    source: Arc<str>,
    node: Node,
}

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expression {expression:?}: {reason}")]
pub struct ExpressionError {
    pub expression: String,
    pub reason: String,
}

impl Expression {
    /// Compiles the filter of an access log.
    ///
    /// # Errors
    /// When it is not understood, or is neither true nor false.
    pub fn filter(source: &str) -> Result<Self, ExpressionError> {
        let (expression, found) = Self::compile(source)?;
        match found {
            Type::Flag => Ok(expression),
            other => Err(error(source, format!("a filter must be true or false, but this is {}", other.name()))),
        }
    }

    /// Compiles the value of a tag.
    ///
    /// # Errors
    /// When it is not understood.
    pub fn tag(source: &str) -> Result<Self, ExpressionError> {
        Self::compile(source).map(|(expression, _)| expression)
    }

    fn compile(source: &str) -> Result<(Self, Type), ExpressionError> {
        let (node, found) = Parser::parse(source).map_err(|reason| error(source, reason))?;
        Ok((Self { source: source.into(), node }, found))
    }

    /// As it was written.
    #[cfg(test)]
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether a filter holds.
    #[must_use]
    pub fn holds(&self, facts: &impl Facts) -> bool {
        self.node.value(facts) == Some(Value::Flag(true))
    }

    /// The value of a tag; `None` where it has none.
    #[must_use]
    pub fn text<'a>(&'a self, facts: &'a impl Facts) -> Option<Cow<'a, str>> {
        Some(text_of(self.node.value(facts)?))
    }

    /// Calls `found` with each attribute of text that it names.
    pub fn each_text_attribute(&self, found: &mut impl FnMut(&TextAttribute)) {
        self.node.each_text_attribute(found);
    }
}

fn error(source: &str, reason: String) -> ExpressionError {
    ExpressionError { expression: source.to_owned(), reason }
}
