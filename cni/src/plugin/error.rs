//! Errors as CNI's specification writes them. The kubelet shows their text in the pod's events: it says what to do.

use std::io;

/// Codes of the specification, and ours from 100 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Code {
    IncompatibleVersion = 1,
    InvalidEnvironment = 4,
    Io = 5,
    Decoding = 6,
    InvalidConfiguration = 7,
    /// Nobody answered: the same call may succeed later.
    TryAgainLater = 11,
    /// The agent refused.
    NotEnrolled = 100,
}

/// Why the call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CniError {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) details: String,
}

impl CniError {
    pub(crate) fn new(code: Code, message: impl Into<String>, details: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: details.into() }
    }

    pub(crate) fn io(what: &str, error: &io::Error) -> Self {
        Self::new(Code::Io, format!("{what}: {error}"), "")
    }

    /// The error as the container runtime reads it.
    pub(crate) fn json(&self, version: &str) -> String {
        let error = serde_json::json!({
            "cniVersion": version,
            "code": self.code as u32,
            "msg": self.message,
            "details": self.details,
        });
        format!("{error}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_written_as_the_specification_says() {
        let error = CniError::new(Code::TryAgainLater, "nobody \"there\"", "wait");
        let json: serde_json::Value = serde_json::from_str(&error.json("1.0.0")).expect("valid");
        let expected = serde_json::json!({
            "cniVersion": "1.0.0", "code": 11, "msg": "nobody \"there\"", "details": "wait"
        });
        assert_eq!(json, expected);
    }
}
