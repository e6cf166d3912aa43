//! What rate limits cost a request that is within them.

use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use weir::api::model::authorization::{AccessRequest, HttpRequest};
use weir::api::model::http::RequestHead;
use weir::api::model::mesh::Mesh;
use weir::api::model::rate_limit::{
    CountedBy, CountingLimit, LimitResponse, LimitRule, LimitStates, LimitTarget, LimitedRequest, Measure, Moment,
    NodeStates, Rate, RateLimitObject,
};

use crate::figures::Figures;
use crate::made_up;
use crate::timings::{micros, time_of};

/// A request within three limits of its pod that are about every request: a rate, one of each source, and requests under way.
const BOUND_US: f64 = 1.0;
/// Sources that are known of the limit of each source.
const SOURCES: usize = 1000;

pub(crate) fn measure(criterion: &mut Criterion, figures: &mut Figures) {
    let rate = Rate { requests: 1_000_000, period: Duration::from_secs(1), burst: 1_000_000 };
    let measures = [
        Measure::Rate { rate, by: CountedBy::Pod },
        Measure::Rate { rate, by: CountedBy::Source },
        Measure::Concurrency { most: 1000, by: CountedBy::Pod },
    ];
    let rules = measures.into_iter().zip(["all", "each", "at-once"]);
    let rules = rules.map(|(measure, name)| Arc::new(LimitRule { name: name.into(), groups: Vec::new(), measure }));
    let object = Arc::new(RateLimitObject {
        key: "shop/limits".into(),
        namespace: "shop".into(),
        target: LimitTarget::Namespace,
        limits: rules.collect(),
        dry_run: false,
        response: LimitResponse::default(),
    });
    let counting =
        object.limits.iter().map(|rule| CountingLimit { object: object.clone(), rule: rule.clone(), ports: None });
    let (mut states, mesh) = (LimitStates::<()>::default(), Mesh::default());
    let limits = states.apply(counting.collect(), &mut NodeStates::default());
    let access: Vec<AccessRequest> = (0..SOURCES)
        .map(|number| AccessRequest {
            source: Some(format!("spiffe://cluster.local/ns/shop/sa/client-{number}").parse().expect("it is one")),
            source_ip: made_up::vip(1),
            destination: (made_up::vip(2), 8080).into(),
        })
        .collect();
    let head = RequestHead { method: "GET".into(), target: b"/api/v1/items/7".to_vec(), ..RequestHead::default() };
    let (mut number, mut now) = (0, 0);
    let mut within = || {
        (number, now) = ((number + 7) % SOURCES, now + 2_000);
        let request = LimitedRequest { connection: &access[number], http: &HttpRequest::of(&head), now: Moment(now) };
        mesh.take_limits(&limits, request, || Some(())).refused.is_none()
    };
    assert!((0..2 * SOURCES).all(|_| within()), "all are within the limits");
    let time = time_of(criterion, "rate limits of a request within them", within);
    figures.bounded("three rate limits of a request within them", time.map(micros), "µs", BOUND_US);
}
