//! The messages of NRI v1alpha1 in protobuf, with the fields that the agent reads or writes; other fields are skipped.

/// The service that the container runtime has, and its method for us.
pub(super) const RUNTIME_SERVICE: &str = "nri.pkg.api.v1alpha1.Runtime";
pub(super) const REGISTER: &str = "RegisterPlugin";
/// The service that we are.
pub(super) const PLUGIN_SERVICE: &str = "nri.pkg.api.v1alpha1.Plugin";

/// What happens to a pod, by the number that it has in subscriptions and in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Run = 1,
    Stop = 2,
    Remove = 3,
}

impl Event {
    pub(super) const ALL: [Self; 3] = [Self::Run, Self::Stop, Self::Remove];

    /// The event that a method reports.
    pub(super) fn of_method(method: &str) -> Option<Self> {
        match method {
            "RunPodSandbox" => Some(Self::Run),
            "StopPodSandbox" => Some(Self::Stop),
            "RemovePodSandbox" => Some(Self::Remove),
            _ => None,
        }
    }

    /// The number by which older container runtimes tell it.
    pub(super) fn of_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|event| *event as i32 == number)
    }

    /// The subscription to all of them: one bit each.
    pub(super) fn subscription() -> i32 {
        Self::ALL.into_iter().map(|event| 1 << (event as i32 - 1)).sum()
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RegisterPluginRequest {
    #[prost(string, tag = "1")]
    pub(super) plugin_name: String,
    /// Two digits: plugins are asked in their order.
    #[prost(string, tag = "2")]
    pub(super) plugin_idx: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ConfigureRequest {
    #[prost(string, tag = "2")]
    pub(super) runtime_name: String,
    #[prost(string, tag = "3")]
    pub(super) runtime_version: String,
    /// How long a request may take, in milliseconds; older container runtimes do not say.
    #[prost(int64, tag = "5")]
    pub(super) request_timeout: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ConfigureResponse {
    #[prost(int32, tag = "2")]
    pub(super) events: i32,
}

/// The pods that there are, in one part or several. Whoever follows Kubernetes has them already.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SynchronizeRequest {
    #[prost(bool, tag = "3")]
    pub(super) more: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SynchronizeResponse {
    #[prost(bool, tag = "2")]
    pub(super) more: bool,
}

/// The request of every event that has a method of its own.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) pod: Option<PodSandbox>,
}

/// How older container runtimes tell of all events.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StateChangeEvent {
    #[prost(int32, tag = "1")]
    pub(super) event: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) pod: Option<PodSandbox>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandbox {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) uid: String,
    #[prost(string, tag = "4")]
    pub(super) namespace: String,
    #[prost(message, optional, tag = "8")]
    pub(super) linux: Option<LinuxPodSandbox>,
    /// Older container runtimes do not say.
    #[prost(string, repeated, tag = "10")]
    pub(super) ips: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LinuxPodSandbox {
    #[prost(message, repeated, tag = "5")]
    pub(super) namespaces: Vec<LinuxNamespace>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LinuxNamespace {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) path: String,
}

impl PodSandbox {
    /// The path of the pod's network namespace; `None` for a pod on the node's own network.
    pub(super) fn netns(&self) -> Option<&str> {
        let namespaces = &self.linux.as_ref()?.namespaces;
        let network = namespaces.iter().find(|namespace| namespace.kind == "network")?;
        Some(network.path.as_str()).filter(|path| !path.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn namespace(kind: &str, path: &str) -> LinuxNamespace {
        LinuxNamespace { kind: kind.to_owned(), path: path.to_owned() }
    }

    #[test]
    fn events_have_a_method_a_number_and_a_bit() {
        assert_eq!(Event::subscription(), 0b111);
        for (method, number, event) in [
            ("RunPodSandbox", 1, Some(Event::Run)),
            ("StopPodSandbox", 2, Some(Event::Stop)),
            ("RemovePodSandbox", 3, Some(Event::Remove)),
            ("CreateContainer", 4, None),
            ("", 0, None),
        ] {
            assert_eq!((Event::of_method(method), Event::of_number(number)), (event, event), "{method}");
        }
    }

    #[test]
    fn a_pod_on_the_nodes_network_has_no_namespace_of_its_own() {
        let mount = || namespace("mount", "/m");
        for (namespaces, expected) in [
            (vec![], None),
            (vec![mount()], None),
            (vec![mount(), namespace("network", "")], None),
            (vec![mount(), namespace("network", "/var/run/netns/cni-1")], Some("/var/run/netns/cni-1")),
        ] {
            let pod = PodSandbox { linux: Some(LinuxPodSandbox { namespaces }), ..PodSandbox::default() };
            assert_eq!(pod.netns(), expected);
        }
        assert_eq!(PodSandbox::default().netns(), None);
    }

    #[test]
    fn what_is_not_of_use_is_skipped() {
        // Labels (5), annotations (6) and a process id (9) beside an id and an address.
        let told = b"\x0a\x01i\x2a\x06\x0a\x01a\x12\x01b\x32\x06\x0a\x01c\x12\x01d\x48\x07\x52\x0810.0.0.1";
        let pod = PodSandbox::decode(&told[..]).expect("valid");
        let expected = PodSandbox { id: "i".into(), ips: vec!["10.0.0.1".into()], ..PodSandbox::default() };
        assert_eq!(pod, expected);
    }
}
