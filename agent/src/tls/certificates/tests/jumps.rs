//! Clocks that jump, and trouble that lasts.

use crate::tls::certificates::cache::GET_TIMEOUT;
use crate::tls::certificates::options::Clock;
use std::sync::atomic::AtomicI64;

use super::*;

/// A wall clock that a test can set wrong, by so many seconds.
fn wrong_by(seconds: &Arc<AtomicI64>) -> Clock {
    let (right, seconds) = (clock(), seconds.clone());
    Arc::new(move || {
        let wrong = seconds.load(Ordering::Relaxed);
        let by = Duration::from_secs(wrong.unsigned_abs());
        if wrong < 0 { right() - by } else { right() + by }
    })
}

fn certificates(ca: &Arc<TestCa>, clock: Clock) -> Certificates {
    let options = CertificateOptions { lifetime: LIFETIME, clock, ..CertificateOptions::default() };
    Certificates::start(CertificateSource::Issuer(ca.clone()), options)
}

#[tokio::test(start_paused = true)]
async fn a_clock_put_forward_costs_one_request_and_no_wait() {
    let (ca, wrong) = (TestCa::new(), Arc::new(AtomicI64::new(0)));
    let certificates = certificates(&ca, wrong_by(&wrong));
    let first = certificates.get(&id(CART)).await.unwrap();
    // As long as the authority has the time, what it issues is of no use.
    wrong.store(21 * 3600, Ordering::Relaxed);
    let start = Instant::now();
    let refused = certificates.get(&id(CART)).await.unwrap_err();
    assert!(refused.reason.contains("expired"), "{refused}");
    assert!(start.elapsed() <= GET_TIMEOUT);
    // With an authority whose clock is put forward too, the first to ask gets the new one.
    wrong.store(0, Ordering::Relaxed);
    assert!(Arc::ptr_eq(&first, &certificates.get(&id(CART)).await.unwrap()), "the first one is valid after all");
}

#[tokio::test(start_paused = true)]
async fn whoever_finds_an_expired_certificate_has_it_renewed_at_once() {
    let wrong = Arc::new(AtomicI64::new(0));
    let ca = TestCa::with_clock(wrong_by(&wrong));
    let certificates = certificates(&ca, ca.clock.clone());
    let first = certificates.get(&id(CART)).await.unwrap();
    pass(HOUR).await;
    assert_eq!(ca.asked(), 1);
    wrong.store(21 * 3600, Ordering::Relaxed);
    let start = Instant::now();
    let second = certificates.get(&id(CART)).await.unwrap();
    assert!(second.not_after > first.not_after);
    assert_eq!((ca.asked(), start.elapsed()), (2, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_clock_put_back_does_not_put_off_the_renewal() {
    let (ca, wrong) = (TestCa::new(), Arc::new(AtomicI64::new(0)));
    let certificates = certificates(&ca, wrong_by(&wrong));
    certificates.get(&id(CART)).await.unwrap();
    pass(HOUR).await;
    // A minute, so that what the authority issues does not lie in the future.
    wrong.store(-60, Ordering::Relaxed);
    pass(LIFETIME.mul_f64(0.56) - HOUR).await;
    assert_eq!(ca.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn trouble_that_lasts_is_not_waited_for_again() {
    let ca = TestCa::new();
    ca.set_away(true);
    let certificates = certificates(&ca, ca.clock.clone());
    certificates.get(&id(CART)).await.unwrap_err();
    let start = Instant::now();
    let error = certificates.get(&id(CART)).await.unwrap_err();
    assert!(error.reason.contains("away"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(1), "the reason has been known for five seconds");
    ca.set_away(false);
    pass(Duration::from_secs(10)).await;
    certificates.get(&id(CART)).await.unwrap();
    ca.set_away(true);
    pass(LIFETIME).await;
    let start = Instant::now();
    certificates.get(&id(CART)).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(1), "renewing has failed for hours");
}
