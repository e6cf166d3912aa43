//! What reads any object, whatever its kind: YAML to a tree of values, a map field by field, names and their rules, and
//! what is found wrong.

mod fields;
pub(super) mod names;
mod place;
mod problem;
pub(super) mod yaml;

pub(super) use fields::{Fields, Item};
pub(super) use place::{Place, Text};
pub(super) use problem::Report;
pub use problem::{Problem, SourceLocation, UnknownValue};
