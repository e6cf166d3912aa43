//! A bad link: carries frames between two tap devices, late, and loses some. What netem does, for kernels without it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

/// Frames that may be on their way: beyond it they are lost, as in a router's queue.
const QUEUE: usize = 4096;
const LONGEST_FRAME: usize = 65_536;

#[derive(Debug, Args)]
pub(crate) struct Link {
    /// Name of a tap device of this namespace.
    one: String,
    other: String,
    /// How long a frame is on its way, in each direction.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// How many frames of a thousand are lost, in each direction.
    #[arg(long, default_value_t = 0)]
    lost_of_1000: u64,
}

/// Carries until killed.
pub(crate) fn carry(link: &Link) -> Result<()> {
    let (one, other) = (open(&link.one)?, open(&link.other)?);
    println!("up");
    let directions = [(one.try_clone()?, other.try_clone()?, 1), (other, one, 2)];
    let carriers = directions.map(|(from, to, seed)| {
        let (sender, receiver) = sync_channel(QUEUE);
        let (delay, lost) = (Duration::from_millis(link.delay_ms), link.lost_of_1000);
        thread::spawn(move || deliver(to, &receiver));
        thread::spawn(move || take(from, &sender, delay, lost, seed))
    });
    for carrier in carriers {
        carrier.join().ok().context("a carrier panicked")??;
    }
    Ok(())
}

/// Takes frames from one end; which are lost is the same in every run.
fn take(mut from: File, to: &SyncSender<(Instant, Vec<u8>)>, delay: Duration, lost: u64, seed: u64) -> Result<()> {
    let (mut frame, mut dice) = (vec![0; LONGEST_FRAME], seed);
    loop {
        let length = from.read(&mut frame)?;
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if (dice >> 33) % 1000 >= lost {
            // A full queue loses the frame.
            let _ = to.try_send((Instant::now() + delay, frame[..length].to_vec()));
        }
    }
}

fn deliver(mut to: File, frames: &Receiver<(Instant, Vec<u8>)>) {
    while let Ok((when, frame)) = frames.recv() {
        thread::sleep(when.saturating_duration_since(Instant::now()));
        // A device that is down loses the frame.
        let _ = to.write_all(&frame);
    }
}

/// Opens a tap device that exists, by name.
fn open(name: &str) -> Result<File> {
    const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
    const IFF_TAP: u16 = 2;
    const IFF_NO_PI: u16 = 0x1000;
    ensure!(name.len() < 16, "{name} is too long for a device");
    let tap = OpenOptions::new().read(true).write(true).open("/dev/net/tun").context("opening /dev/net/tun")?;
    // struct ifreq: the name, then the flags.
    let mut request = [0_u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&(IFF_TAP | IFF_NO_PI).to_ne_bytes());
    #[expect(unsafe_code, reason = "tap devices have no safe wrapper")]
    // SAFETY: TUNSETIFF reads and writes a struct ifreq, which is 40 bytes; the buffer lives through the call.
    let outcome = unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
    ensure!(outcome == 0, "attaching to {name}: {}", std::io::Error::last_os_error());
    Ok(tap)
}
