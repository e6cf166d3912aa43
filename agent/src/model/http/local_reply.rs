//! Answers that are made here and not by an application, and why: Envoy's response flags, statuses and bodies.

/// Why a request was answered, ended or retried as it was: Envoy's `%RESPONSE_FLAGS%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HttpResponseFlag {
    /// NR: no route matches.
    NoRoute,
    /// NC: the destination of the route does not exist.
    NoCluster,
    /// UH: no healthy endpoint.
    NoHealthyUpstream,
    /// UF: no connection to the upstream.
    UpstreamConnectionFailure,
    /// UC: the upstream closed the connection.
    UpstreamConnectionTermination,
    /// UR: the upstream reset the stream.
    UpstreamRemoteReset,
    /// UO: a limit of the pool (circuit breaker).
    UpstreamOverflow,
    /// UT: the upstream took too long.
    UpstreamRequestTimeout,
    /// URX: all retries failed as well.
    UpstreamRetryLimitExceeded,
    /// UPE: the upstream's message is malformed.
    UpstreamProtocolError,
    /// DC: the client ended the request.
    DownstreamConnectionTermination,
    /// DPE: the client's message is malformed.
    DownstreamProtocolError,
    /// LR: the stream was reset here.
    LocalReset,
    /// SI: nothing moved for too long.
    StreamIdleTimeout,
    /// FI: a fault aborted it.
    FaultInjected,
    /// DI: a fault delayed it.
    DelayInjected,
    /// RL: rate limit.
    RateLimited,
    /// UAEX: external authorization refused it.
    UnauthorizedExternalService,
    /// RLSE: a rate limit service gave no answer.
    RateLimitServiceError,
}
