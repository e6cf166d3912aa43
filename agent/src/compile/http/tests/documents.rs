//! The examples of `docs/http.md`, `docs/rate-limits.md` and `docs/telemetry.md`: each is valid, has no field without effect, and does
//! what the text beside it says; and what the documents have of fields without effect.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Client, Hostnames, answer, config, store};
use crate::objects::Loaded;

const DOCUMENT: &str = include_str!("../../../../../docs/http.md");
const RATE_LIMITS: &str = include_str!("../../../../../docs/rate-limits.md");
const TELEMETRY: &str = include_str!("../../../../../docs/telemetry.md");

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
fn examples_of_telemetry_are_valid_and_have_no_field_without_effect() {
    let examples = examples_of(TELEMETRY);
    assert_eq!(examples.len(), 2);
    for (line, text) in &examples {
        let mut loaded = Loaded::default();
        loaded.read_text(Path::new("telemetry.md"), text);
        assert_eq!((loaded.problems, loaded.notices), (vec![], vec![]), "docs/telemetry.md, line {line}");
    }
    let mut loaded = Loaded::default();
    loaded.read_text(Path::new("telemetry.md"), &examples[0].1);
    let telemetry = loaded.objects.mesh_config().telemetry;
    let providers: Vec<&str> = telemetry.tracing.iter().map(|name| &**name).collect();
    assert_eq!((telemetry.sampling_percent, providers), (Some(10.0), vec!["otel"]));
    assert_eq!(telemetry.custom_tags.len(), 1);
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

/// The readers of objects, by their paths: what stands before their tests.
fn readers() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/objects");
    let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the readers are in the repository").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                // How a finding is filed, and what is found in tests, is no reader's.
                folders.extend(Some(path).filter(|_| name != "tests" && name != "reading"));
            } else if name != "tests.rs" {
                let text = std::fs::read_to_string(&path).expect("it is text");
                let name = path.strip_prefix(&root).expect("it lies there").to_string_lossy().into_owned();
                found.push((name, text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()));
            }
        }
    }
    found
}

/// The texts in quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

/// The fields that a reader says have no effect; and how often it says so with what is not written there: a name that it computes, or
/// a reason alone.
fn reported(text: &str) -> (Vec<&str>, usize) {
    let (mut fields, mut computed) = (Vec::new(), 0);
    for way in [".without_effect(", ".notice("] {
        for call in text.split(way).skip(1) {
            match call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                Some(name) if !name.contains(' ') => fields.push(name),
                _ => computed += 1,
            }
        }
    }
    for list in ["const NOT_USED", "const NEVER_MET", "const OLD_COLLECTORS"] {
        let lists = text.split(list).skip(1).filter_map(|rest| rest.split("= [").nth(1)?.split("];").next());
        fields.extend(lists.flat_map(quoted).filter(|name| !name.contains(' ')));
    }
    for list in ["for name in [", "for (name, keys) in ["] {
        let loops = text.split(list).skip(1).filter_map(|rest| rest.split_once(']'));
        let that_tell =
            loops.filter(|(_, body)| body.split("\n    }").next().unwrap_or_default().contains("without_effect(name"));
        fields.extend(that_tell.flat_map(|(names, _)| quoted(names)));
    }
    (fields, computed)
}

/// No field that a reader ignores is missing in the documents: by the texts of all readers, and all ways in which they tell.
#[test]
fn the_table_of_fields_without_effect_names_those_that_readers_report() {
    /// Calls that have no name of a field in their text, by file; and what the documents have for them.
    const COMPUTED: [(&str, usize, &[&str]); 16] = [
        ("security/authorization_policy.rs", 1, &["`rules` of a DENY policy"]),
        ("gateway_api/filters.rs", 0, &["`type` is not supported"]),
        ("networking/http_match.rs", 1, &["`match` on `@request.auth.claims"]),
        ("labels.rs", 1, &["`selector` without `matchLabels`"]),
        ("networking/load_balancer.rs", 1, &[]),
        ("networking/mesh_config.rs", 2, &[]),
        ("telemetry/providers.rs", 2, &[]),
        ("networking/proxy_config.rs", 3, &[]),
        ("telemetry/resource.rs", 1, &["`targetRef` and `targetRefs`"]),
        ("networking/retries.rs", 1, &["`retryOn`"]),
        ("gateway_api/route.rs", 1, &["a second condition of `matches`"]),
        ("networking/service_entry.rs", 1, &["`hosts` with a partial wildcard"]),
        ("security/unmatchable.rs", 1, &["a condition whose value"]),
        ("networking/values.rs", 2, &["`headers`: a value with a `%COMMAND%`"]),
        ("networking/virtual_service.rs", 1, &[]),
        ("networking/workload_entry.rs", 1, &["no `address`"]),
    ];
    /// What is said of whole documents, and the names that are parts of one.
    const NO_FIELDS: [&str; 2] = ["kind", "metadata.namespace"];
    let (_, table) = DOCUMENT.split_once("## Fields that have no effect").expect("there is a table");
    let table = table.split("\n## ").next().unwrap_or_default().to_owned() + TELEMETRY;
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let code = table.split('`').skip(1).step_by(2);
    let named: BTreeSet<&str> = code.flat_map(|code| code.split(|c: char| !is_of_name(c))).collect();
    let mut missing = Vec::new();
    for (file, text) in readers() {
        let (mut fields, computed) = reported(&text);
        if file == "networking/protobuf/unread.rs" {
            let names = text.split(", \"").skip(1).filter_map(|rest| rest.split('"').next());
            fields.extend(names.filter(|name| name.chars().all(char::is_alphanumeric)));
        }
        let fields = fields.into_iter().filter(|name| !named.contains(name) && !NO_FIELDS.contains(name));
        missing.extend(fields.map(|name| format!("{file}: {name}")));
        let (_, expected, texts) = COMPUTED.iter().find(|(known, ..)| *known == file).unwrap_or(&("", 0, &[]));
        if computed != *expected {
            missing.push(format!("{file}: {computed} calls without a name, {expected} known"));
        }
        missing.extend(texts.iter().filter(|text| !table.contains(**text)).map(|text| format!("{file}: {text}")));
    }
    assert_eq!(missing, [] as [String; 0], "is reported, and the documents do not name it");
}
