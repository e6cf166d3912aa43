use super::Enrolled::{ByKubernetes, ByNode, No};
use super::EnrollmentStep::{Annotate, Enroll, Release};
use super::Next::{At, Do, Nothing};
use super::Wanted::{Finished, Gone, In, Out, Undecided};
use super::*;

const PLAIN: View = View {
    wanted: Out,
    is_annotated: false,
    has_addresses: true,
    is_ending: false,
    enrolled: No,
    has_new_addresses: false,
    mesh_says_hbone: false,
};
const CAPTURED: View = View { wanted: In, is_annotated: true, enrolled: ByKubernetes, mesh_says_hbone: true, ..PLAIN };

#[test]
fn what_is_done_at_once() {
    for (what, view, expected) in [
        ("out of the mesh", PLAIN, Nothing),
        ("labelled", View { wanted: In, ..PLAIN }, Do(Enroll)),
        ("labelled, without a network yet", View { wanted: In, has_addresses: false, ..PLAIN }, Nothing),
        ("being deleted, its network is gone already", View { wanted: In, is_ending: true, ..PLAIN }, Nothing),
        ("being deleted", View { is_ending: true, ..CAPTURED }, Nothing),
        ("enrolled by the CNI plugin", View { is_annotated: false, ..CAPTURED }, Do(Annotate(true))),
        ("captured", CAPTURED, Nothing),
        ("moved to a new sandbox", View { has_new_addresses: true, ..CAPTURED }, Do(Enroll)),
        ("not decided yet", View { wanted: Undecided, ..CAPTURED }, Nothing),
        ("not decided yet, not captured", View { wanted: Undecided, is_annotated: true, ..PLAIN }, Nothing),
        ("unlabelled", View { wanted: Out, ..CAPTURED }, Do(Annotate(false))),
        ("finished", View { wanted: Finished, ..CAPTURED }, Do(Release)),
        ("gone", View { wanted: Gone, ..CAPTURED }, Do(Release)),
        ("an annotation that is not true", View { is_annotated: true, ..PLAIN }, Do(Annotate(false))),
        ("enrolled by hand, out of the mesh", View { wanted: Out, enrolled: ByNode, ..CAPTURED }, Nothing),
        ("enrolled by hand, unknown", View { wanted: Gone, enrolled: ByNode, ..CAPTURED }, Nothing),
        (
            "enrolled by hand, in the mesh",
            View { enrolled: ByNode, is_annotated: false, ..CAPTURED },
            Do(Annotate(true)),
        ),
    ] {
        assert_eq!(next(&view, &mut Memory::default(), Instant::now()), expected, "{what}");
    }
}

#[test]
fn one_step_at_a_time_and_failures_wait() {
    let (view, now) = (View { wanted: In, ..PLAIN }, Instant::now());
    let mut memory = Memory { is_busy: true, ..Memory::default() };
    assert_eq!(next(&view, &mut memory, now), Nothing);
    let later = now + Duration::from_secs(1);
    let mut memory = Memory { last_step: Some(Enroll), retry_at: Some(later), ..Memory::default() };
    assert_eq!(next(&view, &mut memory, now), At(later));
    assert_eq!(next(&view, &mut memory, later), Do(Enroll));
    // As after a new sandbox, once the watch has reported its address.
    let view = View { is_annotated: false, ..CAPTURED };
    assert_eq!(next(&view, &mut memory, now), Do(Annotate(true)), "another step need not wait");
}

#[test]
fn what_was_written_counts_until_the_watch_reports_it() {
    let now = Instant::now();
    let view = View { is_annotated: false, ..CAPTURED };
    let mut memory = Memory { written: Some((true, now)), ..Memory::default() };
    assert_eq!(next(&view, &mut memory, now), Nothing);
    assert_eq!(next(&view, &mut memory, now + ANNOTATION_WATCH_LAG), Do(Annotate(true)), "somebody has removed it");
}

#[test]
fn a_pod_leaves_in_order() {
    let now = Instant::now();
    let mut memory = Memory::default();
    let mut at = |view: View, after: Duration| next(&view, &mut memory, now + after);
    let unlabelled = View { wanted: Out, ..CAPTURED };
    let ms = Duration::from_millis;
    assert_eq!(at(unlabelled, ms(0)), Do(Annotate(false)));
    let told = View { is_annotated: false, ..unlabelled };
    assert_eq!(at(told, ms(10)), At(now + HBONE_WITHDRAWAL_TIMEOUT), "the mesh still says HBONE");
    let silent = View { mesh_says_hbone: false, ..told };
    assert_eq!(at(silent, ms(150)), At(now + ms(150) + HBONE_WITHDRAWAL_SPREAD));
    assert_eq!(at(told, ms(200)), At(now + HBONE_WITHDRAWAL_TIMEOUT), "it says so again");
    assert_eq!(at(silent, ms(300)), At(now + ms(300) + HBONE_WITHDRAWAL_SPREAD));
    assert_eq!(at(silent, ms(300) + HBONE_WITHDRAWAL_SPREAD), Do(Release));
}

#[test]
fn a_mesh_that_never_says_so_is_not_waited_for_for_ever() {
    let now = Instant::now();
    let mut memory = Memory::default();
    let told = View { wanted: Out, is_annotated: false, ..CAPTURED };
    assert_eq!(next(&told, &mut memory, now), At(now + HBONE_WITHDRAWAL_TIMEOUT));
    assert_eq!(next(&told, &mut memory, now + HBONE_WITHDRAWAL_TIMEOUT), Do(Release));
}

#[test]
fn a_pod_that_comes_back_stays() {
    let now = Instant::now();
    let mut memory = Memory::default();
    let told = View { wanted: Out, is_annotated: false, ..CAPTURED };
    assert_eq!(next(&told, &mut memory, now), At(now + HBONE_WITHDRAWAL_TIMEOUT));
    assert!(memory.is_leaving());
    let back = View { wanted: In, ..told };
    assert_eq!(next(&back, &mut memory, now + HBONE_WITHDRAWAL_TIMEOUT), Do(Annotate(true)));
    assert!(!memory.is_leaving());
    assert_eq!(
        next(&told, &mut memory, now + HBONE_WITHDRAWAL_TIMEOUT),
        At(now + HBONE_WITHDRAWAL_TIMEOUT * 2),
        "and leaves anew"
    );
}

#[test]
fn a_pod_that_was_just_enrolled_may_be_ahead_of_the_watch() {
    let now = Instant::now();
    for (wanted, grace) in [(Gone, UNKNOWN_POD_GRACE), (Out, STALE_LABELS_GRACE)] {
        let view = View { wanted, is_annotated: false, mesh_says_hbone: false, ..CAPTURED };
        let mut memory = Memory { enrolled_at: Some(now), ..Memory::default() };
        assert_eq!(next(&view, &mut memory, now), At(now + grace), "{wanted:?}");
        assert_ne!(next(&view, &mut memory, now + grace), At(now + grace), "{wanted:?}");
    }
    let finished = View { wanted: Finished, ..CAPTURED };
    let mut memory = Memory { enrolled_at: Some(now), ..Memory::default() };
    assert_eq!(next(&finished, &mut memory, now), Do(Release), "an end is never taken back");
}
