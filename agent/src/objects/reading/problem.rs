//! What is wrong with an object, and where: file, document, object, field, reason.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;

/// One fault of one object, and how to put it right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub file: PathBuf,
    /// Number of the YAML document in its file, from 1; 0 when the whole file is meant.
    pub document: usize,
    /// Line in the file, from 1, where known.
    pub line: Option<usize>,
    /// `Kind namespace/name`, as far as it could be read.
    pub object: Option<String>,
    /// Path of the field, such as `spec.rules[0].from[0].source.ipBlocks[1]`; empty when the whole document is meant.
    pub field: String,
    /// What is wrong and how to put it right.
    pub reason: String,
}

impl Problem {
    /// The kind of object that it is about, for counting; `file` where that could not be read.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.object.as_deref().and_then(|object| object.split(' ').next()).unwrap_or("file")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.document > 0 {
            write!(f, ":{}", self.document)?;
        }
        if let Some(object) = &self.object {
            write!(f, ": {object}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Where an object was defined. Its order, file then document, is the order of definition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct SourceLocation {
    pub file: PathBuf,
    pub document: usize,
    /// Place within a `List`, from 0.
    pub item: usize,
}

impl SourceLocation {
    /// Text that sorts in the order of definition.
    pub(in crate::objects) fn sortable(&self) -> String {
        format!("{}:{:06}:{:06}", self.file.display(), self.document, self.item)
    }
}

/// What was found while one object was read.
#[derive(Debug, Default)]
pub(in crate::objects) struct Report {
    findings: RefCell<Vec<Finding>>,
}

#[derive(Debug, Clone)]
pub(in crate::objects) struct Finding {
    pub(in crate::objects) field: String,
    /// Line within the document.
    pub(in crate::objects) line: usize,
    pub(in crate::objects) reason: String,
    /// False: the object is accepted all the same.
    pub(in crate::objects) rejects: bool,
}

impl Report {
    /// The object must not be used.
    pub(in crate::objects) fn error(&self, field: impl Into<String>, line: usize, reason: impl Into<String>) {
        let finding = Finding { field: field.into(), line, reason: reason.into(), rejects: true };
        self.findings.borrow_mut().push(finding);
    }

    /// The object is accepted, but a part of it has no effect.
    pub(in crate::objects) fn notice(&self, field: impl Into<String>, line: usize, reason: impl Into<String>) {
        let finding = Finding { field: field.into(), line, reason: reason.into(), rejects: false };
        self.findings.borrow_mut().push(finding);
    }

    /// Number of errors so far.
    pub(in crate::objects) fn errors(&self) -> usize {
        self.findings.borrow().iter().filter(|finding| finding.rejects).count()
    }

    /// True if an error was found in the field with this path, or within it.
    pub(in crate::objects) fn has_errors_within(&self, path: &str) -> bool {
        let is_within =
            |field: &str| field.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        self.findings.borrow().iter().any(|finding| finding.rejects && is_within(&finding.field))
    }

    /// The first error, as `field: reason`.
    pub(in crate::objects) fn first_error(&self) -> Option<String> {
        let findings = self.findings.borrow();
        let first = findings.iter().find(|finding| finding.rejects)?;
        Some(format!("{}: {}", first.field, first.reason))
    }

    /// What was accepted and has no effect, as `field: reason`.
    pub(in crate::objects) fn notices(&self) -> Vec<String> {
        let findings = self.findings.borrow();
        let notices = findings.iter().filter(|finding| !finding.rejects);
        notices.map(|finding| format!("{}: {}", finding.field, finding.reason)).collect()
    }

    pub(in crate::objects) fn into_findings(self) -> Vec<Finding> {
        self.findings.into_inner()
    }
}

/// An enum of a message has a value that this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: value {value} is not known")]
pub struct UnknownValue {
    pub field: &'static str,
    pub value: i32,
}
