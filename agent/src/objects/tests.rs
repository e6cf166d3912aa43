//! Behaviours of the language, as tables.
