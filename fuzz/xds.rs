//! What a control plane may send: delta discovery responses, one after the other.
//!
//! Must hold: nothing panics; every response is answered, by its nonce; a NACK is as short as a control plane must be able
//! to take; the same response again changes nothing; and the mesh answers whatever it is asked.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use prost::Message;
use weir::api::model::address::OriginalDst;
use weir::api::model::authorization::{AccessRequest, Destination};
use weir::api::model::mesh::{Mesh, MeshSettings};
use weir::api::proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use weir::api::state::SharedMesh;
use weir::api::xds::{ConfigReceiver, XdsStatus};

/// What a gRPC server takes at most in one message, unless told otherwise.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

fuzz_target!(|data: &[u8]| {
    let (mesh, status) = (SharedMesh::default(), XdsStatus::default());
    let receiver = ConfigReceiver::new(mesh.clone(), status.clone(), MeshSettings::default());
    let mut rest = data;
    while let Some(response) = next(&mut rest) {
        let first = receiver.handle_response(response.clone());
        assert_eq!(first.reply.response_nonce, response.nonce);
        assert_eq!(first.reply.type_url, response.type_url);
        assert_eq!(first.reply.error_detail.is_some(), !first.rejected.is_empty());
        assert!(first.reply.encoded_len() <= MAX_MESSAGE_BYTES, "{} bytes", first.reply.encoded_len());
        let changes = mesh.watch();
        let again = receiver.handle_response(response);
        assert_eq!(again.rejected, first.rejected, "the same is rejected for the same reasons");
        assert!(!changes.has_changed().expect("the mesh lives"), "the same again changed the mesh");
    }
    ask(&mesh.read());
});

/// The next response: two bytes of length, then so many of a message.
fn next(rest: &mut &[u8]) -> Option<DeltaDiscoveryResponse> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let (body, after) = after.split_at(usize::from(u16::from_be_bytes(*length)).min(after.len()));
    *rest = after;
    // Bytes that are no message never get further than the library that reads them.
    Some(DeltaDiscoveryResponse::decode(body).unwrap_or_default())
}

/// Asks what connections ask, of everything there is.
fn ask(mesh: &Mesh) {
    let port = 80;
    let vips = mesh.services().flat_map(|service| service.vips.iter().map(|vip| vip.block.addr()));
    let own = mesh.workloads().flat_map(|workload| workload.addresses.iter().copied());
    let addresses: Vec<IpAddr> = vips.chain(own).take(32).collect();
    for workload in mesh.workloads().take(16) {
        for &address in &addresses {
            let destination = SocketAddr::new(address, port);
            let request = AccessRequest { source: Some(workload.identity()), source_ip: address, destination };
            let _ = mesh.authorize(&Destination::of(workload), &request);
            let _ = mesh.resolve(workload, OriginalDst(destination), || 0);
            let _ = mesh.workload_by_address(&workload.network, address);
        }
    }
}
