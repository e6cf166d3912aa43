//! The users' language: Istio objects in YAML, checked; errors as file, document, field path and reason.
