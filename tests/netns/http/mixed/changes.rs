//! Routes and policies that change, and when each version of them may have decided.

use anyhow::{Context, Result};
use weir_tests::load::{Moment, moment};
use weir_tests::mesh::NAMESPACE;
use weir_tests::objects::authorization_policy;

use super::stage::{SPREAD, Stage};

/// When a version of an object was written, and by when it was seen to count.
#[derive(Debug, Clone, Copy)]
struct Version {
    written: Moment,
    counts: Moment,
}

/// The versions of one object, each of which ends the one before.
#[derive(Debug, Default)]
pub(super) struct Versions(Vec<Version>);

/// All that was changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) routes: Versions,
    pub(super) policies: Versions,
}

/// Where the rule leads that each version of the route changes: pods and the port of their services, in turn.
const LEADS_TO: [(&[&str], u16); 4] = [(&["v1"], 80), (&["v2"], 8081), (&["v1", "v3"], 80), (&["v3", "v2"], 8081)];

impl Versions {
    fn begin(&mut self) -> usize {
        self.0.push(Version { written: moment(), counts: Moment::MAX });
        self.0.len() - 1
    }

    fn count(&mut self) {
        if let Some(version) = self.0.last_mut() {
            version.counts = moment();
        }
    }

    /// Whether a version may have decided about a request that was under way from one moment to another.
    pub(super) fn may_decide(&self, version: usize, begun: Moment, ended: Moment) -> bool {
        let until = self.0.get(version + 1).map_or(Moment::MAX, |next| next.counts);
        self.0.get(version).is_some_and(|version| version.written <= ended && begun <= until)
    }

    /// All versions that may have decided about it.
    pub(super) fn deciding(&self, begun: Moment, ended: Moment) -> impl Iterator<Item = usize> {
        (0..self.0.len()).filter(move |version| self.may_decide(*version, begun, ended))
    }
}

impl Changes {
    /// Writes the next version of the route and of the policy.
    pub(super) fn write(&mut self, stage: &Stage<'_>) -> Result<()> {
        let route = self.routes.begin();
        // It is written over by the next one.
        std::mem::forget(stage.mixed().http_route(&rules(route))?);
        let policy = self.policies.begin();
        let allowed = authorization_policy("mixed", NAMESPACE, "web", "ALLOW", &allowed(policy, &stage.client()));
        stage.mesh.control_plane.objects.put("policy-mixed", &allowed)
    }

    /// Waits until both count at every agent.
    pub(super) fn count(&mut self, stage: &Stage<'_>) -> Result<()> {
        let last = self.versions() - 1;
        let number = last.to_string();
        stage
            .mixed()
            .comes_to("the route counts", "/always/asked", &[], |answer| answer.header("x-route") == Some(&number))?;
        self.routes.count();
        for version in ["v1", "v2"] {
            let asked = format!("/policy/{last}");
            let service = stage.mesh.version(version);
            service.comes_to("the policy counts", &asked, &[], |answer| answer.status == 200).context(version)?;
        }
        self.policies.count();
        Ok(())
    }

    /// How many there were of each.
    pub(super) fn versions(&self) -> usize {
        self.routes.0.len()
    }
}

/// The rules of a version of the route. Each says with its answers which version it is of, and which pods it leads to.
fn rules(version: usize) -> String {
    let rule = |matches: &str, permits: &str, to: &str| {
        format!(
            "{{matches: [{matches}], filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-route, value: \
             \"{version}\"}}, {{name: x-permits, value: \"{permits}\"}}]}}}}], backendRefs: [{to}]}}"
        )
    };
    let to = |pods: &[&str], port: u16| {
        let to = pods.iter().map(|pod| format!("{{name: {pod}, port: {port}}}"));
        to.collect::<Vec<_>>().join(", ")
    };
    let (pods, port) = LEADS_TO[version % LEADS_TO.len()];
    let calls = if version.is_multiple_of(2) { ["v1"] } else { ["v2"] };
    let rules = [
        rule("{headers: [{name: x-pin, value: \"yes\"}]}", "v3", &to(&["v3"], 80)),
        rule("{path: {value: /spread}}", "v1 v2 v3 v4", &to(&[SPREAD], 80)),
        rule("{path: {value: /echo.Echo}}", calls[0], &to(&calls, 9000)),
        rule("{path: {value: /}}", &pods.join(" "), &to(pods, port)),
    ];
    format!("[{}]", rules.join(", "))
}

/// The rules of a version of the policy: what it always allows the client, and what only every other one does.
fn allowed(version: usize, client: &str) -> String {
    let parity = version % 2;
    format!(
        "[{{from: [{{source: {{principals: [\"{client}\"]}}}}], to: [{{operation: {{paths: [/, \"/always/*\", /spread, \"/echo.Echo/*\", \
         /open/{parity}, /policy/{version}]}}}}]}}]"
    )
}
