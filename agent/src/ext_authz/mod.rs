//! What is said between Weir and an external authorizer: what one is told of a request, and what its answer means, over gRPC
//! (`envoy.service.auth.v3`) and over HTTP, as Envoy's filter `ext_authz` has it. Nothing is sent here.
//!
//! `question` is what is known of the request. `grpc` and `http` put it into their protocols and read the answers; `answer` is what
//! these come to, and what an authorizer may change about a request and its response.
//!
//! | | over gRPC | over HTTP |
//! |---|---|---|
//! | method, path, authority | all of them | those of the authorizer's request; the path behind a prefix |
//! | fields of the request | all of them, as text | `authorization`, and those that the provider names |
//! | a client that sends `x-envoy-auth-partial-body` itself | not shown | not shown |
//! | both ends | addresses, and the SPIFFE IDs of their certificates | |
//! | when the request came, and its `x-request-id` | yes | where the provider names the field |
//! | content | as text or as bytes | as the content of the authorizer's request |
//! | whether content is a part | `x-envoy-auth-partial-body` among the fields | the same field |
//! | allows | status `OK` | 200 |
//! | says nothing | an error of its own, or `error_response` | a status from 500 on |
//! | denies | any other status, with a response to give | any other status, with its fields and content |
//! | changes the request | sets, appends and removes fields, and parameters of the query | sets fields that the provider names, and removes some |
//! | names the fields it removes in | `headers_to_remove` | `x-envoy-auth-headers-to-remove` |
//! | changes the response | sets and adds fields | adds fields that the provider names |
//! | dynamic metadata | has no use here | |
//! | text that is not UTF-8 | each byte of it is `!`, as with Envoy | as it is |
//! | several fields of one name | their values in one, with commas | as they are |
//!
//! What no authorizer changes is where the request goes and how it is framed: `:path`, `host`, `content-length` and their like. An
//! answer over gRPC that asks for it counts as none; over HTTP these fields are about the answer itself, and are left out.
//!
//! How long an answer may be, and how long it may take, is up to whoever asks; so is what becomes of a request of which an authorizer
//! says nothing. An answer that cannot be used is an error of its own kind (`UnusableAnswer`), which names what is wrong with it.

mod answer;
mod grpc;
mod http;
mod question;

pub use answer::{Answer, FieldChange, Refusal, UnusableAnswer};
pub use grpc::{CHECK_METHOD, answer_of_message, message};
pub use http::{answer_of_response, request};
pub use question::{Content, Peer, Question};

#[cfg(test)]
mod tests;
