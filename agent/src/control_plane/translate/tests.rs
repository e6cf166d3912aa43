//! Translation against a real istiod, and as tables of behaviours.
