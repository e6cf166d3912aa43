//! The TLS side of HBONE by itself: a client that presents any certificate, and a listener that may be an impostor.
//! Both accept whatever the other side presents: what is tested is what Weir does with it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, Stream};
use serde_json::json;
use weir_tests::any_server::AnyServer;
use weir_tests::raw_http2::frame;

const PATIENCE: Duration = Duration::from_secs(5);
/// How long a request's data may follow it.
const DATA_FOLLOWS_WITHIN: Duration = Duration::from_millis(500);
/// Client preface of HTTP/2 and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: u8 = 4;

/// Handshakes as a client. In TLS 1.3 a client learns only after its last message whether its certificate was accepted:
/// so it goes on until the peer's first HTTP/2 frame.
pub(crate) fn probe(address: SocketAddr, certificate: Option<(&Path, &Path)>) -> Result<()> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer::default()));
    let mut config = match certificate {
        Some((chain, key)) => {
            let (chain, key) = load(chain, key)?;
            builder.with_client_auth_cert(chain, key)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut connection = ClientConnection::new(Arc::new(config), ServerName::try_from("peer.invalid")?)?;
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = Stream::new(&mut connection, &mut socket);
    let mut frame = [0; 9];
    let outcome = stream.write_all(PREFACE).and_then(|()| stream.read_exact(&mut frame));
    let line = match outcome {
        Ok(()) if frame[3] == SETTINGS => json!({ "outcome": "accepted" }),
        Ok(()) => json!({ "outcome": "refused", "detail": format!("first frame is of type {}", frame[3]) }),
        Err(error) => json!({ "outcome": "refused", "detail": error.to_string() }),
    };
    println!("{line}");
    Ok(())
}

/// How a listener greets a client that goes on after the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Greeting {
    /// It says nothing and closes.
    Nothing,
    /// SETTINGS that allow no stream; it keeps the connection until the client closes it.
    NoStreams,
    /// SETTINGS and GOAWAY; it keeps the connection until the client closes it.
    Goaway,
    /// SETTINGS; at the first request it closes the connection without an answer, and tells what data came with that.
    Unanswered,
}

impl Greeting {
    fn frames(self) -> Vec<u8> {
        let settings = |entries: &[(u16, u32)]| frame::settings(entries);
        match self {
            Self::Nothing => Vec::new(),
            Self::Unanswered => settings(&[]),
            Self::NoStreams => settings(&[(3, 0)]),
            Self::Goaway => [settings(&[]), frame::frame(frame::GOAWAY, 0, 0, &[0; 8])].concat(),
        }
    }
}

/// Listens with a certificate and tells, per connection, what the client made of it.
pub(crate) fn serve(address: SocketAddr, chain: &Path, key: &Path, greeting: Greeting) -> Result<()> {
    let (chain, key) = load(chain, key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind(address).with_context(|| format!("binding {address}"))?;
    for socket in listener.incoming() {
        let (socket, connection) = (socket?, ServerConnection::new(Arc::clone(&config))?);
        socket.set_read_timeout(Some(PATIENCE))?;
        std::thread::spawn(move || greet(socket, connection, greeting));
    }
    Ok(())
}

fn greet(mut socket: TcpStream, mut connection: ServerConnection, greeting: Greeting) {
    let mut stream = Stream::new(&mut connection, &mut socket);
    let line = match stream.read_exact(&mut [0; 1]) {
        Ok(()) => json!({ "client": "went on" }),
        Err(error) => json!({ "client": "refused", "detail": error.to_string() }),
    };
    println!("{line}");
    if greeting == Greeting::Nothing || stream.write_all(&greeting.frames()).and_then(|()| stream.flush()).is_err() {
        return;
    }
    if greeting == Greeting::Unanswered {
        let sent = first_data(&mut stream);
        return println!("{}", json!({ "client": "asked", "data": String::from_utf8_lossy(&sent) }));
    }
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(1..) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break println!("{}", json!({ "client": "left" })),
        }
    }
}

/// The data that comes with the first request, or shortly after it; none where only the request does.
fn first_data(stream: &mut Stream<'_, ServerConnection, TcpStream>) -> Vec<u8> {
    // The first byte was read.
    let (mut received, mut block) = (b"P".to_vec(), [0; 4096]);
    let (mut is_greeted, mut is_asked) = (false, false);
    while let Ok(count @ 1..) = stream.read(&mut block) {
        received.extend(&block[..count]);
        if !is_greeted && received.len() >= frame::PREFACE.len() {
            received.drain(..frame::PREFACE.len());
            is_greeted = true;
        }
        while let Some(frame) = is_greeted.then(|| frame::take(&mut received)).flatten() {
            match frame.kind {
                frame::DATA => return frame.payload,
                frame::HEADERS if !is_asked => {
                    is_asked = true;
                    // From now on it is a moment.
                    if stream.sock.set_read_timeout(Some(DATA_FOLLOWS_WITHIN)).is_err() {
                        return Vec::new();
                    }
                }
                _ => {}
            }
        }
    }
    Vec::new()
}

fn load(chain: &Path, key: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<_, _>>()?;
    Ok((chain, PrivateKeyDer::from_pem_file(key)?))
}
