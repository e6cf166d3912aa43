use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::limits::NodeLimits;
use crate::proxy::outbound::names::answer::FAILURE_TTL;

const PATIENCE: Duration = Duration::from_secs(20);
const TTL: Duration = Duration::from_secs(7);

fn name(text: &str) -> Arc<str> {
    text.into()
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("tests write addresses")
}

/// An IPv4 address that a name has.
fn found(text: &str) -> Known {
    Known::found(Vec::new(), vec![ip(text)], TTL)
}

/// Names of which `known` says at once what it knows. Lookups of the others wait for the token. How many were asked for.
fn names(
    known: impl Fn(&str) -> Option<Known> + Send + Sync + 'static,
) -> (Names, Arc<AtomicUsize>, CancellationToken) {
    let (asked, release) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let (count, wait) = (asked.clone(), release.clone());
    let names = Names::new(Arc::new(move |name| {
        count.fetch_add(1, Ordering::Relaxed);
        let (known, wait) = (known(&name), wait.clone());
        Box::pin(async move {
            if let Some(known) = known {
                return known;
            }
            wait.cancelled().await;
            found("192.0.2.2")
        })
    }));
    (names, asked, release)
}

#[tokio::test]
async fn all_addresses_are_known_and_asked_for_once_within_their_time() {
    let both = || Known::found(vec![ip("2001:db8::1")], vec![ip("192.0.2.1")], TTL);
    let (names, asked, _) = names(move |name| {
        Some(match name {
            "both" => both(),
            "none" => Known::no_address(Some(TTL)),
            _ => Known::failed("no server"),
        })
    });
    let pod = &PodLookups::new(&NodeLimits::new(|_| 4).for_pod());
    for _ in 0..3 {
        let expected: Answer = Ok([ip("2001:db8::1"), ip("192.0.2.1")].into());
        assert_eq!(names.addresses(&name("both"), pod, PATIENCE).await, expected);
        assert_eq!(names.addresses(&name("none"), pod, PATIENCE).await, Err(LookupError::NoAddress));
        let failed = LookupError::Failed("no server".into());
        assert_eq!(names.addresses(&name("lost"), pod, PATIENCE).await, Err(failed));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    tokio::time::pause();
    tokio::time::advance(FAILURE_TTL).await;
    let known = |text| names.known(text).is_some();
    assert_eq!([known("lost"), known("both"), known("none")], [false, true, true]);
    tokio::time::advance(TTL).await;
    assert_eq!([known("lost"), known("both"), known("none")], [false; 3]);
}

#[tokio::test]
async fn the_last_good_answer_may_be_used_for_some_time_after_its_ttl() {
    let asked = AtomicUsize::new(0);
    let (names, _, _) = names(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Some(found("192.0.2.1")),
        _ => Some(Known::failed("the server fails")),
    });
    let pod = &PodLookups::new(&NodeLimits::new(|_| 4).for_pod());
    let good: Answer = Ok([ip("192.0.2.1")].into());
    tokio::time::pause();
    assert_eq!(names.addresses(&name("a"), pod, PATIENCE).await, good);
    tokio::time::advance(TTL + LAST_ANSWER_TTL - FAILURE_TTL).await;
    assert_eq!(names.addresses(&name("a"), pod, PATIENCE).await, good, "a failure");
    tokio::time::advance(FAILURE_TTL).await;
    let failed = LookupError::Failed("the server fails".into());
    assert_eq!(names.addresses(&name("a"), pod, PATIENCE).await, Err(failed), "too old");
}

#[tokio::test]
async fn a_resolver_that_is_silent_holds_so_many_lookups_and_no_other_name() {
    let (names, asked, release) = names(|name| (name == "prompt").then(|| found("192.0.2.1")));
    let node = NodeLimits::new(|_| 2);
    let limits = node.for_pod();
    let (pod, other) = (&PodLookups::new(&limits), &PodLookups::new(&node.for_pod()));
    let short = Duration::from_millis(50);
    for silent in ["a", "b", "c", "a", "b"] {
        assert_eq!(names.addresses(&name(silent), pod, short).await, Err(LookupError::TimedOut(short)), "{silent}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2, "the pod's limit, though its connections have given up");
    assert_eq!(limits.reached()[0].limit, "name_lookups");
    assert_eq!(names.addresses(&name("prompt"), other, PATIENCE).await, Ok([ip("192.0.2.1")].into()), "another pod");
    release.cancel();
    assert_eq!(names.addresses(&name("c"), pod, PATIENCE).await, Ok([ip("192.0.2.2")].into()));
}

#[tokio::test]
async fn a_name_that_was_known_is_reached_while_others_hold_all_lookups_and_when_its_own_fails() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let (names, _, release) = names(move |name| match name {
        "known" if count.fetch_add(1, Ordering::Relaxed) == 0 => Some(found("192.0.2.1")),
        "known" => Some(Known::failed("the server fails")),
        _ => None,
    });
    let node = NodeLimits::new(|_| 64);
    let (hostile, other) = (&PodLookups::new(&node.for_pod()), &PodLookups::new(&node.for_pod()));
    let known: Answer = Ok([ip("192.0.2.1")].into());
    assert_eq!(names.addresses(&name("known"), other, PATIENCE).await, known);
    for silent in 0..=MAX_SHARED_LOOKUPS {
        let _ = names.addresses(&name(&silent.to_string()), hostile, Duration::from_millis(1)).await;
    }
    // The other pod's own one, too.
    let _ = names.addresses(&name("slow"), other, Duration::from_millis(1)).await;
    names.known.lock().remove("known");
    assert_eq!(names.addresses(&name("known"), other, PATIENCE).await, known, "its refresh waits for a lookup");
    release.cancel();
    names.known.lock().remove("known");
    assert_eq!(names.addresses(&name("known"), other, PATIENCE).await, known, "its refresh fails");
    assert!(asked.load(Ordering::Relaxed) > 1, "it was asked for anew");
}

#[tokio::test]
async fn pods_that_hold_all_shared_lookups_leave_each_other_pod_one_of_its_own() {
    let (names, asked, _release) = names(|name| (name == "prompt").then(|| found("192.0.2.1")));
    let node = NodeLimits::new(|_| 16);
    for pod in 0..8 {
        let hostile = PodLookups::new(&node.for_pod());
        for silent in 0..16 {
            let _ = names.addresses(&name(&format!("{pod}-{silent}")), &hostile, Duration::from_millis(1)).await;
        }
    }
    assert_eq!(asked.load(Ordering::Relaxed), MAX_SHARED_LOOKUPS + 8, "all, and one of each pod");
    let other = PodLookups::new(&node.for_pod());
    assert_eq!(names.addresses(&name("prompt"), &other, PATIENCE).await, Ok([ip("192.0.2.1")].into()));
}
