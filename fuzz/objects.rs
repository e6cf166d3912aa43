//! What a user may write: text in place of YAML objects, on its way through the whole of a file delivery.
//!
//! Must hold: nothing panics; the same text says the same again; a text that is not YAML takes nothing away; and what the
//! language accepts, the decoder of resources accepts too.
#![no_main]

mod delivery;

use libfuzzer_sys::fuzz_target;
use weir::api::objects::Objects;

use self::delivery::loaded;

/// What the file held before.
const BEFORE: &str = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n\
    metadata: {name: before, namespace: before}\nspec: {address: 10.9.9.9}\n---\n\
    apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
    metadata: {name: before, namespace: before}\nspec: {action: DENY, rules: [{}]}\n";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut objects = Objects::default();
    assert_eq!(objects.update(loaded(BEFORE)), []);
    let before = objects.clone();

    let new = loaded(text);
    assert_eq!(new.objects, loaded(text).objects, "the same text says the same");
    let unreadable = new.problems.iter().any(|problem| problem.reason.starts_with("not valid YAML"));
    let problems = objects.update(new);
    problems.iter().for_each(|problem| assert!(!problem.reason.is_empty(), "{problem:?}"));
    if unreadable {
        for (key, _) in before.iter() {
            assert!(objects.get(key).is_some(), "{key} is gone with a file that cannot be read");
        }
    }
    delivery::mesh(&[&objects]);
});
