//! The process's log: filter, form, and changing the filter while running.
