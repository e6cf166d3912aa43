//! What must become of what was sent.

/// What must become of a message between its sender and its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It means one thing, and arrives as that.
    Arrives,
    /// It arrives as one thing, or is refused.
    Either,
    /// Readers could understand it in more than one way, or not at all: it never arrives.
    Refused,
}
