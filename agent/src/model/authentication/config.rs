//! Which RequestAuthentications count for a pod, and what they come to together. Those of the root namespace and of the pod's own
//! are added up: none overrides another.

use std::sync::Arc;

use super::rule::JwtRule;
use crate::model::peer_authentication::{Labels, selects};
use crate::model::policy_object::PolicyTarget;
use crate::model::workload::Workload;

/// A pod, as selectors look at it.
#[derive(Debug, Clone, Copy)]
pub struct SelectedPod<'a> {
    pub namespace: &'a str,
    /// Its labels, as far as whoever enrolled it has told them.
    pub labels: &'a Labels,
    /// What the mesh says of it; `None` while that is not known.
    pub workload: Option<&'a Workload>,
}

/// A RequestAuthentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationObject {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub target: PolicyTarget,
    pub rules: Vec<Arc<JwtRule>>,
    /// Why it cannot be understood. It then refuses every request in its scope: what it would have demanded of them is not known.
    pub invalid: Option<Arc<str>>,
}

/// All RequestAuthentications.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthenticationConfig {
    pub objects: Vec<Arc<AuthenticationObject>>,
    pub root_namespace: Arc<str>,
}

/// What requests to one pod must be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodAuthentication {
    /// In the order of their issuers, of which several rules may have the same.
    pub rules: Vec<Arc<JwtRule>>,
    /// An object that cannot be understood.
    pub refusing: Option<RefusingObject>,
}

/// A RequestAuthentication that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("RequestAuthentication {object} cannot be understood ({reason}) and refuses all requests in its scope")]
pub struct RefusingObject {
    /// `<namespace>/<name>`.
    pub object: Arc<str>,
    pub reason: Arc<str>,
}

impl AuthenticationObject {
    /// Whether it is about a pod. It is where either the pod's own labels or those that the mesh knows of its workload say so: not all
    /// are known to both.
    #[must_use]
    pub fn is_about(&self, root_namespace: &str, pod: SelectedPod<'_>) -> bool {
        let is_near = *self.namespace == *pod.namespace || *self.namespace == *root_namespace;
        is_near
            && match &self.target {
                PolicyTarget::Namespace => true,
                PolicyTarget::Selector(selector) => {
                    selects(selector, pod.labels) || pod.workload.is_some_and(|workload| workload.carries(selector))
                }
                PolicyTarget::Elsewhere => false,
            }
    }

    /// `<namespace>/<name>`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl AuthenticationConfig {
    /// The objects that are about a pod.
    pub fn about<'a>(&'a self, pod: SelectedPod<'a>) -> impl Iterator<Item = &'a Arc<AuthenticationObject>> {
        self.objects.iter().filter(move |object| object.is_about(&self.root_namespace, pod))
    }

    /// What counts for a pod; `None` where no object is about it.
    #[must_use]
    pub fn of_pod(&self, pod: SelectedPod<'_>) -> Option<PodAuthentication> {
        let mut found: Option<PodAuthentication> = None;
        for object in self.about(pod) {
            let found = found.get_or_insert_default();
            found.rules.extend(object.rules.iter().cloned());
            if let Some(reason) = &object.invalid
                && found.refusing.is_none()
            {
                found.refusing = Some(RefusingObject { object: object.key().into(), reason: reason.clone() });
            }
        }
        let mut found = found?;
        found.rules.sort_by(|one, other| one.issuer.cmp(&other.issuer));
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::authentication::{KeySource, TokenPlaces};

    fn rule(issuer: &str) -> Arc<JwtRule> {
        Arc::new(JwtRule {
            issuer: issuer.into(),
            audiences: Vec::new(),
            keys: KeySource::Inline("".into()),
            places: TokenPlaces::default(),
            payload_header: None,
            claim_headers: Vec::new(),
            forwards_token: false,
            timeout: Duration::ZERO,
            space_delimited: Vec::new(),
        })
    }

    fn object(namespace: &str, name: &str, target: PolicyTarget, issuers: &[&str]) -> AuthenticationObject {
        let rules = issuers.iter().map(|issuer| rule(issuer)).collect();
        AuthenticationObject { namespace: namespace.into(), name: name.into(), target, rules, invalid: None }
    }

    #[test]
    fn objects_add_up_in_the_order_of_their_issuers() {
        let labels = |app: &str| Labels::from([("app".to_owned(), app.to_owned())]);
        let selector = |app: &str| PolicyTarget::Selector(labels(app));
        let unreadable =
            AuthenticationObject { invalid: Some("no".into()), ..object("shop", "bad", selector("bad"), &[]) };
        let objects = [
            object("shop", "web", selector("web"), &["w", "a"]),
            object("istio-system", "all", PolicyTarget::Namespace, &["m"]),
            object("istio-system", "web", selector("web"), &["a"]),
            object("other", "all", PolicyTarget::Namespace, &["o"]),
            object("shop", "gateway", PolicyTarget::Elsewhere, &["g"]),
            unreadable,
        ];
        let all = AuthenticationConfig {
            objects: objects.into_iter().map(Arc::new).collect(),
            root_namespace: "istio-system".into(),
        };
        for (namespace, app, issuers, refuses) in [
            ("shop", "web", &["a", "a", "m", "w"][..], false),
            ("shop", "db", &["m"], false),
            ("other", "web", &["a", "m", "o"], false),
            ("shop", "bad", &["m"], true),
        ] {
            let labels = labels(app);
            let pod = SelectedPod { namespace, labels: &labels, workload: None };
            let found = all.of_pod(pod).unwrap();
            let found_issuers: Vec<&str> = found.rules.iter().map(|rule| &*rule.issuer).collect();
            assert_eq!((found_issuers.as_slice(), found.refusing.is_some()), (issuers, refuses), "{namespace}/{app}");
        }
        let none = Labels::new();
        let web = Workload { canonical_name: "web".into(), ..Workload::new("shop/1", "shop", "web-1") };
        for (workload, expected) in [(None, &["m"][..]), (Some(&web), &["a", "a", "m", "w"])] {
            let found = all.of_pod(SelectedPod { namespace: "shop", labels: &none, workload }).unwrap();
            let found: Vec<&str> = found.rules.iter().map(|rule| &*rule.issuer).collect();
            assert_eq!(found, expected, "by what the mesh says of it");
        }
        let pod = SelectedPod { namespace: "shop", labels: &none, workload: None };
        assert_eq!(AuthenticationConfig::default().of_pod(pod), None);
    }
}
