//! Why a token is not accepted, in the words that Envoy's `jwt_authn` filter answers with.

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("Jwt is expired")]
    Expired,
    #[error("Jwt not yet valid")]
    NotYetValid,
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    Form,
    #[error("Jwt header is an invalid Base64url encoded")]
    HeaderEncoding,
    #[error("Jwt header is an invalid JSON")]
    HeaderJson,
    #[error("Jwt header [alg] field is required and must be a string")]
    NoAlgorithm,
    #[error("Jwt header [alg] is not supported")]
    UnsupportedAlgorithm,
    #[error("Jwt header [kid] field is not a string")]
    KeyId,
    /// Envoy does not look at `crit`; RFC 7515 §4.1.11 has it refused.
    #[error("Jwt header [crit] is not supported")]
    CriticalHeader,
    #[error("Jwt signature is an invalid Base64url encoded")]
    SignatureEncoding,
    #[error("Jwt payload is an invalid Base64url encoded")]
    PayloadEncoding,
    #[error("Jwt payload is an invalid JSON")]
    PayloadJson,
    #[error("Jwt issuer is not configured")]
    UnknownIssuer,
    #[error("Audiences in Jwt are not allowed")]
    Audience,
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    NoMatchingKey,
    #[error("Jwt verification fails")]
    Signature,
    #[error("Jwks remote fetch is failed")]
    NoKeys,
}

impl JwtError {
    /// The status of the answer: the audience is the one thing that another token of the same issuer would not mend.
    #[must_use]
    pub fn status(self) -> u16 {
        if self == Self::Audience { 403 } else { 401 }
    }
}
