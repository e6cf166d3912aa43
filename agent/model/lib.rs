//! The agent's model, compiled alone: `cargo test -p weir-model` builds and tests it in seconds, without kernel programs.
//!
//! The agent compiles the same files as `crate::model`. This package adds nothing to them. Its list of dependencies shows that
//! the model is pure.
#![allow(dead_code, reason = "the agent uses what looks unused here")]

#[path = "../src/model/mod.rs"]
pub mod model;
