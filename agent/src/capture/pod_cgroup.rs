//! The cgroup of one pod, as the kubelet makes and calls it: `podUID` below the pods' cgroup or below that of a class of
//! service (`burstable`), or `…-podUID.slice` with `_` for `-` where systemd keeps the cgroups.

use std::fs;
use std::path::Path;

use super::cgroup::Cgroup;

/// The uid that a part of a cgroup's path names, if it is that of a pod's cgroup.
fn uid_of(component: &str) -> Option<String> {
    let uid = match component.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod").map(|(_, uid)| uid.replace('_', "-")),
        None => component.strip_prefix("pod").map(str::to_owned),
    };
    uid.filter(|uid| !uid.is_empty())
}

/// The uid of the pod that a process belongs to, from its `/proc/PID/cgroup`. The topmost cgroup of a pod counts: what is
/// below it is the pod's own, who may call it as it likes.
#[must_use]
pub fn pod_uid(table: &str) -> Option<String> {
    let paths = table.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.split('/')).find_map(uid_of)
}

/// The cgroup of the pod with this uid, below that of all pods.
pub(super) fn find(pods: &Cgroup, uid: &str) -> Option<Cgroup> {
    let children = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        directories.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let name = |path: &Path| path.file_name().and_then(|name| uid_of(name.to_str()?));
    let top = children(&pods.path);
    let is_it = |path: &&std::path::PathBuf| name(path).as_deref() == Some(uid);
    if let Some(found) = top.iter().find(is_it) {
        return Cgroup::open(found).ok();
    }
    let classes = top.iter().filter(|path| name(path).is_none());
    let found = classes.flat_map(|class| children(class)).find(|path| is_it(&path))?;
    Cgroup::open(&found).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "7d5c0a6e-9d3c-4f0a-a1d0-8b6f5f1c2e3d";

    #[test]
    fn a_process_is_the_pod_s_that_the_kubelet_s_cgroup_names() {
        let systemd = UID.replace('-', "_");
        for (table, expected) in [
            (format!("0::/kubepods/burstable/pod{UID}/0123"), Some(UID)),
            (format!("0::/../../kubepods.slice/kubepods-pod{systemd}.slice/cri-containerd-01.scope"), Some(UID)),
            (format!("0::/kubelet-kubepods-burstable-pod{systemd}.slice/x"), Some(UID)),
            (format!("4:memory:/kubepods/besteffort/pod{UID}/01\n0::/kubepods/besteffort/pod{UID}/01\n"), Some(UID)),
            (format!("0::/kubepods/pod{UID}/01/podanother/kubepods-podthird.slice"), Some(UID)),
            (
                "0::/kubepods/podd41d8cd98f00b204e9800998ecf8427e/01".to_owned(),
                Some("d41d8cd98f00b204e9800998ecf8427e"),
            ),
            ("0::/system.slice/kubelet.service".to_owned(), None),
            ("0::/pod\n".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(pod_uid(&table).as_deref(), expected, "{table}");
        }
    }
}
