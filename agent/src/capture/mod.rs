//! The only door to the kernel programs: load, attach, pin, adopt, detach; and the acts the rest of the agent needs,
//! in the agent's words. Map names and aya's types never leave this directory.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::model::address::OriginalDst;

/// What a network namespace is known by in the kernel programs (SO_NETNS_COOKIE). Never reused within a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsCookie(pub u64);

/// Where and what to capture.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    pub pods_cgroup: PathBuf,
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
}

/// The installed kernel programs. Dropping it leaves everything in place (pinned); see [`Capture::uninstall`].
#[derive(Debug)]
pub struct Capture {}

impl Capture {
    /// Loads and attaches the programs, or adopts those that a former agent pinned.
    ///
    /// # Errors
    /// When the kernel refuses or lacks something; the message names what.
    pub fn install(_options: &CaptureOptions) -> Result<Self, CaptureError> {
        unimplemented!()
    }

    /// Captures a pod, or gives an already captured pod (same cookie) new listeners, without a gap.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is left of the attempt.
    pub fn enroll(&self, _pod: &PodCapture<'_>) -> Result<(), CaptureError> {
        unimplemented!()
    }

    /// Stops capturing a pod; fine if it never was, or if its namespace is gone.
    ///
    /// # Errors
    /// When the kernel refuses to take something back.
    pub fn unenroll(&self, _cookie: NetnsCookie) -> Result<(), CaptureError> {
        unimplemented!()
    }

    /// The pods that are captured now, as the kernel has it.
    pub fn enrolled(&self) -> Vec<NetnsCookie> {
        unimplemented!()
    }

    /// The address the application asked for; `None` if the connection was not redirected by capture (somebody dialled
    /// the listener itself: refuse it).
    pub fn original_dst(&self, _accepted: BorrowedFd<'_>) -> Option<OriginalDst> {
        unimplemented!()
    }

    /// Makes the application that accepts this socket's connection see `client` as its peer. Call before connect().
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn present_client(&self, _connecting: BorrowedFd<'_>, _client: SocketAddr) -> Result<(), CaptureError> {
        unimplemented!()
    }

    /// Every verdict and bypass reason with its count since the programs were loaded, summed over CPUs.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        unimplemented!()
    }

    /// Detaches and unpins everything below a pin directory, whoever installed it.
    ///
    /// # Errors
    /// When something could not be removed; the rest is removed all the same.
    pub fn uninstall(_bpf_dir: &std::path::Path) -> Result<(), CaptureError> {
        unimplemented!()
    }
}
