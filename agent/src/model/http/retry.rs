//! Whether a request is tried again after what became of an attempt: Envoy's conditions of `x-envoy-retry-on` and
//! `x-envoy-retry-grpc-on`.

use std::time::Duration;

use super::grpc::grpc_status;
use super::head::ResponseHead;
use super::policies::{BackOff, RetryOn, RetryPolicy};

/// What an attempt came to that did not bring a response for the client.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// No connection to the endpoint: nothing of the request was sent.
    ConnectFailure,
    /// The endpoint says that it has not looked at the request.
    RefusedStream,
    /// The endpoint ended the connection or the stream, or said nothing of sense, before it responded.
    /// `is_request_sent`: whether all of the request had been sent by then.
    Reset { is_request_sent: bool },
    /// The time of the attempt was over.
    PerTryTimeout,
    /// A response came; its content is not looked at.
    Response(&'a ResponseHead),
}

impl RetryPolicy {
    /// Whether another attempt is to follow, as far as the outcome of this one decides.
    #[must_use]
    pub fn wants_retry(&self, outcome: Outcome<'_>) -> bool {
        let on = |condition| self.on.has(condition);
        match outcome {
            Outcome::ConnectFailure => {
                on(RetryOn::CONNECT_FAILURE) || on(RetryOn::RESET) || on(RetryOn::FIVE_XX) || on(RetryOn::GATEWAY_ERROR)
            }
            Outcome::RefusedStream => on(RetryOn::REFUSED_STREAM) || on(RetryOn::RESET) || on(RetryOn::FIVE_XX),
            Outcome::Reset { is_request_sent } => {
                on(RetryOn::RESET)
                    || on(RetryOn::FIVE_XX)
                    || on(RetryOn::GATEWAY_ERROR)
                    || (!is_request_sent && on(RetryOn::RESET_BEFORE_REQUEST))
            }
            // Envoy answers 504 then, and asks the conditions as for such a response.
            Outcome::PerTryTimeout => {
                on(RetryOn::FIVE_XX) || on(RetryOn::GATEWAY_ERROR) || on(RetryOn::RESET) || self.has_code(504)
            }
            Outcome::Response(head) => self.wants_retry_after(head),
        }
    }

    fn wants_retry_after(&self, head: &ResponseHead) -> bool {
        let on = |condition| self.on.has(condition);
        let by_status = match head.status {
            status if self.has_code(status) => true,
            409 if on(RetryOn::RETRIABLE_4XX) => true,
            502..=504 => on(RetryOn::GATEWAY_ERROR) || on(RetryOn::FIVE_XX),
            500..=599 => on(RetryOn::FIVE_XX),
            _ => false,
        };
        by_status
            || (on(RetryOn::ENVOY_RATELIMITED) && head.fields.contains("x-envoy-ratelimited"))
            || self.by_grpc(head)
    }

    /// A response of gRPC that consists of trailers alone has its status in the head.
    fn by_grpc(&self, head: &ResponseHead) -> bool {
        let condition = match grpc_status(&head.fields) {
            Some(1) => RetryOn::CANCELLED,
            Some(4) => RetryOn::DEADLINE_EXCEEDED,
            Some(8) => RetryOn::RESOURCE_EXHAUSTED,
            Some(13) => RetryOn::INTERNAL,
            Some(14) => RetryOn::UNAVAILABLE,
            _ => return false,
        };
        self.on.has(condition)
    }

    fn has_code(&self, status: u16) -> bool {
        self.on.has(RetryOn::RETRIABLE_STATUS_CODES) && self.codes.contains(&status)
    }
}

impl BackOff {
    /// How long to wait before a retry, the first being 1: up to the base, doubled with each one, and never more than the maximum.
    /// `random` must be uniform.
    #[must_use]
    pub fn pause(self, retry: u32, random: u64) -> Duration {
        let doubled = 1_u32.checked_shl(retry.saturating_sub(1)).unwrap_or(u32::MAX);
        let longest = self.base.saturating_mul(doubled).min(self.max);
        let share = random as f64 / u64::MAX as f64;
        longest.mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(on: &[RetryOn], codes: &[u16]) -> RetryPolicy {
        RetryPolicy {
            attempts: 2,
            per_try_timeout: None,
            on: on.iter().fold(RetryOn::default(), |all, one| all.and(*one)),
            codes: codes.to_vec(),
            back_off: BackOff::default(),
            avoids_tried_endpoints: true,
        }
    }

    fn response(status: u16, fields: &[(&'static str, &'static str)]) -> ResponseHead {
        ResponseHead { status, fields: fields.iter().copied().collect(), ..ResponseHead::default() }
    }

    #[test]
    fn conditions_say_what_is_tried_again() {
        let istio =
            policy(&[RetryOn::CONNECT_FAILURE, RetryOn::REFUSED_STREAM, RetryOn::UNAVAILABLE, RetryOn::CANCELLED], &[]);
        let five_xx = policy(&[RetryOn::FIVE_XX], &[]);
        let gateway = policy(&[RetryOn::GATEWAY_ERROR], &[]);
        let codes = policy(&[RetryOn::RETRIABLE_STATUS_CODES], &[418, 504]);
        let reset = policy(&[RetryOn::RESET], &[]);
        let before = policy(&[RetryOn::RESET_BEFORE_REQUEST], &[]);
        let (r500, r503, r418) = (response(500, &[]), response(503, &[]), response(418, &[]));
        let (r409, ok) = (response(409, &[]), response(200, &[]));
        let unavailable = response(200, &[("grpc-status", "14")]);
        let internal = response(200, &[("grpc-status", "13")]);
        for (name, outcome, expected) in [
            ("no connection", Outcome::ConnectFailure, [true, true, true, false, true, false]),
            ("refused", Outcome::RefusedStream, [true, true, false, false, true, false]),
            ("reset", Outcome::Reset { is_request_sent: true }, [false, true, true, false, true, false]),
            ("reset before", Outcome::Reset { is_request_sent: false }, [false, true, true, false, true, true]),
            ("too slow", Outcome::PerTryTimeout, [false, true, true, true, true, false]),
            ("500", Outcome::Response(&r500), [false, true, false, false, false, false]),
            ("503", Outcome::Response(&r503), [false, true, true, false, false, false]),
            ("418", Outcome::Response(&r418), [false, false, false, true, false, false]),
            ("409", Outcome::Response(&r409), [false; 6]),
            ("200", Outcome::Response(&ok), [false; 6]),
            ("UNAVAILABLE", Outcome::Response(&unavailable), [true, false, false, false, false, false]),
            ("INTERNAL", Outcome::Response(&internal), [false; 6]),
        ] {
            let seen = [&istio, &five_xx, &gateway, &codes, &reset, &before].map(|policy| policy.wants_retry(outcome));
            assert_eq!(seen, expected, "{name}");
        }
    }

    #[test]
    fn pauses_grow_up_to_a_maximum_and_are_drawn_by_chance() {
        let back_off = BackOff::from_base(Duration::from_millis(20));
        for (retry, random, expected) in [
            (1, u64::MAX, 20),
            (2, u64::MAX, 40),
            (3, u64::MAX, 80),
            (9, u64::MAX, 200),
            (99, u64::MAX, 200),
            (3, 0, 0),
        ] {
            assert_eq!(back_off.pause(retry, random), Duration::from_millis(expected), "retry {retry}");
        }
    }
}
