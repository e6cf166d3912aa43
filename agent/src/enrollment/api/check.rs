//! The description of a pod from the enrolment API, checked field by field before anything is done with it. Of the node it
//! reads only whether the cgroup's directory exists.

use std::net::IpAddr;
use std::path::PathBuf;

use weir_common::MAX_PROBE_PORTS_PER_POD;

use crate::enrollment::error::EnrollmentError;
use crate::enrollment::netns::is_pod_address;
use crate::enrollment::pod::{Origin, PodSpec};
use crate::proto::enrollment as wire;

/// Longest text taken for a name; Kubernetes allows 253.
const MAX_NAME: usize = 253;
/// The kernel's limit for a path.
const MAX_PATH: usize = 4095;
/// Addresses of one pod. Kubernetes gives two.
const MAX_ADDRESSES: usize = 16;
/// The text of a `resolv.conf`: three servers and the longest search list that Kubernetes allows take a quarter.
const MAX_RESOLV_CONF: usize = 16 * 1024;
/// Labels of one pod, and the bytes of a key (prefix, slash, name) and of a value as Kubernetes has them.
const MAX_LABELS: usize = 256;
const MAX_LABEL_KEY: usize = 253 + 1 + 63;
const MAX_LABEL_VALUE: usize = 63;

/// The description, if all of it can be used.
///
/// # Errors
/// The first field that is wrong, and what it must be.
pub(super) fn check(pod: wire::Pod) -> Result<PodSpec, EnrollmentError> {
    check_name("uid", &pod.uid)?;
    check_name("name", &pod.name)?;
    check_name("namespace", &pod.namespace)?;
    let service_account = if pod.service_account.is_empty() { "default".to_owned() } else { pod.service_account };
    check_name("service_account", &service_account)?;
    check_path("netns", &pod.netns)?;
    let cgroup = if pod.cgroup.is_empty() { None } else { Some(check_cgroup(&pod.cgroup)?) };
    check_count("addresses", pod.addresses.len(), MAX_ADDRESSES)?;
    let mut addresses = Vec::with_capacity(pod.addresses.len());
    for text in &pod.addresses {
        let address = check_address(text)?;
        if addresses.contains(&address) {
            return Err(EnrollmentError::Invalid { field: "addresses", reason: format!("{text} is given twice") });
        }
        addresses.push(address);
    }
    check_count("labels", pod.labels.len(), MAX_LABELS)?;
    pod.labels.iter().try_for_each(|(key, value)| check_label(key, value))?;
    check_count("probe_ports", pod.probe_ports.len(), MAX_PROBE_PORTS_PER_POD)?;
    let probe_ports = pod.probe_ports.iter().map(|&port| check_port(port)).collect::<Result<_, _>>()?;
    let resolv_conf = Some(pod.resolv_conf).filter(|text| !text.is_empty());
    check_resolv_conf(resolv_conf.as_deref().unwrap_or_default())?;
    Ok(PodSpec {
        uid: pod.uid,
        kubelet_uid: None,
        name: pod.name,
        namespace: pod.namespace,
        workload_name: None,
        service_account,
        netns: pod.netns.into(),
        cgroup,
        addresses,
        labels: pod.labels.into_iter().collect(),
        probe_ports,
        resolv_conf,
        netns_cookie: None,
        origin: Origin::Node,
    })
}

/// Names end up in SPIFFE ids, metric labels and log lines: what Kubernetes allows in names, nothing else.
///
/// # Errors
/// When it is none.
pub fn check_name(field: &'static str, text: &str) -> Result<(), EnrollmentError> {
    let reason = if text.is_empty() {
        "missing".to_owned()
    } else if text.len() > MAX_NAME {
        format!("longer than {MAX_NAME} characters")
    } else if let Some(c) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._".contains(*c))) {
        format!("{c:?} is not allowed (letters, digits, '-', '.' and '_' are)")
    } else {
        return Ok(());
    };
    Err(EnrollmentError::Invalid { field, reason })
}

fn check_path(field: &'static str, text: &str) -> Result<PathBuf, EnrollmentError> {
    let reason = if text.is_empty() {
        "missing"
    } else if !text.starts_with('/') {
        "not an absolute path"
    } else if text.len() > MAX_PATH || text.contains('\0') {
        "not a path the kernel takes: too long, or with a zero byte"
    } else {
        return Ok(text.into());
    };
    Err(EnrollmentError::Invalid { field, reason: reason.to_owned() })
}

fn check_count(field: &'static str, count: usize, limit: usize) -> Result<(), EnrollmentError> {
    if count <= limit {
        return Ok(());
    }
    Err(EnrollmentError::Invalid { field, reason: format!("{count} of them, at most {limit} are taken") })
}

fn check_label(key: &str, value: &str) -> Result<(), EnrollmentError> {
    let shown: String = key.chars().take(MAX_NAME).collect();
    let reason = if key.is_empty() {
        "a key is empty".to_owned()
    } else if key.len() > MAX_LABEL_KEY {
        format!("key {shown:?}… is longer than {MAX_LABEL_KEY} characters")
    } else if value.len() > MAX_LABEL_VALUE {
        format!("the value of {shown:?} is longer than {MAX_LABEL_VALUE} characters")
    } else if key.chars().chain(value.chars()).any(|c| !(c.is_ascii_alphanumeric() || "-._/".contains(c))) {
        format!("{shown:?}: only letters, digits, '-', '.', '_' and '/' are allowed in a label")
    } else {
        return Ok(());
    };
    Err(EnrollmentError::Invalid { field: "labels", reason })
}

fn check_resolv_conf(text: &str) -> Result<(), EnrollmentError> {
    if text.len() <= MAX_RESOLV_CONF {
        return Ok(());
    }
    Err(EnrollmentError::Invalid { field: "resolv_conf", reason: format!("longer than {MAX_RESOLV_CONF} bytes") })
}

fn check_port(port: u32) -> Result<u16, EnrollmentError> {
    let invalid = || EnrollmentError::Invalid { field: "probe_ports", reason: format!("{port} is not a TCP port") };
    u16::try_from(port).ok().filter(|&port| port != 0).ok_or_else(invalid)
}

fn check_cgroup(text: &str) -> Result<PathBuf, EnrollmentError> {
    let path = check_path("cgroup", text)?;
    if path.join("cgroup.procs").is_file() {
        return Ok(path);
    }
    let reason = format!("{text} is not a cgroup directory (it has no cgroup.procs)");
    Err(EnrollmentError::Invalid { field: "cgroup", reason })
}

fn check_address(text: &str) -> Result<IpAddr, EnrollmentError> {
    let invalid = |reason: &str| {
        let shown: String = text.chars().take(MAX_NAME).collect();
        EnrollmentError::Invalid { field: "addresses", reason: format!("{shown:?} {reason}") }
    };
    let address: IpAddr = text.parse().map_err(|_| invalid("is not an IP address"))?;
    let address = address.to_canonical();
    if is_pod_address(address) { Ok(address) } else { Err(invalid("is not an address a pod can be reached at")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> wire::Pod {
        wire::Pod {
            uid: "u".to_owned(),
            name: "n".to_owned(),
            namespace: "ns".to_owned(),
            netns: "/run/netns/x".to_owned(),
            addresses: vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()],
            ..Default::default()
        }
    }

    #[test]
    fn a_whole_description_is_taken_and_defaults_are_filled_in() {
        let spec = check(pod()).expect("valid");
        assert_eq!(spec.service_account, "default");
        assert_eq!(spec.addresses.len(), 2);
    }

    #[test]
    fn every_wrong_field_is_named() {
        type Break = fn(&mut wire::Pod);
        let cases: [(&str, Break); 29] = [
            ("uid: missing", |p| p.uid.clear()),
            ("name: missing", |p| p.name.clear()),
            ("namespace: ' ' is not allowed", |p| p.namespace = "a b".to_owned()),
            ("service_account: '/' is not allowed", |p| p.service_account = "a/b".to_owned()),
            ("netns: missing", |p| p.netns.clear()),
            ("netns: not an absolute path", |p| p.netns = "run/netns/x".to_owned()),
            ("cgroup: /nowhere is not a cgroup directory", |p| p.cgroup = "/nowhere".to_owned()),
            ("addresses: \"x\" is not an IP address", |p| p.addresses.push("x".to_owned())),
            ("addresses: \"127.0.0.1\" is not an address a pod", |p| p.addresses.push("127.0.0.1".to_owned())),
            ("addresses: 10.0.0.1 is given twice", |p| p.addresses.push("10.0.0.1".to_owned())),
            ("addresses: ::ffff:10.0.0.1 is given twice", |p| p.addresses.push("::ffff:10.0.0.1".to_owned())),
            ("addresses: \"::1\" is not an address a pod", |p| p.addresses.push("::1".to_owned())),
            ("addresses: \"0.0.0.0\" is not an address a pod", |p| p.addresses.push("0.0.0.0".to_owned())),
            ("addresses: \"fe80::1\" is not an address a pod", |p| p.addresses.push("fe80::1".to_owned())),
            ("addresses: \"10.0.0.1/8\" is not an IP", |p| p.addresses.push("10.0.0.1/8".to_owned())),
            ("addresses: \"\" is not an IP", |p| p.addresses.push(String::new())),
            ("addresses: 18 of them", |p| p.addresses.extend((2..18).map(|i| format!("10.0.0.{i}")))),
            ("uid: longer than 253", |p| p.uid = "x".repeat(254)),
            ("uid: '\\n' is not allowed", |p| p.uid = "a\nb".to_owned()),
            ("name: '\\0' is not allowed", |p| p.name = "a\0b".to_owned()),
            ("netns: not a path", |p| p.netns = format!("/{}", "x".repeat(4095))),
            ("netns: not a path", |p| p.netns = "/run/netns/a\0b".to_owned()),
            ("labels: a key is empty", |p| drop(p.labels.insert(String::new(), "x".to_owned()))),
            ("labels: the value of \"a\"", |p| drop(p.labels.insert("a".to_owned(), "x".repeat(64)))),
            ("probe_ports: 65536 is not a TCP port", |p| p.probe_ports.push(65_536)),
            ("probe_ports: 0 is not a TCP port", |p| p.probe_ports.push(0)),
            ("resolv_conf: longer than 16384 bytes", |p| p.resolv_conf = "#".repeat(16385)),
            ("probe_ports: 65 of them", |p| p.probe_ports.extend(1..=65)),
            ("labels: 257 of them", |p| p.labels.extend((0..257).map(|i| (format!("l{i}"), String::new())))),
        ];
        for (expected, damage) in cases {
            let mut pod = pod();
            damage(&mut pod);
            let error = check(pod).expect_err(expected).to_string();
            assert!(error.starts_with(expected), "{error:?} should start with {expected:?}");
        }
    }
}
