//! What the mesh answers, as tables.

mod decisions;
mod lookups;
mod objects;
mod order;
