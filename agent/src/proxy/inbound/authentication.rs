//! Which RequestAuthentications count for a pod, with the keys of their issuers. Looked up again where the objects, or the pod's labels,
//! are others.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::enrollment::pod::EnrolledPod;
use crate::jwks::{IssuerKeys, KeySets};
use crate::model::authentication::{
    AuthenticationConfig, JwtRule, KeySource, PodAuthentication, RefusingObject, SelectedPod,
};
use crate::model::http::head::HttpFields;
use crate::proxy::found_by::FoundBy;
use crate::proxy::tokens::PodTokens;
use crate::state::SharedMesh;

/// The authentication of requests to one pod.
#[derive(Debug)]
pub(in crate::proxy) struct PodAuthenticator {
    known: ArcSwapOption<Known>,
    /// The tokens of its clients that were verified.
    pub(in crate::proxy) tokens: PodTokens,
}

/// What counts, and what that was found by.
#[derive(Debug)]
struct Known {
    found_by: FoundBy<AuthenticationConfig>,
    rules: Option<Arc<IssuerRules>>,
}

/// What requests to a pod must be.
#[derive(Debug)]
pub(super) struct IssuerRules {
    /// In the order in which they are asked.
    pub(super) rules: Vec<IssuerRule>,
    /// An object that cannot be understood.
    pub(super) refusing: Option<RefusingObject>,
    /// The fields that only the agent writes, in lower case.
    written: Vec<Arc<str>>,
}

/// A rule, and the keys of its issuer.
#[derive(Debug)]
pub(super) struct IssuerRule {
    pub(super) rule: Arc<JwtRule>,
    /// `None` where nobody here needs them.
    pub(super) keys: Option<Arc<IssuerKeys>>,
}

impl PodAuthenticator {
    pub(in crate::proxy) fn new(tokens: PodTokens) -> Self {
        Self { known: ArcSwapOption::empty(), tokens }
    }

    /// The rules for requests to the pod; `None` where no object is about it.
    pub(super) fn rules(
        &self,
        config: &Arc<AuthenticationConfig>,
        pod: &EnrolledPod,
        mesh: &SharedMesh,
        key_sets: &KeySets,
    ) -> Option<Arc<IssuerRules>> {
        if config.objects.is_empty() {
            return None;
        }
        let workload = mesh.read().workload_of_pod(pod.spec.key()).cloned();
        let found_by = FoundBy { config: config.clone(), pod: pod.current(), workload };
        if let Some(known) = &*self.known.load()
            && known.found_by == found_by
        {
            return known.rules.clone();
        }
        let (namespace, labels) = (&*pod.spec.namespace, &found_by.pod.labels);
        let found = config.of_pod(SelectedPod { namespace, labels, workload: found_by.workload.as_deref() });
        let rules = found.map(|found| Arc::new(IssuerRules::new(found, |source| Some(key_sets.of(source)))));
        // What it takes the place of has its keys until now, so that they are not fetched again.
        self.known.store(Some(Arc::new(Known { found_by, rules: rules.clone() })));
        rules
    }
}

impl IssuerRules {
    /// What counts for a pod, with the keys that `keys` finds.
    pub(super) fn new(found: PodAuthentication, keys: impl Fn(&KeySource) -> Option<Arc<IssuerKeys>>) -> Self {
        let written = found.rules.iter().flat_map(|rule| rule.written_headers()).cloned().collect();
        let with_keys = |rule: Arc<JwtRule>| IssuerRule { keys: keys(&rule.keys), rule };
        let rules = found.rules.into_iter().map(with_keys).collect();
        Self { rules, refusing: found.refusing, written }
    }

    /// Removes what a client has sent under the names of fields that only the agent writes, and under those that CGI and its heirs take
    /// for the same (RFC 3875 §4.1.18 makes `-` and `_` one).
    pub(super) fn remove_forged(&self, fields: &mut HttpFields) {
        let same = |(one, other): (&u8, &u8)| one == other || matches!((one, other), (b'_', b'-') | (b'-', b'_'));
        let is =
            |name: &[u8], written: &str| name.len() == written.len() && name.iter().zip(written.as_bytes()).all(same);
        if !self.written.is_empty() {
            fields.remove_if(|name, _| self.written.iter().any(|written| is(name, written)));
        }
    }
}
