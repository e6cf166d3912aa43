//! The few fields of a capture file that matter here: TCP segments over IPv4 and IPv6 on Ethernet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};

/// A TCP segment as captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub syn: bool,
    pub ack: bool,
    pub sequence: u32,
    pub payload: Vec<u8>,
}

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const ETHERNET: u32 = 1;
const TCP: u8 = 6;

/// All TCP segments of a capture file, and the number of its packets.
pub(super) fn segments(file: &[u8]) -> Result<(Vec<Segment>, usize)> {
    let header = file.get(..FILE_HEADER).context("not a capture: too short")?;
    let magic = word(header, 0);
    ensure!(matches!(magic, 0xa1b2_c3d4 | 0xa1b2_3c4d), "not a capture of this machine: magic {magic:#x}");
    ensure!(word(header, 20) == ETHERNET, "not a capture of Ethernet");
    let (mut segments, mut packets) = (Vec::new(), 0);
    let mut rest = &file[FILE_HEADER..];
    while let Some(record) = rest.get(..RECORD_HEADER) {
        let captured = word(record, 8) as usize;
        // tcpdump may have been writing the last packet when it was stopped.
        let Some(frame) = rest.get(RECORD_HEADER..RECORD_HEADER + captured) else { break };
        packets += 1;
        segments.extend(segment(frame));
        rest = &rest[RECORD_HEADER + captured..];
    }
    Ok((segments, packets))
}

/// A word in this machine's order, as tcpdump writes it.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn segment(frame: &[u8]) -> Option<Segment> {
    let packet = frame.get(14..)?;
    match frame.get(12..14)? {
        [0x08, 0x00] => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            let total = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
            // Zero: a segment larger than the field, before the card cuts it up.
            let packet = if total == 0 { packet } else { packet.get(..total)? };
            let source = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?);
            let destination = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?);
            (*packet.get(9)? == TCP).then(|| tcp(source.into(), destination.into(), packet.get(header..)?))?
        }
        [0x86, 0xdd] => {
            let length = usize::from(u16::from_be_bytes(packet.get(4..6)?.try_into().ok()?));
            let packet = if length == 0 { packet } else { packet.get(..40 + length)? };
            let source = Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(8..24)?).ok()?);
            let destination = Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?);
            (*packet.get(6)? == TCP).then(|| tcp(source.into(), destination.into(), packet.get(40..)?))?
        }
        _ => None,
    }
}

fn tcp(source: IpAddr, destination: IpAddr, segment: &[u8]) -> Option<Segment> {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let port = |at: usize| Some(u16::from_be_bytes(segment.get(at..at + 2)?.try_into().ok()?));
    let header = usize::from(segment.get(12)? >> 4) * 4;
    let flags = *segment.get(13)?;
    Some(Segment {
        source: SocketAddr::new(source, port(0)?),
        destination: SocketAddr::new(destination, port(2)?),
        syn: flags & SYN != 0,
        ack: flags & ACK != 0,
        sequence: u32::from_be_bytes(segment.get(4..8)?.try_into().ok()?),
        payload: segment.get(header..)?.to_vec(),
    })
}
