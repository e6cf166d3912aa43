//! The only door to the kernel programs: load, attach, pin, adopt, detach; and the acts the rest of the agent needs,
//! in the agent's words. Map names and aya's types never leave this directory.

mod cgroup;
mod events;
mod kernel;
pub mod listening;
mod maps;
mod original_dst;
mod pins;
mod pods_cgroup;
mod programs;
mod proof;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use parking_lot::Mutex;
use weir_common::{CLOSED_WITHOUT_AGENT, Installed, LAYOUT, LISTENING_KNOWN};

use self::cgroup::Cgroup;
use self::maps::Maps;
use self::original_dst::SocketAddresses;
pub use self::original_dst::netns_cookie;
use self::pins::Pins;
use self::programs::{Origin, Programs};
pub use self::proof::NotCaptured;
use crate::model::address::OriginalDst;

/// What a network namespace is known by in the kernel programs (SO_NETNS_COOKIE). Never reused within a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsCookie(pub u64);

impl fmt::Display for NetnsCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "netns {}", self.0)
    }
}

/// Where and what to capture.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    pub pods_cgroup: Option<PathBuf>,
    /// Pins live here; made if missing. Its parent must be a BPF file system (mounted if it is not).
    pub bpf_dir: PathBuf,
    pub exclude_cidrs: Vec<IpNet>,
    pub exclude_ports: Vec<u16>,
    pub exclude_inbound_ports: Vec<u16>,
}

/// The sockets that capture steers a pod's connections to, all listening inside the pod's namespace on loopback.
/// The second of each pair is missing where the namespace has no IPv6.
#[derive(Debug)]
pub struct PodListeners {
    pub outbound: (OwnedFd, Option<OwnedFd>),
    pub inbound_plaintext: (OwnedFd, Option<OwnedFd>),
    pub inbound_hbone: (OwnedFd, Option<OwnedFd>),
}

/// One pod to capture.
#[derive(Debug)]
pub struct PodCapture<'a> {
    pub netns: BorrowedFd<'a>,
    pub cookie: NetnsCookie,
    pub addresses: &'a [IpAddr],
    pub listeners: &'a PodListeners,
    /// What happens to inbound plaintext while no agent runs: refused (true) or passed to the application.
    pub closed_without_agent: bool,
}

/// Why capture could not do what was asked; each variant says what failed on which object.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("{what}: {source}")]
    Kernel { what: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{0}")]
    Unsupported(String),
    #[error("{address} belongs to {owner}, which is captured too")]
    AddressTaken { address: IpAddr, owner: NetnsCookie },
    #[error("a listener for {pod} is of another namespace ({found})")]
    ForeignListener { pod: NetnsCookie, found: NetnsCookie },
    #[error("no more than {0} pods can be captured")]
    TooManyPods(u32),
}

impl CaptureError {
    /// Says what failed, for `map_err`.
    fn because<E>(what: impl FnOnce() -> String) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |source| Self::Kernel { what: what(), source: Box::new(source) }
    }
}

/// The installed kernel programs. Dropping it leaves everything in place (pinned); see [`Capture::uninstall`].
#[derive(Debug)]
pub struct Capture {
    pins: Pins,
    pods: Cgroup,
    agent: Cgroup,
    programs: Programs,
    maps: Mutex<Maps>,
    socket_addresses: SocketAddresses,
}

impl Capture {
    /// Loads and attaches the programs, or adopts those that a former agent pinned. Connections and captured pods of a
    /// former agent stay as they are, unless its maps are laid out in another way: then all is installed anew, and pods
    /// are not captured until they are enrolled again.
    ///
    /// # Errors
    /// When the kernel refuses or lacks something; the message names what.
    pub fn install(options: &CaptureOptions) -> Result<Self, CaptureError> {
        let pods = pods_cgroup::open(options.pods_cgroup.as_deref())?;
        let agent = Cgroup::of_this_process(&pods)?;
        let pins = Pins::new(&options.bpf_dir);
        pins.make()?;
        let _lock = pins.lock()?;
        let programs = install_programs(&pins)?;
        let mut maps = Maps::open(&pins)?;
        let failed = || "cannot write settings for the kernel programs".to_owned();
        if programs.origin == Origin::Loaded {
            maps.set_installed(Installed { layout: LAYOUT, object: 0 })?;
        }
        let former_agent = maps.set_agent_cgroup(agent.id).map_err(CaptureError::because(failed))?;
        maps.set_exclusions(&options.exclude_cidrs, &options.exclude_ports, &options.exclude_inbound_ports)
            .map_err(CaptureError::because(failed))?;
        remove_dead_pods(&pins, &mut maps)?;
        programs.update_pods(&pins)?;
        programs.attach_to_cgroups(&pins, &pods, &agent, former_agent)?;
        maps.set_installed(Installed { layout: LAYOUT, object: programs::object_hash() })?;
        let socket_addresses = SocketAddresses::new(Maps::open_socket_addresses(&pins)?);
        Ok(Self { pins, pods, agent, programs, maps: Mutex::new(maps), socket_addresses })
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
        let result = self.enroll_at(&mut maps, slot, pod);
        if result.is_err() && former.is_none() {
            let _ = maps.forget(pod.cookie, Some(slot));
            let _ = release(&self.pins, &mut maps, pod.cookie);
        }
        result
    }

    fn enroll_at(&self, maps: &mut Maps, slot: u32, pod: &PodCapture<'_>) -> Result<(), CaptureError> {
        let failed = || format!("cannot enrol {}", pod.cookie);
        maps.set_listeners(slot, pod.listeners).map_err(CaptureError::because(failed))?;
        self.programs.attach_to_pod(&self.pins, pod.cookie, pod.netns)?;
        // Last what begins to steer, inbound and then outbound: by now there is somewhere to steer to.
        let closed = if pod.closed_without_agent { CLOSED_WITHOUT_AGENT } else { 0 };
        let known = if maps.is_listening_known(pod.cookie) { LISTENING_KNOWN } else { 0 };
        maps.set_addresses(pod.cookie, slot, pod.addresses, closed | known).map_err(CaptureError::because(failed))?;
        maps.set_pod(pod.cookie, slot, pod.addresses).map_err(CaptureError::because(failed))?;
        if known != 0 {
            return Ok(());
        }
        // Now that new listeners are counted: those that were there before.
        match listening::ports(pod.netns) {
            Ok(ports) => maps
                .add_listening(pod.cookie, &ports)
                .and_then(|()| maps.set_addresses(pod.cookie, slot, pod.addresses, closed | LISTENING_KNOWN))
                .map_err(CaptureError::because(failed)),
            Err(error) => {
                tracing::warn!(pod = %pod.cookie, %error, "cannot tell which ports are listened on: all will seem open");
                Ok(())
            }
        }
    }

    /// Errs when another live pod has one of the addresses; a dead one gives way.
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
    /// When the kernel refuses to take something back.
    pub fn unenroll(&self, cookie: NetnsCookie) -> Result<(), CaptureError> {
        release(&self.pins, &mut self.maps.lock(), cookie)
    }

    /// Changes what happens to a pod's inbound plaintext while no agent runs; see [`PodCapture::closed_without_agent`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_closed_without_agent(&self, cookie: NetnsCookie, closed: bool) -> Result<(), CaptureError> {
        let set = self.maps.lock().set_flag(cookie, CLOSED_WITHOUT_AGENT, closed);
        set.map_err(CaptureError::because(|| format!("cannot change what {cookie} does without an agent")))
    }

    /// Proves that a pod is captured now: asks the kernel for every attachment and every entry that this takes. Cheap: some
    /// twenty system calls.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn prove(&self, cookie: NetnsCookie) -> Result<(), NotCaptured> {
        proof::of_cgroups(&self.pins, &self.programs, &self.pods, &self.agent)?;
        proof::of_pod(&self.pins, &self.programs, cookie)?;
        self.maps.lock().holds(cookie).map_err(|map| NotCaptured::Unknown { pod: cookie, map })
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

/// Adopts what is there, or loads upon its maps, or starts from nothing: the first that is possible.
fn install_programs(pins: &Pins) -> Result<Programs, CaptureError> {
    let installed = Maps::read_installed(pins);
    let is_same = installed == Some(Installed { layout: LAYOUT, object: programs::object_hash() });
    let is_whole = maps::NAMES.iter().all(|name| pins.map(name).exists());
    if is_same
        && is_whole
        && let Ok(programs) = Programs::adopt(pins)
    {
        return Ok(programs);
    }
    if installed.is_none_or(|installed| installed.layout != LAYOUT) {
        pins.clear().map_err(CaptureError::because(|| "cannot remove what a former version installed".to_owned()))?;
    }
    Programs::load(pins)
}

/// Pods that went while no agent ran, and those that a crash left half enrolled.
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

/// Takes a pod back: first what redirects, then what steers, then what they refer to.
fn release(pins: &Pins, maps: &mut Maps, cookie: NetnsCookie) -> Result<(), CaptureError> {
    let failed = || format!("cannot take back the capture of {cookie}");
    let slot = maps.remove_pod(cookie).map_err(CaptureError::because(failed))?;
    let unpinned = pins::remove(&pins.pod(cookie)).map_err(CaptureError::because(failed));
    maps.forget(cookie, slot).map_err(CaptureError::because(failed)).and(unpinned)
}

/// The kernel accepts a listener of another namespace, and then loses every connection.
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
