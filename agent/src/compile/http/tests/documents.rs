//! The examples of `docs/http.md` and `docs/rate-limits.md`: each is valid, has no field without effect, and does what the text beside it
//! says.

use std::path::Path;

use super::{Client, Hostnames, answer, config, store};
use crate::objects::Loaded;

const DOCUMENT: &str = include_str!("../../../../../docs/http.md");
const RATE_LIMITS: &str = include_str!("../../../../../docs/rate-limits.md");

/// The blocks of YAML, each with the line that it begins at.
fn examples() -> Vec<(usize, String)> {
    examples_of(DOCUMENT)
}

fn examples_of(document: &str) -> Vec<(usize, String)> {
    let (mut examples, mut open): (Vec<(usize, String)>, bool) = (Vec::new(), false);
    for (number, line) in (1..).zip(document.lines()) {
        match line {
            "```yaml" => {
                examples.push((number + 1, String::new()));
                open = true;
            }
            "```" => open = false,
            line if open => {
                let text = &mut examples.last_mut().expect("a block was opened").1;
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    examples
}

#[test]
fn examples_are_valid_and_have_no_field_without_effect() {
    let services = ["reviews", "reviews-v1", "reviews-v2"].map(|name| format!("{name}.shop.svc.cluster.local").into());
    let mut known: Hostnames = services.into();
    known.extend(["legacy.example", "api.example.com"].map(Into::into));
    let examples = examples();
    assert!(examples.len() > 8, "the examples are not found");
    for (line, text) in examples {
        let mut loaded = Loaded::default();
        loaded.read_text(Path::new("http.md"), &text);
        assert_eq!((loaded.problems, loaded.notices), (vec![], vec![]), "docs/http.md, line {line}");
        let store = store(&text);
        for (kind, object) in loaded.objects.http_objects() {
            let name = format!("{}/{}", object.metadata.namespace, object.metadata.name).into();
            assert_eq!(store.notes(kind, &name, &known), [] as [String; 0], "docs/http.md, line {line}: {name}");
        }
    }
}

#[test]
fn examples_of_rate_limits_are_valid_and_name_services_that_there_are() {
    let name = |name: &str| format!("{name}.shop.svc.cluster.local").into();
    let (known, none) = (Hostnames::from(["orders", "ratelimit"].map(name)), Hostnames::new());
    let examples = examples_of(RATE_LIMITS);
    let missing = [
        "spec.targetRefs[0]: there is no service orders.shop.svc.cluster.local",
        "spec.limits[0].global.service: there is no service ratelimit.shop.svc.cluster.local: requests pass",
    ];
    assert_eq!(examples.len(), missing.len());
    for ((line, text), missing) in examples.into_iter().zip(missing) {
        let mut loaded = Loaded::default();
        loaded.read_text(Path::new("rate-limits.md"), &text);
        assert_eq!((loaded.problems, loaded.notices), (vec![], vec![]), "docs/rate-limits.md, line {line}");
        let store = store(&text);
        for (kind, object) in loaded.objects.http_objects() {
            let name = format!("{}/{}", object.metadata.namespace, object.metadata.name).into();
            assert_eq!(store.notes(kind, &name, &known), [] as [String; 0], "docs/rate-limits.md, line {line}");
            assert_eq!(store.notes(kind, &name, &none), [missing], "docs/rate-limits.md, line {line}");
        }
    }
}

#[test]
fn examples_do_what_is_said_of_them() {
    let client = Client::of("shop");
    let found = |beginning: &str| {
        let mut all = { examples() }.into_iter().filter(|(_, text)| text.starts_with(&format!("# {beginning}")));
        all.next().unwrap_or_else(|| panic!("no example begins with {beginning}")).1
    };
    let (canary, changes, api, calls) =
        ("Testers get", "What a rule may change", "By path and by field", "Calls by service");
    let split = "reviews-v1.shop=90 reviews-v2.shop=10";
    for (example, request, expected) in [
        (canary, "GET / | x-user: tester", "reviews-v2.shop=1"),
        (canary, "GET /", split),
        (changes, "GET /old", "redirect 308"),
        (changes, "GET /teapot", "respond 418"),
        (changes, "GET /shop/cart?id=7", "reviews.shop=1"),
        (changes, "GET /", "404"),
        ("Time, second attempts", "GET /broken", "reviews-v1.shop=1"),
        ("Subsets by label", "GET / | x-user: ann", "reviews.shop/v2=1"),
        ("Subsets by label", "GET /", "reviews.shop/v1=1"),
        (api, "GET /api/x | x-user: tester", "reviews-v2.shop:80=1"),
        (api, "GET /apix | x-user: tester", "reviews-v1.shop:80=1"),
        (api, "GET /api/x", "reviews-v1.shop:80=1"),
        (calls, "POST /shop.Reviews/Write", "reviews-v2.shop:80=1"),
        (calls, "POST /shop.Reviews/Read", "reviews-v1.shop:80=1"),
    ] {
        assert_eq!(
            answer(&config(&found(example)), &client, "reviews.shop", 80, request),
            expected,
            "{example}: {request}"
        );
    }
}

/// The fields of which readers say that they have no effect, by the text of the readers: `without_effect("name", …)`.
#[test]
fn the_table_of_fields_without_effect_names_those_that_readers_report() {
    const READERS: [&str; 11] = [
        include_str!("../../../objects/networking/sidecar.rs"),
        include_str!("../../../objects/networking/load_balancer.rs"),
        include_str!("../../../objects/networking/virtual_service.rs"),
        include_str!("../../../objects/networking/traffic_policy.rs"),
        include_str!("../../../objects/networking/http_match.rs"),
        include_str!("../../../objects/networking/connection_pool.rs"),
        include_str!("../../../objects/networking/retries.rs"),
        include_str!("../../../objects/gateway_api/grpc_route.rs"),
        include_str!("../../../objects/gateway_api/http_route.rs"),
        include_str!("../../../objects/gateway_api/route.rs"),
        include_str!("../../../objects/networking/destination_rule.rs"),
    ];
    let (_, table) = DOCUMENT.split_once("## Fields that have no effect").expect("there is a table");
    let table = table.split("\n## ").next().unwrap_or_default();
    let reported = READERS.iter().flat_map(|text| text.split("without_effect(\"").skip(1));
    for field in reported.filter_map(|rest| rest.split('"').next()) {
        let is_named = table.contains(&format!("`{field}")) || table.contains(&format!(".{field}`"));
        assert!(is_named, "{field} is reported as without effect, and the table does not name it");
    }
}
