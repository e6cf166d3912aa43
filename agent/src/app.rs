//! Wires everything together: the only module that knows everybody.
