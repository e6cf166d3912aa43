//! Users' objects by another way than the control plane's stream, and what is left for the stream to bring.

use std::sync::Arc;

use bytes::Bytes;

use super::object_kind::ObjectKind;

/// Changes of the objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectUpdate {
    pub kind: ObjectKind,
    pub put: Vec<ObjectBody>,
    /// `namespace/name` of those that are gone.
    pub removed: Vec<String>,
    /// What is not in `put` does not exist.
    pub is_whole: bool,
}

/// An object in the envelope in which a control plane would send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectBody {
    /// `namespace/name`.
    pub name: Arc<str>,
    /// Another one for each change; opaque.
    pub version: String,
    /// Or what is wrong with it.
    pub body: Result<Bytes, Arc<str>>,
}

/// Which users' objects are asked for on the control plane's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedObjects {
    None,
    /// All but those about requests, which come by another way.
    WithoutHttp,
    All,
}

impl WantedObjects {
    /// Whether objects of a kind are asked for.
    #[must_use]
    pub fn include(self, kind: ObjectKind) -> bool {
        match self {
            Self::None => false,
            Self::WithoutHttp => !ObjectKind::HTTP.contains(&kind),
            Self::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_stay_the_streams_where_routes_come_from_elsewhere() {
        for (kind, expected) in [
            (ObjectKind::PeerAuthentication, [false, true, true]),
            (ObjectKind::WasmPlugin, [false, true, true]),
            (ObjectKind::RequestAuthentication, [false, false, true]),
            (ObjectKind::Telemetry, [false, false, true]),
            (ObjectKind::HttpRoute, [false, false, true]),
            (ObjectKind::VirtualService, [false, false, true]),
        ] {
            let wanted = [WantedObjects::None, WantedObjects::WithoutHttp, WantedObjects::All];
            assert_eq!(wanted.map(|wanted| wanted.include(kind)), expected, "{kind:?}");
        }
    }
}
