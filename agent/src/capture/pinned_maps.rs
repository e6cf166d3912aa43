//! The pinned maps: which there are, how they are opened, and which are made small where nothing needs them.

use aya::maps::{Map, MapData, MapError, MapInfo};
use weir_common::{DIRECT_ENDED_BYTES, MAX_DIRECT_CONNECTIONS, MAX_DIRECT_PERMITS, MAX_DIRECT_ROUTES, MAX_PODS};

use super::error::CaptureError;
use super::pins::Pins;

/// The maps that are pinned: all that programs of two versions must share.
pub(super) const NAMES: [&str; 30] = [
    "PODS",
    "POD_CGROUPS",
    "INBOUND_PODS",
    "LOOKUP_NETNS",
    "SK_LOOKUP",
    "POD_VERDICTS",
    "POD_ADDRESSES",
    "SETTINGS",
    "INSTALLED",
    "EXCLUDED_CIDRS",
    "EXCLUDED_PORTS",
    "SOCKET_ADDRESS",
    "FLOWS",
    "INNER_SOCKETS",
    "PROBE_SOCKETS",
    "PROBES",
    "PROBE_PORTS",
    "LISTENERS",
    "LISTENING",
    "LISTENING_PODS",
    "DESTINATIONS",
    "DIRECT_UNTIL",
    "DIRECT_ROUTES",
    "DIRECT_PERMITS",
    "DIRECT_CONNECTIONS",
    "DIRECT_ROOM",
    "DIRECT_FLOWS",
    "DIRECT_SOCKETS",
    "DIRECT_ENDED",
    "COUNTERS",
];

/// The maps that hold nothing unless connections are direct, and what they are made for: entries, or bytes of a ring. The kernel takes
/// memory for that in advance. Where no connection is to be direct they are made as small as can be.
pub(super) const FOR_DIRECT: [(&str, u32); 6] = [
    ("DIRECT_ROUTES", MAX_DIRECT_ROUTES),
    ("DIRECT_PERMITS", MAX_DIRECT_PERMITS),
    ("DIRECT_CONNECTIONS", MAX_DIRECT_CONNECTIONS),
    ("DIRECT_ROOM", MAX_PODS),
    ("DIRECT_FLOWS", MAX_DIRECT_CONNECTIONS),
    ("DIRECT_ENDED", DIRECT_ENDED_BYTES),
];

/// Whether one of the maps of direct connections was made small.
pub(super) fn are_small(pins: &Pins) -> bool {
    let is_small = |name, size| MapInfo::from_pin(pins.map(name)).is_ok_and(|info| info.max_entries() < size);
    FOR_DIRECT.iter().any(|&(name, size)| is_small(name, size))
}

/// Opens a map as what it is.
pub(super) fn open<T>(pins: &Pins, name: &str) -> Result<T, CaptureError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let typed = || T::try_from(Map::from_map_data(MapData::from_pin(pins.map(name))?)?);
    typed().map_err(CaptureError::because(|| format!("cannot open map {name}")))
}
