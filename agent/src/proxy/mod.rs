//! Bytes: outbound, inbound, and the HBONE transport between them.
