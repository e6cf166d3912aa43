//! Which endpoint of a service serves the next connection.
