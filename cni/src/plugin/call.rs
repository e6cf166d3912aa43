//! What the container runtime says in the environment: the command, the sandbox, and the pod that it is for.

use super::error::{CniError, Code};

/// A variable's value by its name.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Del,
    Check,
    Version,
    Gc,
    Status,
}

/// A call about one sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) container: String,
    pub(crate) netns: String,
    pub(crate) interface: String,
    /// None where the sandbox belongs to no pod of Kubernetes.
    pub(crate) pod: Option<PodName>,
}

/// How the container runtime names a pod; the uid is empty where it does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PodName {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// The command of this call.
///
/// # Errors
/// When it is missing or none of CNI's.
pub(crate) fn verb(environment: Environment<'_>) -> Result<Verb, CniError> {
    match required(environment, "CNI_COMMAND")?.as_str() {
        "ADD" => Ok(Verb::Add),
        "DEL" => Ok(Verb::Del),
        "CHECK" => Ok(Verb::Check),
        "VERSION" => Ok(Verb::Version),
        "GC" => Ok(Verb::Gc),
        "STATUS" => Ok(Verb::Status),
        other => {
            let details = "this program is a CNI plugin: the container runtime calls it";
            Err(CniError::new(Code::InvalidEnvironment, format!("CNI_COMMAND {other:?} is not known"), details))
        }
    }
}

impl Call {
    /// # Errors
    /// When a variable that the command needs is missing.
    pub(crate) fn from_environment(verb: Verb, environment: Environment<'_>) -> Result<Self, CniError> {
        let netns = match verb {
            // The namespace may be gone before the sandbox is let go.
            Verb::Del => environment("CNI_NETNS").unwrap_or_default(),
            _ => required(environment, "CNI_NETNS")?,
        };
        Ok(Self {
            container: required(environment, "CNI_CONTAINERID")?,
            netns,
            interface: required(environment, "CNI_IFNAME")?,
            pod: pod(&environment("CNI_ARGS").unwrap_or_default()),
        })
    }
}

fn required(environment: Environment<'_>, name: &str) -> Result<String, CniError> {
    environment(name).filter(|value| !value.is_empty()).ok_or_else(|| {
        let details = "this program is a CNI plugin: the container runtime calls it";
        CniError::new(Code::InvalidEnvironment, format!("{name} is missing"), details)
    })
}

/// The pod among arguments such as `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=…`.
fn pod(arguments: &str) -> Option<PodName> {
    let value = |key: &str| {
        let mut pairs = arguments.split(';').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).filter(|value| !value.is_empty())
    };
    Some(PodName {
        namespace: value("K8S_POD_NAMESPACE")?,
        name: value("K8S_POD_NAME")?,
        uid: value("K8S_POD_UID").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn a_pod_is_named_by_its_arguments() {
        let whole =
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u";
        for (arguments, expected) in [
            (whole, Some(("shop", "web-1", "u"))),
            ("K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop", Some(("shop", "web", ""))),
            ("K8S_POD_NAME=web", None),
            ("K8S_POD_NAME=web;K8S_POD_NAMESPACE=", None),
            ("", None),
            (";;=;K8S_POD_NAME", None),
        ] {
            let named = pod(arguments);
            let named = named.as_ref().map(|pod| (pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_str()));
            assert_eq!(named, expected, "{arguments}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let whole = [("CNI_CONTAINERID", "c"), ("CNI_NETNS", "/n"), ("CNI_IFNAME", "eth0")];
        assert!(Call::from_environment(Verb::Add, &environment(&whole)).is_ok());
        for missing in 0..whole.len() {
            let mut pairs = whole.to_vec();
            let (name, _) = pairs.remove(missing);
            let error = Call::from_environment(Verb::Add, &environment(&pairs)).expect_err(name);
            assert_eq!((error.code, error.message), (Code::InvalidEnvironment, format!("{name} is missing")));
        }
        assert!(Call::from_environment(Verb::Del, &environment(&[whole[0], whole[2]])).is_ok(), "it may be gone");
    }

    #[test]
    fn commands_are_those_of_the_specification() {
        for (text, expected) in [
            ("ADD", Some(Verb::Add)),
            ("DEL", Some(Verb::Del)),
            ("CHECK", Some(Verb::Check)),
            ("VERSION", Some(Verb::Version)),
            ("GC", Some(Verb::Gc)),
            ("STATUS", Some(Verb::Status)),
            ("add", None),
            ("", None),
        ] {
            assert_eq!(verb(&environment(&[("CNI_COMMAND", text)])).ok(), expected, "{text:?}");
        }
    }
}
