//! Random policies and requests, decided by the mesh, and once more by the plainest reading of what the policies say.

use super::*;
use crate::model::http::head::RequestHead;
use crate::model::identity::{Identity, TrustDomain};
use crate::model::sample::{Draw, mesh, policy, workload};

const METHODS: [&str; 3] = ["GET", "PUT", "POST"];
const TARGETS: [&str; 6] = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/a?q=/b"];
const AUTHORITIES: [&str; 4] = ["a.b", "A.B", "a.b:80", ""];
const TAGS: [&str; 3] = ["x", "y", "xy"];
const NAMESPACES: [&str; 2] = ["shop", "ops"];

/// The texts that a field may name.
const METHOD_TEXTS: [&str; 5] = ["GET", "P*", "*T", "*", "get"];
const PATH_TEXTS: [&str; 8] = ["/a", "/a*", "*b", "*", "/{*}", "/a/{**}", "/{*}/b", "/a/{**}/c"];
const HOST_TEXTS: [&str; 5] = ["a.b", "A.*", "*B", "*", "a.b:*"];
const TAG_TEXTS: [&str; 4] = ["x", "x*", "*y", "*"];

/// A field and its `not` form, as texts.
type Field = [Vec<&'static str>; 2];

/// One rule, as it is written.
#[derive(Debug)]
struct WrittenRule {
    namespaces: Field,
    methods: Field,
    paths: Field,
    hosts: Field,
    tag: Field,
}

#[derive(Debug)]
struct WrittenPolicy {
    action: Action,
    rules: Vec<WrittenRule>,
}

#[derive(Debug)]
struct Sample {
    namespace: Option<&'static str>,
    method: &'static str,
    target: &'static str,
    authority: &'static str,
    tags: Vec<&'static str>,
}

fn field(draw: &mut Draw, texts: &[&'static str]) -> Field {
    // Most fields are not set, else hardly any rule would hold.
    let mut some = |odds| {
        let count = usize::from(draw.below(odds) == 0) * (1 + draw.below(2));
        (0..count).map(|_| *draw.one_of(texts)).collect()
    };
    [some(3), some(6)]
}

fn written_policy(draw: &mut Draw) -> WrittenPolicy {
    let rule = |draw: &mut Draw| WrittenRule {
        namespaces: field(draw, &NAMESPACES),
        methods: field(draw, &METHOD_TEXTS),
        paths: field(draw, &PATH_TEXTS),
        hosts: field(draw, &HOST_TEXTS),
        tag: field(draw, &TAG_TEXTS),
    };
    let action = *draw.one_of(&[Action::Allow, Action::Allow, Action::Deny, Action::Custom]);
    WrittenPolicy { action, rules: (0..=draw.below(2)).map(|_| rule(draw)).collect() }
}

/// Whether a text with one star matches, by trying every way to fill the star.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.find('*') {
        None => pattern == text,
        Some(at) => {
            let (front, back) = (&pattern[..at], &pattern[at + 1..]);
            let may_be_empty = !(front.is_empty() && back.is_empty());
            (0..=text.len()).any(|start| {
                (start..=text.len())
                    .any(|end| &text[..start] == front && &text[end..] == back && (may_be_empty || !text.is_empty()))
            })
        }
    }
}

/// Whether a path matches a template, by trying every split.
fn template(pattern: &str, path: &str) -> bool {
    let cut = |at: usize, operator: &str| (&pattern[..at], &pattern[at + operator.len()..]);
    match (pattern.find("{*}"), pattern.find("{**}")) {
        (Some(at), _) => {
            let (front, back) = cut(at, "{*}");
            (0..=path.len()).any(|end| {
                let segment = path[..end].strip_prefix(front);
                segment.is_some_and(|segment| !segment.is_empty() && !segment.contains('/'))
                    && template(back, &path[end..])
            })
        }
        (None, Some(at)) => {
            let (front, back) = cut(at, "{**}");
            (0..=path.len()).any(|end| path[..end].starts_with(front) && &path[end..] == back)
        }
        (None, None) => pattern == path,
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    if pattern.contains('{') { template(pattern, path) } else { glob(pattern, path) }
}

/// Whether a field holds, given which of its texts match.
fn holds([values, not_values]: &Field, is: impl Fn(&str) -> bool) -> bool {
    (values.is_empty() || values.iter().any(|text| is(text))) && !not_values.iter().any(|text| is(text))
}

impl WrittenRule {
    fn is_about_http(&self) -> bool {
        [&self.methods, &self.paths, &self.hosts, &self.tag]
            .iter()
            .any(|field| field.iter().any(|texts| !texts.is_empty()))
    }

    fn holds_for_source(&self, sample: &Sample) -> bool {
        holds(&self.namespaces, |text| sample.namespace == Some(text))
    }

    fn holds(&self, sample: &Sample) -> bool {
        let path = sample.target.split('?').next().unwrap();
        let authority = sample.authority.to_lowercase();
        self.holds_for_source(sample)
            && holds(&self.methods, |text| glob(text, sample.method))
            && holds(&self.paths, |text| path_matches(text, path))
            && holds(&self.hosts, |text| !authority.is_empty() && glob(&text.to_lowercase(), &authority))
            && holds(&self.tag, |text| sample.tags.iter().any(|tag| glob(text, tag)))
    }
}

/// What all policies say, given which rules match.
fn oracle(policies: &[WrittenPolicy], is: impl Fn(&WrittenPolicy, &WrittenRule) -> bool) -> bool {
    let matches = |policy: &WrittenPolicy| policy.rules.iter().any(|rule| is(policy, rule));
    let of = |action| policies.iter().filter(move |policy| policy.action == action);
    let is_closed = of(Action::Custom).any(matches) || of(Action::Deny).any(matches);
    !is_closed && (of(Action::Allow).next().is_none() || of(Action::Allow).any(matches))
}

fn compiled(number: usize, written: &WrittenPolicy) -> Authorization {
    fn read<T>(field: &Field, read: impl Fn(&str) -> T) -> Values<T> {
        let [values, not_values] = field.clone().map(|texts| texts.into_iter().map(&read).collect());
        Values { values, not_values }
    }
    let one =
        |request: RequestCondition| Clause { matches: vec![Match { request: vec![request], ..Match::default() }] };
    let is_set = |field: &Field| field.iter().any(|texts| !texts.is_empty());
    let groups = written.rules.iter().enumerate().map(|(at, rule)| {
        let mut clauses = Vec::new();
        if is_set(&rule.namespaces) {
            let Values { values: namespaces, not_values: not_namespaces } =
                read(&rule.namespaces, StringMatch::written);
            clauses.push(Clause { matches: vec![Match { namespaces, not_namespaces, ..Match::default() }] });
        }
        let path = |text: &str| PathMatch::written(text).unwrap();
        let conditions = [
            (&rule.methods, RequestCondition::Method(read(&rule.methods, StringMatch::written))),
            (&rule.paths, RequestCondition::Path(read(&rule.paths, path))),
            (&rule.hosts, RequestCondition::Host(read(&rule.hosts, StringMatch::written))),
            (
                &rule.tag,
                RequestCondition::Header {
                    name: HeaderName::written("X-Tag"),
                    values: read(&rule.tag, StringMatch::written),
                },
            ),
        ];
        clauses.extend(conditions.into_iter().filter(|(field, _)| is_set(field)).map(|(_, condition)| one(condition)));
        Group { rule: at, clauses }
    });
    policy(&format!("p{number}"), PolicyScope::Namespace, written.action, groups.collect())
}

fn sample(draw: &mut Draw) -> Sample {
    Sample {
        namespace: (draw.below(4) > 0).then(|| *draw.one_of(&NAMESPACES)),
        method: draw.one_of::<&str>(&METHODS),
        target: draw.one_of::<&str>(&TARGETS),
        authority: draw.one_of::<&str>(&AUTHORITIES),
        tags: (0..draw.below(3)).map(|_| *draw.one_of(&TAGS)).collect(),
    }
}

#[test]
fn decisions_about_requests_agree_with_the_oracle() {
    const ROUNDS: usize = 3000;
    const REQUESTS: usize = 8;
    let mut draw = Draw(14);
    let destination = workload("reviews", &["10.0.0.2"]);
    let destination = Destination::of(&destination);
    let mut allowed = 0;
    for _ in 0..ROUNDS {
        let written: Vec<WrittenPolicy> = (0..draw.below(4)).map(|_| written_policy(&mut draw)).collect();
        let mesh = mesh(written.iter().enumerate().map(|(number, policy)| compiled(number, policy).into()));
        let of_pod = mesh.pod_policies(&destination);
        for _ in 0..REQUESTS {
            let sample = sample(&mut draw);
            let access = AccessRequest {
                source: sample.namespace.map(|namespace| Identity::new(TrustDomain::new("td"), namespace, "a")),
                source_ip: "10.0.0.1".parse().unwrap(),
                destination: "10.0.0.2:80".parse().unwrap(),
            };
            let head = RequestHead {
                method: sample.method.into(),
                target: sample.target.into(),
                authority: sample.authority.into(),
                fields: sample.tags.iter().map(|tag| ("x-tag", *tag)).collect(),
                ..RequestHead::default()
            };
            let about = || format!("{sample:?}\nunder {written:#?}");
            let http = HttpRequest::of(&head);
            let verdict = mesh.authorize_request(&destination, &access, &http);
            assert_eq!(mesh.authorize_request_under(&of_pod, &destination, &access, &http), verdict, "{}", about());
            let found = verdict.outcome.is_ok();
            assert_eq!(found, oracle(&written, |_, rule| rule.holds(&sample)), "{}", about());
            allowed += usize::from(found);
            // Istio's TCP rules: what needs HTTP allows nothing, and does not restrict what closes.
            let bytes = oracle(&written, |policy, rule| match policy.action {
                Action::Allow => !rule.is_about_http() && rule.holds_for_source(&sample),
                _ => rule.holds_for_source(&sample),
            });
            assert_eq!(mesh.authorize(&destination, &access).outcome.is_ok(), bytes, "{}", about());
            match mesh.admit(&destination, &access).outcome {
                Ok(Admission::Bytes(_)) => assert!(found, "nobody looks, and yet\n{}", about()),
                Ok(Admission::Requests) => {
                    let custom = written.iter().any(|policy| policy.action == Action::Custom);
                    let http = written.iter().flat_map(|policy| &policy.rules).any(WrittenRule::is_about_http);
                    assert!(custom || http, "nothing asks\n{}", about());
                }
                Err(_) => assert!(!found, "closed, and yet\n{}", about()),
            }
        }
    }
    let share = allowed * 100 / (ROUNDS * REQUESTS);
    assert!((20..80).contains(&share), "{share} % are allowed: too much of one kind");
}
