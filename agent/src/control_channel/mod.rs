//! The gRPC channel between an agent and its control plane or CA: TLS with server authentication, HTTP/2, the agent proven by
//! a bearer token inside it.
//!
//! The agent's end: [`ControlAddress`] says where the server is and how it proves itself, [`channel`] connects to it,
//! [`GrpcIssuer`] asks it for certificates. The server's end: [`listener`].

mod address;
mod ca_client;
mod connect;
pub mod listener;
mod lookup;
mod request_metadata;
mod roots;

pub use address::{ControlAddress, InvalidControlAddress};
pub use ca_client::{GrpcIssuer, IMPERSONATED_IDENTITY};
pub use connect::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, channel};
pub use lookup::OwnServices;
pub use request_metadata::{ControlHeaders, TokenError, read_bearer_token};
pub use roots::RootSource;
