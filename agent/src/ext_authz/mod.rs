//! The words of external authorizers: what one is told of a request, and what its answer means, over gRPC
//! (`envoy.service.auth.v3`) and over HTTP, as Envoy's filter `ext_authz` has it. Nothing is sent here.
//!
//! `question` is what is known of the request. `grpc` and `http` put it into their protocols and read the answers; `answer` is what
//! these come to, `changes` what an authorizer may change about a request and its response.

mod answer;
mod changes;
mod grpc;
mod http;
mod question;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Refusal, UnusableAnswer};
pub use changes::FieldChange;
pub use grpc::{CHECK_METHOD, answer_of_message, message};
pub use http::{answer_of_response, request};
pub use question::{Content, Peer, Question};
