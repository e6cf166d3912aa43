//! Rotation on a clock that only the tests move.

mod jumps;

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::{Instant, advance, sleep};

use super::options::Clock;
use super::*;
use crate::model::identity::Identity;
use crate::tls::ca::local::LocalCa;
use crate::tls::ca::{IssueError, Issuer, Signing};
use crate::tls::test_mesh::{Leaf, TestRoot, id};

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const HOUR: Duration = Duration::from_secs(3600);
const LIFETIME: Duration = Duration::from_secs(20 * 3600);

/// The wall clock of a test: it goes with tokio's, which is paused.
fn clock() -> Clock {
    let (wall, start) = (SystemTime::now(), Instant::now());
    Arc::new(move || wall + start.elapsed())
}

type Spoil = fn(&mut Vec<String>);

/// A CA that can be away, slow or wrong, and remembers when it was asked.
struct TestCa {
    ca: LocalCa,
    clock: Clock,
    away: AtomicBool,
    /// No connection to it comes to be.
    cut_off: AtomicBool,
    takes: Mutex<Duration>,
    asked: Mutex<Vec<Instant>>,
    working: AtomicUsize,
    most_working: AtomicUsize,
    /// Changes the answer.
    spoil: Mutex<Spoil>,
}

impl fmt::Debug for TestCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestCa")
    }
}

impl TestCa {
    fn new() -> Arc<Self> {
        Self::with_clock(clock())
    }

    fn with_clock(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            ca: TestRoot::new().ca(),
            clock,
            away: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
            takes: Mutex::new(Duration::ZERO),
            asked: Mutex::default(),
            working: AtomicUsize::new(0),
            most_working: AtomicUsize::new(0),
            spoil: Mutex::new(|_| ()),
        })
    }

    fn asked(&self) -> usize {
        self.asked.lock().len()
    }

    fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    fn certificates(self: &Arc<Self>) -> Certificates {
        self.certificates_in(None)
    }

    fn certificates_in(self: &Arc<Self>, keys_dir: Option<&Path>) -> Certificates {
        let options = CertificateOptions {
            lifetime: LIFETIME,
            keys_dir: keys_dir.map(Path::to_owned),
            clock: self.clock.clone(),
            ..CertificateOptions::default()
        };
        Certificates::start(CertificateSource::Issuer(self.clone()), options)
    }
}

impl Issuer for TestCa {
    fn sign<'a>(&'a self, csr_pem: &'a str, identity: &'a Identity, lifetime: Duration) -> Signing<'a> {
        Box::pin(async move {
            self.asked.lock().push(Instant::now());
            let working = self.working.fetch_add(1, Ordering::Relaxed) + 1;
            self.most_working.fetch_max(working, Ordering::Relaxed);
            let takes = *self.takes.lock();
            sleep(takes).await;
            self.working.fetch_sub(1, Ordering::Relaxed);
            if self.cut_off.load(Ordering::Relaxed) {
                return Err(IssueError::Unreachable("no connection: it is away".to_owned()));
            }
            if self.away.load(Ordering::Relaxed) {
                return Err(IssueError::Unavailable("certificate authority answered Unavailable: away".to_owned()));
            }
            let mut answer = self.ca.sign_at((self.clock)(), csr_pem, identity, lifetime)?;
            (self.spoil.lock())(&mut answer);
            Ok(answer)
        })
    }
}

/// Moves the clock in steps and lets tasks run in between.
async fn pass(time: Duration) {
    sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_share_one_request() {
    let ca = TestCa::new();
    *ca.takes.lock() = Duration::from_secs(1);
    let certificates = ca.certificates();
    certificates.prefetch(&id(CART));
    let gets: Vec<_> =
        (0..20).map(|_| certificates.clone()).map(|c| tokio::spawn(async move { c.get(&id(CART)).await })).collect();
    let mut got = Vec::new();
    for get in gets {
        got.push(get.await.unwrap().unwrap());
    }
    assert_eq!(ca.asked(), 1);
    assert!(got.iter().all(|certificate| Arc::ptr_eq(certificate, &got[0])));
    assert_eq!(got[0].identity, id(CART));
}

#[tokio::test(start_paused = true)]
async fn it_is_renewed_at_half_of_its_life() {
    let ca = TestCa::new();
    let certificates = ca.certificates();
    let first = certificates.get(&id(CART)).await.unwrap();
    pass(LIFETIME.mul_f64(0.44)).await;
    assert_eq!(ca.asked(), 1);
    pass(LIFETIME.mul_f64(0.12)).await;
    assert_eq!(ca.asked(), 2);
    let second = certificates.get(&id(CART)).await.unwrap();
    assert!(second.not_after > first.not_after + LIFETIME.mul_f64(0.4));
    pass(LIFETIME).await;
    assert!((3..=4).contains(&ca.asked()), "and so on: {}", ca.asked());
}

#[tokio::test(start_paused = true)]
async fn a_valid_certificate_outlives_a_missing_ca_and_an_expired_one_is_not_used() {
    let ca = TestCa::new();
    let certificates = ca.certificates();
    let first = certificates.get(&id(CART)).await.unwrap();
    ca.set_away(true);
    pass(LIFETIME.mul_f64(0.9)).await;
    assert!(Arc::ptr_eq(&first, &certificates.get(&id(CART)).await.unwrap()));
    let status = &certificates.status()[0];
    assert_eq!(status.last_error.as_deref(), Some("certificate authority answered Unavailable: away"));
    assert_eq!(status.serial, first.serial);
    pass(LIFETIME.mul_f64(0.2)).await;
    let refused = certificates.get(&id(CART)).await.unwrap_err();
    assert!(refused.to_string().contains("away"), "{refused}");
    ca.set_away(false);
    pass(Duration::from_secs(40)).await;
    let renewed = certificates.get(&id(CART)).await.unwrap();
    assert!(renewed.not_after > first.not_after);
    assert_eq!(certificates.status()[0].last_error, None);
}

#[tokio::test(start_paused = true)]
async fn a_get_gives_up_with_the_last_reason() {
    let ca = TestCa::new();
    ca.set_away(true);
    let start = Instant::now();
    let error = ca.certificates().get(&id(CART)).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_millis(100), "what is known is told at once");
    assert!(error.reason.contains("away"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_a_ca_answers_to_one_identity_holds_up_no_other() {
    let ca = TestCa::new();
    ca.set_away(true);
    let certificates = ca.certificates();
    let error = certificates.get(&id(CART)).await.unwrap_err();
    assert!(error.reason.contains("away"), "{error}");
    // Longer than one waits where the CA is known to be away.
    *ca.takes.lock() = Duration::from_secs(3);
    ca.set_away(false);
    certificates.get(&id(WEB)).await.expect("its own request is answered");
}

#[tokio::test(start_paused = true)]
async fn a_ca_that_cannot_be_reached_for_one_cannot_be_for_all() {
    let ca = TestCa::new();
    ca.cut_off.store(true, Ordering::Relaxed);
    let certificates = ca.certificates();
    certificates.get(&id(CART)).await.unwrap_err();
    // The next one hangs: its own attempt says nothing.
    *ca.takes.lock() = HOUR;
    let start = Instant::now();
    let error = certificates.get(&id(WEB)).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_millis(100));
    assert!(error.reason.contains("away"), "{error}");
    certificates.set_ca_unavailable("no connection");
    let error = certificates.get(&id("spiffe://cluster.local/ns/shop/sa/third")).await.unwrap_err();
    assert_eq!(&*error.reason, "no connection");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_new_identity_may_be_too_early() {
    let refuse: Spoil = |answer| answer.clear();
    let ca = TestCa::new();
    *ca.spoil.lock() = refuse;
    let certificates = ca.certificates();
    let cart = id(CART);
    let (got, ()) = tokio::join!(certificates.get(&cart), async {
        // The third attempt comes after two pauses of 0.1 and 0.2 s, a fifth more or less, and one of 0.25 s: at 0.49 s at
        // the earliest. The fourth may come too late.
        pass(Duration::from_millis(450)).await;
        *ca.spoil.lock() = |_| ();
    });
    got.expect("the CA has heard of the pod by then");

    *ca.spoil.lock() = refuse;
    let web = id(WEB);
    let start = Instant::now();
    certificates.get(&web).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    let start = Instant::now();
    certificates.get(&web).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_millis(100), "from then on it is an answer");
    *ca.spoil.lock() = |_| ();
    pass(Duration::from_millis(300)).await;
    certificates.get(&web).await.expect("somebody wants it, so it is asked for often");
}

#[tokio::test(start_paused = true)]
async fn who_failed_asks_again_when_told_that_the_ca_is_back() {
    let ca = TestCa::new();
    ca.set_away(true);
    let certificates = ca.certificates();
    certificates.prefetch(&id(CART));
    pass(Duration::from_secs(120)).await;
    ca.set_away(false);
    certificates.retry();
    pass(Duration::from_millis(10)).await;
    assert_eq!(certificates.status()[0].last_error, None);
}

#[tokio::test(start_paused = true)]
async fn while_a_root_is_replaced_both_are_trusted_and_certificates_of_the_old_one_are_renewed() {
    let ca = TestCa::new();
    let certificates = ca.certificates();
    let first = certificates.get(&id(CART)).await.unwrap();
    let other = TestRoot::new();
    let bundle = |roots: &[&str]| roots.iter().flat_map(|text| crate::tls::pem::certificate_blocks(text)).collect();
    certificates.trust(bundle(&[&first.root_pem.concat(), &other.pem]));
    let both = certificates.get(&id(CART)).await.unwrap();
    assert_eq!(
        (both.serial.as_str(), both.trusted_pem().len()),
        (first.serial.as_str(), 2),
        "the same, with two roots"
    );
    assert_eq!(ca.asked(), 1);
    certificates.trust(bundle(&[&other.pem]));
    pass(Duration::from_secs(1)).await;
    assert_eq!(ca.asked(), 2, "its own root is on its way out");
}

#[tokio::test(start_paused = true)]
async fn a_silent_ca_is_given_up_and_asked_again() {
    let ca = TestCa::new();
    *ca.takes.lock() = HOUR;
    let certificates = ca.certificates();
    let error = certificates.get(&id(CART)).await.unwrap_err();
    assert_eq!(&*error.reason, "no answer within 5s");
    pass(Duration::from_secs(10)).await;
    assert_eq!(certificates.status()[0].last_error.as_deref(), Some("certificate authority did not answer within 10s"));
    assert_eq!(ca.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn retries_become_rarer() {
    let ca = TestCa::new();
    ca.set_away(true);
    let certificates = ca.certificates();
    certificates.prefetch(&id(CART));
    pass(Duration::from_secs(300)).await;
    let asked = ca.asked.lock();
    let gaps: Vec<_> = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    for (gap, wanted) in gaps.iter().zip([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]) {
        assert!((wanted * 0.79..wanted * 1.21).contains(gap), "{gaps:?}");
    }
    assert!((14..=20).contains(&gaps.len()), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn at_most_eight_requests_are_on_their_way() {
    let ca = TestCa::new();
    *ca.takes.lock() = Duration::from_secs(1);
    let certificates = ca.certificates();
    for account in 0..20 {
        certificates.prefetch(&id(&format!("spiffe://cluster.local/ns/shop/sa/a{account}")));
    }
    pass(Duration::from_secs(4)).await;
    assert_eq!(ca.most_working.load(Ordering::Relaxed), 8);
    assert_eq!(certificates.status().iter().filter(|status| status.not_after.is_some()).count(), 20);
}

#[tokio::test(start_paused = true)]
async fn what_the_ca_answers_is_checked() {
    let cases: [(Spoil, &str); 5] = [
        (|answer| answer.clear(), "chain is empty"),
        (|answer| drop(answer.pop()), "chain is empty"),
        (|answer| answer[1] = "no root".to_owned(), "no root certificate"),
        (|answer| answer[1] = TestRoot::new().pem, "not signed by a trusted root"),
        (
            |answer| {
                let root = TestRoot::new();
                *answer = vec![root.issue(&Leaf::new(CART)).chain_pem.concat(), root.pem];
            },
            "not for this key",
        ),
    ];
    for (spoil, reason) in cases {
        let ca = TestCa::new();
        *ca.spoil.lock() = spoil;
        let error = ca.certificates().get(&id(CART)).await.unwrap_err();
        assert!(error.reason.contains(reason), "{reason}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_identity_is_neither_renewed_nor_kept() {
    let dir = tempfile::tempdir().unwrap();
    let ca = TestCa::new();
    let certificates = ca.certificates_in(Some(dir.path()));
    certificates.get(&id(CART)).await.unwrap();
    certificates.get(&id(WEB)).await.unwrap();
    certificates.forget(&id(CART));
    pass(LIFETIME.mul_f64(0.6)).await;
    assert_eq!(ca.asked(), 3, "two first ones and one renewal");
    assert_eq!(certificates.status().iter().map(|status| &status.identity).collect::<Vec<_>>(), [&id(WEB)]);
    let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["cluster.local~shop~web.pem"]);
    certificates.get(&id(CART)).await.expect("a pod came back");
}

#[tokio::test(start_paused = true)]
async fn forgetting_ends_the_wait_for_it() {
    let ca = TestCa::new();
    *ca.takes.lock() = HOUR;
    let certificates = ca.certificates();
    let start = Instant::now();
    let cart = id(CART);
    let (got, ()) = tokio::join!(certificates.get(&cart), async {
        pass(Duration::from_secs(1)).await;
        certificates.forget(&cart);
    });
    assert!(got.unwrap_err().reason.contains("no pod"));
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn renewing_ends_with_the_last_handle() {
    let ca = TestCa::new();
    let certificates = ca.certificates();
    let other = certificates.clone();
    certificates.get(&id(CART)).await.unwrap();
    drop(certificates);
    pass(LIFETIME.mul_f64(0.6)).await;
    assert_eq!(ca.asked(), 2);
    drop(other);
    pass(LIFETIME).await;
    assert_eq!(ca.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_agent_restarted_without_ca_goes_on_with_what_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let ca = TestCa::new();
    let before = ca.certificates_in(Some(&keys)).get(&id(CART)).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&keys), mode(&keys.join("cluster.local~shop~cart.pem"))), (0o700, 0o600));

    ca.set_away(true);
    pass(HOUR).await;
    let restarted = ca.certificates_in(Some(&keys));
    let after = restarted.get(&id(CART)).await.unwrap();
    assert_eq!((after.serial.as_str(), after.not_after), (before.serial.as_str(), before.not_after));
    assert_eq!(ca.asked(), 1);
    pass(LIFETIME.mul_f64(0.56)).await;
    assert!(ca.asked() > 1, "its renewal is not put off by the restart");
    restarted.get(&id(WEB)).await.expect_err("another one is not there");

    pass(LIFETIME).await;
    let late = ca.certificates_in(Some(&keys));
    late.get(&id(CART)).await.expect_err("an expired one is not taken");
}

#[tokio::test(start_paused = true)]
async fn keys_of_pods_that_left_while_the_agent_was_down_go_when_they_are_of_no_use() {
    let dir = tempfile::tempdir().unwrap();
    let ca = TestCa::new();
    let certificates = ca.certificates_in(Some(dir.path()));
    certificates.get(&id(CART)).await.unwrap();
    certificates.get(&id(WEB)).await.unwrap();
    let path = |account: &str| dir.path().join(format!("cluster.local~shop~{account}.pem"));
    let old = SystemTime::now() - LIFETIME - HOUR;
    fs::File::open(path("web")).unwrap().set_modified(old).unwrap();
    let _restarted = ca.certificates_in(Some(dir.path()));
    assert!(path("cart").exists() && !path("web").exists());
}

#[tokio::test(start_paused = true)]
async fn kept_files_that_do_not_fit_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let ca = TestCa::new();
    let file = |account: &str| dir.path().join(format!("cluster.local~shop~{account}.pem"));
    ca.certificates_in(Some(dir.path())).get(&id(CART)).await.unwrap();
    for bad in [fs::read_to_string(file("cart")).unwrap(), "garbage".to_owned(), String::new()] {
        fs::write(file("web"), bad).unwrap();
        let asked = ca.asked();
        let web = ca.certificates_in(Some(dir.path())).get(&id(WEB)).await.unwrap();
        assert_eq!((web.identity.clone(), ca.asked()), (id(WEB), asked + 1));
    }
}

#[tokio::test(start_paused = true)]
async fn ready_files_are_reread_when_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let options = CertificateOptions { clock: clock(), ..CertificateOptions::default() };
    let certificates = Certificates::start(CertificateSource::Files(dir.path().to_owned()), options);
    let missing = certificates.get(&id(CART)).await.unwrap_err();
    assert!(missing.reason.contains("shop.cart.pem: No such file"), "{missing}");

    let root = TestRoot::new();
    let write = |identity: &str| {
        let material = root.issue(&Leaf::new(identity));
        fs::write(dir.path().join("shop.cart.pem"), material.chain_pem.concat() + &material.key_pem).unwrap();
    };
    fs::write(dir.path().join("root-cert.pem"), &root.pem).unwrap();
    write(CART);
    let first = certificates.get(&id(CART)).await.unwrap();
    pass(Duration::from_secs(60)).await;
    assert!(Arc::ptr_eq(&first, &certificates.get(&id(CART)).await.unwrap()), "nothing changed");

    fs::remove_file(dir.path().join("shop.cart.pem")).unwrap();
    write(WEB);
    pass(Duration::from_secs(6)).await;
    assert!(Arc::ptr_eq(&first, &certificates.get(&id(CART)).await.unwrap()), "a wrong one is not taken");
    let error = certificates.status()[0].last_error.clone().unwrap();
    assert!(error.ends_with(&format!("certificate is for {WEB}, not for {CART}")), "{error}");

    fs::remove_file(dir.path().join("shop.cart.pem")).unwrap();
    write(CART);
    pass(Duration::from_secs(6)).await;
    assert!(!Arc::ptr_eq(&first, &certificates.get(&id(CART)).await.unwrap()));
    assert_eq!(certificates.status()[0].last_error, None);
    certificates.get(&id("spiffe://td/ns/../sa/x")).await.expect_err("no such name on disk");
}

#[tokio::test(start_paused = true)]
async fn observers_are_told() {
    let told: Arc<Mutex<Vec<CertificateEvent>>> = Arc::default();
    let ca = TestCa::new();
    let notes = told.clone();
    let options = CertificateOptions {
        observer: Some(Arc::new(move |event: &CertificateEvent| notes.lock().push(event.clone()))),
        clock: ca.clock.clone(),
        ..CertificateOptions::default()
    };
    let certificates = Certificates::start(CertificateSource::Issuer(ca.clone()), options);
    ca.set_away(true);
    certificates.prefetch(&id(CART));
    advance(Duration::from_millis(1)).await;
    pass(Duration::from_millis(1)).await;
    ca.set_away(false);
    pass(Duration::from_secs(1)).await;
    certificates.get(&id(CART)).await.unwrap();
    let told = told.lock();
    assert!(matches!(&told[0], CertificateEvent::Failed { identity, .. } if *identity == id(CART)), "{told:?}");
    assert!(matches!(told.last(), Some(CertificateEvent::Obtained { .. })), "{told:?}");
}
