//! Which endpoints are not used for a while because of how they answered: Envoy's outlier detection, as far as Istio uses it
//! (errors in a row; neither success rate nor failure percentage).

use std::time::{Duration, Instant};

use super::destination::OutlierDetection;

/// Bounds the time of one ejection, unless the base time is longer (Envoy's `max_ejection_time`).
const EJECTION_MAX: Duration = Duration::from_secs(300);

/// What an endpoint did with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointResult {
    /// It answered with this status of HTTP; for gRPC, with [`EndpointResult::of_grpc`].
    Status(u16),
    /// There was no connection to it.
    ConnectFailure,
    /// It did not answer in time.
    Timeout,
    /// It reset the stream or closed the connection before the response.
    Reset,
}

impl EndpointResult {
    /// The status that a `grpc-status` stands for, as Envoy counts it.
    #[must_use]
    pub fn of_grpc(status: u8) -> Self {
        Self::Status(match status {
            0 => 200,
            1 => 499,
            3 | 9 | 11 => 400,
            4 => 504,
            5 => 404,
            6 | 10 => 409,
            7 => 403,
            8 => 429,
            12 => 501,
            14 => 503,
            16 => 401,
            _ => 500,
        })
    }

    /// Whether it has too much to do, as it says: no failure, but a load.
    #[must_use]
    pub fn is_overload(self) -> bool {
        self == Self::Status(429)
    }

    /// The status that a failure counts as where failures are not counted apart.
    fn status(self) -> u16 {
        match self {
            Self::Status(status) => status,
            Self::Timeout => 504,
            Self::ConnectFailure | Self::Reset => 503,
        }
    }
}

/// How many endpoints of a destination there are, and how many of them are ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Population {
    pub endpoints: usize,
    pub ejected: usize,
}

impl Population {
    /// Counts endpoints, of which each is ejected or not.
    #[must_use]
    pub fn of(are_ejected: impl Iterator<Item = bool>) -> Self {
        are_ejected.fold(Self { endpoints: 0, ejected: 0 }, |Self { endpoints, ejected }, is_ejected| Self {
            endpoints: endpoints + 1,
            ejected: ejected + usize::from(is_ejected),
        })
    }
}

/// What is remembered of one endpoint of a destination.
#[derive(Debug, Clone, Default)]
pub struct OutlierState {
    /// Errors in a row: of status 5xx, of those 502 to 504, and without an answer.
    errors_5xx: u32,
    gateway_errors: u32,
    local_errors: u32,
    /// How often it was ejected of late; it falls by one with each interval without ejection.
    ejections: u32,
    ejected_until: Option<Instant>,
}

impl OutlierState {
    /// Whether it is not to be used.
    #[must_use]
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }

    /// Counts a result. Returns whether the endpoint is ejected because of it.
    pub fn record(
        &mut self,
        result: EndpointResult,
        detection: &OutlierDetection,
        population: Population,
        now: Instant,
    ) -> bool {
        let is_one_too_many = if detection.splits_local_origin {
            self.count_apart(result, detection)
        } else {
            self.count_status(result.status(), detection)
        };
        is_one_too_many && !self.is_ejected(now) && self.eject(detection, population, now)
    }

    /// Failures without an answer count for themselves; an answer of whatever status ends their row.
    fn count_apart(&mut self, result: EndpointResult, detection: &OutlierDetection) -> bool {
        if let EndpointResult::Status(status) = result {
            self.local_errors = 0;
            return self.count_status(status, detection);
        }
        reaches(&mut self.local_errors, detection.consecutive_local_origin_failures)
    }

    fn count_status(&mut self, status: u16, detection: &OutlierDetection) -> bool {
        if !(500..600).contains(&status) {
            (self.errors_5xx, self.gateway_errors) = (0, 0);
            return false;
        }
        let by_gateway = if matches!(status, 502..=504) {
            reaches(&mut self.gateway_errors, detection.consecutive_gateway_errors)
        } else {
            self.gateway_errors = 0;
            false
        };
        reaches(&mut self.errors_5xx, detection.consecutive_5xx) || by_gateway
    }

    fn eject(&mut self, detection: &OutlierDetection, population: Population, now: Instant) -> bool {
        let share = (population.ejected + 1) * 100;
        if share > population.endpoints * usize::from(detection.max_ejection_percent) {
            return false;
        }
        if let Some(until) = self.ejected_until {
            let intervals = now.saturating_duration_since(until).as_nanos() / detection.interval.as_nanos().max(1);
            self.ejections = self.ejections.saturating_sub(u32::try_from(intervals).unwrap_or(u32::MAX));
        }
        self.ejections = self.ejections.saturating_add(1);
        let base = detection.base_ejection_time;
        self.ejected_until = Some(now + base.saturating_mul(self.ejections).min(EJECTION_MAX.max(base)));
        true
    }
}

/// Counts one more in a row, and starts anew where that is as many as the limit. 0 is no limit.
fn reaches(counter: &mut u32, limit: u32) -> bool {
    *counter = counter.saturating_add(1);
    let reached = limit > 0 && *counter >= limit;
    if reached {
        *counter = 0;
    }
    reached
}

impl OutlierDetection {
    /// Whether ejections count, where each of a destination's endpoints is ejected or not: not once so few others are left that
    /// all are used.
    pub fn ejections_count(&self, are_ejected: impl Iterator<Item = bool>) -> bool {
        let Population { endpoints, ejected } = Population::of(are_ejected);
        ejected > 0 && !self.panics(endpoints - ejected, endpoints)
    }

    /// Whether so few endpoints are healthy that all of them are used, healthy or not (Envoy's panic threshold).
    #[must_use]
    pub fn panics(&self, healthy: usize, endpoints: usize) -> bool {
        healthy * 100 < endpoints * usize::from(self.min_health_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ejections_count_until_too_few_others_are_left() {
        for (percent, are_ejected, expected) in [
            (50, &[][..], false),
            (50, &[false, false], false),
            (50, &[true, false], true),
            (50, &[true, true, false], false),
            (0, &[true, true, false], true),
            (0, &[true], true),
            (100, &[true, false, false], false),
        ] {
            let detection = OutlierDetection { min_health_percent: percent, ..ALL };
            assert_eq!(detection.ejections_count(are_ejected.iter().copied()), expected, "{percent} {are_ejected:?}");
        }
    }

    const ALL: OutlierDetection = OutlierDetection {
        consecutive_5xx: 5,
        consecutive_gateway_errors: 0,
        splits_local_origin: false,
        consecutive_local_origin_failures: 5,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_percent: 100,
        min_health_percent: 0,
    };
    const THREE: Population = Population { endpoints: 3, ejected: 0 };

    /// After which of the results, counted from 1, an endpoint is ejected.
    fn ejecting(detection: &OutlierDetection, results: &[EndpointResult]) -> Option<usize> {
        let (mut state, now) = (OutlierState::default(), Instant::now());
        let mut numbered = (1..).zip(results);
        numbered.find(|(_, result)| state.record(**result, detection, THREE, now)).map(|(number, _)| number)
    }

    #[test]
    fn errors_in_a_row_eject() {
        use EndpointResult::{ConnectFailure, Reset, Status, Timeout};
        let gateway = OutlierDetection { consecutive_gateway_errors: 2, ..ALL };
        let off = OutlierDetection { consecutive_5xx: 0, ..ALL };
        let split = OutlierDetection { splits_local_origin: true, consecutive_local_origin_failures: 2, ..ALL };
        let ten = OutlierDetection { max_ejection_percent: 10, ..ALL };
        for (what, detection, results, expected) in [
            ("five errors", ALL, &[Status(500), Status(503), ConnectFailure, Timeout, Reset][..], Some(5)),
            ("four", ALL, &[Status(500); 4], None),
            (
                "an answer between them",
                ALL,
                &[Status(500), Status(500), Status(500), Status(500), Status(200), Status(500)],
                None,
            ),
            (
                "a client's error is an answer",
                ALL,
                &[Status(500), Status(500), Status(500), Status(500), Status(404), Status(500)],
                None,
            ),
            ("errors of gateways", gateway, &[Status(502), Status(504)], Some(2)),
            ("another error between them", gateway, &[Status(502), Status(500), Status(504)], None),
            ("no connections are such errors", gateway, &[ConnectFailure, ConnectFailure], Some(2)),
            ("switched off", off, &[Status(500); 20], None),
            ("split: no connections", split, &[ConnectFailure, Reset], Some(2)),
            ("split: an answer between them", split, &[ConnectFailure, Status(500), Reset], None),
            ("split: answers", split, &[Status(500); 5], Some(5)),
            ("ten per cent of three", ten, &[Status(500); 20], None),
        ] {
            assert_eq!(ejecting(&detection, results), expected, "{what}");
        }
    }

    #[test]
    fn each_further_ejection_takes_longer_and_quiet_times_shorten_it() {
        let start = Instant::now();
        let detection = OutlierDetection { consecutive_5xx: 1, ..ALL };
        let mut state = OutlierState::default();
        let mut seconds_of = |at: u64| {
            let now = start + Duration::from_secs(at);
            assert!(state.record(EndpointResult::Status(500), &detection, THREE, now), "ejected at {at}");
            assert!(!state.record(EndpointResult::Status(500), &detection, THREE, now), "it is ejected already");
            let until = state.ejected_until.expect("it is");
            assert_eq!((state.is_ejected(until - Duration::from_nanos(1)), state.is_ejected(until)), (true, false));
            (until - now).as_secs()
        };
        assert_eq!([seconds_of(0), seconds_of(30), seconds_of(91)], [30, 60, 90]);
        // 25 s after the end of the third one: two intervals.
        assert_eq!(seconds_of(206), 60);
        assert_eq!([seconds_of(266), seconds_of(356), seconds_of(476)], [90, 120, 150]);
        for (at, expected) in [(626, 180), (806, 210), (1016, 240), (1256, 270), (1526, 300), (1826, 300)] {
            assert_eq!(seconds_of(at), expected);
        }
    }

    #[test]
    fn not_more_than_a_share_is_ejected() {
        let detection = OutlierDetection { consecutive_5xx: 1, max_ejection_percent: 50, ..ALL };
        for (endpoints, ejected, expected) in [(2, 0, true), (2, 1, false), (4, 1, true), (3, 1, false), (1, 0, false)]
        {
            let mut state = OutlierState::default();
            let population = Population { endpoints, ejected };
            let is_ejected = state.record(EndpointResult::Status(500), &detection, population, Instant::now());
            assert_eq!(is_ejected, expected, "{population:?}");
        }
    }

    #[test]
    fn all_are_used_where_too_few_are_healthy() {
        for (percent, healthy, endpoints, expected) in
            [(0, 0, 3, false), (50, 1, 3, true), (50, 2, 4, false), (100, 2, 3, true), (50, 0, 0, false)]
        {
            let detection = OutlierDetection { min_health_percent: percent, ..ALL };
            assert_eq!(detection.panics(healthy, endpoints), expected, "{percent} {healthy}/{endpoints}");
        }
    }

    #[test]
    fn statuses_of_grpc_count_as_those_of_http() {
        for (status, expected) in
            [(0, 200), (1, 499), (2, 500), (4, 504), (8, 429), (13, 500), (14, 503), (16, 401), (99, 500)]
        {
            assert_eq!(EndpointResult::of_grpc(status), EndpointResult::Status(expected));
        }
    }
}
