//! Arbitrary objects about routes out of a fuzzer's bytes, as their authors write them, and requests. Of most objects the form is right; the
//! values are few, so that they often meet. Decides nothing.

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use weir::api::model::http::RequestHead;

use crate::route_grammar::KINDS;

/// Where objects are, and the pods that send requests.
pub(crate) const NAMESPACES: [&str; 2] = ["a", "b"];
/// Namespace and host of the services that there are, and of one that there is not.
pub(crate) const SERVICES: [(&str, &str); 4] = [
    ("a", "s.a.svc.cluster.local"),
    ("a", "t.a.svc.cluster.local"),
    ("b", "s.b.svc.cluster.local"),
    ("b", "x.example"),
];
/// The objects of those services.
const SERVICE_OBJECTS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: s, namespace: a}
spec: {hosts: [s.a.svc.cluster.local], addresses: [10.0.0.1], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: t, namespace: a}
spec: {hosts: [t.a.svc.cluster.local], addresses: [10.0.0.2], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: s, namespace: b}
spec: {hosts: [s.b.svc.cluster.local], addresses: [10.0.0.3], resolution: STATIC, ports: [{number: 8080, name: http, protocol: HTTP}]}
";

/// See the module.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Objects that were in force before, and those that are.
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) requests: Vec<RequestHead>,
}

pub(crate) fn sample(input: &mut Unstructured<'_>) -> Result<Sample> {
    let requests = (0..3).map(|_| request(input)).collect::<Result<_>>()?;
    let after = documents(input)?;
    Ok(Sample { before: documents(input)?, after, requests })
}

fn request(input: &mut Unstructured<'_>) -> Result<RequestHead> {
    let mut head = RequestHead {
        method: (*input.choose(&["GET", "POST", "OPTIONS"])?).into(),
        target: (*input.choose(TARGETS)?).into(),
        authority: (*input.choose(&["s", "s.a.svc.cluster.local", "s.a.svc.cluster.local:80", "x.example", ""])?)
            .into(),
        ..RequestHead::default()
    };
    for _ in 0..u8::arbitrary(input)? % 3 {
        let [name, value] = [NAMES, VALUES].map(|texts| input.choose(texts).copied());
        head.fields.append(name?.as_bytes(), value?.as_bytes());
    }
    Ok(head)
}

const TARGETS: &[&str] =
    &["/", "/a", "/a/", "/a/b", "/ab", "/A", "/b?x=a", "/a/b/c?y=b&x=", "*", "/a.B/c", "/%61", "/a#b", "/é"];
const NAMES: &[&str] = &["x-a", "x-b", "cookie"];
const VALUES: &[&str] = &["a", "b", "ab", "", "a,b"];

/// Up to five objects, behind those of the services.
fn documents(input: &mut Unstructured<'_>) -> Result<String> {
    let mut text = SERVICE_OBJECTS.to_owned();
    for number in 0..u8::arbitrary(input)? % 6 {
        let (version, kind, spec) = input.choose(KINDS)?;
        let namespace = input.choose(&["a", "a", "b", "istio-system"])?;
        text += &format!(
            "---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: o{number}, namespace: {namespace}}}\n"
        );
        text += "spec: ";
        spec.write(input, &mut text)?;
        text.push('\n');
    }
    Ok(text)
}
