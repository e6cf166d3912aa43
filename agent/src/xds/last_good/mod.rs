//! The last good configuration on disk, so that an agent that starts without its control plane serves at once.
//!
//! One file of frames, each the changes of one moment: a part of the mesh without the policies of the rest would allow
//! what they forbid, so a frame counts whole or not at all, and only after all before it (its checksums build on theirs).
//! The last frame may be incomplete, as a crash leaves it; with any other doubt the file is ignored. A change costs its
//! own size; now and then, when most of the file has been overtaken, it is written anew.
//!
//! `records` is how a change is written, `frame` how the changes of one moment are, `journal` the file, and `saving` the task
//! that writes it.

mod frame;
mod journal;
mod records;
mod saving;
#[cfg(test)]
mod tests;

pub(super) use journal::{Journal, Loaded, file_in};
pub(super) use records::{Record, Records};
pub(super) use saving::{UnsavedChanges, save_forever};
