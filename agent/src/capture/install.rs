//! The installation of capture on a node: adopts the programs of a former agent, or loads new ones upon its maps, or installs
//! everything anew.

use std::path::PathBuf;

use ipnet::IpNet;
use parking_lot::Mutex;
use weir_common::{Installed, LAYOUT};

use super::direct::DirectMaps;
use super::error::CaptureError;
use super::hierarchy::Hierarchy;
use super::installed::Capture;
use super::maps::{Maps, release};
use super::noted::Noted;
use super::original_dst::SocketAddresses;
use super::pinned_maps;
use super::pins::{self, Pins};
use super::programs::{self, Programs, ProgramsOrigin};
use crate::config::Location;

/// Where and what to capture.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    /// Where the node's cgroups are mounted; searched for unless set.
    pub cgroup_root: Option<PathBuf>,
    /// Cgroup of all pods; searched for unless set.
    pub pods_cgroup: Option<PathBuf>,
    pub kubelet_cgroup: Location,
    /// Where the node's /proc is mounted; searched for unless set.
    pub host_proc: Option<PathBuf>,
    /// Pins live here; made if missing. Its parent must be a BPF file system (mounted if it is not).
    pub bpf_dir: PathBuf,
    pub exclude_cidrs: Vec<IpNet>,
    pub exclude_ports: Vec<u16>,
    pub exclude_inbound_ports: Vec<u16>,
    /// Whether connections of captured pods that cannot go through the agent leave as if there were no capture; else they
    /// are refused.
    pub pass_uncapturable: bool,
    /// Whether connections between pods of the node may be direct: the kernel keeps room for them.
    pub is_direct: bool,
}

impl Capture {
    /// Loads and attaches the programs, or adopts those that a former agent pinned. Connections and captured pods of a
    /// former agent stay as they are. If its maps have another [`weir_common::LAYOUT`], everything is installed anew beside the
    /// former programs. Those act as without an agent until [`Capture::end_takeover`], so that no pod sends plaintext.
    ///
    /// # Errors
    /// When the kernel refuses or lacks something; the message names what.
    pub fn install(options: &CaptureOptions) -> Result<Self, CaptureError> {
        let hierarchy = Hierarchy::find(options.cgroup_root.as_deref(), options.pods_cgroup.as_deref())?;
        let pods = hierarchy.pods(options.pods_cgroup.as_deref())?;
        let agent = hierarchy.own().clone();
        let pins = Pins::new(&options.bpf_dir);
        pins.make()?;
        let _lock = pins.lock()?;
        let (programs, orphans) = install_programs(&pins, options.is_direct)?;
        let mut maps = Maps::open(&pins)?;
        let failed = || "cannot write settings for the kernel programs".to_owned();
        if programs.origin == ProgramsOrigin::Loaded {
            maps.set_installed(Installed { layout: LAYOUT, object: 0 })?;
        }
        maps.set_pass_uncapturable(options.pass_uncapturable).map_err(CaptureError::because(failed))?;
        let former_agents = maps.set_agent_cgroup(agent.id).map_err(CaptureError::because(failed))?;
        maps.set_exclusions(&options.exclude_cidrs, &options.exclude_ports, &options.exclude_inbound_ports)
            .map_err(CaptureError::because(failed))?;
        // Of a former agent, whose mesh may have been another one. One that still serves goes on as new entries come.
        drop(Maps::open_destinations(&pins)?);
        remove_dead_pods(&pins, &mut maps)?;
        programs.serve_pods()?;
        programs.attach_to_cgroups(&pins, &pods, &agent, &former_agents)?;
        maps.set_installed(Installed { layout: LAYOUT, object: programs::object_hash() })?;
        let socket_addresses = SocketAddresses::new(Maps::open_socket_addresses(&pins)?);
        tracing::info!(pods_cgroup = %pods.path.display(), own_cgroup = %agent.path.display(), "capture is installed");
        Ok(Self {
            pins,
            pods,
            agent,
            programs,
            maps: Mutex::new(maps),
            swept: Mutex::default(),
            socket_addresses,
            hierarchy,
            kubelet_cgroup: options.kubelet_cgroup.clone(),
            host_proc: options.host_proc.clone(),
            kubelet: Mutex::new(None),
            orphans: Mutex::new(orphans),
        })
    }
}

impl Capture {
    /// Uninstalls the programs of another version that were put aside, if there are any. To be called once their pods have been
    /// enrolled anew, or will not be.
    ///
    /// # Errors
    /// When something could not be removed; the rest is removed all the same.
    pub fn end_takeover(&self) -> Result<(), CaptureError> {
        self.pins
            .remove_aside()
            .map_err(CaptureError::because(|| "cannot remove what another version installed".to_owned()))
    }
}

/// Adopts the programs that are there, or loads upon their maps, or installs everything anew: the first that is possible. With the direct
/// connections that the programs will know nothing of.
fn install_programs(pins: &Pins, is_direct: bool) -> Result<(Programs, Vec<Noted>), CaptureError> {
    let installed = Maps::read_installed(pins);
    let is_same = installed == Some(Installed { layout: LAYOUT, object: programs::object_hash() });
    let is_whole = pinned_maps::NAMES.iter().all(|name| pins.map(name).exists());
    let lacks_room = is_direct && pinned_maps::are_small(pins);
    if is_same
        && is_whole
        && !lacks_room
        && let Ok(programs) = Programs::adopt(pins)
    {
        return Ok((programs, Vec::new()));
    }
    let mut orphans = Vec::new();
    if installed.is_none_or(|installed| installed.layout != LAYOUT) {
        orphans = DirectMaps::of_another_version(pins);
        pins.set_aside()
            .map_err(CaptureError::because(|| "cannot put aside what another version installed".to_owned()))?;
    } else if lacks_room {
        // No agent has permitted anything on these maps, so they are empty. The programs are loaded again, upon larger ones.
        let removed = pinned_maps::FOR_DIRECT.iter().try_for_each(|(name, _)| pins::remove(&pins.map(name)));
        removed.map_err(CaptureError::because(|| "cannot make room for direct connections".to_owned()))?;
    }
    Programs::load(pins, is_direct).map(|programs| (programs, orphans))
}

/// Removes pods that ended while no agent ran, and pods whose enrolment a crash interrupted.
fn remove_dead_pods(pins: &Pins, maps: &mut Maps) -> Result<(), CaptureError> {
    let mut cookies = maps.pods();
    cookies.extend(pins.pod_cookies());
    for cookie in cookies {
        if maps.slot(cookie).is_none() || !programs::is_alive(&pins.pod(cookie)) {
            release(pins, maps, cookie)?;
        }
    }
    Ok(())
}
