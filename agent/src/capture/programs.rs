//! The programs: loaded or adopted, pinned, attached to cgroups, and replaced atomically by newer ones.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::programs::{Program, ProgramError};
use aya::{EbpfLoader, include_bytes_aligned};
use weir_common::LAYOUT;
use xxhash_rust::xxh64::xxh64;

use super::cgroup::{Cgroup, covering};
use super::error::CaptureError;
use super::kernel::{self, AttachType};
use super::pins::{self, Pins};
use super::pod::NetnsCookie;
use super::{events, netns_program, pinned_maps};

/// The compiled `ebpf` package.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kernel_programs.o"));

const AT_PODS: [(&str, AttachType); 4] = [
    ("weir_connect4", AttachType::CgroupInet4Connect),
    ("weir_connect6", AttachType::CgroupInet6Connect),
    ("weir_getpeername4", AttachType::CgroupInet4Getpeername),
    ("weir_getpeername6", AttachType::CgroupInet6Getpeername),
];
const AT_KUBELET: [(&str, AttachType); 3] = [
    ("weir_kubelet_connect4", AttachType::CgroupInet4Connect),
    ("weir_kubelet_connect6", AttachType::CgroupInet6Connect),
    ("weir_kubelet_sock_ops", AttachType::CgroupSockOps),
];
/// The first Linux that offers all that the programs use, see `ebpf/src/main.rs`.
const OLDEST_KERNEL: &str = "5.15";
const SOCK_OPS: &str = "weir_sock_ops";
const SK_LOOKUP: &str = "weir_sk_lookup";

/// Whose programs are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProgramsOrigin {
    /// A former agent's, equal to this one's: adopted.
    Adopted,
    /// This agent's: loaded.
    Loaded,
}

/// The loaded programs.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) origin: ProgramsOrigin,
    at_pods: Vec<(&'static str, AttachType, OwnedFd)>,
    at_kubelet: Vec<(&'static str, AttachType, OwnedFd)>,
    sock_ops: OwnedFd,
    pub(super) sk_lookup: OwnedFd,
    /// The maps that the programs at pods' namespaces use.
    lookup_netns: OwnedFd,
    sk_lookup_table: OwnedFd,
}

/// A program at a cgroup.
#[derive(Debug)]
pub(super) struct CgroupLink<'a> {
    /// The name under which the link is pinned.
    pub(super) name: String,
    pub(super) program: &'a OwnedFd,
    attach_type: AttachType,
    pub(super) cgroup: &'a Cgroup,
}

/// Identifies this agent's programs among others': a hash of the object and of whether it was loaded to log. Never 0.
pub(super) fn object_hash() -> u64 {
    xxh64(OBJECT, LAYOUT ^ u64::from(events::is_wanted())).max(1)
}

impl Programs {
    /// Takes the pinned programs as they are.
    pub(super) fn adopt(pins: &Pins) -> Result<Self, CaptureError> {
        Self::open(pins, ProgramsOrigin::Adopted)
    }

    /// Loads the programs upon the pinned maps (made where missing), and pins them in place of former ones. `is_direct`: the maps
    /// that are made have room for direct connections.
    pub(super) fn load(pins: &Pins, is_direct: bool) -> Result<Self, CaptureError> {
        // Loading parses all of the kernel's BTF, in very many small allocations. On a thread of its own, the allocator
        // returns that memory when the thread ends; the main thread would keep much of it.
        let loaded = std::thread::scope(|scope| scope.spawn(|| Self::load_and_pin(pins, is_direct)).join());
        loaded.expect("a panic while loading ends the agent")?;
        Self::open(pins, ProgramsOrigin::Loaded)
    }

    fn load_and_pin(pins: &Pins, is_direct: bool) -> Result<(), CaptureError> {
        let mut loader = EbpfLoader::new();
        for name in pinned_maps::NAMES {
            loader.map_pin_path(name, pins.map(name));
        }
        for (name, _) in pinned_maps::FOR_DIRECT.into_iter().filter(|_| !is_direct) {
            // The loader makes it a page where the kernel wants pages.
            loader.map_max_entries(name, 1);
        }
        events::configure(&mut loader);
        let mut object =
            loader.load(OBJECT).map_err(CaptureError::because(|| "cannot load the kernel programs".to_owned()))?;
        for (name, program) in object.programs_mut() {
            load_program(program).map_err(|error| refusal(name, error))?;
            let path = pins.program(name);
            pins::remove(&path).map_err(CaptureError::because(|| format!("cannot replace {}", path.display())))?;
            program.pin(&path).map_err(CaptureError::because(|| format!("cannot pin {}", path.display())))?;
        }
        Ok(())
    }

    fn open(pins: &Pins, origin: ProgramsOrigin) -> Result<Self, CaptureError> {
        let open = |name: &str| {
            kernel::open_pin(&pins.program(name))
                .map_err(CaptureError::because(|| format!("cannot open program {name}")))
        };
        let open_all = |programs: &[(&'static str, AttachType)]| -> Result<Vec<_>, CaptureError> {
            programs.iter().map(|&(name, attach_type)| Ok((name, attach_type, open(name)?))).collect()
        };
        let open_map = |name: &str| {
            kernel::open_pin(&pins.map(name)).map_err(CaptureError::because(|| format!("cannot open map {name}")))
        };
        Ok(Self {
            lookup_netns: open_map("LOOKUP_NETNS")?,
            sk_lookup_table: open_map("SK_LOOKUP")?,
            origin,
            at_pods: open_all(&AT_PODS)?,
            at_kubelet: open_all(&AT_KUBELET)?,
            sock_ops: open(SOCK_OPS)?,
            sk_lookup: open(SK_LOOKUP)?,
        })
    }

    /// Attaches the programs to cgroups where they are not attached yet, and detaches them from other cgroups. Exceptions: those of
    /// former agents, which accept until the pods have new listeners and then drain, and that of the kubelet, until the
    /// kubelet is searched for.
    pub(super) fn attach_to_cgroups(
        &self,
        pins: &Pins,
        pods: &Cgroup,
        agent: &Cgroup,
        former_agents: &[u64],
    ) -> Result<(), CaptureError> {
        let mut wanted = Vec::new();
        for link in self.cgroup_links(pods, agent) {
            self.attach_to_cgroup(pins, &link)?;
            wanted.push(link.name);
        }
        for &former in former_agents {
            let would_run_twice = pods.is_within(former) || agent.is_within(former);
            if !would_run_twice {
                wanted.extend(self.keep_link(pins, sock_ops_link(former), &self.sock_ops)?);
            }
        }
        for (name, _, program) in &self.at_kubelet {
            wanted.extend(self.keep_link(pins, (*name).to_owned(), program)?);
        }
        for stale in pins.link_names().into_iter().filter(|name| !wanted.contains(name)) {
            let path = pins.link(&stale);
            pins::remove(&path).map_err(CaptureError::because(|| format!("cannot remove {}", path.display())))?;
        }
        Ok(())
    }

    /// Attaches the programs that recognise the kubelet's probes to its cgroup, and to no other.
    pub(super) fn attach_to_kubelet(&self, pins: &Pins, kubelet: &Cgroup) -> Result<(), CaptureError> {
        self.at_kubelet.iter().try_for_each(|(name, attach_type, program)| {
            let link = CgroupLink { name: (*name).to_owned(), program, attach_type: *attach_type, cgroup: kubelet };
            self.attach_to_cgroup(pins, &link)
        })
    }

    /// Whether the programs that recognise the kubelet's probes are attached to this cgroup.
    pub(super) fn is_at_kubelet(pins: &Pins, kubelet: &Cgroup) -> bool {
        let target = |name| kernel::open_pin(&pins.link(name)).and_then(|link| kernel::link_target(&link));
        AT_KUBELET.iter().all(|(name, _)| target(name).is_ok_and(|target| target == Some(kubelet.id)))
    }

    /// Detaches the programs that recognise the kubelet's probes; no error if they are not attached.
    pub(super) fn detach_from_kubelet(pins: &Pins) -> Result<(), CaptureError> {
        AT_KUBELET.iter().try_for_each(|(name, _)| {
            let path = pins.link(name);
            pins::remove(&path).map_err(CaptureError::because(|| format!("cannot remove {}", path.display())))
        })
    }

    /// Every attachment to a cgroup that capture needs.
    pub(super) fn cgroup_links<'a>(&'a self, pods: &'a Cgroup, agent: &'a Cgroup) -> Vec<CgroupLink<'a>> {
        let at_pods = self.at_pods.iter().map(|(name, attach_type, program)| CgroupLink {
            name: (*name).to_owned(),
            program,
            attach_type: *attach_type,
            cgroup: pods,
        });
        let sock_ops = covering(pods, agent).into_iter().map(|cgroup| CgroupLink {
            name: sock_ops_link(cgroup.id),
            program: &self.sock_ops,
            attach_type: AttachType::CgroupSockOps,
            cgroup,
        });
        at_pods.chain(sock_ops).collect()
    }

    fn attach_to_cgroup(&self, pins: &Pins, wanted: &CgroupLink<'_>) -> Result<(), CaptureError> {
        let CgroupLink { name, program, attach_type, cgroup } = wanted;
        let failed = || format!("cannot attach {name} to {}", cgroup.path.display());
        let path = pins.link(name);
        // Only our own pin identifies our link: the kernel would accept a second one, and run the program twice.
        let attached =
            kernel::open_pin(&path).ok().filter(|link| kernel::link_target(link).ok() == Some(Some(cgroup.id)));
        if attached.is_some() {
            return self.update_link(&path, program).map_err(CaptureError::because(failed));
        }
        let attach = || {
            pins::remove(&path)?;
            let link = kernel::attach(program, File::open(&cgroup.path)?, *attach_type)?;
            kernel::pin(link.as_fd(), &path)
        };
        attach().map_err(CaptureError::because(failed))
    }

    /// Keeps a link, with this agent's program; its name, or `None` if its target is gone.
    fn keep_link(&self, pins: &Pins, name: String, program: &OwnedFd) -> Result<Option<String>, CaptureError> {
        let path = pins.link(&name);
        if !is_alive(&path) {
            return Ok(None);
        }
        self.update_link(&path, program).map_err(CaptureError::because(|| format!("cannot replace {name}")))?;
        Ok(Some(name))
    }

    /// Replaces a former agent's program, if it is not the same.
    fn update_link(&self, link: &Path, program: &OwnedFd) -> io::Result<()> {
        match self.origin {
            ProgramsOrigin::Adopted => Ok(()),
            ProgramsOrigin::Loaded => kernel::replace_program(&kernel::open_pin(link)?, program),
        }
    }

    /// Attaches a program that calls `sk_lookup` to a pod's namespace, if there is none yet.
    pub(super) fn attach_to_pod(
        &self,
        pins: &Pins,
        cookie: NetnsCookie,
        netns: BorrowedFd<'_>,
    ) -> Result<(), CaptureError> {
        let path = pins.pod(cookie);
        if is_alive(&path) {
            return Ok(());
        }
        let attach = || {
            pins::remove(&path)?;
            let program = netns_program::load(cookie, self.lookup_netns.as_fd(), self.sk_lookup_table.as_fd())?;
            let link = kernel::attach(&program, netns, AttachType::SkLookup)?;
            kernel::pin(link.as_fd(), &path)
        };
        attach().map_err(CaptureError::because(|| format!("cannot attach {SK_LOOKUP} to the namespace of {cookie}")))
    }

    /// Makes `sk_lookup` what the programs at pods' namespaces call, in place of a former one.
    pub(super) fn serve_pods(&self) -> Result<(), CaptureError> {
        kernel::update(self.sk_lookup_table.as_fd(), &0_u32, &self.sk_lookup.as_raw_fd())
            .map_err(CaptureError::because(|| format!("cannot make {SK_LOOKUP} the program of all pods")))
    }

    /// The kernel's number of the program that those at pods' namespaces call.
    pub(super) fn serving_pods(&self) -> io::Result<Option<u32>> {
        kernel::lookup(self.sk_lookup_table.as_fd(), &0_u32)
    }
}

/// Whether a pinned link is still attached: its cgroup or namespace may be gone.
pub(super) fn is_alive(link: &Path) -> bool {
    kernel::open_pin(link).is_ok_and(|link| matches!(kernel::link_target(&link), Ok(Some(_))))
}

fn sock_ops_link(cgroup: u64) -> String {
    format!("{SOCK_OPS}_{cgroup}")
}

/// Why a program was not loaded: our own message where the kernel is too old for it, else the kernel's.
fn refusal(name: &str, error: ProgramError) -> CaptureError {
    if let ProgramError::LoadError { verifier_log, .. } = &error
        && let Some(helper) = missing_helper(&verifier_log.to_string())
    {
        return CaptureError::Unsupported(format!(
            "this kernel does not offer {helper} to {name}: Linux {OLDEST_KERNEL} or later is needed"
        ));
    }
    CaptureError::because(|| format!("the kernel refuses program {name}"))(error)
}

/// The helper function that the verifier does not know. A helper says more than the kernel's version does, since
/// distributions backport helpers.
fn missing_helper(verifier_log: &str) -> Option<&str> {
    let words = ["unknown func ", "program of this type cannot use helper "];
    let (_, named) = words.iter().find_map(|words| verifier_log.split_once(words))?;
    named.split(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric()).next()
}

fn load_program(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::SkLookup(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_helper_is_named_and_other_refusals_are_not_taken_for_one() {
        for (log, helper) in [
            (
                "7: (85) call bpf_get_netns_cookie#122\nunknown func bpf_get_netns_cookie#122\n",
                Some("bpf_get_netns_cookie"),
            ),
            ("program of this type cannot use helper bpf_sk_assign#124\nprocessed 3", Some("bpf_sk_assign")),
            ("R1 invalid mem access 'inv'\nprocessed 10 insns", None),
            ("", None),
        ] {
            assert_eq!(missing_helper(log), helper, "{log}");
        }
    }
}
