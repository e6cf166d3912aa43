//! What a network does to a node: loses and delays frames, or swallows them. Everything is undone when a guard is dropped.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agent::binary;
use crate::place::Place;
use crate::program::Program;
use crate::wait;
use crate::world::{Node, Pod, World};

/// A link between a node and the fabric that loses and delays frames.
///
/// The node's end of the fabric moves to a bridge of its own, and two tap devices with a program between them lead from
/// there to the fabric: many kernels have no netem.
#[derive(Debug)]
pub struct BadLink {
    fabric: Place,
    node: String,
    _carrier: Program,
}

impl BadLink {
    /// Why there can be no bad link on this machine, if so.
    #[must_use]
    pub fn missing() -> Option<String> {
        (!Path::new("/dev/net/tun").exists()).then(|| "there are no tap devices".to_owned())
    }

    /// Puts it in place; open connections go on over it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn between(world: &World, node: &Node, delay: Duration, lost_of_1000: u64) -> Result<Self> {
        let (fabric, name) = (&world.fabric, node.name());
        ip(fabric, &format!("tuntap add {name}-a mode tap"))?;
        ip(fabric, &format!("tuntap add {name}-b mode tap"))?;
        ip(fabric, &format!("link add br-{name} type bridge"))?;
        let mut carrier = fabric.spawn(&[
            binary("weir-test-app")?.display().to_string(),
            "link".into(),
            format!("{name}-a"),
            format!("{name}-b"),
            format!("--delay-ms={}", delay.as_millis()),
            format!("--lost-of-1000={lost_of_1000}"),
        ])?;
        wait::until("the bad link is up", Duration::from_secs(5), || {
            ensure!(carrier.is_running() && carrier.stdout().contains("up"), "it says {}", carrier.tail());
            Ok(())
        })?;
        let link = Self { fabric: fabric.clone(), node: name.to_owned(), _carrier: carrier };
        for step in [
            format!("link set {name}-a master br-{name} up"),
            format!("link set {name}-b master br0 up"),
            format!("link set br-{name} up"),
            format!("link set {name} master br-{name}"),
        ] {
            ip(fabric, &step)?;
        }
        Ok(link)
    }
}

impl Drop for BadLink {
    fn drop(&mut self) {
        let node = &self.node;
        let _ = ip(&self.fabric, &format!("link set {node} master br0"));
        for device in [format!("br-{node}"), format!("{node}-a"), format!("{node}-b")] {
            let _ = ip(&self.fabric, &format!("link del {device}"));
        }
    }
}

/// A node whose frames go nowhere, while its own link stays up.
#[derive(Debug)]
pub struct CutLink {
    fabric: Place,
    node: String,
}

impl CutLink {
    /// Cuts it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn of(world: &World, node: &Node) -> Result<Self> {
        ip(&world.fabric, &format!("link set {} nomaster", node.name()))?;
        Ok(Self { fabric: world.fabric.clone(), node: node.name().to_owned() })
    }
}

impl Drop for CutLink {
    fn drop(&mut self) {
        let _ = ip(&self.fabric, &format!("link set {} master br0", self.node));
    }
}

/// A pod whose node swallows every IPv4 packet to it, without a word to the sender.
#[derive(Debug)]
pub struct BlackHole {
    node: Place,
    device: String,
    pod: String,
}

impl BlackHole {
    /// Opens it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn before(node: &Node, pod: &Pod) -> Result<Self> {
        let address = pod.ipv4().to_string();
        let route = node.place.run(&["ip", "route", "show", &address])?;
        let device = route.split_whitespace().skip_while(|word| *word != "dev").nth(1);
        let device = device.with_context(|| format!("no route leads to {address}: {route:?}"))?.to_owned();
        ip(&node.place, &format!("route replace blackhole {address}/32"))?;
        Ok(Self { node: node.place.clone(), device, pod: address })
    }
}

impl Drop for BlackHole {
    fn drop(&mut self) {
        let _ = ip(&self.node, &format!("route replace {}/32 dev {}", self.pod, self.device));
    }
}

fn ip(place: &Place, command: &str) -> Result<()> {
    let words: Vec<&str> = ["ip"].into_iter().chain(command.split_whitespace()).collect();
    place.run(&words).map(drop)
}
