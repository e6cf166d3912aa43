//! Which pods of this node are enrolled, and all that belongs to one: namespace, listeners, capture.
