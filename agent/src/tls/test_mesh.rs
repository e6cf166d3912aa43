//! A mesh for tests: a root, and identities below it, right and wrong.
