//! Two ends of a real TLS connection: a peer that seals whatever the fuzzer says, and the agent's session. The keys are kept
//! from one input to the next, since a handshake takes longer than everything else.

use weir::api::control_plane::authority::Authority;
use weir::api::hbone::fuzzed::FuzzedServer;
use weir::api::model::identity::{Identity, TrustDomain};
use weir::api::tls::certificates::{CertificateOptions, CertificateSource, Certificates};
use weir::api::tls::handshake::{self, TrustedDomains};
use weir::api::tls::records::{HEADER_BYTES, Opened, RecordLayer, TRAILER_BYTES, body_length};

const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const FRAME_HEADER_BYTES: usize = 9;
/// The longest frame that a peer must accept that has not allowed longer ones.
const LONGEST_FRAME: usize = 1 << 14;
const GOAWAY: u8 = 7;
const SETTINGS: u8 = 4;

/// See the module. The keys are there except while a connection has them.
pub(crate) struct Connection {
    peer: RecordLayer,
    agent: Option<RecordLayer>,
}

impl Connection {
    /// Makes an authority, two certificates and a handshake between them.
    pub(crate) fn handshake() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = std::env::temp_dir().join(format!("weir-fuzz-{}", std::process::id()));
        let authority = Authority::open(&folder).expect("an authority in a folder of our own");
        let domain = TrustDomain::new("");
        let (web, cart) = (Identity::new(domain.clone(), "shop", "web"), Identity::new(domain.clone(), "shop", "cart"));
        let trusted = TrustedDomains(vec![domain]);
        let (near, far) = runtime.block_on(async {
            let source = CertificateSource::Issuer(authority.issuer());
            let certificates = Certificates::start(source, CertificateOptions::default());
            let client = certificates.get(&web).await.expect("the authority is here");
            let server = certificates.get(&cart).await.expect("the authority is here");
            let (near, far) = tokio::io::duplex(1 << 16);
            let expected = [cart];
            tokio::join!(
                handshake::connect(&client, near, &expected, &trusted),
                handshake::accept(&server, far, &trusted)
            )
        });
        let _ = std::fs::remove_dir_all(folder);
        let (near, far) = (near.expect("both ends are ours"), far.expect("both ends are ours"));
        assert!(near.received.is_empty() && far.received.is_empty(), "nobody has said anything yet");
        Self { peer: near.records, agent: Some(far.records) }
    }

    /// Plays one connection. The script: pairs of a byte and so many bytes of a record, where 255 lets the agent give a
    /// stream up, and 254 lets it leave.
    pub(crate) fn play(&mut self, greeted: bool, mut script: &[u8]) {
        let mut server = FuzzedServer::new(self.agent.take().expect("the last connection gave them back"));
        let mut sent = Vec::new();
        self.collect(&mut server, &mut sent);
        if greeted {
            self.say(&mut server, GREETING, &mut sent);
        }
        while let Some((&step, rest)) = script.split_first() {
            if server.has_ended() {
                break;
            }
            script = rest;
            match step {
                255 => server.give_up_stream(),
                254 => server.leave(),
                length => {
                    // Short pieces cut frames anywhere, long ones hold many.
                    let (content, rest) = script.split_at(script.len().min(usize::from(length) * 4));
                    script = rest;
                    self.say(&mut server, content, &mut sent);
                }
            }
            self.collect(&mut server, &mut sent);
        }
        let ended = server.has_ended();
        self.agent = Some(server.into_records());
        check(&sent, ended);
    }

    fn say(&mut self, server: &mut FuzzedServer, content: &[u8], sent: &mut Vec<u8>) {
        let mut record = vec![0; HEADER_BYTES + content.len() + TRAILER_BYTES];
        record[HEADER_BYTES..HEADER_BYTES + content.len()].copy_from_slice(content);
        self.peer.seal(&mut record);
        server.receive(&record);
        self.collect(server, sent);
    }

    /// Opens what the agent sends, as its peer does.
    fn collect(&mut self, server: &mut FuzzedServer, sent: &mut Vec<u8>) {
        let mut sealed = server.take_sent();
        let mut rest = sealed.as_mut_slice();
        while let Some(header) = rest.first_chunk() {
            let length = HEADER_BYTES + body_length(*header).expect("we send records");
            let (record, after) = rest.split_at_mut(length);
            match self.peer.open(record).expect("we send records that open") {
                Opened::Data(place) => sent.extend_from_slice(&record[place]),
                Opened::Internal => {}
                Opened::CloseNotify => panic!("only a connection's task says goodbye"),
            }
            rest = after;
        }
        assert!(rest.is_empty(), "we send whole records");
    }
}

/// What a peer sees of us, whatever it said.
fn check(sent: &[u8], ended: bool) {
    let (mut rest, mut kinds) = (sent, Vec::new());
    while !rest.is_empty() {
        let header: &[u8; FRAME_HEADER_BYTES] = rest.first_chunk().expect("we send whole frame headers");
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        assert!(length <= LONGEST_FRAME, "a frame of {length} bytes");
        kinds.push(header[3]);
        rest = rest.get(FRAME_HEADER_BYTES + length..).expect("we send whole frames");
    }
    assert_eq!(kinds.first(), Some(&SETTINGS), "{kinds:?}");
    let goaway = kinds.iter().position(|kind| *kind == GOAWAY);
    assert!(!ended || goaway.is_some(), "the connection ended without a word: {kinds:?}");
}
