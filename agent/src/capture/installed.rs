//! [`Capture`]: the installed kernel programs, and the operations on them that the rest of the agent uses.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use parking_lot::Mutex;
use weir_common::{CLOSED_WITHOUT_AGENT, InboundPod, LISTENING_KNOWN};

use super::cgroup::Cgroup;
use super::error::{CaptureError, NotCaptured};
use super::hierarchy::Hierarchy;
use super::kubelet::{self, Kubelet, KubeletStatus};
use super::maps::{self, Maps, release};
use super::noted::Noted;
use super::original_dst::SocketAddresses;
use super::pins::Pins;
use super::pod::{NetnsCookie, PodCapture, netns_cookie};
use super::programs::{self, Programs};
use super::sweep::{self, Swept};
use super::{events, kernel, pod_cgroup, proof};
use crate::config::Location;
use crate::model::address::OriginalDst;

/// The installed kernel programs. Dropping it leaves everything in place (pinned); see [`Capture::uninstall`].
#[derive(Debug)]
pub struct Capture {
    pub(super) pins: Pins,
    pub(super) pods: Cgroup,
    pub(super) agent: Cgroup,
    pub(super) programs: Programs,
    pub(super) maps: Mutex<Maps>,
    /// What the last sweeps came to. Locked before the maps.
    pub(super) swept: Mutex<Swept>,
    pub(super) socket_addresses: SocketAddresses,
    pub(super) hierarchy: Hierarchy,
    pub(super) kubelet_cgroup: Location,
    pub(super) host_proc: Option<PathBuf>,
    /// Where the kubelet was found.
    pub(super) kubelet: Mutex<Option<Kubelet>>,
    /// Direct connections that programs of another version have noted.
    pub(super) orphans: Mutex<Vec<Noted>>,
}

impl Capture {
    /// Checks that the kubelet still runs where it was found, and searches for it otherwise; to be called periodically. While it
    /// is not found, the former result stays. Reads the list of the node's processes only for a search.
    pub fn follow_kubelet(&self) -> KubeletStatus {
        let mut known = self.kubelet.lock();
        if let Some(kubelet) = known.as_ref().filter(|kubelet| kubelet.is_current()) {
            return KubeletStatus::Found(kubelet.cgroup.path.clone());
        }
        let found = kubelet::find(&self.kubelet_cgroup, self.host_proc.as_deref(), &self.hierarchy, &self.pods);
        match found.and_then(|found| self.attach_to_kubelet(found.as_ref()).map(|()| found)) {
            Ok(Some(kubelet)) => {
                let path = kubelet.cgroup.path.clone();
                *known = Some(kubelet);
                KubeletStatus::Found(path)
            }
            Ok(None) => KubeletStatus::Off,
            Err(error) => {
                *known = None;
                KubeletStatus::Missing(error.to_string())
            }
        }
    }

    /// Lets the probes of this kubelet bypass capture, and of no other process; `None`: of none.
    fn attach_to_kubelet(&self, kubelet: Option<&Kubelet>) -> Result<(), CaptureError> {
        let failed = || "cannot tell the kernel programs of the kubelet".to_owned();
        let mut maps = self.maps.lock();
        let is_same = kubelet.is_some_and(|kubelet| Programs::is_at_kubelet(&self.pins, &kubelet.cgroup));
        if !is_same {
            // No program removes the probes of a cgroup that it is detached from.
            maps.set_kubelet(0, [0; 2]).map_err(CaptureError::because(failed))?;
            Programs::detach_from_kubelet(&self.pins)?;
            maps.forget_probes().map_err(CaptureError::because(failed))?;
        }
        let Some(kubelet) = kubelet else { return Ok(()) };
        self.programs.attach_to_kubelet(&self.pins, &kubelet.cgroup)?;
        maps.set_kubelet(kubelet.cgroup.id, kubelet.name()).map_err(CaptureError::because(failed))
    }

    /// Captures a pod, or gives an already captured pod (same cookie) new listeners, without a gap.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is left of the attempt.
    pub fn enroll(&self, pod: &PodCapture<'_>) -> Result<(), CaptureError> {
        check_listeners(pod)?;
        let mut maps = self.maps.lock();
        self.check_addresses(&mut maps, pod)?;
        let former = maps.slot(pod.cookie);
        let slot = former.or_else(|| maps.free_slot()).ok_or(CaptureError::TooManyPods(weir_common::MAX_PODS))?;
        let in_place = former.is_some() && pod.listeners_in_place;
        if in_place && self.is_captured(&maps, pod) {
            return Ok(());
        }
        let mut result = self.enroll_at(&mut maps, slot, pod, in_place);
        if let Ok(false) = result {
            // New listeners are counted by now; these are the ones that listened before. Others wait for the maps meanwhile as
            // little as they can: whoever enrols has a turn of his own.
            drop(maps);
            let ports = sweep::listeners(pod.cookie, pod.netns);
            maps = self.maps.lock();
            let failed = || format!("cannot enrol {}", pod.cookie);
            result = sweep::note(&mut maps, pod.cookie, ports.as_ref()).map_err(CaptureError::because(failed));
        }
        if result.is_err() && former.is_none() {
            let _ = maps.forget(pod.cookie, Some(slot));
            let _ = release(&self.pins, &mut maps, pod.cookie);
        }
        result.map(drop)
    }

    /// Whether nothing is left to do for a pod whose listeners are in place: a node may have hundreds, whose connections
    /// wait for a new worker.
    fn is_captured(&self, maps: &Maps, pod: &PodCapture<'_>) -> bool {
        pod.addresses.iter().all(|&address| maps.owner(address) == Some(pod.cookie))
            && maps.holds(pod.cookie).is_ok()
            && programs::is_alive(&self.pins.pod(pod.cookie))
    }

    /// Whether it is known on which ports the pod listens.
    fn enroll_at(
        &self,
        maps: &mut Maps,
        slot: u32,
        pod: &PodCapture<'_>,
        in_place: bool,
    ) -> Result<bool, CaptureError> {
        let failed = || format!("cannot enrol {}", pod.cookie);
        // On some kernels, updating a sockmap element with the socket that it holds drops the map's reference to it.
        if !in_place {
            maps.set_listeners(slot, pod.listeners).map_err(CaptureError::because(failed))?;
        }
        // Before the program at the namespace is attached, which begins to steer what arrives.
        let closed = if pod.closed_without_agent { CLOSED_WITHOUT_AGENT } else { 0 };
        let known = if maps.is_listening_known(pod.cookie) { LISTENING_KNOWN } else { 0 };
        let inbound = InboundPod { slot, flags: closed | known };
        maps.set_inbound(pod.cookie, inbound).map_err(CaptureError::because(failed))?;
        self.programs.attach_to_pod(&self.pins, pod.cookie, pod.netns)?;
        maps.set_addresses(pod.cookie, pod.addresses).map_err(CaptureError::because(failed))?;
        maps.set_probe_ports(pod.cookie, pod.probe_ports).map_err(CaptureError::because(failed))?;
        if let Some(cgroup) = pod.cgroup.and_then(|path| Cgroup::open(path).ok()) {
            maps.set_cgroup(pod.cookie, cgroup.id).map_err(CaptureError::because(failed))?;
        }
        maps.make_room(pod.cookie).map_err(CaptureError::because(failed))?;
        maps.set_pod(pod.cookie, slot, pod.addresses, pod.device).map_err(CaptureError::because(failed))?;
        Ok(known != 0)
    }

    /// `Err` when another live pod has one of the addresses; a pod that has ended is removed.
    fn check_addresses(&self, maps: &mut Maps, pod: &PodCapture<'_>) -> Result<(), CaptureError> {
        for &address in pod.addresses {
            let Some(owner) = maps.owner(address).filter(|&owner| owner != pod.cookie) else { continue };
            if programs::is_alive(&self.pins.pod(owner)) {
                return Err(CaptureError::AddressTaken { address, owner });
            }
            release(&self.pins, maps, owner)?;
        }
        Ok(())
    }

    /// Stops capturing a pod; fine if it never was, or if its namespace is gone.
    ///
    /// # Errors
    /// When the kernel refuses to remove something.
    pub fn unenroll(&self, cookie: NetnsCookie) -> Result<(), CaptureError> {
        release(&self.pins, &mut self.maps.lock(), cookie)
    }

    /// Ends outbound capture of all pods; inbound capture stays. Only [`Self::unenroll`] of all pods may follow, since the
    /// maps no longer describe a pod completely.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn let_go_outbound(&self) -> Result<(), CaptureError> {
        let mut maps = self.maps.lock();
        let mut pods = maps.pods().into_iter();
        pods.try_for_each(|cookie| maps.remove_pod(cookie).map(drop))
            .map_err(CaptureError::because(|| "cannot let go what pods open".to_owned()))
    }

    /// Changes what happens to a pod's inbound plaintext while no agent runs; see [`PodCapture::closed_without_agent`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_closed_without_agent(&self, cookie: NetnsCookie, closed: bool) -> Result<(), CaptureError> {
        let set = self.maps.lock().set_flag(cookie, CLOSED_WITHOUT_AGENT, closed);
        set.map_err(CaptureError::because(|| format!("cannot change what {cookie} does without an agent")))
    }

    /// Proves that a pod is captured now: reads every attachment and every map element that this takes from the kernel. Cheap: some
    /// twenty system calls.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn prove(&self, cookie: NetnsCookie) -> Result<(), NotCaptured> {
        proof::of_cgroups(&self.pins, &self.programs, &self.pods, &self.agent)?;
        proof::of_pod(&self.pins, &self.programs, cookie)?;
        self.maps.lock().holds(cookie).map_err(|map| NotCaptured::Unknown { pod: cookie, map })
    }

    /// Direct connections that programs of another version have noted, and these programs have not: once.
    pub fn take_orphans(&self) -> Vec<Noted> {
        std::mem::take(&mut self.orphans.lock())
    }

    /// The pods that are captured now, as the kernel has it.
    pub fn enrolled(&self) -> Vec<NetnsCookie> {
        self.maps.lock().pods()
    }

    /// The address the application asked for; `None` if the connection was not redirected by capture (somebody dialled
    /// the listener itself: refuse it).
    pub fn original_dst(&self, accepted: BorrowedFd<'_>) -> Option<OriginalDst> {
        self.socket_addresses.original_dst(accepted).ok().flatten()
    }

    /// Makes the application that accepts this socket's connection see `client` as its peer. Call before connect().
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn present_client(&self, connecting: BorrowedFd<'_>, client: SocketAddr) -> Result<(), CaptureError> {
        self.socket_addresses
            .set_client(connecting, client)
            .map_err(CaptureError::because(|| format!("cannot present client {client}")))
    }

    /// Every verdict and bypass reason with its count since the programs were loaded, summed over CPUs.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.maps.lock().counters()
    }

    /// The cgroup that the kubelet made for a pod, if there is one.
    pub fn pod_cgroup(&self, uid: &str) -> Option<PathBuf> {
        pod_cgroup::find(&self.pods, uid).map(|cgroup| cgroup.path)
    }

    /// Pods whose noted listeners should be looked at again: many ports were closed, or not all could be noted.
    pub fn unswept(&self) -> Vec<NetnsCookie> {
        self.swept.lock().candidates(&self.maps.lock(), Instant::now())
    }

    /// Looks again on which ports a captured pod listens, and frees the room of those that were closed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn sweep(&self, cookie: NetnsCookie, netns: BorrowedFd<'_>) -> Result<(), CaptureError> {
        let swept = (|| {
            let begun = sweep::begin(&mut self.maps.lock(), cookie)?;
            let ports = sweep::listeners(cookie, netns);
            let mut swept = self.swept.lock();
            begun.finish(&mut self.maps.lock(), &mut swept, ports.as_ref())
        })();
        swept.map_err(CaptureError::because(|| format!("cannot look again on which ports {cookie} listens")))
    }

    /// Makes the ports at which the kubelet reaches a captured pod's application as it is exactly these.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_probe_ports(&self, cookie: NetnsCookie, ports: &[u16]) -> Result<(), CaptureError> {
        let set = self.maps.lock().set_probe_ports(cookie, ports);
        set.map_err(CaptureError::because(|| format!("cannot change the ports of probes of {cookie}")))
    }

    /// What happened to the connections of each pod that its owner should know of, by verdict, and how often.
    pub fn pod_verdicts(&self) -> Vec<(NetnsCookie, &'static str, u64)> {
        self.maps.lock().verdicts()
    }

    /// Every map that grows with pods or connections, with its number of entries.
    pub fn entries(&self) -> Vec<(&'static str, u64)> {
        self.maps.lock().entries()
    }

    /// Relays the debug lines of the kernel programs into the log, under the target `ebpf`. Ends at once if that
    /// target was not enabled when the programs were installed, else never.
    ///
    /// # Errors
    /// When the lines cannot be read.
    pub async fn relay_log(&self) -> Result<(), CaptureError> {
        if !events::is_wanted() {
            return Ok(());
        }
        let program = kernel::program_id(&self.programs.sk_lookup)
            .map_err(CaptureError::because(|| "cannot identify the kernel programs".to_owned()))?;
        events::relay(program).await
    }

    /// Detaches and unpins everything below a pin directory, whoever installed it.
    ///
    /// # Errors
    /// When something could not be removed; the rest is removed all the same.
    pub fn uninstall(bpf_dir: &Path) -> Result<(), CaptureError> {
        Pins::new(bpf_dir)
            .remove()
            .map_err(CaptureError::because(|| format!("cannot remove all of {}", bpf_dir.display())))
    }
}

/// The kernel accepts a listener of another namespace in the map, and then drops every connection.
fn check_listeners(pod: &PodCapture<'_>) -> Result<(), CaptureError> {
    for listener in maps::listeners_of(pod.listeners) {
        let found = netns_cookie(listener)
            .map_err(CaptureError::because(|| format!("cannot identify a listener for {}", pod.cookie)))?;
        if found != pod.cookie {
            return Err(CaptureError::ForeignListener { pod: pod.cookie, found });
        }
    }
    Ok(())
}
