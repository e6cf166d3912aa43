//! Which requests a rule is for. Each table is of one route; its rows are requests and the pod that answers them.

use anyhow::{Context, Result};
use weir_tests::http_mesh::{HttpMesh, HttpService};

use super::split::answered_by;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: a VirtualService matches path, method, headers and query",
        check: Check::Http(virtual_service),
    },
    Case {
        name: "http: an HTTPRoute matches path segments, method, headers and query",
        check: Check::Http(http_route),
    },
    Case {
        name: "http: a VirtualService's rules count in their order, an HTTPRoute's by how exact they are",
        check: Check::Http(order),
    },
    Case { name: "http: where no rule matches the answer is 404", check: Check::Http(no_rule) },
    Case { name: "http: matches by port, source labels and gateways", check: Check::Http(static_matches) },
    Case { name: "http: authority is compared as it was sent, with its port", check: Check::Http(authority) },
];

/// A request (path, arguments of curl) and the pod that is to answer; none: 404.
type Row = (&'static str, &'static [&'static str], Option<&'static str>);

/// Checks a table, once a row without a pod holds: before the route counts, every request has one.
fn holds(service: &HttpService<'_>, rows: &[Row]) -> Result<()> {
    if let Some((path, more, _)) = rows.iter().find(|(.., pod)| pod.is_none()) {
        service.comes_to("the route counts", path, more, |answer| answer.status == 404)?;
    }
    for (path, more, pod) in rows {
        let status = if pod.is_some() { 200 } else { 404 };
        service.ask(path, more)?.expect(status, *pod).with_context(|| format!("{path} {more:?}"))?;
    }
    Ok(())
}

/// Rules of a VirtualService: matches in YAML flow, each with its version; nothing else matches.
fn rules(matches: &[(&str, &str)]) -> String {
    let rule = |(condition, pod): &(&str, &str)| {
        format!("{{match: [{condition}], route: [{{destination: {{host: {pod}}}}}]}}")
    };
    format!("[{}]", matches.iter().map(rule).collect::<Vec<_>>().join(", "))
}

fn virtual_service(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("vs-match")?;
    let _route = service.virtual_service(&rules(&[
        ("{uri: {exact: /exact}}", "v1"),
        ("{uri: {prefix: /api}}", "v2"),
        ("{uri: {regex: '/r[0-9]+'}}", "v3"),
        ("{uri: {prefix: /CASE}, ignoreUriCase: true}", "v1"),
        ("{uri: {prefix: /method}, method: {exact: POST}}", "v2"),
        ("{uri: {prefix: /head}, headers: {x-user: {exact: eve}, x-team: {prefix: b}}}", "v3"),
        ("{uri: {prefix: /regex}, headers: {x-user: {regex: 'a.c'}}}", "v1"),
        ("{uri: {prefix: /present}, headers: {x-user: {regex: '*'}}}", "v2"),
        ("{uri: {prefix: /without}, withoutHeaders: {x-user: {exact: eve}}}", "v3"),
        ("{uri: {prefix: /query}, queryParams: {a: {exact: '1'}, b: {regex: '[x-z]+'}}}", "v1"),
        (
            "{uri: {prefix: /either}, method: {exact: PUT}}, {uri: {prefix: /either}, headers: {x-user: {exact: eve}}}",
            "v2",
        ),
    ]))?;
    holds(
        &service,
        &[
            ("/exact", &[], Some("v1")),
            ("/exact?query", &[], Some("v1")),
            ("/exact/", &[], None),
            ("/Exact", &[], None),
            ("/api", &[], Some("v2")),
            ("/api/x", &[], Some("v2")),
            // A prefix is one of text.
            ("/apix", &[], Some("v2")),
            ("/r42", &[], Some("v3")),
            // A regular expression matches the whole path.
            ("/r42/", &[], None),
            ("/r", &[], None),
            ("/cAsE/x", &[], Some("v1")),
            ("/method", &["-XPOST"], Some("v2")),
            ("/method", &[], None),
            ("/head", &["-HX-User: eve", "-Hx-team: blue"], Some("v3")),
            ("/head", &["-Hx-user: eve"], None),
            ("/head", &["-Hx-user: Eve", "-Hx-team: blue"], None),
            ("/regex", &["-Hx-user: abc"], Some("v1")),
            ("/regex", &["-Hx-user: abcd"], None),
            // Of several fields of one name one is enough; they are not one value.
            ("/regex", &["-Hx-user: z", "-Hx-user: abc"], Some("v1")),
            ("/regex", &["-Hx-user: a", "-Hx-user: c"], None),
            ("/present", &["-Hx-user: anybody"], Some("v2")),
            ("/present", &[], None),
            ("/without", &[], Some("v3")),
            ("/without", &["-Hx-user: adam"], Some("v3")),
            ("/without", &["-Hx-user: eve"], None),
            ("/query?b=xyz&a=1", &[], Some("v1")),
            ("/query?a=1&a=2&b=x", &[], Some("v1")),
            ("/query?a=2&a=1&b=x", &[], None),
            ("/query?a=%31&b=x", &[], None),
            ("/query?b=x", &[], None),
            ("/either", &["-XPUT"], Some("v2")),
            ("/either", &["-Hx-user: eve"], Some("v2")),
            ("/either", &[], None),
        ],
    )
}

fn http_route(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("gw-match")?;
    let rule =
        |condition: &str, pod: &str| format!("{{matches: [{condition}], backendRefs: [{{name: {pod}, port: 80}}]}}");
    let rules = [
        rule("{path: {value: /api}}", "v1"),
        rule("{path: {type: Exact, value: /exact}}", "v2"),
        rule("{path: {type: RegularExpression, value: '/r[0-9]+'}}", "v3"),
        rule("{path: {value: /m}, method: POST}", "v2"),
        rule("{path: {value: /h}, headers: [{name: X-User, value: eve}]}", "v3"),
        rule("{path: {value: /hr}, headers: [{type: RegularExpression, name: x-user, value: 'a.c'}]}", "v1"),
        rule("{path: {value: /q}, queryParams: [{name: a, value: '1'}]}", "v2"),
        "{name: named, matches: [{path: {value: /named}}], backendRefs: [{name: v3, port: 80}]}".to_owned(),
    ];
    let _route = service.http_route(&format!("[{}]", rules.join(", ")))?;
    holds(
        &service,
        &[
            ("/api/x", &[], Some("v1")),
            ("/api", &[], Some("v1")),
            ("/api/", &[], Some("v1")),
            // A prefix is one of segments.
            ("/apix", &[], None),
            ("/exact", &[], Some("v2")),
            ("/exact/x", &[], None),
            ("/r7", &[], Some("v3")),
            ("/m", &["-XPOST"], Some("v2")),
            ("/m", &[], None),
            ("/h", &["-Hx-user: eve"], Some("v3")),
            ("/h", &["-Hx-user: adam"], None),
            ("/hr", &["-Hx-user: abc"], Some("v1")),
            ("/q?a=1", &[], Some("v2")),
            ("/q?a=2", &[], None),
            ("/named", &[], Some("v3")),
            ("/", &[], None),
        ],
    )
}

fn order(mesh: &HttpMesh) -> Result<()> {
    let in_order = mesh.service("vs-order")?;
    let _route = in_order.virtual_service(&rules(&[("{uri: {prefix: /}}", "v1"), ("{uri: {exact: /x}}", "v2")]))?;
    answered_by(&in_order, &["v1"])?;
    holds(&in_order, &[("/y", &[], Some("v1")), ("/x", &[], Some("v1"))])?;
    let by_exactness = mesh.service("gw-order")?;
    let _route = by_exactness.http_route(
        "[{matches: [{path: {value: /}}], backendRefs: [{name: v1, port: 80}]}, \
          {matches: [{path: {value: /x}}], backendRefs: [{name: v2, port: 80}]}, \
          {matches: [{path: {type: Exact, value: /x}}], backendRefs: [{name: v3, port: 80}]}]",
    )?;
    answered_by(&by_exactness, &["v1"])?;
    holds(&by_exactness, &[("/x", &[], Some("v3")), ("/x/y", &[], Some("v2")), ("/y", &[], Some("v1"))])
}

fn no_rule(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("no-rule")?;
    let _route = service.virtual_service(&rules(&[("{uri: {exact: /only}}", "v1")]))?;
    let answer = service.comes_to("the route counts", "/other", &[], |answer| answer.status == 404)?;
    answer.expect(404, None)?;
    anyhow::ensure!(answer.body.is_empty(), "{answer:?}");
    service.ask("/only", &[])?.expect(200, Some("v1"))
}

fn static_matches(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("static-match")?;
    let _route = service.virtual_service(&rules(&[
        ("{port: 8082}", "v3"),
        ("{uri: {prefix: /mine}, sourceLabels: {app: client}}", "v1"),
        ("{uri: {prefix: /other}, sourceLabels: {app: another}}", "v1"),
        ("{uri: {prefix: /mesh}, gateways: [mesh], sourceLabels: {app: another}}", "v2"),
        ("{uri: {prefix: /gateway}, gateways: [edge]}", "v2"),
    ]))?;
    holds(
        &service,
        &[
            ("/mine", &[], Some("v1")),
            ("/other", &[], None),
            // A match that names gateways does not ask for labels.
            ("/mesh", &[], Some("v2")),
            ("/gateway", &[], None),
        ],
    )?;
    // The route names the port, so it carries HTTP though it declares no protocol.
    service.ask_at(service.vip(), 8082, "/any", &[])?.expect(200, Some("v3"))
}

fn authority(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("authority")?;
    let _route = service.virtual_service(&rules(&[
        ("{authority: {exact: a.example}}", "v1"),
        ("{authority: {exact: 'a.example:9999'}}", "v2"),
    ]))?;
    holds(
        &service,
        &[
            ("/", &["-HHost: a.example"], Some("v1")),
            ("/", &["-HHost: a.example:9999"], Some("v2")),
            ("/", &["-HHost: A.example"], None),
            // The address says which service it is, whatever Host says.
            ("/", &["-HHost: v1.shop.svc.cluster.local"], None),
        ],
    )
}
